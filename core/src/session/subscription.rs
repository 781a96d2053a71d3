//! Keeps the subscription to one session up (sessions.md §1, §3).
//!
//! ```text
//!             connect                  opened
//!   Idle ───────────────> Dialing ───────────────> Open ── ping, pong, …
//!                          │  ▲ until   closed, no pong │
//!              dial failed │  └────── Backoff <─────────┤
//!               or timeout └─────────────^              │
//!                          │ 401, 403                   │ code 4003
//!                          v            no other token  v
//!                       AwaitingToken ─────────────> Closed <── close, spent budget
//! ```
//!
//! Every state but `Idle` and `Closed` has a deadline. At most one transport lives: a new dial
//! is only asked for after the hang-up of the one before.

use alloc::borrow::Cow;
use alloc::string::String;
use core::time::Duration;

use super::control::{Frame, NotForwarded, Request, Response};
use super::event::{
    Action, Cancelled, Cause, CloseReason, DialFailure, Epoch, Event, SendError, Verdict,
};
use super::limits::Limits;
use super::queue::{Frames, Requests};
use crate::backoff::{Backoff, Budget, Policy};
use crate::json;
use crate::time::Instant;

/// The close code that says that the token is refused.
const UNAUTHORIZED: u16 = 4_003;
/// The close code that says that the session is not found, as while the server compacts it.
const NOT_FOUND: u16 = 4_001;

/// An answer to a request of the server. Fields that are `&str` and named for what a tool or a
/// model reads hold raw JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The tool may be used.
    Allow {
        /// Its input, as raw JSON; none: as it was asked for.
        updated_input: Option<&'a str>,
    },
    /// The tool may not be used.
    Deny {
        /// Why.
        message: &'a str,
    },
    /// It was done.
    Success {
        /// What the server is told, as raw JSON.
        response: Option<&'a str>,
    },
    /// It was not done.
    Error {
        /// Why.
        error: &'a str,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Dialing {
        epoch: Epoch,
        deadline: Instant,
    },
    AwaitingToken {
        epoch: Epoch,
        deadline: Instant,
        failure: DialFailure,
    },
    Open {
        epoch: Epoch,
        since: Instant,
        tick: Instant,
        /// When the last ping was sent, if nothing was heard since then.
        pinged: Option<Instant>,
        /// Until when the server was heard of for sure: when the last ping that it answered was
        /// sent.
        alive: Instant,
        /// A message was forwarded.
        traffic: bool,
    },
    Backoff {
        until: Instant,
    },
    Closed(CloseReason),
}

/// What the caller has not been told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Actions {
    hangup: Option<Epoch>,
    dial: Option<Epoch>,
    ping: Option<Epoch>,
    ask_token: Option<Epoch>,
}

/// The subscription to one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    limits: Limits,
    served: &'static [&'static str],
    backoff: Backoff,
    state: State,
    last: Epoch,
    connected_before: bool,
    actions: Actions,
    outbox: Frames,
    requests: Requests,
    ignored: u64,
}

impl Subscription {
    /// A subscription that is not connected; equal seeds give equal delays.
    #[must_use]
    pub fn new(limits: &Limits, policy: Policy, seed: u64) -> Self {
        Self {
            limits: *limits,
            served: &["can_use_tool"],
            backoff: Backoff::new(policy, seed),
            state: State::Idle,
            last: Epoch::default(),
            connected_before: false,
            actions: Actions::default(),
            outbox: Frames::default(),
            requests: Requests::default(),
            ignored: 0,
        }
    }

