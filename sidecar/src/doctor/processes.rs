//! The processes of this machine as `/proc` shows them to this user. Values of variables are compared, and never shown.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::report::Finding;
use crate::settings::{BASE_URLS, PROVIDER_KEYS, Surroundings, Wiring, may_be_provider_key};

/// Of one list no more than this many are named.
const MAX_NAMED: usize = 8;
/// Linux shows times of processes in this many ticks a second, whatever the kernel counts in (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its user.
    pub(super) user: u32,
    arguments: Vec<String>,
    directory: PathBuf,
}

impl Process {
    /// All that can be seen and are on this network: another network namespace is another machine for all that matters here.
    pub(super) fn all(processes: &Path) -> Vec<Self> {
        let network = fs::read_link(processes.join("self/ns/net")).ok();
        let entries = fs::read_dir(processes).into_iter().flatten().flatten();
        let seen = entries.filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?, entry.path()));
        // Other users' namespaces cannot be read; such a process is taken to be here.
        seen.filter(|process| {
            fs::read_link(process.directory.join("ns/net")).ok().is_none_or(|its| Some(its) == network)
        })
        .collect()
    }

    fn read(pid: u32, directory: PathBuf) -> Option<Self> {
        let user = fs::metadata(&directory).ok()?.uid();
        let command_line = fs::read(directory.join("cmdline")).ok()?;
        let arguments = command_line.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let arguments: Vec<String> = arguments.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        (!arguments.is_empty()).then_some(Self { pid, user, arguments, directory })
    }

    /// The program's file name.
    pub(super) fn program(&self) -> &str {
        self.arguments.first().map_or("", |path| file_name(path))
    }

    /// Whether the program was called with this argument.
    pub(super) fn has_argument(&self, wanted: &str) -> bool {
        self.arguments.iter().skip(1).any(|argument| argument == wanted)
    }

    /// For people: the program, and the script behind an interpreter. No other argument: one may be a secret.
    fn words(&self) -> String {
        let program = self.program();
        let runs_a_script =
            ["python", "node", "bun", "deno", "ruby", "sh", "bash"].iter().any(|name| program.starts_with(name));
        match self.arguments.get(1).filter(|script| runs_a_script && !script.starts_with('-')) {
            Some(script) => format!("{program} {}", file_name(script)),
            None => program.to_owned(),
        }
    }

    /// The variables with which it was started; only of one's own processes.
    fn environment(&self) -> Option<BTreeMap<String, String>> {
        let bytes = fs::read(self.directory.join("environ")).ok()?;
        let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Some(pairs.collect())
    }

    fn started(&self, processes: &Path) -> Option<SystemTime> {
        let stat = fs::read_to_string(self.directory.join("stat")).ok()?;
        // Field 22; the second one may hold blanks and ends with the last bracket (proc(5)).
        let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let boot = fs::read_to_string(processes.join("stat")).ok()?;
        let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(boot + ticks / TICKS_PER_SECOND))
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a mesh without a network interface makes loopback reachable from the whole mesh.
pub(super) fn userspace_mesh(all: &[Process]) -> Finding {
    const CHECK: &str = "mesh_mode";
    let userspace = all.iter().find(|process| {
        process.program() == "tailscaled"
            && process.arguments.iter().any(|argument| argument.ends_with("tun=userspace-networking"))
    });
    match userspace {
        None => Finding::ok(CHECK, "no tailscaled with userspace networking"),
        Some(process) => Finding::warning(CHECK, "userspace", format!("tailscaled (pid {}) runs with userspace networking", process.pid))
            .cause("every machine of the tailnet that the ACL lets through reaches 127.0.0.1 here, sidecar included, and looks like a local program")
            .next("sudo systemctl edit tailscaled  # run it without --tun=userspace-networking, or deny this machine's port 4000 in the ACL"),
    }
}

