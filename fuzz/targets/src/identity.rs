//! Who calls, where to, and the words of settings: texts that are read back as they are written.

use std::fmt::{Debug, Display};

use fleetgate_gateway::auth::credentials as credentials_of;
use fleetgate_wire::authority::Authority;
use fleetgate_wire::domain::DomainPattern;
use fleetgate_wire::header::CREDENTIALS;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::period::Period;
use fleetgate_wire::provider_key::{ProviderKeySighting, recognise};
use fleetgate_wire::scope::Scope;
use fleetgate_wire::virtual_key::{KeyHash, VirtualKey};
use fleetgate_wire::workload::Workload;
use http::{HeaderMap, HeaderValue};

pub(crate) fn authorities() -> Vec<Vec<u8>> {
    crate::texts(&["api.openai.com:443", "[2001:db8::1]:8443", "127.0.0.1:1", "bücher.example:443", "a..b:65536"])
}

pub(crate) fn headers() -> Vec<Vec<u8>> {
    crate::texts(&[
        "Bearer sk-fg-0123456789abcdefghij",
        "Basic dXNlcjpzay1rZXk=",
        "sk-plain",
        "Basic dXNlcjo=",
        "bearer  x y",
    ])
}

pub(crate) fn scopes() -> Vec<Vec<u8>> {
    crate::texts(&["key:00ff", "host:*", "key_model:00ff/gpt-4o", "global:all", "tag:a:b", "model:"])
}

pub(crate) fn periods() -> Vec<Vec<u8>> {
    crate::texts(&["30s", "1mo", "12h", "monthly", "4294967296d", "0d"])
}

pub(crate) fn provider_keys() -> Vec<Vec<u8>> {
    crate::texts(&[
        "sk-ant-api03-k3Zp9QxW2mVb7RtYc4NfJ8sHdLgA5uEi6oTeKw1zBqXyM0vC",
        "Bearer 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",
        "9f3c7a1e5b8d20649a3c7f1e5b8d2064.k3Zp9QxW2mVb7RtY",
        "openrouter:c930bf063c63c9da",
    ])
}

/// What a program shows instead of a virtual key, and how a sidecar reports it.
pub(crate) fn provider_key(bytes: &[u8]) {
    reads_back(bytes, str::parse::<ProviderKeySighting>);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(found) = recognise(text) else { return };
    assert_eq!(found.to_string().parse(), Ok(found), "what is reported is understood");
}

/// Where a tunnel leads.
pub(crate) fn authority(bytes: &[u8]) {
    reads_back(bytes, Authority::parse);
}

/// A destination against the rules' patterns: what holds of a name is said by whole labels.
pub(crate) fn destination(bytes: &[u8]) {
    let Ok(authority) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| Authority::parse(text).map_err(drop))
    else {
        return;
    };
    let host = authority.host().to_string();
    for name in ["example.com", "com", "xn--bcher-kva.example"] {
        let holds = |prefix: &str| {
            let pattern = DomainPattern::parse(&format!("{prefix}{name}"));
            pattern.is_ok_and(|pattern| pattern.matches(authority.host()))
        };
        let labels: Vec<&str> = host.split('.').collect();
        let wanted: Vec<&str> = name.split('.').collect();
        let below = labels.len() > wanted.len() && labels.ends_with(&wanted);
        assert_eq!((holds(""), holds("*.")), (host == name, below), "{host} {name}");
        assert_eq!(holds("."), holds("") || holds("*."), "{host} {name}");
    }
}

pub(crate) fn destinations() -> Vec<Vec<u8>> {
    crate::texts(&[
        "api.example.com:443",
        "example.com.:443",
        "evilexample.com:1",
        "a.bücher.example:443",
        "10.0.0.1:443",
    ])
}

/// Whatever stands in a header or in `?key=`.
pub(crate) fn credentials(bytes: &[u8]) {
    let query = String::from_utf8_lossy(bytes);
    for name in &CREDENTIALS {
        let value = HeaderValue::from_bytes(bytes).ok();
        let headers: HeaderMap = value.into_iter().map(|value| (name.clone(), value)).collect();
        for (_, text) in credentials_of(&headers, Some(&format!("a=b&key={query}"))) {
            assert!(!text.is_empty(), "no key is no credential");
            if let Ok(key) = VirtualKey::parse(&text) {
                assert_eq!(key.hash(), KeyHash::digest(text.trim()), "a key is looked for by its hash");
                assert!(!format!("{key:?}").contains(&*text), "a key is never printed");
            }
        }
    }
    reads_back(bytes, KeyHash::parse);
    reads_back(bytes, HostLabel::parse);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (Workload::parse(text), Workload::from_user_agent(text));
    }
}

/// Whose limit it is.
pub(crate) fn scope(bytes: &[u8]) {
    reads_back(bytes, Scope::parse);
}

/// For how long.
pub(crate) fn period(bytes: &[u8]) {
    reads_back(bytes, Period::parse);
    let period = std::str::from_utf8(bytes).ok().and_then(|text| Period::parse(text).ok());
    assert!(period.is_none_or(|period| period.seconds() > 0), "a period is more than no time");
}

fn reads_back<T: Display + Debug + PartialEq, E: Display>(bytes: &[u8], parse: impl Fn(&str) -> Result<T, E>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(value) = parse(text) else { return };
    match parse(&value.to_string()) {
        Ok(again) => assert_eq!(again, value),
        Err(error) => panic!("{value:?} was read from {text:?} and is refused as it is written: {error}"),
    }
}
