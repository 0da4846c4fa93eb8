//! One file of the journal. Its room is taken from the disk when it is made, so that writing into it cannot find the disk full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use super::frame;

/// Bytes in a segment.
pub(super) const SIZE: usize = 4 << 20;
pub(super) const ENDING: &str = "journal";

/// One file.
#[derive(Debug)]
pub(in crate::ledger) struct Segment {
    file: File,
    path: PathBuf,
    /// Grows from file to file.
    pub(super) id: u64,
    /// How far it is written.
    end: AtomicUsize,
    /// Nothing more is written to it.
    sealed: AtomicBool,
    /// Calls that were opened in it and have not ended.
    open_calls: AtomicUsize,
}

impl Segment {
    /// Makes a new file with all its room.
    pub(super) fn allocate(folder: &Path, id: u64) -> io::Result<Self> {
        let path = folder.join(format!("{id:020}.{ENDING}"));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
        let made = take_room(&file);
        if made.is_err() {
            // Half a segment would be taken for the disk's last room.
            drop(std::fs::remove_file(&path));
        }
        made?;
        Ok(Self::new(file, path, id, 0, false))
    }

    /// Opens a file that an earlier process left. Its end is where its last whole frame ends.
    pub(super) fn reopen(path: &Path) -> io::Result<Option<Self>> {
        let is_segment = path.extension().is_some_and(|ending| ending == ENDING);
        let Some(id) = path.file_stem().and_then(|name| name.to_str()?.parse().ok()).filter(|_| is_segment) else {
            return Ok(None);
        };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Some(Self::new(file, path.to_owned(), id, 0, true)))
    }

    fn new(file: File, path: PathBuf, id: u64, end: usize, sealed: bool) -> Self {
        let (end, sealed) = (AtomicUsize::new(end), AtomicBool::new(sealed));
        Self { file, path, id, end, sealed, open_calls: AtomicUsize::new(0) }
    }

    /// The file, to be mapped.
    #[cfg(target_os = "linux")]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// All bytes, for the look at what an earlier process left.
    pub(super) fn read_whole(&self) -> io::Result<Vec<u8>> {
        std::fs::read(&self.path)
    }

    /// Says where the last whole frame of a reopened file ends.
    pub(super) fn set_end(&self, end: usize) {
        self.end.store(end, Ordering::Release);
    }

    pub(in crate::ledger) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn end(&self) -> usize {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn free(&self) -> usize {
        SIZE - self.end()
    }

    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(in crate::ledger) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Writes a frame behind the last one. Only one caller at a time, and only while it fits.
    pub(super) fn append(&self, frame: &[u8]) -> io::Result<()> {
        // After a failure the end stays, and the next frame is written over what there was of this one.
        self.file.write_all_at(frame, self.end() as u64)?;
        self.advance(frame.len());
        Ok(())
    }

    /// So many bytes were written behind the last ones. Only one caller at a time.
    pub(super) fn advance(&self, length: usize) {
        self.end.store(self.end() + length, Ordering::Release);
    }

    /// A file that is not this process's to write, for tests.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn over(file: File, path: &Path, id: u64) -> Self {
        Self::new(file, path.to_owned(), id, 0, false)
    }

    /// Reads what was written from `from` on, up to `most` bytes.
    pub(in crate::ledger) fn read(&self, from: usize, most: usize) -> io::Result<Vec<u8>> {
        let wanted = self.end().saturating_sub(from).min(most);
        // Room that nobody fills with zeros first: this reads half a megabyte at a time.
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let at = (from + bytes.len()) as u64;
            if retry_on_intr(|| pread(&self.file, spare_capacity(&mut bytes), at))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // There may have been more room than was asked for, and more in the file than its end says.
        bytes.truncate(wanted);
        Ok(bytes)
    }

    /// Waits until the disk has it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn call_opened(&self) {
        self.open_calls.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn call_ended(&self) {
        self.open_calls.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether a call that was opened in it is still under way: until it ends, this file is what tells of it after a crash.
    pub(in crate::ledger) fn is_needed(&self) -> bool {
        self.open_calls.load(Ordering::Acquire) > 0
    }

    pub(in crate::ledger) fn delete(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an empty segment of the journal");
        }
    }
}

/// The frames of a whole segment, up to its end.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, frame::Frame<'_>), frame::Unreadable>> {
    let mut at = 0;
    std::iter::from_fn(move || match frame::decode(&bytes[at..]) {
        Ok(None) => None,
        Ok(Some(frame)) => {
            at += frame.size;
            Some(Ok((at, frame)))
        }
        Err(error) => {
            at = bytes.len();
            Some(Err(error))
        }
    })
}

/// Takes the file's whole room from the disk, so that it is there when it is needed.
fn take_room(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, SIZE as u64) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.write_all_at(&vec![0; SIZE], 0),
        result => result.map_err(Into::into),
    }
}
