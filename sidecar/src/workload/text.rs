//! Text of strangers, made fit for a header: a program's name is whatever its file is called.

/// As long as a workload's name may be.
pub(super) const MAX_LENGTH: usize = 128;

/// Printable ASCII without blanks, at most `limit` long. Each run of other bytes becomes `_`; of what is too long the end is kept,
/// which is where paths differ.
pub(super) fn shorten(text: impl AsRef<[u8]>, limit: usize) -> String {
    let mut clean = String::new();
    let mut replaced = false;
    for byte in text.as_ref() {
        if byte.is_ascii_graphic() {
            clean.push(char::from(*byte));
        } else if !replaced {
            clean.push('_');
        }
        replaced = !byte.is_ascii_graphic();
    }
    if clean.len() <= limit {
        return clean;
    }
    const CUT: &str = "...";
    // ASCII only, so every place is a boundary.
    format!("{CUT}{}", &clean[clean.len() + CUT.len() - limit..])
}

/// As [`shorten`], with a beginning that stays.
pub(super) fn shorten_behind(prefix: &str, text: impl AsRef<[u8]>, limit: usize) -> String {
    let prefix = shorten(prefix, limit / 2);
    let rest = shorten(text, limit - prefix.len());
    prefix + &rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_a_long_path_is_kept() {
        assert_eq!(shorten("/srv/agent/app.py", 128), "/srv/agent/app.py");
        assert_eq!(shorten("/srv/agent/app.py", 10), "...\u{2f}app.py");
        assert_eq!(shorten_behind("python:", "/srv/agent/app.py", 16), "python:...app.py");
        assert_eq!(shorten(b"a\r\nb \xff\xc3\xa4c", 128), "a_b_c");
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out_fit_for_a_header(bytes in proptest::collection::vec(any::<u8>(), 0..12_000)) {
            let text = shorten_behind("python:", &bytes, MAX_LENGTH);
            prop_assert!(text.len() <= MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
            prop_assert!(fleetgate_wire::workload::Workload::parse(&text).is_ok());
        }
    }
}
