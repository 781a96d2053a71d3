//! Whole conversations, differential: the core against the reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::model::check_conversation(bytes));
