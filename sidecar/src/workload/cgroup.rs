//! The systemd unit or the container that a process belongs to, from its control group.
//!
//! A unit is the name that an administrator gave to a service, so it names a workload better than the program in it. The
//! groups of people's sessions, and of services whose work is to start other people's programs, name nothing.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::text::{self, MAX_LENGTH};

/// Where the unified hierarchy is mounted, alone or beside the older ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Groups looked at for one number, and numbers remembered.
const MOST_GROUPS: usize = 20_000;
const MOST_KNOWN: usize = 256;

/// Services that carry other programs.
const CARRIERS: [&str; 10] = [
    "cron.service",
    "crond.service",
    "cronie.service",
    "atd.service",
    "ssh.service",
    "sshd.service",
    "docker.service",
    "containerd.service",
    "podman.service",
    "dbus.service",
];

/// The control groups of a process (`/proc/PID/cgroup`): the first line that names a unit or a container.
pub(super) fn place(groups: &str) -> Option<String> {
    // `0::/path` is the unified hierarchy, `N:controllers:/path` one of the older ones.
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(place_of_path)
}

/// The innermost part of a group's path that names one.
pub(super) fn place_of_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let container = (0..parts.len()).rev().find_map(|at| container(parts[at], at.checked_sub(1).map(|i| parts[i])));
    let name = container.or_else(|| parts.iter().rev().find_map(|part| unit(part)))?;
    Some(text::shorten(&name, MAX_LENGTH))
}

/// Control groups by the number that the kernel gives each, which no later one gets again. This way the unit of a process is known
/// even when the process itself may not be looked into.
#[derive(Debug)]
pub(super) struct Groups {
    root: Option<PathBuf>,
    known: HashMap<u64, Option<String>>,
}

impl Groups {
    pub(super) fn of_this_machine() -> Self {
        let root = MOUNTS
            .iter()
            .map(Path::new)
            .find(|mount| mount.join("cgroup.procs").exists() && mount.join("cgroup.controllers").exists());
        Self { root: root.map(Path::to_owned), known: HashMap::new() }
    }

    /// The unit or container that this group belongs to.
    pub(super) fn place(&mut self, id: u64) -> Option<String> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let path = path_of(self.root.as_deref()?, id)?;
        let place = place_of_path(&path);
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(id, place.clone());
        place
    }
}

fn path_of(root: &Path, id: u64) -> Option<String> {
    let mut groups = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(group) = groups.pop() {
        // A group that is gone by now was not the one.
        for entry in fs::read_dir(&group).into_iter().flatten().filter_map(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.ino() == id {
                return Some(format!("/{}", entry.path().strip_prefix(root).ok()?.to_string_lossy()));
            }
            looked_at += 1;
            if looked_at > MOST_GROUPS {
                return None;
            }
            groups.push(entry.path());
        }
    }
    None
}

fn container(part: &str, parent: Option<&str>) -> Option<String> {
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, engine) in
        [("docker-", "docker"), ("libpod-", "podman"), ("cri-containerd-", "container"), ("crio-", "container")]
    {
        if let Some(id) = scope.strip_prefix(prefix).and_then(container_id) {
            return Some(format!("{engine}:{id}"));
        }
    }
    if let Some(name) = scope.strip_prefix("lxc.payload.") {
        return Some(format!("lxc:{name}"));
    }
    match parent? {
        // systemd escapes hyphens in names of units.
        "machine.slice" => scope.strip_prefix("machine-").map(|name| format!("machine:{}", name.replace("\\x2d", "-"))),
        "docker" => container_id(part).map(|id| format!("docker:{id}")),
        "lxc" => Some(format!("lxc:{part}")),
        _ => None,
    }
}

/// Sixty-four hexadecimal digits, shortened to the twelve that `docker ps` shows.
fn container_id(text: &str) -> Option<&str> {
    let is_id = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| &text[..12])
}

fn unit(part: &str) -> Option<String> {
    let stem = part.strip_suffix(".service")?;
    let names_nothing = CARRIERS.contains(&part)
        || stem.is_empty()
        // A person's service manager, and what a desktop starts.
        || ["user@", "app-", "getty@", "serial-getty@", "dbus-"].iter().any(|prefix| stem.starts_with(prefix))
        // `systemd-run` without a name.
        || stem.strip_prefix("run-").is_some_and(|rest| rest.starts_with(['u', 'r', 'p']) && rest[1..].bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'i'));
    (!names_nothing).then(|| format!("unit:{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_containers_are_named() {
        let id = "0123456789abcdef".repeat(4);
        for (path, name) in [
            ("/system.slice/hermes.service", "unit:hermes.service"),
            ("/system.slice/system-hermes.slice/hermes@blue.service", "unit:hermes@blue.service"),
            ("/system.slice/hermes.service/worker", "unit:hermes.service"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/indexer.service", "unit:indexer.service"),
            (&format!("/system.slice/docker-{id}.scope"), "docker:0123456789ab"),
            (&format!("/docker/{id}"), "docker:0123456789ab"),
            (&format!("/docker/{id}/system.slice/app.service"), "docker:0123456789ab"),
            (
                &format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container"),
                "podman:0123456789ab",
            ),
            (&format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"), "container:0123456789ab"),
            ("/lxc.payload.web/init.scope", "lxc:web"),
            ("/machine.slice/machine-db\\x2d1.scope", "machine:db-1"),
        ] {
            assert_eq!(place_of_path(path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn sessions_and_services_that_start_other_programs_name_nothing() {
        for path in [
            "/",
            "/init.scope",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-code-1234.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.kde.konsole@123.service",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/system.slice/cron.service",
            "/system.slice/ssh.service",
            "/system.slice/run-u123.service",
            "/system.slice/run-r0123456789abcdef.service",
            "/docker/short",
        ] {
            assert_eq!(place_of_path(path), None, "{path}");
        }
        assert_eq!(place_of_path("/system.slice/run-backup.service").as_deref(), Some("unit:run-backup.service"));
    }

    #[test]
    fn a_groups_number_leads_to_its_name() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("system.slice/hermes.service");
        fs::create_dir_all(&group).unwrap();
        let id = fs::metadata(&group).unwrap().ino();
        let mut groups = Groups { root: Some(root.path().to_owned()), known: HashMap::new() };
        assert_eq!(groups.place(id).as_deref(), Some("unit:hermes.service"));
        assert_eq!(groups.place(u64::MAX), None);
        fs::remove_dir_all(root.path().join("system.slice")).unwrap();
        assert_eq!(groups.place(id).as_deref(), Some("unit:hermes.service"));
    }

    #[test]
    fn both_generations_of_groups_are_read() {
        assert_eq!(place("0::/system.slice/hermes.service\n").as_deref(), Some("unit:hermes.service"));
        let old = "12:cpuset:/\n1:name=systemd:/system.slice/hermes.service\n0::/\n";
        assert_eq!(place(old).as_deref(), Some("unit:hermes.service"));
        assert_eq!(place("nonsense"), None);
    }
}
