//! Who on a machine may use its sidecar, and what rows say of who did: with real users, real processes and real sockets.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fleetgate_tests::binaries::binary;
use fleetgate_tests::upstream::Recorded;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, Reply, Sidecar, Upstream, eventually};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

const KEY: &str = "sk-canary-of-this-host-0123456789";
/// Workloads with keys of their own: the sidecar then waits for the name of each caller's program.
const HOSTS: &str =
    "[[host]]\nmatch = [\"mac\"]\nkey = \"file:KEY_FILE\"\n[host.workloads]\nother = \"file:KEY_FILE\"\n";

/// Something that answers as a gateway does and keeps what it was sent.
async fn gateway() -> Upstream {
    let gateway = Upstream::start().await;
    gateway.always(Reply::literal(200, "{}").header("x-fleetgate-gateway", "0.1.0"));
    gateway
}

async fn sidecar(gateway: &Upstream, arguments: &[&str]) -> Sidecar {
    let settings = Sidecar::for_host("mac").gateway_url(&gateway.origin()).key(KEY).hosts(HOSTS);
    settings.args(arguments.iter().copied()).start().await
}

/// A directory that every user may enter.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A program as another user of this machine; `None`, with a printed line, where this test may not become one.
fn as_nobody(program: &str) -> Option<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    if !Command::new("setpriv").args(["--reuid=nobody", "--clear-groups", "true"]).status().unwrap().success() {
        println!("SKIPPED: only root can become another user");
        return None;
    }
    command.arg(program).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    Some(command)
}

const CURL: [&str; 6] = ["-q", "-sS", "--max-time", "60", "--noproxy", "localhost"];

async fn run(mut command: Command) -> Output {
    soon("a program ends", tokio::task::spawn_blocking(move || command.output())).await.unwrap().unwrap()
}

async fn curl(mut command: Command, arguments: &[&str]) -> String {
    command.args(CURL).args(["-i"]).args(arguments);
    let output = run(command).await;
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn another_user_of_the_machine_gets_nothing() {
    let Some(_) = as_nobody("true") else { return };
    let gateway = gateway().await;
    let directory = open_directory();
    let socket = directory.path().join("socket");
    let socket = socket.to_str().unwrap();
    // Somebody is allowed, so that the socket's file is open to all.
    let sidecar = sidecar(&gateway, &["--allow-user", "daemon", "--listen-unix", socket]).await;
    let (url, proxy) = (format!("{}/v1/messages", sidecar.url()), sidecar.url());
    let own = format!("{}/__fleetgate/whoami", sidecar.url());
    for arguments in [
        &["-d", "{}", url.as_str()][..],
        &["-d", "{}", "-H", "x-fleetgate-user: root", "-H", "x-fleetgate-workload: root", &url],
        &[&own],
        &["-x", &proxy, "https://127.0.0.1:443/"],
        &["-x", &proxy, "-p", "http://127.0.0.1:443/"],
        &["--unix-socket", socket, "-d", "{}", "http://localhost/v1/messages"],
        &["--unix-socket", socket, "http://localhost/__fleetgate/health"],
    ] {
        let said = curl(as_nobody("curl").unwrap(), arguments).await;
        assert!(said.contains(" 403 "), "{arguments:?}: {said}");
        assert!(said.contains("x-fleetgate-reason: other_user"), "{arguments:?}: {said}");
        assert!(!said.contains("canary") && !said.contains("200 OK"), "{arguments:?}: {said}");
    }
    let said = curl(as_nobody("curl").unwrap(), &["-d", "{}", &url]).await;
    assert!(said.contains("--allow-user nobody") && said.contains("FLEETGATE_ALLOW_USERS"), "{said}");
    assert!(gateway.requests().is_empty());
    sidecar.post("/v1/messages").body("{}").send().await.expect(200);
}

#[tokio::test]
async fn an_allowed_user_gets_in_by_every_door() {
    let Some(_) = as_nobody("true") else { return };
    let gateway = gateway().await;
    let directory = open_directory();
    let socket = directory.path().join("socket");
    let socket = socket.to_str().unwrap();
    let sidecar = sidecar(&gateway, &["--allow-user", "daemon,nobody", "--listen-unix", socket]).await;
    let url = format!("{}/v1/messages", sidecar.url());
    for arguments in
        [&["-d", "{}", url.as_str()][..], &["--unix-socket", socket, "-d", "{}", "http://localhost/v1/messages"]]
    {
        let said = curl(as_nobody("curl").unwrap(), arguments).await;
        assert!(said.contains("200 OK"), "{arguments:?}: {said}");
    }
    for request in gateway.requests() {
        assert_eq!(request.header("x-fleetgate-user"), "nobody", "{}", request.everything());
    }
}

#[tokio::test]
async fn who_closes_at_once_is_not_taken_for_root() {
    let Some(mut stranger) = as_nobody("python3") else { return };
    let gateway = gateway().await;
    let sidecar = sidecar(&gateway, &[]).await;
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &sidecar.pid().to_string()]).status().unwrap().success());
    // Of a socket that nobody has open the kernel says that it is root's, and root this sidecar lets in.
    signal("-STOP");
    let script = "import socket,sys\ns=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n\
                  s.sendall(b'POST /v1/messages HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\ns.close()\n";
    stranger.args(["-c", script, &sidecar.address().port().to_string()]);
    let sent = run(stranger).await;
    signal("-CONT");
    assert!(sent.status.success(), "{sent:?}");
    // It came first, so it has been dealt with when these are answered.
    for _ in 0..3 {
        sidecar.post("/v1/chat/completions").body("{}").send().await.expect(200);
    }
    let paths: Vec<String> = gateway.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/chat/completions"; 3]);
}

