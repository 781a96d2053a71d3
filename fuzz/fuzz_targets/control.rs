//! Frames of the subscription dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::model::check::check_control(bytes));
