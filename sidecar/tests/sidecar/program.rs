//! The program as people and service managers use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::virtual_key::VirtualKey;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::world::{FakeGateway, HOST_KEY, MARK, header, hosts_directory, soon};

/// The program with nothing of this machine's environment.
fn fleetgate(home: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetgate"));
    command.args(arguments).env_clear().env("HOME", home.path()).env("FLEETGATE_LOG", "trace");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn finish(mut command: Command) -> Output {
    soon(command.output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Starts a sidecar and reads its lines up to `ready`.
async fn start(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening = soon(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(soon(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    (child, listening.strip_prefix("listening http://").unwrap().to_owned())
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
}

const HOSTS: &str = "[[host]]\nmatch=['mac']\nkey='env:MAC_KEY'\n";

#[tokio::test]
async fn it_says_where_it_listens_serves_ends_when_told_and_never_shows_the_key() {
    let gateway = FakeGateway::bind().await;
    let home = hosts_directory(HOSTS);
    let mut command = fleetgate(&home, &["sidecar"]);
    command
        .env("FLEETGATE_GATEWAY", format!("http://{}", gateway.address()))
        .env("FLEETGATE_HOSTS", home.path().join("hosts.toml"))
        .env("FLEETGATE_LISTEN", "127.0.0.1:0")
        .env("FLEETGATE_HOST", "Mac.local")
        .env("MAC_KEY", HOST_KEY)
        // A proxy in the environment must not be used.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9");
    let (mut child, address) = start(command).await;

    let url = format!("http://{address}");
    let wait = finish(fleetgate(&home, &["wait", "--timeout", "5", "--url", &url]));
    let answer = crate::world::ok();
    let (waited, _) = tokio::join!(wait, gateway.serve_one(&answer));
    assert!(waited.status.success(), "{waited:?}");

    signal(&child, "-HUP").await;
    signal(&child, "-TERM").await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(log.contains("sidecar starts") && log.contains("sidecar ends"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_taken_port_has_an_exit_code_and_a_culprit_of_its_own() {
    let home = hosts_directory(HOSTS);
    let sidecar = |listen: &str| {
        let hosts = home.path().join("hosts.toml");
        let arguments = ["sidecar", "--gateway", "http://127.0.0.1:9", "--host", "mac", "--listen", listen];
        let mut command = fleetgate(&home, &arguments);
        command.arg("--hosts").arg(hosts);
        command
    };
    let (child, address) = start(sidecar("127.0.0.1:0")).await;
    let second = finish(sidecar(&address)).await;
    assert_eq!(second.status.code(), Some(3));
    let error = text(&second.stderr);
    if cfg!(target_os = "linux") {
        assert!(error.contains("another fleetgate sidecar"), "{error}");
        assert!(error.contains(&format!("pid {}", child.id().unwrap())), "{error}");
    }
    let beyond = finish(sidecar("0.0.0.0:0")).await;
    assert_eq!(beyond.status.code(), Some(1));
    assert!(text(&beyond.stderr).contains("--dangerously-listen-beyond-loopback"));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said_in_one_line() {
    let home = hosts_directory("[[host]]\nmatch=['mac']\nkey='vault:pass'\n");
    let hosts = home.path().join("hosts.toml");
    let hosts = hosts.to_str().unwrap();
    for (arguments, expected) in [
        (vec!["sidecar"], "FLEETGATE_GATEWAY"),
        (vec!["sidecar", "--gateway", "https://box:4000"], "https is not supported"),
        (vec!["whoami", "--host", "mac", "--hosts", hosts], "hosts.toml:3: "),
        (vec!["keys", "list", "--gateway", "http://127.0.0.1:9"], "FLEETGATE_ADMIN_KEY"),
        (vec!["wait", "--timeout", "0", "--url", "http://127.0.0.1:9"], "is not ready after 0 s"),
    ] {
        let output = finish(fleetgate(&home, &arguments)).await;
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn whoami_shows_the_place_of_the_key_and_not_the_key() {
    let home = hosts_directory("[[host]]\nmatch=['mac']\nkey='file:mac.key'\n");
    let hosts = home.path().join("hosts.toml");
    let arguments = ["whoami", "--host", "mac", "--hosts", hosts.to_str().unwrap()];
    let people = text(&finish(fleetgate(&home, &arguments)).await.stdout);
    assert!(people.contains("mac (wins") && people.contains("file:mac.key found"), "{people}");
    let json = text(&finish(fleetgate(&home, &[&arguments[..], &["--json"]].concat())).await.stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["why"], &json["key"]["state"]), (&"explicit".into(), &"found".into()));
    assert!(!format!("{people}{json}").contains("canary"));
}

#[tokio::test]
async fn a_minted_key_goes_into_a_private_file() {
    let gateway = FakeGateway::bind().await;
    let home = tempfile::tempdir().unwrap();
    let key = VirtualKey::mint().unwrap();
    let body = serde_json::json!({"key": key.expose_secret(), "key_alias": "mac"}).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\n{MARK}Content-Length: {}\r\n\r\n{body}", body.len());
    let out = home.path().join("mac.key");
    let arguments = ["keys", "create", "--alias", "mac", "--host", "Mac.local", "--models", "a,b", "--out"];
    let create = || {
        let mut command = fleetgate(&home, &arguments);
        command.arg(&out).env("FLEETGATE_ADMIN_KEY", "sk-admin-0123456789");
        command.env("FLEETGATE_GATEWAY", format!("http://{}", gateway.address()));
        finish(command)
    };
    let upstream = async {
        let mut wire = gateway.accept().await;
        let head = wire.head().await;
        let asked = wire.body_of(&head).await;
        wire.send(&answer).await;
        (head, asked)
    };
    let (output, (head, asked)) = tokio::join!(create(), upstream);
    assert!(output.status.success(), "{output:?}");
    assert!(head.starts_with("POST /key/generate HTTP/1.1\r\n"));
    assert_eq!(header(&head, "authorization"), Some("Bearer sk-admin-0123456789"));
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked, serde_json::json!({"key_alias": "mac", "models": ["a", "b"], "metadata": {}, "host": "mac"}));
    assert_eq!(fs::read_to_string(&out).unwrap().trim(), key.expose_secret());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!text(&output.stdout).contains(key.expose_secret()));

    // A second time nothing is minted at all.
    assert!(!create().await.status.success());
    assert!(gateway.is_unvisited());
}

#[tokio::test]
async fn rows_are_shown_as_the_gateway_wrote_them() {
    let gateway = FakeGateway::bind().await;
    let home = tempfile::tempdir().unwrap();
    let body = r#"{"rows":[{"request_id":"r1","host":"mac","model":"m","newer_field":1,"cost_nanousd":null}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\n{MARK}Content-Length: {}\r\n\r\n{body}", body.len());
    let url = format!("http://{}", gateway.address());
    let arguments = ["logs", "--gateway", &url, "--key", "sk-admin-0123456789", "--host", "mac", "--limit", "5"];
    let json = [&arguments[..], &["--json"]].concat();
    let (output, head) = tokio::join!(finish(fleetgate(&home, &json)), gateway.serve_one(&answer));
    assert!(head.starts_with("GET /api/logs?limit=5&host=mac HTTP/1.1\r\n"), "{head}");
    assert_eq!(text(&output.stdout), format!("{}\n", &body[9..body.len() - 2]));
    let (output, _) = tokio::join!(finish(fleetgate(&home, &arguments)), gateway.serve_one(&answer));
    let table = text(&output.stdout);
    assert!(table.contains("unpriced") && table.contains("mac"), "{table}");
}
