//! Whether large requests arrive as small ones do. Where they do not, the path takes smaller packets than both ends believe, and
//! the ICMP message that would say so is dropped on the way.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::answer::ALIVE;
use super::exchange::{self, Raw};
use super::netlink::Interface;
use super::report::Finding;
use crate::forward::GatewayUrl;

const CHECK: &str = "mtu";
/// Bytes of a request: below what IPv6 promises (1280), below WireGuard's and Ethernet's packets, and several packets.
const SIZES: [usize; 6] = [400, 900, 1150, 1300, 1400, 6000];
/// Three of TCP's repetitions fit into this on a path of a mesh; a black hole takes none of them.
const PATIENCE: Duration = Duration::from_millis(3500);
/// IPv4 and TCP with timestamps; IPv6 has 20 more.
const HEADERS_V4: usize = 52;
const HEADERS_V6: usize = 72;
/// What IPv6 promises, and what every mesh can carry.
const SAFE_MTU: u32 = 1280;

/// Sends requests of growing size side by side; none has an effect. What got no answer is tried once more: chance is no black hole.
pub(super) async fn probe(address: SocketAddr, gateway: &GatewayUrl, way: Option<&Interface>) -> Finding {
    let first = join_all(SIZES.map(|size| arrives(address, gateway, size))).await;
    let again = SIZES
        .into_iter()
        .zip(first)
        .map(async |(size, arrived)| (size, arrived || arrives(address, gateway, size).await));
    judge(address, &join_all(again).await, way)
}

async fn arrives(address: SocketAddr, gateway: &GatewayUrl, size: usize) -> bool {
    let raw = exchange::raw(address, request(gateway.authority(), size).as_bytes(), Some(PATIENCE)).await;
    matches!(raw, Raw::Bytes(_))
}

/// A request of this many bytes: nobody can answer it before its last packet has come.
fn request(authority: &str, size: usize) -> String {
    let head = format!("GET {ALIVE} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nX-Padding: ");
    let padding = size.saturating_sub(head.len() + 4);
    format!("{head}{}\r\n\r\n", "0".repeat(padding))
}

fn judge(address: SocketAddr, arrivals: &[(usize, bool)], way: Option<&Interface>) -> Finding {
    let largest = arrivals.iter().map(|(size, _)| *size).max().unwrap_or_default();
    let lost = arrivals.iter().filter(|(_, arrived)| !arrived).map(|(size, _)| *size).min();
    let passes =
        |limit: usize| arrivals.iter().filter(|(size, arrived)| *arrived && *size < limit).map(|(size, _)| *size).max();
    let Some(lost) = lost else {
        return Finding::ok(CHECK, format!("requests of up to {largest} bytes arrive"));
    };
    let Some(passed) = passes(lost) else {
        return Finding::warning(
            CHECK,
            "unclear",
            format!("requests of {lost} bytes and more got no answer, nor did smaller ones"),
        )
        .cause("the gateway or the path to it is overloaded")
        .next("fleetgate doctor  # again");
    };
    if passes(usize::MAX) > Some(lost) {
        // A black hole takes all that is larger; this is chance.
        return Finding::warning(CHECK, "loss", format!("a request of {lost} bytes got no answer, larger ones did"))
            .cause("packets are lost on the way")
            .next(format!("ping -c 20 {}", address.ip()));
    }
    let (headers, payload_less) = if address.is_ipv4() { (HEADERS_V4, 28) } else { (HEADERS_V6, 48) };
    let interface = way.map_or_else(String::new, |way| format!("; {} has MTU {}", way.name, way.mtu));
    let name = way.map_or("INTERFACE", |way| way.name.as_str());
    let ip = address.ip();
    Finding::problem(
        CHECK,
        "black_hole",
        format!("requests of {passed} bytes arrive at {address}, of {lost} bytes they do not{interface}"),
    )
    .cause(format!(
        "MTU black hole: the path takes packets of between {} and {} bytes at most, and a firewall drops the ICMP message that \
         would say so. Small requests work, large ones hang",
        passed + headers,
        lost + headers
    ))
    .next(format!("ping -M do -s {} {ip}  # macOS: ping -D -s; smaller until it is answered, plus {payload_less} is the path's MTU", SAFE_MTU - payload_less))
    .next(format!("sudo ip link set dev {name} mtu {SAFE_MTU}  # here and there; for WireGuard also MTU = {SAFE_MTU} in its file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(arrived: [bool; 6]) -> &'static str {
        let arrivals: Vec<(usize, bool)> = SIZES.into_iter().zip(arrived).collect();
        judge("10.0.0.1:4000".parse().unwrap(), &arrivals, None).code
    }

    #[test]
    fn only_what_swallows_everything_above_a_size_is_a_black_hole() {
        assert_eq!(code([true; 6]), "ok");
        assert_eq!(code([true, true, true, false, false, false]), "black_hole");
        assert_eq!(code([true, true, true, true, true, false]), "black_hole");
        assert_eq!(code([true, true, false, true, true, true]), "loss");
        assert_eq!(code([false; 6]), "unclear");
    }

    #[test]
    fn a_request_has_exactly_the_size_that_is_probed() {
        for size in SIZES {
            assert_eq!(request("box.tail1.ts.net:4000", size).len(), size);
        }
    }

    #[test]
    fn the_finding_names_the_interface_and_what_to_try() {
        let way = Interface { name: "wg0".to_owned(), mtu: 1420, is_tunnel: true };
        let arrivals: Vec<(usize, bool)> = SIZES.into_iter().map(|size| (size, size < 1000)).collect();
        let finding = judge("10.0.0.1:4000".parse().unwrap(), &arrivals, Some(&way));
        assert!(finding.what.contains("wg0 has MTU 1420"), "{finding:?}");
        assert!(finding.next[0].starts_with("ping -M do -s 1252 10.0.0.1"), "{finding:?}");
        assert!(finding.next[1].contains("dev wg0 mtu 1280"), "{finding:?}");
    }
}
