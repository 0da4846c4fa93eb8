//! Pipes that bytes pass from socket to socket without being copied (splice(2)).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Larger pipes save calls, and the kernel lets a user have 64 MiB of them.
const PIPE_SIZE: usize = 256 * 1024;
/// Kept for the next tunnels: as many as work at once on a small machine.
const MOST_KEPT: usize = 16;

static KEPT: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    size: usize,
}

/// A pipe in use, and how many bytes are in it. Empty, it is kept when it is dropped; else it is closed.
pub(super) struct Lent {
    pipe: Option<Pipe>,
    held: usize,
}

fn kept() -> MutexGuard<'static, Vec<Pipe>> {
    // Nothing panics half-way through a change.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused where the user's share is used up: a smaller one works as well.
        let size = fcntl_setpipe_size(&into, PIPE_SIZE).unwrap_or(64 * 1024);
        Ok(Self { out, into, size })
    }
}

impl Lent {
    /// One that was kept, or a new one.
    pub(super) fn take() -> io::Result<Self> {
        let known = kept().pop();
        let pipe = match known {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        Ok(Self { pipe: Some(pipe), held: 0 })
    }

    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what a socket has; it must be empty. 0 at the socket's end, `WouldBlock` when there is nothing now.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let splicing = || Ok(splice(from, None, &pipe.into, None, pipe.size, flags)?);
        let taken = from.try_io(Interest::READABLE, splicing)?;
        self.held += taken;
        Ok(taken)
    }

    /// Gives a socket what is in it. `WouldBlock` when it takes nothing now.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let given = to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.out, None, to, None, self.held, flags)?))?;
        self.held -= given.min(self.held);
        Ok(given)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) else { return };
        let mut kept = kept();
        if kept.len() < MOST_KEPT {
            kept.push(pipe);
        }
    }
}
