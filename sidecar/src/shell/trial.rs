//! One block in one shell: does it parse, and is it silent where there is nothing.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::copies::Copies;
use super::dialect::UnknownShell;

/// More than any start-up file may take; a machine under load included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what a shell said is told.
const QUOTED: usize = 300;

/// A program that reads start-up files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interpreter {
    /// As it is called.
    pub name: &'static str,
    /// With options that keep the person's own files out.
    command: &'static [&'static str],
}

const fn interpreter(name: &'static str, command: &'static [&'static str]) -> Interpreter {
    Interpreter { name, command }
}

const BASH: Interpreter = interpreter("bash", &["bash", "--noprofile", "--norc"]);
const ZSH: Interpreter = interpreter("zsh", &["zsh", "-f"]);
const FISH: Interpreter = interpreter("fish", &["fish", "--no-config"]);
const SH: Interpreter = interpreter("sh", &["sh"]);
const DASH: Interpreter = interpreter("dash", &["dash"]);
const BUSYBOX: Interpreter = interpreter("busybox", &["busybox", "sh"]);
const KSH: Interpreter = interpreter("ksh", &["ksh"]);
const MKSH: Interpreter = interpreter("mksh", &["mksh"]);

const ALL: [Interpreter; 8] = [BASH, ZSH, FISH, SH, DASH, BUSYBOX, KSH, MKSH];
/// What may be behind `sh`, on this machine or the next one that the file is synced to.
const POSIX: &[Interpreter] = &[SH, BASH, DASH, BUSYBOX, KSH, MKSH];
const POSIX_AND_ZSH: &[Interpreter] = &[BASH, ZSH, SH, DASH, BUSYBOX, KSH, MKSH];

/// What is wrong with a block in a shell.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It does not parse.
    #[error("does not parse: {0}")]
    Syntax(String),
    /// It runs, and prints something.
    #[error("is not silent: {0}")]
    Noise(String),
    /// It ends with an error.
    #[error("ends with {status}{said}")]
    Status {
        /// How.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// It does not end.
    #[error("still runs after {} s", PATIENCE.as_secs())]
    Slow,
    /// Something else still runs.
    #[error("leaves a process behind")]
    LeftBehind,
    /// It could not be tried.
    #[error("could not be tried: {0}")]
    Untried(#[from] io::Error),
}

impl Interpreter {
    /// By its name.
    ///
    /// # Errors
    /// When it is none of those that can be tried.
    pub fn named(name: &str) -> Result<Self, UnknownShell> {
        let name = if name == "ksh93" { "ksh" } else { name };
        ALL.into_iter().find(|known| known.name == name).ok_or_else(|| UnknownShell(name.to_owned()))
    }

    /// Those that read a file of this name: a repository of dotfiles often leaves the leading dot out, or writes `dot_`.
    #[must_use]
    pub fn readers(file: &Path) -> &'static [Self] {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let bare = name.strip_prefix('.').or_else(|| name.strip_prefix("dot_")).unwrap_or(&name);
        match bare {
            bare if bare.ends_with(".fish") => &[FISH],
            bare if bare.starts_with("bash") || bare.ends_with(".bash") => &[BASH],
            bare if bare.starts_with("zsh") || bare.ends_with(".zsh") || bare == "zprofile" || bare == "zlogin" => {
                &[ZSH]
            }
            "mkshrc" => &[MKSH],
            "kshrc" => &[KSH, MKSH],
            "profile" | "shrc" | "ashrc" | "dashrc" | "shinit" => POSIX,
            _ => POSIX_AND_ZSH,
        }
    }

    /// Where it is installed, if it is.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        let is_program = |file: &PathBuf| {
            fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(self.command[0]))
            .find(is_program)
    }

    /// Tries a block: parses it, and runs it with an empty environment, in a home where nothing is and in one where the synced files are.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn try_block(self, program: &Path, body: &[u8]) -> Result<(), Fault> {
        let bench = Bench::new()?;
        let block = bench.0.join("block");
        fs::write(&block, body)?;
        let empty = bench.0.join("empty");
        fs::create_dir(&empty)?;
        let furnished = bench.0.join("furnished");
        Copies::new(furnished.join(".local/share/fleetgate"))
            .refresh()
            .map_err(|problem| io::Error::other(problem.to_string()))?;

        let (status, said) = self.run(program, &bench, &empty, &["-n"], &block)?;
        if !status.success() || !said.is_empty() {
            return Err(Fault::Syntax(said_or(&said, status)));
        }
        // Sourced, as a start-up file is: `return` is allowed there.
        let source: [&str; 2] = if self == FISH { ["-c", "source $argv[1]"] } else { ["-c", ". \"$0\""] };
        for home in [&empty, &furnished] {
            let (status, said) = self.run(program, &bench, home, &source, &block)?;
            if !status.success() {
                let said = if said.is_empty() { said } else { format!(": {said}") };
                return Err(Fault::Status { status, said });
            }
            if !said.is_empty() {
                return Err(Fault::Noise(said));
            }
        }
        Ok(())
    }

    fn run(
        self,
        program: &Path,
        bench: &Bench,
        home: &Path,
        options: &[&str],
        block: &Path,
    ) -> Result<(ExitStatus, String), Fault> {
        let output = bench.0.join("output");
        let file = File::create(&output)?;
        let mut command = Command::new(program);
        command.args(&self.command[1..]).args(options).arg(block);
        command.env_clear().env("HOME", home).current_dir(home);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A group of its own, so that whatever it starts can be found and ended with it.
        command.process_group(0);
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait()));
        let status = ended.recv_timeout(PATIENCE);
        let is_left = test_kill_process_group(group).is_ok();
        if is_left || status.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = status.map_err(|_| Fault::Slow)??;
        if is_left && status.signal().is_none() {
            return Err(Fault::LeftBehind);
        }
        let said = String::from_utf8_lossy(&fs::read(&output)?).replace(&*block.to_string_lossy(), "block");
        Ok((status, said.trim().escape_debug().take(QUOTED).collect()))
    }
}

