//! `fleetgate doctor --egress URL`: the address that a destination sees, with and without the proxy. The destination is the user's:
//! somebody whose answer holds the address that it was asked from.
//!
//! curl asks, as people would by hand: the sidecar speaks no TLS, and need not for this.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::process::Stdio;

use http::{HeaderValue, Uri};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::report::{Finding, Level, Report};
use super::{Subject, find_gateways, here, identify, name};
use crate::forward::GatewayUrl;

/// Through the proxy.
const THROUGH: &str = "egress";
/// Without it.
const DIRECT: &str = "direct";
/// What follows from both.
const ONE_IP: &str = "one_ip";
/// Seconds for one of the two ways.
const PATIENCE: &str = "10";
/// More than any page that says an address.
const MAX_ANSWER: u64 = 64 * 1024;
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "NO_PROXY"];

/// The proxy to go through.
struct Proxy {
    url: GatewayUrl,
    /// How it is called in findings.
    words: String,
    /// What the gateway is shown; the sidecar shows the host's key itself.
    bearer: Option<HeaderValue>,
}

/// Asks `url` twice and compares.
pub async fn examine(subject: &Subject, url: &str) -> Report {
    let Some(host) = host_of(url) else {
        let what = format!("{:?} is no address to ask", url.rsplit('@').next().unwrap_or_default());
        return Report::new(vec![Finding::problem(THROUGH, "bad_url", what).next(
            "fleetgate doctor --egress https://HOST/PATH  # whose answer holds the caller's address, as text or JSON",
        )]);
    };
    let proxy = match find_proxy(subject).await {
        Ok(proxy) => proxy,
        Err(findings) => return Report::new(findings),
    };
    let through = ask(url, Some(&proxy), None).await;
    // Of the same family, or the two could not be compared.
    let direct = ask(url, None, through.as_ref().ok().copied()).await;
    let mut findings = vec![match &through {
        Ok(seen) => Finding::ok(THROUGH, format!("through {}, {host} sees {seen}", proxy.words)),
        Err(trouble) => trouble.finding(&proxy, &host, url),
    }];
    findings.push(match &direct {
        Ok(seen) => Finding::ok(DIRECT, format!("without it, {host} sees {seen}")),
        Err(trouble) => Finding::skipped(DIRECT, format!("without it, {host} is not reached: {trouble}")),
    });
    findings.push(compare(&host, through.ok(), direct.ok()));
    Report::new(findings)
}

fn compare(host: &str, through: Option<IpAddr>, direct: Option<IpAddr>) -> Finding {
    match (through, direct) {
        (None, _) => Finding::skipped(ONE_IP, format!("because of {THROUGH}")),
        (Some(seen), None) => Finding::ok(ONE_IP, format!("{host} sees {seen}, and there is no other way from here")),
        (Some(seen), Some(own)) if seen != own => Finding::ok(
            ONE_IP,
            format!("{host} sees {seen} instead of {own}: tunnels leave from the gateway's address"),
        ),
        (Some(seen), Some(_)) => Finding::warning(ONE_IP, "same_address", format!("{host} sees {seen} both ways"))
            .cause("this machine and the gateway are behind one router, or this is the gateway's machine")
            .next("fleetgate doctor --egress URL  # from a machine on another network"),
    }
}

/// The host, where it may be asked. A name or password in it would stand in the list of processes.
fn host_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().filter(|authority| is_web && !authority.as_str().contains('@'))?;
    Some(authority.as_str().to_owned())
}

/// The sidecar of this machine, else the gateway with this host's key.
async fn find_proxy(subject: &Subject) -> Result<Proxy, Vec<Finding>> {
    let here = here::look(&subject.sidecar).await;
    let url = subject.sidecar.clone();
    let (level, code) = (here.finding.level, here.finding.code);
    if level != Level::Problem && code != "gateway_instead" {
        return Ok(Proxy { words: format!("the sidecar at {}", url.authority()), url, bearer: None });
    }
    let mut findings = Vec::new();
    let us = identify(subject, &here, &mut findings).await;
    let gateway = find_gateways(subject, &here).map(|all| all.into_iter().next());
    match (gateway, us.bearer) {
        (Ok(Some(url)), Some(bearer)) => {
            let resolved = name::resolve(&url).await.map_err(|finding| vec![finding])?;
            if let Some(suspicion) = resolved.suspicion {
                // Nobody vouches for who answers there, and nothing encrypts what is sent.
                let what = format!("{suspicion}; no key is sent to an address outside of the mesh");
                return Err(vec![here.finding, name::wrong_address(url.authority(), &suspicion, &what)]);
            }
            let words = format!("the gateway at {} (no sidecar answers)", url.authority());
            Ok(Proxy { words, url, bearer: Some(bearer) })
        }
        (gateway, _) => {
            findings.push(here.finding);
            findings.extend(gateway.err());
            Err(findings)
        }
    }
}

