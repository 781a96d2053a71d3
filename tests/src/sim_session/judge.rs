//! The ten points of sessions.md §3, judged by what is said and done alone.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::{Budget, GaveUp, Policy};
use hallway_core::session::event::{
    Action, Cancelled, Cause, CloseReason, DialFailure, Epoch, Event,
};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Subscription;

use super::Reached;
use crate::model::subscription::{Budgets, Fact, Said};

/// More than any timeout comes late when nobody sleeps.
pub(super) const SLACK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Judge {
    limits: Limits,
    budgets: Budgets,
    /// Dialled, and neither hung up nor known to be gone.
    live: BTreeSet<Epoch>,
    started: bool,
    closed: Option<CloseReason>,
    /// The open transport: since when, when it was last heard, whether it spoke.
    open: Option<(Epoch, Instant, Instant, bool)>,
    /// The last ping, if nothing was heard since; and the last one that was answered.
    pinged: Option<Instant>,
    answered: Option<Instant>,
    asking: bool,
    /// No dial before.
    not_before: Instant,
    pending: Vec<String>,
    left: VecDeque<String>,
    /// The ids of the frames that are to be sent, in order.
    pub(super) outbox: VecDeque<String>,
    last: Epoch,
}

/// What a step came to, beside its event.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) actions: Vec<Action>,
    pub(super) left: Vec<Event<'static>>,
    /// The machine as it was.
    pub(super) is_unchanged: bool,
}

impl Judge {
    pub(super) fn new(limits: &Limits, policy: Policy) -> Self {
        Self {
            limits: *limits,
            budgets: Budgets::new(policy),
            live: BTreeSet::new(),
            started: false,
            closed: None,
            open: None,
            pinged: None,
            answered: None,
            asking: false,
            not_before: Instant::ORIGIN,
            pending: Vec::new(),
            left: VecDeque::new(),
            outbox: VecDeque::new(),
            last: Epoch::default(),
        }
    }

    /// Whether the client holds the transport of `epoch`.
    pub(super) fn is_live(&self, epoch: Epoch) -> bool {
        self.live.contains(&epoch)
    }

    pub(super) fn open(&self) -> Option<Epoch> {
        self.open.map(|open| open.0)
    }

    pub(super) const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    pub(super) fn pending(&self) -> &[String] {
        &self.pending
    }

    /// A timeout was handled, or the machine was told that it woke.
    fn slept(&self, fact: &Fact<'_>, due: Option<Instant>, now: Instant) -> bool {
        match fact {
            Fact::Wake => true,
            Fact::Time => {
                due.is_some_and(|due| due <= now && now.since(due) >= self.limits.sleep_lateness())
            }
            _ => false,
        }
    }

    /// `fact` was told at `now`, when `due` was the deadline.
    pub(super) fn step(
        &mut self,
        fact: &Fact<'_>,
        event: Option<&Event<'_>>,
        step: &Step,
        due: Option<Instant>,
        now: Instant,
        reached: &mut Reached,
    ) {
        self.epochs(fact, event, step, reached);
        let slept = self.slept(fact, due, now) && self.started && self.closed.is_none();
        if slept {
            reached.sleeps += 1;
            self.woke(step, now);
        }
        self.started |= matches!(fact, Fact::Connect);
        self.facts(fact, now);
        self.said(fact, event, now, reached);
        for action in &step.actions {
            self.act(*action, slept, now, reached);
        }
        for left in &step.left {
            let expected = self.left.pop_front().map(|id| Event::RequestCancelled {
                request_id: id.into(),
                cancelled: Cancelled::Reconnected,
            });
            assert_eq!(Some(left), expected.as_ref(), "a request left behind");
            reached.left_behind += 1;
        }
        assert!(
            self.left.is_empty(),
            "left behind without a word: {:?}",
            self.left
        );
    }

    /// Point 3: a fact of a former transport changes nothing.
    fn epochs(
        &self,
        fact: &Fact<'_>,
        event: Option<&Event<'_>>,
        step: &Step,
        reached: &mut Reached,
    ) {
        if let Fact::Opened(epoch)
        | Fact::DialFailed(epoch, _)
        | Fact::Gone(epoch, _)
        | Fact::Message(epoch, _)
        | Fact::Pong(epoch)
        | Fact::TooLong(epoch) = fact
            && !self.live.contains(epoch)
        {
            reached.late += 1;
            let is_heard = event.is_some() || !step.is_unchanged || !step.actions.is_empty();
            assert!(!is_heard, "a former transport was heard: {fact:?}");
        }
    }

