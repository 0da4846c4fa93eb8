//! What made the call: the program behind a connection, in words that fit a header.

use fleetgate_wire::workload::Workload;
use http::HeaderValue;

use super::cgroup;
use super::mesh;
use super::processes::ProcessDir;
use super::program::Program;
use super::text;

/// Of a process's arguments and groups; the part that names it comes first.
const MOST_TEXT: u64 = 16 * 1024;
const MOST_ARGUMENTS: usize = 64;
/// Less of an executable's path says nothing.
const SHORTEST_PATH: usize = 16;
/// As much as a row keeps.
const MOST_SUMMARY: usize = 200;

/// The program behind a connection.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its name in rows: the service's unit or the container, else the program's own.
    pub workload: Option<Workload>,
    /// All that was found: unit or container, program, executable.
    pub summary: Option<HeaderValue>,
    is_mesh: Option<bool>,
}

impl Process {
    pub(super) fn read(directory: &ProcessDir) -> Self {
        let arguments = directory.text("cmdline", MOST_TEXT);
        let program = Program {
            executable: directory.link("exe").unwrap_or_default(),
            arguments: arguments.split(|b| *b == 0).take(MOST_ARGUMENTS).map(<[u8]>::to_vec).collect(),
            directory: directory.link("cwd"),
        };
        let place = cgroup::place(&String::from_utf8_lossy(&directory.text("cgroup", MOST_TEXT)));
        Self::describe(place, &program)
    }

    /// A caller of whom the program alone is known.
    pub(super) fn of(program: &Program) -> Self {
        Self::describe(None, program)
    }

    /// A caller of whom only the control group is known.
    pub(super) fn in_group(place: String) -> Self {
        Self::describe(Some(place), &Program::default())
    }

    /// Whether it belongs to a mesh, and so speaks for other machines. `None` when its executable could not be seen.
    #[must_use]
    pub fn is_mesh(&self) -> Option<bool> {
        self.is_mesh
    }

    fn describe(place: Option<String>, program: &Program) -> Self {
        let name = program.name();
        let workload = place.as_ref().or(name.as_ref()).and_then(|name| Workload::parse(name).ok());
        let words = place.iter().chain(&name).map(String::as_str);
        let mut summary = words.collect::<Vec<_>>().join(" ");
        summary.truncate(MOST_SUMMARY);
        let room = MOST_SUMMARY - summary.len();
        if !program.executable.is_empty() && room > SHORTEST_PATH {
            summary = format!("{summary} {}", text::shorten(&program.executable, room - 1));
        }
        Self {
            workload,
            summary: HeaderValue::from_str(summary.trim()).ok().filter(|value| !value.is_empty()),
            is_mesh: match &*program.executable {
                b"" => place.filter(|place| place == "unit:tailscaled.service").map(|_| true),
                executable => Some(mesh::is_mesh(executable)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(executable: &str, arguments: &[&str]) -> Program {
        let arguments = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        Program { executable: executable.into(), arguments, directory: None }
    }

    #[test]
    fn a_unit_names_the_workload_and_the_program_stands_beside_it() {
        let python = program("/usr/bin/python3.12", &["python3", "/srv/hermes/app.py"]);
        let service = Process::describe(Some("unit:hermes.service".to_owned()), &python);
        assert_eq!(service.workload.unwrap().as_str(), "unit:hermes.service");
        assert_eq!(service.summary.unwrap(), "unit:hermes.service python:/srv/hermes/app.py /usr/bin/python3.12");
        let by_hand = Process::describe(None, &python);
        assert_eq!(by_hand.workload.unwrap().as_str(), "python:/srv/hermes/app.py");
        let nothing = Process::describe(None, &Program::default());
        assert!(nothing.workload.is_none() && nothing.summary.is_none());
    }

    proptest! {
        #[test]
        fn no_name_can_forge_a_header(executable in proptest::collection::vec(any::<u8>(), 0..12_000), place in ".{0,300}") {
            let place = text::shorten(place, text::MAX_LENGTH);
            let described = Process::describe(Some(place).filter(|p| !p.is_empty()), &Program { executable, ..Program::default() });
            if let Some(summary) = described.summary {
                prop_assert!(summary.len() <= MOST_SUMMARY);
                prop_assert!(summary.as_bytes().iter().all(|b| b.is_ascii_graphic() || *b == b' '), "{summary:?}");
            }
        }
    }
}
