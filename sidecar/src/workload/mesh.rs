//! Meshes without a network device of their own: what their other machines send to this one's loopback arrives *from* loopback.
//!
//! `tailscaled --tun=userspace-networking` dials 127.0.0.1 itself for whoever in the tailnet asks, as root or whomever it runs
//! as, so the kernel's word that the caller is root says nothing about who calls. While one runs, callers of its user must be
//! seen to be another program.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::processes::{ProcessDir, Processes};

const PROGRAMS: [&[u8]; 2] = [b"tailscaled", b"netbird"];
const USERSPACE: &[u8] = b"userspace-networking";
const MOST_TEXT: u64 = 4096;
/// While only the sidecar's own user calls, whose programs are looked at each time anyway.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// New processes are looked at each time; one that has taken an old one's number is found at the latest after this.
const WHOLE_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Whether this executable is a mesh's own.
pub(super) fn is_mesh(executable: &[u8]) -> bool {
    let path = executable.strip_suffix(b" (deleted)").unwrap_or(executable);
    let file = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    PROGRAMS.contains(&file)
}

/// Which users run such a mesh.
#[derive(Debug, Default)]
pub(super) struct MeshWatch {
    known: HashSet<u32>,
    looked: Option<Instant>,
    looked_at_all: Option<Instant>,
    relays: Vec<(u32, u32)>,
}

impl MeshWatch {
    /// Looks at processes that were not there before.
    pub(super) fn look(&mut self, processes: &Processes, numbers: &[u32]) {
        self.looked = Some(Instant::now());
        if self.looked_at_all.is_none_or(|looked| looked.elapsed() > WHOLE_LOOK_EVERY) {
            self.looked_at_all = self.looked;
            self.known.clear();
            self.relays.clear();
        }
        self.relays.retain(|(number, _)| numbers.contains(number));
        for number in numbers.iter().filter(|number| !self.known.contains(number)) {
            if let Ok(process) = processes.open(*number)
                && is_userspace_relay(&process)
            {
                self.relays.push((*number, process.uid));
            }
        }
        self.known = numbers.iter().copied().collect();
    }

    pub(super) fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() > LOOK_EVERY)
    }

    pub(super) fn users(&self) -> Vec<u32> {
        self.relays.iter().map(|(_, uid)| *uid).collect()
    }
}

/// By its arguments, which everyone may read; its executable only its own user may.
fn is_userspace_relay(process: &ProcessDir) -> bool {
    let text = process.text("cmdline", MOST_TEXT);
    let mut arguments = text.split(|b| *b == 0);
    is_mesh(arguments.next().unwrap_or_default())
        && arguments.any(|argument| argument.windows(USERSPACE.len()).any(|window| window == USERSPACE))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_mesh_without_a_device_is_one_to_fear() {
        let root = tempfile::tempdir().unwrap();
        let write = |number: &str, command: &str| {
            fs::create_dir_all(root.path().join(number)).unwrap();
            fs::write(root.path().join(number).join("cmdline"), command).unwrap();
        };
        write("10", "/usr/sbin/tailscaled\0--state=x\0--port=41641\0");
        write("11", "vim\0--tun=userspace-networking\0");
        let processes = Processes::new(root.path());
        let mut watch = MeshWatch::default();
        watch.look(&processes, &processes.numbers());
        assert_eq!(watch.users(), Vec::<u32>::new());

        write("12", "tailscaled\0--tun\0userspace-networking\0");
        watch.look(&processes, &processes.numbers());
        assert_eq!(watch.users(), [rustix::process::geteuid().as_raw()]);
        fs::remove_dir_all(root.path().join("12")).unwrap();
        watch.look(&processes, &processes.numbers());
        assert_eq!(watch.users(), Vec::<u32>::new());
        assert!(is_mesh(b"/usr/sbin/tailscaled (deleted)") && !is_mesh(b"/usr/bin/tailscale"));
    }
}
