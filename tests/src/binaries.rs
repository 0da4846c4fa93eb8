//! Where the programs under test are.

use std::env;
use std::path::PathBuf;

/// A program's path: in `FLEETGATE_BIN_DIR`, else in the target directory that this test was built into.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.is_file(), "{} is missing; run `cargo build --workspace` first", path.display());
    path
}

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// The target directory: the place for what tests may keep between runs.
#[must_use]
pub fn target() -> PathBuf {
    let executable = env::current_exe().expect("a process knows its executable");
    let target = executable.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn directory() -> PathBuf {
    if let Some(dir) = env::var_os("FLEETGATE_BIN_DIR") {
        return dir.into();
    }
    let executable = env::current_exe().expect("a process knows its executable");
    let parent = executable.parent().expect("an executable lies in a directory");
    // target/debug/deps/NAME-HASH for tests and benches, target/debug/NAME for programs.
    if parent.ends_with("deps") {
        parent.parent().expect("deps has a parent").to_path_buf()
    } else {
        parent.to_path_buf()
    }
}