/// Why a way shows no address.
#[derive(Debug)]
enum Trouble {
    NoCurl(io::Error),
    /// The proxy refuses, in its words.
    Refused(String),
    /// In curl's words.
    Unreached(String),
    /// What the answer's body lacks.
    NoAddress(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCurl(error) => write!(f, "curl cannot be started ({error})"),
            Self::Refused(reason) => write!(f, "refused ({reason})"),
            Self::Unreached(words) | Self::NoAddress(words) => f.write_str(words),
        }
    }
}

impl Trouble {
    fn finding(&self, proxy: &Proxy, host: &str, url: &str) -> Finding {
        let what = format!("through {}, {host}: {self}", proxy.words);
        let port = if url.starts_with("https:") { 443 } else { 80 };
        match self {
            Self::NoCurl(_) => {
                Finding::problem(THROUGH, "no_curl", what).cause("it is not installed").next("sudo apt install curl")
            }
            Self::Refused(_) => Finding::problem(THROUGH, "refused", what)
                .cause("a rule, a port or a class of addresses that tunnels must not lead to")
                .next(format!("fleetgate egress explain {host}:{port}  # by the administrator")),
            Self::Unreached(_) => Finding::problem(THROUGH, "unreached", what)
                .cause("the gateway is not reached, or does not reach the destination")
                .next("fleetgate doctor"),
            Self::NoAddress(_) => Finding::problem(THROUGH, "no_address", what)
                .cause("the destination does not say from where it is asked")
                .next("fleetgate doctor --egress URL  # whose answer holds the caller's address, as text or JSON"),
        }
    }
}

/// Asks by curl, through a proxy or without any, over the family of `like`.
async fn ask(url: &str, proxy: Option<&Proxy>, like: Option<IpAddr>) -> Result<IpAddr, Trouble> {
    let mut command = Command::new("curl");
    // `-i`: the proxy's own refusal stands in a head.
    command.args(["-q", "-sS", "-i", "--max-time", PATIENCE, "--proto", "=http,https", "-K", "-"]);
    match proxy {
        Some(proxy) => command.args(["--proxytunnel", "--noproxy", "", "--proxy"]).arg(proxy.url.to_string()),
        None => command.args(["--noproxy", "*"]),
    };
    if let Some(like) = like {
        command.arg(if like.is_ipv4() { "-4" } else { "-6" });
    }
    for name in PROXY_VARIABLES {
        command.env_remove(name);
    }
    command.args(["--url", url]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let secrets = proxy.and_then(|proxy| proxy.bearer.as_ref()).map_or(Vec::new(), header_line);
    let (answer, words, is_done) = run(command, &secrets).await.map_err(Trouble::NoCurl)?;
    if !is_done {
        return Err(match take_heads(&answer).0 {
            Some(reason) => Trouble::Refused(reason),
            None => Trouble::Unreached(words.trim().to_owned()),
        });
    }
    seen_address(&answer).map_err(Trouble::NoAddress)
}

/// A line of curl's configuration. On its command line everybody would see the key.
fn header_line(bearer: &HeaderValue) -> Vec<u8> {
    let mut line = b"proxy-header = \"Proxy-Authorization: ".to_vec();
    for byte in bearer.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.extend_from_slice(b"\"\n");
    line
}

/// What it says, what it complains of, and whether it succeeded.
async fn run(mut command: Command, input: &[u8]) -> io::Result<(String, String, bool)> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may have complained and gone.
        let _gone = stdin.write_all(input).await;
    }
    let (mut answer, mut words) = (Vec::new(), Vec::new());
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        let (mut stdout, mut stderr) = (stdout.take(MAX_ANSWER), stderr.take(MAX_ANSWER));
        let (read, _) = tokio::join!(stdout.read_to_end(&mut answer), stderr.read_to_end(&mut words));
        read?;
    }
    // Both pipes are closed now, which ends it.
    let ended = child.wait().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&answer), text(&words), ended.success()))
}

