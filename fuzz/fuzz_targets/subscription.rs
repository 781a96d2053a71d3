//! The subscription machine under facts in any order, against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::model::check::check_subscription(bytes));
