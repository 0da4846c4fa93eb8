//! Which of this machine's addresses is the one in the mesh: by the daemon's word, else by the interface's name. A range alone proves
//! nothing: 100.64.0.0/10 is also what mobile and cable providers give their customers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use fleetgate_wire::address::is_listenable;
use fleetgate_wire::mesh::{SOCKETS, own_addresses};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::time::timeout;

/// The daemon answers from memory, within a millisecond.
const ASK_WITHIN: Duration = Duration::from_millis(500);
/// Tailscale's, Headscale's and NetBird's (RFC 6598).
const MESH_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
/// Of it, what ChromeOS gives its own virtual machines (`tsaddr`).
const CHROMEOS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 115, 92, 0), 23);
/// Tailscale's alone.
const MESH_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0), 48);

/// This machine in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPlace {
    /// The interface.
    pub interface: String,
    /// Its addresses there, IPv4 first. At least one.
    pub addresses: Vec<IpAddr>,
}

/// Why no address is known to be the mesh's.
#[derive(Debug, thiserror::Error)]
pub enum NoMesh {
    /// Nothing looks like one.
    #[error(
        "no interface of a mesh has an address (tailscale0, wt0, wg0, zt…, nebula1, utun…); is the mesh up? Another name takes \
         fleetgate.mesh.interface"
    )]
    Absent,
    /// The one that was named is not there, or not up.
    #[error(
        "the interface {0}, which fleetgate.mesh.interface names, has no address that may be listened on; is the mesh up?"
    )]
    Named(String),
    /// Nobody can tell which.
    #[error("each of {0} may be the mesh; name the one with fleetgate.mesh.interface")]
    Several(String),
    /// It may be the internet provider's network.
    #[error(
        "{interface} has {address}: meshes use such addresses, and so do internet providers; if it is the mesh, say \
         fleetgate.mesh.interface: {interface}"
    )]
    Doubtful {
        /// Its interface.
        interface: String,
        /// The address.
        address: IpAddr,
    },
    /// The system does not tell.
    #[error("cannot list this machine's interfaces: {0}; a systemd unit has to allow AF_NETLINK")]
    Interfaces(#[from] io::Error),
}

/// Looks for this machine's place in the mesh. `named` is the interface, if the operator says; `daemon` is where `tailscaled` is
/// asked, `None` for its usual places.
///
/// # Errors
/// While there is none, or nobody can tell which it is.
pub async fn find_mesh(named: Option<&str>, daemon: Option<&Path>) -> Result<MeshPlace, NoMesh> {
    let interfaces = if_addrs::get_if_addrs()?;
    let interfaces: Vec<_> = interfaces.into_iter().map(|interface| (interface.name.clone(), interface.ip())).collect();
    let own = match named {
        Some(_) => Vec::new(),
        None => ask(daemon).await,
    };
    choose(&interfaces, &own, named)
}

/// What the daemon says; nothing where there is none.
async fn ask(daemon: Option<&Path>) -> Vec<IpAddr> {
    let usual = SOCKETS.map(Path::new);
    for socket in daemon.as_ref().map_or(usual.as_slice(), std::slice::from_ref) {
        if let Ok(Ok(addresses)) = timeout(ASK_WITHIN, own_addresses(socket)).await {
            return addresses;
        }
    }
    Vec::new()
}

/// What an interface's name says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mesh,
    /// Any tunnel: a mesh's if its address is.
    Tunnel,
    Other,
}

/// The names of mesh interfaces, dearest first: the letters, and whether more than digits may follow.
const MESHES: [(&str, bool); 6] =
    [("tailscale", false), ("wt", false), ("netbird", false), ("nebula", false), ("wg", false), ("zt", true)];
/// macOS calls every tunnel so, and Linux those without a better name.
const TUNNELS: [&str; 2] = ["utun", "tun"];

fn begins_with(name: &str, letters: &str, any: bool) -> bool {
    let rest = name.strip_prefix(letters);
    rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || (any && c.is_ascii_alphanumeric())))
}

fn kind(name: &str) -> Kind {
    if MESHES.iter().any(|(letters, any)| begins_with(name, letters, *any)) {
        Kind::Mesh
    } else if TUNNELS.iter().any(|letters| begins_with(name, letters, false)) {
        Kind::Tunnel
    } else {
        Kind::Other
    }
}

fn is_mesh(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => MESH_V4.contains(&v4) && !CHROMEOS.contains(&v4),
        IpAddr::V6(v6) => MESH_V6.contains(&v6),
    }
}

