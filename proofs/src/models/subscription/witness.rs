//! What the subscription did, against the wire contract's own account of it (sessions.md §3).

use std::time::Duration;

use hallway_core::backoff::{Budget, GaveUp};
use hallway_core::session::event::{Cause, CloseReason, DialFailure, Event};

use super::{FORCED, GIVE_UP, HEALTHY, NOT_FOUND_DELAYS, TRANSIENT_DELAYS};
use crate::models::span;

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
    most_transient: u8,
    most_not_found: u8,
    opened: Option<Opened>,
    worked_before: bool,
    transient: u8,
    not_found: u8,
    failing_since: Option<u16>,
    /// Requests that wait for an answer, and those of an earlier connection that the caller has
    /// not heard of.
    pub(super) waiting: Vec<u8>,
    pub(super) dropped: Vec<u8>,
    /// What was accepted to be sent and has not arrived, in order.
    pub(super) accepted: Vec<u8>,
    pub(super) closed: Option<CloseReason>,
    /// Dials since the last proof of health.
    pub(super) dials: u8,
    /// What the machine said that it must not say.
    pub(super) misjudged: Vec<&'static str>,
}

impl Witness {
    /// Nothing has happened; so many retries are allowed.
    pub(super) fn new(most_transient: u8, most_not_found: u8) -> Self {
        Self {
            most_transient,
            most_not_found,
            ..Self::default()
        }
    }

    /// Notes that `what` holds, or not.
    pub(super) fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds && !self.misjudged.contains(&what) {
            self.misjudged.push(what);
        }
    }

    fn spent(&mut self, budget: Budget) -> (&mut u8, u8, &'static [u16]) {
        match budget {
            Budget::Transient => (&mut self.transient, self.most_transient, &TRANSIENT_DELAYS),
            Budget::NotFound => (&mut self.not_found, self.most_not_found, &NOT_FOUND_DELAYS),
        }
    }

    /// The budgets are whole again.
    pub(super) fn restart(&mut self) {
        self.transient = 0;
        self.not_found = 0;
        self.failing_since = None;
        self.dials = 0;
    }

    pub(super) fn open(&mut self, now: u16, event: Option<&Event<'_>>) {
        self.expect(event == Some(&Event::Connected), super::EVENTS);
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
        self.dials = 0;
    }

    /// Ends what was dialled or open, and compares what the machine says of it.
    pub(super) fn end(&mut self, ended: Ended, cause: Cause, now: u16, event: Option<&Event<'_>>) {
        let before = self.opened.take();
        if before.is_some_and(|opened| opened.traffic || opened.heard - opened.since >= HEALTHY) {
            self.restart();
        }
        let expected = match ended {
            Ended::Unauthorized => Err(CloseReason::Unauthorized),
            Ended::Hopeless if !self.worked_before => Err(CloseReason::Refused(hopeless())),
            Ended::Hopeless => self.fail(Budget::Transient, 0, cause, now),
            Ended::Transient(asked) => self.fail(Budget::Transient, asked, cause, now),
            Ended::NotFound => self.fail(Budget::NotFound, 0, cause, now),
        };
        match expected {
            Ok((attempt, delay)) => self.expect_retry(attempt, delay, cause, event),
            Err(reason) => {
                self.expect(event == Some(&Event::Closed { reason }), super::ENDS);
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
            return self.expect(false, super::ENDS);
        };
        self.expect(*attempt == retries, super::BUDGETS);
        self.expect(*delay == span(wait), super::DELAYS);
        self.expect(*cause == why, super::EVENTS);
    }

    fn fail(
        &mut self,
        budget: Budget,
        asked: u16,
        cause: Cause,
        now: u16,
    ) -> Result<(u32, u16), CloseReason> {
        let since = *self.failing_since.get_or_insert(now);
        let (spent, most, delays) = self.spent(budget);
        if *spent >= most {
            let why = GaveUp::Retries;
            return Err(CloseReason::GaveUp { why, cause });
        }
        if now.saturating_sub(since) >= GIVE_UP {
            let why = GaveUp::Time;
            return Err(CloseReason::GaveUp { why, cause });
        }
        let delay = delays.get(usize::from(*spent)).copied().unwrap_or(0);
        *spent += 1;
        self.failing_since = Some(since + asked);
        let attempt = u32::from(self.transient) + u32::from(self.not_found);
        Ok((attempt, delay + asked))
    }

    /// The caller forced a reconnect.
    pub(super) fn forced(&mut self, event: Option<&Event<'_>>) {
        self.opened = None;
        self.restart();
        self.expect_retry(0, FORCED, Cause::Forced, event);
    }

    /// A timeout came so late that the machine must have slept.
    pub(super) fn slept(&mut self, event: Option<&Event<'_>>, live: bool) {
        self.restart();
        if live {
            self.expect(event.is_none(), super::SLEPT);
        } else {
            let at_once = Event::Reconnecting {
                attempt: 0,
                delay: Duration::ZERO,
                cause: Cause::Slept,
            };
            self.expect(event == Some(&at_once), super::SLEPT);
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
