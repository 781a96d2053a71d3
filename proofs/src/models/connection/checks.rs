//! What holds in every state of a connection, and what must come about.

use hallway_core::local::connection::CloseReason;
use stateright::Property;

use super::super::{LATE, at};
use super::{AUTH, CLOSING, ConnectionModel, IDLE, State, Wrong};
use crate::search::{Goal, Promise};

pub(super) fn properties() -> Vec<Property<ConnectionModel>> {
    let mut properties = records();
    properties.extend(deadlines());
    properties.extend([
        Property::always("output is bounded", |model: &ConnectionModel, s: &State| {
            s.connection.pending().len() <= model.limits.max_outbox_bytes() + 256
        }),
        Property::always("each action is asked for once", |_, s: &State| {
            s.finishes <= 1 && s.hangups <= 1 && (s.hangups == 0 || s.connection.is_closed())
        }),
        Property::always(
            "a connection never ends by a bug of its own",
            |_, s: &State| s.connection.close_reason() != Some(CloseReason::Internal),
        ),
        Property::sometimes("a connection finishes", |_, s: &State| {
            s.connection.is_closed() && s.connection.close_reason() == Some(CloseReason::Finished)
        }),
        Property::sometimes(
            "a connection outlives the patience of its start",
            |_, s: &State| s.now > IDLE + LATE && s.connection.is_authenticated(),
        ),
    ]);
    properties
}

/// What the witness judged.
fn records() -> Vec<Property<ConnectionModel>> {
    fn never(s: &State, wrong: Wrong) -> bool {
        s.witness.wrong != Some(wrong)
    }
    vec![
        Property::always("nothing is kept without the token", |_, s| {
            never(s, Wrong::Kept)
        }),
        Property::always("no message is kept twice", |_, s| {
            never(s, Wrong::KeptTwice)
        }),
        Property::always("an id answered ok is kept exactly once", |_, s| {
            never(s, Wrong::Ok)
        }),
        Property::always("answers follow the lines that they answer", |_, s| {
            never(s, Wrong::Answer)
        }),
        Property::always("no refusal without its cause", |_, s| {
            never(s, Wrong::Refusal)
        }),
        Property::always("one error frame and nothing after it", |_, s| {
            never(s, Wrong::SaidAfterError)
        }),
        Property::always("nothing is taken after an error", |_, s| {
            never(s, Wrong::TakenAfterError)
        }),
        Property::always("closed stays closed", |_, s| never(s, Wrong::ClosedChanged)),
        Property::always("a reason to close stays", |_, s| {
            never(s, Wrong::ReasonChanged)
        }),
        Property::always("a clean end means that all was answered", |_, s| {
            never(s, Wrong::EndedUnanswered)
        }),
    ]
}

fn deadlines() -> Vec<Property<ConnectionModel>> {
    vec![
        Property::always(
            "no state is without a deadline",
            |model: &ConnectionModel, s: &State| {
                model.deadline(s).is_some() != s.connection.is_closed()
            },
        ),
        Property::always("authentication is timely", |_, s: &State| {
            let open = s.connection.close_reason().is_none();
            !open || s.connection.is_authenticated() || s.now <= AUTH + LATE
        }),
        Property::always("silence is bounded", |_, s: &State| {
            let open = s.connection.close_reason().is_none();
            !open || s.now <= s.witness.since + IDLE + LATE
        }),
        Property::always("closing is bounded", |_, s: &State| {
            let closing = s.connection.close_reason().is_some();
            !closing || s.now <= s.witness.since + CLOSING + LATE
        }),
        Property::always(
            "a timeout acts once, when it is due",
            |model: &ConnectionModel, s: &State| {
                let due = s
                    .connection
                    .poll_timeout()
                    .is_some_and(|due| at(s.now) >= due);
                let mut once = s.connection.clone();
                model.fire(&mut once, s.now);
                let acted = once != s.connection;
                let mut twice = once.clone();
                model.fire(&mut twice, s.now);
                acted == due && once == twice
            },
        ),
    ]
}

pub(super) fn goals() -> Vec<Goal<ConnectionModel>> {
    vec![Goal {
        promise: Promise::Inevitable,
        name: "every connection ends and hangs up",
        good: |_, s| s.connection.is_closed() && s.hangups > 0,
    }]
}
