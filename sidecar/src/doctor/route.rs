//! The way to the gateway as this machine's routing sees it. Nothing is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use fleetgate_wire::address::AddressClass;

use super::netlink::{self, Interface};
use super::report::Finding;

const CHECK: &str = "route";

/// The way out.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) interface: Option<Interface>,
    pub(super) finding: Finding,
    /// A mesh address would leave by an interface that belongs to no mesh: should nobody answer, that is why.
    pub(super) suspicion: Option<String>,
}

/// Asks the kernel which way packets to this address would take.
pub(super) fn look(gateway: SocketAddr) -> Result<Way, Finding> {
    let source = source_towards(gateway).map_err(|error| no_way(gateway, &error))?;
    let interface = netlink::interface_towards(gateway.ip()).ok();
    let Some(interface) = interface else {
        let what = format!("packets to {} leave from {source}", gateway.ip());
        return Ok(Way { interface: None, finding: Finding::ok(CHECK, what), suspicion: None });
    };
    let Interface { name, mtu, .. } = &interface;
    let what = format!("packets to {} leave from {source} by {name} (MTU {mtu})", gateway.ip());
    let suspicion = strays(gateway.ip(), source, &interface).then(|| {
        format!(
            "{} is a mesh address, but packets to it leave by {name}, which belongs to no mesh: the mesh is down here",
            gateway.ip()
        )
    });
    Ok(Way { interface: Some(interface), finding: Finding::ok(CHECK, what), suspicion })
}

/// A socket that is connected and never used: the kernel picks the route, and nothing leaves.
fn source_towards(gateway: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(gateway)?;
    Ok(socket.local_addr()?.ip())
}

fn strays(gateway: IpAddr, source: IpAddr, interface: &Interface) -> bool {
    let is_mesh = |ip| AddressClass::of(ip) == AddressClass::Mesh;
    // Who has a mesh address itself may have it on any kind of interface, and the gateway's own machine reaches itself by `lo`.
    is_mesh(gateway) && !interface.is_tunnel && !is_mesh(source) && !source.is_loopback()
}

fn no_way(gateway: SocketAddr, error: &io::Error) -> Finding {
    let ip = gateway.ip();
    let (code, cause) = match error.kind() {
        io::ErrorKind::PermissionDenied => ("prohibited", "a route of this machine prohibits it (EACCES)"),
        io::ErrorKind::HostUnreachable => {
            ("unreachable", "a route of this machine says \"unreachable\" (EHOSTUNREACH)")
        }
        io::ErrorKind::NetworkUnreachable => {
            ("no_route", "no route leads there (ENETUNREACH): the mesh is down on this machine")
        }
        _ => ("no_route", "this machine's routing does not let packets out to there"),
    };
    Finding::problem(CHECK, code, format!("no way to {ip}: {error}"))
        .cause(cause)
        .next(format!("ip route get {ip}  # macOS: route -n get {ip}"))
        .next("tailscale status  # or: wg show; netbird status")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(is_tunnel: bool) -> Interface {
        Interface { name: "x".to_owned(), mtu: 1500, is_tunnel }
    }

    #[test]
    fn a_mesh_address_that_leaves_by_the_lan_strays() {
        let ip = |text: &str| text.parse().unwrap();
        assert!(strays(ip("100.64.0.1"), ip("192.168.1.7"), &interface(false)));
        assert!(!strays(ip("100.64.0.1"), ip("100.64.0.7"), &interface(false)));
        assert!(!strays(ip("100.64.0.1"), ip("192.168.1.7"), &interface(true)));
        assert!(!strays(ip("10.0.0.1"), ip("192.168.1.7"), &interface(false)));
    }

    #[test]
    fn each_reason_why_there_is_no_way_is_named() {
        let gateway = "10.9.8.7:4000".parse().unwrap();
        for (errno, code) in [(13, "prohibited"), (101, "no_route"), (113, "unreachable")] {
            if cfg!(target_os = "linux") {
                assert_eq!(no_way(gateway, &io::Error::from_raw_os_error(errno)).code, code);
            }
        }
    }
}