/// Processes of this user that still live in an environment of before: another base address, or a provider's own key. `files`
/// are those whose change made the present wiring.
pub(super) fn stale(all: &[Process], surroundings: &Surroundings, wiring: &Wiring, files: &[PathBuf]) -> Finding {
    const CHECK: &str = "processes";
    let Ok(us) = fs::metadata(surroundings.processes.join("self")) else {
        return Finding::skipped(CHECK, "environments of processes can be read on Linux only");
    };
    let ours = &surroundings.environment;
    let changed = files.iter().filter_map(|path| Some((fs::metadata(path).ok()?.modified().ok()?, path))).max();
    let mut named = Vec::new();
    let mut pids = Vec::new();
    // The gateway is where providers' keys belong.
    for process in all.iter().filter(|process| process.user == us.uid() && process.program() != "fleetgate-gateway") {
        let Some(theirs) = process.environment() else { continue };
        let differs = |name: &&&str| theirs.get(**name).is_some_and(|value| ours.get(**name) != Some(value));
        let elsewhere = BASE_URLS
            .iter()
            .filter(|name| theirs.get(**name).is_some_and(|url| !url.is_empty() && !wiring.leads_here(url)));
        let keys =
            PROVIDER_KEYS.iter().filter(|name| theirs.get(**name).is_some_and(|value| may_be_provider_key(value)));
        let variables: Vec<&str> = elsewhere.chain(keys).filter(differs).copied().collect();
        if variables.is_empty() {
            continue;
        }
        let old = changed
            .as_ref()
            .filter(|(at, _)| process.started(&surroundings.processes).is_some_and(|started| started < *at));
        let since = old.map_or_else(String::new, |(_, path)| format!(", started before {} changed", path.display()));
        named.push(format!("{} (pid {}{since}): {}", process.words(), process.pid, variables.join(" ")));
        pids.push(process.pid.to_string());
    }
    if named.is_empty() {
        return Finding::ok(CHECK, "no process of this user holds another base address or a provider's key");
    }
    let more = named.len().saturating_sub(MAX_NAMED);
    named.truncate(MAX_NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    pids.truncate(MAX_NAMED);
    Finding::warning(CHECK, "stale_environment", format!("processes hold variables that are not the present wiring: {}{more}", named.join("; ")))
        .cause("they were started from an older shell, a service file or another tool; their calls do not go through Fleetgate until they are started again")
        .next(format!("ps -o pid,lstart,cmd -p {}  # then start them again from a new shell", pids.join(",")))
}

/// Variables of this very shell that lead around Fleetgate.
pub(super) fn own_environment(environment: &BTreeMap<String, String>, wiring: &Wiring) -> Finding {
    const CHECK: &str = "environment";
    let elsewhere = BASE_URLS
        .iter()
        .filter(|name| environment.get(**name).is_some_and(|url| !url.is_empty() && !wiring.leads_here(url)));
    let keys =
        PROVIDER_KEYS.iter().filter(|name| environment.get(**name).is_some_and(|value| may_be_provider_key(value)));
    let (elsewhere, keys): (Vec<&str>, Vec<&str>) = (elsewhere.copied().collect(), keys.copied().collect());
    if !elsewhere.is_empty() {
        return Finding::warning(
            CHECK,
            "leads_elsewhere",
            format!("{} of this shell does not lead to the sidecar", elsewhere.join(" ")),
        )
        .cause("an rc file, a .env or a tool sets it; programs started here go around Fleetgate")
        .next(format!("unset {}", elsewhere.join(" ")))
        .next(format!(
            "grep -ln '{}' ~/.*rc ~/.profile ~/.*profile ~/.config/fish/config.fish 2>/dev/null",
            elsewhere[0]
        ));
    }
    if !keys.is_empty() {
        return Finding::warning(
            CHECK,
            "provider_keys",
            format!("{} of this shell may hold a provider's own key", keys.join(" ")),
        )
        .cause(
            "no machine but the gateway needs one: the sidecar replaces it in calls that go there, other calls use it",
        )
        .next(format!("unset {}", keys.join(" ")));
    }
    Finding::ok(CHECK, "no variable of this shell leads around the sidecar")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        /// A process that waits for its input with these variables.
        fn with(pairs: &[(&str, &str)]) -> Self {
            Self(
                Command::new("cat")
                    .env_clear()
                    .envs(pairs.iter().copied())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            )
        }

        fn found(&self, surroundings: &Surroundings, files: &[PathBuf]) -> Finding {
            let wiring = Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]);
            let all = Process::all(&surroundings.processes).into_iter().filter(|process| process.pid == self.0.id());
            stale(&all.collect::<Vec<_>>(), surroundings, &wiring, files)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    fn surroundings() -> Surroundings {
        Surroundings { environment: BTreeMap::new(), ..Surroundings::of_this_process() }
    }

    #[test]
    fn a_process_with_the_wiring_of_before_is_named_with_its_variables_and_no_value() {
        let pairs =
            [("OPENAI_BASE_URL", "https://api.canary.example/v1"), ("ANTHROPIC_API_KEY", "sk-ant-canary-0123456789")];
        let sleeper = Sleeper::with(&pairs);
        let later = tempfile::NamedTempFile::new().unwrap();
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        later.as_file().set_modified(tomorrow).unwrap();
        let finding = sleeper.found(&surroundings(), &[later.path().to_owned()]);
        assert_eq!(finding.code, "stale_environment", "{finding:?}");
        let expected = format!(
            "cat (pid {}, started before {} changed): OPENAI_BASE_URL ANTHROPIC_API_KEY",
            sleeper.0.id(),
            later.path().display()
        );
        assert!(finding.what.contains(&expected), "{finding:?}");
        assert!(!format!("{finding:?}").contains("canary"), "{finding:?}");
    }

    #[test]
    fn a_process_with_the_present_wiring_is_fine() {
        let pairs = [("OPENAI_BASE_URL", "http://localhost:4000/v1"), ("OPENAI_API_KEY", "fleetgate")];
        assert_eq!(Sleeper::with(&pairs).found(&surroundings(), &[]).code, "ok");
        // What this shell has too is the present wiring, whatever it is.
        let mut same = surroundings();
        same.environment.insert("OPENAI_BASE_URL".into(), "https://elsewhere.example".into());
        assert_eq!(Sleeper::with(&[("OPENAI_BASE_URL", "https://elsewhere.example")]).found(&same, &[]).code, "ok");
    }

    #[test]
    fn a_shell_that_leads_elsewhere_is_told() {
        let wiring = Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]);
        let code = |name: &str, value: &str| {
            own_environment(&BTreeMap::from([(name.to_owned(), value.to_owned())]), &wiring).code
        };
        assert_eq!(code("OPENAI_BASE_URL", "https://api.openai.com/v1"), "leads_elsewhere");
        assert_eq!(code("OPENAI_API_KEY", "sk-proj-0123456789abcdef"), "provider_keys");
        assert_eq!(code("OPENAI_BASE_URL", "http://127.0.0.1:4000/v1"), "ok");
        assert_eq!(code("OPENAI_API_KEY", "dummy"), "ok");
    }

    #[test]
    fn a_tailscaled_in_userspace_mode_is_recognised() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("7")).unwrap();
        fs::write(directory.path().join("7/cmdline"), "/usr/sbin/tailscaled\0--tun=userspace-networking\0").unwrap();
        assert_eq!(userspace_mesh(&Process::all(directory.path())).code, "userspace");
        assert_eq!(userspace_mesh(&[]).code, "ok");
    }
}
