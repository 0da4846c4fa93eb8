//! A release's archive, made by `install/archive.sh`: whole, damaged, hostile, for another machine, and installations that are cut off.
#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleetgate_tests::binaries::{binary, target, workspace};
use fleetgate_tests::installation::{Machine, program_of};

/// What a release offers: the archive, with `FILE.sha256` beside it.
fn archive(directory: &Path) -> PathBuf {
    let profile = match binary("fleetgate").parent().unwrap().file_name().unwrap().to_str().unwrap() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let mut pack = Command::new(workspace().join("install/archive.sh"));
    pack.args(["--profile", &profile, "--output"]).arg(directory).env("CARGO_TARGET_DIR", target());
    let packed = pack.output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    PathBuf::from(String::from_utf8(packed.stdout).unwrap().trim())
}

/// Runs a shell line in a directory.
fn shell(directory: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-euc", line]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_releases_archive_installs_what_it_holds_and_a_bad_one_changes_nothing() {
    let machine = Machine::empty();
    let here = machine.directory.path();
    let archive = archive(here);
    let path = archive.to_str().unwrap();
    let listed = shell(here, &format!("tar --numeric-owner -tvzf {path}"));
    for line in listed.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" fleetgate-") && line.contains(" 1970-01-01 "), "{line}");
    }
    for holds in ["/bin/fleetgate-gateway", "/share/fleetgate/man/fleetgate.1", "/install/uninstall.sh", "/LICENSE-MIT"]
    {
        assert!(listed.lines().any(|line| line.ends_with(holds)), "{holds}: {listed}");
    }

    // Both parts: from the archive, and by the script which lies in it.
    machine.succeed("install.sh", &["sidecar", "--archive", path]);
    shell(here, &format!("mkdir unpacked && tar -xzf {path} -C unpacked --strip-components=1"));
    shell(here, "sh unpacked/install/install.sh gateway --root root");
    for program in ["fleetgate", "fleetgate-gateway"] {
        let version = shell(here, &format!("root/usr/local/bin/{program} --version"));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        for page in ["share/man/man1/{}.1", "share/bash-completion/completions/{}", "share/zsh/site-functions/_{}"] {
            assert!(machine.file(&format!("/usr/local/{}", page.replace("{}", program))).exists(), "{page}");
        }
    }

    let before = machine.files();
    let refuse = |archive: &str, says: &str| {
        let refused = machine.run("install.sh", &["sidecar", "--archive", archive]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(says), "{archive}: {told}");
        assert!(machine.files() == before, "{archive} changed something");
    };
    // A download that broke off, with the sum of the whole; and one whose sum was made of what had come.
    shell(
        here,
        &format!(
            "mkdir cut && head -c 3000000 {path} >cut/a.tar.gz && sed 's/ .*//' {path}.sha256 >cut/a.tar.gz.sha256"
        ),
    );
    refuse(&format!("{}/cut/a.tar.gz", here.display()), "damaged or changed");
    shell(here, "cd cut && sha256sum a.tar.gz >a.tar.gz.sha256");
    refuse(&format!("{}/cut/a.tar.gz", here.display()), "cannot be read");
    // No sum at all; another's.
    shell(here, &format!("mkdir bare && cp {path} bare/a.tar.gz"));
    refuse(&format!("{}/bare/a.tar.gz", here.display()), "SHA256SUMS");
    shell(here, "printf '%064d  a.tar.gz\n' 0 >bare/SHA256SUMS");
    refuse(&format!("{}/bare/a.tar.gz", here.display()), "damaged or changed");
    shell(here, "printf '%064d  b.tar.gz\n' 0 >bare/SHA256SUMS");
    refuse(&format!("{}/bare/a.tar.gz", here.display()), "no line for a.tar.gz");

    machine.uninstall(&[]);
    assert!(machine.files().is_empty(), "{:?}", machine.files().keys());
}

