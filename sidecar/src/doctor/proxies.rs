//! Proxy variables of the environment that would carry calls for localhost away from the sidecar, key included.

use std::collections::BTreeMap;

use super::report::Finding;

const CHECK: &str = "proxies";
const VARIABLES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// By which names programs reach the sidecar.
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// Looks at proxy variables and their exceptions. `gateway` is a host name.
pub(super) fn look(environment: &BTreeMap<String, String>, gateway: Option<&str>) -> Finding {
    let is_set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let proxies: Vec<String> = VARIABLES
        .iter()
        .filter_map(|name| is_set(name).map(|value| format!("{name}={}", without_secret(value))))
        .collect();
    if proxies.is_empty() {
        return Finding::ok(CHECK, "no proxy variables are set");
    }
    let shown = proxies.join(" ");
    // Where both spellings are set, programs differ in which one they read, so both must hold.
    let lists: Vec<&String> = EXCEPTIONS.iter().filter_map(|name| is_set(name)).collect();
    let missing = |host: &str| lists.is_empty() || lists.iter().any(|list| !is_excepted(list, host));
    let caught: Vec<&str> = LOOPBACK.into_iter().filter(|host| missing(host)).collect();
    if !caught.is_empty() {
        return Finding::problem(
            CHECK,
            "catch_localhost",
            format!("{shown}, and NO_PROXY lacks {}", caught.join(" and ")),
        )
        .cause("programs send their calls for the sidecar to the proxy instead, with whatever key they have")
        .next("export NO_PROXY=localhost,127.0.0.1,::1 no_proxy=localhost,127.0.0.1,::1");
    }
    match gateway.filter(|host| missing(host)) {
        Some(host) => {
            Finding::warning(CHECK, "catch_gateway", format!("{shown}, and NO_PROXY lacks the gateway {host}"))
                .cause(
                    "programs that call the gateway directly go through the proxy; the sidecar and this command do not",
                )
                .next(format!("export NO_PROXY=\"$NO_PROXY,{host}\" no_proxy=\"$no_proxy,{host}\""))
        }
        None => Finding::ok(CHECK, format!("{shown}; localhost is excepted")),
    }
}

/// As curl and the SDKs read it: names separated by commas or blanks, a leading dot or `*.` for all below, `*` for all.
fn is_excepted(list: &str, host: &str) -> bool {
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let name = entry.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        entry == "*"
            || host.eq_ignore_ascii_case(name)
            || host.to_ascii_lowercase().ends_with(&format!(".{}", name.to_ascii_lowercase()))
    })
}

/// A proxy's address may hold a name and a password, and a path that holds more.
fn without_secret(value: &str) -> String {
    let (scheme, rest) = value.split_once("://").map_or(("", value), |(scheme, rest)| (scheme, rest));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(pairs: &[(&str, &str)]) -> &'static str {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        look(&environment, Some("box.tail1.ts.net")).code
    }

    #[test]
    fn a_proxy_must_except_localhost_in_each_spelling_that_is_set() {
        let proxy = ("HTTPS_PROXY", "http://10.0.0.1:3128");
        let both = "localhost,127.0.0.1, ::1 .ts.net";
        assert_eq!(code(&[]), "ok");
        assert_eq!(code(&[proxy]), "catch_localhost");
        assert_eq!(code(&[proxy, ("NO_PROXY", both)]), "ok");
        assert_eq!(code(&[proxy, ("NO_PROXY", both), ("no_proxy", "example.com")]), "catch_localhost");
        assert_eq!(code(&[proxy, ("NO_PROXY", both), ("no_proxy", both)]), "ok");
        assert_eq!(code(&[proxy, ("NO_PROXY", "localhost,127.0.0.1"), ("no_proxy", "*")]), "catch_gateway");
        assert_eq!(code(&[proxy, ("NO_PROXY", "localhost.evil"), ("no_proxy", "*")]), "catch_localhost");
        assert_eq!(code(&[("http_proxy", "")]), "ok");
    }

    #[test]
    fn a_proxys_password_is_never_shown() {
        let environment =
            BTreeMap::from([("http_proxy".to_owned(), "http://me:canary@10.0.0.1:3128/canary".to_owned())]);
        let finding = look(&environment, None);
        assert!(!format!("{finding:?}").contains("canary"), "{finding:?}");
        assert!(finding.what.contains("http_proxy=http://10.0.0.1:3128"), "{finding:?}");
        assert_eq!(without_secret("me:canary@host:1"), "host:1");
    }
}
