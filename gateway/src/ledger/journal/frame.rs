//! One record in the journal's bytes: length, checksum, kind, row. Bytes that were never written are zero, so a length of zero is
//! the end; a frame that was torn by the process's death fails its checksum and is the end as well.

use serde::{Deserialize, Serialize};

use crate::ledger::record::{Provenance, Record};

/// The form of the rows in the frames that are written: a row, behind it its [`Provenance`], behind that the address that was
/// dialled, and the proxy through which. Frames of an unknown form are refused, never guessed at.
pub(crate) const FORMAT: u8 = 4;
/// The form before that: rows without such a proxy. An update finds such frames where the older version was killed.
const FORMAT_WITHOUT_NEXT_PROXY: u8 = 3;
/// The second form: rows without an address.
const FORMAT_WITHOUT_ADDRESS: u8 = 2;
/// The first form: rows without provenance.
const FORMAT_WITHOUT_PROVENANCE: u8 = 1;
const HEAD: usize = 8;
/// Where in a frame its row begins: behind length, checksum, form and kind.
pub(super) const PAYLOAD: usize = HEAD + 2;

/// What a frame says of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ledger) enum Kind {
    /// The call is about to go out. The row says how it stands if nothing more is heard of it.
    Opened,
    /// The call ended so.
    Settled,
}

/// A frame that was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Frame<'a> {
    pub(in crate::ledger) kind: Kind,
    pub(super) form: u8,
    payload: &'a [u8],
    /// The whole frame as it stands in the file.
    pub(in crate::ledger) size: usize,
}

/// A frame whose checksum holds but which this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error(
    "a record of the journal has form {form}, this version reads forms 1 to {FORMAT}; start the version that wrote it once, so that it empties the journal"
)]
pub(in crate::ledger) struct Unreadable {
    form: u8,
}

impl<'a> Frame<'a> {
    /// The row.
    pub(in crate::ledger) fn record(&self) -> Result<Record<'a>, Unreadable> {
        read(self.form, self.payload)
    }
}

/// Reads a frame's row from its bytes.
pub(super) fn read(form: u8, payload: &[u8]) -> Result<Record<'_>, Unreadable> {
    let unreadable = |_| Unreadable { form };
    let (record, rest) = postcard::take_from_bytes::<Record<'_>>(payload).map_err(unreadable)?;
    let (provenance, address, next_proxy) = match form {
        FORMAT_WITHOUT_PROVENANCE => (Provenance::default(), None, None),
        FORMAT_WITHOUT_ADDRESS => (postcard::from_bytes(rest).map_err(unreadable)?, None, None),
        FORMAT_WITHOUT_NEXT_PROXY => {
            let (provenance, address) = postcard::from_bytes(rest).map_err(unreadable)?;
            (provenance, address, None)
        }
        _ => postcard::from_bytes(rest).map_err(unreadable)?,
    };
    Ok(Record { provenance, address, next_proxy, ..record })
}

/// Writes a frame into `buffer`, which is emptied first.
pub(in crate::ledger) fn encode(kind: Kind, record: &Record<'_>, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEAD]);
    buffer.extend_from_slice(&[FORMAT, kind as u8]);
    // Writing to memory cannot fail, and every field has a form.
    let written = postcard::to_extend(record, std::mem::take(buffer));
    let behind = (&record.provenance, record.address, record.next_proxy);
    if let Ok(bytes) = written.and_then(|bytes| postcard::to_extend(&behind, bytes)) {
        *buffer = bytes;
    }
    let payload = buffer.len() - HEAD;
    let checksum = crc32fast::hash(&buffer[HEAD..]);
    // A frame is shorter than a segment.
    buffer[..4].copy_from_slice(&u32::try_from(payload).unwrap_or(0).to_le_bytes());
    buffer[4..HEAD].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the frame at the beginning of `bytes`; `None` at the end of what was written.
pub(in crate::ledger) fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, Unreadable> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Ok(None) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (size, checksum) = (number(0) as usize, number(4));
    let Some(body) = rest.get(..size).filter(|body| body.len() >= 2) else { return Ok(None) };
    if crc32fast::hash(body) != checksum {
        return Ok(None);
    }
    let (form, kind) = match (body[0], body[1]) {
        (form @ FORMAT_WITHOUT_PROVENANCE..=FORMAT, 0) => (form, Kind::Opened),
        (form @ FORMAT_WITHOUT_PROVENANCE..=FORMAT, 1) => (form, Kind::Settled),
        (form, _) => return Err(Unreadable { form }),
    };
    Ok(Some(Frame { kind, form, payload: &body[2..], size: HEAD + size }))
}

