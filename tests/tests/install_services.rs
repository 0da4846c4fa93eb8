//! What install.sh and uninstall.sh ask of a person's service manager: systemd's with lingering, and launchd. The managers are scripts that
//! write down what they are asked.
#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]

use std::fs;

use fleetgate_tests::installation::{Machine, program_of};

/// Runs a script and gives what the managers were asked, and what it said.
fn ask(machine: &Machine, script: &str, arguments: &[&str]) -> Option<(Vec<String>, String)> {
    let asked = machine.directory.path().join("asked");
    fs::write(&asked, "").unwrap();
    let output = machine.run_for_person(script, arguments)?;
    assert!(output.status.success(), "{script} {arguments:?}: {output:?}");
    let asked = fs::read_to_string(asked).unwrap().lines().map(ToOwned::to_owned).collect();
    Some((asked, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn install(machine: &Machine, part: &str) -> Option<(Vec<String>, String)> {
    ask(machine, "install.sh", &[part, "--user", "--binary", &machine.program()])
}

/// With a manager that answers or does not, and a state of lingering that it keeps.
fn with_systemd(answers: bool) -> Machine {
    let machine = Machine::empty();
    machine.release(&program_of("0.1.0"));
    let status = i32::from(!answers);
    machine.stand_in("systemctl", &format!(r#"echo "systemctl $*" >>"$HERE/asked"; exit {status}"#));
    let loginctl = r#"case $1 in
  show-user) [ -e "$HERE/lingers" ] && echo yes || echo no; exit ;;
  enable-linger) touch "$HERE/lingers" ;;
  disable-linger) rm "$HERE/lingers" ;;
esac
echo "loginctl $*" >>"$HERE/asked""#;
    machine.stand_in("loginctl", loginctl);
    machine
}

#[test]
fn a_persons_service_is_enabled_lingers_and_is_taken_back() {
    let machine = with_systemd(true);
    let Some((asked, told)) = install(&machine, "sidecar") else { return };
    let enabled = [
        "systemctl --user show-environment",
        "systemctl --user daemon-reload",
        "systemctl --user enable --quiet fleetgate-sidecar.socket",
        "systemctl --user enable --quiet fleetgate-sidecar.service",
        "systemctl --user try-restart fleetgate-sidecar.service",
    ];
    assert_eq!(asked[..5], enabled);
    assert!(asked[5].starts_with("loginctl enable-linger "), "{asked:?}");
    assert!(told.contains("also runs while") && told.contains("disable-linger"), "{told}");

    // Once more: it lingers already, and that is still ours to take back.
    let (asked, _) = install(&machine, "sidecar").unwrap();
    assert_eq!(asked, enabled);
    let (asked, _) = ask(&machine, "uninstall.sh", &["--user"]).unwrap();
    assert_eq!(asked[0], "systemctl --user disable --quiet --now fleetgate-sidecar.service");
    assert_eq!(asked[1], "systemctl --user disable --quiet --now fleetgate-sidecar.socket");
    assert!(asked[2].starts_with("loginctl disable-linger "), "{asked:?}");
    assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
}

#[test]
fn lingering_that_was_there_before_stays() {
    let machine = with_systemd(true);
    fs::write(machine.directory.path().join("lingers"), "").unwrap();
    let Some((asked, _)) = install(&machine, "sidecar") else { return };
    let (later, _) = ask(&machine, "uninstall.sh", &["--user"]).unwrap();
    assert!(![asked, later].concat().iter().any(|line| line.contains("linger")));
}

#[test]
fn a_manager_that_does_not_answer_is_named_with_what_to_do_after_login() {
    let machine = with_systemd(false);
    let Some((asked, told)) = install(&machine, "sidecar") else { return };
    assert_eq!(asked[0], "systemctl --user show-environment");
    assert!(!asked.iter().any(|line| line.contains("enable --quiet")), "{asked:?}");
    assert!(told.contains("does not answer") && told.contains("systemctl --user enable --now"), "{told}");
    assert!(machine.file("/.config/systemd/user/fleetgate-sidecar.socket").exists());
}

#[test]
fn launchd_starts_a_running_agent_anew_and_leaves_one_that_does_not_run_alone() {
    for part in ["gateway", "sidecar"] {
        let machine = Machine::empty();
        machine.release(&program_of("0.1.0"));
        machine.pretend("Darwin");
        let launchctl = r#"echo "launchctl $*" | sed "s|$HERE/root|~|; s|gui/[0-9]*|gui/ID|" >>"$HERE/asked"
case $1 in
  print) [ -e "$HERE/runs" ] ;;
  bootout) rm "$HERE/runs" ;;
  bootstrap) touch "$HERE/runs" ;;
esac"#;
        machine.stand_in("launchctl", launchctl);
        let print = format!("launchctl print gui/ID/dev.fleetgate.{part}");
        let bootout = format!("launchctl bootout gui/ID/dev.fleetgate.{part}");
        let bootstrap = format!("launchctl bootstrap gui/ID ~/Library/LaunchAgents/dev.fleetgate.{part}.plist");

        let Some((asked, told)) = install(&machine, part) else { return };
        assert_eq!(asked, std::slice::from_ref(&print));
        assert!(told.contains("launchctl bootstrap gui/"), "{told}");
        fs::write(machine.directory.path().join("runs"), "").unwrap();
        machine.release(&program_of("0.2.0"));
        let (asked, told) = install(&machine, part).unwrap();
        assert_eq!(asked, [print.clone(), bootout.clone(), bootstrap]);
        assert!(told.contains("started anew"), "{told}");
        let (asked, _) = ask(&machine, "uninstall.sh", &[part, "--user"]).unwrap();
        assert_eq!(asked, [print, bootout]);
        assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
    }
}
