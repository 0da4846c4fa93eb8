//! `fleetgate-gateway import`: what becomes of another program's settings.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::fs;
use std::path::Path;

use fleetgate_tests::process::{Finished, Program};
use tempfile::TempDir;

/// The lines of Debian's own file (tinyproxy 1.11.1-2.1) that are no comments.
const DEBIAN: &str = r#"User tinyproxy
Group tinyproxy
Port 8888
Timeout 600
DefaultErrorFile "/usr/share/tinyproxy/default.html"
StatFile "/usr/share/tinyproxy/stats.html"
LogFile "/var/log/tinyproxy/tinyproxy.log"
LogLevel Info
PidFile "/run/tinyproxy/tinyproxy.pid"
MaxClients 100
Allow 127.0.0.1
Allow ::1
#BasicAuth user password
ViaProxyName "tinyproxy"
"#;

async fn import(dir: &TempDir, text: &str) -> Finished {
    let file = dir.path().join("tinyproxy.conf");
    fs::write(&file, text).expect("a file");
    run(dir.path(), &["import".to_owned(), "tinyproxy".to_owned(), file.display().to_string()]).await
}

async fn run(dir: &Path, arguments: &[String]) -> Finished {
    Program::new("fleetgate-gateway", dir).args(arguments.to_vec()).run().await
}

async fn check(dir: &TempDir, settings: &str, variables: &[(&str, &str)]) -> Finished {
    let file = dir.path().join("config.yaml");
    fs::write(&file, settings).expect("a file");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let arguments = ["config", "check", "-c", &file.display().to_string()].map(str::to_owned);
    Program::new("fleetgate-gateway", dir.path()).args(arguments).envs(&variables).run().await
}

/// The gateway takes what comes out.
async fn is_taken(dir: &TempDir, settings: &str) {
    let checked = check(dir, settings, &[]).await;
    assert!(checked.status.success(), "{settings}\n{}", checked.said());
}

#[tokio::test]
async fn debians_own_file_becomes_settings_that_a_gateway_takes() {
    let dir = TempDir::new().expect("a temporary directory");
    let done = import(&dir, DEBIAN).await;
    assert!(done.status.success(), "{}", done.said());
    let expected = "fleetgate:\n  forward_proxy:\n    listen:\n    - \"127.0.0.1:8888\"\n    trust:\n    - \"127.0.0.1\"\n    \
                    - \"::1\"\n  egress:\n    ports: [443]\n    idle_timeout: 600\n    max_tunnels: 100\n";
    assert_eq!(done.stdout, expected);
    is_taken(&dir, &done.stdout).await;
    for line in [
        "tinyproxy.conf:1: User tinyproxy: not taken: the service file",
        "tinyproxy.conf:3: Port 8888: taken\n",
        "tinyproxy.conf:11: Allow 127.0.0.1: taken: in trust",
        "tinyproxy.conf: no Listen: changed: loopback only",
        "tinyproxy.conf: no ConnectPort: changed: port 443 only",
    ] {
        assert!(done.stderr.contains(line), "{line}\n{}", done.stderr);
    }
}

#[tokio::test]
async fn odd_files_lose_nothing_without_a_word_and_show_no_secret() {
    let dir = TempDir::new().expect("a temporary directory");
    let filter = dir.path().join("filter");
    fs::write(&filter, "# names\n^api\\.example\\.com$\n(^|\\.)example\\.org$  # both\nexample.net\n").expect("a file");
    let text = format!(
        "port 3128\r\nLISTEN 100.64.0.1\nListen 0.0.0.0\nAllow 100.64.0.0/10\nAllow 0.0.0.0/0\nAllow .corp.example\nDeny 10.0.0.0/8\n\
         ConnectPort 443\nConnectPort 8443\nConnectPort x\nBasicAuth anna sEcReT\nUpstream http anna:sEcReT@next:3128\n\
         FilterType ere\nFilterDefaultDeny Yes\nFilter \"{}\"\nNonsense 1\n",
        filter.display()
    );
    let done = import(&dir, &text).await;
    let expected = "fleetgate:\n  forward_proxy:\n    listen:\n    - \"100.64.0.1:3128\"\n    trust:\n    - \"100.64.0.0/10\"\n    \
                    upstream:\n    - proxy: \"os.environ/NEXT_PROXY_1\"\n  egress:\n    ports: [443, 8443]\n    allow:\n    - \"api.example.com\"\n    - \".example.org\"\n";
    assert_eq!(done.stdout, expected, "{}", done.stderr);
    let refused = check(&dir, &done.stdout, &[]).await;
    assert!(!refused.status.success() && refused.said().contains("NEXT_PROXY_1"), "{}", refused.said());
    let taken = check(&dir, &done.stdout, &[("NEXT_PROXY_1", "http://anna:sEcReT@next:3128")]).await;
    assert!(taken.status.success() && !taken.said().contains("sEcReT"), "{}", taken.said());
    assert!(!done.said().contains("sEcReT"), "{}", done.said());
    for line in [
        ":3: Listen 0.0.0.0: not taken",
        ":5: Allow 0.0.0.0/0: not taken: that is everyone",
        ":6: Allow .corp.example: not taken",
        ":7: Deny 10.0.0.0/8: not taken",
        ":10: ConnectPort x: not taken",
        ":11: BasicAuth: changed: give each user a virtual key",
        ":12: Upstream http next:3128: changed: set the variable NEXT_PROXY_1",
        "filter:3: (^|\\.)example\\.org$: taken: as .example.org",
        "filter:4: example.net: not taken: no domain pattern",
        ":16: Nonsense 1: not taken",
    ] {
        assert!(done.stderr.contains(line), "{line}\n{}", done.stderr);
    }
}

#[tokio::test]
async fn what_was_closed_stays_closed() {
    let dir = TempDir::new().expect("a temporary directory");
    for text in ["ConnectPort 0\n", "FilterDefaultDeny Yes\nFilter \"/no/such/filter\"\n"] {
        let done = import(&dir, text).await;
        assert!(done.stdout.ends_with("    deny:\n    - \"*\"\n"), "{text}: {}", done.said());
        is_taken(&dir, &done.stdout).await;
    }
    let urls = import(&dir, "FilterURLs On\nFilter \"/no/such/filter\"\n").await;
    assert!(urls.stderr.contains("FilterURLs On: not taken"), "{}", urls.said());
    let missing = run(dir.path(), &["import", "tinyproxy", "/no/such/file"].map(str::to_owned)).await;
    assert!(!missing.status.success() && missing.said().contains("/no/such/file"), "{}", missing.said());
}
