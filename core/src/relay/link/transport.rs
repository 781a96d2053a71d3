//! How connections begin and end.

use core::time::Duration;

use super::books::Frames;
use super::event::{Cause, CloseReason, Event, Violation};
use super::{Link, State};
use crate::backoff::Budget;
use crate::relay::raw::Text;
use crate::time::Instant;

/// How connections begin and end.
impl Link {
    pub(super) fn dial(&mut self, now: Instant) {
        self.last = self.last.next();
        self.actions.dial = Some(self.last);
        self.state = State::Dialing {
            epoch: self.last,
            deadline: now.after(self.limits.connect_timeout()),
        };
    }

    /// Lets go of the transport or the dial, if there is one. A dial that the caller has not
    /// heard of is just forgotten.
    pub(super) const fn hang_up(&mut self) {
        let unheard = self.actions.dial.take().is_some();
        if let State::Dialing { epoch, .. }
        | State::Opening { epoch, .. }
        | State::Joining { epoch, .. }
        | State::Open { epoch, .. } = self.state
            && !unheard
        {
            self.actions.hangup = Some(epoch);
        }
    }

    pub(super) fn violate(&mut self, violation: Violation, now: Instant) -> Event<'static> {
        self.drop_transport(Cause::Violation(violation), None, now)
    }

    pub(super) fn drop_transport<'a>(
        &mut self,
        cause: Cause,
        said: Option<Text<'a>>,
        now: Instant,
    ) -> Event<'a> {
        self.hang_up();
        self.fail(Budget::Transient, None, cause, said, now)
    }

    /// What was under way over the transport is lost.
    pub(super) fn lose(&mut self, cause: Cause) {
        if let State::Open { engine, .. } = self.state {
            self.stale_until = (!cause.is_clean()).then_some(engine.silent);
        }
        self.frames = Frames::default();
        self.acks.disconnect();
    }

    /// The dial or the connection has failed and is no more.
    pub(super) fn fail<'a>(
        &mut self,
        budget: Budget,
        retry_after: Option<Duration>,
        cause: Cause,
        said: Option<Text<'a>>,
        now: Instant,
    ) -> Event<'a> {
        if let State::Open {
            since,
            alive,
            traffic,
            ..
        } = self.state
        {
            self.backoff.end_connection(alive.since(since), traffic);
        }
        self.lose(cause);
        match self.backoff.fail(budget, retry_after, now) {
            Ok(retry) => self.wait(retry.attempt, retry.delay, cause, said, now),
            Err(why) => self.end(CloseReason::GaveUp { why, cause }, said),
        }
    }

    pub(super) fn wait<'a>(
        &mut self,
        attempt: u32,
        delay: Duration,
        cause: Cause,
        said: Option<Text<'a>>,
        now: Instant,
    ) -> Event<'a> {
        self.state = State::Backoff {
            until: now.after(delay),
            cause,
        };
        Event::Reconnecting {
            attempt,
            delay,
            cause,
            said,
        }
    }

    pub(super) fn end<'a>(&mut self, reason: CloseReason, said: Option<Text<'a>>) -> Event<'a> {
        self.lose(Cause::Forced);
        self.state = State::Closed(reason);
        Event::Closed { reason, said }
    }
}
