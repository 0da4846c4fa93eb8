//! Which trace a call belongs to (W3C Trace Context, level 1).

use http::HeaderMap;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that must be passed on.
const LONGEST_STATE: usize = 512;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace_id: [u8; 16],
    /// The caller's span, if the caller has one.
    pub(super) parent: Option<[u8; 8]>,
    pub(super) state: Option<String>,
    is_sampled: bool,
}

impl TraceContext {
    /// Continues the caller's trace, or begins one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let Some((trace_id, parent, is_sampled)) = text(TRACEPARENT).and_then(parse) else {
            return Self { trace_id: random(), parent: None, state: None, is_sampled: true };
        };
        let state = text(TRACESTATE).filter(|state| state.len() <= LONGEST_STATE).map(str::to_owned);
        Self { trace_id, parent: Some(parent), state, is_sampled }
    }

    /// Whether anybody wants to see the span: a caller may say that nobody does.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_sampled
    }
}

/// Random, and never all zeros, which would be invalid.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fastrand::fill(&mut bytes);
    bytes[N - 1] |= 1;
    bytes
}

/// `version-trace-parent-flags` in lower-case hexadecimal. Later versions may have more behind it.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.trim().split('-');
    let [version] = bytes(parts.next()?)?;
    let trace_id = bytes(parts.next()?)?;
    let parent = bytes(parts.next()?)?;
    let [flags] = bytes(parts.next()?)?;
    let is_valid = version != 0xff && (version != 0 || parts.next().is_none());
    (is_valid && trace_id != [0; 16] && parent != [0; 8]).then_some((trace_id, parent, flags & 1 == 1))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(traceparent: &str) -> TraceContext {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(traceparent) {
            headers.insert(TRACEPARENT, value);
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        TraceContext::of(&headers)
    }

    #[test]
    fn a_callers_trace_is_continued() {
        let context = of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(context.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(context.parent, Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        assert_eq!((context.state.as_deref(), context.is_sampled), (Some("vendor=1"), true));
        assert!(!of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").is_sampled, "the caller wants none");
        assert!(of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").parent.is_some());
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            let context = of(bad);
            assert_eq!((context.parent, context.state.clone(), context.is_sampled), (None, None, true), "{bad}");
            assert_ne!(context.trace_id, of(bad).trace_id, "each has its own");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(trace: [u8; 16], parent: [u8; 8], flags: u8) {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let text = format!("00-{}-{}-{flags:02x}", hex(&trace), hex(&parent));
            let is_valid = trace != [0; 16] && parent != [0; 8];
            prop_assert_eq!(parse(&text), is_valid.then_some((trace, parent, flags & 1 == 1)));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }
    }
}
