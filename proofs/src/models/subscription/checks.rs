//! What the subscription is held to.

use stateright::Property;

use super::{State, Step, SubscriptionModel};
use crate::models::verdicts::judged;
use crate::search::{Goal, Promise, Proof};

pub(super) const BUDGETS: &str =
    "budgets are given back by proof of health, by a sleep or by the caller alone";
pub(super) const DELAYS: &str = "delays are those of the policy and of Retry-After";
pub(super) const ENDS: &str =
    "only the user, the token, a spent budget or a hopeless first dial ends it";
pub(super) const EVENTS: &str = "the caller hears what happened";
pub(super) const SLEPT: &str = "a sleep makes the budgets whole and probes or dials at once";
pub(super) const DIALS: &str = "dials without a proof of health are bounded";
pub(super) const STALE: &str = "late events of a replaced transport change nothing";
pub(super) const ONE: &str = "one transport lives at most, and none after the end";
pub(super) const DEADLINE: &str =
    "no state without a deadline but before the connect and after the end";
pub(super) const ORDER: &str =
    "what was accepted is sent in order, again after a break, and never twice";
pub(super) const REQUESTS: &str =
    "requests of a lost connection are dropped and the caller is told";

impl SubscriptionModel {
    pub(super) fn statements(&self) -> Vec<Property<Self>> {
        let mut properties =
            judged!(s => s.witness.verdicts; BUDGETS DELAYS ENDS EVENTS SLEPT ORDER REQUESTS STALE);
        properties.extend([
            Property::always(ONE, |_, s: &State| !s.transports.two_lived),
            Property::always(DEADLINE, |m: &Self, s: &State| {
                m.deadline(s).is_some() == s.machine.close_reason().is_none()
            }),
            Property::always(DIALS, |m: &Self, s: &State| {
                u32::from(s.witness.retries.dials()) <= m.policy.max_dials()
            }),
            Property::always("the machine knows what the caller knows", |_, s: &State| {
                s.machine.pending_requests() == s.witness.waiting.len()
                    && s.machine.unsent() == s.witness.accepted.len()
                    && s.machine.close_reason() == s.witness.closed
            }),
            Property::sometimes("a reconnect succeeds after failures", |_, s: &State| {
                s.is_connected() && s.witness.retries.dials() > 1
            }),
        ]);
        if self.purse.requests > 0 {
            properties.push(Property::sometimes(
                "an answer outlives its connection",
                |_, s: &State| !s.is_connected() && s.witness.accepted.iter().any(|id| *id >= 10),
            ));
        }
        if self.purse.tokens > 0 {
            properties.push(Property::sometimes(
                "another token helps",
                |m: &Self, s: &State| s.is_connected() && s.purse.tokens < m.purse.tokens,
            ));
        }
        properties
    }
}

impl Proof for SubscriptionModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![
            Goal {
                promise: Promise::Inevitable,
                name: "it is connected in the end, or it has ended",
                good: |_, s| s.is_connected() || s.witness.closed.is_some(),
            },
            Goal {
                promise: Promise::Inevitable,
                name: "a server that answers no ping is left",
                good: |_, s| !s.is_connected(),
            },
            Goal {
                promise: Promise::StaysReachable,
                name: "an end stays reachable, with no transport left",
                good: |_, s| s.witness.closed.is_some() && s.transports.live.is_none(),
            },
        ]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Act | Step::Pass | Step::Timeout)
    }
}
