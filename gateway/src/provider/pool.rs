//! Connections to providers that wait for their next request, and those in use.
//!
//! A pool belongs to one thread's calls. What a general client does for each request (keys that are hashed, channels between waiting and
//! returning connections) costs more than all else that is done to send it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

/// Shorter than any large provider's own limit, so that requests seldom meet a connection that is about to close.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The sweep does not wake up more often than this.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

pub(super) type Sender = SendRequest<Full<Bytes>>;

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
    idle: Vec<(Sender, Instant)>,
}

/// Which origin, by its place in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OriginId(usize);

/// A connection in use. It goes back to its pool when its answer has been read; dropped earlier, it is closed.
#[derive(Debug)]
pub(super) struct Line {
    sender: Sender,
    origin: OriginId,
    pool: Pool,
    pub(super) is_reused: bool,
}

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
            let (sender, since) = &idle[index];
            if since.elapsed() >= IDLE_LIMIT {
                // Then all before it are as old.
                idle.drain(..=index);
                return None;
            }
            if sender.is_closed() {
                idle.remove(index);
            } else if sender.is_ready() {
                let (sender, _) = idle.remove(index);
                return Some(Line { sender, origin: id, pool: self.clone(), is_reused: true });
            }
        }
        None
    }

    /// A connection that was made just now.
    pub(super) fn fresh(&self, id: OriginId, sender: Sender) -> Line {
        Line { sender, origin: id, pool: self.clone(), is_reused: false }
    }

    fn put(&self, id: OriginId, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut state = self.lock();
        state.origins[id.0].idle.push((sender, Instant::now()));
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
    fn let_go(&self) -> Option<Duration> {
        let mut state = self.lock();
        for origin in &mut state.origins {
            origin.idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_LIMIT);
        }
        let oldest = state.origins.iter().flat_map(|origin| &origin.idle).map(|(_, since)| *since).min();
        state.is_swept = oldest.is_some();
        Some(IDLE_LIMIT.saturating_sub(oldest?.elapsed()).max(SWEEP_PAUSE))
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

impl Line {
    /// Sends a request and waits for its answer's head. The error gives the request back where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Full<Bytes>>>)> {
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }

    /// Its answer has been read to the end.
    pub(super) fn give_back(self) {
        self.pool.put(self.origin, self.sender);
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
