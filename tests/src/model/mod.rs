//! The local protocol, described a second time: short, plain, written from local.md and
//! independent of the core's code. It reads JSON by a route of its own ([`json`]), splits whole
//! inputs ([`frames`]), and decides whole conversations ([`conversation`]). It keeps no buffer,
//! bounds no memory and knows no reads.
//!
//! [`check`] holds the core's machines against it. Each check takes arbitrary bytes, of which
//! the first steer bounds, cuts and operations, and panics when a property is violated: one
//! line each for proptest and for a fuzz target.

pub mod check;
pub mod client;
pub mod conversation;
pub mod frames;
pub mod generate;
pub mod json;
pub mod source;
pub mod subscription;

pub use check::{
    check_capability, check_connection, check_conversation, check_exchange, check_framer,
    check_input, check_message, check_record, check_time,
};
