//! A client's bytes in reads of one length; with the counter, what each byte costs.
#![no_main]

#[cfg(feature = "counter")]
#[path = "../counter/mod.rs"]
mod counter;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    #[cfg(not(feature = "counter"))]
    hallway_tests::cost::check(bytes);
    #[cfg(feature = "counter")]
    counter::judge(bytes);
});
