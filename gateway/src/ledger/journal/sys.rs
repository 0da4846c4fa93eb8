//! The only unsafe code of the workspace: a part of a segment's file as memory.
//!
//! What makes it sound: the file has its whole room from the disk before it is mapped, nobody shortens a segment, and its folder
//! and the journal's lock are this process's own. Whoever truncates the file from outside all the same gets what he would get for
//! pulling out the disk: the death of this process by SIGBUS, after which the journal is read like after any other death.
#![expect(unsafe_code, reason = "memory that is a file can only be had so; the argument stands above")]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Maps `length` bytes of a file from `start` on. What is written there is in the operating system's cache at once, and whoever
/// reads the file sees it.
pub(super) fn map(file: &File, start: usize, length: usize) -> io::Result<MmapMut> {
    // SAFETY: the file is not shortened while it is mapped (see above), other processes do not write to it, and this one writes to
    // a place only once, before the segment's end moves behind it and anybody reads it.
    unsafe { MmapOptions::new().offset(start as u64).len(length).map_mut(file) }
}
