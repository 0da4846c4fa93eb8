//! The installer's scripts below a directory of their own: nothing here touches the machine.
//!
//! # Panics
//! Everything here does where the machine does not do what a test needs.
#![allow(clippy::missing_panics_doc, reason = "said once, above")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A machine's files, and a program to install.
#[derive(Debug)]
pub struct Machine {
    /// Beside the root: the program, the archive and the stand-ins for the system's programs.
    pub directory: TempDir,
}

impl Machine {
    /// A machine with nothing on it, and a program which is no program.
    #[must_use]
    pub fn empty() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.root()).unwrap();
        fs::create_dir(machine.directory.path().join("bin")).unwrap();
        machine.release("first");
        machine
    }

    /// Where its files are.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Where a file of it is.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// A file's permissions.
    #[must_use]
    pub fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.file(path)).unwrap().permissions().mode() & 0o7777
    }

    /// The program that the next installation takes.
    pub fn release(&self, content: &str) {
        fs::write(self.directory.path().join("program"), content).unwrap();
    }

    /// From now on this machine says that it runs another system.
    pub fn pretend(&self, system: &str) {
        self.stand_in("uname", &format!("echo {system}"));
    }

    /// A script that this machine finds before the program of that name. `$HERE` in it is the directory beside the root.
    pub fn stand_in(&self, name: &str, script: &str) {
        let path = self.directory.path().join("bin").join(name);
        let script = script.replace("$HERE", &self.directory.path().display().to_string());
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `install.sh --binary` takes.
    #[must_use]
    pub fn program(&self) -> String {
        self.directory.path().join("program").display().to_string()
    }

    /// Runs a script of `install/` below its root.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("/bin/sh");
        self.command(&mut command, script, arguments)
            .arg("--root")
            .arg(self.root())
            .env("HOME", "/home/someone")
            .env("SUDO_USER", "someone");
        command.output().unwrap()
    }

    /// Runs a script of `install/` for a person whose home is its root, and who has a service manager: the stand-ins `launchctl`, or
    /// `systemctl` and `loginctl`. `None`, with a printed line, where no directory can be shown to the script alone.
    pub fn run_for_person(&self, script: &str, arguments: &[&str]) -> Option<Output> {
        const SYSTEMD: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec /bin/sh "$@""#;
        if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
            println!("SKIPPED: no namespaces for this user; run the tests as root");
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "/bin/sh", "-c", SYSTEMD, "person"]);
        Some(self.command(&mut unshare, script, arguments).env("HOME", self.root()).output().unwrap())
    }

    fn command<'a>(&self, command: &'a mut Command, script: &str, arguments: &[&str]) -> &'a mut Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install").join(script);
        let here = self.directory.path().display();
        let path = format!("{here}/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg(script).args(arguments).env_clear().env("PATH", path)
    }

    /// The same for one that must say nothing but its report.
    pub fn succeed(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        assert!(output.status.success(), "{script} {arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{script} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Installs the program that was released last.
    pub fn install(&self, arguments: &[&str]) -> String {
        self.succeed("install.sh", &[arguments, &["--binary", &self.program()]].concat())
    }

    /// Takes it away again.
    pub fn uninstall(&self, arguments: &[&str]) -> String {
        self.succeed("uninstall.sh", arguments)
    }

    /// Every file with its content.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.root()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.insert(path.strip_prefix(self.root()).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

/// A program of this version, as far as the installer looks at it.
#[must_use]
pub fn program_of(version: &str) -> String {
    format!(
        r##"#!/bin/sh
case $1 in
  --version) echo "fleetgate {version}" ;;
  completions) echo "# $2" ;;
  man) mkdir -p "$3" && echo ".TH {version}" >"$3/fleetgate-{version}.1" ;;
esac
"##
    )
}
