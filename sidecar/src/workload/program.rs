//! What a program is called, from its executable and its arguments.
//!
//! A program that is a file of its own has that file's name. Behind an interpreter stands a script, which is what people mean:
//! `python:/srv/agent/app.py`. A script that was installed as a command (`/usr/local/bin/aider`, a package of npm) is that command.

use super::text::{self, MAX_LENGTH};

/// A program that runs.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The file that it was started from.
    pub(super) executable: Vec<u8>,
    /// Its arguments, its own name first.
    pub(super) arguments: Vec<Vec<u8>>,
    /// Where it is; scripts are often named from there.
    pub(super) directory: Option<Vec<u8>>,
}

/// npm's packages whose command is known by another name.
const PACKAGES: [(&str, &str); 8] = [
    ("@anthropic-ai/claude-code", "claude"),
    ("@openai/codex", "codex"),
    ("@google/gemini-cli", "gemini"),
    ("@qwen-code/qwen-code", "qwen"),
    ("opencode-ai", "opencode"),
    ("@sourcegraph/amp", "amp"),
    ("@github/copilot", "copilot"),
    ("@charmland/crush", "crush"),
];

/// How an interpreter's command line is read.
struct Interpreter {
    name: &'static str,
    /// Options whose next argument is their value.
    with_value: &'static [&'static str],
    /// Options whose next argument is the program, as a text.
    with_code: &'static [&'static str],
    /// Words before the script.
    verbs: &'static [&'static str],
}

const fn shell(name: &'static str) -> Interpreter {
    Interpreter { name, with_value: &["-o"], with_code: &["-c"], verbs: &[] }
}

static INTERPRETERS: [Interpreter; 14] = [
    Interpreter {
        name: "python",
        with_value: &["-W", "-X", "--check-hash-based-pycs"],
        with_code: &["-c"],
        verbs: &[],
    },
    Interpreter { name: "pypy", with_value: &["-W", "-X"], with_code: &["-c"], verbs: &[] },
    Interpreter {
        name: "node",
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
        ],
        with_code: &["-e", "--eval", "-p", "--print", "-pe"],
        verbs: &["inspect"],
    },
    Interpreter {
        name: "bun",
        with_value: &["-r", "--preload", "--cwd", "-c"],
        with_code: &["-e", "--eval", "-p"],
        verbs: &["run", "x", "exec"],
    },
    Interpreter {
        name: "deno",
        with_value: &["-c", "--config", "--import-map"],
        with_code: &["eval"],
        verbs: &["run", "serve"],
    },
    Interpreter {
        name: "java",
        with_value: &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-opens", "--add-modules"],
        with_code: &[],
        verbs: &["-jar"],
    },
    Interpreter { name: "ruby", with_value: &["-I", "-r"], with_code: &["-e"], verbs: &[] },
    Interpreter { name: "perl", with_value: &[], with_code: &["-e", "-E"], verbs: &[] },
    Interpreter { name: "php", with_value: &["-c", "-d"], with_code: &["-r"], verbs: &["-f"] },
    Interpreter { name: "bash", with_value: &["-O", "-o"], with_code: &["-c"], verbs: &[] },
    shell("sh"),
    shell("dash"),
    shell("zsh"),
    shell("fish"),
];

impl Program {
    /// Its name: fit for a header, at most 128 characters.
    pub(super) fn name(&self) -> Option<String> {
        let file = self.file_name()?;
        let named = match interpreter(file) {
            Some(interpreter) => self.script_name(interpreter),
            None => text::shorten(file, MAX_LENGTH),
        };
        (!named.is_empty()).then_some(named)
    }

    /// The last part of the executable's path. Programs that keep each version in a file of its own
    /// (`…/claude/versions/2.1.330`) are called as their directory is.
    fn file_name(&self) -> Option<&[u8]> {
        let path = self.executable.strip_suffix(b" (deleted)").unwrap_or(&self.executable);
        let mut parts = path.rsplit(|b| *b == b'/').filter(|part| !part.is_empty());
        let file = parts.next()?;
        let file = if is_version(file) { parts.find(|part| !is_version(part) && *part != b"versions")? } else { file };
        Some(file.strip_suffix(b".exe").unwrap_or(file))
    }

    fn script_name(&self, interpreter: &Interpreter) -> String {
        match self.script(interpreter) {
            Some(Script::Module(module)) => text::shorten_behind(&format!("{}:", interpreter.name), module, MAX_LENGTH),
            Some(Script::File(path)) => command_of(&path)
                .unwrap_or_else(|| text::shorten_behind(&format!("{}:", interpreter.name), &path, MAX_LENGTH)),
            None => interpreter.name.to_owned(),
        }
    }

