//! What holds in every state of an exchange, and what must come about.

use stateright::Property;

use super::super::{LATE, at};
use super::{ExchangeModel, State, Wrong};
use crate::search::{Goal, Promise};

pub(super) fn properties() -> Vec<Property<ExchangeModel>> {
    fn never(s: &State, wrong: Wrong) -> bool {
        s.witness.wrong != Some(wrong)
    }
    vec![
        Property::always("each outcome is the one that is due", |_, s| {
            never(s, Wrong::Outcome)
        }),
        Property::always(
            "outcomes come once, in the order of the requests",
            |_, s| never(s, Wrong::Id),
        ),
        Property::always("written means written", |_, s| never(s, Wrong::Written)),
        Property::always("requests are bounded", |_, s| never(s, Wrong::Bound)),
        Property::always("a request that is not taken changes nothing", |_, s| {
            never(s, Wrong::Refused)
        }),
        Property::always("closed stays closed", |_, s| never(s, Wrong::ClosedChanged)),
        Property::always(
            "what waits has a deadline",
            |model: &ExchangeModel, s: &State| {
                let waits = !s.exchange.is_closed() && s.witness.waits();
                model.deadline(s).is_some() == waits
            },
        ),
        Property::always(
            "a request has its outcome by its deadline",
            |_, s: &State| s.now <= LATE || s.witness.is_patient(s.now - LATE),
        ),
        Property::always(
            "a timeout acts once, when it is due",
            |model: &ExchangeModel, s: &State| {
                let due = s
                    .exchange
                    .poll_timeout()
                    .is_some_and(|due| at(s.now) >= due);
                let mut once = s.exchange.clone();
                model.fire(&mut once, s.now);
                let acted = once != s.exchange;
                let mut twice = once.clone();
                model.fire(&mut twice, s.now);
                acted == due && once == twice
            },
        ),
        Property::sometimes("a request is answered", |_, s: &State| s.witness.answered),
        Property::sometimes("an exchange closes", |_, s: &State| s.exchange.is_closed()),
    ]
}

pub(super) fn goals() -> Vec<Goal<ExchangeModel>> {
    vec![Goal {
        promise: Promise::Inevitable,
        name: "every request has its outcome",
        good: |_, s| !s.witness.waits(),
    }]
}
