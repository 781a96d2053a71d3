//! The text of a time, against a calendar that counts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_time(bytes));
