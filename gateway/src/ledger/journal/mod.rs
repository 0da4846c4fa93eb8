//! The journal: what is known of a call is in this append-only file before the call goes out, and how it ended before its answer
//! does. Nothing waits for a database: rows get there behind the callers' backs (see [`super::applier`]).
//!
//! A frame is written by the thread that has it, straight into the operating system's cache: no other thread to wake, and safe from
//! the death of the process. On Linux that is a copy into the file's own [pages](window); elsewhere a system call. Where rows must
//! survive the loss of power, the caller also waits for [`sync`](sync::Syncer), which many share.
//!
//! The room for the last word on every call under way is taken from the disk before the call goes out. A disk that fills up
//! stops new calls, never the rows of those that were made.

mod batch;
mod copy;
mod frame;
mod recovery;
mod segment;
mod sync;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod window;
#[cfg(not(target_os = "linux"))]
#[path = "no_window.rs"]
mod window;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::record::Record;
use crate::config::Durability;

pub(super) use batch::Batch;
pub(super) use copy::{Copied, copy};
pub(super) use frame::FORMAT;
use frame::Kind;
pub(super) use frame::Unreadable;
pub use frame::scan_journal;
pub(super) use segment::Segment;
pub(super) use sync::Synced;
use sync::Syncer;
use window::Window;

/// No frame is larger: texts are cut before they get here.
const MAX_FRAME: usize = 9 << 10;
/// Frames that fit into a segment at the least.
const FRAMES: usize = segment::SIZE / MAX_FRAME - 1;
pub(super) const LOCK: &str = "lock";

/// The journal of one gateway.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    state: Mutex<State>,
    /// Settled frames that were written so far.
    settled: AtomicU64,
    /// When the newest of them ended, in microseconds since 1970; 0 before the first.
    newest: AtomicI64,
    /// Woken when there is something to apply.
    pub(super) written: Notify,
    syncer: Option<Syncer>,
    /// Held as long as this journal is open.
    _lock: File,
}

#[derive(Debug)]
struct State {
    /// From the oldest that is not applied to the one that is written to.
    segments: VecDeque<Arc<Segment>>,
    /// Applied, but the only witness of a call that is still under way.
    kept: Vec<Arc<Segment>>,
    spares: Vec<Segment>,
    window: Window,
    last_id: u64,
    open_calls: usize,
    /// Frames that the disk did not take. They go first as soon as it takes something.
    unwritten: VecDeque<Vec<u8>>,
    /// Why the disk did not take what was to be written last.
    stuck: Option<String>,
}

/// A call that is written down as opened.
#[derive(Debug)]
pub(super) struct Opened {
    journal: Arc<Journal>,
    segment: Arc<Segment>,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("another gateway has it open; stop that one, or give this one a ledger of its own with --database")]
    InUse,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{path}: {cause}", path = path.display())]
    Unreadable { path: PathBuf, cause: String },
}

impl Journal {
    /// Opens the journal in a folder. What an earlier process left is there to be applied, and each call that it had under way
    /// is settled as interrupted.
    pub(super) fn open(folder: &Path, durability: Durability) -> Result<(Arc<Self>, usize), JournalError> {
        make_private(folder)?;
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(JournalError::InUse),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let left = recovery::read(folder)?;
        let syncer = match durability {
            Durability::Process => None,
            Durability::Power => Some(Syncer::start(folder)?),
        };
        let window = match durability {
            Durability::Process => Window::beside(&lock),
            // What must be on the disk is handed over with a system call, so that its error is told here.
            Durability::Power => Window::shut(),
        };
        let mut state = State {
            window,
            last_id: left.segments.back().map_or(0, |segment| segment.id),
            segments: left.segments,
            kept: Vec::new(),
            spares: Vec::new(),
            open_calls: 0,
            unwritten: VecDeque::new(),
            stuck: None,
        };
        state.make_room(folder, left.interrupted.len())?;
        let journal = Self {
            folder: folder.to_owned(),
            state: Mutex::new(state),
            settled: AtomicU64::new(left.settled),
            newest: AtomicI64::new(0),
            written: Notify::new(),
            syncer,
            _lock: lock,
        };
        for frame in &left.interrupted {
            journal.lock().append(frame)?;
            journal.settled.fetch_add(1, Ordering::Release);
        }
        Ok((Arc::new(journal), left.interrupted.len()))
    }

    /// Writes down that a call is about to go out.
    pub(super) fn begin(self: &Arc<Self>, record: &Record<'_>) -> io::Result<(Opened, Synced)> {
        let mut buffer = Vec::with_capacity(512);
        frame::encode(Kind::Opened, record, &mut buffer);
        let mut state = self.lock();
        let segment = self.make_ready(&mut state).and_then(|()| state.append(&buffer));
        let segment = segment.inspect_err(|error| {
            state.stuck = Some(error.to_string());
            self.written.notify_one();
        })?;
        state.open_calls += 1;
        segment.call_opened();
        drop(state);
        let synced = self.sync(&segment);
        Ok((Opened { journal: Arc::clone(self), segment }, synced))
    }

