//! A small disk of a test's own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory with little room, mounted as long as this value lives.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one. `None`, and a line that says so, where mounting is not permitted.
    ///
    /// # Panics
    /// When there is no `mount`.
    #[must_use]
    pub fn mount(megabytes: usize) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary directory");
        let size = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "fleetgate-test"]).arg(dir.path());
        let output = mount.output().expect("mount runs");
        if !output.status.success() {
            println!("skipped: no disk can be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self { dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all the room that is left, with a file.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("the disk takes a file");
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    /// Makes it read-only, which needs that nobody writes to it; or writable again.
    ///
    /// # Panics
    /// When somebody writes to it.
    pub fn set_read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        let done = Command::new("mount").args(["-o", how]).arg(self.path()).status().expect("mount runs");
        assert!(done.success(), "{how} {}", self.path().display());
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process may still be about to end there.
        let _gone = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
