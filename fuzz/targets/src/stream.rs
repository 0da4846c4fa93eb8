//! A provider's answer: split into events, and read by the meter on its way.

use bytes::Bytes;
use fleetgate_gateway::dialect::SseSplitter;
use fleetgate_gateway::meter::Meter;
use fleetgate_wire::endpoint::Endpoint;
use http::{HeaderMap, HeaderValue, StatusCode, header};

const ENDPOINTS: [Endpoint; 4] = [Endpoint::Chat, Endpoint::Completions, Endpoint::Responses, Endpoint::Messages];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::texts(&[
        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n\
         data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":50,\"prompt_tokens_details\":\
         {\"cached_tokens\":200}}}\n\ndata: [DONE]\n\n",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":\
         {\"input_tokens\":3,\"cache_creation\":{\"ephemeral_1h_input_tokens\":1}}}}\r\n\r\nevent: message_delta\n\
         data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"usage\":{\"input_tokens\":1,\
         \"output_tokens\":2,\"output_tokens_details\":{\"reasoning_tokens\":1}}}}\n\n: comment\n\n",
        "{\"id\":\"x\",\"model\":\"m\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":0.5}}",
        "{\"type\":\"error\",\"error\":{\"message\":\"overloaded\"}}",
    ])
}

pub(crate) fn complaints() -> Vec<Vec<u8>> {
    crate::texts(&[
        "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens.\",\"code\":\"context_length_exceeded\"}}",
        "{\"choices\":[{\"finish_reason\":\"content_filter\"}],\"incomplete_details\":{\"reason\":\"content_filter\"}}",
    ])
}

/// An answer that is no JSON complains of nothing once it was a success.
pub(crate) fn complaint(bytes: &[u8]) {
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN] {
        let found = fleetgate_gateway::dialect::complaint(status, bytes);
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        assert!(found.is_none() || !status.is_success() || is_object, "{status}");
    }
}

/// Nothing is lost or added, and pieces make no difference.
pub(crate) fn split(bytes: &[u8]) {
    let whole = events([Bytes::copy_from_slice(bytes)]);
    let pieces = events(pieces(bytes));
    assert_eq!(whole.concat(), bytes, "the events are the stream");
    assert_eq!(whole, pieces, "pieces make no difference");
}

fn events(stream: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let (mut splitter, mut events) = (SseSplitter::default(), Vec::new());
    for piece in stream {
        splitter.push(&piece, |event| events.push(event));
    }
    events.push(splitter.finish());
    events
}

/// Every byte passes in its order, whatever the meter makes of it, unless it was asked to take something out.
pub(crate) fn meter(bytes: &[u8]) {
    let endpoint = ENDPOINTS[bytes.first().map_or(0, |byte| usize::from(*byte) % ENDPOINTS.len())];
    for (is_stream, status) in [(true, StatusCode::OK), (false, StatusCode::OK), (false, StatusCode::BAD_REQUEST)] {
        let mut headers = HeaderMap::new();
        if is_stream {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        let passed = through(Meter::new(endpoint, status, &headers, is_stream, false), bytes);
        assert_eq!(passed, bytes, "{endpoint:?}: what the client gets is what the provider sent");
        through(Meter::new(endpoint, status, &headers, is_stream, true), bytes);
    }
}

fn through(mut meter: Meter, bytes: &[u8]) -> Vec<u8> {
    let mut passed: Vec<u8> = pieces(bytes).flat_map(|piece| meter.see(piece).forward).collect();
    passed.extend(meter.rest());
    meter.read();
    passed
}

/// The stream in pieces whose lengths its own bytes say.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = Bytes> {
    let mut rest = Bytes::copy_from_slice(bytes);
    std::iter::from_fn(move || {
        let wanted = 1 + usize::from(*rest.first()? % 23);
        Some(rest.split_to(wanted.min(rest.len())))
    })
}