    /// Point 9: whoever slept starts again, and probes or dials at once.
    fn woke(&mut self, step: &Step, now: Instant) {
        self.budgets.restart();
        self.not_before = now;
        let is_awake = match (self.open, self.asking) {
            (Some((epoch, ..)), _) => step.actions.contains(&Action::Ping(epoch)),
            (None, true) => true,
            (None, false) => matches!(step.actions.last(), Some(Action::Dial(_))),
        };
        assert!(is_awake, "woke and did nothing: {:?}", step.actions);
        if let Some(open) = &mut self.open {
            open.2 = now;
        }
    }

    /// What the facts themselves change.
    fn facts(&mut self, fact: &Fact<'_>, now: Instant) {
        match fact {
            Fact::DialFailed(epoch, _) | Fact::Gone(epoch, _) => {
                self.live.remove(epoch);
            }
            Fact::Pong(epoch) | Fact::Message(epoch, _) if self.open() == Some(*epoch) => {
                if let Some(open) = &mut self.open {
                    open.2 = now;
                    self.answered = self.pinged.take().or(self.answered);
                    open.3 |= matches!(fact, Fact::Message(_, said) if **said != Said::Junk);
                }
            }
            _ => {}
        }
    }

    fn said(
        &mut self,
        fact: &Fact<'_>,
        event: Option<&Event<'_>>,
        now: Instant,
        reached: &mut Reached,
    ) {
        if let (Fact::Token(_, false), true) = (fact, self.asking) {
            let is_over = matches!(event, Some(Event::Closed { .. }));
            assert!(is_over, "went on with a refused token: {event:?}");
        }
        let Some(event) = event else {
            return;
        };
        assert_eq!(self.closed, None, "said something after the end: {event:?}");
        match event {
            Event::Connected => {
                let Some(epoch) = self.live.first() else {
                    panic!("connected to nobody");
                };
                self.open = Some((*epoch, now, now, false));
                (self.pinged, self.answered) = (None, None);
                self.left.extend(self.pending.drain(..));
                reached.connected += 1;
            }
            Event::RequestArrived { request_id, .. } => {
                self.forget(request_id);
                self.pending.push(request_id.clone().into_owned());
            }
            Event::RequestRefused {
                request_id,
                answered,
            } => {
                // One that is served found no room, and does not wait any more if it did.
                if matches!(fact, Fact::Message(_, Said::Ask { subtype, .. }) if *subtype == "can_use_tool")
                {
                    self.forget(request_id);
                }
                if *answered {
                    self.outbox.push_back(request_id.clone().into_owned());
                }
                reached.refused_requests += 1;
            }
            Event::RequestCancelled { request_id, .. } => self.forget(request_id),
            Event::Reconnecting {
                attempt,
                delay,
                cause,
            } => {
                self.retries(*attempt, *delay, *cause, now, reached);
                self.not_before = now.after(*delay);
                (self.open, self.asking) = (None, false);
                reached.retries += 1;
            }
            Event::Closed { reason } => {
                self.ends(*reason, now, reached);
                (self.open, self.asking) = (None, false);
                self.pending.clear();
                self.closed = Some(*reason);
            }
            _ => {}
        }
    }

    /// An answer to `id` was taken, or nobody waits for one any more.
    pub(super) fn forget(&mut self, id: &str) {
        self.pending.retain(|pending| pending != id);
    }

    /// Points 1, 2 and 8: what is spent, and the delay.
    fn retries(
        &mut self,
        attempt: u32,
        delay: Duration,
        cause: Cause,
        now: Instant,
        reached: &mut Reached,
    ) {
        match cause {
            Cause::Slept => return assert_eq!((attempt, delay), (0, Duration::ZERO)),
            Cause::Forced => {
                self.budgets.restart();
                let forced = self.budgets.policy().forced_delay();
                return assert_eq!((attempt, delay), (0, forced));
            }
            Cause::NoPong => reached.half_open += 1,
            Cause::DialTimedOut => reached.stalled += 1,
            _ => {}
        }
        match self.spend(cause, now, reached) {
            Ok((expected, delays)) => {
                assert!(
                    attempt >= expected,
                    "a budget was reset without proof: {attempt} of {expected}"
                );
                assert_eq!(attempt, expected, "spent more than failed");
                assert!(
                    delays.contains(&delay),
                    "a delay outside of the policy: {delay:?}, {delays:?}"
                );
            }
            Err(why) => panic!("goes on without a budget: {why}"),
        }
    }