    fn script(&self, interpreter: &Interpreter) -> Option<Script<'_>> {
        let is_python = matches!(interpreter.name, "python" | "pypy");
        let mut arguments = self.arguments.iter().skip(1).map(Vec::as_slice);
        while let Some(argument) = arguments.next() {
            let is = |words: &[&str]| words.iter().any(|word| word.as_bytes() == argument);
            if is(interpreter.with_code) || argument == b"-" {
                return None;
            } else if is(interpreter.verbs) || argument == b"--" {
            } else if is(interpreter.with_value) {
                arguments.next();
            } else if let Some(flags) = argument.strip_prefix(b"-") {
                // Python's short options may stand together: `-um package.module`, `-Ic code`.
                match flags.iter().position(|flag| matches!(flag, b'm' | b'c')) {
                    Some(at) if is_python && !flags.starts_with(b"-") => {
                        let rest = &flags[at + 1..];
                        let value = if rest.is_empty() { arguments.next()? } else { rest };
                        return (flags[at] == b'm').then_some(Script::Module(value));
                    }
                    _ => {}
                }
            } else if interpreter.name == "java" && !argument.ends_with(b".jar") {
                return Some(Script::Module(argument));
            } else if !argument.is_empty() {
                return Some(Script::File(self.absolute(argument)));
            }
        }
        None
    }

    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        let path = path.strip_prefix(b"file://").unwrap_or(path);
        let relative = path.strip_prefix(b"./").unwrap_or(path);
        match &self.directory {
            Some(directory) if !path.starts_with(b"/") => {
                [directory.strip_suffix(b"/").unwrap_or(directory), b"/", relative].concat()
            }
            _ => path.to_vec(),
        }
    }
}

enum Script<'a> {
    File(Vec<u8>),
    Module(&'a [u8]),
}

/// `python3.12`, `python3.12-intel64` and `python` are one.
fn interpreter(file: &[u8]) -> Option<&'static Interpreter> {
    INTERPRETERS.iter().find(|interpreter| {
        let rest = file.strip_prefix(interpreter.name.as_bytes());
        let rest =
            rest.map(|rest| if interpreter.name == "node" { rest.strip_prefix(b"js").unwrap_or(rest) } else { rest });
        rest.is_some_and(|rest| rest.first().is_none_or(|first| first.is_ascii_digit() || *first == b'-'))
    })
}

/// The command that a script was installed as, if it was.
fn command_of(path: &[u8]) -> Option<String> {
    const MODULES: &[u8] = b"/node_modules/";
    let (directory, file) = path.iter().rposition(|b| *b == b'/').map(|at| (&path[..at], &path[at + 1..]))?;
    let modules = path.windows(MODULES.len()).rposition(|window| window == MODULES);
    if let Some(at) = modules.filter(|_| !directory.ends_with(b"/.bin")) {
        let mut parts = path[at + MODULES.len()..].split(|b| *b == b'/');
        let mut package = text::shorten(parts.next()?, MAX_LENGTH / 2);
        if package.starts_with('@') {
            package = format!("{package}/{}", text::shorten(parts.next()?, MAX_LENGTH / 2 - 1));
        }
        let known = PACKAGES.iter().find(|(name, _)| *name == package).map(|(_, command)| (*command).to_owned());
        return Some(known.unwrap_or(package));
    }
    let is_command = [&b"/bin"[..], b"/.bin", b"/sbin", b"/Scripts"].iter().any(|bin| directory.ends_with(bin));
    (is_command && !file.contains(&b'.')).then(|| text::shorten(file, MAX_LENGTH))
}

