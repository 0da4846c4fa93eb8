//! As much of HTTP/1 as fixed requests and answers need, and no more: reading must not cost what is measured.

/// Where a text begins.
pub(crate) fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The length of head and body of the first request, once its head is whole. Requests announce their length.
pub(crate) fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    match content_length(&bytes[..head]) {
        Some(length) => Some(head + length),
        None if chunked(&bytes[..head]) => find(&bytes[head..], b"0\r\n\r\n").map(|end| head + end + 5),
        None => Some(head),
    }
}

/// Whether an answer is complete.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let Some(head) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else { return false };
    match content_length(&bytes[..head]) {
        Some(length) => bytes.len() >= head + length,
        None => bytes.ends_with(b"\r\n0\r\n\r\n"),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let line = lines(head).find(|line| starts_with(line, b"content-length:"))?;
    std::str::from_utf8(&line["content-length:".len()..]).ok()?.trim().parse().ok()
}

fn chunked(head: &[u8]) -> bool {
    lines(head).any(|line| starts_with(line, b"transfer-encoding:"))
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
}

fn starts_with(line: &[u8], name: &[u8]) -> bool {
    line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}
