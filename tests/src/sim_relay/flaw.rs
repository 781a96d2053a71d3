//! Deliberate faults, and what a run came into.

use crate::sim::reached;

/// A deliberate fault, for the tests that show that the judgement can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A message of ours is stored a second time when its post is repeated.
    StoresTwice,
    /// A batch is stored in reverse.
    StoresInReverse,
    /// A page leaves out a message.
    PageLeavesOut,
    /// A post is acknowledged and not stored.
    ForgetsPost,
    /// A write of the metadata is acknowledged and not done.
    ForgetsWrite,
    /// The application keeps a cursor beyond what it has dealt with.
    KeepsTooMuch,
    /// The application deals with a message twice.
    TakesTwice,
}

impl Flaw {
    /// All of them, each with the words of the judgement on it.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::StoresTwice, "Replayed"),
        (Self::StoresInReverse, "stored in order and once"),
        (Self::PageLeavesOut, "delivered in order and once"),
        (Self::ForgetsPost, "stored in order and once"),
        (Self::ForgetsWrite, "an applied update is there"),
        (Self::KeepsTooMuch, "delivered in order and once"),
        (Self::TakesTwice, "delivered in order and once"),
    ];
}

reached! {
    /// Messages that were sent and stored.
    stored,
    /// Messages of the user that were delivered.
    delivered,
    /// Connections.
    connections,
    /// Connections that broke without a word.
    half_open,
    /// Posts that were repeated.
    repeated,
    /// Updates that were applied.
    applied,
    /// Updates that ended in another way.
    not_applied,
    /// Calls that were answered.
    answered,
    /// Runs with a server of old.
    old,
    /// Restarts of the process.
    restarts,
}
