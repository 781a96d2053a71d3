//! What the subscription did, against the wire contract's own account of it (sessions.md §3).

use std::time::Duration;

use hallway_core::backoff::Budget;
use hallway_core::session::event::{Cause, CloseReason, DialFailure, Event};

use super::HEALTHY;
use super::checks::{BUDGETS, DELAYS, ENDS, EVENTS, SLEPT};
use crate::models::retries::{Budgets, FORCED, Retries};
use crate::models::span;
use crate::models::verdicts::Verdicts;

/// What ended a dial or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// In a way that will pass; the server asks for so many milliseconds.
    Transient(u16),
    /// The session was not found.
    NotFound,
    /// The token is refused.
    Unauthorized,
    /// In a way that does not pass by itself.
    Hopeless,
}

/// A connection by its own record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Opened {
    since: u16,
    /// Until when the server was heard of.
    heard: u16,
    traffic: bool,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    opened: Option<Opened>,
    worked_before: bool,
    pub(super) retries: Retries,
    /// Requests that wait for an answer, and those of an earlier connection that the caller has
    /// not heard of.
    pub(super) waiting: Vec<u8>,
    pub(super) dropped: Vec<u8>,
    /// What was accepted to be sent and has not arrived, in order.
    pub(super) accepted: Vec<u8>,
    pub(super) closed: Option<CloseReason>,
    /// What the machine said that it must not say.
    pub(super) verdicts: Verdicts,
}

impl Witness {
    /// Nothing has happened.
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            retries: Retries::new(budgets),
            ..Self::default()
        }
    }

    pub(super) fn open(&mut self, now: u16, event: Option<&Event<'_>>) {
        self.verdicts
            .expect(event == Some(&Event::Connected), EVENTS);
        self.opened = Some(Opened {
            since: now,
            heard: now,
            traffic: false,
        });
        self.worked_before = true;
        self.dropped.append(&mut self.waiting);
    }

    /// Whether the open connection would prove itself if it were heard of now.
    pub(super) fn proves_at(&self, now: u16) -> bool {
        self.opened
            .is_some_and(|opened| now - opened.since >= HEALTHY)
    }

    /// The server was heard of, at this time or later.
    pub(super) fn heard(&mut self, at: u16) {
        if let Some(opened) = &mut self.opened {
            opened.heard = opened.heard.max(at);
        }
    }

    pub(super) fn traffic(&mut self) {
        if let Some(opened) = &mut self.opened {
            opened.traffic = true;
        }
        self.retries.prove();
    }

    /// Ends what was dialled or open, and compares what the machine says of it.
    pub(super) fn end(&mut self, ended: Ended, cause: Cause, now: u16, event: Option<&Event<'_>>) {
        let before = self.opened.take();
        if before.is_some_and(|opened| opened.traffic || opened.heard - opened.since >= HEALTHY) {
            self.retries.restart();
        }
        let mut retry = |budget, asked| {
            let retried = self.retries.fail(budget, asked, now);
            retried.map_err(|why| CloseReason::GaveUp { why, cause })
        };
        let expected = match ended {
            Ended::Unauthorized => Err(CloseReason::Unauthorized),
            Ended::Hopeless if !self.worked_before => Err(CloseReason::Refused(hopeless())),
            Ended::Hopeless => retry(Budget::Transient, 0),
            Ended::Transient(asked) => retry(Budget::Transient, asked),
            Ended::NotFound => retry(Budget::NotFound, 0),
        };
        match expected {
            Ok((attempt, delay)) => self.expect_retry(attempt, delay, cause, event),
            Err(reason) => {
                self.verdicts
                    .expect(event == Some(&Event::Closed { reason }), ENDS);
                self.close(reason);
            }
        }
    }

    fn expect_retry(&mut self, retries: u32, wait: u16, why: Cause, event: Option<&Event<'_>>) {
        let Some(Event::Reconnecting {
            attempt,
            delay,
            cause,
        }) = event
        else {
            return self.verdicts.expect(false, ENDS);
        };
        self.verdicts.expect(*attempt == retries, BUDGETS);
        self.verdicts.expect(*delay == span(wait), DELAYS);
        self.verdicts.expect(*cause == why, EVENTS);
    }

    /// The caller forced a reconnect.
    pub(super) fn forced(&mut self, event: Option<&Event<'_>>) {
        self.opened = None;
        self.retries.restart();
        self.expect_retry(0, FORCED, Cause::Forced, event);
    }

    /// A timeout came so late that the machine must have slept.
    pub(super) fn slept(&mut self, event: Option<&Event<'_>>, live: bool) {
        self.retries.restart();
        if live {
            self.verdicts.expect(event.is_none(), SLEPT);
        } else {
            let at_once = Event::Reconnecting {
                attempt: 0,
                delay: Duration::ZERO,
                cause: Cause::Slept,
            };
            self.verdicts.expect(event == Some(&at_once), SLEPT);
        }
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.opened = None;
        self.closed = Some(reason);
        self.waiting.clear();
        self.dropped.clear();
    }
}

/// A failed dial that does not pass by itself.
pub(super) const fn hopeless() -> DialFailure {
    DialFailure::Untrusted
}
