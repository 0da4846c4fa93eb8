//! The relayed bytes to a [`Reading`]: usage, model and identifier, read out of JSON and SSE without holding a stream up.

mod anthropic;
mod node;
mod openai;
mod reading;
mod reported;
mod text;
mod tools;

use bytes::{Bytes, BytesMut};
use fleetgate_wire::endpoint::{Dialect, Endpoint};
use fleetgate_wire::usage::UsageSource;
use http::{HeaderMap, StatusCode, header};
use memchr::memmem;
use serde_json::Value;

use crate::dialect::{EventData, Fields, SseSplitter};
use crate::relay::Piece;

use node::Node;
pub use reading::{Reading, estimate};

/// A JSON answer larger than this passes unread; its row says that its usage is unknown.
const MAX_JSON: usize = 64 * 1024 * 1024;
const MAX_ERROR_TEXT: usize = 300;
/// The last event's name stands within so many bytes.
const LAST_EVENT_HEAD: usize = 128;

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

    /// Bytes of text, reasoning and tool arguments seen so far in a stream.
    #[must_use]
    pub fn produced_text_bytes(&self) -> u64 {
        self.reading.produced
    }

    /// Ends the reading.
    pub fn read(&mut self) -> Reading {
        if let Form::Json { pieces, size } = std::mem::replace(&mut self.form, Form::Unread) {
            self.read_json(&concat(pieces, size));
        }
        if let Some((usage, source)) = self.counts.usage(self.reading.produced) {
            self.reading.usage = Some(usage);
            self.reading.usage_source = source;
        }
        let reading = &mut self.reading;
        if let Some(usage) = &mut reading.usage {
            tools::count_implied(usage, reading.model.as_deref());
            if reading.finished && self.endpoint.dialect() == Dialect::OpenAi {
                reading.usage_source = UsageSource::Provider;
            }
            if reading.usage_source == UsageSource::Partial {
                usage.output = usage.output.max(reading::tokens(reading.produced));
            }
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
        self.reading.produced += text::produced(self.endpoint.dialect(), data);
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
        let counted = self.read_openai_usage(&fields, fields.read("usage"));
        if !counted {
            return Verdict::Pass;
        }
        let no_choices = fields.raw("choices").is_some_and(|raw| raw.trim_matches(['[', ']', ' ']).is_empty());
        if !no_choices && !ends_a_choice(&fields) {
            // Counts that grow with the stream (xAI, Perplexity, vLLM): the last of them may be missing.
            self.reading.usage_source = UsageSource::Partial;
        }
        if self.strip_usage && no_choices { Verdict::Drop } else { Verdict::Pass }
    }

    fn see_message_event(&mut self, event: &[u8], data: &[u8]) -> Verdict {
        match event_name(event, data).as_deref() {
            Some("message_start") => {
                let Ok(fields) = Fields::parse(data) else { return Verdict::Pass };
                if let Some(Ok(message)) = fields.raw("message").map(|raw| Fields::parse(raw.as_bytes())) {
                    self.read_identity(&message);
                    self.read_message_usage(message.read("usage"), false);
                }
            }
            Some("message_delta") => {
                if let Ok(fields) = Fields::parse(data) {
                    self.read_message_usage(fields.read("usage"), true);
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
        self.reading.searches += u64::from(name == "response.web_search_call.completed");
        if (is_last || name == "response.created" || name == "error")
            && let Ok(fields) = Fields::parse(data)
        {
            self.read_error(&fields);
            if let Some(Ok(response)) = fields.raw("response").map(|raw| Fields::parse(raw.as_bytes())) {
                self.read_identity(&response);
                self.read_error(&response);
                self.read_openai_usage(&response, response.read("usage"));
            }
        }
        if is_last { Verdict::Last } else { Verdict::Pass }
    }

    fn read_json(&mut self, body: &[u8]) {
        let parsed = Fields::parse_with(body, "usage");
        // A usage that cannot be read does not hide the rest.
        let parsed = parsed.or_else(|_| Fields::parse(body).map(|fields| (fields, None)));
        let Ok((fields, usage)) = parsed else {
            if self.failed {
                self.reading.error = Some(shorten(&String::from_utf8_lossy(body)));
            } else {
                // Cut in the middle: what there is of it was produced.
                self.reading.produced = text::produced(Dialect::OpenAi, body);
            }
            return;
        };
        self.read_identity(&fields);
        self.read_error(&fields);
        if self.failed || self.endpoint == Endpoint::CountTokens {
            return;
        }
        match self.endpoint.dialect() {
            Dialect::Anthropic => self.read_message_usage(usage, true),
            Dialect::OpenAi | Dialect::Responses => {
                self.read_openai_usage(&fields, usage);
            }
        }
        if self.reading.usage.is_none() {
            self.reading.produced = text::produced(Dialect::OpenAi, body);
        }
    }

    fn read_message_usage(&mut self, usage: Option<Node<'_>>, is_final: bool) {
        self.counts.merge(usage.as_ref(), is_final);
        if let Some(usage) = usage {
            self.reading.reported_cost = reported::cost(&usage).or(self.reading.reported_cost);
            let tier = usage.get("service_tier").and_then(Node::as_str).map(str::to_owned);
            self.reading.service_tier = tier.or(self.reading.service_tier.take());
        }
    }

    /// Whether there was a usage object that counts something. `usage` is what stands under that name among the fields.
    fn read_openai_usage(&mut self, fields: &Fields<'_>, usage: Option<Node<'_>>) -> bool {
        // Groq's streams say it in a member of their own (console.groq.com/docs, streaming).
        let groq = || fields.read::<Node<'_>>("x_groq")?.get("usage").cloned();
        let Some(usage) = usage.or_else(groq).filter(Node::is_object) else { return false };
        self.reading.reported_cost = reported::cost(&usage).or(self.reading.reported_cost);
        let Some(mut counted) = openai::usage(&usage, self.reading.model.as_deref()) else { return false };
        if self.endpoint.dialect() == Dialect::Responses {
            (counted.searches, counted.search_context) = tools::searches(fields);
        }
        self.reading.usage = Some(counted);
        self.reading.usage_source = UsageSource::Provider;
        true
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

/// Whether a chunk of a chat says why a choice ended: nothing is produced behind it.
fn ends_a_choice(fields: &Fields<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct Choice {
        #[serde(default)]
        finish_reason: Option<serde::de::IgnoredAny>,
    }
    let choices: Vec<Choice> = fields.read("choices").unwrap_or_default();
    choices.iter().any(|choice| choice.finish_reason.is_some())
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
