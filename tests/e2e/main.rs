//! End-to-end tests: real `hallway` processes over real sockets, in temporary homes.
//!
//! Each row of the table of local.md §3 and each point of its §5 has a test of its name.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is how a test fails"
)]

mod accepted;
mod cli;
mod client;
mod consumers;
mod doctor;
mod files;
mod hostile_peers;
mod library;
mod memory;
mod owner;
mod pipelined;
mod registry;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "relay")]
mod relay_attacks;
#[cfg(feature = "relay")]
mod relay_faults;
#[cfg(feature = "relay")]
mod relay_handlers;
#[cfg(feature = "relay")]
mod relay_http;
#[cfg(feature = "relay")]
mod relay_machine;
mod run;
mod section5_daemon;
mod section5_files;
mod section5_trust;
mod service_manager;
#[cfg(feature = "session")]
mod session_cli;
#[cfg(feature = "session")]
mod session_ends;
#[cfg(feature = "session")]
mod session_link;
#[cfg(feature = "session")]
mod session_proxy;
#[cfg(feature = "session")]
mod session_requests;
#[cfg(feature = "session")]
mod session_support;
#[cfg(feature = "session")]
mod session_terminal;
#[cfg(feature = "session")]
mod session_tls;
mod smoke;
mod stopping;
mod table;

use hallway_tests::Home;

fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_hallway"))
}

/// Says, where it cannot be overlooked, that a test has not checked its point.
fn not_checked(what: &str) {
    let line = format!("\n*** NOT CHECKED: {what}: the tests do not run as root ***\n\n");
    // Past the harness, which shows nothing of a test that passes.
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}
