//! The real sidecar as a process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitStatus;

use http::Method;
use tempfile::TempDir;

use crate::client::Call;
use crate::gateway::Gateway;
use crate::process::{Finished, Program, Running};

/// What a sidecar is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    host: String,
    gateway: String,
    hosts: Option<String>,
    key: String,
    namespace: Option<String>,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    listen: String,
}

impl Settings {
    /// Forwards to this gateway.
    #[must_use]
    pub fn gateway(self, gateway: &Gateway) -> Self {
        self.gateway_url(&gateway.url())
    }

    /// Forwards to a gateway at this address.
    #[must_use]
    pub fn gateway_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.gateway);
        self
    }

    /// Forwards to the first of these that takes connections.
    #[must_use]
    pub fn gateways(self, gateways: &[&Gateway]) -> Self {
        self.gateway_url(&gateways.iter().map(|gateway| gateway.url()).collect::<Vec<_>>().join(","))
    }

    /// More arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The host's key. It is put into a file that `hosts.toml` names.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// A literal `hosts.toml`; `KEY_FILE` in it becomes the path of the key's file.
    #[must_use]
    pub fn hosts(mut self, text: &str) -> Self {
        self.hosts = Some(text.to_owned());
        self
    }

    /// Runs in a network namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Listens elsewhere.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(self) -> Sidecar {
        let dir = TempDir::new().expect("a temporary directory");
        let running = self.program(dir.path()).serve(&dir.path().join("sidecar.log")).await;
        Sidecar { running, files: dir }
    }

    /// Runs one that is expected to refuse to start, to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn refuses(self) -> Finished {
        let dir = TempDir::new().expect("a temporary directory");
        self.program(dir.path()).run().await
    }

    fn program(&self, dir: &Path) -> Program {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).expect("the directory is writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
            path.display().to_string()
        };
        let key_file = write("key", &format!("{}\n", self.key));
        let hosts = match &self.hosts {
            Some(text) => text.replace("KEY_FILE", &key_file),
            None => format!("[[host]]\nmatch = [\"{}\"]\nkey = \"file:{key_file}\"\n", self.host),
        };
        let hosts = write("hosts.toml", &hosts);
        Program::new("fleetgate", dir)
            .args(["sidecar", "--gateway", &self.gateway, "--listen", &self.listen])
            .args(["--hosts", &hosts, "--host", &self.host])
            .args(self.arguments.clone())
            .envs(&self.environment)
            .inside(self.namespace.as_deref())
    }
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    running: Running,
    files: TempDir,
}

impl Sidecar {
    /// Begins a sidecar for this host label.
    #[must_use]
    pub fn for_host(label: &str) -> Settings {
        Settings {
            host: label.to_owned(),
            gateway: String::new(),
            hosts: None,
            key: "sk-no-key-was-given-to-this-sidecar".to_owned(),
            namespace: None,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A request to it.
    #[must_use]
    pub fn post(&self, path: &str) -> Call {
        Call::new(self.address(), Method::POST, path)
    }

    /// A request to it.
    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        Call::new(self.address(), Method::GET, path)
    }

    /// The directory of its `hosts.toml` and of its key's file (`key`).
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.files.path()
    }

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Sends it a signal by its name, for example `TERM`.
    pub async fn signal(&self, name: &str) {
        self.running.signal(name).await;
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.running.ended().await
    }

    /// A figure of its metrics, for example `fleetgate_sidecar_calls_total`, with its labels as they are written there. Zero when
    /// nothing was counted.
    ///
    /// # Panics
    /// When it has no page of metrics.
    pub async fn count(&self, name: &str) -> u64 {
        let page = self.get("/__fleetgate/metrics").send().await.expect(200).text();
        let sample = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.map_or(0, |value| value.parse().expect("a number"))
    }
}
