//! What the fuzz targets run and the replay of their corpora runs again: one check a target,
//! each of which takes arbitrary bytes and panics when a property is violated.
//!
//! Most checks are the model's own; those here need what it does without: serde_json's tree,
//! `arbitrary`, the owner channel.

mod operations;
mod owner;
mod relay;
mod tree;

pub use operations::Operations;
pub use owner::check_owner;
pub use relay::{
    LinkOperations, SessionOperations, check_cipher, check_credentials, check_cursor,
    check_durable, check_engineio, check_plaintext, check_rpc, check_socketio, check_update,
    check_versioned,
};
pub use tree::check_tree;

use crate::model;

/// A target's check.
pub type Check = fn(&[u8]);

/// Every fuzz target but the canary, in alphabetical order, and its check.
pub const TARGETS: &[(&str, Check)] = &[
    ("admission", model::check::check_admission),
    ("capability", model::check_capability),
    ("cipher", check_cipher),
    ("connection", model::check_connection),
    ("control", model::check::check_control),
    ("conversation", model::check_conversation),
    ("cost", crate::cost::check),
    ("credentials", check_credentials),
    ("cursor", check_cursor),
    ("durable", check_durable),
    ("engineio", check_engineio),
    ("exchange", model::check_exchange),
    ("framer", model::check_framer),
    ("inbox", model::check::check_inbox),
    ("input", model::check_input),
    ("link", |bytes| {
        if let Some(operations) = LinkOperations::read(bytes) {
            operations.check();
        }
    }),
    ("mailbox", model::check::check_mailbox),
    ("message", model::check_message),
    ("operations", |bytes| {
        if let Some(operations) = Operations::read(bytes) {
            operations.check();
        }
    }),
    ("outbox", model::check::check_outbox),
    ("owner", check_owner),
    ("plaintext", check_plaintext),
    ("record", model::check_record),
    ("rpc", check_rpc),
    ("session", |bytes| {
        if let Some(operations) = SessionOperations::read(bytes) {
            operations.check();
        }
    }),
    ("socketio", check_socketio),
    ("subscription", model::check::check_subscription),
    ("time", check_time),
    ("tree", check_tree),
    ("update", check_update),
    ("versioned", check_versioned),
];

/// Checks the time that up to eight bytes spell in milliseconds, the least significant first.
///
/// # Panics
///
/// When its text is wrong.
pub fn check_time(bytes: &[u8]) {
    let mut millis = [0; 8];
    for (to, from) in millis.iter_mut().zip(bytes) {
        *to = *from;
    }
    model::check_time(u64::from_le_bytes(millis));
}