#[tokio::test]
async fn a_user_whom_the_machine_does_not_have_is_named_at_the_start() {
    let directory = open_directory();
    let mut command = Command::new(binary("fleetgate"));
    command.args(["sidecar", "--gateway", "http://127.0.0.1:9", "--host", "mac", "--listen", "127.0.0.1:0"]);
    command.args(["--allow-user", "no-such-user-here"]).env_clear().env("HOME", directory.path());
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("no-such-user-here") && said.contains("FLEETGATE_ALLOW_USERS"),
        "{said}"
    );
}

/// Runs a client until the sidecar has found its program in time. A wrong name is a failure at once, no name is none.
async fn named(gateway: &Upstream, client: impl Fn() -> Command) -> Recorded {
    eventually("the program is found in time", async || {
        let before = gateway.requests().len();
        let output = run(client()).await;
        assert!(output.status.success(), "{output:?}");
        let request = gateway.requests().into_iter().nth(before).unwrap();
        (!request.header("x-fleetgate-process").is_empty()).then_some(request)
    })
    .await
}

/// Python, Node and curl, each calling the sidecar from a script of its own.
fn clients(directory: &Path, address: &str) -> Vec<(Command, String)> {
    let url = format!("{address}/v1/messages");
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.canonicalize().unwrap()
    };
    let python = write("app.py", format!("import urllib.request\nurllib.request.urlopen('{url}', b'{{}}').read()\n"));
    let node = write(
        "app.mjs",
        format!(
            "await (await fetch('{url}', {{method: 'POST', body: '{{}}', headers: {{'content-type': 'application/json'}}}})).text()\n"
        ),
    );
    let command = write("aider", fs::read_to_string(&python).unwrap());
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::rename(command, bin.join("aider")).unwrap();
    fs::copy(curl_file(), bin.join("claude")).unwrap();

    let expected = |kind: &str, path: &PathBuf| format!("{kind}:{}", path.display());
    let mut commands = vec![
        (Command::new("python3"), vec![python.display().to_string()], expected("python", &python)),
        (Command::new("python3"), vec![bin.join("aider").display().to_string()], "aider".to_owned()),
        (Command::new("node"), vec![node.display().to_string()], expected("node", &node)),
    ];
    for program in [Path::new("curl"), &bin.join("claude")] {
        let arguments = ["-q", "-sSf", "-d", "{}", &url].map(str::to_owned).to_vec();
        commands.push((Command::new(program), arguments, program.file_name().unwrap().to_str().unwrap().to_owned()));
    }
    let prepare = |(mut command, arguments, name): (Command, Vec<String>, String)| {
        command.args(arguments).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        (command, name)
    };
    commands.into_iter().map(prepare).collect()
}

