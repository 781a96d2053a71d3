//! Versioned values, against a server and another writer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_versioned(bytes));
