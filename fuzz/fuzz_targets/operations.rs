//! The server's connection under structured operations in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|operations: hallway_tests::fuzzing::Operations| operations.check());
