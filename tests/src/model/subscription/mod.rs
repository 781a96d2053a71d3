//! The subscription, described a second time (sessions.md §2, §3): what each fact makes of it,
//! what is then to be done and said, and until when. Delays are known up to their jitter.
//!
//! It is told what the machine said and panics when that is something else.

mod book;
mod budgets;
mod words;

pub use book::Book;
pub use budgets::Budgets;
pub use words::{Fact, Said, apply};

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::{Budget, Policy};
use hallway_core::session::event::{
    Action, Cancelled, Cause, CloseReason, DialFailure, Epoch, Event,
};
use hallway_core::session::limits::Limits;

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `connect` was not called.
    Idle,
    /// A dial was asked for.
    Dialing,
    /// A dial was refused, and the token may be another one by now.
    Asking(DialFailure),
    /// It is connected.
    Open {
        /// Since when.
        since: Instant,
        /// When the last ping was sent, if nothing was heard since.
        pinged: Option<Instant>,
        /// Until when the server is known to have been there: it answered a ping of then.
        alive: Instant,
        /// A message was forwarded.
        has_traffic: bool,
    },
    /// A dial is due later.
    Waiting,
    /// It has ended.
    Closed(CloseReason),
}

/// What is to be done; the order is that in which it is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Hangup,
    Dial,
    Ping,
    AskToken,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Nothing,
    Event(Event<'static>),
    Ignored,
    Arrived(String),
    Reconnecting {
        attempt: u32,
        delays: RangeInclusive<Duration>,
        cause: Cause,
    },
}

/// The model of one subscription.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    phase: Phase,
    /// Until when it waits for what it waits for.
    due: Option<Instant>,
    /// How many dials there were.
    epoch: u64,
    was_connected: bool,
    duties: BTreeMap<Duty, u64>,
    /// The budgets.
    pub budgets: Budgets,
    /// What is asked and answered.
    pub book: Book,
    ignored: u64,
}

