//! One look at `/proc` for all callers that wait.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;

use super::callers::{Caller, Callers, Clue, Facts, Wanted};
use super::cgroup::Groups;
use super::lsof;
use super::mesh::MeshWatch;
use super::process::Process;
use super::processes::Processes;
use super::socket::{self, Pair};
use super::users::Names;

/// What is kept from one look to the next.
#[derive(Debug)]
pub(super) struct Finder {
    processes: Processes,
    groups: Groups,
    mesh: MeshWatch,
    found: Vec<(Arc<Caller>, Facts)>,
}

impl Finder {
    pub(super) fn of_this_machine() -> Self {
        Self {
            processes: Processes::new(Path::new("/proc")),
            groups: Groups::of_this_machine(),
            mesh: MeshWatch::default(),
            found: Vec::new(),
        }
    }

    /// Finds out about all of them; [`Finder::settle`] tells them. Gives back who runs a mesh that speaks for other machines.
    pub(super) fn run(&mut self, callers: &Callers, wanted: &[Wanted]) -> Vec<u32> {
        let present = wanted.iter().filter_map(|wanted| Some((wanted.caller.upgrade()?, wanted.clue)));
        let clues = follow_connections(callers, present.collect());
        let own = callers.allowed().own();
        let is_anybody_else = clues.iter().any(|(_, clue)| clue.user().is_some_and(|uid| uid != own));
        let mut numbers = None;
        if is_anybody_else || self.mesh.is_due() {
            let numbers = numbers.insert(self.processes.numbers());
            self.mesh.look(&self.processes, numbers);
        }
        let names = if clues.is_empty() { Names::default() } else { Names::read() };

        let sockets = clues.iter().filter_map(|(_, clue)| match clue {
            Clue::Socket { uid, inode, .. } => Some((*inode, *uid)),
            _ => None,
        });
        let sockets: HashMap<u64, u32> = sockets.collect();
        let found = if sockets.is_empty() {
            HashMap::new()
        } else {
            self.processes.find(&sockets, |processes| numbers.unwrap_or_else(|| processes.numbers()))
        };
        for (caller, clue) in clues {
            let (uid, process) = match clue {
                Clue::Socket { uid, inode, cgroup } => {
                    let seen = found.get(&inode).map(Process::read);
                    (uid, seen.or_else(|| Some(Process::in_group(self.groups.place(cgroup?)?))))
                }
                Clue::Number { uid, number } => {
                    // Should the number belong to another by now, it is most likely another user's.
                    let directory = self.processes.open(number).ok().filter(|directory| directory.uid == uid);
                    (uid, directory.as_ref().map(Process::read))
                }
                Clue::Connection(_) => continue,
            };
            self.found.push((caller, Facts { user: HeaderValue::from_str(&names.of(uid)).ok(), process }));
        }
        self.mesh.users()
    }

    /// Tells everyone what was found.
    pub(super) fn settle(&mut self) {
        for (caller, facts) in self.found.drain(..) {
            caller.settle(facts);
        }
    }
}

/// Reads the kernel's table once for all connections of which nothing else is known.
fn follow_connections(callers: &Callers, wanted: Vec<(Arc<Caller>, Clue)>) -> Vec<(Arc<Caller>, Clue)> {
    let connections =
        wanted.iter().filter_map(|(_, clue)| if let Clue::Connection(pair) = clue { Some(*pair) } else { None });
    let pairs: Vec<Pair> = connections.collect();
    if pairs.is_empty() {
        return wanted;
    }
    let mut found = match socket::find_in_tables(&pairs, |path| fs::read_to_string(path)) {
        Ok(found) => found.into_iter(),
        Err(_) if cfg!(target_os = "macos") => {
            name_by_commands(callers, &wanted);
            return wanted.into_iter().filter(|(_, clue)| !matches!(clue, Clue::Connection(_))).collect();
        }
        Err(error) => {
            if cfg!(target_os = "linux") {
                tracing::error!("/proc/net/tcp cannot be read ({error}): callers cannot be told apart and are refused");
            }
            Vec::new().into_iter()
        }
    };
    let mut clues = Vec::new();
    for (caller, clue) in wanted {
        match clue {
            Clue::Connection(pair) => match found.next() {
                Some(found) => clues.extend(callers.judge(&caller, pair, found).map(|clue| (caller, clue))),
                None => callers.give_up(&caller),
            },
            known => clues.push((caller, known)),
        }
    }
    clues
}

/// Where there is no table. Nobody waits for the user then, who is not told; the program's name comes later.
fn name_by_commands(callers: &Callers, wanted: &[(Arc<Caller>, Clue)]) {
    let mut pairs = Vec::new();
    let mut named = Vec::new();
    for (caller, clue) in wanted {
        if let Clue::Connection(pair) = clue {
            callers.leave_untold(caller);
            pairs.push(*pair);
            named.push(caller);
        }
    }
    for (caller, holder) in named.into_iter().zip(lsof::find(&pairs)) {
        caller.settle(holder.map_or_else(Facts::default, |holder| Facts {
            user: HeaderValue::from_str(&holder.user).ok().filter(|user| !user.is_empty()),
            process: Some(Process::of(&holder.program)),
        }));
    }
}