    /// How many settled frames there are.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// When the newest row ended that this process settled.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        let newest = self.newest.load(Ordering::Acquire);
        Timestamp::from_microsecond(newest).ok().filter(|_| newest > 0)
    }

    /// Calls that were opened and have not ended.
    pub(super) fn open_calls(&self) -> usize {
        self.lock().open_calls
    }

    /// The oldest segment that is not wholly applied. There always is one.
    pub(super) fn front(&self) -> Option<Arc<Segment>> {
        self.lock().segments.front().cloned()
    }

    /// The front segment is sealed and applied to its end.
    pub(super) fn front_applied(&self) {
        let mut state = self.lock();
        if let Some(done) = state.segments.pop_front() {
            state.kept.push(done);
        }
        state.drop_unneeded();
    }

    /// Writes what the disk did not take before, if it does now. An error says why no call can be written down.
    pub(super) fn retry(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.stuck.is_none() && state.unwritten.is_empty() {
            return Ok(());
        }
        let ready = self.make_ready(&mut state);
        state.stuck = ready.as_ref().err().map(io::Error::to_string);
        ready
    }

    /// Why no call can be written down, if none can.
    pub(super) fn stuck(&self) -> Option<String> {
        self.lock().stuck.clone()
    }

    /// Makes sure that one more call finds room, for its beginning and its end.
    fn make_ready(&self, state: &mut State) -> io::Result<()> {
        self.write_late(state)?;
        state.make_room(&self.folder, state.open_calls + 2)?;
        state.stuck = None;
        Ok(())
    }

    /// Bytes that wait to be applied, roughly.
    pub(super) fn backlog(&self) -> u64 {
        (self.lock().segments.len() as u64).saturating_sub(1) * segment::SIZE as u64
    }

    /// Removes the files after everything was applied, but not while a call is under way.
    pub(super) fn tidy(&self) {
        let mut state = self.lock();
        let is_empty = state.segments.len() <= 1 && state.open_calls == 0 && state.unwritten.is_empty();
        state.drop_unneeded();
        for spare in state.spares.drain(..) {
            spare.delete();
        }
        if is_empty {
            for segment in state.segments.drain(..) {
                segment.delete();
            }
        }
    }

    fn end(&self, opened: &Opened, record: &Record<'_>) -> (io::Result<Synced>, u64) {
        let mut buffer = Vec::with_capacity(512);
        frame::encode(Kind::Settled, record, &mut buffer);
        let mut state = self.lock();
        state.open_calls -= 1;
        let written = match self.write_late(&mut state) {
            Ok(()) => state.append(&buffer),
            Err(error) => Err(error),
        };
        let number = self.settled.fetch_add(1, Ordering::AcqRel) + 1;
        if written.is_err() {
            state.unwritten.push_back(buffer);
        }
        opened.segment.call_ended();
        drop(state);
        self.newest.fetch_max(record.ended_at, Ordering::AcqRel);
        self.written.notify_one();
        (written.map(|segment| self.sync(&segment)), number)
    }

    fn write_late(&self, state: &mut State) -> io::Result<()> {
        while let Some(frame) = state.unwritten.pop_front() {
            let room = state.make_room(&self.folder, state.open_calls + state.unwritten.len() + 1);
            if let Err(error) = room.and_then(|()| state.append(&frame)) {
                state.unwritten.push_front(frame);
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync(&self, segment: &Arc<Segment>) -> Synced {
        self.syncer.as_ref().map_or_else(Synced::at_once, |syncer| syncer.sync(segment))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// Writes down how the call ended. Gives the number of this end, too: rows are applied in the order of their numbers.
    pub(super) fn end(self, record: &Record<'_>) -> (io::Result<Synced>, u64) {
        self.journal.end(&self, record)
    }
}

impl State {
    /// Makes sure that so many frames will find room, however large they are.
    fn make_room(&mut self, folder: &Path, frames: usize) -> io::Result<()> {
        loop {
            let active = self.segments.back().filter(|segment| !segment.is_sealed());
            let there = active.map_or(0, |segment| segment.free() / MAX_FRAME) + self.spares.len() * FRAMES;
            if there >= frames && active.is_some() {
                return Ok(());
            }
            let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
            self.last_id = now.max(self.last_id + 1);
            let segment = Segment::allocate(folder, self.last_id)?;
            match active {
                Some(_) => self.spares.push(segment),
                None => self.segments.push_back(Arc::new(segment)),
            }
        }
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<Arc<Segment>> {
        let fits = self.segments.back().is_some_and(|active| !active.is_sealed() && active.free() >= frame.len());
        if !fits {
            // The spare was made when the room was promised; the segments' names must follow the order of their use, which the
            // order of making is.
            if self.spares.is_empty() {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "the journal has no room left"));
            }
            if let Some(full) = self.segments.back() {
                full.seal();
            }
            self.segments.push_back(Arc::new(self.spares.remove(0)));
        }
        let Some(active) = self.segments.back() else {
            return Err(io::Error::other("the journal has no segment"));
        };
        match self.window.write(active, frame) {
            true => active.advance(frame.len()),
            false => active.append(frame)?,
        }
        Ok(Arc::clone(active))
    }

    fn drop_unneeded(&mut self) {
        self.kept.retain(|segment| {
            let needed = segment.is_needed();
            if !needed {
                segment.delete();
            }
            needed
        });
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
