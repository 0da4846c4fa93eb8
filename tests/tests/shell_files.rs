//! `fleetgate shell install` and `uninstall` on files as odd as homes have them: each either gets a block that goes without a trace, or is
//! left alone with a reason.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a skipped case says so on stdout")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use fleetgate_tests::PersonsHome;
use fleetgate_tests::home::{FileState, has_attribute, not_installed, set_attribute};

/// What a file holds, and nothing else odd about it.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let crlf_block = b"# a\r\n# b\r\n".to_vec();
    vec![
        ("empty", b"".to_vec()),
        ("one line", b"export A=1\n".to_vec()),
        ("no final newline", b"export A=1".to_vec()),
        ("crlf", crlf_block),
        ("crlf, no final newline", b"# a\r\n# b".to_vec()),
        ("mixed ends", b"# a\r\n# b\n# c\r\n".to_vec()),
        ("mixed ends, lf last", b"# a\r\n# b\n".to_vec()),
        ("mixed ends, cr last", b"# a\r\n# b\r".to_vec()),
        ("lf with a cr at the end", b"# a\n# b\r".to_vec()),
        ("cr alone", b"# a\r# b\r".to_vec()),
        ("only a bom", b"\xEF\xBB\xBF".to_vec()),
        ("a bom and text", b"\xEF\xBB\xBF# a\n".to_vec()),
        ("nul bytes", b"# a\0b\0\n\0".to_vec()),
        ("latin-1", b"# gr\xfc\xdfe\n".to_vec()),
        ("broken utf-8", b"# \xc3\x28\xff\xfe\n".to_vec()),
        ("a very long line", [&b"# "[..], &vec![b'x'; 1 << 20]].concat()),
        ("a backslash at the end", b"export A=1 \\\n".to_vec()),
        ("a backslash and no newline", b"export A=1 \\".to_vec()),
        ("two backslashes at the end", b"export A='\\\\'\\\\\n".to_vec()),
        ("only newlines", b"\n\n\n".to_vec()),
        ("blank lines at the end", b"export A=1\n\n \n\n".to_vec()),
        ("blanks and no newline", b"export A=1\n   ".to_vec()),
        ("an early return", b"[ -n \"$PS1\" ] || return 0\n".to_vec()),
        ("markers in other words", b"echo '# >>> fleetgate >>>'\necho x # <<< fleetgate <<<\n".to_vec()),
        ("a block of conda", b"# >>> conda initialize >>>\n# <<< conda initialize <<<\n".to_vec()),
    ]
}

#[test]
fn whatever_a_file_holds_it_comes_back_byte_for_byte() {
    let home = PersonsHome::new("bash");
    for (what, content) in contents() {
        home.write("rc", &content);
        let before = home.state();
        let _ = home.succeed(&["install", "--file", "rc"]);
        let with_block = home.state();
        assert_ne!(before, with_block, "{what}");
        let _ = home.succeed(&["install", "--file", "rc"]);
        assert_eq!(home.state(), with_block, "{what}: a second time changes something");
        let _ = home.succeed(&["uninstall", "--file", "rc"]);
        assert_eq!(home.state(), before, "{what}");
    }
}

#[test]
fn the_block_runs_in_a_file_of_any_line_ends() {
    let home = PersonsHome::new("bash");
    for content in ["# a\n", "# a\r\n", "# a\r\n# b", "export A=1 \\\n", "export A=1 \\", "\u{feff}"] {
        home.write("rc", content);
        let _ = home.succeed(&["install", "--file", "rc"]);
        for shell in [&["bash", "--norc"][..], &["zsh", "-f"], &["dash"], &["busybox", "sh"]] {
            let run = home.command(shell[0]).args(&shell[1..]).args(["-c", ". ./rc; command -v claude-glm"]).output();
            let Ok(run) = run else {
                not_installed(shell[0]);
                continue;
            };
            assert!(!run.stdout.is_empty(), "{shell:?} {content:?}: {run:?}");
            assert!(content == "\u{feff}" || run.stderr.is_empty(), "{shell:?} {content:?}: {run:?}");
        }
    }
}

