//! Calls of the relay: requests, parameters, paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_rpc(bytes));
