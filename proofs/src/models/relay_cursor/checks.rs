//! What holds in every state.

use std::hash::{Hash as _, Hasher};

use hallway_core::relay::cursor::Cursor;
use stateright::Property;

use super::{
    COMPLETE, CursorModel, DEADLINE, EARLY, FOOTPRINT, LATE, MEMORY, MOST_OWN, ONCE, OWN, REST,
    SEEN, State,
};
use crate::models::{at, verdicts::judged};

/// The invariants and examples.
pub(super) fn properties(model: &CursorModel) -> Vec<Property<CursorModel>> {
    let mut properties = judged!(s => s.witness.verdicts; ONCE COMPLETE OWN LATE EARLY);
    properties.extend([
        Property::always(SEEN, |_, s: &State| s.witness.has_seen(s.last())),
        Property::always(REST, |_, s: &State| {
            !s.cursor.is_settled() || s.last() >= s.witness.heard
        }),
        Property::always(DEADLINE, |m: &CursorModel, s: &State| {
            let wants = || s.cursor.clone().next_fetch(at(s.now)).is_some();
            s.cursor.is_settled() || m.deadline(s).is_some() || wants()
        }),
        Property::always(MEMORY, |m: &CursorModel, s: &State| {
            let (number, state) = FOOTPRINT;
            footprint(&s.cursor) <= m.least + state + MOST_OWN * number
        }),
        Property::sometimes("an own message waits beyond a gap", |_, s: &State| {
            s.witness.told.iter().any(|seq| seq > s.last() + 1)
        }),
    ]);
    if model.purse.failures > 0 {
        properties.push(Property::sometimes(
            "a page outlives its fetch",
            |_, s: &State| s.page.is_some() && !s.awaits(),
        ));
    }
    if model.purse.burnt > 0 {
        properties.push(Property::sometimes(
            "a gap that is empty is closed",
            |_, s: &State| {
                s.history.burnt.iter().any(|seq| seq < s.last()) && s.cursor.is_settled()
            },
        ));
    }
    if model.purse.stale > 0 {
        properties.push(Property::sometimes(
            "what the server keeps back is told",
            |_, s: &State| s.witness.withheld.iter().next().is_some(),
        ));
    }
    properties
}

/// Counts what a state gives to be hashed.
#[derive(Default)]
struct Footprint(usize);

impl Hasher for Footprint {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// How many bytes a cursor gives to be hashed.
pub(super) fn footprint(cursor: &Cursor) -> usize {
    let mut hasher = Footprint::default();
    cursor.hash(&mut hasher);
    hasher.0
}