#[test]
fn the_block_of_fish_runs_in_a_file_of_any_line_ends() {
    let home = PersonsHome::new("fish");
    for content in ["", "# a\n", "# a\r\n", "# a\r\n# b", "set -g A 1"] {
        home.write("rc.fish", content);
        let _ = home.succeed(&["install", "--file", "rc.fish"]);
        let look = "source ./rc.fish; and functions -q claude-glm; and echo known";
        let Ok(run) = home.command("fish").args(["--no-config", "-c", look]).output() else {
            return not_installed("fish");
        };
        assert_eq!(run.stdout, b"known\n", "{content:?}: {run:?}");
        assert!(run.stderr.is_empty(), "{content:?}: {run:?}");
    }
}

/// All of them in one home at the same time: some are refused, and none of that touches the others.
#[test]
fn a_home_of_many_odd_files_comes_through_without_loss() {
    let home = PersonsHome::new("bash");
    let mut names = Vec::new();
    for (number, (_, content)) in contents().into_iter().enumerate() {
        let name = format!("odd-{number}");
        home.write(&name, content);
        names.push((name, true));
    }
    for (name, mode) in [("private", 0o600), ("executable", 0o755), ("group", 0o664)] {
        home.write(name, "a=1\n");
        fs::set_permissions(home.path(name), Permissions::from_mode(mode)).unwrap();
        names.push((name.to_owned(), true));
    }
    home.write("dotfiles/linked", "a=1");
    symlink("dotfiles/linked", home.path("link")).unwrap();
    names.push(("link".to_owned(), true));
    home.write("read-only", "a=1\n");
    fs::set_permissions(home.path("read-only"), Permissions::from_mode(0o444)).unwrap();
    home.write("by-hand", "# >>> fleetgate >>>\na=1\n# <<< fleetgate <<<\n");
    home.write("half", "# >>> fleetgate >>>\na=1\n");
    home.write("one", "a=1\n");
    fs::hard_link(home.path("one"), home.path("two")).unwrap();
    symlink("nowhere", home.path("dangling")).unwrap();
    names.extend(["read-only", "by-hand", "half", "two", "dangling"].map(|name| (name.to_owned(), false)));
    assert!(names.len() >= 30, "{}", names.len());

    let before = home.state();
    for (name, is_taken) in &names {
        let output = home.fleetgate(&["install", "--file", name]);
        assert_eq!(output.status.success(), *is_taken, "{name}: {output:?}");
        if !is_taken && name != "dangling" {
            let state = FileState::of(&home.path(name));
            assert_eq!(Some(&state), before.get(&home.path(name)), "{name}");
        }
    }
    let said = home.succeed(&["uninstall"]);
    assert_eq!(said.matches(": block taken out").count(), names.iter().filter(|(_, is_taken)| *is_taken).count());
    assert_eq!(home.state(), before);
}

/// Installs, looks, uninstalls: everything about every file must be as before.
fn survives(what: &str, home: &PersonsHome, name: &str) {
    let before = home.state();
    let state = FileState::of(&home.path(name).canonicalize().unwrap());
    let _ = home.succeed(&["install", "--file", name]);
    assert!(home.read(name).contains("# >>> fleetgate >>>"), "{what}");
    let during = home.state();
    for (path, old) in &before {
        let is_edited = *path == home.path(name).canonicalize().unwrap();
        assert!(is_edited || during.get(path) == Some(old), "{what}: {} changed", path.display());
    }
    let _ = home.succeed(&["uninstall", "--file", name]);
    assert_eq!(FileState::of(&home.path(name).canonicalize().unwrap()), state, "{what}");
    assert_eq!(home.state(), before, "{what}");
}

