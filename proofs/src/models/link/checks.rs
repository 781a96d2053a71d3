//! What holds in every state of the link, and what must come about.

use hallway_core::local::connection::Connection;
use stateright::Property;

use super::super::LATE;
use super::witness::Told;
use super::{LinkModel, State, Wrong};
use crate::search::{Goal, Promise};

pub(super) fn properties() -> Vec<Property<LinkModel>> {
    fn never(s: &State, wrong: Wrong) -> bool {
        s.witness.wrong != Some(wrong)
    }
    vec![
        Property::always("nothing is kept without the token", |_, s| {
            never(s, Wrong::Forged)
        }),
        Property::always("no message is kept twice", |_, s| {
            never(s, Wrong::KeptTwice)
        }),
        Property::always(
            "an accepted message is kept exactly once, under its id",
            |_, s| never(s, Wrong::Accepted),
        ),
        Property::always("a request gets the answer of its kind", |_, s| {
            never(s, Wrong::Answer)
        }),
        Property::always(
            "outcomes come once, in the order of the requests",
            |_, s| never(s, Wrong::Order),
        ),
        Property::always("what was not written is never kept", |_, s| {
            never(s, Wrong::Unwritten)
        }),
        Property::always("what was refused is never kept", |_, s| {
            never(s, Wrong::Refused)
        }),
        Property::always(
            "a request has its outcome by its deadline",
            |_, s: &State| !waits(s) || s.now <= LATE || s.witness.is_patient(s.now - LATE),
        ),
        Property::always(
            "what waits has a deadline",
            |model: &LinkModel, s: &State| {
                let closed = s.connection.as_ref().is_none_or(Connection::is_closed);
                model.client_deadline(s).is_some() == waits(s)
                    && model.server_deadline(s).is_some() != closed
            },
        ),
        Property::sometimes("a message is accepted", |_, s: &State| {
            s.witness.last == Some(Told::Accepted)
        }),
        Property::sometimes("a request is refused", |_, s: &State| {
            s.witness.last == Some(Told::Refused)
        }),
        Property::sometimes("a sender cannot know", |_, s: &State| {
            s.witness.last == Some(Told::Unsure)
        }),
    ]
}

/// Whether the client's machine has something to wait for.
fn waits(s: &State) -> bool {
    s.witness.waits()
        && s.exchange
            .as_ref()
            .is_some_and(|exchange| !exchange.is_closed())
}

pub(super) fn goals() -> Vec<Goal<LinkModel>> {
    vec![
        Goal {
            promise: Promise::Inevitable,
            name: "every request has its outcome",
            good: |_, s| !s.witness.waits(),
        },
        Goal {
            promise: Promise::Inevitable,
            name: "every connection ends and hangs up",
            good: |_, s| s.connection.is_none(),
        },
    ]
}