fn curl_file() -> PathBuf {
    let found = Command::new("sh").args(["-c", "command -v curl"]).output().unwrap();
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()).canonicalize().unwrap()
}

/// The same command once more.
fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        copy.env(name, value.unwrap_or_default());
    }
    copy
}

#[tokio::test]
async fn the_program_behind_a_call_is_named_with_its_user() {
    let gateway = gateway().await;
    let sidecar = sidecar(&gateway, &[]).await;
    let directory = open_directory();
    for (command, name) in clients(directory.path(), &sidecar.url()) {
        let request = named(&gateway, || again(&command)).await;
        let process = request.header("x-fleetgate-process");
        assert_eq!(request.header("x-fleetgate-workload"), name, "{process}");
        assert!(process.contains(&name) && process.contains('/'), "{process}");
        assert!(!request.header("x-fleetgate-user").is_empty());
    }
}

#[tokio::test]
async fn rows_name_the_program_and_what_it_says_of_itself_wins() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).hosts(HOSTS).start().await;
    let body = chat_request("gpt-x").to_string();
    let call = |more: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command
            .args(CURL)
            .args(["-f", "-A", "an-sdk/1.0", "-H", "content-type: application/json", "-d", &body])
            .args(more);
        command.arg(format!("{}{path}", sidecar.url()));
        command
    };
    for (more, path, name) in [
        (&["-H", "x-fleetgate-workload: by-header"][..], "/v1/chat/completions", "by-header"),
        (&["-H", "x-fleetgate-workload: by-header"], "/w/by-path/v1/chat/completions", "by-path"),
        (&[], "/v1/chat/completions", "curl"),
    ] {
        let row = eventually("the program is found in time", async || {
            assert!(run(call(more, path)).await.status.success());
            let row = gateway.rows().await.into_iter().next().unwrap();
            // On a machine that is too busy the User-Agent speaks.
            (row.workload != "an-sdk").then_some(row)
        })
        .await;
        assert_eq!(row.workload, name);
    }
}

#[tokio::test]
async fn a_program_in_a_service_is_named_by_its_unit() {
    let unit = format!("fleetgate-test-{}.service", std::process::id());
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let group = mounts
        .iter()
        .find(|mount| mount.join("cgroup.controllers").exists())
        .map(|mount| mount.join("system.slice").join(&unit));
    let Some(group) = group.filter(|group| fs::create_dir_all(group).is_ok()) else {
        println!("SKIPPED: no control groups can be made here");
        return;
    };
    let gateway = gateway().await;
    let sidecar = sidecar(&gateway, &[]).await;
    let url = format!("{}/v1/messages", sidecar.url());
    let script = "echo $$ > \"$0/cgroup.procs\" && exec curl -q -sSf --noproxy '*' -d '{}' \"$1\"";
    let in_service = || {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&group).arg(&url);
        command
    };
    let request = named(&gateway, in_service).await;
    let (workload, process) = (request.header("x-fleetgate-workload"), request.header("x-fleetgate-process"));
    let removed = fs::remove_dir(&group);
    assert_eq!(workload, format!("unit:{unit}"));
    assert!(process.starts_with(&format!("unit:{unit} curl /")), "{process}");
    assert!(removed.is_ok(), "{removed:?}");
}

