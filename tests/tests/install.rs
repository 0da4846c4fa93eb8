//! install.sh and uninstall.sh below a directory of their own: nothing here touches the machine.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleetgate_tests::installation::{Machine, program_of};

const PARTS: [&str; 2] = ["gateway", "sidecar"];

#[test]
fn what_was_installed_goes_without_a_trace() {
    for scope in [&[][..], &["--user"], &["--prefix", "/opt/fleet"]] {
        let machine = Machine::empty();
        for part in PARTS.into_iter().filter(|part| *part == "sidecar" || scope != ["--user"]) {
            machine.install(&[&[part][..], scope].concat());
        }
        assert!(machine.files().len() >= 7, "{scope:?}: {:?}", machine.files().keys());
        machine.uninstall(scope);
        assert!(machine.files().is_empty(), "{scope:?}: {:?}", machine.files().keys());
        assert!(!machine.file("/etc/fleetgate").exists());
    }
}

#[test]
fn one_part_goes_and_the_other_stays_whole() {
    let machine = Machine::empty();
    machine.install(&["sidecar"]);
    let before = machine.files();
    machine.install(&["gateway"]);
    machine.uninstall(&["gateway"]);
    assert_eq!(machine.files(), before);
}

#[test]
fn a_dry_run_names_each_step_and_changes_nothing() {
    for part in PARTS {
        let machine = Machine::empty();
        let told = machine.install(&[part, "--dry-run"]);
        assert!(told.contains("would run: mv -f") && told.contains("/etc/fleetgate"), "{told}");
        assert!(machine.files().is_empty());
        machine.install(&[part]);
        let before = machine.files();
        machine.release("second");
        machine.install(&[part, "--dry-run"]);
        assert!(machine.uninstall(&[part, "--purge", "--dry-run"]).contains("would run: rm -f"));
        assert_eq!(machine.files(), before);
    }
}

#[test]
fn secrets_are_for_their_owner_only_and_never_printed() {
    let machine = Machine::empty();
    let told = machine.install(&["gateway"]);
    assert_eq!(machine.mode("/etc/fleetgate/gateway.env"), 0o600);
    assert_eq!(machine.mode("/etc/fleetgate"), 0o755);
    let environment = fs::read_to_string(machine.file("/etc/fleetgate/gateway.env")).unwrap();
    let key = environment.lines().find_map(|line| line.strip_prefix("LITELLM_MASTER_KEY=")).unwrap();
    assert!(key.starts_with("sk-") && key.len() == 3 + 48, "{} characters", key.len());
    assert!(!told.contains(key));
}

#[test]
fn an_upgrade_replaces_the_program_and_keeps_the_configuration() {
    let machine = Machine::empty();
    machine.install(&["gateway"]);
    let environment = machine.file("/etc/fleetgate/gateway.env");
    let before = fs::read(&environment).unwrap();
    fs::write(machine.file("/etc/fleetgate/config.yaml"), "mine").unwrap();

    machine.release("second");
    machine.install(&["gateway"]);
    assert_eq!(fs::read(machine.file("/usr/local/bin/fleetgate-gateway")).unwrap(), b"second");
    assert_eq!(machine.mode("/usr/local/bin/fleetgate-gateway"), 0o755);
    assert_eq!(fs::read(environment).unwrap(), before);
    assert_eq!(fs::read(machine.file("/etc/fleetgate/config.yaml")).unwrap(), b"mine");
}

#[test]
fn edited_files_and_the_ledger_outlive_all_but_a_purge() {
    let machine = Machine::empty();
    machine.install(&["gateway"]);
    machine.install(&["sidecar"]);
    machine.install(&["gateway"]);
    for path in ["/etc/fleetgate/config.yaml", "/etc/fleetgate/host.key", "/var/lib/fleetgate/ledger.db"] {
        fs::create_dir_all(machine.file(path).parent().unwrap()).unwrap();
        fs::write(machine.file(path), "mine").unwrap();
    }
    let told = machine.uninstall(&[]);
    let left: Vec<String> = machine.files().keys().map(|path| path.display().to_string()).collect();
    let lists = ["usr/local/share/fleetgate/installed-gateway", "usr/local/share/fleetgate/installed-sidecar"];
    let kept = ["etc/fleetgate/config.yaml", "etc/fleetgate/host.key"];
    assert_eq!(left, [&kept[..], &lists, &["var/lib/fleetgate/ledger.db"]].concat());
    assert!(told.contains("kept: /etc/fleetgate/config.yaml") && told.contains("kept: /var/lib/fleetgate"), "{told}");

    // Also what an earlier installation has left.
    machine.install(&["gateway"]);
    machine.uninstall(&["gateway"]);
    machine.uninstall(&["--purge"]);
    assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
    assert!(!machine.file("/etc/fleetgate").exists());
}