#[test]
fn mode_owner_links_and_attributes_survive() {
    for mode in [0o600, 0o644, 0o755, 0o666, 0o640, 0o200 | 0o400] {
        let home = PersonsHome::new("bash");
        home.write("rc", "a=1\n");
        fs::set_permissions(home.path("rc"), Permissions::from_mode(mode)).unwrap();
        survives(&format!("mode {mode:o}"), &home, "rc");
        let _ = home.succeed(&["install", "--file", "rc"]);
        assert_eq!(fs::metadata(home.path("rc")).unwrap().permissions().mode() & 0o7777, mode);
    }

    let home = PersonsHome::new("bash");
    home.write("dotfiles/rc", "a=1\n");
    symlink(home.path("dotfiles/rc"), home.path("absolute")).unwrap();
    symlink("dotfiles/rc", home.path("relative")).unwrap();
    symlink("relative", home.path("chain")).unwrap();
    symlink("dotfiles", home.path("directory")).unwrap();
    for link in ["absolute", "relative", "chain", "directory/rc"] {
        survives(link, &home, link);
    }

    let home = PersonsHome::new("bash");
    home.write("group/rc", "a=1\n");
    fs::set_permissions(home.path("group"), Permissions::from_mode(0o2775)).unwrap();
    survives("setgid directory", &home, "group/rc");

    home.write("attributes", "a=1\n");
    if set_attribute(&home.path("attributes"), "user.note", "mine") {
        survives("attributes", &home, "attributes");
        let _ = home.succeed(&["install", "--file", "attributes"]);
        assert!(has_attribute(&home.path("attributes"), "user.note"));
        let _ = home.succeed(&["uninstall", "--file", "attributes"]);
    } else {
        println!("skipped: no attributes on this file system");
    }

    home.write("foreign", "a=1\n");
    if chown(home.path("foreign"), Some(12345), Some(23456)).is_ok() {
        survives("owner and group", &home, "foreign");
    } else {
        println!("skipped: only root can give files away");
    }
}

/// Refused with these words; nothing at all was changed, not even a copy is left.
fn is_left_alone(what: &str, home: &PersonsHome, name: &str, words: &str) {
    let before = home.state();
    let said = home.fail(1, &["install", "--file", name]);
    assert!(said.contains(words), "{what}: {said}");
    assert_eq!(home.state(), before, "{what}");
    let said = home.fail(1, &["install", "--dry-run", "--file", name]);
    assert!(said.contains(words), "{what}: {said}");
    assert_eq!(home.state(), before, "{what}");
}

#[test]
fn what_is_no_plain_file_of_ones_own_is_left_alone() {
    let home = PersonsHome::new("bash");
    home.write("read-only", "a=1\n");
    fs::set_permissions(home.path("read-only"), Permissions::from_mode(0o444)).unwrap();
    is_left_alone("read-only, also for root", &home, "read-only", "is read-only (mode 0444); chmod u+w");

    symlink("nowhere", home.path("dangling")).unwrap();
    is_left_alone("dangling", &home, "dangling", "is a link to nowhere, which does not exist");
    symlink("b", home.path("a")).unwrap();
    symlink("a", home.path("b")).unwrap();
    is_left_alone("loop", &home, "a", "leads back to itself");
    home.write("one", "a=1\n");
    fs::hard_link(home.path("one"), home.path("two")).unwrap();
    is_left_alone("hard link", &home, "two", "has 2 names (hard links)");
    fs::create_dir(home.path("directory")).unwrap();
    is_left_alone("directory", &home, "directory", "is a directory, not a file");
    assert!(Command::new("mkfifo").arg(home.path("pipe")).status().unwrap().success());
    is_left_alone("FIFO", &home, "pipe", "is a FIFO, not a file");
    symlink("pipe", home.path("link to pipe")).unwrap();
    is_left_alone("link to a FIFO", &home, "link to pipe", "is a FIFO, not a file");
    symlink("/dev/null", home.path("device")).unwrap();
    is_left_alone("device", &home, "device", "is a device, not a file");
    let _socket = std::os::unix::net::UnixListener::bind(home.path("socket")).unwrap();
    is_left_alone("socket", &home, "socket", "is a socket, not a file");
    home.write("utf-16", b"\xff\xfea\0\n\0");
    is_left_alone("UTF-16", &home, "utf-16", "is UTF-16 text");
    is_left_alone("no directory", &home, "nowhere/rc", "does not exist; create it first");
    home.write("file/below", "");
    is_left_alone("a file as directory", &home, "file/below/rc", "Not a directory");
}

