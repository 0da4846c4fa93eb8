//! `fleetgate doctor --listen`: what of clients' attempts to connect arrives on the gateway's machine, and what becomes of it.
//! A packet socket sees packets before any firewall of this machine; what a mesh ACL drops does not even reach it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, UdpSocket as StdUdpSocket};
use std::process::Stdio;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::report::{Finding, Report};
use super::segment::{Segment, Turn};
use super::sockets;
use crate::settings::Surroundings;

const CHECK: &str = "listen";
/// `linux/socket.h` and `linux/if_ether.h`.
const AF_PACKET: i32 = 17;
const ETH_P_ALL: u16 = 3;
/// Long enough for the head of any segment.
const SNAP: usize = 256;
/// How often the table of sockets is read where packets cannot be seen.
const LOOK: Duration = Duration::from_millis(100);
/// For the journal.
const JOURNAL_LIMIT: Duration = Duration::from_secs(5);

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No `/proc/net/tcp`.
    #[error(
        "--listen works on Linux only: there is no /proc/net/tcp here. On the gateway's machine, `tcpdump -ni any tcp port {0}` shows the same"
    )]
    NotHere(u16),
    /// The packet socket broke.
    #[error("the packet socket broke: {0}")]
    Broken(#[from] io::Error),
}

/// What one machine tried.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tries {
    attempts: u32,
    accepted: u32,
    refused: u32,
}

/// Watches attempts to connect to a port for some time. `started` is called once nothing is missed any more.
///
/// # Errors
/// When this system shows nothing of the kind.
pub async fn watch(
    port: u16,
    time: Duration,
    surroundings: &Surroundings,
    started: impl FnOnce(bool),
) -> Result<Report, WatchError> {
    if sockets::table(&surroundings.processes).is_empty() && !surroundings.processes.join("self/net/tcp").exists() {
        return Err(WatchError::NotHere(port));
    }
    let deadline = Instant::now() + time;
    let mut findings = Vec::new();
    let seen = match open() {
        Ok(socket) => {
            started(true);
            packets(&socket, port, deadline).await?
        }
        Err(error) => {
            started(false);
            findings.push(
                Finding::skipped(
                    "packets",
                    format!(
                        "packets cannot be seen by this user ({error}): what a firewall here drops stays invisible"
                    ),
                )
                .next("sudo fleetgate doctor --listen 30"),
            );
            connections(port, deadline, surroundings).await
        }
    };
    let dropped = dropped_by_tailscaled(port, time).await;
    findings.extend(judge(port, time, &seen, &dropped));
    Ok(Report::new(findings))
}

fn open() -> io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::from(AF_PACKET), Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // The same calls read it; only the family is another.
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

async fn packets(socket: &UdpSocket, port: u16, deadline: Instant) -> io::Result<BTreeMap<IpAddr, Tries>> {
    let mut seen: BTreeMap<IpAddr, Tries> = BTreeMap::new();
    let mut packet = [0u8; SNAP];
    while let Ok(received) = timeout_at(deadline, socket.recv(&mut packet)).await {
        let Some(segment) = Segment::read(&packet[..received?]) else { continue };
        count(&mut seen, segment, port);
    }
    Ok(seen)
}

fn count(seen: &mut BTreeMap<IpAddr, Tries>, segment: Segment, port: u16) {
    match segment.turn {
        Turn::Attempt if segment.to.port() == port => seen.entry(segment.from.ip()).or_default().attempts += 1,
        Turn::Accept if segment.from.port() == port => seen.entry(segment.to.ip()).or_default().accepted += 1,
        Turn::Refuse if segment.from.port() == port => seen.entry(segment.to.ip()).or_default().refused += 1,
        _ => {}
    }
}

/// Without packets only connections that the kernel took can be counted.
async fn connections(port: u16, deadline: Instant, surroundings: &Surroundings) -> BTreeMap<IpAddr, Tries> {
    let mut peers = std::collections::BTreeSet::new();
    let mut look = interval(LOOK);
    while Instant::now() < deadline {
        look.tick().await;
        let open = sockets::table(&surroundings.processes)
            .into_iter()
            .filter(|socket| !socket.is_listening && socket.local.port() == port);
        peers.extend(open.map(|socket| socket.remote));
    }
    let mut seen: BTreeMap<IpAddr, Tries> = BTreeMap::new();
    for peer in peers {
        let tries = seen.entry(peer.ip()).or_default();
        tries.attempts += 1;
        tries.accepted += 1;
    }
    seen
}

/// What tailscaled's filter says that it dropped, by source: `Drop: TCP{100.64.0.7:5321 > 100.64.0.1:4000} 60 no rules matched`.
async fn dropped_by_tailscaled(port: u16, time: Duration) -> BTreeMap<IpAddr, u32> {
    let since = format!("-{}s", time.as_secs() + 1);
    let mut journal = Command::new("journalctl");
    journal.args(["-u", "tailscaled", "--since", &since, "--no-pager", "-q", "-o", "cat"]);
    journal.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(JOURNAL_LIMIT, journal.output()).await {
        Ok(Ok(output)) => drops_in(&String::from_utf8_lossy(&output.stdout), port),
        // No journal, no tailscaled, or not for this user: nothing is known.
        Ok(Err(_)) | Err(_) => BTreeMap::new(),
    }
}

