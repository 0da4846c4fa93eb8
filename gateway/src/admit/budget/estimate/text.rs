//! The length of text in JSON.

use memchr::memchr;

/// The bytes that a piece of JSON text has once its escapes are undone; everything else, syntax too, counts as it stands. Never less
/// than the bytes of the strings in it.
pub(super) fn decoded_len(json: &str) -> usize {
    let (mut rest, mut length) = (json.as_bytes(), 0);
    while let Some(at) = memchr(b'\\', rest) {
        length += at;
        let (taken, bytes) = match rest.get(at + 1) {
            Some(b'u') => (6, escaped(rest.get(at + 2..at + 6))),
            Some(_) => (2, 1),
            None => (1, 1),
        };
        length += bytes;
        rest = rest.get(at + taken..).unwrap_or_default();
    }
    length + rest.len()
}

/// The UTF-8 bytes of `\uXXXX`. Half of a pair counts two: both make four.
fn escaped(digits: Option<&[u8]>) -> usize {
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(0..0x80) => 1,
        Some(0x80..0x800 | 0xd800..0xe000) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_count_as_what_they_stand_for() {
        assert_eq!(decoded_len(r#""a\nb""#), 5);
        assert_eq!(decoded_len("\"\\u00e9\\u4e2d\\ud83d\\ude00\""), 2 + 2 + 3 + 4);
        assert_eq!(decoded_len("\"\\"), 2);
        assert_eq!(decoded_len("\"\\u12"), 4);
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_its_json(text in "\\PC{0,20}[\\n\"\\\\\u{1}é中😀]{0,8}", ascii: bool) {
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                let units = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
                json = json.chars().map(|c| if c.is_ascii() { c.to_string() } else { units(c) }).collect();
            }
            prop_assert_eq!(decoded_len(&json), text.len() + 2);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
