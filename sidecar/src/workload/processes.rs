//! Which processes have which sockets open: one walk through `/proc` for all that wait.
//!
//! What a process is, is read through the very directory in which its socket was found, held open all the while: when the
//! process ends and its number is given to another, that directory goes dead instead of telling of the other. Numbers are
//! remembered only to look there first.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};

/// Open files looked at in one walk. A process with a hundred thousand of them must not keep others waiting.
const MOST_FILES: usize = 200_000;
/// Processes that called lately, and so will again.
const MOST_RECENT: usize = 16;

/// The processes of this machine.
#[derive(Debug)]
pub(super) struct Processes {
    root: PathBuf,
    recent: VecDeque<u32>,
}

/// One process's directory, held open.
#[derive(Debug)]
pub(super) struct ProcessDir {
    directory: OwnedFd,
    /// Whom the process belongs to.
    pub(super) uid: u32,
}

impl Processes {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), recent: VecDeque::new() }
    }

    /// The numbers of all processes, newest first: who has just connected has often just been started.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let entries = openat(CWD, &self.root, DIRECTORY, Mode::empty()).and_then(Dir::new);
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        let mut numbers: Vec<u32> = names.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok()).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    }

    pub(super) fn open(&self, number: u32) -> io::Result<ProcessDir> {
        let directory = openat(CWD, self.root.join(number.to_string()), DIRECTORY, Mode::empty())?;
        let uid = rustix::fs::fstat(&directory)?.st_uid;
        Ok(ProcessDir { directory, uid })
    }

    /// Finds the processes that have these sockets open, by inode; each socket's user is where to look first. Only where those who
    /// called lately are not enough are all `numbers` asked for.
    pub(super) fn find(
        &mut self,
        wanted: &HashMap<u64, u32>,
        numbers: impl FnOnce(&Self) -> Vec<u32>,
    ) -> HashMap<u64, ProcessDir> {
        let mut search = Search { wanted, found: HashMap::new(), files_left: MOST_FILES };
        for number in self.recent.clone() {
            search.look_into(self, number);
        }
        let numbers = if search.is_over() { Vec::new() } else { numbers(self) };
        let mut of_others = Vec::new();
        for number in numbers {
            if search.is_over() {
                break;
            }
            match self.open(number) {
                Ok(process) if wanted.values().any(|uid| *uid == process.uid) => {
                    search.look_through(self, number, &process);
                }
                Ok(_) => of_others.push(number),
                Err(_) => {}
            }
        }
        for number in of_others {
            search.look_into(self, number);
        }
        search.found
    }

    fn remember(&mut self, number: u32) {
        self.recent.retain(|known| *known != number);
        self.recent.push_front(number);
        self.recent.truncate(MOST_RECENT);
    }
}

struct Search<'a> {
    wanted: &'a HashMap<u64, u32>,
    found: HashMap<u64, ProcessDir>,
    files_left: usize,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.found.len() == self.wanted.len() || self.files_left == 0
    }

    fn look_into(&mut self, processes: &mut Processes, number: u32) {
        if !self.is_over()
            && let Ok(process) = processes.open(number)
        {
            self.look_through(processes, number, &process);
        }
    }

    /// A process that ends meanwhile, or that we may not look into, has nothing.
    fn look_through(&mut self, processes: &mut Processes, number: u32, process: &ProcessDir) {
        let Ok(files) = openat(&process.directory, "fd", DIRECTORY, Mode::empty()) else { return };
        let Ok(entries) = Dir::read_from(&files) else { return };
        let mut buffer = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            if self.is_over() {
                break;
            }
            self.files_left -= 1;
            let Ok(link) = readlinkat(&files, entry.file_name(), buffer) else {
                buffer = Vec::new();
                continue;
            };
            let inode = socket_inode(&link).filter(|inode| self.wanted.contains_key(inode));
            buffer = link.into_bytes();
            if let Some(inode) = inode
                && let Ok(directory) = process.directory.try_clone()
            {
                processes.remember(number);
                self.found.entry(inode).or_insert(ProcessDir { directory, uid: process.uid });
            }
        }
    }
}

impl ProcessDir {
    /// At most this much of one of its files; nothing where we may not read.
    pub(super) fn text(&self, file: &str, limit: u64) -> Vec<u8> {
        let mut text = Vec::new();
        if let Ok(file) = openat(&self.directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            // What came before an error is what there is.
            let _ = File::from(file).take(limit).read_to_end(&mut text);
        }
        text
    }

    /// Where one of its links leads.
    pub(super) fn link(&self, file: &str) -> Option<Vec<u8>> {
        readlinkat(&self.directory, file, Vec::new()).ok().map(|target| target.into_bytes())
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// `socket:[INODE]`
fn socket_inode(link: &CStr) -> Option<u64> {
    link.to_str().ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    fn inode_of(socket: &TcpListener) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        socket_inode(&std::ffi::CString::new(link.to_str().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_socket_leads_to_the_process_that_has_it_open() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let mut processes = Processes::new(Path::new("/proc"));
        let numbers = processes.numbers();
        assert!(numbers.is_sorted_by(|a, b| a > b) && numbers.contains(&std::process::id()));
        // A wrong user only means that others are looked at later.
        for owner in [uid, uid + 1] {
            let found =
                processes.find(&HashMap::from([(inode_of(&socket), owner), (u64::MAX, owner)]), Processes::numbers);
            assert_eq!(found.len(), 1);
            let own = &found[&inode_of(&socket)];
            assert_eq!(own.link("exe"), Some(std::env::current_exe().unwrap().into_os_string().into_encoded_bytes()));
        }
        // Known from before, it is found without a list.
        assert_eq!(processes.find(&HashMap::from([(inode_of(&socket), uid)]), |_| Vec::new()).len(), 1);
    }

    #[test]
    fn a_remembered_number_is_worth_nothing_without_its_socket() {
        let root = tempfile::tempdir().unwrap();
        let files = |number: &str| root.path().join(number).join("fd");
        let link = |number: &str, inode: u64| {
            std::fs::create_dir_all(files(number)).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), files(number).join("3")).unwrap();
        };
        link("7", 70);
        let mut processes = Processes::new(root.path());
        assert_eq!(processes.find(&HashMap::from([(70, 0)]), Processes::numbers).len(), 1);

        // Number 7 is given to another program, and the caller is number 8.
        std::fs::remove_dir_all(root.path().join("7")).unwrap();
        link("7", 71);
        link("8", 80);
        std::fs::write(root.path().join("8/comm"), "eight").unwrap();
        let found = processes.find(&HashMap::from([(80, 0)]), Processes::numbers);
        assert_eq!(found[&80].text("comm", 100), b"eight");
        assert!(processes.find(&HashMap::from([(70, 0)]), |_| Vec::new()).is_empty());
    }
}
