//! What became of the messages, against what the server holds (relay.md §9.1).

use hallway_core::relay::outbox::Outcome;

use super::{FORGOTTEN, OUTCOMES};
use crate::models::verdicts::Verdicts;

/// What the caller was told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// It is stored.
    Stored,
    /// It is too large.
    TooLarge,
}

/// A message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Accepted {
    pub(super) id: u8,
    pub(super) bytes: usize,
    pub(super) told: Told,
}

/// A message that the server holds, under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// The local id that the server has seen.
    pub(super) local: u8,
    /// The message.
    pub(super) id: u8,
    pub(super) seq: u8,
}

/// The server's store, which takes each local id once and uses a number up for a repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) rows: Vec<Row>,
    top: u8,
}

impl Store {
    /// Stores the message unless it is there; its number.
    pub(super) fn take(&mut self, local: u8, id: u8) -> u8 {
        self.top += 1;
        if let Some(row) = self.rows.iter().find(|row| row.local == local) {
            return row.seq;
        }
        let seq = self.top;
        self.rows.push(Row { local, id, seq });
        seq
    }

    fn number(&self, id: u8) -> Option<u8> {
        let row = self.rows.iter().find(|row| row.id == id);
        row.map(|row| row.seq)
    }

    pub(super) fn is_in_order(&self) -> bool {
        let pairs = self.rows.iter().zip(self.rows.iter().skip(1));
        pairs
            .into_iter()
            .all(|(one, next)| one.id <= next.id && one.seq < next.seq)
    }

    pub(super) fn is_once_each(&self) -> bool {
        let mut ids: Vec<u8> = self.rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len() == self.rows.len()
    }
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    pub(super) accepted: Vec<Accepted>,
    /// Before this time nothing is to be posted.
    pub(super) not_before: u16,
    /// How many posts were begun.
    pub(super) posts: u8,
    /// What the machine did that it must not do.
    pub(super) verdicts: Verdicts,
}

impl Witness {
    /// Those without an outcome.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Accepted> {
        let accepted = self.accepted.iter();
        accepted.filter(|message| message.told == Told::Nothing)
    }

    /// The caller hears what became of a message; `most` bytes is the most that the server takes.
    pub(super) fn hear(&mut self, outcome: &Outcome, store: &Store, most: usize) {
        let (local_id, told) = match outcome {
            Outcome::Stored { local_id, seq } => (local_id, Some(*seq)),
            Outcome::TooLarge { local_id } => (local_id, None),
            _ => return self.verdicts.expect(false, OUTCOMES),
        };
        let id = local_id.parse::<u8>().unwrap_or_default();
        let number = store.number(id).map(u64::from);
        let message = self.accepted.iter_mut().find(|message| message.id == id);
        let Some(message) = message else {
            return self.verdicts.expect(false, OUTCOMES);
        };
        let first = message.told == Told::Nothing;
        let is_true = match told {
            Some(seq) => number == Some(seq),
            None => number.is_none() && message.bytes > most,
        };
        message.told = if told.is_some() {
            Told::Stored
        } else {
            Told::TooLarge
        };
        self.verdicts.expect(first && is_true, OUTCOMES);
    }

    /// The machine still holds a message if, and only if, it has no outcome.
    pub(super) fn compare(&mut self, holds: impl Fn(u8) -> bool, len: usize) {
        let held = self.waiting().filter(|message| holds(message.id)).count();
        let all = self.waiting().count();
        self.verdicts.expect(held == all && len == all, FORGOTTEN);
    }
}
