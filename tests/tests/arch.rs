//! The rooms of the gateway and the form of the whole tree: what ARCHITECTURE.md promises, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

use fleetgate_tests::binaries::workspace;

/// The rooms in the order in which a call goes through them. A room takes only from its left. `metrics` and `trace` come early
/// because any room may count; `respond` writes refusals of all rooms before it.
const ROOMS: [&str; 16] = [
    "config", "metrics", "trace", "front", "auth", "admit", "route", "dialect", "provider", "relay", "meter", "price",
    "ledger", "egress", "respond", "admin",
];

/// What puts the rooms together may look into each of them: files beside the rooms, and these directories. No room takes from
/// them.
const ASSEMBLY: [&str; 2] = ["boot", "cli"];

const LONGEST_FILE: usize = 600;
const NAMES_THAT_SAY_NOTHING: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "manager", "misc", "shared"];

fn files(below: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.starts_with('.') && !["target", "node_modules"].contains(&name)
    });
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path, endings),
            false => vec![path],
        })
        .filter(|path| path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)))
        .collect()
}

/// The room of a file below `gateway/src`, or the file's own name.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(workspace().join("gateway/src")).unwrap_or(file);
    let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    first.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// The rooms that a source names as `crate::room`, in imports or anywhere else in code.
fn named_rooms(source: &str) -> Vec<(usize, String)> {
    let lines = source.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for (number, line) in lines {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let group = rest.strip_prefix('{').map(|inner| inner.split(',').collect()).unwrap_or(vec![rest]);
            for item in group {
                let name: String = item.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                rooms.push((number + 1, name));
            }
        }
    }
    rooms
}

#[test]
fn a_room_takes_only_from_its_left() {
    let sources = files(&workspace().join("gateway/src"), &["rs"]);
    assert!(sources.len() > ROOMS.len(), "the gateway's sources were not found");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for file in sources {
        let own = room_of(&file);
        let Some(here) = place(&own) else {
            let beside_the_rooms = file.parent().is_some_and(|dir| dir.ends_with("src"));
            if !beside_the_rooms && !ASSEMBLY.contains(&own.as_str()) {
                wrong.push(format!("{}: {own} is no room", file.display()));
            }
            continue;
        };
        let source = fs::read_to_string(&file).unwrap_or_default();
        for (line, named) in named_rooms(&source) {
            let to_the_left = place(&named).is_some_and(|there| there <= here);
            if !to_the_left {
                wrong.push(format!("{}:{line}: {own} takes from {named}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rooms of the sidecar that the others call and that call none of them.
const SIDECARS_LEAVES: [&str; 1] = ["shell"];
/// A file beside the rooms that any of them may use, and that takes from none.
const BESIDE_THE_LEAVES: &str = "replace";

#[test]
fn the_sidecars_leaves_know_no_other_room() {
    let mut wrong = Vec::new();
    for leaf in SIDECARS_LEAVES {
        let sources = files(&workspace().join("sidecar/src").join(leaf), &["rs"]);
        assert!(!sources.is_empty(), "{leaf} was not found");
        for file in sources {
            let source = fs::read_to_string(&file).unwrap_or_default();
            let others =
                named_rooms(&source).into_iter().filter(|(_, named)| named != leaf && named != BESIDE_THE_LEAVES);
            wrong.extend(others.map(|(line, named)| format!("{}:{line}: {leaf} takes from {named}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_them() {
    let source = "use crate::front::Intake;\nuse crate::{auth::Caller, relay::Reply};\n// crate::admin\nlet x = crate::ledger::open();";
    let seen: Vec<String> = named_rooms(source).into_iter().map(|(line, room)| format!("{line}{room}")).collect();
    assert_eq!(seen, ["1front", "2auth", "2relay", "4ledger"]);
}

#[test]
fn no_file_is_too_long_and_each_name_says_something() {
    let sources = files(&workspace(), &["rs", "sh", "fish", "html", "js"]);
    assert!(sources.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in sources {
        let lines = fs::read_to_string(&file).unwrap_or_default().lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{} has {lines} lines", file.display()));
        }
        let inside = file.strip_prefix(workspace()).unwrap_or(&file);
        for part in inside.components() {
            let part = part.as_os_str().to_string_lossy();
            let stem = part.split('.').next().unwrap_or_default();
            if NAMES_THAT_SAY_NOTHING.contains(&stem) {
                wrong.push(format!("{}: the name {stem} says nothing", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_wire_crate_has_no_server_no_files_and_no_sql() {
    let mut wrong = Vec::new();
    for file in files(&workspace().join("wire/src"), &["rs"]) {
        let source = fs::read_to_string(&file).unwrap_or_default();
        for forbidden in ["hyper::", "sqlx::", "std::fs", "tokio::fs", "std::env", "reqwest::"] {
            if source.contains(forbidden) {
                wrong.push(format!("{}: {forbidden}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lint `unsafe_code` is denied in the whole workspace; whoever lifts it must name it.
#[test]
fn unsafe_code_stands_in_one_file() {
    let lifted = files(&workspace(), &["rs"]).into_iter().filter(|file| {
        let source = fs::read_to_string(file).unwrap_or_default();
        source.lines().any(|line| line.starts_with("#") && line.contains("unsafe_code"))
    });
    let lifted: Vec<_> = lifted.filter_map(|file| Some(file.strip_prefix(workspace()).ok()?.to_owned())).collect();
    assert_eq!(lifted, [Path::new("gateway/src/ledger/journal/sys.rs")]);
}
