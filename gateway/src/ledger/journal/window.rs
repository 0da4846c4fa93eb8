//! The part of the active segment that frames are written to, as memory: a frame is copied there without a system call, and is as
//! safe from the death of the process as one that was written with `write`.
//!
//! A page that cannot be written (a file system that was made read-only, a disk that fails) kills whoever touches it. So pages are
//! asked for before they are touched, which gives an error instead (Linux 5.14, `MADV_POPULATE_WRITE`), and asked for again when
//! the kernel may have taken them back. Where that cannot be done the rest of the segment is written with system calls, whose errors
//! can be told.

use std::fs::File;
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut};
use rustix::fs::fstatfs;

use super::segment::{self, Segment};
use super::sys;

/// Bytes that are mapped at once. They count as the process's memory.
const SIZE: usize = 256 << 10;
/// Bytes that are asked for again at once.
const STEP: usize = 32 << 10;
/// The kernel writes pages to the disk when they are older than this by far (`dirty_writeback_centisecs`, 5 s), and they must be
/// asked for anew after that.
const FRESH: Duration = Duration::from_secs(1);
/// File systems on which a page whose room was taken finds it there: ext4, XFS, tmpfs (`linux/magic.h`). One that writes each page
/// to a new place may find the disk full.
const WRITES_IN_PLACE: [i64; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];

/// Where the next frames go.
#[derive(Debug)]
pub(super) struct Window {
    usable: bool,
    mapped: Option<Mapped>,
    /// The segment whose pages could not be had.
    refused: Option<u64>,
}

#[derive(Debug)]
struct Mapped {
    segment: u64,
    start: usize,
    map: MmapMut,
    asked_at: Instant,
}

impl Window {
    /// One for segments in the same folder as this file.
    pub(super) fn beside(file: &File) -> Self {
        let kind = fstatfs(file).map(|system| system.f_type);
        Self { usable: kind.is_ok_and(|kind| WRITES_IN_PLACE.contains(&kind)), ..Self::shut() }
    }

    /// One that is never used.
    pub(super) fn shut() -> Self {
        Self { usable: false, mapped: None, refused: None }
    }

    /// Writes a frame behind what a segment has. `false` when that must be done with a system call.
    pub(super) fn write(&mut self, segment: &Segment, frame: &[u8]) -> bool {
        if !self.usable || self.refused == Some(segment.id) {
            return false;
        }
        let at = segment.end();
        if !self.mapped.as_ref().is_some_and(|mapped| mapped.has(segment.id, at, frame.len())) {
            self.mapped = Mapped::new(segment, at);
        }
        if let Some(mapped) = &mut self.mapped
            && mapped.is_writable(at, frame.len())
        {
            mapped.map[at - mapped.start..][..frame.len()].copy_from_slice(frame);
            return true;
        }
        self.mapped = None;
        self.refused = Some(segment.id);
        false
    }
}

impl Mapped {
    fn new(segment: &Segment, start: usize) -> Option<Self> {
        let map = sys::map(segment.file(), start, SIZE.min(segment::SIZE - start)).ok()?;
        map.advise(Advice::PopulateWrite).ok()?;
        Some(Self { segment: segment.id, start, map, asked_at: Instant::now() })
    }

    fn has(&self, segment: u64, at: usize, length: usize) -> bool {
        self.segment == segment && at >= self.start && at + length <= self.start + self.map.len()
    }

    /// Whether the pages of a place that it has can be written to.
    fn is_writable(&mut self, at: usize, length: usize) -> bool {
        if self.asked_at.elapsed() < FRESH {
            return true;
        }
        let offset = at - self.start;
        let wanted = STEP.max(length).min(self.map.len() - offset);
        let is_writable = self.map.advise_range(Advice::PopulateWrite, offset, wanted).is_ok();
        self.asked_at = Instant::now();
        is_writable
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn segment(dir: &TempDir) -> Segment {
        Segment::allocate(dir.path(), 1).unwrap()
    }

    fn open() -> Window {
        Window { usable: true, ..Window::shut() }
    }

    #[test]
    fn what_was_written_is_read_from_the_file() {
        let dir = TempDir::new().unwrap();
        let (segment, mut window) = (segment(&dir), open());
        let mut expected = Vec::new();
        for round in 0..100 {
            let frame = vec![round; 7001];
            assert!(window.write(&segment, &frame), "{round}");
            segment.advance(frame.len());
            expected.extend(frame);
        }
        assert!(expected.len() > 2 * SIZE, "more than one window");
        assert_eq!(segment.read(0, usize::MAX).unwrap(), expected);
        assert_eq!(std::fs::read(segment.path()).unwrap()[..expected.len()], expected);
    }

    #[test]
    fn a_window_ends_where_its_segment_does() {
        let dir = TempDir::new().unwrap();
        let (segment, mut window) = (segment(&dir), open());
        segment.advance(segment::SIZE - 100);
        assert!(window.write(&segment, &[1; 100]));
        segment.advance(100);
        assert_eq!(std::fs::metadata(segment.path()).unwrap().len(), segment::SIZE as u64);
        assert_eq!(segment.read(segment::SIZE - 100, 200).unwrap(), [1; 100]);
    }

    #[test]
    fn pages_are_asked_for_again_after_a_while() {
        let dir = TempDir::new().unwrap();
        let (segment, mut window) = (segment(&dir), open());
        assert!(window.write(&segment, b"first"));
        let mapped = window.mapped.as_mut().unwrap();
        let long_ago = Instant::now().checked_sub(FRESH * 2).unwrap();
        mapped.asked_at = long_ago;
        assert!(mapped.is_writable(0, 5) && mapped.asked_at > long_ago);
    }

    #[test]
    fn a_file_that_cannot_be_mapped_for_writing_is_left_to_the_system_call() {
        let dir = TempDir::new().unwrap();
        let made = segment(&dir);
        let path = made.path().to_owned();
        drop(made);
        let read_only = Segment::over(File::open(&path).unwrap(), &path, 1);
        let mut window = open();
        assert!(!window.write(&read_only, b"frame") && window.mapped.is_none());
        assert_eq!(window.refused, Some(1), "it is not tried with each frame");
        assert!(window.write(&Segment::allocate(dir.path(), 2).unwrap(), b"frame"), "but with the next segment");
        assert!(!Window::shut().write(&read_only, b"frame"));
    }
}
