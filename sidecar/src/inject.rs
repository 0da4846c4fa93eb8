//! Exchanges whatever credential the client sent for this host's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleetgate_wire::header;
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

use crate::VERSION;
use crate::keystore::{Credential, HostKeys, NoKey};

/// Marks calls that are paid by the fallback key.
pub const FALLBACK_KEY: HeaderName = HeaderName::from_static("x-fleetgate-fallback-key");

/// Prepares an API call: every credential and header of ours goes, this host's come.
///
/// # Errors
/// When this host has no key.
pub fn api_call(headers: &mut HeaderMap, query: Option<&str>, keys: &HostKeys) -> Result<(), NoKey> {
    let (credential, workload) = replacement(headers, query, keys)?;
    header::strip_credentials(headers);
    header::strip_ours(headers);
    headers.insert(AUTHORIZATION, credential.bearer());
    identify(headers, workload.as_ref(), keys);
    Ok(())
}

/// The headers of the `CONNECT` that goes to the gateway for a client's `CONNECT`. Nothing else of the client's is passed on.
///
/// # Errors
/// When this host has no key.
pub fn tunnel(client: &HeaderMap, keys: &HostKeys) -> Result<HeaderMap, NoKey> {
    let (credential, workload) = replacement(client, None, keys)?;
    let mut headers = HeaderMap::new();
    headers.insert(PROXY_AUTHORIZATION, credential.bearer());
    identify(&mut headers, workload.as_ref(), keys);
    if let Some(agent) = client.get(http::header::USER_AGENT) {
        headers.insert(http::header::USER_AGENT, agent.clone());
    }
    Ok(headers)
}

/// The key of this call: the client's own if it is one that a gateway minted, else its workload's or the host's.
fn replacement(
    headers: &HeaderMap,
    query: Option<&str>,
    keys: &HostKeys,
) -> Result<(Credential, Option<Workload>), NoKey> {
    let claimed = headers.get(header::WORKLOAD).and_then(|value| value.to_str().ok());
    let workload = claimed.and_then(|name| Workload::parse(name).ok());
    let credential = match minted_key(headers, query).as_ref().and_then(Credential::new) {
        Some(own) => own,
        None => keys.credential(workload.as_ref())?.clone(),
    };
    Ok((credential, workload))
}

fn identify(headers: &mut HeaderMap, workload: Option<&Workload>, keys: &HostKeys) {
    if let Ok(label) = HeaderValue::from_str(keys.label.as_str()) {
        headers.insert(header::HOST, label);
    }
    if let Some(name) = workload.and_then(|workload| HeaderValue::from_str(workload.as_str()).ok()) {
        headers.insert(header::WORKLOAD, name);
    }
    if keys.is_fallback() {
        headers.insert(FALLBACK_KEY, HeaderValue::from_static("1"));
    }
    headers.insert(header::SIDECAR, HeaderValue::from_static(VERSION));
}

/// A key of our own among the credentials that the client sent.
fn minted_key(headers: &HeaderMap, query: Option<&str>) -> Option<VirtualKey> {
    let in_headers = header::CREDENTIALS
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .find_map(minted_in_value);
    in_headers.or_else(|| {
        let pairs = query?.split('&');
        pairs.filter_map(|pair| pair.strip_prefix("key=")).find_map(minted)
    })
}

/// Reads a bare key, `Bearer KEY`, and the password of `Basic` (a proxy address can carry nothing else).
fn minted_in_value(value: &str) -> Option<VirtualKey> {
    let Some((scheme, rest)) = value.trim().split_once(' ') else { return minted(value) };
    if scheme.eq_ignore_ascii_case("bearer") {
        return minted(rest);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    minted(password)
}

fn minted(text: &str) -> Option<VirtualKey> {
    VirtualKey::parse(text).ok().filter(VirtualKey::is_minted)
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::ExposeSecret;

    use super::*;

    #[test]
    fn a_minted_key_is_found_wherever_a_client_can_put_it() {
        let key = VirtualKey::mint().unwrap();
        let text = key.expose_secret();
        let basic = format!("Basic {}", STANDARD.encode(format!("any:{text}")));
        for value in [text.to_owned(), format!("Bearer {text}"), format!("bearer  {text}"), basic] {
            for name in &header::CREDENTIALS {
                let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(&value).unwrap())]);
                assert_eq!(minted_key(&headers, None).unwrap().hash(), key.hash(), "{name}");
            }
        }
        let query = format!("alt=sse&key={text}");
        assert_eq!(minted_key(&HeaderMap::new(), Some(&query)).unwrap().hash(), key.hash());
    }

    #[test]
    fn a_providers_key_or_a_litellm_one_is_not_ours_to_pass_on() {
        for value in
            ["sk-ant-api03-abcdefghijklmnop", "Bearer sk-Xn3Q0d0cFv0mJq1mT9wq7g", "Basic !!", "Basic YTpi", "dummy"]
        {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert!(minted_key(&headers, None).is_none(), "{value}");
        }
    }
}
