//! Plaintexts of the relay's sessions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_plaintext(bytes));
