//! Server-sent events, found in a stream of bytes without changing one.
//!
//! Line ends are `\n`, `\r\n` or `\r` (WHATWG HTML §9.2.6); providers send the first two, and so an empty line of either ends an
//! event here. Events may be split anywhere, also inside a character.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// Longer events than this are handed on unread: memory must not depend on what a stranger sends.
const MAX_EVENT: usize = 8 * 1024 * 1024;

/// Cuts a stream into whole events, keeping every byte.
#[derive(Debug, Default)]
pub struct SseSplitter {
    pending: BytesMut,
    /// How much of `pending` has been searched for the end of an event.
    searched: usize,
}

/// The joined `data:` lines of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventData<'a>(pub &'a [u8]);

impl SseSplitter {
    /// Takes a piece of the stream and calls `each` with every event that is now whole, its end included.
    pub fn push(&mut self, chunk: &Bytes, mut each: impl FnMut(Bytes)) {
        if self.pending.is_empty() {
            // The usual case: whole events in one piece, sliced without copying.
            let mut rest = chunk.clone();
            while let Some(end) = event_end(&rest, 0) {
                each(rest.split_to(end));
            }
            self.pending.extend_from_slice(&rest);
        } else {
            self.pending.extend_from_slice(chunk);
            while let Some(end) = event_end(&self.pending, self.searched) {
                each(self.pending.split_to(end).freeze());
                self.searched = 0;
            }
        }
        // The end can begin three bytes before what comes next.
        self.searched = self.pending.len().saturating_sub(3);
        if self.pending.len() > MAX_EVENT {
            each(self.finish());
        }
    }

    /// The beginning of an event whose end has not come yet.
    #[must_use]
    pub fn begun(&self) -> &[u8] {
        &self.pending
    }

    /// What is left when the stream ended: an event without its end, or nothing.
    pub fn finish(&mut self) -> Bytes {
        self.searched = 0;
        self.pending.split().freeze()
    }
}

/// The index behind the first empty line.
fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr(b'\n', &bytes[at..]) {
        let next = at + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

impl<'a> EventData<'a> {
    /// The data of an event that has one `data:` line, as every provider's have; `None` for comments and others.
    #[must_use]
    pub fn of(event: &'a [u8]) -> Option<Self> {
        event.split(|byte| *byte == b'\n').find_map(|line| {
            let data = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"data:")?;
            Some(Self(data.strip_prefix(b" ").unwrap_or(data)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
        let mut splitter = SseSplitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(&Bytes::copy_from_slice(piece), |event| events.push(event));
        }
        (events, splitter.finish())
    }

    #[test]
    fn events_are_whole_whatever_their_line_ends() {
        let (events, rest) = split(&[b"data: 1\n\nevent: x\r\ndata: 2\r\n\r\n: note\n\ndata: 3"]);
        assert_eq!(events, [&b"data: 1\n\n"[..], b"event: x\r\ndata: 2\r\n\r\n", b": note\n\n"]);
        assert_eq!(rest, &b"data: 3"[..]);
        let data: Vec<_> = events.iter().map(|event| EventData::of(event).map(|data| data.0)).collect();
        assert_eq!(data, [Some(&b"1"[..]), Some(b"2"), None]);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_events_and_keeps_every_byte(
            lines in prop::collection::vec(prop_oneof![Just("data: {\"ä\":1}".to_owned()), Just(String::new()), Just(": c".to_owned()), "\\PC{0,5}"], 0..12),
            crlf: bool,
            cuts in prop::collection::vec(1usize..7, 1..40),
        ) {
            let text = lines.join(if crlf { "\r\n" } else { "\n" }).into_bytes();
            let (whole, whole_rest) = split(&[&text]);
            let mut pieces = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (cut, cut_rest) = split(&pieces);
            prop_assert_eq!(&whole, &cut);
            prop_assert_eq!(&whole_rest, &cut_rest);
            let mut joined: Vec<u8> = cut.concat();
            joined.extend_from_slice(&cut_rest);
            prop_assert_eq!(joined, text);
        }
    }
}
