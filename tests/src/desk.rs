//! A person at a shell with the real launchers, whose gateway is played by a script: what each launcher really sends, to the last header.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::binaries::{self, workspace};
use crate::sidecar::Sidecar;
use crate::upstream::{Recorded, Upstream};

/// The key of this host, which its calls must carry and nothing else.
pub const HOST_KEY: &str = "sk-host-key-of-the-desk-0123456789";
/// What stands in every variable of the person's that may hold a credential. It must reach nobody.
pub const CANARY: &str = "foreign-canary";

/// Variables of a person who has used the launchers without Fleetgate.
const OWN_KEYS: [&str; 12] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CODEX_API_KEY",
    "DASHSCOPE_API_KEY",
    "FLEETGATE_ADMIN_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENROUTER_API_KEY",
    "ZAI_API_KEY",
];

/// A home, a shell with somebody's keys in it, a sidecar, and a gateway that writes down what it is asked.
#[derive(Debug)]
pub struct Desk {
    /// What the sidecar takes for its gateway. It answers as the providers would.
    pub gateway: Upstream,
    /// Whatever is not for loopback goes to this proxy, and is seen.
    pub trap: Upstream,
    sidecar: Sidecar,
    programs: Vec<PathBuf>,
    home: TempDir,
}

impl Desk {
    /// One with these directories of programs before all others.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn new(programs: impl IntoIterator<Item = PathBuf>) -> Self {
        let gateway = Upstream::start().await;
        gateway.play_gateway();
        let sidecar = Sidecar::for_host("mac").gateway_url(&gateway.origin()).key(HOST_KEY).start().await;
        let home = TempDir::new().expect("a temporary directory");
        let ours = binaries::binary("fleetgate").parent().expect("a program lies somewhere").to_owned();
        let programs = programs.into_iter().chain([ours]).collect();
        Self { gateway, trap: Upstream::start().await, sidecar, programs, home }
    }

    /// A path in the home.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file in the home.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().expect("a file has a directory")).expect("the directory is ours");
        std::fs::write(file, text).expect("the directory is ours");
    }

    /// Words before a command so that it finds this file below `/etc`, and nobody else does: it has a mount namespace of its own, with
    /// a copy of `/etc` in it. `None`, with a printed line, where that is not permitted.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn with_system_file(&self, name: &str, text: &str) -> Option<String> {
        const NAMESPACE: &str = "unshare --user --map-root-user --mount";
        let try_out = std::process::Command::new("sh").arg("-c").arg(format!("{NAMESPACE} true")).output();
        if !try_out.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no mount namespaces here");
            return None;
        }
        // What only others may read does not come along, and is not missed.
        let copied = std::process::Command::new("cp").args(["-a", "/etc"]).arg(self.path("etc")).output();
        assert!(copied.is_ok() && self.path("etc/passwd").exists(), "{copied:?}");
        self.write(&format!("etc/{name}"), text);
        Some(format!("{NAMESPACE} sh -c 'mount --bind \"$HOME/etc\" /etc && exec \"$@\"' sh"))
    }

    /// Types a line into bash with the block sourced. It must succeed, change nothing in the shell's environment, and send nobody but
    /// the sidecar what the person keeps secret. What the line printed, and the calls that reached the gateway.
    ///
    /// # Panics
    /// When any of that does not hold.
    pub async fn types(&self, line: &str) -> (String, Vec<Recorded>) {
        let output = self.run(&format!("env -0 >before\n{line}\nstatus=$?\nenv -0 >after\nexit $status")).await;
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{said}{errors}", output.status);
        let exported = |name: &str| {
            let text = std::fs::read_to_string(self.path(name)).expect("it was written");
            let mut all: Vec<String> = text.split('\0').map(str::to_owned).collect();
            // The shell's own: the last command.
            all.retain(|entry| !entry.starts_with("_="));
            all.sort();
            all
        };
        assert_eq!(exported("before"), exported("after"), "{line}");
        for request in self.gateway.requests().into_iter().chain(self.trap.requests()) {
            let all = request.everything();
            assert!(!all.contains(CANARY), "{line} sent a secret of the person's: {all}");
        }
        let calls =
            self.gateway.requests().into_iter().filter(|request| request.method == http::Method::POST).collect();
        (said.into_owned(), calls)
    }

    /// Types a line; however it ends.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run(&self, line: &str) -> Output {
        const ENOUGH: Duration = Duration::from_secs(100);
        let block = workspace().join("shell/fleetgate.sh");
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!(". '{}'\n{line}", block.display()));
        bash.env_clear().envs(self.environment()).stdin(Stdio::null()).current_dir(self.home.path()).kill_on_drop(true);
        tokio::time::timeout(ENOUGH, bash.output()).await.expect("it ends").expect("bash starts")
    }

    fn environment(&self) -> BTreeMap<OsString, OsString> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = self.programs.iter().cloned().chain(std::env::split_paths(&inherited));
        let path = std::env::join_paths(path.filter(|path| path != Path::new(""))).expect("no path holds a colon");
        let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
        let mut set = |name: &str, value: OsString| {
            all.insert(name.into(), value);
        };
        for name in OWN_KEYS {
            set(name, CANARY.into());
        }
        let headers = format!("X-Team: blue\nAuthorization: Bearer {CANARY}\nX-Api-Key: {CANARY}");
        set("GEMINI_CLI_CUSTOM_HEADERS", headers.replace('\n', ",").into());
        set("OPENAI_CUSTOM_HEADERS", headers.clone().into());
        set("ANTHROPIC_CUSTOM_HEADERS", headers.into());
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            set(name, self.trap.origin().into());
        }
        for name in ["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE", "GOOGLE_GEMINI_BASE_URL"] {
            set(name, self.trap.origin().into());
        }
        set("CLAUDE_CODE_USE_BEDROCK", "1".into());
        // Claude Code runs its tools as root only so.
        set("IS_SANDBOX", "1".into());
        set("FLEETGATE_URL", self.sidecar.url().into());
        set("PATH", path);
        set("HOME", self.home.path().into());
        all
    }
}

/// A call must be charged to this workload, carry this host's key alone, and ask for this model.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_call(call: &Recorded, workload: &str, model: &str) {
    assert_sender(call, workload);
    assert_eq!(call.json()["model"], model, "{}", call.path);
}

/// A call must be charged to this workload, and carry this host's key alone.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_sender(call: &Recorded, workload: &str) {
    assert_eq!(call.header("x-fleetgate-workload"), workload, "{}: {:?}", call.path, call.headers);
    assert_eq!(call.header("authorization"), format!("Bearer {HOST_KEY}"), "{}", call.path);
    for name in ["x-api-key", "x-goog-api-key", "api-key"] {
        assert_eq!(call.header(name), "", "{}", call.path);
    }
}