fn choose(interfaces: &[(String, IpAddr)], own: &[IpAddr], named: Option<&str>) -> Result<MeshPlace, NoMesh> {
    let link_local: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));
    let usable = |ip: IpAddr| !ip.is_loopback() && is_listenable(ip) && !link_local.contains(&ip);
    let place = |interface: &str, wanted: &dyn Fn(IpAddr) -> bool| {
        let on_it = interfaces.iter().filter(|(name, ip)| name == interface && usable(*ip) && wanted(*ip));
        let mut addresses: Vec<IpAddr> = on_it.map(|(_, ip)| *ip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        (!addresses.is_empty()).then(|| MeshPlace { interface: interface.to_owned(), addresses })
    };
    if let Some(name) = named {
        return place(name, &|_| true).ok_or_else(|| NoMesh::Named(name.to_owned()));
    }
    let mut names: Vec<&str> = interfaces.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // The daemon knows, also where the network has addresses of its own.
    if let Some(found) = names.iter().find_map(|name| place(name, &|ip| own.contains(&ip))) {
        return Ok(found);
    }
    for (letters, any) in MESHES {
        let found: Vec<_> = names.iter().filter(|name| begins_with(name, letters, any)).collect();
        let mut found: Vec<_> = found.into_iter().filter_map(|name| place(name, &|_| true)).collect();
        if found.len() > 1 {
            let names: Vec<_> = found.into_iter().map(|place| place.interface).collect();
            return Err(NoMesh::Several(names.join(" and ")));
        }
        if let Some(place) = found.pop() {
            return Ok(place);
        }
    }
    let is_tailscale = |ip: IpAddr| is_mesh(ip) && ip.is_ipv6();
    for name in &names {
        let found = match kind(name) {
            Kind::Tunnel => place(name, &is_mesh),
            Kind::Mesh | Kind::Other => place(name, &is_tailscale),
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let doubtful = interfaces.iter().find(|(_, ip)| usable(*ip) && is_mesh(*ip));
    Err(match doubtful {
        Some((interface, address)) => NoMesh::Doubtful { interface: interface.clone(), address: *address },
        None => NoMesh::Absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(interfaces: &[(&str, &str)], own: &[&str], named: Option<&str>) -> Result<String, NoMesh> {
        let interfaces: Vec<_> =
            interfaces.iter().map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap())).collect();
        let own: Vec<_> = own.iter().map(|ip| ip.parse().unwrap()).collect();
        let place = choose(&interfaces, &own, named)?;
        let addresses: Vec<_> = place.addresses.iter().map(ToString::to_string).collect();
        Ok(format!("{} {}", place.interface, addresses.join(" ")))
    }

    const ETH0: (&str, &str) = ("eth0", "192.168.1.7");
    const LO: (&str, &str) = ("lo", "127.0.0.1");

    #[test]
    fn a_mesh_is_known_by_its_interface() {
        for (name, address) in [
            ("tailscale0", "100.64.0.7"),
            ("wt0", "100.92.1.2"),
            ("wg0", "10.8.0.1"),
            ("ztabcdef12", "10.147.17.3"),
            ("nebula1", "10.42.0.1"),
            ("utun4", "100.101.1.1"),
            ("tun0", "100.64.3.3"),
            ("eth9", "fd7a:115c:a1e0::7"),
        ] {
            assert_eq!(chosen(&[LO, ETH0, (name, address)], &[], None).unwrap(), format!("{name} {address}"));
        }
    }

    #[test]
    fn its_addresses_are_all_served_but_not_what_is_no_network() {
        let interfaces = [
            ETH0,
            ("tailscale0", "fe80::1"),
            ("tailscale0", "fd7a:115c:a1e0::7"),
            ("tailscale0", "100.64.0.7"),
            ("tailscale0", "203.0.113.7"),
        ];
        assert_eq!(chosen(&interfaces, &[], None).unwrap(), "tailscale0 100.64.0.7 fd7a:115c:a1e0::7");
        assert!(matches!(chosen(&[("wg0", "8.8.8.8")], &[], None), Err(NoMesh::Absent)), "a public address is no mesh");
    }

    #[test]
    fn the_daemon_knows_better_than_names() {
        let interfaces = [("wg0", "10.8.0.1"), ("ts1", "10.99.0.4"), ("ts1", "192.168.9.9")];
        assert_eq!(chosen(&interfaces, &["10.99.0.4"], None).unwrap(), "ts1 10.99.0.4");
        // In user space it has no interface.
        assert_eq!(chosen(&interfaces, &["100.64.0.1"], None).unwrap(), "wg0 10.8.0.1");
    }

    #[test]
    fn the_operator_knows_best() {
        let interfaces = [("tailscale0", "100.64.0.7"), ("corp0", "10.1.1.1")];
        assert_eq!(chosen(&interfaces, &["100.64.0.7"], Some("corp0")).unwrap(), "corp0 10.1.1.1");
        assert!(matches!(chosen(&interfaces, &[], Some("wg9")), Err(NoMesh::Named(name)) if name == "wg9"));
    }

    #[test]
    fn what_may_be_the_providers_network_is_not_taken() {
        for name in ["eth0", "wwan0", "ppp0", "en0"] {
            let doubted = chosen(&[LO, (name, "100.72.3.4")], &[], None);
            assert!(matches!(doubted, Err(NoMesh::Doubtful { interface, .. }) if interface == name));
        }
        assert!(matches!(chosen(&[LO, ETH0], &[], None), Err(NoMesh::Absent)));
        assert!(matches!(chosen(&[("tun0", "100.115.92.3")], &[], None), Err(NoMesh::Absent)), "ChromeOS");
        assert!(matches!(chosen(&[("utun3", "10.0.0.2")], &[], None), Err(NoMesh::Absent)), "any VPN");
        assert!(matches!(chosen(&[("wgmullvad", "10.64.0.2")], &[], None), Err(NoMesh::Absent)), "a bought VPN");
    }

    #[test]
    fn of_two_wireguards_nobody_can_tell_the_mesh() {
        let two = [("wg0", "10.8.0.1"), ("wg1", "10.9.0.1")];
        assert!(matches!(chosen(&two, &[], None), Err(NoMesh::Several(names)) if names == "wg0 and wg1"));
        let both = [("wg0", "10.8.0.1"), ("wt0", "100.92.1.2"), ("tailscale0", "100.64.0.7")];
        assert_eq!(chosen(&both, &[], None).unwrap(), "tailscale0 100.64.0.7");
    }
}
