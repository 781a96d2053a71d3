//! What the link is held to.

use hallway_core::relay::link::{AckFailure, Cause, Status};
use stateright::Property;

use super::{LinkModel, MOST_ACKS, MOST_FRAMES, OWN_FRAMES, State, Step};
use crate::models::verdicts::judged;
use crate::search::{Goal, Promise, Proof};

pub(super) const ONE: &str = "one transport lives at most, and none after the end";
pub(super) const DEADLINE: &str =
    "no state without a deadline but before the connect and after the end";
pub(super) const STALE: &str = "late events of a replaced transport change nothing";
pub(super) const CLOSED: &str = "closed stays closed";
pub(super) const JOINS: &str =
    "the authentication comes first on each connection, and the rest after the server's consent";
pub(super) const ORDER: &str =
    "what was taken is written once, in order, on the connection it was taken for";
pub(super) const PONGS: &str = "every heartbeat is answered, once";
pub(super) const OUTCOMES: &str = "an acknowledgement has one outcome, which is true";
pub(super) const TIMELY: &str = "what is to be acknowledged has its outcome by its deadline";
pub(super) const SILENCE: &str = "a connection whose server is silent is left in time";
pub(super) const CAUSES: &str = "a connection ends for its cause alone";
pub(super) const EVENTS: &str = "the caller hears what happened";
pub(super) const HOLDS: &str =
    "the caller hears how long the server may hold on to the connection before";
pub(super) const ENDS: &str =
    "only the user, a refusal, another version, a spent budget or a hopeless first dial ends it";
pub(super) const BUDGETS: &str =
    "budgets are given back by proof of health, by a sleep or by the caller alone";
pub(super) const DIALS: &str = "dials without a proof of health are bounded";
pub(super) const DELAYS: &str = "delays are those of the policy and of Retry-After";
pub(super) const SLEPT: &str = "a sleep makes the budgets whole and probes or dials at once";
pub(super) const ROOM: &str =
    "an event is refused when there is no connection or no room, and only then";
pub(super) const BOUNDED: &str = "what waits is bounded";
pub(super) const EARLY: &str = "a timeout acts when it is due, and not before";

impl State {
    /// Nothing waits beyond its deadline, but while the machine sleeps.
    fn is_timely(&self) -> bool {
        let asked = self.witness.asked.iter().map(|w| (w.lost, w.deadline));
        let owed = self.witness.owed.iter().map(|w| (w.lost, w.deadline));
        let mut all = asked.chain(owed);
        self.asleep || all.all(|(lost, deadline)| lost.is_some() || self.now <= deadline)
    }

    /// Nobody has waited for the server for too long, but while the machine slept.
    fn is_patient(&self) -> bool {
        let by = self.witness.patience();
        self.asleep || by.is_none_or(|by| self.now <= by)
    }

    fn is_bounded(&self) -> bool {
        self.link.queued() <= MOST_FRAMES + OWN_FRAMES
            && self.witness.queued.len() <= MOST_FRAMES
            && self.witness.asked.len() <= MOST_ACKS
            && self.witness.owed.len() <= MOST_ACKS
    }

    /// All that is due was written when there is nothing to write.
    fn is_written(&self, due: impl Fn(&Self) -> bool) -> bool {
        !due(self) || self.open().is_none() || self.can_write()
    }

    /// Nobody waits for an acknowledgement, or for the word that there is none.
    fn is_settled(&self) -> bool {
        self.witness.asked.is_empty() && self.witness.owed.is_empty()
    }
}

impl LinkModel {
    pub(super) fn statements(&self) -> Vec<Property<Self>> {
        let mut properties = judged!(s => s.witness.verdicts;
            STALE CLOSED JOINS OUTCOMES CAUSES EVENTS HOLDS ENDS BUDGETS DELAYS SLEPT ROOM EARLY
        );
        properties.extend([
            Property::always(ONE, |_, s: &State| !s.transports.two_lived),
            Property::always(DEADLINE, |m: &Self, s: &State| {
                m.deadline(s).is_some() == s.witness.closed.is_none()
            }),
            Property::always(ORDER, |_, s: &State| {
                s.witness.verdicts.allow(ORDER) && s.is_written(|s| !s.witness.queued.is_empty())
            }),
            Property::always(PONGS, |_, s: &State| {
                s.witness.verdicts.allow(PONGS)
                    && s.is_written(|s| s.witness.connection.is_some_and(|c| c.pong))
            }),
            Property::always(TIMELY, |_, s: &State| s.is_timely()),
            Property::always(SILENCE, |_, s: &State| s.is_patient()),
            Property::always(DIALS, |m: &Self, s: &State| {
                u32::from(s.witness.retries.dials()) <= m.policy.max_dials()
            }),
            Property::always(BOUNDED, |_, s: &State| s.is_bounded()),
            Property::sometimes("a reconnect succeeds after failures", |_, s: &State| {
                s.link.is_open() && s.witness.retries.dials() > 1
            }),
            Property::sometimes("a half-open connection is left", |_, s: &State| {
                s.link.status() == Status::Waiting(Cause::NoAnswer)
            }),
            Property::sometimes(
                "the server may hold on to the connection before",
                |_, s: &State| s.witness.connection.is_some_and(|c| c.holds),
            ),
        ]);
        if self.purse.emits > 0 {
            properties.push(Property::sometimes(
                "an acknowledgement is lost with its connection",
                |_, s: &State| {
                    let lost = Some(AckFailure::Disconnected);
                    s.witness.asked.iter().any(|waits| waits.lost == lost)
                },
            ));
        }
        properties
    }
}

impl Proof for LinkModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![
            Goal {
                promise: Promise::Inevitable,
                name: "it is open in the end, or it has ended",
                good: |_, s| s.link.is_open() || s.witness.closed.is_some(),
            },
            Goal {
                promise: Promise::Inevitable,
                name: "a server that answers nothing is left",
                good: |_, s| !s.link.is_open(),
            },
            Goal {
                promise: Promise::Inevitable,
                name: "every acknowledgement has its outcome",
                good: |_, s| s.is_settled(),
            },
            Goal {
                promise: Promise::StaysReachable,
                name: "a connection stays reachable, unless it has ended",
                good: |_, s| s.link.is_open() || s.witness.closed.is_some(),
            },
            Goal {
                promise: Promise::Inevitable,
                name: "no transport is left after the end",
                good: |_, s| s.witness.closed.is_none() || s.transports.live.is_none(),
            },
        ]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Act | Step::Pass | Step::Timeout | Step::Write | Step::PollEvent
        )
    }
}
