#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetgate_fuzz_targets::run("tunnel", bytes));
