//! The machine under test, with the flaw of a run.

use hallway_core::Instant;
use hallway_core::backoff::{GaveUp, Policy, PolicyBuilder, Schedule};
use hallway_core::session::event::{Action, Cause, CloseReason, Epoch, Event, SendError};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::{Answer, Subscription};

use super::Flaw;
use crate::model::subscription::{Fact, apply};

#[derive(Debug)]
pub(super) struct Subject {
    machine: Subscription,
    flaw: Option<Flaw>,
    /// The last epoch that was dialled.
    last: Epoch,
    /// Backoff ends so much earlier than it should.
    early: Option<Instant>,
    was_connected: bool,
}

impl Subject {
    pub(super) fn new(limits: &Limits, policy: Policy, seed: u64, flaw: Option<Flaw>) -> Self {
        let policy = if flaw == Some(Flaw::SpendsTooMuch) {
            generous(policy)
        } else {
            policy
        };
        Self {
            machine: Subscription::new(limits, policy, seed),
            flaw,
            last: Epoch::default(),
            early: None,
            was_connected: false,
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) const fn machine(&self) -> &Subscription {
        &self.machine
    }

    pub(super) fn tell<'a>(
        &mut self,
        fact: &Fact<'_>,
        text: &'a str,
        now: Instant,
    ) -> Option<Event<'a>> {
        let fact = self.bend(*fact);
        let due = self.machine.poll_timeout();
        let now = match fact {
            Fact::Wake if self.has(Flaw::SleepsOn) => return None,
            Fact::Time if self.has(Flaw::SleepsOn) => match due {
                Some(due) if now.since(due) >= self.machine.limits().sleep_lateness() => due,
                _ => now,
            },
            Fact::Time if self.early.is_some_and(|early| early <= now) => {
                due.map_or(now, |due| due.max(now))
            }
            _ => now,
        };
        let event = apply(&mut self.machine, &fact, text, now);
        self.spoil(event, now)
    }

    /// What becomes of a fact.
    fn bend<'a>(&self, fact: Fact<'a>) -> Fact<'a> {
        match fact {
            Fact::Token(epoch, _) if self.has(Flaw::RetriesRefusedToken) => {
                Fact::Token(epoch, true)
            }
            _ if !self.has(Flaw::HearsTheDead) => fact,
            Fact::Opened(_) => Fact::Opened(self.last),
            Fact::Gone(_, code) => Fact::Gone(self.last, code),
            Fact::Message(_, said) => Fact::Message(self.last, said),
            Fact::Pong(_) => Fact::Pong(self.last),
            _ => fact,
        }
    }

    /// What becomes of an event.
    fn spoil<'a>(&mut self, event: Option<Event<'a>>, now: Instant) -> Option<Event<'a>> {
        self.early = None;
        match &event {
            Some(Event::Connected) => {
                self.was_connected = true;
                if self.has(Flaw::OpenIsProof) {
                    let alive = self
                        .machine
                        .handle_message(self.last, r#"{"type":"keep_alive"}"#);
                    assert_eq!(alive, Some(Event::MessageReceived));
                }
                if self.has(Flaw::LosesFrame) {
                    self.machine.handle_transmitted(self.last);
                }
            }
            Some(Event::Reconnecting { delay, cause, .. }) => {
                if self.has(Flaw::DialsEarly) {
                    self.early = Some(now.after(*delay / 2));
                }
                if self.has(Flaw::GivesUpAtOnce)
                    && self.was_connected
                    && matches!(cause, Cause::DialFailed(_))
                {
                    let (why, cause) = (GaveUp::Retries, *cause);
                    drop(self.machine.close());
                    let reason = CloseReason::GaveUp { why, cause };
                    return Some(Event::Closed { reason });
                }
            }
            _ => {}
        }
        event
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.machine.poll_timeout();
        let is_dialing = self.machine.open_epoch().is_none() && self.last.number() > 1;
        if self.has(Flaw::ForgetsDeadline) && is_dialing {
            return None;
        }
        self.early.or(due)
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        let action = self.machine.poll_action();
        match action {
            Some(Action::Dial(epoch)) => self.last = epoch,
            Some(Action::Hangup(_)) if self.has(Flaw::KeepsOldTransport) => {
                return self.poll_action();
            }
            Some(Action::Ping(epoch)) if self.has(Flaw::TrustsSilence) => {
                self.machine.handle_pong(epoch);
            }
            _ => {}
        }
        if action.is_none()
            && self.has(Flaw::DialsAfterClose)
            && self.machine.close_reason().is_some()
        {
            self.flaw = None;
            return Some(Action::Dial(self.last));
        }
        action
    }

    pub(super) fn poll_event(&mut self) -> Option<Event<'static>> {
        let event = self.machine.poll_event();
        event.filter(|_| !self.has(Flaw::KeepsPending))
    }

    pub(super) fn poll_transmit(&self, epoch: Epoch) -> Option<String> {
        let mut machine = self.machine.clone();
        if self.has(Flaw::SwapsFrames) && machine.unsent() > 1 {
            machine.handle_transmitted(epoch);
        }
        machine.poll_transmit(epoch).map(str::to_owned)
    }

    pub(super) fn transmitted(&mut self, epoch: Epoch) {
        self.machine.handle_transmitted(epoch);
    }

    pub(super) fn answer(&mut self, id: &str, answer: Answer<'_>) -> Result<(), SendError> {
        self.machine.answer(id, answer)
    }

    pub(super) fn interrupt(&mut self, id: &str) -> Result<(), SendError> {
        let interrupt = hallway_core::session::control::Request::Interrupt;
        self.machine.request(id, &interrupt)
    }
}

/// Twice the retries of `policy`, and twice its patience.
fn generous(policy: Policy) -> Policy {
    let twice = |schedule: Schedule| Schedule {
        max_retries: 2 * schedule.max_retries + 1,
        ..schedule
    };
    PolicyBuilder::from(policy)
        .transient(twice(policy.transient()))
        .not_found(twice(policy.not_found()))
        .give_up_after(2 * policy.give_up_after())
        .build()
        .expect("a policy within its ranges")
}
