//! Must fail: shows that a violated property is found and reported.
#![no_main]

libfuzzer_sys::fuzz_target!(|operations: hallway_tests::fuzzing::Operations| operations.canary());
