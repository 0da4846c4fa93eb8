//! The programs behind connections on macOS, by `lsof` and `ps`, which come with the system.
//!
//! What the system's own library (libproc) says of a socket is a union, and reading one takes unsafe code. These two commands take
//! some hundred milliseconds instead of one, off every call's way; without root they show one's own programs alone.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::program::Program;
use super::socket::Pair;

/// A command that hangs is ended, and its callers go without a name.
const LIMIT: Duration = Duration::from_secs(2);

/// Who has the client's end of a connection.
#[derive(Debug)]
pub(super) struct Holder {
    /// The name of its user.
    pub(super) user: String,
    /// What runs.
    pub(super) program: Program,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    number: u32,
    user: String,
}

/// Looks all of them up at once.
pub(super) fn find(pairs: &[Pair]) -> Vec<Option<Holder>> {
    let mut ports: Vec<String> = pairs.iter().map(|pair| format!("-iTCP:{}", pair.ours.port())).collect();
    ports.sort_unstable();
    ports.dedup();
    let listed = run(Command::new("lsof").args(["-w", "-nP", "-sTCP:ESTABLISHED", "-FpLn"]).args(ports));
    let sockets = read_sockets(&listed);
    let holders: Vec<Option<&Socket>> = pairs.iter().map(|pair| sockets.get(&(pair.client, pair.ours))).collect();
    let mut numbers: Vec<String> = holders.iter().flatten().map(|socket| socket.number.to_string()).collect();
    numbers.dedup();
    if numbers.is_empty() {
        return pairs.iter().map(|_| None).collect();
    }
    let ask = |column: &str| {
        run(Command::new("ps").args(["-ww", "-o", "pid=", "-o", &format!("{column}="), "-p", &numbers.join(",")]))
    };
    let (executables, arguments) = (ask("comm"), ask("args"));
    let (executables, arguments) = (read_processes(&executables), read_processes(&arguments));
    let holder = |socket: &Socket| {
        let program = Program {
            executable: executables.get(&socket.number).map(|text| text.as_bytes().to_vec()).unwrap_or_default(),
            arguments: arguments.get(&socket.number).into_iter().flat_map(|text| split(text)).collect(),
            directory: None,
        };
        Holder { user: socket.user.clone(), program }
    };
    holders.into_iter().map(|socket| socket.map(holder)).collect()
}

/// Arguments with spaces inside cannot be told from two: the script, which is what matters, mostly has none.
fn split(arguments: &str) -> impl Iterator<Item = Vec<u8>> {
    arguments.split_ascii_whitespace().map(|word| word.as_bytes().to_vec())
}

/// Lines of `lsof -F`: a letter, then its value. `p` and `L` hold for the files (`n`) behind them.
fn read_sockets(listed: &str) -> HashMap<(SocketAddr, SocketAddr), Socket> {
    let mut sockets = HashMap::new();
    let (mut number, mut user) = (None, String::new());
    for line in listed.lines() {
        let Some((kind, value)) = line.split_at_checked(1) else { continue };
        match kind {
            "p" => (number, user) = (value.parse().ok(), String::new()),
            "L" => value.clone_into(&mut user),
            "n" => {
                let ends = value.split_once("->").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
                if let (Some(ends), Some(number)) = (ends, number) {
                    sockets.insert(ends, Socket { number, user: user.clone() });
                }
            }
            _ => {}
        }
    }
    sockets
}

/// Lines of `ps`: the process's number, then what was asked for.
fn read_processes(listed: &str) -> HashMap<u32, &str> {
    let read = |line: &'_ str| -> Option<(u32, usize)> {
        let line = line.trim_start();
        let end = line.find(' ')?;
        Some((line[..end].parse().ok()?, end))
    };
    let lines = listed.lines().map(str::trim_start);
    lines.filter_map(|line| read(line).map(|(number, end)| (number, line[end..].trim()))).collect()
}

fn run(command: &mut Command) -> String {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env("LC_ALL", "C").spawn();
    let Ok(mut child) = started else { return String::new() };
    let Some(mut out) = child.stdout.take() else { return String::new() };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Half an answer is none.
        let read = out.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned());
        let _ = sender.send(read.unwrap_or_default());
    });
    let said = receiver.recv_timeout(LIMIT);
    if said.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    said.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsof_on_a_mac_tells_both_ends_of_a_connection() {
        let listed = "p501\nLanna\nf21\nn127.0.0.1:51234->127.0.0.1:4000\np77\nLanna\nf9\nn127.0.0.1:4000->127.0.0.1:51234\n\
                      p612\nLroot\nf5\nn[::1]:51300->[::1]:4000\nf6\nn*:4000\n";
        let sockets = read_sockets(listed);
        let of = |client: &str, ours: &str| sockets.get(&(client.parse().unwrap(), ours.parse().unwrap())).cloned();
        assert_eq!(of("127.0.0.1:51234", "127.0.0.1:4000"), Some(Socket { number: 501, user: "anna".to_owned() }));
        assert_eq!(of("[::1]:51300", "[::1]:4000"), Some(Socket { number: 612, user: "root".to_owned() }));
        assert_eq!(of("127.0.0.1:1", "127.0.0.1:4000"), None);
        assert!(read_sockets("n\np\nLx\nn->\nnx->y\n\n").is_empty());
    }

    #[test]
    fn the_commands_of_this_machine_find_this_test() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(ours).unwrap();
        if Command::new("lsof").arg("-v").output().is_err() {
            eprintln!("SKIPPED: no lsof here");
            return;
        }
        let nobodys = Pair { client: "127.0.0.1:1".parse().unwrap(), ours };
        let found = find(&[Pair { client: client.local_addr().unwrap(), ours }, nobodys]);
        let holder = found[0].as_ref().unwrap();
        assert!(!holder.user.is_empty());
        let own: Vec<String> = std::env::args().collect();
        assert_eq!(holder.program.arguments[0], own[0].as_bytes());
        assert!(found[1].is_none());
    }

    #[test]
    fn ps_tells_the_executable_and_the_arguments() {
        let listed =
            "  501 /opt/homebrew/bin/python3.12 /Users/anna/agent/app.py --fast\n99999 /Applications/My App\n x y\n";
        let processes = read_processes(listed);
        assert_eq!(processes[&501], "/opt/homebrew/bin/python3.12 /Users/anna/agent/app.py --fast");
        assert_eq!(processes[&99999], "/Applications/My App");
        assert_eq!(processes.len(), 2);
    }
}
