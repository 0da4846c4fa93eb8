//! What is measured: our gateway with key, rules and rows, and what Debian has beside it.

use std::any::Any;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fleetgate_tests::binaries::binary;
use fleetgate_tests::wait::eventually;
use fleetgate_tests::{Gateway, client};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// The names that goals are said with.
pub(crate) const FLOOR: &str = "splice floor";
pub(crate) const OURS: &str = "fleetgate";
pub(crate) const TINYPROXY: &str = "tinyproxy";

/// One proxy.
#[derive(Clone)]
pub(crate) struct Target(Arc<Proxy>);

struct Proxy {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    /// `None`: every connection is a tunnel.
    connect: Option<(String, String)>,
    _alive: Box<dyn Any + Send + Sync>,
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid
    }

    /// A tunnel to the server.
    pub(crate) async fn open(&self) -> TcpStream {
        let Some((to, headers)) = &self.0.connect else {
            let stream = TcpStream::connect(self.0.address).await.expect("the target listens");
            stream.set_nodelay(true).expect("a TCP socket");
            return stream;
        };
        let tunnel = client::Tunnel::open(self.0.address, to, headers).await;
        assert_eq!(tunnel.status(), 200, "{}: {}", self.0.name, tunnel.head);
        tunnel.stream
    }
}

/// All that there are here, the floor first.
pub(crate) async fn all(server: SocketAddr, idle: usize) -> Vec<Target> {
    let mut targets = vec![floor(server).await, gateway(server, idle).await];
    targets.extend(tinyproxy(server, idle).await);
    targets.extend(haproxy(server, idle).await);
    targets
}

async fn gateway(server: SocketAddr, idle: usize) -> Target {
    let egress = json!({
        "dangerously_allow_networks": ["127.0.0.0/8"], "ports": [server.port()], "max_tunnels": idle + 100,
        "allow": ["*"], "deny": ["blocked.example", ".ads.example"],
        "rules": [{"key": "bench", "allow": ["*"]}, {"host": "other", "deny": ["*"]}],
    });
    let gateway = Gateway::start(|c| {
        c.set("fleetgate", "egress", egress).set("fleetgate", "forward_proxy", json!({"listen": "127.0.0.1:0"}))
    })
    .await;
    let key = gateway.key(&json!({"key_alias": "bench", "host": "bench"})).await;
    let headers = format!("Proxy-Authorization: Bearer {key}\r\n");
    let (address, pid) = (gateway.proxy(), gateway.pid());
    let connect = Some((server.to_string(), headers));
    Target(Arc::new(Proxy { name: OURS, address, pid, connect, _alive: Box::new(gateway) }))
}

/// What no tunnel can be cheaper than: the kernel moves the bytes, and nobody looks.
async fn floor(server: SocketAddr) -> Target {
    let address = free_port();
    let start = |_: &Path| {
        let mut command = Command::new(binary("fleetgate-splice"));
        command.args([address.to_string(), server.to_string()]);
        command
    };
    program(FLOOR, address, None, start).await.expect("it was built")
}

async fn tinyproxy(server: SocketAddr, idle: usize) -> Option<Target> {
    let address = free_port();
    let mut settings = format!("Port {}\nListen 127.0.0.1\nTimeout 600\nMaxClients {}\n", address.port(), idle + 100);
    let _infallible = write!(settings, "Allow 127.0.0.1\nConnectPort {}\nLogLevel Connect\n", server.port());
    let start = |dir: &Path| {
        let file = dir.join("tinyproxy.conf");
        let log = dir.join("tinyproxy.log");
        std::fs::write(&file, format!("{settings}LogFile \"{}\"\n", log.display())).expect("a file");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(file);
        command
    };
    program(TINYPROXY, address, Some((server.to_string(), String::new())), start).await
}

async fn haproxy(server: SocketAddr, idle: usize) -> Option<Target> {
    let address = free_port();
    let most = 2 * idle + 200;
    let settings = format!(
        "global\n  maxconn {most}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
         listen bench\n  bind {address}\n  maxconn {most}\n  option splice-auto\n  server one {server}\n"
    );
    let start = |dir: &Path| {
        let file = dir.join("haproxy.cfg");
        std::fs::write(&file, &settings).expect("a file");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    };
    program("haproxy", address, None, start).await
}

/// Starts what Debian's packages bring, if it is there.
async fn program(
    name: &'static str,
    address: SocketAddr,
    connect: Option<(String, String)>,
    start: impl FnOnce(&Path) -> Command,
) -> Option<Target> {
    let dir = TempDir::new().expect("a temporary directory");
    let mut command = tokio::process::Command::from(start(dir.path()));
    // Debian keeps servers out of a user's path.
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    let started = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let Ok(child) = started else {
        println!("{name} is not installed and left out (apt-get install {name})");
        return None;
    };
    eventually(name, async || TcpStream::connect(address).await.ok()).await;
    let pid = child.id().expect("it runs");
    Some(Target(Arc::new(Proxy { name, address, pid, connect, _alive: Box::new((child, dir)) })))
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}
