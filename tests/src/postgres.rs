//! A PostgreSQL server of the test's own: started, stopped and killed at will, gone with the test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::wait::soon;

/// It refuses to run as root, and Debian's package makes this user.
const USER: &str = "postgres";
/// Attempts to find a port that nobody takes in the meantime.
const ATTEMPTS: usize = 5;

/// A server with a data directory of its own.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    /// Makes a server and waits until it takes connections.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine, or it does not start.
    pub async fn start() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        if let Some((user, group)) = other_user() {
            std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).expect("root can give a directory away");
        }
        let data = dir.path().join("data").display().to_string();
        let mut initdb = command("initdb");
        initdb.args(["-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        finish("initdb", &initdb.output().await.expect("initdb runs"));
        let mut server = Self { child: None, port: 0, dir };
        for attempt in 1.. {
            server.port = free_port();
            match server.try_launch().await {
                Ok(()) => break,
                Err(log) => assert!(attempt < ATTEMPTS, "PostgreSQL does not start:\n{log}"),
            }
        }
        server
    }

    /// Makes an empty database and gives its address.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(name)
    }

    /// The address of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// What `psql` says, one line a row, `|` between columns.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        finish("psql", &soon("psql", psql.output()).await.expect("psql runs")).trim_end().to_owned()
    }

    /// Runs one of its clients, such as `pg_dump`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn client(&self, name: &str, arguments: &[&str]) {
        let mut client = Command::new(program(name));
        finish(name, &soon(name, client.args(arguments).output()).await.expect("it runs"));
    }

    /// Stops it as a person would: connections are cut, nothing is lost.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        let pid = child.id().expect("the server runs").to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs");
        assert!(sent.success(), "the server takes signals");
        soon("PostgreSQL stops", child.wait()).await.expect("the server can be waited for");
    }

    /// Stops it without a chance to tidy up.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn crash(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        let pid = child.id().expect("the server runs").to_string();
        // SIGQUIT is its immediate shutdown: the children die with it, and the next start recovers from the log.
        let sent = Command::new("kill").args(["-QUIT", &pid]).status().await.expect("kill runs");
        assert!(sent.success(), "the server takes signals");
        soon("PostgreSQL dies", child.wait()).await.expect("the server can be waited for");
    }

    /// Starts it again, with the same data at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "stop it first");
        self.try_launch().await.unwrap_or_else(|log| panic!("PostgreSQL does not start again:\n{log}"));
    }

    async fn try_launch(&mut self) -> Result<(), String> {
        let (data, sockets) = (self.dir.path().join("data"), self.dir.path().display());
        let mut server = command("postgres");
        server.arg("-D").arg(data);
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={sockets}"),
            // Nothing here needs to survive the machine.
            "fsync=off".to_owned(),
            "max_connections=200".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        for setting in settings {
            server.args(["-c", &setting]);
        }
        let mut child = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres runs");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let mut log = String::new();
        loop {
            match soon("PostgreSQL is ready", lines.next_line()).await.expect("its log is text") {
                Some(line) if line.contains("ready to accept connections") => break,
                Some(line) => log.push_str(&format!("{line}\n")),
                None => return Err(log),
            }
        }
        // Its log is read to the end, so that it never waits for a reader.
        drop(tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} }));
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its children notice on their own.
            let _gone = child.start_kill();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A program of PostgreSQL, run as somebody whom it accepts, and ended with the test's process.
fn command(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some((user, group)) = other_user() {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
    }
    command.arg("--").arg(program(name)).stdin(Stdio::null()).current_dir("/").kill_on_drop(true);
    command
}

/// User and group to run it as, when this is root.
fn other_user() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(USER))?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Debian keeps the server's programs out of the path.
fn program(name: &str) -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    debian.unwrap_or_else(|| Path::new(name).to_path_buf())
}

fn finish(name: &str, output: &Output) -> String {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed:\n{said}{complained}");
    said.into_owned()
}