/// Takes the heads off: the proxy's, and the answer's own. What is left is the body.
fn take_heads(answer: &str) -> (Option<String>, String, &str) {
    let (mut reason, mut status, mut rest) = (None, String::new(), answer);
    while rest.starts_with("HTTP/")
        && let Some((head, behind)) = rest.split_once("\r\n\r\n")
    {
        rest = behind;
        let line = head.lines().next().unwrap_or_default();
        status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let named = head.lines().filter_map(|line| line.split_once(':'));
        let mut named = named.filter(|(name, _)| name.eq_ignore_ascii_case("x-fleetgate-reason"));
        reason = reason.or_else(|| named.next().map(|(_, reason)| reason.trim().to_owned()));
    }
    (reason, status, rest)
}

/// The address in curl's answer, behind its heads.
///
/// # Errors
/// When there is none, or several.
pub fn seen_address(answer: &str) -> Result<IpAddr, String> {
    let (_, status, body) = take_heads(answer);
    address_in(body).map_err(|why| format!("{why} (status {status})"))
}

/// The one address that a body holds: the only text of a JSON document that is one, else the only word that is one.
fn address_in(body: &str) -> Result<IpAddr, String> {
    let mut seen = BTreeSet::new();
    match serde_json::from_str::<Value>(body) {
        Ok(document) => collect(&document, &mut seen),
        Err(_) => words(body, &mut seen),
    }
    let first = seen.pop_first().ok_or("the answer holds no address")?;
    match seen.pop_first() {
        None => Ok(first),
        Some(other) => Err(format!("the answer holds several addresses, such as {first} and {other}")),
    }
}

fn collect(document: &Value, seen: &mut BTreeSet<IpAddr>) {
    match document {
        Value::String(text) => words(text, seen),
        Value::Array(all) => all.iter().for_each(|one| collect(one, seen)),
        Value::Object(fields) => fields.values().for_each(|one| collect(one, seen)),
        _ => {}
    }
}

fn words(text: &str, seen: &mut BTreeSet<IpAddr>) {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '.' | ':')));
    let addresses = words.filter_map(|word| word.trim_end_matches(['.', ':']).parse::<IpAddr>().ok());
    seen.extend(addresses.map(|address| address.to_canonical()).filter(|address| !address.is_unspecified()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_address_is_found_in_text_and_json() {
        for (body, address) in [
            ("203.0.113.7\n", "203.0.113.7"),
            ("Your address is 203.0.113.7.", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            (r#"{"ip":"203.0.113.7","at":"12:30:00","port":443,"version":"1.2.3"}"#, "203.0.113.7"),
            (r#"{"you":{"address":"2001:db8::1"},"also":["2001:db8::1"]}"#, "2001:db8::1"),
            ("<b>203.0.113.7</b>", "203.0.113.7"),
        ] {
            assert_eq!(address_in(body), Ok(address.parse().unwrap()), "{body}");
        }
        for body in ["", "hello", r#"{"ip":null}"#, "12:30", "0.0.0.0", "1.2.3.256"] {
            assert!(address_in(body).unwrap_err().contains("no address"), "{body}");
        }
        assert!(address_in(r#"{"ip":"203.0.113.7","via":"198.51.100.1"}"#).unwrap_err().contains("several"));
    }

    #[test]
    fn heads_are_taken_off_and_the_proxys_reason_is_kept() {
        let answer =
            "HTTP/1.1 200 OK\r\nX-Fleetgate-Reason: reported_domain_denied\r\n\r\nHTTP/2 404 \r\na: b\r\n\r\n1.2.3.4";
        let (reason, status, body) = take_heads(answer);
        assert_eq!((reason.as_deref(), status.as_str(), body), (Some("reported_domain_denied"), "404", "1.2.3.4"));
        assert_eq!(take_heads("HTTP/1.1 200"), (None, String::new(), "HTTP/1.1 200"));
    }

    #[test]
    fn a_url_with_a_password_or_another_scheme_is_not_asked() {
        assert_eq!(host_of("https://echo.example:8443/ip?x").as_deref(), Some("echo.example:8443"));
        for url in ["echo.example", "ftp://echo.example/", "https://u:p@echo.example/", "https://", "-o /etc/passwd"] {
            assert_eq!(host_of(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_found_stands_in_the_answer(body in "\\PC{0,60}") {
            if let Ok(address) = address_in(&body) {
                prop_assert!(!address.is_unspecified() && body.contains(['.', ':']));
            }
            let (_, _, rest) = take_heads(&body);
            prop_assert!(body.ends_with(rest));
        }
    }
}
