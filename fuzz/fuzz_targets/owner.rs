//! The owner channel's questions and answers, against their table.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_owner(bytes));