    fn spend(
        &mut self,
        cause: Cause,
        now: Instant,
        reached: &mut Reached,
    ) -> Result<(u32, std::ops::RangeInclusive<Duration>), GaveUp> {
        if let Some((_, since, _, spoke)) = self.open {
            let before = self.budgets.spent();
            // Silence proves nothing: it counts until the last ping that was answered, or until
            // the server's own close.
            let until = match cause {
                Cause::ConnectionClosed(Some(_)) => now,
                _ => self.answered.unwrap_or(since),
            };
            self.budgets.ended(until.since(since), spoke);
            reached.proofs += u64::from(self.budgets.spent() < before);
        }
        let (budget, retry_after) = match cause {
            Cause::ConnectionClosed(Some(4_001)) => (Budget::NotFound, None),
            Cause::DialFailed(DialFailure::Status {
                status,
                retry_after,
            }) => match status {
                404 => (Budget::NotFound, retry_after),
                408 | 425 | 429 | 500..600 => (Budget::Transient, retry_after),
                _ => (Budget::Transient, None),
            },
            _ => (Budget::Transient, None),
        };
        reached.retry_afters += u64::from(retry_after.is_some());
        self.budgets.fail(budget, retry_after, now)
    }

    /// An ending has its reason.
    fn ends(&mut self, reason: CloseReason, now: Instant, reached: &mut Reached) {
        *match reason {
            CloseReason::User => &mut reached.closed,
            CloseReason::Unauthorized => &mut reached.unauthorized,
            CloseReason::Refused(_) => &mut reached.refused,
            CloseReason::GaveUp { why, cause } => {
                let spent = self.spend(cause, now, reached);
                assert!(spent.is_err(), "gave up too early: {why}, {cause}");
                assert_eq!(spent.err(), Some(why), "why it gave up");
                match why {
                    GaveUp::Retries => &mut reached.out_of_retries,
                    _ => &mut reached.out_of_time,
                }
            }
            other => panic!("no such ending: {other:?}"),
        } += 1;
    }

    /// Points 4 and 8: one transport at most, none after the end, and none too early.
    fn act(&mut self, action: Action, slept: bool, now: Instant, reached: &mut Reached) {
        match action {
            Action::Dial(epoch) => {
                assert_eq!(self.closed, None, "a transport after the end");
                assert!(
                    self.live.is_empty(),
                    "a second transport: {:?}, {epoch:?}",
                    self.live
                );
                assert!(epoch > self.last, "epochs rise");
                assert!(slept || now >= self.not_before, "dialled before its time");
                self.last = epoch;
                self.live.insert(epoch);
                reached.dials += 1;
            }
            Action::Hangup(epoch) => {
                let was_live = self.live.remove(&epoch);
                assert!(was_live, "hangs up what is gone: {epoch:?}");
            }
            Action::Ping(epoch) => {
                assert_eq!(self.open(), Some(epoch), "pings a transport");
                self.pinged = Some(now);
            }
            Action::AskToken(epoch) => {
                assert_eq!(epoch, self.last, "asks for the last dial's token");
                self.asking = true;
            }
        }
    }

    /// What holds between steps.
    pub(super) fn rest(&self, machine: &Subscription, due: Option<Instant>, now: Instant) {
        let waits = self.started && self.closed.is_none();
        // Point 5.
        assert_eq!(
            due.is_some(),
            waits,
            "waits without a deadline, or for nothing"
        );
        if let Some(due) = due {
            let longest = longest_wait(&self.limits, self.budgets.policy());
            assert!(due.since(now) <= longest, "waits for too long");
        }
        if self.closed.is_some() {
            assert!(
                self.live.is_empty(),
                "a transport after the end: {:?}",
                self.live
            );
        }
        // A link that says nothing is found within two pings.
        if let Some((epoch, _, heard, _)) = self.open {
            let most = 2 * self.limits.ping_interval() + SLACK;
            let silence = now.since(heard);
            assert!(
                silence <= most,
                "a dead link was not found: {epoch:?}, {silence:?}"
            );
        }
        // Point 6.
        assert_eq!(
            machine.unsent(),
            self.outbox.len(),
            "a frame was lost or is out of order"
        );
        assert_eq!(
            machine.pending_requests(),
            self.pending.len(),
            "pending requests"
        );
    }
}

/// The longest time that anything is waited for.
fn longest_wait(limits: &Limits, policy: &Policy) -> Duration {
    let delays = [policy.transient(), policy.not_found()].map(|schedule| schedule.max_delay);
    let delay = delays[0].max(delays[1]) + policy.max_retry_after();
    [
        limits.dial_timeout(),
        limits.token_timeout(),
        limits.ping_interval(),
        limits.probe_timeout(),
        policy.forced_delay(),
    ]
    .into_iter()
    .fold(delay, Duration::max)
}
