//! What the link did, against the wire contract's own account of it (relay.md §1, §9.3 to §9.6).

use std::time::Duration;

use hallway_core::backoff::Budget;
use hallway_core::relay::link::{
    Asked, Cause, CloseReason, Event, Ignored, Owed, Refusal, Violation,
};

use super::acks::{Queued, Waits};
use super::checks::{BUDGETS, CAUSES, DELAYS, ENDS, EVENTS, HOLDS, JOINS, ORDER, PONGS, SLEPT};
use super::{HEALTHY, JOIN, PATIENCE, PROBE, PROBED, Said};
use crate::models::retries::{Budgets, FORCED, Retries};
use crate::models::verdicts::Verdicts;
use crate::models::{at, span};

/// What ended a dial or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    /// In a way that will pass; the server asks for so many milliseconds.
    Transient(u16),
    /// What was dialled is not there.
    NotFound,
    /// For good.
    Final(CloseReason),
}

/// A `ping` of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    asked: u16,
    deadline: u16,
    written: bool,
}

/// A dial or a connection by its own record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    greeted: bool,
    joined: bool,
    /// Since when it is open.
    since: Option<u16>,
    /// When the server's consent is missing.
    join_by: u16,
    /// When the heartbeat is missing.
    silent: u16,
    /// When we ask, if nothing is asked.
    ask_by: u16,
    probe: Option<Probe>,
    /// The id of the probe that the server has read.
    pub(super) probed: Option<u64>,
    /// Until when the server was heard of.
    alive: u16,
    pub(super) traffic: bool,
    /// A heartbeat was not answered so far.
    pub(super) pong: bool,
    /// The server may hold on to the connection before.
    pub(super) holds: bool,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    pub(super) retries: Retries,
    worked_before: bool,
    /// None while it waits for the next dial, and after the end.
    pub(super) connection: Option<Connection>,
    /// Until when the server may hold on to the connection before.
    stale: Option<u16>,
    pub(super) queued: Vec<Queued>,
    pub(super) asked: Vec<Waits<Asked>>,
    pub(super) owed: Vec<Waits<Owed>>,
    /// How many events of the server's were to be acknowledged.
    pub(super) keys: u8,
    pub(super) closed: Option<CloseReason>,
    /// What the machine did that it must not do.
    pub(super) verdicts: Verdicts,
}

