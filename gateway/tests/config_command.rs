//! `config check` and `config show`, the latter against a process that answers and against none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use fleetgate_gateway::cli::config::{Show, check, show};
use fleetgate_gateway::config::{Finding, Origin, Overrides, RunningSetting, Setting, Severity, load};
use fleetgate_wire::SecretString;

fn environment() -> Vec<(OsString, OsString)> {
    let pairs = [("STATE_DIRECTORY", "/var/lib/fleetgate"), ("LITELLM_MASTER_KEY", "sk-canary-secret")];
    pairs.map(|(name, value)| (name.into(), value.into())).to_vec()
}

fn write_config(folder: &Path, text: &str) -> Overrides {
    let path: PathBuf = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    Overrides { config: Some(path), ..Overrides::default() }
}

fn run_check(text: &str, strict: bool, more: Vec<Finding>) -> (u8, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    let code = check(&write_config(folder.path(), text), environment(), strict, |_| more, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    (code, text.replace(folder.path().to_str().unwrap(), "."))
}

const MODEL: &str = "model_list:\n  - { model_name: a, litellm_params: { model: openai/a } }\n";

#[test]
fn warnings_do_not_fail_the_check_unless_strict() {
    let text = format!("{MODEL}zebra: 1\n");
    let (code, shown) = run_check(&text, false, Vec::new());
    assert_eq!(code, 0);
    assert_eq!(
        shown,
        "./config.yaml:3: warning: zebra is unknown and has no effect\n./config.yaml: 1 model, 0 errors, 1 warning\n"
    );
    assert_eq!(run_check(&text, true, Vec::new()).0, 1);
}

#[test]
fn findings_of_other_rooms_count() {
    let finding = Finding {
        severity: Severity::Error,
        origin: Origin::File { file: "config.yaml".into(), line: 2 },
        message: "nobody knows this provider".to_owned(),
    };
    let (code, shown) = run_check(MODEL, false, vec![finding]);
    assert_eq!(code, 1);
    assert!(shown.contains("config.yaml:2: error: nobody knows this provider"), "{shown}");
    assert!(shown.ends_with("./config.yaml: 1 model, 1 error, 0 warnings\n"), "{shown}");
}

/// Answers one request and hands back its text.
fn serve_once(listener: TcpListener, status: &'static str, body: String) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..length]);
        }
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    })
}

fn run_show(overrides: &Overrides, options: &Show) -> (u8, String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let code = runtime.block_on(show(overrides, environment(), options, &mut out, &mut notes)).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

fn config_at(folder: &Path, address: SocketAddr) -> Overrides {
    let text = format!("{MODEL}litellm_settings: {{ request_timeout: 60 }}\nfleetgate: {{ listen: \"{address}\" }}\n");
    write_config(folder, &text)
}

#[test]
fn the_running_process_is_shown_and_differences_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let overrides = config_at(folder.path(), listener.local_addr().unwrap());
    let mut settings: Vec<Setting> = load(&overrides, environment()).unwrap().config.settings;
    for setting in &mut settings {
        if setting.path == "litellm_settings.request_timeout" {
            setting.value = "600".to_owned();
        }
    }
    settings.retain(|setting| setting.path != "fleetgate.durability");
    let body = serde_json::json!({
        "version": "0.1.0", "pid": 4711, "started_at": "2026-01-02T03:04:05Z", "settings": settings.iter().map(RunningSetting::from).collect::<Vec<_>>()
    });
    let server = serve_once(listener, "200 OK", body.to_string());

    let (code, out, notes) = run_show(&overrides, &Show { origin: true, ..Show::default() });
    assert_eq!(code, 0);
    assert!(notes.starts_with("These are the values of the running process 4711 at 127.0.0.1:"), "{notes}");
    let line = |path: &str| out.lines().find(|line| line.starts_with(path)).unwrap().to_owned();
    assert!(line("litellm_settings.request_timeout").contains("600"), "{out}");
    assert!(line("litellm_settings.request_timeout").ends_with("# file now says 60"), "{out}");
    assert!(line("fleetgate.durability").ends_with("# file now says process"), "{out}");
    assert!(!line("router_settings.num_retries").contains('#'), "{out}");
    assert!(!out.contains("canary") && !notes.contains("canary"));
    assert!(server.join().unwrap().contains("authorization: Bearer sk-canary-secret\r\n"));
}

#[test]
fn without_a_process_the_file_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and not listening: refused at once, and nobody else can take it meanwhile.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let (code, out, notes) = run_show(&config_at(folder.path(), address), &Show { json: true, ..Show::default() });
    assert_eq!((code, notes), (0, format!("No process runs at {address}. This is what would be loaded now.\n")));
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["path"] == "general_settings.master_key").unwrap();
    assert_eq!(row["value"], "[set]");
    assert_eq!(row["origin"], "environment LITELLM_MASTER_KEY");
}

#[test]
fn a_process_that_does_not_tell_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let overrides = config_at(folder.path(), listener.local_addr().unwrap());
    let server = serve_once(listener, "401 Unauthorized", String::new());
    let options = Show { key: Some(SecretString::from("sk-other".to_owned())), ..Show::default() };
    let (_, out, notes) = run_show(&overrides, &options);
    assert!(notes.contains("does not tell (401 Unauthorized)"), "{notes}");
    assert!(out.contains("request_timeout"));
    assert!(server.join().unwrap().contains("Bearer sk-other"));
}