fn drops_in(journal: &str, port: u16) -> BTreeMap<IpAddr, u32> {
    let mut dropped = BTreeMap::new();
    for line in journal.lines() {
        let Some((from, to)) =
            line.split_once("Drop: TCP{").and_then(|(_, rest)| rest.split_once('}')?.0.split_once(" > "))
        else {
            continue;
        };
        let (Ok(from), Ok(to)) = (from.parse::<std::net::SocketAddr>(), to.parse::<std::net::SocketAddr>()) else {
            continue;
        };
        if to.port() == port {
            *dropped.entry(from.ip()).or_default() += 1;
        }
    }
    dropped
}

fn judge(port: u16, time: Duration, seen: &BTreeMap<IpAddr, Tries>, dropped: &BTreeMap<IpAddr, u32>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = dropped
        .iter()
        .map(|(source, count)| {
            Finding::problem(
                CHECK,
                "acl",
                format!("tailscaled dropped {count} packets from {source} to port {port}: no rules matched"),
            )
            .cause("the tailnet's ACL does not allow this machine that port")
            .next(format!(
                "# in the ACL: {{\"action\": \"accept\", \"src\": [\"{source}\"], \"dst\": [\"GATEWAY:{port}\"]}}"
            ))
        })
        .collect();
    for (source, tries) in seen {
        let Tries { attempts, accepted, refused } = tries;
        let what =
            format!("{source}: {attempts} attempts to connect to port {port}, {accepted} accepted, {refused} refused");
        findings.push(match tries {
            Tries { accepted: 1.., .. } => Finding::ok(CHECK, what),
            Tries { refused: 1.., .. } => Finding::problem(CHECK, "refused_here", what)
                .cause("nothing listens at the address that was tried, or a firewall here says REJECT with RST")
                .next(format!("ss -ltnp 'sport = :{port}'")),
            _ => Finding::problem(CHECK, "dropped_here", what)
                .cause("the attempts arrive on this machine and no answer leaves it: a firewall here drops or rejects them")
                .next("sudo nft list ruleset | grep -nE 'drop|reject'  # ufw: ufw status; firewalld: firewall-cmd --list-all"),
        });
    }
    if findings.is_empty() {
        findings.push(
            Finding::warning(CHECK, "nothing_arrives", format!("no attempt to connect to port {port} arrived within {} s", time.as_secs()))
                .cause("if a client tried meanwhile: a mesh ACL drops it before the kernel sees it, or the client goes to another address")
                .next("fleetgate doctor  # on the client, while this runs again")
                .next("journalctl -u tailscaled --since -5min | grep Drop"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(attempts: u32, accepted: u32, refused: u32) -> &'static str {
        let seen = BTreeMap::from([("100.64.0.7".parse().unwrap(), Tries { attempts, accepted, refused })]);
        judge(4000, Duration::from_secs(1), &seen, &BTreeMap::new())[0].code
    }

    #[test]
    fn what_arrives_and_what_is_answered_tell_acl_from_firewall() {
        assert_eq!(code(3, 3, 0), "ok");
        assert_eq!(code(3, 0, 0), "dropped_here");
        assert_eq!(code(3, 0, 3), "refused_here");
        let nothing = judge(4000, Duration::from_secs(1), &BTreeMap::new(), &BTreeMap::new());
        assert_eq!(nothing[0].code, "nothing_arrives");
    }

    #[test]
    fn tailscaleds_own_words_are_counted_by_source() {
        let journal = "Accept: TCP{100.64.0.9:1 > 100.64.0.1:4000} 60 ok in\n\
             2026/01/01 Drop: TCP{100.64.0.7:5321 > 100.64.0.1:4000} 60 no rules matched\n\
             Drop: TCP{100.64.0.7:5322 > 100.64.0.1:4000} 60 no rules matched\n\
             Drop: TCP{100.64.0.7:5322 > 100.64.0.1:22} 60 no rules matched\nDrop: TCP{broken\n";
        assert_eq!(drops_in(journal, 4000), BTreeMap::from([("100.64.0.7".parse().unwrap(), 2)]));
    }

    #[test]
    fn only_what_concerns_the_port_is_counted() {
        let mut seen = BTreeMap::new();
        let (client, gateway, other) =
            ("100.64.0.7:5000".parse().unwrap(), "100.64.0.1:4000".parse().unwrap(), "100.64.0.1:22".parse().unwrap());
        for (from, to, turn) in [
            (client, gateway, Turn::Attempt),
            (gateway, client, Turn::Accept),
            (client, other, Turn::Attempt),
            (client, gateway, Turn::Refuse),
        ] {
            count(&mut seen, Segment { from, to, turn }, 4000);
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [Tries { attempts: 1, accepted: 1, refused: 0 }]);
    }
}
