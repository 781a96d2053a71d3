//! What the link did, against the wire contract's own account of it (relay.md §1, §9.3 to §9.6).

use std::time::Duration;

use hallway_core::backoff::{Budget, GaveUp};
use hallway_core::relay::link::{
    AckFailure, Asked, Cause, CloseReason, Event, Ignored, Owed, Refusal, Violation,
};

use super::checks::{
    BUDGETS, CAUSES, DELAYS, ENDS, EVENTS, HOLDS, JOINS, ORDER, OUTCOMES, PONGS, SLEPT,
};
use super::{
    ACK, ANSWER, FORCED, GIVE_UP, HEALTHY, JOIN, MOST_ACKS, NOT_FOUND_DELAYS, PATIENCE, PROBE,
    PROBED, Said, TRANSIENT_DELAYS,
};
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
    traffic: bool,
    /// A heartbeat was not answered so far.
    pub(super) pong: bool,
    /// The server may hold on to the connection before.
    pub(super) holds: bool,
}

/// A frame that was taken and not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Queued {
    Event(Asked),
    Volatile,
    Answer(u8),
}

/// What waits for an acknowledgement, ours or the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waits<T> {
    pub(super) what: T,
    /// Its number, once it was written.
    pub(super) id: Option<u64>,
    pub(super) deadline: u16,
    /// Why there will be none, when the caller was not told.
    pub(super) lost: Option<AckFailure>,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    most_transient: u8,
    most_not_found: u8,
    transient: u8,
    not_found: u8,
    failing_since: Option<u16>,
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
    /// Dials since the last proof of health.
    pub(super) dials: u8,
    /// What the machine did that it must not do.
    pub(super) misjudged: Vec<&'static str>,
}

impl Witness {
    /// It dials; so many retries are allowed.
    pub(super) fn new(most_transient: u8, most_not_found: u8) -> Self {
        Self {
            most_transient,
            most_not_found,
            connection: Some(Connection::default()),
            ..Self::default()
        }
    }