#[test]
fn an_archive_with_paths_outside_is_not_unpacked() {
    for (name, rename) in
        [("up", "s,^evil,fleetgate-0.1.0-any/../../evil,"), ("root", "s,^evil,/tmp/evil,"), ("beside", "s,^evil,evil,")]
    {
        let machine = Machine::empty();
        let here = machine.directory.path();
        shell(here, "mkdir -p fleetgate-0.1.0-any/bin && echo evil >evil && cp evil fleetgate-0.1.0-any/bin/fleetgate");
        shell(here, &format!("tar -cPzf {name}.tar.gz --transform '{rename}' fleetgate-0.1.0-any evil"));
        shell(here, &format!("sha256sum {name}.tar.gz >SHA256SUMS"));
        let archive = here.join(format!("{name}.tar.gz"));
        let refused = machine.run("install.sh", &["sidecar", "--archive", archive.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains("lead outside"), "{name}: {told}");
        assert!(machine.files().is_empty());
    }
}

#[test]
fn an_installation_that_is_killed_at_any_step_leaves_a_working_program_and_is_finished_by_the_next() {
    // The step is the n-th file that is put in place; the installer dies before it, or after.
    for (before, after) in [("kill -9 $PPID; exit 1", ":"), (":", "kill -9 $PPID")] {
        for step in 1.. {
            let machine = Machine::empty();
            machine.release(&program_of("0.1.0"));
            machine.install(&["sidecar"]);
            fs::write(machine.file("/etc/fleetgate/hosts.toml"), "mine").unwrap();
            machine.stand_in(
                "mv",
                &format!(
                    r#"echo >>"$HERE/steps"
[ "$(wc -l <"$HERE/steps")" -ne {step} ] || {{ {before}; }}
/bin/mv "$@" || exit
[ "$(wc -l <"$HERE/steps")" -ne {step} ] || {{ {after}; }}"#
                ),
            );
            machine.release(&program_of("0.2.0"));
            let killed = machine.run("install.sh", &["sidecar", "--binary", &machine.program()]);
            let version = shell(&machine.root(), "usr/local/bin/fleetgate --version");
            assert!(["fleetgate 0.1.0\n", "fleetgate 0.2.0\n"].contains(&version.as_str()), "step {step}: {version}");
            assert_eq!(fs::read(machine.file("/etc/fleetgate/hosts.toml")).unwrap(), b"mine");
            if killed.status.success() {
                assert!(step > 8, "only {step} steps");
                break;
            }
            fs::remove_file(machine.directory.path().join("bin/mv")).unwrap();
            machine.install(&["sidecar"]);
            assert_eq!(shell(&machine.root(), "usr/local/bin/fleetgate --version"), "fleetgate 0.2.0\n");
            assert_eq!(fs::read(machine.file("/etc/fleetgate/hosts.toml")).unwrap(), b"mine");
            machine.uninstall(&["--purge"]);
            assert!(machine.files().is_empty(), "step {step}: {:?}", machine.files().keys());
        }
    }
}

#[test]
fn a_program_for_another_machine_is_refused_with_the_name_of_the_right_archive() {
    for (system, processor, says) in [
        ("Linux", "aarch64", "fleetgate-VERSION-aarch64-unknown-linux-musl.tar.gz"),
        ("Linux", "x86_64", "fleetgate-VERSION-x86_64-unknown-linux-musl.tar.gz"),
        ("Linux", "armv7l", "no archive for it: install from the source"),
        ("Darwin", "arm64", "fleetgate-VERSION-aarch64-apple-darwin.tar.gz"),
    ] {
        let machine = Machine::empty();
        machine.stand_in("uname", &format!("case $1 in -m) echo {processor} ;; *) echo {system} ;; esac"));
        machine.release("\x7fELF of another processor");
        let Some(refused) =
            machine.run_for_person("install.sh", &["sidecar", "--user", "--binary", &machine.program()])
        else {
            return;
        };
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(processor) && told.contains(says), "{told}");
        assert!(machine.files().is_empty());
    }
}
