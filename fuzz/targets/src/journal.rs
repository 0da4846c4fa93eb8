//! A file of the journal, as it may lie there after a crash.

use fleetgate_gateway::ledger::scan_journal;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frame = |payload: &[u8]| {
        let mut frame = u32::try_from(payload.len()).unwrap_or_default().to_le_bytes().to_vec();
        frame.extend(crc(payload).to_le_bytes());
        frame.extend(payload);
        frame
    };
    vec![
        frame(&[1, 1, 7, 4, b'c', b'a', b'l', b'l', 1, b'h']),
        frame(&[1, 0]),
        frame(&[2, 0, 0]),
        [frame(&[1, 1, 0]), vec![0; 32]].concat(),
        vec![0xff; 16],
    ]
}

/// What is there is read up to the first thing that is no record; nothing is read twice, or beyond the end.
pub(crate) fn scan(bytes: &[u8]) {
    // Mutated bytes hardly ever have their checksum: it is mended, so that what is behind it is reached.
    for bytes in [bytes.to_vec(), mended(bytes)] {
        if let Ok((records, end)) = scan_journal(&bytes) {
            assert!(end <= bytes.len() && records <= end, "{records} records in {end} bytes");
            assert_eq!(
                scan_journal(&bytes[..end]).ok(),
                Some((records, end)),
                "the records are what they are without the rest"
            );
        }
    }
}

fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(size) = bytes.len().checked_sub(8) {
        let checksum = crc(&bytes[8..]);
        bytes[..4].copy_from_slice(&u32::try_from(size).unwrap_or_default().to_le_bytes());
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
