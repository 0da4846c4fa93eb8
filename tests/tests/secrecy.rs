//! A key that must never be seen, driven through everything that says something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fleetgate_tests::client::Call;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{ClosedPort, Gateway, Machine, Upstream, eventually};
use http::Method;
use serde_json::json;

/// Three keys of one text, so that one look finds each.
const CANARY: &str = "sk-canary-host-0123456789";
const BY_COMMAND: &str = "sk-canary-command-0123456789";
const BY_VARIABLE: &str = "sk-canary-variable-0123456789";
/// What is left of a canary in any encoding that somebody may have used: itself, and base64 at each of three offsets, with and
/// without `Bearer ` before it.
const TRACES: [&str; 4] = ["canary", "Y2FuYXJ5", "NhbmFyeS", "jYW5hcn"];

/// Everything that was said, and who said it.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn note(&mut self, who: &str, said: impl Into<String>) {
        self.0.push((who.to_owned(), said.into()));
    }

    fn check(&self) {
        for (who, said) in &self.0 {
            for trace in TRACES {
                assert!(!said.contains(trace), "{who} shows {trace}:\n{said}");
            }
        }
    }
}

fn process_files(pid: &str) -> String {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    [read("environ"), read("cmdline")].iter().map(|bytes| String::from_utf8_lossy(bytes).replace('\0', "\n")).collect()
}

fn private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}

#[test]
fn every_trace_of_a_canary_is_known() {
    // printf %s 'Bearer sk-canary-host' | base64, and the same with one and two characters before it.
    for encoded in
        ["QmVhcmVyIHNrLWNhbmFyeS1ob3N0", "eEJlYXJlciBzay1jYW5hcnktaG9zdA==", "eHhCZWFyZXIgc2stY2FuYXJ5LWhvc3Q="]
    {
        assert!(TRACES.iter().any(|trace| encoded.contains(trace)), "{encoded}");
    }
}