#[test]
fn root_is_not_led_to_files_of_others() {
    let home = PersonsHome::new("bash");
    home.write("alice/rc", "a=1\n");
    home.write("system", "a=1\n");
    symlink(home.path("system"), home.path("alice/link")).unwrap();
    let given =
        [("alice", false), ("alice/rc", false), ("alice/link", true)].iter().all(|(name, is_link)| match is_link {
            true => std::os::unix::fs::lchown(home.path(name), Some(12345), Some(12345)).is_ok(),
            false => chown(home.path(name), Some(12345), Some(12345)).is_ok(),
        });
    if !given {
        println!("skipped: only root can give files away");
        return;
    }
    is_left_alone("a link of alice's", &home, "alice/link", "belongs to user 0");
    survives("a file of alice's", &home, "alice/rc");
    let mut with_her_home = home.command(fleetgate_tests::binaries::binary("fleetgate"));
    let refused = with_her_home.args(["shell", "install"]).env("HOME", home.path("alice")).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is the home of user 12345"), "{refused:?}");
    // A file that root makes there is hers.
    let _ = home.succeed(&["install", "--file", "alice/new"]);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(home.path("alice/new")).unwrap()), 12345);
}

#[test]
fn immutable_files_and_directories_are_left_alone() {
    let chattr = |flag: &str, path: &Path| {
        Command::new("chattr").arg(flag).arg(path).output().is_ok_and(|output| output.status.success())
    };
    let home = PersonsHome::new("bash");
    home.write("file", "a=1\n");
    home.write("directory/rc", "a=1\n");
    for (immutable, name) in [("file", "file"), ("directory", "directory/rc")] {
        let immutable = home.path(immutable);
        if !chattr("+i", &immutable) {
            println!("skipped: no immutable files here");
            return;
        }
        let before = home.state();
        let said = home.fail(1, &["install", "--file", name]);
        let after = home.state();
        assert!(chattr("-i", &immutable));
        assert!(said.contains("it was left as it is"), "{said}");
        assert_eq!(after, before);
    }
}

/// A home whose `.bashrc` holds a block and then `edit` of that text.
fn edited(edit: impl Fn(&str) -> String) -> PersonsHome {
    let home = PersonsHome::new("bash");
    home.write("rc", "above\n");
    let _ = home.succeed(&["install", "--file", "rc"]);
    let text = edit(&home.read("rc"));
    let _ = home.succeed(&["uninstall", "--file", "rc"]);
    home.write("rc", text);
    home
}

