//! Who has a port that we want. Only what `/proc` shows to this user; elsewhere it says which command to ask.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The state `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process behind a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// A process that we may look at.
    Process {
        /// Its number.
        pid: u32,
        /// Its program.
        executable: PathBuf,
        /// What we know it to be.
        known_as: Option<&'static str>,
    },
    /// Another user's process.
    OtherUser(u32),
    /// Nothing is to be seen.
    Unknown(u16),
}

impl PortOwner {
    /// Looks for the process that listens on this address or on its wildcard.
    #[must_use]
    pub fn find(address: SocketAddr) -> Self {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
        let Some(socket) = tables.iter().flat_map(|table| table.lines()).find_map(|line| listening(line, address))
        else {
            return Self::Unknown(address.port());
        };
        process_with(&socket.inode).unwrap_or(Self::OtherUser(socket.user))
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, executable, known_as } => {
                if let Some(name) = known_as {
                    write!(f, "{name}: ")?;
                }
                write!(f, "{} (pid {pid})", executable.display())
            }
            Self::OtherUser(user) => write!(f, "a process of user {user}, which this user may not look at"),
            Self::Unknown(port) => {
                write!(f, "another process; `lsof -nP -iTCP:{port} -sTCP:LISTEN` names it")
            }
        }
    }
}

struct ListeningSocket {
    user: u32,
    inode: String,
}

/// Reads one line of `/proc/net/tcp` or `tcp6`: `sl local remote state queues timer retransmits uid timeout inode …`.
fn listening(line: &str, wanted: SocketAddr) -> Option<ListeningSocket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, LISTEN, _, _, _, user, _, inode, ..] = fields[..] else { return None };
    let (ip, port) = local.split_once(':')?;
    let ip = parse_ip(ip)?;
    let matches = u16::from_str_radix(port, 16).ok()? == wanted.port() && (ip.is_unspecified() || ip == wanted.ip());
    matches.then(|| Some(ListeningSocket { user: user.parse().ok()?, inode: inode.to_owned() }))?
}

/// Reads an address of `/proc/net/tcp` or `tcp6`: the kernel prints each 32-bit word of it in the machine's byte order.
#[must_use]
pub fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(hex)?))),
        32 => {
            let mut bytes = [0u8; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(hex.get(index * 8..index * 8 + 8)?)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

fn process_with(inode: &str) -> Option<PortOwner> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut numbered = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let (pid, directory): (u32, PathBuf) = numbered.find(|(_, path)| has_open(path, &wanted).unwrap_or(false))?;
    let executable = fs::read_link(directory.join("exe")).ok()?;
    let command_line = fs::read(directory.join("cmdline")).unwrap_or_default();
    let known_as = recognise(&executable, &String::from_utf8_lossy(&command_line));
    Some(PortOwner::Process { pid, executable, known_as })
}

fn has_open(process: &Path, wanted: &Path) -> io::Result<bool> {
    let files = fs::read_dir(process.join("fd"))?.filter_map(Result::ok);
    Ok(files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target == wanted))
}

fn recognise(executable: &Path, command_line: &str) -> Option<&'static str> {
    let program = executable.file_name().unwrap_or_default().to_string_lossy();
    let mut arguments = command_line.split('\0');
    if program.starts_with("fleetgate-gateway") {
        Some("a fleetgate gateway")
    } else if program.starts_with("fleetgate") && arguments.any(|argument| argument == "sidecar") {
        Some("another fleetgate sidecar")
    } else {
        command_line.contains("litellm").then_some("LiteLLM")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_table_is_read() {
        let v4 =
            "   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 48213 1 0 100";
        let found = listening(v4, "127.0.0.1:4000".parse().unwrap()).unwrap();
        assert_eq!((found.user, found.inode.as_str()), (1000, "48213"));
        assert!(listening(v4, "127.0.0.1:4001".parse().unwrap()).is_none());
        assert!(listening(&v4.replace(" 0A ", " 01 "), "127.0.0.1:4000".parse().unwrap()).is_none());
        assert_eq!(parse_ip("00000000000000000000000001000000"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        // A dual-stack wildcard holds the IPv4 port too.
        let any = v4.replace("0100007F", &"0".repeat(32));
        assert!(listening(&any, "127.0.0.1:4000".parse().unwrap()).is_some());
    }

    #[test]
    fn old_acquaintances_are_recognised() {
        let python = Path::new("/usr/bin/python3.12");
        assert_eq!(recognise(python, "python3\0/opt/bin/litellm\0--port=4000"), Some("LiteLLM"));
        assert_eq!(recognise(python, "python3\0-m\0http.server"), None);
        let ours = Path::new("/usr/local/bin/fleetgate");
        assert_eq!(recognise(ours, "fleetgate\0sidecar"), Some("another fleetgate sidecar"));
    }
}
