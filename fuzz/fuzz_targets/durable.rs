//! Durable messages, against a server over a faulty network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_durable(bytes));