#[test]
fn a_configuration_that_was_there_before_is_not_the_installers_to_remove() {
    let machine = Machine::empty();
    fs::create_dir_all(machine.file("/etc/fleetgate")).unwrap();
    fs::write(machine.file("/etc/fleetgate/config.yaml"), "mine").unwrap();
    machine.install(&["gateway"]);
    machine.uninstall(&["--purge"]);
    assert_eq!(machine.files().into_keys().collect::<Vec<_>>(), [PathBuf::from("etc/fleetgate/config.yaml")]);
}

#[test]
fn the_service_starts_the_program_where_it_was_put() {
    let machine = Machine::empty();
    machine.install(&["gateway", "--prefix", "/opt/fleet"]);
    let unit = fs::read_to_string(machine.file("/etc/systemd/system/fleetgate-gateway.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/fleet/bin/fleetgate-gateway serve --config /etc/fleetgate/config.yaml"));

    machine.install(&["sidecar", "--user"]);
    let unit =
        fs::read_to_string(machine.file("/home/someone/.config/systemd/user/fleetgate-sidecar.service")).unwrap();
    assert!(unit.contains("ExecStart=/home/someone/.local/bin/fleetgate sidecar"), "{unit}");
}

#[test]
fn the_sidecar_of_a_whole_machine_serves_who_installed_it() {
    let machine = Machine::empty();
    machine.install(&["sidecar", "--user"]);
    let own = fs::read_to_string(machine.file("/home/someone/.config/fleetgate/sidecar.env")).unwrap();
    assert!(!own.contains("FLEETGATE_ALLOW_USERS"), "{own}");

    let told = machine.install(&["sidecar"]);
    let environment = fs::read_to_string(machine.file("/etc/fleetgate/sidecar.env")).unwrap();
    assert!(environment.contains("\nFLEETGATE_ALLOW_USERS=someone\n"), "{environment}");
    assert!(!told.contains("Only root"), "{told}");
    // One from before says nothing of users.
    fs::write(machine.file("/etc/fleetgate/sidecar.env"), "FLEETGATE_GATEWAY=http://box:4000\n").unwrap();
    assert!(machine.install(&["sidecar"]).contains("FLEETGATE_ALLOW_USERS="));
    let unit = fs::read_to_string(machine.file("/etc/systemd/system/fleetgate-sidecar.service")).unwrap();
    assert!(unit.contains(" AF_NETLINK"), "{unit}");
}

#[test]
fn on_macos_both_parts_are_agents_of_the_person() {
    let machine = Machine::empty();
    machine.pretend("Darwin");
    for part in PARTS {
        machine.install(&[part, "--user"]);
        let plist = format!("/home/someone/Library/LaunchAgents/dev.fleetgate.{part}.plist");
        let plist = fs::read_to_string(machine.file(&plist)).unwrap();
        assert!(plist.contains("<string>/home/someone/.local/bin/fleetgate"), "{plist}");
        for unfilled in ["@BIN@", "@CONFIG@", "@LOGS@"] {
            assert!(!plist.contains(unfilled), "{plist}");
        }
    }
    machine.uninstall(&["--user"]);
    assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let machine = Machine::empty();
    let program = machine.directory.path().join("program");
    let program = program.to_str().unwrap();
    for (script, arguments, says) in [
        ("install.sh", &["gatway"][..], "unknown argument: gatway"),
        ("install.sh", &["gateway", "--binary", "/nowhere"], "/nowhere does not exist"),
        ("install.sh", &["gateway", "--archive", "/nowhere.tar.gz"], "/nowhere.tar.gz does not exist"),
        ("install.sh", &["gateway", "--user", "--binary", program], "--user is for the sidecar"),
        ("uninstall.sh", &["gateway"], "the gateway was not installed here"),
        ("uninstall.sh", &[], "nothing was installed"),
    ] {
        let output = machine.run(script, arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(says), "{script} {arguments:?}: {told}");
        assert!(machine.files().is_empty());
    }
}

