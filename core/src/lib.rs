//! The protocol machines of hallway, without IO.
//!
//! Every type here is a plain state machine or codec: facts go in through `handle_*` methods
//! together with the current [`Instant`], actions and events come out, and `poll_timeout` says
//! when to come back. Nothing in this crate reads a clock, draws entropy, opens a socket or
//! calls out; the caller brings all of that.
//!
//! What holds for the whole crate:
//!
//! * `no_std` with `alloc`, no `unsafe`, no panicking operation in non-test code.
//! * Every buffer and every wait is bounded by [`Limits`]; [`Limits::worst_case_bytes`] is
//!   their product.
//! * Facts may come in any order and outputs may be polled at any time; a timeout handled
//!   early, late or twice does nothing that it should not.
//! * The outcome depends on the bytes that a peer sent and never on how they were cut into
//!   reads.
//! * A fatal state is sticky: a closed machine stays closed.
//!
//! The rules come from the wire contract of the local dialect ("local.md"); the documentation
//! of an item names the section that it implements.
//!
//! # Features
//!
//! * `std`: [`mailbox`], the one structure that tasks share.
//! * `relay`: the end-to-end encrypted relay, with the cryptographic crates that it needs.

#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        clippy::wildcard_enum_match_arm,
        reason = "an overflow or a panic is how a test fails"
    )
)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod admission;
pub mod backoff;
mod digits;
pub mod framer;
mod json;
pub mod limits;
pub mod local;
#[cfg(feature = "std")]
pub mod mailbox;
pub mod outbox;
#[cfg(feature = "relay")]
pub mod relay;
mod scan;
pub mod session;
pub mod time;
pub mod token;
mod wipe;

pub use admission::{Admission, Admitted, ClientId, Refused};
pub use framer::{FrameTooLong, Framer};
pub use limits::{Limits, LimitsBuilder, LimitsError};
#[cfg(feature = "std")]
pub use mailbox::{Gate, Mailbox};
pub use outbox::{Outbox, OutboxFull};
pub use time::{Instant, UnixTime};
pub use token::{Token, TokenError};
