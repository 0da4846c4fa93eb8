//! Whole frames of a segment, to be applied together.

use std::ops::Range;

use super::frame::{self, Kind, Unreadable};
use crate::ledger::record::Record;

/// The bytes of some frames, and where in them the rows stand.
#[derive(Debug)]
pub(in crate::ledger) struct Batch {
    bytes: Vec<u8>,
    /// Their form and their place.
    settled: Vec<(u8, Range<usize>)>,
    size: usize,
}

impl Batch {
    /// Takes the whole frames at the beginning of `bytes`.
    pub(in crate::ledger) fn cut(bytes: Vec<u8>) -> Result<Self, Unreadable> {
        let (mut size, mut settled) = (0, Vec::new());
        while let Some(frame) = frame::decode(&bytes[size..])? {
            if frame.kind == Kind::Settled {
                settled.push((frame.form, size + frame::PAYLOAD..size + frame.size));
            }
            size += frame.size;
        }
        Ok(Self { bytes, settled, size })
    }

    /// How many bytes the frames have.
    pub(in crate::ledger) fn size(&self) -> usize {
        self.size
    }

    /// How many rows there are.
    pub(in crate::ledger) fn len(&self) -> usize {
        self.settled.len()
    }

    /// The rows.
    pub(in crate::ledger) fn records(&self) -> impl Iterator<Item = Result<Record<'_>, Unreadable>> {
        self.settled.iter().map(|(form, place)| frame::read(*form, &self.bytes[place.clone()]))
    }
}

#[cfg(test)]
impl Batch {
    /// A batch as the journal would give it.
    pub(in crate::ledger) fn of(records: &[Record<'_>]) -> Self {
        let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
        for record in records {
            frame::encode(Kind::Settled, record, &mut buffer);
            bytes.extend_from_slice(&buffer);
        }
        Self::cut(bytes).expect("frames of this version")
    }
}