#[test]
fn blocks_that_are_not_as_they_were_written_are_left_alone_and_shown() {
    let in_block = |line: usize, new: &'static str| {
        move |text: &str| {
            let lines = text.split_inclusive('\n').enumerate();
            lines.map(|(index, old)| if index == line { new.to_owned() } else { old.to_owned() }).collect::<String>()
        }
    };
    type Edit = Box<dyn Fn(&str) -> String>;
    let cases: [(&str, Edit, &str); 8] = [
        ("edited", Box::new(|text| text.replace("[ -r", "[ -e")), "the block at line 2 was edited"),
        ("emptied", Box::new(in_block(2, "")), "the block at line 2 was edited"),
        ("lengthened", Box::new(|text| text.replace("# <<<", "export B=2\n# <<<")), "the block at line 2 was edited"),
        ("doubled", Box::new(|text| text.to_owned() + text), "2 blocks; the block at line 2 is not the only one"),
        ("no end", Box::new(in_block(3, "")), "the block at line 2 is one marker without the other"),
        ("no start", Box::new(in_block(1, "")), "the block at line 3 is one marker without the other"),
        ("by hand", Box::new(in_block(1, "# >>> fleetgate >>>\n")), "the block at line 2 was written by hand"),
        ("newer", Box::new(|text| text.replace(" v1 ", " v2 ")), "the block at line 2 is of a newer version"),
    ];
    for (what, edit, words) in cases {
        let home = edited(edit);
        is_left_alone(what, &home, "rc", words);
        let before = home.state();
        let said = home.fail(1, &["uninstall", "--file", "rc"]);
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(home.state(), before, "{what}");
        assert!(what == "newer" || said.contains("@@ "), "{what} shows the difference: {said}");
    }
}

#[test]
fn a_refusal_shows_the_edit_and_none_of_the_persons_lines() {
    let home = edited(|text| format!("export KEY=sk-secret\n{}", text.replace("[ -r", "[ -e")));
    for arguments in [&["install", "--file", "rc"][..], &["diff", "--file", "rc"]] {
        let said = home.fail(1, arguments);
        assert!(said.contains("\n-if [ -e ") && said.contains("\n+if [ -r ") && !said.contains("sk-secret"), "{said}");
    }
    let diff = home.fleetgate(&["diff", "--file", "rc"]).stdout;
    home.write("patch.diff", diff);
    let patched = home.command("patch").args(["-s", "rc", "patch.diff"]).output();
    match patched {
        Ok(patched) => {
            assert!(patched.status.success(), "{patched:?}");
            assert_eq!(home.succeed(&["diff", "--file", "rc"]), "");
        }
        Err(_) => println!("skipped: patch is not installed"),
    }
}

#[test]
fn lines_around_the_block_are_the_persons() {
    let home = PersonsHome::new("bash");
    home.write("rc", "one\ntwo");
    let _ = home.succeed(&["install", "--file", "rc"]);
    let text = home.read("rc").replace("one", "ONE") + "three\n";
    home.write("rc", text);
    let _ = home.succeed(&["install", "--file", "rc"]);
    let _ = home.succeed(&["uninstall", "--file", "rc"]);
    assert_eq!(home.read("rc"), "ONE\ntwo\nthree\n");
}

#[test]
fn a_block_of_other_content_is_renewed_in_its_place() {
    let home = PersonsHome::new("bash");
    home.write("rc", "one\r\n");
    // Signed by us, and not what this file needs: like the block of another version.
    let _ = home.succeed(&["install", "--shell", "fish", "--file", "rc"]);
    home.write("rc", home.read("rc") + "two\r\n");
    let said = home.succeed(&["install", "--shell", "bash", "--file", "rc"]);
    assert!(said.contains("block renewed"), "{said}");
    let text = home.read("rc");
    assert!(text.starts_with("one\r\n# >>>") && text.ends_with("# <<< fleetgate <<<\r\ntwo\r\n"), "{text}");
    assert!(text.contains("\r\nif [ -r ") && !text.contains("source"), "{text}");
    let _ = home.succeed(&["uninstall", "--file", "rc"]);
    assert_eq!(home.read("rc"), "one\r\ntwo\r\n");
}

#[test]
fn many_at_once_leave_one_block() {
    let home = PersonsHome::new("bash");
    home.write(".bashrc", "a=1\n");
    home.write(".profile", ". ~/.bashrc\n");
    let before = home.state();
    let at_once = |arguments: &[&str]| {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| home.fleetgate(arguments))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        })
    };
    for output in at_once(&["install"]) {
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(home.read(".bashrc").matches(">>> fleetgate >>>").count(), 1);
    for output in at_once(&["uninstall"]) {
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(home.state(), before);
}
