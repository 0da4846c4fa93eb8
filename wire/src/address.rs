//! What kind of network an address belongs to.
//!
//! Two questions are answered here: may a tunnel lead there ([`PublicAddr`]), and may we listen there ([`is_listenable`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The kinds of networks that a tunnel must not lead into, and the public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// A globally routable address.
    Public,
    /// This machine (127.0.0.0/8, ::1).
    Loopback,
    /// Private networks (RFC 1918, RFC 4193).
    Private,
    /// 100.64.0.0/10 and Tailscale's IPv6 range: where private meshes live.
    Mesh,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// Cloud metadata services.
    Metadata,
    /// IPv4 wrapped in IPv6 by NAT64, 6to4 or Teredo: it could hold any of the others.
    Embedded,
    /// Multicast, broadcast, documentation, benchmarking and unassigned ranges.
    Reserved,
}

/// One row: first address, prefix length, class. The first match wins, so exceptions stand before their range.
type Range<A> = (A, u8, AddressClass);

/// Sources: IANA special-purpose registries (RFC 6890 and successors), Tailscale's `tsaddr`, the clouds' metadata documents.
const V4: &[Range<Ipv4Addr>] = &[
    (Ipv4Addr::new(169, 254, 169, 254), 32, AddressClass::Metadata),
    (Ipv4Addr::new(169, 254, 170, 2), 32, AddressClass::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, AddressClass::Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, AddressClass::Metadata),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::Mesh),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::Reserved),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Embedded),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 3, AddressClass::Reserved),
];

const V6: &[Range<Ipv6Addr>] = &[
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata),
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0), 48, AddressClass::Mesh),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressClass::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::LinkLocal),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, AddressClass::Embedded),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, AddressClass::Embedded),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, AddressClass::Embedded),
    // The parts of 2001::/23 (protocol assignments) that the registry calls globally reachable, then the rest of it.
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 127, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28, AddressClass::Public),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressClass::Reserved),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, AddressClass::Embedded),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressClass::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressClass::Reserved),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, AddressClass::Public),
    (Ipv6Addr::UNSPECIFIED, 0, AddressClass::Reserved),
];

impl AddressClass {
    /// Classifies an address; an IPv4 address mapped into IPv6 is looked at as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                let hit =
                    V4.iter().find(|(net, length, _)| (bits ^ net.to_bits()).leading_zeros() >= u32::from(*length));
                hit.map_or(Self::Public, |(_, _, class)| *class)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let hit =
                    V6.iter().find(|(net, length, _)| (bits ^ net.to_bits()).leading_zeros() >= u32::from(*length));
                hit.map_or(Self::Reserved, |(_, _, class)| *class)
            }
        }
    }

    /// The word for messages and reason headers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Mesh => "mesh",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Embedded => "embedded-ipv4",
            Self::Reserved => "reserved",
        }
    }
}

/// An address that a tunnel may be dialled to. Only [`PublicAddr::classify`] makes one, and the dialer takes nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicAddr(SocketAddr);

impl PublicAddr {
    /// Lets public addresses pass, and those inside a network that the operator opened. Metadata services stay closed even then.
    ///
    /// # Errors
    /// The class of an address that must not be reached.
    pub fn classify(address: SocketAddr, opened: &[IpNet]) -> Result<Self, AddressClass> {
        let canonical = address.ip().to_canonical();
        match AddressClass::of(canonical) {
            AddressClass::Public => Ok(Self(address)),
            AddressClass::Metadata => Err(AddressClass::Metadata),
            _ if opened.iter().any(|net| net.contains(&canonical)) => Ok(Self(address)),
            class => Err(class),
        }
    }

    /// The address to dial.
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Debug for PublicAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether the gateway may listen on this address without being told that the operator means it: loopback, mesh and private
/// networks (WireGuard, ZeroTier and Nebula hand out private ones). Wildcards and public addresses are not.
#[must_use]
pub fn is_listenable(address: IpAddr) -> bool {
    matches!(
        AddressClass::of(address),
        AddressClass::Loopback | AddressClass::Mesh | AddressClass::Private | AddressClass::LinkLocal
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        AddressClass::of(text.parse().unwrap())
    }

    #[test]
    fn every_range_of_the_table_is_recognised_at_both_ends() {
        use AddressClass::*;
        let table: &[(&str, AddressClass)] = &[
            ("0.0.0.0", Reserved),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("9.255.255.255", Public),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.64.0.0", Mesh),
            ("100.127.255.255", Mesh),
            ("100.128.0.0", Public),
            ("100.100.100.200", Metadata),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("169.254.169.254", Metadata),
            ("169.254.1.1", LinkLocal),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.168.0.1", Private),
            ("198.18.0.1", Reserved),
            ("198.20.0.0", Public),
            ("203.0.113.9", Reserved),
            ("223.255.255.255", Public),
            ("224.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("168.63.129.16", Metadata),
            ("8.8.8.8", Public),
            ("::", Reserved),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Reserved),
            ("64:ff9b::7f00:1", Embedded),
            ("64:ff9b:1::1", Embedded),
            ("2001::1", Embedded),
            ("2002:7f00:1::", Embedded),
            ("2001:0:ffff::1", Embedded),
            ("2001:1::", Reserved),
            ("2001:1::1", Public),
            ("2001:1::2", Public),
            ("2001:1::3", Public),
            ("2001:1::4", Reserved),
            ("2001:2::1", Reserved),
            ("2001:3:ffff::1", Public),
            ("2001:4:112::1", Public),
            ("2001:4:113::1", Reserved),
            ("2001:10::1", Reserved),
            ("2001:2f::1", Public),
            ("2001:3f::1", Public),
            ("2001:40::1", Reserved),
            ("2001:1ff:ffff::1", Reserved),
            ("2001:200::1", Public),
            ("2001:db8::1", Reserved),
            ("2606:4700::1111", Public),
            ("fd7a:115c:a1e0::1", Mesh),
            ("fd00:ec2::254", Metadata),
            ("fd12::1", Private),
            ("fe80::1", LinkLocal),
            ("ff02::1", Reserved),
            ("100::1", Reserved),
        ];
        for (text, expected) in table {
            assert_eq!(class(text), *expected, "{text}");
        }
    }

    #[test]
    fn an_opened_network_is_reachable_but_never_its_metadata_service() {
        let opened = ["169.254.0.0/16".parse().unwrap(), "10.9.0.0/16".parse().unwrap()];
        let classify = |text: &str| PublicAddr::classify(text.parse().unwrap(), &opened);
        assert!(classify("10.9.0.1:443").is_ok());
        assert!(classify("[::ffff:10.9.0.1]:443").is_ok());
        assert_eq!(classify("10.8.0.1:443").unwrap_err(), AddressClass::Private);
        assert_eq!(classify("169.254.169.254:443").unwrap_err(), AddressClass::Metadata);
    }

    #[test]
    fn a_wildcard_is_no_place_to_listen() {
        for (text, fine) in [
            ("127.0.0.1", true),
            ("100.64.3.4", true),
            ("10.1.1.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_listenable(text.parse().unwrap()), fine, "{text}");
        }
    }
}
