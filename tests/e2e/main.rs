//! End-to-end tests: real `hallway` processes over real sockets, in temporary homes.
//!
//! Each row of the table of local.md §3 and each point of its §5 has a test of its name.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod smoke;

use hallway_tests::Home;

fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_hallway"))
}