#[test]
fn an_older_version_is_refused_unless_asked_for() {
    let machine = Machine::empty();
    let order = ["0.9.9", "0.10.0-rc.2", "0.10.0-rc.10", "0.10.0", "0.10.1"];
    for pair in order.windows(2) {
        machine.release(&program_of(pair[0]));
        machine.install(&["sidecar", "--allow-downgrade"]);
        machine.release(&program_of(pair[1]));
        assert!(machine.install(&["sidecar"]).contains(&format!("Upgrade from {} to {}", pair[0], pair[1])));
        let before = machine.files();
        machine.release(&program_of(pair[0]));
        let program = machine.directory.path().join("program");
        let refused = machine.run("install.sh", &["sidecar", "--binary", program.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains("--allow-downgrade"), "{pair:?}: {told}");
        assert_eq!(machine.files(), before);
    }
    // The page of the version before went with it.
    let pages: Vec<_> = machine.files().into_keys().filter(|path| path.extension().is_some_and(|e| e == "1")).collect();
    assert_eq!(pages, [PathBuf::from("usr/local/share/man/man1/fleetgate-0.10.1.1")]);
    machine.uninstall(&[]);
    assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
}

#[test]
fn an_installation_that_was_cut_off_is_finished_or_taken_back() {
    for finish in [true, false] {
        let machine = Machine::empty();
        // No unit can be placed: the installation ends after the program.
        fs::create_dir_all(machine.file("/etc/systemd/system/fleetgate-sidecar.service.new")).unwrap();
        machine.release(&program_of("0.1.0"));
        let program = machine.directory.path().join("program");
        fs::create_dir_all(machine.file("/etc/systemd/system/fleetgate-sidecar.service/x")).unwrap();
        let cut = machine.run("install.sh", &["sidecar", "--binary", program.to_str().unwrap(), "--prefix", "/usr"]);
        fs::remove_dir_all(machine.file("/etc/systemd/system")).unwrap();
        assert!(machine.file("/usr/bin/fleetgate").exists(), "{cut:?}");
        fs::write(machine.file("/usr/bin/fleetgate.new"), "half").unwrap();
        let manifest = machine.file("/usr/share/fleetgate/installed-sidecar");
        let list = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, format!("{list}unfinished\n")).unwrap();
        if finish {
            assert!(machine.install(&["sidecar", "--prefix", "/usr"]).contains("cut off; it is finished now"));
            assert!(!fs::read_to_string(&manifest).unwrap().contains("unfinished"));
        }
        machine.uninstall(&["--prefix", "/usr"]);
        assert!(machine.files().is_empty(), "{finish}: {:?}", machine.files().keys());
    }
}

#[test]
fn what_the_source_needs_is_named_with_the_distributions_own_command() {
    for (release, command) in [
        ("ID=ubuntu\nID_LIKE=debian\n", "apt-get install"),
        ("ID=raspbian\nID_LIKE=debian\n", "apt-get install"),
        ("ID=fedora\n", "dnf install"),
        ("ID=arch\n", "pacman -S"),
    ] {
        let machine = Machine::empty();
        fs::create_dir_all(machine.file("/etc")).unwrap();
        fs::write(machine.file("/etc/os-release"), release).unwrap();
        let refused = machine.run("install.sh", &["sidecar"]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(command), "{release}: {told}");
        assert_eq!(machine.files().len(), 1);
    }
}

#[test]
fn the_services_are_hardened() {
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/systemd");
    for (unit, threshold) in [
        ("fleetgate-gateway.service", 20),
        ("fleetgate-sidecar.service", 20),
        ("fleetgate-gateway-backup.service", 20),
        // A user's manager has no more to give; the unit says why.
        ("user/fleetgate-sidecar.service", 62),
    ] {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", &format!("--threshold={threshold}")]);
        let Ok(output) = analyze.arg(install.join(unit)).output() else { return skip_without_systemd() };
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn systemd_understands_each_unit_as_it_is_installed() {
    let machine = Machine::empty();
    machine.release(&program_of("0.1.0"));
    for scope in [&["gateway"][..], &["sidecar"], &["sidecar", "--user"]] {
        machine.install(scope);
    }
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/systemd");
    let system = machine.file("/etc/systemd/system");
    for example in ["fleetgate-gateway-backup.service", "fleetgate-gateway-backup.timer"] {
        fs::copy(install.join(example), system.join(example)).unwrap();
    }
    let mut seen = 0;
    for (scope, directory) in [("--system", system), ("--user", machine.file("/home/someone/.config/systemd/user"))] {
        for unit in fs::read_dir(&directory).unwrap() {
            let path = unit.unwrap().path();
            // The program has to exist where the unit says.
            let text = fs::read_to_string(&path).unwrap();
            let root = machine.root().display().to_string();
            let text = text.replace("ExecStart=/", &format!("ExecStart={root}/"));
            fs::write(&path, text).unwrap();
            let mut verify = Command::new("systemd-analyze");
            verify.args(["verify", "--man=no", scope]).arg(&path).env("XDG_RUNTIME_DIR", machine.directory.path());
            let Ok(output) = verify.output() else { return skip_without_systemd() };
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // Where systemd does not run there may be no manager to ask.
            assert!(output.status.success() || said.contains("Failed to initialize manager"), "{path:?}: {said}");
            assert!(!said.contains("fleetgate"), "{path:?}: {said}");
            seen += 1;
        }
    }
    assert_eq!(seen, 7);
}

fn skip_without_systemd() {
    #[allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]
    {
        println!("SKIPPED: systemd-analyze is not installed");
    }
}
