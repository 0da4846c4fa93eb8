//! A copy of the journal as it stands, for a backup. The gateway that writes it may run.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::frame::Kind;
use super::segment::{ENDING, frames};

/// What was copied.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Copied {
    /// The copies, in order.
    pub(in crate::ledger) files: Vec<PathBuf>,
    /// What each settled call cost.
    pub(in crate::ledger) settled: HashMap<u128, Option<i64>>,
    /// Calls that were opened and not settled.
    pub(in crate::ledger) open: HashSet<u128>,
}

/// Copies what is written in each segment of `folder` into the folder `into`. A segment that goes away meanwhile was applied: whoever
/// keeps the database from changing while this runs, and reads it as it is now, misses nothing.
pub(in crate::ledger) fn copy(folder: &Path, into: &Path) -> Result<Copied, JournalError> {
    let mut copied = Copied::default();
    let mut paths: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?,
        // No gateway ever ran on it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(copied),
        Err(error) => return Err(error.into()),
    };
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    for path in paths {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let end = copied.count(&bytes, &path)?;
        if let Some(name) = path.file_name().filter(|_| end > 0) {
            let target = into.join(name);
            let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&target)?;
            file.write_all(&bytes[..end])?;
            copied.files.push(target);
        }
    }
    Ok(copied)
}

impl Copied {
    /// Counts the frames of a segment, and says where the last whole one ends.
    fn count(&mut self, bytes: &[u8], path: &Path) -> Result<usize, JournalError> {
        let unreadable = |cause: &dyn std::fmt::Display| JournalError::Unreadable {
            path: path.to_owned(),
            cause: cause.to_string(),
        };
        let mut end = 0;
        for frame in frames(bytes) {
            let (behind, frame) = frame.map_err(|error| unreadable(&error))?;
            let record = frame.record().map_err(|error| unreadable(&error))?;
            end = behind;
            match frame.kind {
                Kind::Opened => drop(self.open.insert(record.id)),
                Kind::Settled => {
                    self.open.remove(&record.id);
                    self.settled.insert(record.id, record.cost_nanousd);
                }
            }
        }
        Ok(end)
    }
}
