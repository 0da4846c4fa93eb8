//! A TCP connection to the gateway, and if there is none, what in between does not want it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ping::{Ping, ping};
use super::report::Finding;

const CHECK: &str = "tcp";
/// Two of these cover the first packet of a relayed mesh path.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where nearly every machine either listens or refuses: the second port that tells a filtered port from a silent machine.
const SECOND_PORTS: [u16; 2] = [22, 443];

/// What became of one attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Connected.
    Open,
    /// RST.
    Refused,
    /// ICMP says no, or this machine knows no way.
    Unreachable,
    /// This machine's own firewall or policy.
    Forbidden,
    /// Nothing came back.
    Silent,
}

impl Attempt {
    async fn at(address: SocketAddr) -> Self {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Self::Open,
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused,
                io::ErrorKind::PermissionDenied => Self::Forbidden,
                io::ErrorKind::TimedOut => Self::Silent,
                _ => Self::Unreachable,
            },
            Err(_) => Self::Silent,
        }
    }

    /// Whether the machine itself has answered.
    fn shows_life(self) -> bool {
        matches!(self, Self::Open | Self::Refused)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Open => "is open",
            Self::Refused => "refuses (the machine is up)",
            Self::Unreachable => "is unreachable",
            Self::Forbidden => "is forbidden from here",
            Self::Silent => "is silent too",
        }
    }
}

/// The first address that takes a connection, or why none does.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<(SocketAddr, Finding), Finding> {
    let attempts = join_all(addresses.iter().map(|address| Attempt::at(*address))).await;
    let mut tried = addresses.iter().copied().zip(attempts);
    if let Some((address, _)) = tried.clone().find(|(_, attempt)| *attempt == Attempt::Open) {
        let deaf: Vec<String> =
            tried.filter(|(_, attempt)| *attempt != Attempt::Open).map(|(address, _)| address.to_string()).collect();
        let what = format!("{address} takes connections");
        if deaf.is_empty() {
            return Ok((address, Finding::ok(CHECK, what)));
        }
        let finding = Finding::warning(
            CHECK,
            "some_deaf",
            format!("{what}, but not {}: calls may lose time there", deaf.join(", ")),
        )
        .cause("the name has an address at which the gateway does not listen");
        return Ok((address, finding));
    }
    let Some((address, first)) = tried.next() else {
        return Err(Finding::problem(CHECK, "unreachable", "there is no address"));
    };
    let second_port = SECOND_PORTS.into_iter().find(|port| *port != address.port()).unwrap_or_default();
    // Side by side, so that the answer takes no longer than the slowest of them.
    let needs_again = first == Attempt::Silent;
    let again = async { if needs_again { Attempt::at(address).await } else { first } };
    let (again, second, ping) =
        tokio::join!(again, Attempt::at(SocketAddr::new(address.ip(), second_port)), ping(address.ip()));
    if again == Attempt::Open {
        let slow = Finding::warning(CHECK, "slow", format!("{address} took a connection only at the second attempt"))
            .cause("a mesh path that had to be set up, or lost packets")
            .next(format!("tailscale ping {}  # says whether the path is relayed", address.ip()));
        return Ok((address, slow));
    }
    Err(diagnose(address, again, ping, second_port, second))
}

fn diagnose(address: SocketAddr, attempt: Attempt, ping: Ping, second_port: u16, second: Attempt) -> Finding {
    let (ip, port) = (address.ip(), address.port());
    let evidence = format!("{}, port {second_port} of the same machine {}", ping.words(), second.words());
    let is_alive = ping == Ping::Answered || second.shows_life();
    match attempt {
        Attempt::Refused => Finding::problem(CHECK, "refused", format!("{address} refuses the connection (RST)"))
            .cause(
                "nothing listens there: the gateway is stopped, or bound to another address or port; or a firewall says REJECT. \
                 A mesh ACL drops silently, so it is none",
            )
            .next("fleetgate doctor --on-gateway  # there")
            .next(format!("ss -ltnp 'sport = :{port}'  # there: who listens, at which address")),
        Attempt::Forbidden => Finding::problem(CHECK, "forbidden_here", format!("this machine may not connect to {address}"))
            .cause("a firewall or policy of this machine (EPERM, EACCES)")
            .next("sudo nft list ruleset | grep -nE 'drop|reject'"),
        Attempt::Unreachable if is_alive => {
            Finding::problem(CHECK, "rejected", format!("{address} is rejected by ICMP; {evidence}"))
                .cause("a firewall on the way or on the gateway says REJECT (administratively prohibited). A mesh ACL drops silently, so it is none")
                .next(format!("sudo nft list ruleset | grep -n reject  # there; ufw: ufw status; it must allow port {port}"))
        }
        Attempt::Unreachable => Finding::problem(CHECK, "unreachable", format!("{address} is unreachable; {evidence}"))
            .cause("no machine with this address is on the network: it is off, its address has changed, or the mesh is down")
            .next("tailscale status  # or: wg show; netbird status")
            .next(format!("ip route get {ip}")),
        Attempt::Silent | Attempt::Open if is_alive => {
            Finding::problem(CHECK, "filtered", format!("{address} does not answer, packets to this port are dropped; {evidence}"))
                .cause("a mesh ACL that does not allow this port, or a host firewall on the gateway (DROP)")
                .next("sudo fleetgate doctor --listen 30  # there, while this runs again: tells ACL from firewall")
                .next(format!("sudo nft list ruleset | grep -n drop  # there; and the mesh's ACL must allow tcp:{port}"))
        }
        Attempt::Silent | Attempt::Open => {
            Finding::problem(CHECK, "silent", format!("{address} does not answer; {evidence}"))
                .cause("the gateway's machine is off or not in the mesh, or an ACL blocks everything to it")
                .next(format!("tailscale ping {ip}  # passes ACLs: if it is answered, the ACL blocks; or: wg show"))
                .next("tailscale status")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_probes_has_one_diagnosis() {
        let code = |attempt, ping, second| diagnose("10.0.0.1:4000".parse().unwrap(), attempt, ping, 22, second).code;
        for (attempt, ping, second, expected) in [
            (Attempt::Refused, Ping::Answered, Attempt::Refused, "refused"),
            (Attempt::Forbidden, Ping::Answered, Attempt::Open, "forbidden_here"),
            (Attempt::Unreachable, Ping::Answered, Attempt::Silent, "rejected"),
            (Attempt::Unreachable, Ping::NotAllowed, Attempt::Refused, "rejected"),
            (Attempt::Unreachable, Ping::Unreachable, Attempt::Unreachable, "unreachable"),
            (Attempt::Silent, Ping::Answered, Attempt::Silent, "filtered"),
            (Attempt::Silent, Ping::Silent, Attempt::Open, "filtered"),
            (Attempt::Silent, Ping::Silent, Attempt::Silent, "silent"),
            (Attempt::Silent, Ping::NotAllowed, Attempt::Silent, "silent"),
        ] {
            assert_eq!(code(attempt, ping, second), expected, "{attempt:?} {ping:?} {second:?}");
        }
    }
}
