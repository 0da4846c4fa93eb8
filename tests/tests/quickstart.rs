//! `install/quickstart.sh --once`: the whole thing on one machine, without any provider's key.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::TcpListener;
use std::time::Duration;

use fleetgate_tests::binaries::{binary, workspace};
use tempfile::TempDir;
use tokio::process::Command;

#[tokio::test]
async fn a_call_goes_through_and_its_row_is_shown() {
    const ENOUGH: Duration = Duration::from_secs(60);
    let script = workspace().join("install/quickstart.sh");
    let bin = binary("fleetgate").parent().expect("a program lies in a directory").to_path_buf();
    let dir = TempDir::new().expect("a temporary directory");
    let mut command = Command::new("sh");
    command.arg(&script).arg("--once").current_dir(workspace()).kill_on_drop(true);
    command.env("FLEETGATE_QUICKSTART_BIN", bin).env("FLEETGATE_QUICKSTART_DIR", dir.path());
    command.env("FLEETGATE_QUICKSTART_GATEWAY_PORT", free_port()).env("FLEETGATE_QUICKSTART_PORT", free_port());
    let output = tokio::time::timeout(ENOUGH, command.output()).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for word in ["mock", "success", "cost_nanousd"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port().to_string()
}