fn is_version(part: &[u8]) -> bool {
    part.first().is_some_and(u8::is_ascii_digit)
        && part.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::workload::Workload;
    use proptest::prelude::*;

    use super::*;

    fn name(executable: &str, arguments: &[&str]) -> Option<String> {
        let arguments = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        Program { executable: executable.into(), arguments, directory: Some(b"/srv/agent".to_vec()) }.name()
    }

    #[test]
    fn a_program_has_its_files_name_and_a_script_its_own() {
        for (executable, arguments, expected) in [
            ("/usr/bin/curl", &["curl", "-s"][..], "curl"),
            ("/usr/local/bin/hermes (deleted)", &["hermes"], "hermes"),
            ("/home/me/.local/share/claude/versions/2.1.330", &["claude", "-p"], "claude"),
            ("/x/node_modules/@anthropic-ai/claude-code/bin/claude.exe", &["claude"], "claude"),
            ("/x/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/codex/codex", &["codex"], "codex"),
            ("/usr/bin/python3.12", &["python3", "/srv/agent/app.py", "--port", "1"], "python:/srv/agent/app.py"),
            ("/usr/bin/python3.12", &["python3", "app.py"], "python:/srv/agent/app.py"),
            ("/usr/bin/python3.12", &["python3", "-u", "-W", "ignore", "./app.py"], "python:/srv/agent/app.py"),
            ("/usr/bin/python3.12", &["python3", "-m", "uvicorn", "app:main"], "python:uvicorn"),
            ("/usr/bin/python3.12", &["python3", "-um", "agent.run"], "python:agent.run"),
            ("/usr/bin/python3.12", &["python3", "-Ic", "import x"], "python"),
            ("/usr/bin/python3.12", &["python3"], "python"),
            ("/usr/bin/python3.12", &["python3", "-"], "python"),
            ("/usr/bin/python3.12", &["/home/me/.venv/bin/python", "/home/me/.venv/bin/aider", "--yes"], "aider"),
            ("/usr/bin/node", &["node", "/path/x.js"], "node:/path/x.js"),
            (
                "/usr/bin/nodejs",
                &["node", "--require", "/hook.js", "--max-old-space-size=1", "x.js"],
                "node:/srv/agent/x.js",
            ),
            ("/usr/bin/node", &["node", "/usr/local/bin/gemini", "-p", "hi"], "gemini"),
            ("/usr/bin/node", &["node", "/x/node_modules/.bin/qwen"], "qwen"),
            ("/usr/bin/node", &["node", "/x/node_modules/@google/gemini-cli/bundle/gemini.js"], "gemini"),
            ("/usr/bin/node", &["node", "/x/node_modules/@qwen-code/qwen-code/cli.js"], "qwen"),
            ("/usr/bin/node", &["node", "/x/node_modules/some-agent/dist/main.js"], "some-agent"),
            ("/usr/bin/node", &["node", "/x/node_modules/@me/some-agent/dist/main.js"], "@me/some-agent"),
            ("/usr/bin/node", &["node", "-e", "fetch('x')"], "node"),
            ("/usr/bin/bun", &["bun", "run", "agent.ts"], "bun:/srv/agent/agent.ts"),
            ("/usr/bin/java", &["java", "-Xmx1g", "-cp", "a:b", "com.example.Main"], "java:com.example.Main"),
            ("/usr/bin/java", &["java", "-jar", "/opt/x.jar"], "java:/opt/x.jar"),
            ("/usr/bin/bash", &["bash", "/srv/cron/nightly.sh"], "bash:/srv/cron/nightly.sh"),
            ("/usr/bin/pythonista", &["pythonista"], "pythonista"),
            ("/usr/bin/shasum", &["shasum"], "shasum"),
        ] {
            assert_eq!(name(executable, arguments).as_deref(), Some(expected), "{executable} {arguments:?}");
        }
        assert_eq!(name("", &[]), None);
        assert_eq!(name("/1.2/3", &[]), None);
    }

    #[test]
    fn a_hostile_name_stays_one_harmless_word() {
        let hostile = format!("/tmp/x\r\nx-fleetgate-host: victim\r\n{}", "a".repeat(10_000));
        let named = name(&hostile, &[]).unwrap();
        assert!(named.len() == MAX_LENGTH && Workload::parse(&named).is_ok(), "{named}");
        let script = name("/usr/bin/python3", &["python3", "/tmp/a\nb c.py"]).unwrap();
        assert_eq!(script, "python:/tmp/a_b_c.py");
    }

    proptest! {
        #[test]
        fn every_name_is_a_workloads(
            file in proptest::collection::vec(any::<u8>(), 0..300),
            interpreter in proptest::sample::select(&["", "/usr/bin/python3", "/usr/bin/node", "/usr/bin/bun", "/bin/sh"][..]),
            arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..6),
        ) {
            let executable = if interpreter.is_empty() { [b"/".to_vec(), file].concat() } else { interpreter.into() };
            let program = Program { executable, arguments, directory: Some(b"/\xff".to_vec()) };
            if let Some(name) = program.name() {
                prop_assert!(Workload::parse(&name).is_ok_and(|workload| workload.as_str() == name), "{name:?}");
            }
        }
    }
}
