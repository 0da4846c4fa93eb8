//! Buffers that are lent while bytes are in them: a silent tunnel has none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// What a socket gives at once when it is full: less than this is the exception under load.
pub(super) const BUFFER_SIZE: usize = 64 * 1024;
/// Kept by each thread for the next tunnel.
const MOST_KEPT: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer; dropped, it is there for the next.
pub(super) struct Buffer(Box<[u8]>);

impl Buffer {
    /// One of this thread's, or a new one.
    pub(super) fn take() -> Self {
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
        Self(kept.unwrap_or_else(|| vec![0; BUFFER_SIZE].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // Without its thread's store, at the thread's end, it is only freed.
        let _freed = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