/// Reads the bytes of a journal's file as a start after a crash does: how many records stand in them, and where these end.
///
/// # Errors
/// When a record has a form that this version does not know.
pub fn scan_journal(bytes: &[u8]) -> Result<(usize, usize), String> {
    let (mut records, mut end) = (0, 0);
    while let Some(frame) = decode(&bytes[end..]).map_err(|error| error.to_string())? {
        frame.record().map_err(|error| error.to_string())?;
        records += 1;
        end += frame.size;
    }
    Ok((records, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::tests::record;

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let mut buffer = Vec::new();
        let mut row = record(7);
        row.tags = vec!["a", "b"];
        row.error = Some("🦊");
        row.provenance.process = Some("/usr/bin/python3");
        row.provenance.marks = vec!["fallback_key"];
        row.address = Some("8.8.8.8:443");
        row.next_proxy = Some("http://proxy.example:3128");
        encode(Kind::Settled, &row, &mut buffer);
        buffer.extend_from_slice(&[0; 100]);
        let frame = decode(&buffer).unwrap().unwrap();
        assert_eq!((frame.kind, frame.record().unwrap()), (Kind::Settled, row));
        assert!(decode(&buffer[frame.size..]).unwrap().is_none(), "zeros are the end");
    }

    /// `record(7)`, settled, as the first form has it.
    const FIRST_FORM: &[u8] =
        b"x\x00\x00\x00\x80\x12\x05s\x01\x01\x07\x04call\x03mac\x03key\x0aclaude-glm\x06vk-mac\x0400ff\x00\x00\
        \x00\x00\x04chat\x05gpt-x\x05gpt-x\x06openai\x01d\x07success\x01\xc8\x01\x00\x00\x01\x01\x00\x00\x00\
        \x00\x01\x0a\x00\x08provider\x09catalogue\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

    #[test]
    fn a_record_of_the_first_form_is_read_and_has_no_provenance() {
        let frame = decode(FIRST_FORM).unwrap().unwrap();
        assert_eq!((frame.kind, frame.record().unwrap()), (Kind::Settled, record(7)));
        // A later form without its provenance is damaged.
        for form in [FORMAT_WITHOUT_ADDRESS, FORMAT_WITHOUT_NEXT_PROXY, FORMAT] {
            assert!(decode(&in_form(form, FIRST_FORM)).unwrap().unwrap().record().is_err());
        }
    }

    /// The same bytes, said to be of another form.
    fn in_form(form: u8, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[HEAD] = form;
        let size = u32::try_from(bytes.len() - HEAD).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&size);
        let checksum = crc32fast::hash(&bytes[HEAD..]).to_le_bytes();
        bytes[4..HEAD].copy_from_slice(&checksum);
        bytes
    }

    #[test]
    fn a_record_of_the_second_form_is_read_and_has_no_address() {
        let mut row = record(7);
        row.provenance.marks = vec!["fallback_key"];
        let mut bytes = FIRST_FORM.to_vec();
        bytes.extend(postcard::to_allocvec(&row.provenance).unwrap());
        let bytes = in_form(FORMAT_WITHOUT_ADDRESS, &bytes);
        assert_eq!(decode(&bytes).unwrap().unwrap().record().unwrap(), row);
    }

    #[test]
    fn a_record_of_the_third_form_is_read_and_has_no_next_proxy() {
        let mut row = record(7);
        row.address = Some("8.8.8.8:443");
        let mut bytes = FIRST_FORM.to_vec();
        bytes.extend(postcard::to_allocvec(&(&row.provenance, row.address)).unwrap());
        let bytes = in_form(FORMAT_WITHOUT_NEXT_PROXY, &bytes);
        assert_eq!(decode(&bytes).unwrap().unwrap().record().unwrap(), row);
    }

    #[test]
    fn another_form_is_refused_and_not_taken_for_the_end() {
        let mut buffer = Vec::new();
        encode(Kind::Opened, &record(7), &mut buffer);
        assert!(decode(&in_form(FORMAT + 1, &buffer)).is_err());
    }

    proptest! {
        #[test]
        fn a_torn_or_changed_frame_is_the_end(cut in 0usize..200, flip in 0usize..200, bit in 0u8..8) {
            let mut buffer = Vec::new();
            encode(Kind::Settled, &record(7), &mut buffer);
            let torn = &buffer[..cut.min(buffer.len() - 1)];
            prop_assert!(decode(torn).unwrap().is_none());
            let at = flip % buffer.len();
            buffer[at] ^= 1 << bit;
            prop_assert!(!matches!(decode(&buffer), Ok(Some(frame)) if frame.record() == Ok(record(7))));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            if let Ok(Some(frame)) = decode(&bytes) {
                let _any = frame.record();
            }
        }
    }

    impl PartialEq for Unreadable {
        fn eq(&self, other: &Self) -> bool {
            self.form == other.form
        }
    }
}
