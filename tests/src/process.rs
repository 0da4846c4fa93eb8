//! A program under test as a child process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::binaries::binary;
use crate::wait::soon;

/// What to start: a program, its arguments, and every variable of its environment.
#[derive(Debug, Clone)]
pub struct Program {
    name: &'static str,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    namespace: Option<String>,
    host_name: Option<String>,
}

impl Program {
    /// One of our programs, with an environment that holds `PATH` and `HOME` only.
    #[must_use]
    pub fn new(name: &'static str, home: &Path) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let environment = [("PATH", path), ("HOME", home.display().to_string())];
        Self {
            name,
            arguments: Vec::new(),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            namespace: None,
            host_name: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn envs(mut self, variables: &BTreeMap<String, String>) -> Self {
        self.environment.extend(variables.clone());
        self
    }

    /// Runs inside a network namespace.
    #[must_use]
    pub fn inside(mut self, namespace: Option<&str>) -> Self {
        self.namespace = namespace.map(str::to_owned);
        self
    }

    /// Runs on a machine of this name: in a namespace of its own for host names, which takes root.
    #[must_use]
    pub fn on_host(mut self, name: &str) -> Self {
        self.host_name = Some(name.to_owned());
        self
    }

    fn command(&self) -> Command {
        // Each part becomes the next: the process that is started is the program in the end.
        let mut parts: Vec<OsString> = Vec::new();
        if let Some(name) = &self.host_name {
            let script = "hostname \"$0\" && exec \"$@\"";
            parts.extend(["unshare", "--uts", "sh", "-c", script, name].map(OsString::from));
        }
        if let Some(namespace) = &self.namespace {
            parts.extend(["ip", "netns", "exec", namespace].map(OsString::from));
        }
        parts.push(binary(self.name).into());
        let mut command = Command::new(&parts[0]);
        command.args(&parts[1..]);
        command.args(&self.arguments).env_clear().envs(&self.environment).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    pub async fn run(&self) -> Finished {
        let output = soon(self.name, self.command().output()).await.expect("the program starts");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it to its end, with this on its standard input.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    pub async fn run_with(&self, input: &str) -> Finished {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // Who does not read it has ended, and says why.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = soon(self.name, child.wait_with_output()).await.expect("the program ends");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts it and waits for `listening http://ADDRESS` and `ready` on its standard output.
    ///
    /// # Panics
    /// When it ends or says something else first; its standard error is in the message.
    pub async fn serve(&self, log: &Path) -> Running {
        let stderr = File::options().create(true).append(true).open(log).expect("the log file opens");
        let mut child = self.command().stdout(Stdio::piped()).stderr(stderr).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut listening = Vec::new();
        loop {
            let line = soon("the program is ready", lines.next_line()).await.expect("its output is text");
            match line.as_deref() {
                Some("ready") => break,
                Some(line) => {
                    let address =
                        line.strip_prefix("listening http://").and_then(|a| a.trim_end_matches("/").parse().ok());
                    listening.extend::<Option<SocketAddr>>(address);
                }
                None => {
                    let said = fs::read_to_string(log).unwrap_or_default();
                    panic!("{} {:?} ended before it was ready:\n{said}", self.name, self.arguments);
                }
            }
        }
        assert!(!listening.is_empty(), "{} printed no line `listening http://ADDRESS`", self.name);
        Running { name: self.name, child, listening, log: log.to_path_buf(), _stdout: lines }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Both outputs, for assertions about messages.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A program that serves. It is killed when this is dropped; if that happens in a panic, its standard error is printed.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    child: Child,
    listening: Vec<SocketAddr>,
    log: PathBuf,
    // Kept open: a closed pipe would be an error for the program.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Where it listens first.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening[0]
    }

    /// All addresses that it listens on, in its order.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Its process id, while it lives.
    ///
    /// # Panics
    /// After its end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the program still runs")
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }

    /// Sends a signal by its name, for example `TERM`.
    ///
    /// # Panics
    /// When there is no such process.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().await;
        assert!(sent.expect("kill runs").success(), "{} takes SIG{name}", self.name);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the program ends", self.child.wait()).await.expect("a child can be waited for")
    }

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- standard error of {}:\n{}---", self.name, self.stderr());
        }
    }
}

/// A value of `/proc/PID/status` in kilobytes, for example `VmRSS`.
///
/// # Panics
/// When the process is gone or has no such field.
#[must_use]
pub fn memory_kb(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
    line.trim_start_matches(':').split_whitespace().next().and_then(|kb| kb.parse().ok()).expect("a number of kB")
}

/// The processor time that a process has used, its threads' included.
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    // Fields 14 and 15 of proc(5), in ticks of 10 ms; the second field may hold blanks, and ends with the last bracket.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    TICK * fields.map(|ticks| ticks.parse::<u32>().expect("a number of ticks")).sum::<u32>()
}

/// How many threads a process has.
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").count()
}

/// How many descriptors a process holds.
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// Open sockets of a process.
///
/// # Panics
/// When it has ended.
#[must_use]
pub fn open_sockets(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").flatten();
    let targets = open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// How many descriptors the kernel lets a process of ours have at most.
#[must_use]
pub fn most_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Lets this test and the programs that it starts from now on hold so many descriptors.
///
/// # Panics
/// When the kernel refuses.
pub fn allow_descriptors(count: usize) {
    let pid = std::process::id().to_string();
    let changed = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]).status();
    assert!(changed.expect("prlimit runs").success(), "no process may hold {count} descriptors here");
}
