//! The relay's session client against a server over a faulty network, or against one that lies.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |operations: hallway_tests::fuzzing::SessionOperations| operations.check()
);