    /// Notes that `what` holds, or not.
    pub(super) fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds && !self.misjudged.contains(&what) {
            self.misjudged.push(what);
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
            self.expect(connection.greeted && !connection.joined, JOINS);
            connection.joined = true;
        } else if frame.starts_with('3') {
            self.expect(connection.pong, PONGS);
            connection.pong = false;
        } else {
            self.expect(joined, JOINS);
            let is_answer = frame.starts_with("43");
            let rest = frame.get(2..).unwrap_or_default();
            let digits = rest.find('[').and_then(|end| rest.get(..end));
            let id = digits.and_then(|digits| digits.parse::<u64>().ok());
            if rest.contains("ping") {
                self.expect(id.is_some() && connection.probe.is_some(), ORDER);
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

    fn written_packet(&mut self, id: Option<u64>, is_answer: bool) {
        let expected = match self.queued.first() {
            Some(Queued::Event(asked)) => {
                let asked = *asked;
                let waits = self.asked.iter_mut().find(|waits| waits.what == asked);
                if let Some(waits) = waits {
                    waits.id = id;
                }
                id.is_some() && !is_answer
            }
            Some(Queued::Volatile) => id.is_none() && !is_answer,
            Some(Queued::Answer(key)) => id == Some(u64::from(*key)) && is_answer,
            None => false,
        };
        self.expect(expected, ORDER);
        if !self.queued.is_empty() {
            self.queued.remove(0);
        }
    }

    /// The server said something; what the machine says of it.
    pub(super) fn says(&mut self, said: Said, now: u16, event: Option<&Event<'_>>) {
        let Some(connection) = self.connection else {
            return self.expect(false, EVENTS);
        };
        let violation = |violation| (Ended::Transient(0), Cause::Violation(violation));
        let ended = match said {
            Said::Binary => violation(Violation::Binary),
            Said::Greeting if connection.greeted => violation(Violation::OutOfTurn),
            Said::Greeting => {
                self.expect(event.is_none(), EVENTS);
                return self.update(|c| {
                    (c.greeted, c.join_by, c.silent) = (true, now + JOIN, now + PATIENCE);
                });
            }
            _ if !connection.greeted => violation(Violation::OutOfTurn),
            Said::Disconnect => (Ended::Transient(0), Cause::ServerDisconnected),
            Said::Beat => {
                self.bytes(now);
                self.expect(event.is_none(), EVENTS);
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
                self.expect(event.is_none(), EVENTS);
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
        self.expect(event == Some(&Event::Ignored(why)), EVENTS);
    }

    fn consents(&mut self, now: u16, event: Option<&Event<'_>>) {
        let told = match event {
            Some(Event::Connected { stale_until }) => Some(*stale_until),
            _ => None,
        };
        self.expect(told.is_some(), EVENTS);
        let stale = self.stale.take().filter(|until| now < *until);
        if let Some(told) = told {
            self.expect(told == stale.map(at), HOLDS);
        }
        self.worked_before = true;
        self.update(|c| {
            (c.since, c.alive, c.ask_by) = (Some(now), now, now + PROBE);
            c.holds = stale.is_some();
        });
    }

    /// The first event of ours that was written is acknowledged, once.
    pub(super) fn acked(&mut self, event: Option<&Event<'_>>) {
        let waits = self.asked.iter().position(|waits| waits.id.is_some());
        let waits = waits.map(|at| (at, self.asked.get(at).copied()));
        match waits {
            Some((at, Some(waits))) if waits.lost.is_none() => {
                let told =
                    matches!(event, Some(Event::Acked { asked, .. }) if *asked == waits.what);
                self.expect(told, OUTCOMES);
                self.asked.remove(at);
                self.update(|c| c.traffic = true);
            }
            waits => {
                let ignored = event == Some(&Event::Ignored(Ignored::UnknownAck));
                self.expect(ignored, OUTCOMES);
                let waits = waits.and_then(|(at, _)| self.asked.get_mut(at));
                if let Some(waits) = waits {
                    waits.id = None;
                }
            }
        }
    }

    fn received(&mut self, acked: bool, now: u16, event: Option<&Event<'_>>) {
        let fits = self.owed.len() < MOST_ACKS;
        match event {
            Some(Event::Received { owed: None, .. }) => self.expect(!acked, EVENTS),
            Some(Event::Received {
                owed: Some(owed), ..
            }) => {
                self.expect(acked && fits, OUTCOMES);
                self.owed.push(Waits {
                    what: *owed,
                    id: Some(u64::from(self.keys)),
                    deadline: now + ANSWER,
                    lost: None,
                });
            }
            _ => {
                let flooded = event == Some(&Event::Ignored(Ignored::Flooded));
                self.expect(acked && !fits && flooded, EVENTS);
            }
        }
        self.keys += u8::from(acked);
    }

    /// An event of ours was taken.
    pub(super) fn taken(&mut self, asked: Asked, now: u16) {
        self.queued.push(Queued::Event(asked));
        self.asked.push(Waits {
            what: asked,
            id: None,
            deadline: now + ACK,
            lost: None,
        });
    }

    /// The caller hears of what is lost.
    pub(super) fn hears_lost(&mut self, event: Option<&Event<'_>>) {
        let expected = match event {
            None => {
                !(self.asked.iter().any(|w| w.lost.is_some())
                    || self.owed.iter().any(|w| w.lost.is_some()))
            }
            Some(Event::AckLost { asked, why }) => take(&mut self.asked, *asked, *why),
            Some(Event::OwedLost { owed, why }) => take(&mut self.owed, *owed, *why),
            Some(_) => false,
        };
        self.expect(expected, OUTCOMES);
    }

    fn lose(&mut self, why: AckFailure, over: impl Fn(u16) -> bool) {
        let lose = |lost: &mut Option<AckFailure>, deadline: u16| {
            if lost.is_none() && over(deadline) {
                *lost = Some(why);
            }
        };
        for waits in &mut self.asked {
            lose(&mut waits.lost, waits.deadline);
        }
        for waits in &mut self.owed {
            lose(&mut waits.lost, waits.deadline);
        }
    }

    fn expire(&mut self, now: u16) {
        self.lose(AckFailure::TimedOut, |deadline| now >= deadline);
    }

    /// The timer has fired, when it was due; what the machine says.
    pub(super) fn timed_out(&mut self, now: u16, event: Option<&Event<'_>>) {
        let Some(connection) = self.connection else {
            self.connection = Some(Connection::default());
            return self.expect(event.is_none(), EVENTS);
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
            self.expect(event.is_none(), CAUSES);
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
        self.restart();
        if self.is_open() {
            self.expect(event.is_none(), SLEPT);
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
        self.expect(event == Some(&at_once), SLEPT);
    }

    /// The caller forced a reconnect.
    pub(super) fn forced(&mut self, event: Option<&Event<'_>>) {
        self.hold(Cause::Forced);
        self.lost();
        self.restart();
        self.connection = None;
        self.expect_retry(0, FORCED, Cause::Forced, event);
    }

    fn update(&mut self, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = &mut self.connection {
            change(connection);
        }
    }

    /// The budgets are whole again.
    fn restart(&mut self) {
        (self.transient, self.not_found, self.dials) = (0, 0, 0);
        self.failing_since = None;
    }

    fn lost(&mut self) {
        self.queued.clear();
        self.lose(AckFailure::Disconnected, |_| true);
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
            self.restart();
        }
        let expected = match ended {
            Ended::Final(reason) => Err(reason),
            Ended::Transient(asked) => self.fail(Budget::Transient, asked, cause, now),
            Ended::NotFound => self.fail(Budget::NotFound, 0, cause, now),
        };
        match expected {
            Ok((attempt, delay)) => self.expect_retry(attempt, delay, cause, event),
            Err(reason) => {
                let told =
                    matches!(event, Some(Event::Closed { reason: told, .. }) if *told == reason);
                self.expect(told, ENDS);
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
            return self.expect(false, ENDS);
        };
        self.expect(*attempt == retries, BUDGETS);
        self.expect(*delay == span(wait), DELAYS);
        self.expect(*cause == why, CAUSES);
    }

    fn fail(
        &mut self,
        budget: Budget,
        asked: u16,
        cause: Cause,
        now: u16,
    ) -> Result<(u32, u16), CloseReason> {
        let since = *self.failing_since.get_or_insert(now);
        let (spent, most, delays): (_, _, &[u16]) = match budget {
            Budget::Transient => (&mut self.transient, self.most_transient, &TRANSIENT_DELAYS),
            Budget::NotFound => (&mut self.not_found, self.most_not_found, &NOT_FOUND_DELAYS),
        };
        let gave_up = |why| CloseReason::GaveUp { why, cause };
        if *spent >= most {
            return Err(gave_up(GaveUp::Retries));
        }
        if now.saturating_sub(since) >= GIVE_UP {
            return Err(gave_up(GaveUp::Time));
        }
        let delay = delays.get(usize::from(*spent)).copied().unwrap_or(0);
        *spent += 1;
        self.failing_since = Some(since + asked);
        let attempt = u32::from(self.transient) + u32::from(self.not_found);
        Ok((attempt, delay + asked))
    }
}

fn take<T: PartialEq>(waiting: &mut Vec<Waits<T>>, what: T, why: AckFailure) -> bool {
    let is = |waits: &Waits<T>| waits.what == what && waits.lost == Some(why);
    let at = waiting.iter().position(is);
    at.map(|at| waiting.remove(at)).is_some()
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