impl Model {
    /// The model of `Subscription::new`, and of `serving`.
    #[must_use]
    pub fn new(limits: &Limits, policy: Policy, served: &'static [&'static str]) -> Self {
        Self {
            limits: *limits,
            phase: Phase::Idle,
            due: None,
            epoch: 0,
            was_connected: false,
            duties: BTreeMap::new(),
            budgets: Budgets::new(policy),
            book: Book::new(limits, served),
            ignored: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When the next timeout is due.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How many messages were ignored.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether `epoch` is that of the open connection.
    #[must_use]
    pub fn is_open(&self, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Open { .. }) && epoch.number() == self.epoch
    }

    fn is_dialing(&self, epoch: Epoch) -> bool {
        self.phase == Phase::Dialing
            && epoch.number() == self.epoch
            && !self.duties.contains_key(&Duty::Dial)
    }

    /// Whether a fact about a transport is about one that is no more, so that nothing may come
    /// of it.
    #[must_use]
    pub fn is_stale(&self, fact: &Fact<'_>) -> bool {
        match fact {
            Fact::Opened(epoch) | Fact::DialFailed(epoch, _) => !self.is_dialing(*epoch),
            Fact::Gone(epoch, _) => !self.is_dialing(*epoch) && !self.is_open(*epoch),
            Fact::Message(epoch, _) | Fact::Pong(epoch) | Fact::TooLong(epoch) => {
                !self.is_open(*epoch)
            }
            Fact::Token(epoch, _) => {
                !matches!(self.phase, Phase::Asking(_)) || epoch.number() != self.epoch
            }
            Fact::Connect | Fact::Reconnect | Fact::Close | Fact::Wake | Fact::Time => false,
        }
    }

    /// `fact` has happened, and the machine said `found`.
    ///
    /// # Panics
    ///
    /// When something else was to be said.
    pub fn tell(&mut self, fact: &Fact<'_>, found: Option<&Event<'_>>, now: Instant) {
        let expected = if self.is_stale(fact) {
            Expected::Nothing
        } else {
            self.expect(fact, now)
        };
        match (&expected, found) {
            (Expected::Nothing, None) => {}
            (Expected::Event(expected), Some(found)) if expected == found => {}
            (Expected::Ignored, Some(Event::MessageIgnored(_))) => {}
            (Expected::Arrived(id), Some(Event::RequestArrived { request_id, .. }))
                if id == request_id => {}
            (
                Expected::Reconnecting {
                    attempt,
                    delays,
                    cause,
                },
                Some(Event::Reconnecting {
                    attempt: found_attempt,
                    delay,
                    cause: found_cause,
                }),
            ) => {
                assert_eq!(cause, found_cause, "the cause");
                assert_eq!(attempt, found_attempt, "the attempt since the last proof");
                let fits = delays.contains(delay);
                assert!(fits, "a delay of {delay:?} is outside of {delays:?}");
                if self.phase == Phase::Waiting {
                    self.due = Some(now.after(*delay));
                }
            }
            _ => panic!("{fact:?}: said {found:?} instead of {expected:?}"),
        }
    }

    /// The machine was asked what is to be done, and said `found`.
    ///
    /// # Panics
    ///
    /// When something else is.
    pub fn act(&mut self, found: Option<Action>) {
        let expected = self.duties.pop_first();
        let found = found.map(|action| match action {
            Action::Hangup(epoch) => (Duty::Hangup, epoch.number()),
            Action::Dial(epoch) => (Duty::Dial, epoch.number()),
            Action::Ping(epoch) => (Duty::Ping, epoch.number()),
            Action::AskToken(epoch) => (Duty::AskToken, epoch.number()),
        });
        assert_eq!(found, expected, "what is to be done");
    }

    fn expect(&mut self, fact: &Fact<'_>, now: Instant) -> Expected {
        match (fact, self.phase) {
            (Fact::Time, phase) => self.time(phase, now),
            (Fact::Connect, Phase::Idle) => self.dial(now),
            (Fact::Connect, _) => Expected::Nothing,
            (Fact::Close | Fact::Reconnect | Fact::Wake, Phase::Closed(_))
            | (Fact::Reconnect | Fact::Wake, Phase::Idle) => Expected::Nothing,
            (Fact::Close, _) => {
                self.hang_up();
                self.end(CloseReason::User)
            }
            (Fact::Reconnect, _) => {
                self.hang_up();
                self.budgets.restart();
                let delay = self.budgets.policy().forced_delay();
                self.wait(0, delay..=delay, Cause::Forced)
            }
            (Fact::Wake, phase) => self.wake(phase, now),
            (Fact::Opened(_), _) => self.open(now),
            (Fact::DialFailed(_, failure), _) => self.refuse(*failure, now),
            (Fact::Gone(..), Phase::Dialing) => self.refuse(DialFailure::Unreachable, now),
            (Fact::Gone(_, code), _) => match code {
                Some(4003) => self.end(CloseReason::Unauthorized),
                Some(4001) => {
                    self.fail(Budget::NotFound, None, Cause::ConnectionClosed(*code), now)
                }
                _ => self.fail(Budget::Transient, None, Cause::ConnectionClosed(*code), now),
            },
            (Fact::TooLong(_), _) => {
                self.hang_up();
                self.fail(Budget::Transient, None, Cause::MessageTooLong, now)
            }
            (Fact::Token(_, true), Phase::Asking(failure)) => {
                self.fail(Budget::Transient, None, Cause::DialFailed(failure), now)
            }
            (Fact::Token(..), _) => self.end(CloseReason::Unauthorized),
            (Fact::Pong(_), _) => self.hear(false),
            (Fact::Message(_, said), _) => self.message(said),
        }
    }

    /// A deadline has passed, perhaps by so much that the machine must have slept.
    fn time(&mut self, phase: Phase, now: Instant) -> Expected {
        let Some(due) = self.due.filter(|due| *due <= now) else {
            return Expected::Nothing;
        };
        if now.since(due) >= self.limits.sleep_lateness() {
            return self.wake(phase, now);
        }
        match phase {
            Phase::Idle | Phase::Closed(_) => Expected::Nothing,
            Phase::Waiting => self.dial(now),
            Phase::Dialing => {
                self.hang_up();
                self.fail(Budget::Transient, None, Cause::DialTimedOut, now)
            }
            Phase::Asking(_) => self.end(CloseReason::Unauthorized),
            Phase::Open {
                pinged: Some(_), ..
            } => {
                self.hang_up();
                self.fail(Budget::Transient, None, Cause::NoPong, now)
            }
            Phase::Open { .. } => self.probe(now, self.limits.ping_interval()),
        }
    }

    fn wake(&mut self, phase: Phase, now: Instant) -> Expected {
        self.budgets.restart();
        match phase {
            Phase::Idle | Phase::Closed(_) => Expected::Nothing,
            Phase::Open { .. } => {
                let [probe, interval] = [self.limits.probe_timeout(), self.limits.ping_interval()];
                self.probe(now, probe.min(interval))
            }
            Phase::Asking(_) => {
                self.due = Some(now.after(self.limits.token_timeout()));
                Expected::Nothing
            }
            Phase::Dialing | Phase::Waiting => {
                self.hang_up();
                self.dial(now);
                Expected::Reconnecting {
                    attempt: 0,
                    delays: Duration::ZERO..=Duration::ZERO,
                    cause: Cause::Slept,
                }
            }
        }
    }

    fn dial(&mut self, now: Instant) -> Expected {
        self.epoch += 1;
        self.duties.insert(Duty::Dial, self.epoch);
        self.phase = Phase::Dialing;
        self.due = Some(now.after(self.limits.dial_timeout()));
        Expected::Nothing
    }

    fn open(&mut self, now: Instant) -> Expected {
        self.phase = Phase::Open {
            since: now,
            pinged: None,
            alive: now,
            has_traffic: false,
        };
        self.due = Some(now.after(self.limits.ping_interval()));
        self.was_connected = true;
        self.book.reconnected();
        Expected::Event(Event::Connected)
    }

    fn probe(&mut self, now: Instant, patience: Duration) -> Expected {
        if let Phase::Open { pinged, .. } = &mut self.phase {
            *pinged = Some(now);
        }
        self.duties.insert(Duty::Ping, self.epoch);
        self.due = Some(now.after(patience));
        Expected::Nothing
    }

    fn hear(&mut self, traffic: bool) -> Expected {
        if let Phase::Open {
            pinged,
            alive,
            has_traffic,
            ..
        } = &mut self.phase
        {
            *alive = pinged.take().unwrap_or(*alive);
            *has_traffic |= traffic;
        }
        Expected::Nothing
    }

    fn message(&mut self, said: &Said) -> Expected {
        self.hear(*said != Said::Junk);
        match said {
            Said::Junk => {
                self.ignored += 1;
                Expected::Ignored
            }
            Said::Plain => Expected::Event(Event::MessageReceived),
            Said::Cancel { id } if self.book.cancel(id) => {
                Expected::Event(Event::RequestCancelled {
                    request_id: id.clone().into(),
                    cancelled: Cancelled::ByServer,
                })
            }
            Said::Cancel { .. } => Expected::Event(Event::MessageReceived),
            Said::Ask { id, subtype, input } => match self.book.ask(id, subtype, input) {
                None => Expected::Arrived(id.clone()),
                Some(answered) => Expected::Event(Event::RequestRefused {
                    request_id: id.clone().into(),
                    answered,
                }),
            },
        }
    }

    /// A dial failed. What does not pass by itself ends it, unless it worked before.
    fn refuse(&mut self, failure: DialFailure, now: Instant) -> Expected {
        let cause = Cause::DialFailed(failure);
        let (status, after) = match failure {
            DialFailure::NoToken | DialFailure::Unreachable | DialFailure::NotWebSocket => {
                (503, None)
            }
            DialFailure::Untrusted | DialFailure::ProxyRefused => (400, None),
            DialFailure::Status {
                status,
                retry_after,
            } => (status, retry_after),
            other => panic!("no such failure: {other:?}"),
        };
        match status {
            401 | 403 => {
                self.phase = Phase::Asking(failure);
                self.due = Some(now.after(self.limits.token_timeout()));
                self.duties.insert(Duty::AskToken, self.epoch);
                Expected::Nothing
            }
            404 => self.fail(Budget::NotFound, after, cause, now),
            408 | 425 | 429 | 500..600 => self.fail(Budget::Transient, after, cause, now),
            _ if self.was_connected => self.fail(Budget::Transient, None, cause, now),
            _ => self.end(CloseReason::Refused(failure)),
        }
    }

    fn fail(
        &mut self,
        budget: Budget,
        retry_after: Option<Duration>,
        cause: Cause,
        now: Instant,
    ) -> Expected {
        if let Phase::Open {
            since,
            alive,
            has_traffic,
            ..
        } = self.phase
        {
            // A server that closes with a code is there.
            let is_there = matches!(cause, Cause::ConnectionClosed(Some(_)));
            let until = if is_there { now } else { alive };
            self.budgets.ended(until.since(since), has_traffic);
        }
        match self.budgets.fail(budget, retry_after, now) {
            Ok((attempt, delays)) => self.wait(attempt, delays, cause),
            Err(why) => self.end(CloseReason::GaveUp { why, cause }),
        }
    }

    fn wait(&mut self, attempt: u32, delays: RangeInclusive<Duration>, cause: Cause) -> Expected {
        self.leave(Phase::Waiting);
        Expected::Reconnecting {
            attempt,
            delays,
            cause,
        }
    }

    fn end(&mut self, reason: CloseReason) -> Expected {
        self.leave(Phase::Closed(reason));
        self.due = None;
        self.book.close(reason);
        Expected::Event(Event::Closed { reason })
    }

    fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        self.duties.remove(&Duty::Ping);
        self.duties.remove(&Duty::AskToken);
    }

    /// A dial that nobody has heard of needs no hang-up.
    fn hang_up(&mut self) {
        let is_unheard = self.duties.remove(&Duty::Dial).is_some();
        let is_live = matches!(self.phase, Phase::Dialing | Phase::Open { .. });
        if is_live && !is_unheard {
            self.duties.insert(Duty::Hangup, self.epoch);
        }
    }
}
