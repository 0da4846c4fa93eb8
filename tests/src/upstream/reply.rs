//! One scripted answer.

use bytes::Bytes;
use serde_json::Value;

use crate::wait::Gate;

/// What a scripted provider answers: a status, headers, and a body in steps; or literal bytes.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) head: Head,
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
    /// Whether the length is announced; else the body is chunked.
    pub(super) sized: bool,
    pub(super) held_by: Option<Gate>,
}

#[derive(Debug, Clone)]
pub(super) enum Head {
    Http { status: u16, headers: Vec<(String, String)> },
    Raw(Bytes),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Bytes),
    Wait(Gate),
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As HTTP wants it.
    Whole,
    /// The connection is closed without the terminator.
    Closed,
    /// The connection is reset.
    Reset,
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::literal(status, body.to_string())
    }

    /// An answer with a literal body, labelled as JSON.
    #[must_use]
    pub fn literal(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let steps = vec![Step::Send(body.into())];
        Self { head: Head::Http { status, headers }, steps, ending: Ending::Whole, sized: true, held_by: None }
    }

    /// A stream of server-sent events, each piece written on its own.
    #[must_use]
    pub fn stream<B: Into<Bytes>>(pieces: impl IntoIterator<Item = B>) -> Self {
        let headers = vec![("content-type".to_owned(), "text/event-stream; charset=utf-8".to_owned())];
        let steps = pieces.into_iter().map(|piece| Step::Send(piece.into())).collect();
        Self { head: Head::Http { status: 200, headers }, steps, ending: Ending::Whole, sized: false, held_by: None }
    }

    /// Bytes written to the socket as they are; then the connection is closed.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { head: Head::Raw(bytes.into()), steps: Vec::new(), ending: Ending::Closed, sized: false, held_by: None }
    }

    /// Adds a header, in place of one of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Head::Http { headers, .. } = &mut self.head {
            headers.retain(|(known, _)| known != name);
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Answers nothing, not even a head, before the gate opens.
    #[must_use]
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.held_by = Some(gate.clone());
        self
    }

    /// Goes on after so many pieces only when the gate opens.
    #[must_use]
    pub fn pause_after(mut self, pieces: usize, gate: &Gate) -> Self {
        self.steps.insert(pieces.min(self.steps.len()), Step::Wait(gate.clone()));
        self.sized = false;
        self
    }

    /// Closes the connection after so many pieces, without the body's end.
    #[must_use]
    pub fn close_after(self, pieces: usize) -> Self {
        self.broken_after(pieces, Ending::Closed)
    }

    /// Resets the connection after so many pieces.
    #[must_use]
    pub fn reset_after(self, pieces: usize) -> Self {
        self.broken_after(pieces, Ending::Reset)
    }

    fn broken_after(mut self, pieces: usize, ending: Ending) -> Self {
        self.steps.truncate(pieces);
        self.sized = false;
        self.ending = ending;
        self
    }

    /// The whole body as it will be sent: what a client must see where nothing may be changed.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut body = Vec::new();
        for step in &self.steps {
            if let Step::Send(data) = step {
                body.extend_from_slice(data);
            }
        }
        body.into()
    }
}