#[tokio::test]
async fn a_program_with_a_hostile_name_forges_nothing() {
    let gateway = gateway().await;
    let sidecar = sidecar(&gateway, &[]).await;
    let directory = open_directory();
    let url = format!("{}/v1/messages", sidecar.url());
    let long = format!("long-{}", "x".repeat(240));
    for name in ["x\r\nx-fleetgate-host: victim\r\nauthorization: Bearer y", "two words \u{e4}\u{f6}", &long] {
        let program = directory.path().join(name);
        fs::copy(curl_file(), &program).unwrap();
        let request = named(&gateway, || {
            let mut command = Command::new(&program);
            command.args(CURL).args(["-f", "-d", "{}", &url]);
            command
        })
        .await;
        assert_eq!(request.header("x-fleetgate-host"), "mac", "{}", request.everything());
        assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(request.headers.get_all("x-fleetgate-host").iter().count(), 1);
        let workload = request.header("x-fleetgate-workload");
        assert!((1..=128).contains(&workload.len()) && workload.bytes().all(|b| b.is_ascii_graphic()), "{workload:?}");
    }
}

#[tokio::test]
async fn a_providers_key_is_replaced_and_reported_once() {
    let gateway = gateway().await;
    let sidecar = sidecar(&gateway, &[]).await;
    let secret = format!("sk-ant-api03-{}AA", "a1B2c3D4e5".repeat(9) + "xyz");
    for _ in 0..2 {
        let call = sidecar.post("/v1/messages").header("x-api-key", &secret).header("x-fleetgate-workload", "hermes");
        call.body("{}").send().await.expect(200);
    }
    let expected = fleetgate_wire::provider_key::recognise(&secret).unwrap().to_string();
    for request in gateway.requests() {
        assert_eq!(request.header("x-fleetgate-sighting"), expected);
        assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
        assert!(!request.everything().contains(&secret), "{}", request.everything());
    }
    let log = sidecar.stderr();
    assert_eq!(log.matches(&expected).count(), 1, "{log}");
    assert!(log.contains("hermes") && !log.contains(&secret[10..40]) && !log.contains("canary"), "{log}");
}

#[tokio::test]
async fn where_a_token_is_required_nothing_goes_without_it() {
    let gateway = gateway().await;
    let directory = open_directory();
    let file = directory.path().join("state/local.token");
    let sidecar = sidecar(&gateway, &["--require-token", "--token-file", file.to_str().unwrap()]).await;
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let call = || sidecar.post("/v1/messages").body("{}");
    for refused in
        [call(), call().bearer("dummy"), call().bearer(&token[..token.len() - 1]), call().bearer("sk-fg-invented")]
    {
        let answer = refused.send().await.expect(403);
        assert_eq!(answer.header("x-fleetgate-reason"), "local_token");
        assert!(!answer.text().contains(&token), "{}", answer.text());
    }
    let mut proxied = Command::new("curl");
    proxied.env_clear().env("PATH", "/usr/bin:/bin");
    let said = curl(proxied, &["-x", &sidecar.url(), "https://127.0.0.1:443/"]).await;
    assert!(said.contains("x-fleetgate-reason: local_token"), "{said}");
    assert!(gateway.requests().is_empty());

    for accepted in [call().bearer(&token), call().header("x-api-key", &token), call().header("x-goog-api-key", &token)]
    {
        accepted.send().await.expect(200);
    }
    assert!(gateway.requests().iter().all(|request| !request.everything().contains(&token)));
    sidecar.get("/__fleetgate/health").send().await.expect(200);
    assert!(!sidecar.stderr().contains(&token));
}

#[tokio::test]
async fn a_unix_socket_is_a_second_door_that_goes_with_the_sidecar() {
    let gateway = gateway().await;
    let directory = open_directory();
    let socket = directory.path().join("socket");
    let sidecar = sidecar(&gateway, &["--listen-unix", socket.to_str().unwrap()]).await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let request = named(&gateway, || {
        let mut command = Command::new("curl");
        command.args(CURL).args([
            "-f",
            "--unix-socket",
            socket.to_str().unwrap(),
            "-d",
            "{}",
            "http://localhost/v1/messages",
        ]);
        command
    })
    .await;
    assert_eq!(request.header("x-fleetgate-workload"), "curl");
    assert!(Command::new("kill").arg(sidecar.pid().to_string()).status().unwrap().success());
    eventually("the socket's file goes", async || (!socket.exists()).then_some(())).await;
}

