//! What an earlier process left in the journal: rows that did not reach the database, and calls whose end nobody saw.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::JournalError;
use super::frame::{Kind, encode};
use super::segment::{Segment, frames};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// In order; all sealed.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Settled frames in them.
    pub(super) settled: u64,
    /// Frames that settle the calls which were under way: their rows say `interrupted`, since that is how they were opened.
    pub(super) interrupted: Vec<Vec<u8>>,
}

/// Reads all segments of a folder. Only the calls under way are kept in memory.
pub(super) fn read(folder: &Path) -> Result<Left, JournalError> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let mut left = Left::default();
    let mut open: HashMap<u128, Vec<u8>> = HashMap::new();
    for path in paths {
        let Some(segment) = Segment::reopen(&path)? else { continue };
        let bytes = segment.read_whole()?;
        let unreadable =
            |cause: &dyn std::fmt::Display| JournalError::Unreadable { path: path.clone(), cause: cause.to_string() };
        let mut end = 0;
        for frame in frames(&bytes) {
            let (behind, frame) = frame.map_err(|error| unreadable(&error))?;
            end = behind;
            let record = frame.record().map_err(|error| unreadable(&error))?;
            match frame.kind {
                Kind::Opened => {
                    let mut settled = Vec::new();
                    encode(Kind::Settled, &record, &mut settled);
                    open.insert(record.id, settled);
                }
                Kind::Settled => {
                    left.settled += 1;
                    open.remove(&record.id);
                }
            }
        }
        if end == 0 {
            // A spare that was never used.
            segment.delete();
            continue;
        }
        segment.set_end(end);
        left.segments.push_back(Arc::new(segment));
    }
    left.interrupted = open.into_values().collect();
    Ok(left)
}