fn said_or(said: &str, status: ExitStatus) -> String {
    if said.is_empty() { status.to_string() } else { said.to_owned() }
}

/// A directory of our own that goes when the trial is over.
struct Bench(PathBuf);

impl Bench {
    fn new() -> io::Result<Self> {
        let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = env::temp_dir().join(format!("fleetgate-check-{random:016x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_reads_the_file() {
        let readers =
            |name: &str| -> Vec<&str> { Interpreter::readers(Path::new(name)).iter().map(|one| one.name).collect() };
        for name in ["/h/.bashrc", "bashrc", "dot_bash_profile", "a.bash"] {
            assert_eq!(readers(name), ["bash"], "{name}");
        }
        for name in ["/h/.zshrc", ".zprofile", "x.zsh"] {
            assert_eq!(readers(name), ["zsh"], "{name}");
        }
        assert_eq!(readers("conf.d/fleetgate.fish"), ["fish"]);
        assert_eq!(readers(".kshrc"), ["ksh", "mksh"]);
        assert!(!readers(".profile").contains(&"zsh") && readers("common").contains(&"zsh"));
    }

    fn verdict(body: &str) -> Result<(), Fault> {
        SH.try_block(&SH.program().expect("every machine has sh"), body.as_bytes())
    }

    #[test]
    fn each_kind_of_fault_is_found() {
        assert!(verdict("if [ -n \"${X-}\" ]; then return 0; fi\n").is_ok());
        assert!(matches!(verdict("if true; then\n"), Err(Fault::Syntax(_))));
        assert!(matches!(verdict("echo hello\n"), Err(Fault::Noise(said)) if said == "hello"));
        assert!(
            matches!(verdict("echo bad >&2; return 3\n"), Err(Fault::Status { status, said }) if status.code() == Some(3) && said == ": bad")
        );
        assert!(matches!(
            verdict("[ ! -r ~/.local/share/fleetgate/fleetgate.sh ] || echo here\n"),
            Err(Fault::Noise(_))
        ));
        assert!(matches!(verdict("tail -f /dev/null &\n"), Err(Fault::LeftBehind)));
        assert!(matches!(
            verdict("[ \"$(env | grep -vc '^\\(HOME\\|PWD\\|OLDPWD\\|SHLVL\\|_\\)=')\" = 0 ] || echo not empty\n"),
            Ok(())
        ));
        assert!(matches!(verdict("while :; do :; done\n"), Err(Fault::Slow)));
    }
}
