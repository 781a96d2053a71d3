//! The relay's link under facts in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |operations: hallway_tests::fuzzing::LinkOperations| operations.check()
);
