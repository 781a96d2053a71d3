//! Frames, against the tree of serde_json on what both accept.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_tree(bytes));