    /// The same, answering requests of these subtypes instead of `can_use_tool` alone. Any
    /// other request is refused.
    #[must_use]
    pub const fn serving(mut self, subtypes: &'static [&'static str]) -> Self {
        self.served = subtypes;
        self
    }

    /// Starts to connect; does nothing when that was done before. Changes
    /// [`Subscription::poll_timeout`].
    pub fn connect(&mut self, now: Instant) {
        if self.state == State::Idle {
            self.dial(now);
        }
    }

    /// Drops the connection, if there is one, and dials again, with whole budgets. Nothing
    /// happens while it is not connecting, or closed. Changes [`Subscription::poll_timeout`].
    pub fn reconnect(&mut self, now: Instant) -> Option<Event<'static>> {
        if matches!(self.state, State::Idle | State::Closed(_)) {
            return None;
        }
        self.hang_up();
        self.backoff.restart();
        let delay = self.backoff.policy().forced_delay();
        Some(self.wait(0, delay, Cause::Forced, now))
    }

    /// Ends it: nothing is dialled any more. Changes [`Subscription::poll_timeout`].
    pub fn close(&mut self) -> Option<Event<'static>> {
        if matches!(self.state, State::Closed(_)) {
            return None;
        }
        self.hang_up();
        Some(self.end(CloseReason::User))
    }

    /// The transport of `epoch` is open. Then [`Subscription::poll_event`] tells which requests
    /// the connection before has left. Changes [`Subscription::poll_timeout`].
    pub fn handle_opened(&mut self, epoch: Epoch, now: Instant) -> Option<Event<'static>> {
        if !self.is_dialing(epoch) {
            return None;
        }
        self.state = State::Open {
            epoch,
            since: now,
            tick: now.after(self.limits.ping_interval()),
            pinged: None,
            alive: now,
            traffic: false,
        };
        self.connected_before = true;
        self.requests.drop_all();
        Some(Event::Connected)
    }

    /// The dial of `epoch` failed. Changes [`Subscription::poll_timeout`].
    pub fn handle_dial_failed(
        &mut self,
        epoch: Epoch,
        failure: DialFailure,
        now: Instant,
    ) -> Option<Event<'static>> {
        if !self.is_dialing(epoch) {
            return None;
        }
        let cause = Cause::DialFailed(failure);
        match failure.verdict() {
            Verdict::Transient(retry_after) => {
                Some(self.fail(Budget::Transient, retry_after, cause, now))
            }
            Verdict::NotFound(retry_after) => {
                Some(self.fail(Budget::NotFound, retry_after, cause, now))
            }
            Verdict::Unauthorized => {
                self.state = State::AwaitingToken {
                    epoch,
                    deadline: now.after(self.limits.token_timeout()),
                    failure,
                };
                self.actions.ask_token = Some(epoch);
                None
            }
            Verdict::Misconfigured if self.connected_before => {
                Some(self.fail(Budget::Transient, None, cause, now))
            }
            Verdict::Misconfigured => Some(self.end(CloseReason::Refused(failure))),
        }
    }

    /// The answer to [`Action::AskToken`]: whether there is another token than the one that
    /// was refused. Changes [`Subscription::poll_timeout`].
    pub fn handle_token(
        &mut self,
        epoch: Epoch,
        another: bool,
        now: Instant,
    ) -> Option<Event<'static>> {
        let State::AwaitingToken {
            epoch: asked,
            failure,
            ..
        } = self.state
        else {
            return None;
        };
        if asked != epoch {
            return None;
        }
        Some(if another {
            let cause = Cause::DialFailed(failure);
            self.fail(Budget::Transient, None, cause, now)
        } else {
            self.end(CloseReason::Unauthorized)
        })
    }

    /// A whole text message came over the transport of `epoch`. `None` when that transport is not
    /// the open one: the message is to be dropped.
    pub fn handle_message<'a>(&mut self, epoch: Epoch, message: &'a str) -> Option<Event<'a>> {
        let State::Open {
            epoch: open,
            pinged,
            alive,
            traffic,
            ..
        } = &mut self.state
        else {
            return None;
        };
        if *open != epoch {
            return None;
        }
        *alive = pinged.take().unwrap_or(*alive);
        let frame = match Frame::parse(message) {
            Ok(frame) => frame,
            Err(why) => return Some(self.ignore(why)),
        };
        *traffic = true;
        Some(match frame {
            Frame::Request {
                request_id,
                request,
            } => self.ask(request_id, request),
            Frame::Cancel { request_id } if self.requests.remove(&request_id) => {
                let cancelled = Cancelled::ByServer;
                Event::RequestCancelled {
                    request_id,
                    cancelled,
                }
            }
            Frame::Cancel { .. } | Frame::Response { .. } | Frame::KeepAlive | Frame::Other => {
                Event::MessageReceived
            }
        })
    }

    /// A binary message came over the transport of `epoch`; it is of no use.
    pub fn handle_binary(&mut self, epoch: Epoch) -> Option<Event<'static>> {
        self.handle_pong(epoch);
        let is_open = self.is_open(epoch);
        is_open.then(|| self.ignore(NotForwarded::Binary))
    }

    /// A pong, or any other bytes, came over the transport of `epoch`: it is alive. A long
    /// message on a slow link holds back the pong behind it, so that its bytes count, too.
    pub fn handle_pong(&mut self, epoch: Epoch) {
        if let State::Open {
            epoch: open,
            pinged,
            alive,
            ..
        } = &mut self.state
            && *open == epoch
        {
            *alive = pinged.take().unwrap_or(*alive);
        }
    }

    /// The transport of `epoch` is gone: closed by the server with a code, or broken without
    /// one. Changes [`Subscription::poll_timeout`].
    pub fn handle_closed(
        &mut self,
        epoch: Epoch,
        code: Option<u16>,
        now: Instant,
    ) -> Option<Event<'static>> {
        if !self.is_open(epoch) {
            return self.handle_dial_failed(epoch, DialFailure::Unreachable, now);
        }
        if let State::Open { alive, .. } = &mut self.state
            && code.is_some()
        {
            *alive = now;
        }
        let cause = Cause::ConnectionClosed(code);
        Some(match code {
            Some(UNAUTHORIZED) => self.end(CloseReason::Unauthorized),
            Some(NOT_FOUND) => self.fail(Budget::NotFound, None, cause, now),
            Some(_) | None => self.fail(Budget::Transient, None, cause, now),
        })
    }

    /// The server sent a message of more than [`Limits::max_message_bytes`] over the transport
    /// of `epoch`, which is of no use any more. Changes [`Subscription::poll_timeout`].
    pub fn handle_message_too_long(
        &mut self,
        epoch: Epoch,
        now: Instant,
    ) -> Option<Event<'static>> {
        if !self.is_open(epoch) {
            return None;
        }
        self.hang_up();
        Some(self.fail(Budget::Transient, None, Cause::MessageTooLong, now))
    }

    /// The machine slept: the budgets start again and the connection is probed or dialled at
    /// once. Changes [`Subscription::poll_timeout`].
    pub fn handle_wake(&mut self, now: Instant) -> Option<Event<'static>> {
        match &mut self.state {
            State::Idle | State::Closed(_) => None,
            State::Open {
                epoch,
                tick,
                pinged,
                ..
            } => {
                self.backoff.restart();
                *pinged = Some(now);
                let probe = self.limits.probe_timeout();
                *tick = now.after(probe.min(self.limits.ping_interval()));
                self.actions.ping = Some(*epoch);
                None
            }
            State::AwaitingToken { deadline, .. } => {
                self.backoff.restart();
                *deadline = now.after(self.limits.token_timeout());
                None
            }
            State::Dialing { .. } | State::Backoff { .. } => {
                self.hang_up();
                self.backoff.restart();
                self.dial(now);
                Some(Event::Reconnecting {
                    attempt: 0,
                    delay: Duration::ZERO,
                    cause: Cause::Slept,
                })
            }
        }
    }

    /// When [`Subscription::handle_timeout`] is due; `None` only before
    /// [`Subscription::connect`] and after the end.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Closed(_) => None,
            State::Dialing { deadline, .. } | State::AwaitingToken { deadline, .. } => {
                Some(deadline)
            }
            State::Open { tick, .. } => Some(tick),
            State::Backoff { until } => Some(until),
        }
    }

    /// Time has passed. Far later than it was due means that the machine slept. Changes
    /// [`Subscription::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        let due = self.poll_timeout()?;
        if now < due {
            return None;
        }
        if now.since(due) >= self.limits.sleep_lateness() {
            return self.handle_wake(now);
        }
        match &mut self.state {
            State::Idle | State::Closed(_) => None,
            State::Dialing { .. } => {
                self.hang_up();
                Some(self.fail(Budget::Transient, None, Cause::DialTimedOut, now))
            }
            State::AwaitingToken { .. } => Some(self.end(CloseReason::Unauthorized)),
            State::Backoff { .. } => {
                self.dial(now);
                None
            }
            State::Open {
                pinged: Some(_), ..
            } => {
                self.hang_up();
                Some(self.fail(Budget::Transient, None, Cause::NoPong, now))
            }
            State::Open {
                epoch,
                tick,
                pinged,
                ..
            } => {
                *pinged = Some(now);
                *tick = now.after(self.limits.ping_interval());
                self.actions.ping = Some(*epoch);
                None
            }
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let actions = &mut self.actions;
        let hangup = actions.hangup.take().map(Action::Hangup);
        hangup
            .or_else(|| actions.dial.take().map(Action::Dial))
            .or_else(|| actions.ping.take().map(Action::Ping))
            .or_else(|| actions.ask_token.take().map(Action::AskToken))
    }

    /// The next request that the connection before has left unanswered. It is not to be
    /// answered any more; the server may ask it anew.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        let id = self.requests.next_dropped()?;
        Some(Event::RequestCancelled {
            request_id: Cow::Owned(String::from(id)),
            cancelled: Cancelled::Reconnected,
        })
    }

    /// Answers a request of the server, once the connection allows.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the request waits as before.
    pub fn answer(&mut self, request_id: &str, answer: Answer<'_>) -> Result<(), SendError> {
        self.check_open()?;
        let asked = self.requests.input(request_id);
        let asked = asked.ok_or(SendError::UnknownRequest)?;
        let response = match answer {
            Answer::Allow { updated_input } => Response::Allow {
                updated_input: updated_input.unwrap_or(asked),
            },
            Answer::Deny { message } => Response::Deny {
                message: message.into(),
            },
            Answer::Success { response } => Response::Success { response },
            Answer::Error { error } => Response::Error {
                error: error.into(),
            },
        };
        self.push(&response.frame(request_id))?;
        self.requests.remove(request_id);
        Ok(())
    }

    /// Asks the server, once the connection allows. Its answer comes as a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is sent.
    pub fn request(&mut self, request_id: &str, request: &Request<'_>) -> Result<(), SendError> {
        self.check_open()?;
        self.push(&request.frame(request_id))
    }

    /// The frame that is to be sent over the transport of `epoch`, as a text message.
    #[must_use]
    pub fn poll_transmit(&self, epoch: Epoch) -> Option<&str> {
        self.is_open(epoch).then(|| self.outbox.front()).flatten()
    }

    /// The frame of [`Subscription::poll_transmit`] was written to the transport of `epoch`.
    /// Without this word it is sent again over the next one.
    pub fn handle_transmitted(&mut self, epoch: Epoch) {
        if self.is_open(epoch) {
            self.outbox.pop();
        }
    }

    /// The epoch of the open transport.
    #[must_use]
    pub const fn open_epoch(&self) -> Option<Epoch> {
        if let State::Open { epoch, .. } = self.state {
            Some(epoch)
        } else {
            None
        }
    }

    /// Why it has ended.
    #[must_use]
    pub const fn close_reason(&self) -> Option<CloseReason> {
        if let State::Closed(reason) = self.state {
            Some(reason)
        } else {
            None
        }
    }

    /// How many frames wait to be sent; after the end, how many were never sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// How many requests of the server wait for their answers.
    #[must_use]
    pub fn pending_requests(&self) -> usize {
        self.requests.len()
    }

    /// How many messages were not forwarded.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the dial of `epoch` was asked for and is under way.
    fn is_dialing(&self, epoch: Epoch) -> bool {
        matches!(self.state, State::Dialing { epoch: dialled, .. } if dialled == epoch)
            && self.actions.dial.is_none()
    }

    fn is_open(&self, epoch: Epoch) -> bool {
        self.open_epoch() == Some(epoch)
    }

    fn check_open(&self) -> Result<(), SendError> {
        match self.close_reason() {
            Some(reason) => Err(SendError::Closed(reason)),
            None => Ok(()),
        }
    }

    fn push(&mut self, frame: &str) -> Result<(), SendError> {
        if !json::is_value(frame) {
            return Err(SendError::NotJson);
        }
        self.outbox.push(frame, &self.limits)
    }

    fn ignore<'a>(&mut self, why: NotForwarded) -> Event<'a> {
        self.ignored = self.ignored.saturating_add(1);
        Event::MessageIgnored(why)
    }

    /// The server asks.
    fn ask<'a>(&mut self, request_id: Cow<'a, str>, request: Request<'a>) -> Event<'a> {
        let subtype = request.subtype();
        let refusal = if !self.served.contains(&subtype) {
            let mut error = String::from("Unsupported control request subtype: ");
            error.push_str(subtype);
            error
        } else {
            let input = if let Request::CanUseTool(tool) = &request {
                tool.input
            } else {
                "{}"
            };
            if self.requests.insert(&request_id, input, &self.limits) {
                return Event::RequestArrived {
                    request_id,
                    request,
                };
            }
            String::from("Too many control requests wait for an answer")
        };
        let error = refusal.into();
        let frame = Response::Error { error }.frame(&request_id);
        let answered = self.push(&frame).is_ok();
        Event::RequestRefused {
            request_id,
            answered,
        }
    }

    fn dial(&mut self, now: Instant) {
        self.last = self.last.next();
        self.actions.dial = Some(self.last);
        self.state = State::Dialing {
            epoch: self.last,
            deadline: now.after(self.limits.dial_timeout()),
        };
    }

    /// Lets go of the transport or the dial, if there is one. A dial that the caller has not
    /// heard of is just forgotten.
    fn hang_up(&mut self) {
        let unheard = self.actions.dial.take().is_some();
        if let State::Dialing { epoch, .. } | State::Open { epoch, .. } = self.state
            && !unheard
        {
            self.actions.hangup = Some(epoch);
        }
    }

    /// The dial or the connection has failed and is no more.
    fn fail(
        &mut self,
        budget: Budget,
        retry_after: Option<Duration>,
        cause: Cause,
        now: Instant,
    ) -> Event<'static> {
        if let State::Open {
            since,
            alive,
            traffic,
            ..
        } = self.state
        {
            self.backoff.end_connection(alive.since(since), traffic);
        }
        match self.backoff.fail(budget, retry_after, now) {
            Ok(retry) => self.wait(retry.attempt, retry.delay, cause, now),
            Err(why) => self.end(CloseReason::GaveUp { why, cause }),
        }
    }

    fn wait(
        &mut self,
        attempt: u32,
        delay: Duration,
        cause: Cause,
        now: Instant,
    ) -> Event<'static> {
        self.leave_transport();
        self.state = State::Backoff {
            until: now.after(delay),
        };
        Event::Reconnecting {
            attempt,
            delay,
            cause,
        }
    }

    fn end(&mut self, reason: CloseReason) -> Event<'static> {
        self.leave_transport();
        self.state = State::Closed(reason);
        self.requests = Requests::default();
        Event::Closed { reason }
    }

    /// What was to be done with a transport that is no more is not to be done.
    const fn leave_transport(&mut self) {
        self.actions.ping = None;
        self.actions.ask_token = None;
    }
}
