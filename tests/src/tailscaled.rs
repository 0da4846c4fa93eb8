//! A mesh daemon that says what a test wants, over a Unix socket as the real one does (`tailscaled`'s LocalAPI).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A daemon that serves until it is dropped.
#[derive(Debug)]
pub struct Tailscaled {
    directory: TempDir,
    state: Arc<Mutex<State>>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    own: String,
    peer: Option<String>,
    asked: Vec<String>,
}

impl Tailscaled {
    /// Starts one on a machine of this name, which knows nobody yet.
    ///
    /// # Panics
    /// When there is no place for a socket.
    #[must_use]
    pub fn start(own: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("tailscaled.sock")).expect("a new socket");
        let state = Arc::new(Mutex::new(State { own: own.to_owned(), ..State::default() }));
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(answer(stream, Arc::clone(&shared))));
            }
        });
        Self { directory, state, serving }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("tailscaled.sock")
    }

    /// From now on every address is that of a machine of this name, or of none.
    pub fn calls_everyone(&self, name: Option<&str>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).peer = name.map(str::to_owned);
    }

    /// The first line of each request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }
}

impl Drop for Tailscaled {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: UnixStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let line = request.lines().next().unwrap_or_default().to_owned();
    let (status, body) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(line.clone());
        match line.split(['?', ' ']).nth(1) {
            _ if !request.contains("\r\nHost: local-tailscaled.sock\r\n") => {
                ("403 Forbidden", "invalid host\n".to_owned())
            }
            Some("/localapi/v0/whois") => match &state.peer {
                Some(name) => ("200 OK", format!("{:#}", who_is(name))),
                None => ("404 Not Found", "no match for IP:port\n".to_owned()),
            },
            Some("/localapi/v0/status") => ("200 OK", format!("{:#}", status(&state.own))),
            _ => ("404 Not Found", "404 page not found\n".to_owned()),
        }
    };
    let answer = format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
    // A client that went away wants no answer.
    drop(stream.write_all(answer.as_bytes()).await);
}

/// `apitype.WhoIsResponse`.
fn who_is(name: &str) -> Value {
    json!({
        "Node": {
            "ID": 3_066_361_403_632_065_u64, "StableID": "nTests1CNTRL", "Name": format!("{name}.tail1234.ts.net."), "User": 1,
            "Key": "nodekey:0000", "Addresses": ["100.64.0.7/32"], "AllowedIPs": ["100.64.0.7/32"],
            "Hostinfo": {"OS": "linux", "Hostname": "what the machine says of itself"},
            "Created": "2026-01-02T03:04:05Z", "Tags": ["tag:fleet"], "Online": true,
            "ComputedName": name, "ComputedNameWithHost": name,
        },
        "UserProfile": {"ID": 1, "LoginName": "tagged-devices", "DisplayName": "Tagged Devices"},
        "CapMap": {},
    })
}

/// `ipnstate.Status`, without peers.
fn status(own: &str) -> Value {
    json!({
        "Version": "1.94.2", "TUN": true, "BackendState": "Running", "TailscaleIPs": ["100.64.0.1"],
        "Self": {
            "ID": "nOwn1CNTRL", "HostName": "what the machine says of itself", "DNSName": format!("{own}.tail1234.ts.net."),
            "OS": "linux", "TailscaleIPs": ["100.64.0.1"], "Online": true,
        },
        "Health": [], "MagicDNSSuffix": "tail1234.ts.net", "Peer": null, "User": null,
    })
}
