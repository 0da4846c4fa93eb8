//! Connections to providers that wait for their next request.
//!
//! A pool belongs to one thread's calls. What a general client does for each request (keys that are hashed, channels between waiting and
//! returning connections) costs more than all else that is done to send it.
//!
//! Nobody drives a connection while it waits. That its provider has closed it is seen by the next call, which then takes another, or
//! by the sweep.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};

use super::line::{Line, Wire};

/// Shorter than any large provider's own limit, so that requests seldom meet a connection that is about to close.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long one that its provider has closed is kept at most.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The idle connections. A clone is another handle on the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// As many as the configuration names; looked through in order.
    origins: Vec<Origin>,
    /// Somebody calls [`Pool::sweep`] from time to time.
    is_swept: bool,
}

#[derive(Debug)]
struct Origin {
    is_secure: bool,
    authority: Authority,
    host: HeaderValue,
    /// The one that was used last stands last.
    idle: Vec<(Box<Wire>, Instant)>,
}

/// Which origin, by its place in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OriginId(usize);

impl Pool {
    /// The origin of an address and its `Host`; `None` without an authority.
    pub(super) fn origin(&self, uri: &Uri) -> Option<(OriginId, HeaderValue)> {
        let authority = uri.authority()?;
        let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
        let mut state = self.lock();
        let same = |origin: &Origin| origin.is_secure == is_secure && origin.authority.as_str() == authority.as_str();
        let place = match state.origins.iter().position(same) {
            Some(place) => place,
            None => {
                let host = host_header(authority, is_secure)?;
                state.origins.push(Origin { is_secure, authority: authority.clone(), host, idle: Vec::new() });
                state.origins.len() - 1
            }
        };
        Some((OriginId(place), state.origins[place].host.clone()))
    }

    /// A connection that can take a request at once.
    pub(super) fn take(&self, id: OriginId) -> Option<Line> {
        let mut state = self.lock();
        let idle = &mut state.origins[id.0].idle;
        for index in (0..idle.len()).rev() {
            if idle[index].1.elapsed() >= IDLE_LIMIT {
                // Then all before it are as old.
                idle.drain(..=index);
                return None;
            }
            let (wire, _) = idle.remove(index);
            if wire.is_ready() {
                return Some(Line::new(wire, id, self.clone(), true));
            }
        }
        None
    }

    /// A connection that was made just now.
    pub(super) fn fresh(&self, id: OriginId, wire: Wire) -> Line {
        Line::new(Box::new(wire), id, self.clone(), false)
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, id: OriginId, wire: Box<Wire>) {
        let mut state = self.lock();
        state.origins[id.0].idle.push((wire, Instant::now()));
        let must_sweep = !std::mem::replace(&mut state.is_swept, true);
        drop(state);
        if must_sweep {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(sweep(self.clone()))),
                // The runtime ends, and its connections with it.
                Err(_) => self.lock().is_swept = false,
            }
        }
    }

    /// Lets go of what is closed or too old, and says when to look again; not at all once nothing is left.
    pub(super) fn let_go(&self) -> Option<Duration> {
        let mut state = self.lock();
        for origin in &mut state.origins {
            origin.idle.retain_mut(|(wire, since)| since.elapsed() < IDLE_LIMIT && wire.is_open());
        }
        state.is_swept = state.origins.iter().any(|origin| !origin.idle.is_empty());
        state.is_swept.then_some(SWEEP_PAUSE)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Pool) {
    while let Some(pause) = pool.let_go() {
        tokio::time::sleep(pause).await;
    }
}

/// RFC 9110 §7.2: the authority without the scheme's own port. What it holds of a user and a password is nobody's business.
fn host_header(authority: &Authority, is_secure: bool) -> Option<HeaderValue> {
    let own_port = if is_secure { 443 } else { 80 };
    let text = match authority.port_u16() {
        Some(port) if port != own_port => format!("{}:{port}", authority.host()),
        _ => authority.host().to_owned(),
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_authority_without_a_user_and_the_schemes_own_port() {
        let pool = Pool::default();
        for (uri, host) in [
            ("https://api.example.com/v1", "api.example.com"),
            ("https://api.example.com:443/v1", "api.example.com"),
            ("https://api.example.com:80/v1", "api.example.com:80"),
            ("http://user:word@127.0.0.1:8080/v1", "127.0.0.1:8080"),
            ("http://[::1]:80/", "[::1]"),
        ] {
            assert_eq!(pool.origin(&uri.parse().unwrap()).unwrap().1, host);
        }
        assert!(pool.origin(&Uri::from_static("/v1")).is_none());
    }

    #[test]
    fn http_and_https_do_not_share_connections() {
        let pool = Pool::default();
        let id = |uri: &'static str| pool.origin(&Uri::from_static(uri)).unwrap().0;
        assert_eq!(id("http://a:1/x"), id("http://a:1/y"));
        assert_ne!(id("http://a:1/"), id("https://a:1/"));
        assert_ne!(id("http://a:1/"), id("http://b:1/"));
    }
}
