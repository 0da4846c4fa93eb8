//! A person's home for tests of `fleetgate shell`: files as odd as they come, and what they are down to the last attribute.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::binaries::binary;

/// A home directory that goes when it is dropped.
#[derive(Debug)]
pub struct PersonsHome {
    directory: TempDir,
    shell: &'static str,
}

/// Says that a shell or a linter is not there and what it should have judged is not. In CI, where all of them are installed, that is a fault.
///
/// # Panics
/// In CI.
pub fn not_installed(program: &str) {
    assert!(std::env::var_os("CI").is_none(), "{program} is not installed; tests/run.sh installs it on Debian");
    println!("SKIPPED: {program} is not installed");
}

/// Everything about a file that must outlive an edit, and nothing that cannot (its number, its times).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    /// Of a file its bytes, of a link its target.
    content: Vec<u8>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PersonsHome {
    /// An empty one, whose owner's login shell is `/bin/SHELL`.
    #[must_use]
    pub fn new(shell: &'static str) -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), shell }
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a path in the home")).expect("made");
        fs::write(path, content).expect("written");
    }

    /// Reads a file as text.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).expect("readable")).into_owned()
    }

    /// A program with this home and little else in its environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.directory.path());
        command.env("SHELL", format!("/bin/{}", self.shell)).current_dir(self.directory.path());
        command
    }

    /// `fleetgate shell ARGUMENT…`
    #[must_use]
    pub fn fleetgate(&self, arguments: &[&str]) -> Output {
        self.command(binary("fleetgate")).arg("shell").args(arguments).output().expect("fleetgate starts")
    }

    /// The same; it must succeed. What it said.
    #[must_use]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.fleetgate(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same; it must end with this code. What it said, also on standard error.
    #[must_use]
    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.fleetgate(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat()
    }

    /// Everything below it, by path.
    #[must_use]
    pub fn state(&self) -> BTreeMap<PathBuf, FileState> {
        let mut all = BTreeMap::new();
        collect(self.directory.path(), &mut all);
        all
    }
}

fn collect(directory: &Path, all: &mut BTreeMap<PathBuf, FileState>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        all.insert(path.clone(), FileState::of(&path));
        if path.symlink_metadata().expect("it is there").is_dir() {
            collect(&path, all);
        }
    }
}

impl FileState {
    /// Of this file; a link is not followed.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let metadata = path.symlink_metadata().expect("it is there");
        let kind = metadata.file_type();
        let content = match () {
            () if kind.is_symlink() => fs::read_link(path).expect("a link").into_os_string().into_encoded_bytes(),
            () if kind.is_file() => fs::read(path).expect("readable"),
            () => Vec::new(),
        };
        // A directory has as many links as it has directories in it, on some file systems.
        let links = if kind.is_dir() { 0 } else { metadata.nlink() };
        Self {
            kind: format!(
                "{}{}",
                if kind.is_fifo() { "fifo " } else { "" },
                if kind.is_dir() { "directory" } else { "" }
            ),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            links,
            content,
            attributes: attributes(path),
        }
    }
}

/// Extended attributes, where the file system knows such.
fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
        (name.to_owned(), value[..length].to_owned())
    };
    let mut all: Vec<_> = names.map(value).collect();
    all.sort();
    all
}

/// Gives a file an attribute; whether the file system knows such.
#[must_use]
pub fn set_attribute(path: &Path, name: &str, value: &str) -> bool {
    rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).is_ok()
}

/// Whether a file has an attribute of this name.
#[must_use]
pub fn has_attribute(path: &Path, name: &str) -> bool {
    attributes(path).iter().any(|(known, _)| known == name.as_bytes())
}
