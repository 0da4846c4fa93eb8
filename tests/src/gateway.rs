//! The real gateway as a process, with a configuration built by the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fleetgate_wire::row::Row;
use http::Method;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::client::Call;
use crate::process::{Finished, Program, Running};
use crate::upstream::tls::TestCa;
use crate::upstream::{PROVIDER_KEY, Upstream};

/// The administrator's key of every gateway under test.
pub const MASTER_KEY: &str = "sk-master-of-the-tests-0123456789";

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct Config {
    models: Vec<Value>,
    sections: Map<String, Value>,
    text: Option<String>,
    environment: BTreeMap<String, String>,
    listen: String,
    database: Option<String>,
    namespace: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            sections: Map::new(),
            text: None,
            environment: BTreeMap::from([("LITELLM_MASTER_KEY".to_owned(), MASTER_KEY.to_owned())]),
            listen: "127.0.0.1:0".to_owned(),
            database: None,
            namespace: None,
        }
    }
}

impl Config {
    /// A model of this name, served by an upstream that speaks OpenAI's API and knows it under the same name.
    #[must_use]
    pub fn model(self, name: &str, upstream: &Upstream) -> Self {
        self.deployment(name, &format!("openai/{name}"), upstream, &json!({}))
    }

    /// A model of this name that is `provider/model` at the upstream, with more `litellm_params`.
    #[must_use]
    pub fn deployment(self, name: &str, model: &str, upstream: &Upstream, more: &Value) -> Self {
        let base = if model.starts_with("anthropic/") { upstream.origin() } else { upstream.base() };
        let mut params = json!({"model": model, "api_base": base, "api_key": PROVIDER_KEY});
        for (name, value) in more.as_object().into_iter().flatten() {
            params[name] = value.clone();
        }
        self.entry(json!({"model_name": name, "litellm_params": params}))
    }

    /// A literal `model_list` entry.
    #[must_use]
    pub fn entry(mut self, entry: Value) -> Self {
        self.models.push(entry);
        self
    }

    /// One setting of a section, for example `("litellm_settings", "num_retries", json!(1))`.
    #[must_use]
    pub fn set(mut self, section: &str, name: &str, value: Value) -> Self {
        let section = self.sections.entry(section).or_insert_with(|| json!({}));
        section[name] = value;
        self
    }

    /// Lets tunnels reach loopback on these ports: where the tests' own servers are.
    #[must_use]
    pub fn tunnels_to_loopback(self, ports: &[u16]) -> Self {
        let egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": ports});
        self.set("fleetgate", "egress", egress)
    }

    /// The whole file, literally, instead of everything above.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// A variable of the gateway's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Trusts a test's certificate authority.
    #[must_use]
    pub fn trust(self, ca: &TestCa) -> Self {
        let file = ca.file();
        self.env("SSL_CERT_FILE", &file.display().to_string())
    }

    /// Listens elsewhere.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Keeps the ledger there, instead of in a file of its own.
    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Runs in a network namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// The file's text. JSON is YAML, and needs no writer.
    fn render(&self) -> String {
        let mut file = self.sections.clone();
        file.insert("model_list".to_owned(), self.models.clone().into());
        self.text.clone().unwrap_or_else(|| format!("{:#}\n", Value::Object(file)))
    }
}

/// A running gateway with a directory of its own.
#[derive(Debug)]
pub struct Gateway {
    running: Running,
    config: Config,
    dir: TempDir,
}

impl Gateway {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(build: impl FnOnce(Config) -> Config) -> Self {
        let config = build(Config::default());
        let dir = TempDir::new().expect("a temporary directory");
        let running = program(&config, dir.path()).serve(&dir.path().join("gateway.log")).await;
        Self { running, config, dir }
    }

    /// Runs one that is expected to refuse to start, to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn refuses(build: impl FnOnce(Config) -> Config) -> Finished {
        let dir = TempDir::new().expect("a temporary directory");
        program(&build(Config::default()), dir.path()).run().await
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// `kill -TERM`, and waits until it has finished what was under way.
    pub async fn terminate(&mut self) {
        self.running.signal("TERM").await;
        self.running.ended().await;
    }

    /// Starts it again with the same files, at the same address.
    pub async fn restart(&mut self) {
        self.running.kill().await;
        self.start_again().await;
    }

    /// The same after its end.
    pub async fn start_again(&mut self) {
        self.config.listen = self.address().to_string();
        self.running = program(&self.config, self.dir.path()).serve(&self.dir.path().join("gateway.log")).await;
    }

    /// Starts it again with other models, and all else as it was.
    pub async fn restart_with_models(&mut self, build: impl FnOnce(Config) -> Config) {
        self.config = build(Config { models: Vec::new(), ..self.config.clone() });
        self.restart().await;
    }

    /// Runs `fleetgate` with these arguments as the administrator.
    pub async fn fleetgate(&self, arguments: &[&str]) -> Finished {
        let names = [("FLEETGATE_GATEWAY", self.url()), ("FLEETGATE_ADMIN_KEY", MASTER_KEY.to_owned())];
        let names = names.map(|(name, value)| (name.to_owned(), value));
        let arguments = arguments.iter().copied();
        Program::new("fleetgate", self.dir()).args(arguments).envs(&BTreeMap::from(names)).run().await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Every address it listens on: the API's, then the forward proxy's, then those for SOCKS5.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.addresses().to_vec()
    }

    /// Where it serves tunnels only.
    ///
    /// # Panics
    /// When no `fleetgate.forward_proxy.listen` was set.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        *self.running.addresses().get(1).expect("a forward proxy's address")
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

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// The directory of its configuration and ledger.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
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

    /// The administrator asks.
    ///
    /// # Panics
    /// When the answer is not a JSON answer with status 200.
    pub async fn admin_get(&self, path: &str) -> Value {
        self.get(path).bearer(MASTER_KEY).send().await.expect(200).json()
    }

    /// The administrator acts.
    ///
    /// # Panics
    /// When the answer is not a JSON answer with status 200.
    pub async fn admin_post(&self, path: &str, body: &Value) -> Value {
        self.post(path).bearer(MASTER_KEY).json(body).send().await.expect(200).json()
    }

    /// Makes a virtual key with these fields and gives its text.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn key(&self, fields: &Value) -> String {
        let made = self.admin_post("/key/generate", fields).await;
        made["key"].as_str().expect("the answer holds the key").to_owned()
    }

    /// All rows, newest first.
    ///
    /// # Panics
    /// When the answer holds none.
    pub async fn rows(&self) -> Vec<Row> {
        let answer = self.admin_get("/api/logs?limit=10000").await;
        serde_json::from_value(answer["rows"].clone()).unwrap_or_else(|e| panic!("no rows ({e}): {answer}"))
    }

    /// The one row that there is.
    ///
    /// # Panics
    /// When there are none or several.
    pub async fn only_row(&self) -> Row {
        let mut rows = self.rows().await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        rows.remove(0)
    }
}

fn program(config: &Config, dir: &Path) -> Program {
    let file = dir.join("config.yaml");
    fs::write(&file, config.render()).expect("the directory is writable");
    let file_ledger = || format!("sqlite:{}", dir.join("ledger.db").display());
    let ledger = config.database.clone().unwrap_or_else(file_ledger);
    let state = BTreeMap::from([("FLEETGATE_STATE_DIRECTORY".to_owned(), dir.display().to_string())]);
    Program::new("fleetgate-gateway", dir)
        .args(["serve", "--config", &file.display().to_string()])
        .args(["--listen", &config.listen, "--database", &ledger])
        .envs(&state)
        .envs(&config.environment)
        .inside(config.namespace.as_deref())
}