#[tokio::test]
async fn sockets_of_systemd_are_taken_over() {
    let directory = open_directory();
    let socket = directory.path().join("socket");
    // What systemd does: bind, hand over as numbers 3 and up, and say so to this process alone.
    let script = "import os,socket,sys\n\
                  t=socket.create_server(('127.0.0.1',0));u=socket.socket(socket.AF_UNIX);u.bind(sys.argv[1]);u.listen()\n\
                  a,b=os.dup(t.fileno()),os.dup(u.fileno())\n\
                  os.dup2(a,3);os.dup2(b,4)\n\
                  os.environ.update(LISTEN_PID=os.environ.get('OTHER',str(os.getpid())),LISTEN_FDS='2',LISTEN_FDNAMES='port:file')\n\
                  print('bound',t.getsockname()[1],flush=True)\n\
                  os.execv(sys.argv[2],sys.argv[2:])\n";
    let start = |environment: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new("/usr/bin/python3");
        command.args(["-c", script]).arg(&socket).arg(binary("fleetgate"));
        command.args(["sidecar", "--gateway", "http://127.0.0.1:9", "--host", "mac", "--listen", "127.0.0.1:0"]);
        command.env_clear().env("HOME", directory.path()).envs(environment.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut child = start(&[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || soon("a line", lines.next_line()).await.unwrap().unwrap();
    let bound = line().await;
    let port = bound.strip_prefix("bound ").unwrap();
    assert_eq!(line().await, format!("listening http://127.0.0.1:{port}"));
    let address = format!("http://127.0.0.1:{port}/__fleetgate/health");
    for arguments in
        [&[address.as_str()][..], &["--unix-socket", socket.to_str().unwrap(), "http://localhost/__fleetgate/health"]]
    {
        let said = curl(Command::new("curl"), arguments).await;
        assert!(said.contains("200 OK"), "{said}");
    }
    drop(child);

    // Meant for another process, they are left alone.
    fs::remove_file(&socket).unwrap();
    let mut child = start(&[("OTHER", "1")]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || soon("a line", lines.next_line()).await.unwrap().unwrap();
    let bound = line().await;
    assert!(!line().await.ends_with(bound.strip_prefix("bound ").unwrap()));
}

#[tokio::test]
async fn a_mesh_that_brings_other_machines_to_loopback_is_refused() {
    let Some(_) = as_nobody("true") else { return };
    let gateway = gateway().await;
    let directory = open_directory();
    let mesh = directory.path().join("tailscaled");
    fs::copy(curl_file(), &mesh).unwrap();
    let sidecar = sidecar(&gateway, &["--allow-user", "nobody"]).await;
    let url = format!("{}/v1/messages", sidecar.url());
    // Seen as what it is, whoever runs it. Nobody's programs are waited for, so none slips through.
    let said = curl(as_nobody(mesh.to_str().unwrap()).unwrap(), &["-d", "{}", &url]).await;
    assert!(said.contains("x-fleetgate-reason: mesh_proxy"), "{said}");
    assert!(gateway.requests().is_empty());

    // While one without a device runs, other programs of its user must be seen, and these are.
    fs::create_dir(directory.path().join("sbin")).unwrap();
    let daemon = directory.path().join("sbin/tailscaled");
    symlink("/bin/bash", &daemon).unwrap();
    let mut daemon = as_nobody(daemon.to_str().unwrap()).unwrap();
    daemon.args(["-c", "read -r _", "--tun=userspace-networking"]).stdin(Stdio::piped());
    let mut daemon = daemon.spawn().unwrap();
    eventually("the mesh is noticed", async || {
        let said = curl(as_nobody("curl").unwrap(), &["-d", "{}", &url]).await;
        assert!(said.contains("200 OK"), "{said}");
        sidecar.stderr().contains("userspace-networking").then_some(())
    })
    .await;
    drop(daemon.stdin.take());
    daemon.wait().unwrap();
}