impl Witness {
    /// It dials, with so many retries.
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            retries: Retries::new(budgets),
            connection: Some(Connection::default()),
            ..Self::default()
        }
    }

    /// Whether it was open before.
    pub(super) const fn worked(&self) -> bool {
        self.worked_before
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some_and(|c| c.since.is_some())
    }

    /// When a connection is to be left, or probed, if nothing comes.
    pub(super) fn patience(&self) -> Option<u16> {
        let connection = self.connection.filter(|c| c.greeted)?;
        let probe = connection.probe.map(|probe| probe.deadline);
        let by = match connection.since {
            Some(_) => probe.unwrap_or(connection.ask_by),
            None => connection.join_by,
        };
        Some(by.min(connection.silent))
    }

    /// Whether a probe waits to be written: what leaves ahead of it holds it back.
    pub(super) fn has_unwritten_probe(&self) -> bool {
        let probe = self.connection.and_then(|connection| connection.probe);
        probe.is_some_and(|probe| !probe.written)
    }

    /// Bytes came, or left ahead of the probe.
    pub(super) fn bytes(&mut self, now: u16) {
        if let Some(connection) = &mut self.connection
            && let Some(probe) = &mut connection.probe
        {
            let most = probe.asked + PATIENCE;
            probe.deadline = probe.deadline.max(now + PROBED).min(most);
        }
    }

    /// The server reads a frame.
    pub(super) fn written(&mut self, frame: &str) {
        let mut connection = self.connection.unwrap_or_default();
        let joined = connection.joined && connection.since.is_some();
        if frame.starts_with("40") {
            self.verdicts
                .expect(connection.greeted && !connection.joined, JOINS);
            connection.joined = true;
        } else if frame.starts_with('3') {
            self.verdicts.expect(connection.pong, PONGS);
            connection.pong = false;
        } else {
            self.verdicts.expect(joined, JOINS);
            let is_answer = frame.starts_with("43");
            let rest = frame.get(2..).unwrap_or_default();
            let digits = rest.find('[').and_then(|end| rest.get(..end));
            let id = digits.and_then(|digits| digits.parse::<u64>().ok());
            if rest.contains("ping") {
                self.verdicts
                    .expect(id.is_some() && connection.probe.is_some(), ORDER);
                connection.probed = id;
                if let Some(probe) = &mut connection.probe {
                    probe.written = true;
                }
            } else {
                self.written_packet(id, is_answer);
            }
        }
        self.connection = self.connection.map(|_| connection);
    }

    /// The server said something; what the machine says of it.
    pub(super) fn says(&mut self, said: Said, now: u16, event: Option<&Event<'_>>) {
        let Some(connection) = self.connection else {
            return self.verdicts.expect(false, EVENTS);
        };
        let violation = |violation| (Ended::Transient(0), Cause::Violation(violation));
        let ended = match said {
            Said::Binary => violation(Violation::Binary),
            Said::Greeting if connection.greeted => violation(Violation::OutOfTurn),
            Said::Greeting => {
                self.verdicts.expect(event.is_none(), EVENTS);
                return self.update(|c| {
                    (c.greeted, c.join_by, c.silent) = (true, now + JOIN, now + PATIENCE);
                });
            }
            _ if !connection.greeted => violation(Violation::OutOfTurn),
            Said::Disconnect => (Ended::Transient(0), Cause::ServerDisconnected),
            Said::Beat => {
                self.bytes(now);
                self.verdicts.expect(event.is_none(), EVENTS);
                return self.update(|c| {
                    (c.silent, c.alive, c.pong) = (now + PATIENCE, now, true);
                });
            }
            _ if connection.since.is_some() => return self.says_open(said, now, event),
            Said::Consent(true) => return self.consents(now, event),
            Said::Consent(false) if self.worked_before => {
                (Ended::Transient(0), Cause::Incompatible)
            }
            Said::Consent(false) => {
                let reason = CloseReason::Incompatible;
                (Ended::Final(reason), Cause::Incompatible)
            }
            Said::Refusal(known) => refused(known),
            _ => return self.ignores(Ignored::Meaningless, event),
        };
        self.end(ended.0, ended.1, now, event);
    }

    fn says_open(&mut self, said: Said, now: u16, event: Option<&Event<'_>>) {
        self.bytes(now);
        let probe = self.connection.and_then(|connection| connection.probe);
        match said {
            Said::Error => {
                let (ended, cause) = refused(true);
                self.end(ended, cause, now, event);
            }
            Said::Probed if let Some(probe) = probe => {
                self.verdicts.expect(event.is_none(), EVENTS);
                self.update(|c| {
                    c.alive = c.alive.max(probe.asked);
                    (c.ask_by, c.probe) = (now + PROBE, None);
                });
            }
            Said::Ack => self.acked(event),
            Said::Stray | Said::Probed => self.ignores(Ignored::UnknownAck, event),
            Said::Event(acked) => {
                self.update(|c| c.traffic = true);
                self.received(acked, now, event);
            }
            _ => self.ignores(Ignored::Meaningless, event),
        }
    }

    fn ignores(&mut self, why: Ignored, event: Option<&Event<'_>>) {
        self.verdicts
            .expect(event == Some(&Event::Ignored(why)), EVENTS);
    }

    fn consents(&mut self, now: u16, event: Option<&Event<'_>>) {
        let told = match event {
            Some(Event::Connected { stale_until }) => Some(*stale_until),
            _ => None,
        };
        self.verdicts.expect(told.is_some(), EVENTS);
        let stale = self.stale.take().filter(|until| now < *until);
        if let Some(told) = told {
            self.verdicts.expect(told == stale.map(at), HOLDS);
        }
        self.worked_before = true;
        self.update(|c| {
            (c.since, c.alive, c.ask_by) = (Some(now), now, now + PROBE);
            c.holds = stale.is_some();
        });
    }

    /// The timer has fired, when it was due; what the machine says.
    pub(super) fn timed_out(&mut self, now: u16, event: Option<&Event<'_>>) {
        let Some(connection) = self.connection else {
            self.connection = Some(Connection::default());
            return self.verdicts.expect(event.is_none(), EVENTS);
        };
        let cause = if !connection.greeted {
            Cause::DialTimedOut
        } else if now >= connection.silent {
            Cause::NoHeartbeat
        } else if connection.since.is_none() {
            Cause::JoinTimedOut
        } else if connection.probe.is_some_and(|probe| now >= probe.deadline) {
            Cause::NoAnswer
        } else {
            self.verdicts.expect(event.is_none(), CAUSES);
            if connection.probe.is_none() && now >= connection.ask_by {
                self.asks(now);
            }
            return self.expire(now);
        };
        self.end(Ended::Transient(0), cause, now, event);
    }

    fn asks(&mut self, now: u16) {
        let deadline = now + PROBED;
        self.update(|c| {
            let asked = now;
            let written = false;
            c.probe = Some(Probe {
                asked,
                deadline,
                written,
            });
        });
    }

    /// The timer has fired so late that the machine must have slept.
    pub(super) fn slept(&mut self, now: u16, event: Option<&Event<'_>>) {
        self.retries.restart();
        if self.is_open() {
            self.verdicts.expect(event.is_none(), SLEPT);
            self.update(|c| c.silent = c.silent.max(now + PROBED));
            self.asks(now);
            return self.expire(now);
        }
        self.lost();
        self.connection = Some(Connection::default());
        let at_once = Event::Reconnecting {
            attempt: 0,
            delay: Duration::ZERO,
            cause: Cause::Slept,
            said: None,
        };
        self.verdicts.expect(event == Some(&at_once), SLEPT);
    }

    /// The caller forced a reconnect.
    pub(super) fn forced(&mut self, event: Option<&Event<'_>>) {
        self.hold(Cause::Forced);
        self.lost();
        self.retries.restart();
        self.connection = None;
        self.expect_retry(0, FORCED, Cause::Forced, event);
    }

    pub(super) fn update(&mut self, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = &mut self.connection {
            change(connection);
        }
    }

    /// The server was told of the end of an open connection, or not.
    fn hold(&mut self, cause: Cause) {
        let told = matches!(
            cause,
            Cause::ConnectionClosed(Some(_)) | Cause::ServerDisconnected
        );
        if let Some(connection) = self.connection.filter(|c| c.since.is_some()) {
            self.stale = (!told).then_some(connection.silent);
        }
    }

    /// Ends what was dialled or open, and compares what the machine says of it.
    pub(super) fn end(&mut self, ended: Ended, cause: Cause, now: u16, event: Option<&Event<'_>>) {
        self.hold(cause);
        let before = self.connection.take();
        self.lost();
        let proved = |c: Connection| {
            let since = c.since?;
            (c.traffic || c.alive - since >= HEALTHY).then_some(())
        };
        if before.and_then(proved).is_some() {
            self.retries.restart();
        }
        let mut retry = |budget, asked| {
            let retried = self.retries.fail(budget, asked, now);
            retried.map_err(|why| CloseReason::GaveUp { why, cause })
        };
        let expected = match ended {
            Ended::Final(reason) => Err(reason),
            Ended::Transient(asked) => retry(Budget::Transient, asked),
            Ended::NotFound => retry(Budget::NotFound, 0),
        };
        match expected {
            Ok((attempt, delay)) => self.expect_retry(attempt, delay, cause, event),
            Err(reason) => {
                let told =
                    matches!(event, Some(Event::Closed { reason: told, .. }) if *told == reason);
                self.verdicts.expect(told, ENDS);
                self.closed = Some(reason);
            }
        }
    }

    fn expect_retry(&mut self, retries: u32, wait: u16, why: Cause, event: Option<&Event<'_>>) {
        let Some(Event::Reconnecting {
            attempt,
            delay,
            cause,
            ..
        }) = event
        else {
            return self.verdicts.expect(false, ENDS);
        };
        self.verdicts.expect(*attempt == retries, BUDGETS);
        self.verdicts.expect(*delay == span(wait), DELAYS);
        self.verdicts.expect(*cause == why, CAUSES);
    }
}

/// A refusal of which it is known that it does not pass, or not.
const fn refused(known: bool) -> (Ended, Cause) {
    if known {
        let refusal = Refusal::InvalidToken;
        let ended = Ended::Final(CloseReason::Refused(refusal));
        return (ended, Cause::Refused(refusal));
    }
    (Ended::NotFound, Cause::Refused(Refusal::Other))
}
