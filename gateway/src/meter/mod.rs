//! The relayed bytes to a [`Reading`]: usage, model and identifier, read out of JSON and SSE without holding a stream up.

mod anthropic;
mod openai;

use bytes::{Bytes, BytesMut};
use fleetgate_wire::endpoint::{Dialect, Endpoint};
use fleetgate_wire::usage::Usage;
use http::{HeaderMap, StatusCode, header};
use memchr::memmem;
use serde_json::Value;

use crate::dialect::{EventData, Fields, SseSplitter};
use crate::relay::Piece;

/// A JSON answer larger than this passes unread; its row says that its usage is unknown.
const MAX_JSON: usize = 64 * 1024 * 1024;
const MAX_ERROR_TEXT: usize = 300;
/// The last event's name stands within so many bytes.
const LAST_EVENT_HEAD: usize = 128;

/// What an answer said of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Tokens, as the provider counted them.
    pub usage: Option<Usage>,
    /// The provider's own price of this answer, in dollars.
    pub reported_cost: Option<f64>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider's identifier of the answer.
    pub id: Option<String>,
    /// `service_tier`, which has prices of its own.
    pub service_tier: Option<String>,
    /// What went wrong, in the provider's words.
    pub error: Option<String>,
    /// A stream's last event came.
    pub finished: bool,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Meter {
    endpoint: Endpoint,
    failed: bool,
    form: Form,
    strip_usage: bool,
    /// The beginning of what may be the last event.
    withheld: Bytes,
    counts: anthropic::Counts,
    reading: Reading,
}

#[derive(Debug)]
enum Form {
    /// Not known before the first byte: some servers label a stream as JSON.
    Unknown {
        expects_stream: bool,
    },
    Sse(SseSplitter),
    Json {
        pieces: Vec<Bytes>,
        size: usize,
    },
    Unread,
}

