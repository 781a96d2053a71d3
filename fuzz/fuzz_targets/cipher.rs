//! Ciphers, bundles and base64 of the relay: what is not sealed is not opened.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hallway_tests::fuzzing::check_cipher(bytes));