#[tokio::test]
async fn a_canary_key_is_never_seen() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .env("FLEETGATE_LOG", "trace")
            .env("RUST_LOG", "trace")
    })
    .await;
    for (alias, key) in [("vk-mac", CANARY), ("vk-cmd", BY_COMMAND), ("vk-env", BY_VARIABLE)] {
        gw.key(&json!({"key_alias": alias, "key": key})).await;
    }
    let machine = Machine::named("mac")
        .env("FLEETGATE_GATEWAY", &gw.url())
        .env("FLEETGATE_LOG", "trace")
        .env("VARIABLE_KEY", BY_VARIABLE);
    let mut heard = Heard::default();
    let set = machine.fleetgate_reads(&["key", "set", "--store", "file"], CANARY).await;
    assert!(set.status.success(), "{}", set.said());
    heard.note("key set", set.said());

    // The command tells who it is, waits until it has been looked at, and prints a key.
    let program = machine.dir().join("pass");
    let (pid, go) = (machine.dir().join("pid"), machine.dir().join("go"));
    let secret = machine.write("secret", BY_COMMAND);
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    private(
        &program,
        &format!("#!/bin/sh\necho $$ > {}.new; mv {0}.new {0}\n{wait}\ncat {}\n", pid.display(), secret.display()),
        0o700,
    );
    let key = machine.config("host.key");
    let hosts = format!(
        "[[host]]\nmatch=['mac']\nkey='file:{}'\n[host.workloads]\ncmd='cmd:{} --account x'\nvar='env:VARIABLE_KEY'\n",
        key.display(),
        program.display()
    );
    machine.write("hosts.toml", &hosts);
    let starting = machine.sidecar();
    let watched = async {
        let child = eventually("the command runs", async || fs::read_to_string(&pid).ok()).await;
        let seen = process_files(child.trim());
        assert!(seen.contains("PATH="), "{seen}");
        fs::write(&go, "").unwrap();
        seen
    };
    let (sidecar, seen) = tokio::join!(starting, watched);
    heard.note("the command's process", seen);

    let at = |method: Method, path: &str| Call::new(sidecar.address(), method, path);
    for path in ["/v1/chat/completions", "/w/cmd/v1/chat/completions", "/w/var/v1/chat/completions"] {
        let answer = at(Method::POST, path).json(&chat_request("gpt-x")).send().await.expect(200);
        heard.note(path, format!("{:?} {}", answer.headers, answer.text()));
    }
    let aliases: Vec<String> = gw.rows().await.into_iter().map(|row| row.key_alias).collect();
    assert!(
        ["vk-mac", "vk-cmd", "vk-env"].iter().all(|alias| aliases.iter().any(|known| known == alias)),
        "{aliases:?}"
    );
    for path in ["health", "ready", "whoami", "version", "status", "metrics", "nothing"] {
        let answer = at(Method::GET, &format!("/__fleetgate/{path}")).send().await;
        heard.note(path, format!("{:?} {}", answer.headers, answer.text()));
    }
    for path in [
        "/metrics",
        "/health/readiness",
        "/health/readiness/details",
        "/api/logs",
        "/api/config",
        "/key/list?return_full_object=true",
        "/key/info",
        "/api/invitations",
    ] {
        let answer =
            gw.get(path).bearer(if path == "/key/info" { CANARY } else { fleetgate_tests::MASTER_KEY }).send().await;
        heard.note(path, format!("{:?} {}", answer.headers, answer.text()));
    }
    for arguments in [
        &["whoami"][..],
        &["whoami", "--json"],
        &["key", "show"],
        &["key", "show", "--json"],
        &["--help"],
        &["key", "--help"],
        &["enroll", "--help"],
        &["key", "set", "--help"],
        &["keys", "list"],
    ] {
        heard.note(&arguments.join(" "), machine.fleetgate(arguments).await.said());
    }

    // What goes wrong.
    heard
        .note("a key as a token", machine.fleetgate_reads(&["enroll", &gw.url(), "--token", "-"], CANARY).await.said());
    heard.note(
        "a key as a token in the environment",
        machine.fleetgate(&["enroll", &gw.url(), "--token", CANARY]).await.said(),
    );
    heard
        .note("two keys at once", machine.fleetgate_reads(&["key", "set"], &format!("{CANARY} {CANARY}")).await.said());
    let nobody = ClosedPort::new().unwrap();
    let away = format!("http://{}", nobody.address());
    heard.note("the gateway is away", machine.fleetgate(&["key", "rotate", "--gateway", &away]).await.said());
    gw.admin_post("/key/block", &json!({"key": CANARY})).await;
    let answer = at(Method::POST, "/v1/chat/completions").json(&chat_request("gpt-x")).send().await;
    heard.note("a blocked key", format!("{:?} {}", answer.headers, answer.text()));
    heard.note("show a blocked key", machine.fleetgate(&["key", "show"]).await.said());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    heard.note("a key that others can read", machine.fleetgate(&["key", "show"]).await.said());
    let text = eventually("the sidecar sees that", async || {
        let answer = at(Method::POST, "/v1/chat/completions").json(&chat_request("gpt-x")).send().await;
        (answer.status.as_u16() == 503).then(|| answer.text())
    })
    .await;
    assert!(text.contains("chmod 600"), "{text}");
    heard.note("the refusal", text);
    private(&key, "canary is no key", 0o600);
    heard.note("no key in the file", machine.fleetgate(&["key", "show"]).await.said());
    private(&machine.config("hosts.toml"), &format!("[[host]]\nmatch=['mac']\nkey='{CANARY}'\n"), 0o600);
    heard.note("a key in hosts.toml", machine.fleetgate(&["whoami"]).await.said());
    heard.note("the sidecar's log", sidecar.stderr());
    heard.note("the gateway's log", gw.stderr());
    heard.check();
}
