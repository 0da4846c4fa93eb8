use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetgate_wire::row::Mark;
use fleetgate_wire::workload::Workload;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::auth::{CallerHost, CallerKey, MASTER_HASH, Origin};

/// A daemon that knows 100.64.0.7 as `mac`, and nobody else.
struct Daemon {
    directory: TempDir,
    asked: Arc<AtomicUsize>,
}

impl Daemon {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("tailscaled.sock")).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                count.fetch_add(1, Ordering::SeqCst);
                let known = String::from_utf8(request).unwrap().contains("addr=100.64.0.7:");
                let answer = if known {
                    "HTTP/1.0 200 OK\r\n\r\n{\"Node\": {\"Name\": \"mac.tail1234.ts.net.\"}}"
                } else {
                    "HTTP/1.0 404 Not Found\r\n\r\nno match for IP:port\n"
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { directory, asked }
    }

    fn mesh(&self, check: MeshCheck) -> Mesh {
        mesh(check, self.directory.path().join("tailscaled.sock"))
    }
}

fn mesh(check: MeshCheck, socket: PathBuf) -> Mesh {
    let names = BTreeMap::from([(label("laptop"), label("mac"))]);
    Mesh::new(MeshSettings { check, socket: Some(socket), names })
}

fn label(text: &str) -> HostLabel {
    HostLabel::parse(text).unwrap()
}

fn caller(host: CallerHost) -> Caller {
    Caller {
        key: CallerKey::Master,
        key_hash: MASTER_HASH.into(),
        host,
        workload: Workload::unknown(),
        customer: None,
        tags: Vec::new(),
        origin: Origin::default(),
    }
}

fn bound(host: &str) -> Caller {
    caller(CallerHost::Bound(label(host)))
}

const MAC: &str = "100.64.0.7:41234";
const STRANGER: &str = "192.168.1.9:5";

async fn check(mesh: &Mesh, caller: Caller, peer: &str) -> Result<Caller, Denied> {
    mesh.check(caller, peer.parse().unwrap()).await
}

#[tokio::test]
async fn a_machine_that_the_mesh_calls_otherwise_is_marked_with_its_name_there() {
    let daemon = Daemon::start();
    let mesh = daemon.mesh(MeshCheck::Report);
    let seen = async |caller: Caller, peer: &str| {
        let caller = check(&mesh, caller, peer).await.unwrap();
        // The answer may come after the moment that a call waits for it.
        mesh.sight(peer.parse().unwrap()).wait(Duration::from_secs(30)).await;
        (caller.host_seen().map(String::from), caller.marks(caller.host_seen().as_ref()))
    };
    assert_eq!(seen(bound("tower"), MAC).await, (Some("mac".to_owned()), vec![Mark::HostMismatch]));
    assert_eq!(seen(bound("mac"), MAC).await, (None, vec![]));
    assert_eq!(seen(bound("laptop"), MAC).await, (None, vec![]), "the operator said that both are one");
    assert_eq!(seen(bound("tower"), STRANGER).await, (None, vec![]), "nobody is no other machine");
    // Who names no machine is none the mesh could contradict; its name is better than an address.
    let nameless = caller(CallerHost::Address([100, 64, 0, 7].into()));
    assert_eq!(seen(nameless, MAC).await, (Some("mac".to_owned()), vec![]));
}

#[tokio::test]
async fn an_address_is_asked_for_once_and_a_relayed_one_by_its_port() {
    let daemon = Daemon::start();
    let mesh = daemon.mesh(MeshCheck::Enforce);
    for peer in [MAC, "100.64.0.7:999", "[::ffff:100.64.0.7]:1"] {
        check(&mesh, bound("mac"), peer).await.unwrap();
    }
    assert_eq!(daemon.asked.load(Ordering::SeqCst), 1);
    for peer in ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1"] {
        check(&mesh, bound("mac"), peer).await.unwrap();
    }
    assert_eq!(daemon.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn where_it_is_enforced_another_machines_call_is_refused_and_a_mere_claim_is_not_believed() {
    let daemon = Daemon::start();
    let mesh = daemon.mesh(MeshCheck::Enforce);
    let refused = check(&mesh, bound("tower"), MAC).await.unwrap_err();
    assert!(
        matches!(&refused, Denied::HostMismatch { host, seen, .. } if (host.as_str(), seen.as_str()) == ("tower", "mac"))
    );
    let claimed = |host| caller(CallerHost::Claimed(label(host)));
    assert!(check(&mesh, claimed("tower"), MAC).await.is_err());
    assert_eq!(check(&mesh, claimed("mac"), MAC).await.unwrap().host, CallerHost::Claimed(label("mac")));
    let from_outside = check(&mesh, claimed("mac"), STRANGER).await.unwrap();
    assert_eq!(from_outside.host, CallerHost::Address([192, 168, 1, 9].into()));
    assert_eq!(check(&mesh, bound("mac"), STRANGER).await.unwrap().host, CallerHost::Bound(label("mac")));
}

#[tokio::test]
async fn without_a_daemon_reports_are_silent_and_enforcement_refuses() {
    let nowhere = || PathBuf::from("/nowhere/tailscaled.sock");
    let caller = check(&mesh(MeshCheck::Report, nowhere()), bound("mac"), MAC).await.unwrap();
    assert_eq!((caller.host_seen(), caller.marks(caller.host_seen().as_ref())), (None, vec![]));
    let refused = check(&mesh(MeshCheck::Enforce, nowhere()), bound("mac"), MAC).await.unwrap_err();
    assert!(matches!(refused, Denied::MeshAway(_)));
    let daemon = Daemon::start();
    check(&daemon.mesh(MeshCheck::Off), bound("tower"), MAC).await.unwrap();
    assert_eq!(daemon.asked.load(Ordering::SeqCst), 0);
}