impl Meter {
    /// A meter for an answer with this head. `strip_usage`: take the usage chunk out, the client did not ask for it.
    #[must_use]
    pub fn new(endpoint: Endpoint, status: StatusCode, headers: &HeaderMap, stream: bool, strip_usage: bool) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let encoded = !matches!(text(header::CONTENT_ENCODING), "" | "identity");
        let form = if encoded {
            Form::Unread
        } else if status.is_success() && text(header::CONTENT_TYPE).starts_with("text/event-stream") {
            Form::Sse(SseSplitter::default())
        } else {
            Form::Unknown { expects_stream: stream }
        };
        let failed = !status.is_success();
        let (counts, reading) = (anthropic::Counts::default(), Reading::default());
        Self { endpoint, failed, form, strip_usage, withheld: Bytes::new(), counts, reading }
    }

    /// Sees a piece pass.
    pub fn see(&mut self, chunk: Bytes) -> Piece {
        if let Form::Unknown { expects_stream } = self.form {
            let first = chunk.iter().find(|byte| !byte.is_ascii_whitespace());
            self.form = match first {
                None => return Piece { forward: chunk, is_last: false },
                Some(b'{' | b'[') => Form::Json { pieces: Vec::new(), size: 0 },
                Some(_) if expects_stream => Form::Sse(SseSplitter::default()),
                Some(_) => Form::Json { pieces: Vec::new(), size: 0 },
            };
        }
        match std::mem::replace(&mut self.form, Form::Unread) {
            Form::Sse(mut splitter) => {
                let piece = self.see_events(&mut splitter, chunk);
                self.form = Form::Sse(splitter);
                piece
            }
            Form::Json { mut pieces, size } if size + chunk.len() <= MAX_JSON => {
                let size = size + chunk.len();
                pieces.push(chunk.clone());
                self.form = Form::Json { pieces, size };
                Piece { forward: chunk, is_last: false }
            }
            _ => Piece { forward: chunk, is_last: false },
        }
    }

    /// What was held back when the stream ended. An event without the empty line behind it counts as well.
    pub fn rest(&mut self) -> Bytes {
        let Form::Sse(splitter) = &mut self.form else { return Bytes::new() };
        let rest = splitter.finish();
        let verdict = self.see_event(&rest);
        self.reading.finished |= verdict == Verdict::Last;
        match verdict {
            _ if !self.strip_usage => std::mem::take(&mut self.withheld),
            Verdict::Drop => Bytes::new(),
            _ => rest,
        }
    }

    /// Whether the answer's own last event tells its end.
    #[must_use]
    pub fn marks_its_end(&self) -> bool {
        matches!(self.form, Form::Sse(_))
    }

    /// Keeps back what looks like the beginning of the last event until the rest of it has come: many clients act on its `data:`
    /// line without waiting for the empty one, and would have their answer before its row.
    fn withhold(&mut self, chunk: Bytes, begun: &[u8]) -> Bytes {
        let head = &begun[..begun.len().min(LAST_EVENT_HEAD)];
        let mut forward = match self.withheld.is_empty() {
            true => chunk,
            false => concat(vec![std::mem::take(&mut self.withheld), chunk], 0),
        };
        if !head.is_empty() && self.last_words().iter().any(|word| memmem::find(head, word).is_some()) {
            // Its first bytes may have passed already.
            self.withheld = forward.split_off(forward.len().saturating_sub(begun.len()));
        }
        forward
    }

    /// What the beginning of the last event holds.
    fn last_words(&self) -> &'static [&'static [u8]] {
        match self.endpoint.dialect() {
            Dialect::OpenAi => &[b"[DONE]"],
            Dialect::Anthropic => &[b"message_stop"],
            Dialect::Responses => &[b"response.completed", b"response.incomplete", b"response.failed"],
        }
    }

    /// Ends the reading.
    pub fn read(&mut self) -> Reading {
        if let Form::Json { pieces, size } = std::mem::replace(&mut self.form, Form::Unread) {
            self.read_json(&concat(pieces, size));
        }
        if let Some(usage) = self.counts.usage() {
            self.reading.usage = Some(usage);
        }
        std::mem::take(&mut self.reading)
    }

    fn see_events(&mut self, splitter: &mut SseSplitter, chunk: Bytes) -> Piece {
        let mut is_last = false;
        let mut kept = BytesMut::new();
        splitter.push(&chunk, |event| {
            let verdict = self.see_event(&event);
            is_last |= verdict == Verdict::Last;
            if self.strip_usage && verdict != Verdict::Drop {
                kept.extend_from_slice(&event);
            }
        });
        self.reading.finished |= is_last;
        let forward = if self.strip_usage { kept.freeze() } else { self.withhold(chunk, splitter.begun()) };
        Piece { forward, is_last }
    }

    fn see_event(&mut self, event: &[u8]) -> Verdict {
        let Some(EventData(data)) = EventData::of(event) else { return Verdict::Pass };
        match self.endpoint.dialect() {
            Dialect::OpenAi => self.see_chunk(data),
            Dialect::Anthropic => self.see_message_event(event, data),
            Dialect::Responses => self.see_response_event(event, data),
        }
    }

    /// A chunk of a chat or text stream. Only those that say `usage`, and the first one, are parsed.
    fn see_chunk(&mut self, data: &[u8]) -> Verdict {
        if data == b"[DONE]" {
            return Verdict::Last;
        }
        let says = |word: &[u8]| memmem::find(data, word).is_some();
        if self.reading.id.is_some() && !says(b"\"usage\"") && !says(b"\"error\"") {
            return Verdict::Pass;
        }
        let Ok(fields) = Fields::parse(data) else { return Verdict::Pass };
        self.read_identity(&fields);
        self.read_error(&fields);
        if !fields.has("usage") {
            return Verdict::Pass;
        }
        self.read_openai_usage(&fields);
        let no_choices = fields.raw("choices").is_some_and(|raw| raw.trim_matches(['[', ']', ' ']).is_empty());
        if self.strip_usage && no_choices { Verdict::Drop } else { Verdict::Pass }
    }

    fn see_message_event(&mut self, event: &[u8], data: &[u8]) -> Verdict {
        match event_name(event, data).as_deref() {
            Some("message_start") => {
                let Ok(fields) = Fields::parse(data) else { return Verdict::Pass };
                if let Some(Ok(message)) = fields.raw("message").map(|raw| Fields::parse(raw.as_bytes())) {
                    self.read_identity(&message);
                    self.counts.merge(message.read("usage").as_ref());
                }
            }
            Some("message_delta") => {
                if let Ok(fields) = Fields::parse(data) {
                    self.counts.merge(fields.read("usage").as_ref());
                }
            }
            Some("message_stop") => return Verdict::Last,
            Some("error") => {
                if let Ok(fields) = Fields::parse(data) {
                    self.read_error(&fields);
                }
            }
            _ => {}
        }
        Verdict::Pass
    }

    fn see_response_event(&mut self, event: &[u8], data: &[u8]) -> Verdict {
        let name = event_name(event, data);
        let name = name.as_deref().unwrap_or_default();
        let is_last = matches!(name, "response.completed" | "response.incomplete" | "response.failed");
        if (is_last || name == "response.created" || name == "error")
            && let Ok(fields) = Fields::parse(data)
        {
            self.read_error(&fields);
            if let Some(Ok(response)) = fields.raw("response").map(|raw| Fields::parse(raw.as_bytes())) {
                self.read_identity(&response);
                self.read_error(&response);
                self.read_openai_usage(&response);
            }
        }
        if is_last { Verdict::Last } else { Verdict::Pass }
    }

    fn read_json(&mut self, body: &[u8]) {
        let Ok(fields) = Fields::parse(body) else {
            if self.failed {
                self.reading.error = Some(shorten(&String::from_utf8_lossy(body)));
            }
            return;
        };
        self.read_identity(&fields);
        self.read_error(&fields);
        if self.failed || self.endpoint == Endpoint::CountTokens {
            return;
        }
        match self.endpoint.dialect() {
            Dialect::Anthropic => self.counts.merge(fields.read("usage").as_ref()),
            Dialect::OpenAi | Dialect::Responses => self.read_openai_usage(&fields),
        }
    }

    fn read_openai_usage(&mut self, fields: &Fields<'_>) {
        if let Some(usage) = fields.read::<Value>("usage").filter(Value::is_object) {
            self.reading.usage = openai::usage(&usage).or(self.reading.usage);
            self.reading.reported_cost = openai::reported_cost(&usage).or(self.reading.reported_cost);
        }
    }

    fn read_identity(&mut self, fields: &Fields<'_>) {
        self.reading.id = fields.read("id").or(self.reading.id.take());
        self.reading.model = fields.read("model").or(self.reading.model.take());
        self.reading.service_tier = fields.read("service_tier").or(self.reading.service_tier.take());
    }

    fn read_error(&mut self, fields: &Fields<'_>) {
        let Some(error) = fields.read::<Value>("error").filter(|error| !error.is_null()) else { return };
        let message = error.get("message").unwrap_or(&error);
        let text = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        self.reading.error = Some(shorten(&text));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop,
    Last,
}

/// The event's name: from its `event:` line, else from the `type` inside.
fn event_name(event: &[u8], data: &[u8]) -> Option<String> {
    let line = event.strip_prefix(b"event:").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    match line {
        Some(name) => std::str::from_utf8(name).ok().map(|name| name.trim().to_owned()),
        None => Fields::parse(data).ok()?.read("type"),
    }
}

fn concat(mut pieces: Vec<Bytes>, size: usize) -> Bytes {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(size);
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_ERROR_TEXT).collect()
}

#[cfg(test)]
mod tests;
