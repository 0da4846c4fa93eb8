//! Exchanges whatever credential the client sent for this host's.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleetgate_wire::header;
use fleetgate_wire::provider_key::{self, ProviderKeySighting};
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

use crate::VERSION;
use crate::keystore::{Credential, HostKeys, NoKey};
use crate::workload::Facts;

/// What was noticed while the credentials were exchanged.
#[derive(Debug)]
pub struct Injected {
    /// The workload that the call is charged to, where it is known.
    pub workload: Option<Workload>,
    /// A provider's own key that the program still sends.
    pub sighting: Option<ProviderKeySighting>,
}

/// Prepares an API call: every credential and header of ours goes, this host's come, and who calls.
///
/// # Errors
/// When this host has no key.
pub fn api_call(
    headers: &mut HeaderMap,
    query: Option<&str>,
    keys: &HostKeys,
    caller: &Facts,
) -> Result<Injected, NoKey> {
    let (credential, injected) = replacement(headers, query, keys, caller)?;
    header::strip_credentials(headers);
    header::strip_ours(headers);
    headers.insert(AUTHORIZATION, credential.bearer());
    identify(headers, &injected, keys, caller);
    Ok(injected)
}

/// The headers of the `CONNECT` that goes to the gateway for a client's `CONNECT`. Nothing else of the client's is passed on.
///
/// # Errors
/// When this host has no key.
pub fn tunnel(client: &HeaderMap, keys: &HostKeys, caller: &Facts) -> Result<(HeaderMap, Injected), NoKey> {
    let (credential, injected) = replacement(client, None, keys, caller)?;
    let mut headers = HeaderMap::new();
    headers.insert(PROXY_AUTHORIZATION, credential.bearer());
    identify(&mut headers, &injected, keys, caller);
    if let Some(agent) = client.get(http::header::USER_AGENT) {
        headers.insert(http::header::USER_AGENT, agent.clone());
    }
    Ok((headers, injected))
}

/// What the program itself says that it is, by a header or by `/w/NAME`.
#[must_use]
pub fn claimed_workload(headers: &HeaderMap) -> Option<Workload> {
    headers.get(header::WORKLOAD).and_then(|value| Workload::parse(value.to_str().ok()?).ok())
}

/// The key of this call: the client's own if it is one that a gateway minted, else its workload's or the host's.
fn replacement(
    headers: &HeaderMap,
    query: Option<&str>,
    keys: &HostKeys,
    caller: &Facts,
) -> Result<(Credential, Injected), NoKey> {
    let claimed = claimed_workload(headers);
    let sighting = credentials(headers, query).find_map(|text| provider_key::recognise(&text));
    let found = || caller.process.as_ref().and_then(|process| process.workload.clone());
    let workload = claimed.or_else(found);
    let credential = match minted_key(headers, query).as_ref().and_then(Credential::new) {
        Some(own) => own,
        None => keys.credential(workload.as_ref())?.clone(),
    };
    Ok((credential, Injected { workload, sighting }))
}

fn identify(headers: &mut HeaderMap, injected: &Injected, keys: &HostKeys, caller: &Facts) {
    let mut say = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    say(header::HOST, keys.label.as_str());
    if let Some(workload) = &injected.workload {
        say(header::WORKLOAD, workload.as_str());
    }
    if let Some(sighting) = &injected.sighting {
        say(header::SIGHTING, &sighting.to_string());
    }
    if let Some(user) = &caller.user {
        headers.insert(header::OS_USER, user.clone());
    }
    if let Some(summary) = caller.process.as_ref().and_then(|process| process.summary.as_ref()) {
        headers.insert(header::PROCESS, summary.clone());
    }
    if keys.is_fallback() {
        headers.insert(header::FALLBACK_KEY, HeaderValue::from_static("1"));
    }
    headers.insert(header::SIDECAR, HeaderValue::from_static(VERSION));
}

/// A key of our own among the credentials that the client sent.
#[must_use]
pub fn minted_key(headers: &HeaderMap, query: Option<&str>) -> Option<VirtualKey> {
    credentials(headers, query).find_map(|text| VirtualKey::parse(&text).ok().filter(VirtualKey::is_minted))
}

/// Every text that the client sent as a credential: bare, behind `Bearer`, as the password of `Basic` (a proxy address can carry
/// nothing else), or as Google's `key=`.
pub fn credentials<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = Cow<'a, str>> {
    let values = header::CREDENTIALS.iter().flat_map(|name| headers.get_all(name));
    let in_headers = values.filter_map(|value| in_value(value.to_str().ok()?));
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    in_headers.chain(pairs.filter_map(|pair| pair.strip_prefix("key=")).map(Cow::Borrowed))
}

fn in_value(value: &str) -> Option<Cow<'_, str>> {
    let Some((scheme, rest)) = value.trim().split_once(' ') else { return Some(Cow::Borrowed(value.trim())) };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Cow::Borrowed(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| Cow::Owned(password.to_owned()))
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

    #[test]
    fn a_providers_own_key_is_recognised_wherever_it_stands() {
        let key = format!("sk-ant-api03-{}AA", "a1B2c3D4e5".repeat(9) + "xyz");
        let basic = format!("Basic {}", STANDARD.encode(format!("any:{key}")));
        let expected = provider_key::recognise(&key).unwrap().to_string();
        assert!(expected.starts_with("anthropic:") && !expected.contains(&key[13..30]), "{expected}");
        for value in [key.clone(), format!("Bearer {key}"), basic] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())]);
            let seen = credentials(&headers, None).find_map(|text| provider_key::recognise(&text));
            assert_eq!(seen.map(|sighting| sighting.to_string()), Some(expected.clone()));
        }
        let query = format!("alt=sse&key={key}");
        assert!(credentials(&HeaderMap::new(), Some(&query)).any(|text| provider_key::recognise(&text).is_some()));
    }
}
