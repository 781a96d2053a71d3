//! What the cursor let the application see, against what the server holds (relay.md §9.2).

use super::{COMPLETE, ONCE};
use crate::models::verdicts::Verdicts;

/// A set of the numbers of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers(u16);

impl Numbers {
    /// Those from 1 to `last`.
    pub(super) fn up_to(last: u8) -> Self {
        (1..=last).fold(Self::default(), |mut all, seq| {
            all.insert(seq);
            all
        })
    }

    pub(super) fn insert(&mut self, seq: u8) {
        self.0 |= 1 << seq;
    }

    /// Whether it was among them.
    pub(super) fn remove(&mut self, seq: u8) -> bool {
        let had = self.has(seq);
        self.0 &= !(1 << seq);
        had
    }

    pub(super) fn has(self, seq: u8) -> bool {
        self.0 >> seq & 1 == 1
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (1..16).filter(move |seq| self.has(*seq))
    }
}

/// The numbers that the server has given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// The last one.
    pub(super) top: u8,
    /// Those that were used up by repetitions.
    pub(super) burnt: Numbers,
    /// Those of messages that this process has sent.
    pub(super) ours: Numbers,
}

impl History {
    /// The numbers of messages after `after`.
    pub(super) fn messages(self, after: u8) -> impl Iterator<Item = u8> {
        (after + 1..=self.top).filter(move |seq| !self.burnt.has(*seq))
    }

    pub(super) fn is_of_others(self, seq: u8) -> bool {
        (1..=self.top).contains(&seq) && !self.burnt.has(seq) && !self.ours.has(seq)
    }
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    /// The last number that was delivered.
    pub(super) delivered: u8,
    /// Numbers that were delivered, told as ours, or of which the server has said that they are
    /// not there.
    pub(super) seen: Numbers,
    /// Numbers that the server keeps back, as the application was told.
    pub(super) withheld: Numbers,
    /// The highest number that the cursor has heard of.
    pub(super) heard: u8,
    /// Ours of which the cursor was told.
    pub(super) told: Numbers,
    /// What the machine did that it must not do.
    pub(super) verdicts: Verdicts,
}

impl Witness {
    /// Everything up to `last` was dealt with by an earlier process.
    pub(super) fn after(last: u8) -> Self {
        Self {
            delivered: last,
            seen: Numbers::up_to(last),
            ..Self::default()
        }
    }

    /// The application has the message.
    pub(super) fn deliver(&mut self, seq: u8, history: History) {
        let due = history.is_of_others(seq);
        self.verdicts.expect(due && seq > self.delivered, ONCE);
        let between = self.delivered + 1..seq;
        let passed = between
            .filter(|seq| history.is_of_others(*seq))
            .any(|seq| !self.withheld.has(seq));
        self.verdicts.expect(!passed, COMPLETE);
        self.delivered = seq;
        self.seen.insert(seq);
    }

    /// The application has not got the message, and never will from here.
    pub(super) fn skip(&mut self, seq: u8, history: History) {
        if history.is_of_others(seq) {
            self.verdicts
                .expect(seq <= self.delivered || self.withheld.has(seq), COMPLETE);
        } else {
            self.seen.insert(seq);
        }
    }

    /// The cursor was told that a message of ours has this number.
    pub(super) fn tell(&mut self, seq: u8) {
        self.seen.insert(seq);
        self.told.insert(seq);
    }

    /// The server has said that between these numbers there is nothing.
    pub(super) fn empty(&mut self, after: u8, before: u8) {
        for seq in after + 1..before {
            self.seen.insert(seq);
        }
    }

    /// Whether every number up to `last` was seen.
    pub(super) fn has_seen(&self, last: u8) -> bool {
        (1..=last).all(|seq| self.seen.has(seq) || self.withheld.has(seq))
    }
}
