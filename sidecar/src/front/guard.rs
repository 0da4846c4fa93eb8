//! Who may talk to us. A port that adds a key is spending power for whoever reaches it, and every web page reaches localhost.

use std::net::IpAddr;

use fleetgate_wire::header;
use http::header::{CONTENT_TYPE, HOST, ORIGIN, UPGRADE, VIA};
use http::uri::Authority;
use http::{HeaderMap, StatusCode};

use super::target::{Target, names_us};
use crate::refusal::Refusal;

/// Lets a request pass or says why not.
pub(super) fn admit(headers: &HeaderMap, target: &Target, ours: IpAddr, names: &[String]) -> Result<(), Refusal> {
    refuse_browsers(headers)?;
    // The `Host` of a CONNECT is its destination (RFC 9110 §7.2).
    if !matches!(target, Target::Tunnel(_)) {
        check_host(headers, ours, names)?;
    }
    if headers.contains_key(header::SIDECAR) {
        return Err(looped(
            "this call has already passed a sidecar: FLEETGATE_GATEWAY must name the gateway, not a sidecar",
        ));
    }
    if headers.get_all(VIA).iter().any(|via| *via == header::GATEWAY_VIA) {
        return Err(looped(
            "this call comes from the gateway itself: an api_base, or OPENAI_BASE_URL or ANTHROPIC_BASE_URL in the gateway's \
             environment, names this sidecar; it must name the provider",
        ));
    }
    if *target == Target::Api {
        check_api_call(headers)?;
    }
    Ok(())
}

fn looped(message: &str) -> Refusal {
    Refusal::new(StatusCode::LOOP_DETECTED, "loop", message)
}

/// `Sec-Fetch-Mode` is no sign of a browser: Node's fetch sends it too.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), Refusal> {
    let sign = if headers.contains_key(ORIGIN) {
        "Origin"
    } else if headers.get_all("sec-fetch-site").iter().any(|value| value != "none") {
        "Sec-Fetch-Site"
    } else {
        return Ok(());
    };
    let message = format!("the sidecar does not talk to web pages (the request has the header {sign})");
    Err(Refusal::new(StatusCode::FORBIDDEN, "browser_request", message))
}

/// A page that rebinds its own name to 127.0.0.1 still sends that name.
fn check_host(headers: &HeaderMap, ours: IpAddr, names: &[String]) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        let message = "a request needs exactly one Host header";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "missing_host", message));
    };
    let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    match authority {
        Some(authority) if !authority.as_str().contains('@') && names_us(authority.host(), ours, names) => Ok(()),
        _ => {
            let message = format!(
                "the Host header says {:?}; the sidecar answers localhost, 127.0.0.1 and [::1], and what --allow-host names",
                String::from_utf8_lossy(host.as_bytes())
            );
            Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_host", message))
        }
    }
}

fn check_api_call(headers: &HeaderMap) -> Result<(), Refusal> {
    let wants_websocket = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("websocket")))
    };
    if headers.get_all(UPGRADE).iter().any(wants_websocket) {
        // This very status makes clients fall back to plain calls at once.
        let message = "WebSockets are not supported; use POST";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "websocket", message));
    }
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/plain")) {
        // What a page may send to any address without asking (CORS "simple request").
        let message = "content type text/plain is not accepted; send application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text_plain", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lines: &[(&'static str, &'static str)]) -> Result<(), &'static str> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        admit(&headers, &Target::Api, "127.0.0.1".parse().unwrap(), &["box.internal".to_owned()])
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for host in [
            "localhost",
            "localhost:4000",
            "LOCALHOST:1",
            "127.0.0.1:4000",
            "[::1]:4000",
            "127.0.0.2",
            "Box.internal:4000",
        ] {
            assert_eq!(verdict(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:4000",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "x@localhost",
            "10.0.0.1",
            "",
            "x.box.internal",
        ] {
            assert_eq!(verdict(&[("host", host)]), Err("foreign_host"), "{host}");
        }
        assert_eq!(verdict(&[]), Err("missing_host"));
    }

    #[test]
    fn browsers_are_refused_and_node_is_not() {
        let with = |name, value| verdict(&[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:4000"), Err("browser_request"));
        assert_eq!(with("origin", "null"), Err("browser_request"));
        assert_eq!(with("sec-fetch-site", "cross-site"), Err("browser_request"));
        assert_eq!(with("sec-fetch-site", "same-origin"), Err("browser_request"));
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
        assert_eq!(with("sec-fetch-mode", "cors"), Ok(()));
    }

    #[test]
    fn what_an_api_cannot_take_is_said_at_once() {
        let with = |name, value| verdict(&[("host", "localhost"), (name, value)]);
        assert_eq!(with("upgrade", "WebSocket"), Err("websocket"));
        assert_eq!(with("upgrade", "h2c"), Ok(()));
        assert_eq!(with("content-type", "text/plain;charset=UTF-8"), Err("text_plain"));
        assert_eq!(with("content-type", "application/x-www-form-urlencoded"), Ok(()));
        assert_eq!(with("x-fleetgate-sidecar", "0.1.0"), Err("loop"));
        assert_eq!(with("via", "1.1 fleetgate-gateway"), Err("loop"));
        assert_eq!(with("via", "1.1 squid"), Ok(()));
    }
}
