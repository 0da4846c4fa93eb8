//! Some thousands of mutations of each target's seeds, the same in every run.

use fastrand::Rng;
use fleetgate_fuzz_targets::{TARGETS, Target};

const LONGEST: usize = 4096;
/// What parsers tend to stumble over.
const WORDS: [&[u8]; 16] = [
    b"\n\n",
    b"\r\n",
    b"data: ",
    b"[DONE]",
    b"\"",
    b"{",
    b"}",
    b"[[[[",
    b":",
    b"\0",
    b"\xff\xfe",
    b"\xf0\x9f\xa6\x8a",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\\u0000",
];

#[test]
fn nothing_that_strangers_send_breaks_what_must_hold() {
    let targets = TARGETS.map(|target| std::thread::spawn(move || try_all(target)));
    for (thread, target) in targets.into_iter().zip(TARGETS) {
        assert!(thread.join().is_ok(), "{}: see above", target.name);
    }
}

fn try_all(target: Target) {
    let mut rng = Rng::with_seed(0x666c_6565_7467_6174);
    let seeds = (target.seeds)();
    for seed in &seeds {
        (target.read)(seed);
    }
    for _ in 0..target.rounds {
        let mut bytes = seeds[rng.usize(..seeds.len())].clone();
        for _ in 0..rng.usize(1..5) {
            mutate(&mut bytes, &seeds, &mut rng);
        }
        let shown = bytes.escape_ascii().to_string();
        let read = std::panic::catch_unwind(|| (target.read)(&bytes));
        assert!(read.is_ok(), "{}: {shown}", target.name);
    }
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..6) {
        0 if at < bytes.len() => bytes[at] = rng.u8(..),
        1 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..(at + rng.usize(..8)).min(bytes.len()))),
        4 => {
            let other = &seeds[rng.usize(..seeds.len())];
            let from = rng.usize(..=other.len());
            bytes.splice(at..at, other[from..].iter().copied());
        }
        _ => drop(bytes.splice(at..at, WORDS[rng.usize(..WORDS.len())].iter().copied())),
    }
    bytes.truncate(LONGEST);
}
