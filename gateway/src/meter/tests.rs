use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::Usage;
use http::HeaderValue;

use super::*;

fn meter(endpoint: Endpoint, content_type: &'static str, strip_usage: bool) -> Meter {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Meter::new(endpoint, StatusCode::OK, &headers, true, strip_usage)
}

/// Feeds the stream in pieces of this size; what the client gets, and the reading.
fn stream(endpoint: Endpoint, strip_usage: bool, text: &str, size: usize) -> (String, Reading) {
    let mut meter = meter(endpoint, "text/event-stream", strip_usage);
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(size) {
        out.extend_from_slice(&meter.see(Bytes::copy_from_slice(piece)).forward);
    }
    out.extend_from_slice(&meter.rest());
    (String::from_utf8(out).unwrap(), meter.read())
}

const CHAT: &str = concat!(
    "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4.1-mini-2025-04-14\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"content\":\"the \\\"usage\\\" of [DONE]\"}}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":20,\"prompt_tokens_details\":{\"cached_tokens\":40},\"completion_tokens_details\":{\"reasoning_tokens\":5}}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_chat_stream_is_read_and_passes_byte_for_byte() {
    for size in [1, 7, 64, 10_000] {
        let (out, reading) = stream(Endpoint::Chat, false, CHAT, size);
        assert_eq!(out, CHAT);
        assert_eq!(
            reading.usage,
            Some(Usage { input: 100, cache_read: 40, output: 20, reasoning: 5, ..Usage::default() })
        );
        assert_eq!(reading.model.as_deref(), Some("gpt-4.1-mini-2025-04-14"));
        assert_eq!(reading.id.as_deref(), Some("chatcmpl-1"));
        assert!(reading.finished);
    }
}

#[test]
fn the_usage_chunk_that_nobody_asked_for_is_taken_out_and_nothing_else() {
    let expected: String = CHAT.split_inclusive("\n\n").filter(|event| !event.contains("\"choices\":[],")).collect();
    for size in [1, 50, 10_000] {
        let (out, reading) = stream(Endpoint::Chat, true, CHAT, size);
        assert_eq!(out, expected);
        assert_eq!(reading.usage.map(|usage| usage.total()), Some(120));
    }
}

#[test]
fn only_the_last_event_marks_the_end() {
    let mut meter = meter(Endpoint::Chat, "text/event-stream", false);
    let ends: Vec<bool> =
        CHAT.split_inclusive("\n\n").map(|event| meter.see(Bytes::from_static(event.as_bytes())).is_last).collect();
    assert_eq!(ends, [false, false, false, true]);
}

#[test]
fn anthropic_counts_are_merged_by_maximum_and_the_prompt_is_added_up() {
    let text = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-sonnet-4-5\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":1000,\"cache_creation_input_tokens\":300,\"cache_creation\":{\"ephemeral_5m_input_tokens\":100,\"ephemeral_1h_input_tokens\":200},\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"message_stop\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":50}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    for size in [1, 33, 10_000] {
        let (out, reading) = stream(Endpoint::Messages, false, text, size);
        assert_eq!(out, text);
        let usage = Usage {
            input: 1310,
            cache_read: 1000,
            cache_write_5m: 100,
            cache_write_1h: 200,
            output: 50,
            ..Usage::default()
        };
        assert_eq!(reading.usage, Some(usage));
        assert!(reading.finished);
    }
}

#[test]
fn the_responses_dialect_counts_in_its_last_event() {
    let text = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5\",\"usage\":null}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":3,\"output_tokens_details\":{\"reasoning_tokens\":2}}}}\n\n",
    );
    let (out, reading) = stream(Endpoint::Responses, false, text, 20);
    assert_eq!(out, text);
    assert_eq!(reading.usage, Some(Usage { input: 9, cache_read: 4, output: 3, reasoning: 2, ..Usage::default() }));
    assert!(reading.finished);
}

#[test]
fn a_json_answer_is_read_whole_and_a_mislabelled_stream_as_a_stream() {
    let mut json = meter(Endpoint::Chat, "application/json", false);
    json.see(Bytes::from_static(b"{\"id\":\"x\",\"usage\":{\"prompt_tokens\":3.0,"));
    json.see(Bytes::from_static(b"\"completion_tokens\":4,\"cost\":0.001}}"));
    let reading = json.read();
    assert_eq!(
        (reading.usage.map(|usage| usage.total()), reading.reported_cost),
        (Some(7), Some(NanoDollars(1_000_000)))
    );

    let mut mislabelled = meter(Endpoint::Chat, "application/json", false);
    assert!(mislabelled.see(Bytes::from_static(b"data: [DONE]\n\n")).is_last);
}

#[test]
fn an_error_is_kept_in_the_providers_words() {
    let headers = HeaderMap::new();
    let mut meter = Meter::new(Endpoint::Chat, StatusCode::TOO_MANY_REQUESTS, &headers, false, false);
    meter.see(Bytes::from_static(b"{\"error\":{\"message\":\"slow down\",\"type\":\"x\"}}"));
    assert_eq!(meter.read().error.as_deref(), Some("slow down"));
}

#[test]
fn what_a_client_takes_for_the_end_waits_until_it_is_the_end() {
    let passed = |endpoint, text: &'static str| {
        let mut meter = meter(endpoint, "text/event-stream", false);
        let piece = meter.see(Bytes::from_static(text.as_bytes()));
        assert!(!piece.is_last);
        assert_eq!([piece.forward.clone(), meter.rest()].concat(), text.as_bytes(), "nothing is lost");
        piece.forward.len()
    };
    for (endpoint, before, begun, waits) in [
        (Endpoint::Chat, "", "data: [DONE]\n", true),
        (Endpoint::Chat, "data: {}\n\n", "data: [DONE]", true),
        (Endpoint::Chat, "data: {}\n\n", "data: {\"choices\":[", false),
        (Endpoint::Messages, "", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n", true),
        (Endpoint::Messages, "", "event: content_block_delta\ndata: {\"type\"", false),
        (Endpoint::Responses, "data: {}\n\n", "event: response.completed\ndata: {\"type\":", true),
        (Endpoint::Responses, "", "event: response.output_text.delta\n", false),
    ] {
        let text: &'static str = format!("{before}{begun}").leak();
        assert_eq!(passed(endpoint, text), if waits { before.len() } else { text.len() }, "{text}");
    }
}

#[test]
fn a_last_event_without_its_empty_line_is_read_all_the_same() {
    let text = CHAT.split("data: [DONE]").next().unwrap().trim_end();
    for strip_usage in [false, true] {
        let (out, reading) = stream(Endpoint::Chat, strip_usage, text, 50);
        assert_eq!(reading.usage.map(|usage| usage.total()), Some(120));
        assert_eq!(out.contains("prompt_tokens"), !strip_usage);
    }
}

#[test]
fn absurd_counts_are_no_counts() {
    let text = "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":18446744073709551615,\"completion_tokens\":-5}}\n\n";
    assert_eq!(stream(Endpoint::Chat, false, text, 1000).1.usage, None);
    let text = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":18446744073709551615,\"cache_read_input_tokens\":18446744073709551615}}}\n\n";
    assert_eq!(stream(Endpoint::Messages, false, text, 1000).1.usage.map(|usage| usage.total()), Some(0));
}
