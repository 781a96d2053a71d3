//! Deliberate faults, and what a run came into.

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
        (Self::StoresTwice, "stored in order and once"),
        (Self::StoresInReverse, "stored in order and once"),
        (Self::PageLeavesOut, "delivered in order and once"),
        (Self::ForgetsPost, "stored in order and once"),
        (Self::ForgetsWrite, "an applied update is there"),
        (Self::KeepsTooMuch, "delivered in order and once"),
        (Self::TakesTwice, "delivered in order and once"),
    ];
}

/// How often a run came into each situation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// Messages that were sent and stored.
    pub stored: u64,
    /// Messages of the user that were delivered.
    pub delivered: u64,
    /// Connections.
    pub connections: u64,
    /// Connections that broke without a word.
    pub half_open: u64,
    /// Posts that were repeated.
    pub repeated: u64,
    /// Updates that were applied.
    pub applied: u64,
    /// Updates that ended in another way.
    pub not_applied: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Runs with a server of old.
    pub old: u64,
    /// Restarts of the process.
    pub restarts: u64,
}

impl Reached {
    /// Counts what another run came into.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.delivered += other.delivered;
        self.connections += other.connections;
        self.half_open += other.half_open;
        self.repeated += other.repeated;
        self.applied += other.applied;
        self.not_applied += other.not_applied;
        self.answered += other.answered;
        self.old += other.old;
        self.restarts += other.restarts;
    }
}
