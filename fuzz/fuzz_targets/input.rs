//! The lines of JSON that the command line sends, against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::model::check_input(bytes));
