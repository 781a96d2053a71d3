//! Keeps one Socket.IO connection with the relay up (relay.md §1, §9.3 to §9.6, §9.11, §9.12).
//!
//! ```text
//!          connect           opened           `0{…}`           `40{sid}`
//!   Idle ─────────> Dialing ───────> Opening ───────> Joining ──────────> Open ── events,
//!                    │  ▲ until         │                │ refused        │      acks
//!        dial failed │  └── Backoff <───┴────────────────┴────────────────┤
//!         or timeout └────────^                          │                │ closed, silent,
//!                                                        v                │ no answer
//!                                     Closed <── token refused, close, spent budget
//! ```
//!
//! Every state but `Idle` and `Closed` has a deadline. At most one transport lives: a new dial
//! is only asked for after the hang-up of the one before. What is to be sent while there is no
//! connection is refused: what must not be lost goes through the
//! [`Outbox`](super::outbox::Outbox).

mod auth;
mod books;
mod event;
mod packets;
mod sends;
mod transport;

use core::time::Duration;

pub use auth::Auth;
pub use event::{
    AckFailure, Action, Asked, Cause, CloseReason, DialFailure, EmitError, Event, Ignored, Owed,
    Refusal, Status, Violation,
};

use super::engineio;
use super::limits::Limits;
use super::socketio;
use crate::backoff::{Backoff, Budget, Epoch, Policy};
use crate::session::event::Verdict;
use crate::time::Instant;
use books::{Acks, Frame, Frames};

/// The longest data of a ping that is sent back; the relay sends none.
const MAX_PING_BYTES: usize = 125;

/// What the engine's first packet said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Engine {
    patience: Duration,
    max_payload: usize,
    /// When the heartbeat is missing.
    silent: Instant,
}

/// A `ping` of ours that was not acknowledged so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Probe {
    id: u64,
    asked: Instant,
    deadline: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Dialing {
        epoch: Epoch,
        deadline: Instant,
    },
    Opening {
        epoch: Epoch,
        deadline: Instant,
    },
    Joining {
        epoch: Epoch,
        deadline: Instant,
        engine: Engine,
    },
    Open {
        epoch: Epoch,
        engine: Engine,
        since: Instant,
        probe: Option<Probe>,
        next_probe: Instant,
        /// Until when the server was heard of for sure.
        alive: Instant,
        /// An event or an acknowledgement came.
        traffic: bool,
    },
    Backoff {
        until: Instant,
        cause: Cause,
    },
    Closed(CloseReason),
}

/// What the caller has not been told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Actions {
    hangup: Option<Epoch>,
    dial: Option<Epoch>,
}

/// One connection that is kept up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    limits: Limits,
    auth: Auth,
    backoff: Backoff,
    state: State,
    last: Epoch,
    joined_before: bool,
    actions: Actions,
    frames: Frames,
    acks: Acks,
    /// Until when the server may take the connection before for a living one.
    stale_until: Option<Instant>,
    ignored: u64,
}

impl Link {
    /// A link that is not connected; equal seeds give equal delays.
    #[must_use]
    pub fn new(limits: &Limits, auth: Auth, policy: Policy, seed: u64) -> Self {
        Self {
            limits: *limits,
            auth,
            backoff: Backoff::new(policy, seed),
            state: State::Idle,
            last: Epoch::default(),
            joined_before: false,
            actions: Actions::default(),
            frames: Frames::default(),
            acks: Acks::default(),
            stale_until: None,
            ignored: 0,
        }
    }

    /// Starts to connect; does nothing when that was done before. Changes
    /// [`Link::poll_timeout`].
    pub fn connect(&mut self, now: Instant) {
        if self.state == State::Idle {
            self.dial(now);
        }
    }

    /// Drops the connection, if there is one, and dials again, with whole budgets. Nothing
    /// happens while it is not connecting, or closed. Changes [`Link::poll_timeout`].
    pub fn reconnect(&mut self, now: Instant) -> Option<Event<'static>> {
        if matches!(self.state, State::Idle | State::Closed(_)) {
            return None;
        }
        self.hang_up();
        self.lose(Cause::Forced);
        self.backoff.restart();
        let delay = self.backoff.policy().forced_delay();
        Some(self.wait(0, delay, Cause::Forced, None, now))
    }

    /// Ends it: nothing is dialled any more. Changes [`Link::poll_timeout`].
    pub fn close(&mut self) -> Option<Event<'static>> {
        if matches!(self.state, State::Closed(_)) {
            return None;
        }
        self.hang_up();
        Some(self.end(CloseReason::User, None))
    }

    /// The WebSocket of `epoch` is open. Changes [`Link::poll_timeout`].
    pub fn handle_opened(&mut self, epoch: Epoch) {
        if let State::Dialing {
            epoch: dialled,
            deadline,
        } = self.state
            && dialled == epoch
            && self.actions.dial.is_none()
        {
            self.state = State::Opening { epoch, deadline };
        }
    }

    /// The dial of `epoch` failed. Changes [`Link::poll_timeout`].
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
        Some(match failure.verdict() {
            Verdict::Transient(retry_after) => {
                self.fail(Budget::Transient, retry_after, cause, None, now)
            }
            Verdict::NotFound(retry_after) => {
                self.fail(Budget::NotFound, retry_after, cause, None, now)
            }
            Verdict::Misconfigured if self.joined_before => {
                self.fail(Budget::Transient, None, cause, None, now)
            }
            Verdict::Unauthorized | Verdict::Misconfigured => {
                self.end(CloseReason::DialRefused(failure), None)
            }
        })
    }

    /// The transport of `epoch` is gone: closed by the server with a code, 1005 for a close
    /// frame without one, or broken. Changes [`Link::poll_timeout`].
    pub fn handle_closed(
        &mut self,
        epoch: Epoch,
        code: Option<u16>,
        now: Instant,
    ) -> Option<Event<'static>> {
        if self.is_dialing(epoch) {
            return self.handle_dial_failed(epoch, DialFailure::Unreachable, now);
        }
        if !self.has_transport(epoch) {
            return None;
        }
        let cause = Cause::ConnectionClosed(code);
        Some(self.fail(Budget::Transient, None, cause, None, now))
    }

    /// The server sent a text frame that is longer than the caller takes over the transport of
    /// `epoch`. Changes [`Link::poll_timeout`].
    pub fn handle_message_too_long(
        &mut self,
        epoch: Epoch,
        now: Instant,
    ) -> Option<Event<'static>> {
        let live = self.has_transport(epoch);
        live.then(|| self.drop_transport(Cause::MessageTooLong, None, now))
    }

    /// A binary frame came over the transport of `epoch`. Changes [`Link::poll_timeout`].
    pub fn handle_binary(&mut self, epoch: Epoch, now: Instant) -> Option<Event<'static>> {
        let live = self.has_transport(epoch);
        live.then(|| self.violate(Violation::Binary, now))
    }

    /// A text frame came over the transport of `epoch`. `None` also when that transport is not
    /// the present one: the frame is to be dropped. Changes [`Link::poll_timeout`].
    pub fn handle_message<'a>(
        &mut self,
        epoch: Epoch,
        frame: &'a str,
        now: Instant,
    ) -> Option<Event<'a>> {
        if !self.has_transport(epoch) {
            return None;
        }
        let packet = match engineio::Packet::decode(frame) {
            Ok(packet) => packet,
            Err(violation) => return Some(self.violate(Violation::Engine(violation), now)),
        };
        self.handle_bytes(epoch, now);
        let opening = matches!(self.state, State::Opening { .. });
        match packet {
            engineio::Packet::Open(handshake) if opening => {
                self.join(epoch, &handshake, now);
                None
            }
            engineio::Packet::Ping(data) if !opening => self.heartbeat(data, now),
            engineio::Packet::Message(text) if !opening => match socketio::Packet::decode(text) {
                Ok(packet) => self.packet(packet, now),
                Err(violation) => Some(self.violate(Violation::Socket(violation), now)),
            },
            engineio::Packet::Open(_)
            | engineio::Packet::Ping(_)
            | engineio::Packet::Message(_) => Some(self.violate(Violation::OutOfTurn, now)),
            // The reference ignores these, too; the end of the transport follows a close.
            engineio::Packet::Close
            | engineio::Packet::Pong(_)
            | engineio::Packet::Upgrade
            | engineio::Packet::Noop => None,
        }
    }

    /// Bytes came over the transport of `epoch`. A long frame on a slow link holds back the
    /// acknowledgement behind it, so that its bytes count, too. Changes [`Link::poll_timeout`].
    pub fn handle_bytes(&mut self, epoch: Epoch, now: Instant) {
        let span = self.limits.probe_timeout();
        if let State::Open {
            epoch: open,
            probe: Some(probe),
            engine,
            ..
        } = &mut self.state
            && *open == epoch
        {
            let most = probe.asked.after(engine.patience);
            probe.deadline = probe.deadline.max(now.after(span)).min(most);
        }
    }

    /// The machine slept: the budgets start again and the connection is probed or dialled at
    /// once. Changes [`Link::poll_timeout`].
    pub fn handle_wake(&mut self, now: Instant) -> Option<Event<'static>> {
        match &mut self.state {
            State::Idle | State::Closed(_) => None,
            State::Open { engine, probe, .. } => {
                let soon = now.after(self.limits.probe_timeout());
                engine.silent = engine.silent.max(soon);
                self.backoff.restart();
                match probe {
                    Some(probe) => (probe.asked, probe.deadline) = (now, soon),
                    None => self.probe(now),
                }
                self.acks.expire(now);
                None
            }
            State::Dialing { .. }
            | State::Opening { .. }
            | State::Joining { .. }
            | State::Backoff { .. } => {
                self.hang_up();
                self.lose(Cause::Slept);
                self.backoff.restart();
                self.dial(now);
                Some(Event::Reconnecting {
                    attempt: 0,
                    delay: Duration::ZERO,
                    cause: Cause::Slept,
                    said: None,
                })
            }
        }
    }

    /// When [`Link::handle_timeout`] is due; `None` only before [`Link::connect`] and after the
    /// end.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Idle | State::Closed(_) => None,
            State::Dialing { deadline, .. } | State::Opening { deadline, .. } => Some(*deadline),
            State::Joining {
                deadline, engine, ..
            } => Some(engine.silent.min(*deadline)),
            State::Open {
                engine,
                probe,
                next_probe,
                ..
            } => {
                let tick = probe.map_or(*next_probe, |probe| probe.deadline);
                let tick = tick.min(engine.silent);
                self.acks.deadline().into_iter().chain([tick]).min()
            }
            State::Backoff { until, .. } => Some(*until),
        }
    }

    /// Time has passed. Far later than it was due means that the machine slept. Changes
    /// [`Link::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        let due = self.poll_timeout()?;
        if now < due {
            return None;
        }
        if now.since(due) >= self.limits.sleep_lateness() {
            return self.handle_wake(now);
        }
        match &self.state {
            State::Idle | State::Closed(_) => None,
            State::Dialing { .. } | State::Opening { .. } => {
                Some(self.drop_transport(Cause::DialTimedOut, None, now))
            }
            State::Joining { engine, .. } if now >= engine.silent => {
                Some(self.drop_transport(Cause::NoHeartbeat, None, now))
            }
            State::Joining { .. } => Some(self.drop_transport(Cause::JoinTimedOut, None, now)),
            State::Open { engine, .. } if now >= engine.silent => {
                Some(self.drop_transport(Cause::NoHeartbeat, None, now))
            }
            State::Open {
                probe: Some(probe), ..
            } if now >= probe.deadline => Some(self.drop_transport(Cause::NoAnswer, None, now)),
            State::Open {
                probe, next_probe, ..
            } => {
                if probe.is_none() && now >= *next_probe {
                    self.probe(now);
                }
                self.acks.expire(now);
                None
            }
            State::Backoff { .. } => {
                self.dial(now);
                None
            }
        }
    }

    /// The next thing to do.
    pub const fn poll_action(&mut self) -> Option<Action> {
        if let Some(epoch) = self.actions.hangup.take() {
            return Some(Action::Hangup(epoch));
        }
        match self.actions.dial.take() {
            Some(epoch) => Some(Action::Dial(epoch)),
            None => None,
        }
    }

    /// The next acknowledgement that is lost.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        self.acks.next_lost()
    }

    /// The frame that is to be written to the transport of `epoch`, as a text message.
    #[must_use]
    pub fn poll_transmit(&self, epoch: Epoch) -> Option<&str> {
        if !self.has_transport(epoch) {
            return None;
        }
        Some(match self.frames.front()? {
            Frame::Join => self.auth.expose(),
            Frame::Pong(text)
            | Frame::Probe(text)
            | Frame::Packet(text)
            | Frame::Volatile(text) => text,
        })
    }

    /// The frame of [`Link::poll_transmit`] was written to the transport of `epoch`. What was
    /// ahead of our `ping` has held that back. Changes [`Link::poll_timeout`].
    pub fn handle_transmitted(&mut self, epoch: Epoch, now: Instant) {
        if self.has_transport(epoch) {
            // What goes out behind it says nothing: signs of life would put off for a minute
            // what the `ping` is to find in seconds.
            let holds_back = self.frames.has_probe();
            self.frames.pop();
            if holds_back {
                self.handle_bytes(epoch, now);
            }
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.state {
            State::Idle => Status::Idle,
            State::Dialing { .. } | State::Opening { .. } | State::Joining { .. } => {
                Status::Connecting
            }
            State::Open { .. } => Status::Open,
            State::Backoff { cause, .. } => Status::Waiting(cause),
            State::Closed(reason) => Status::Closed(reason),
        }
    }

    /// The epoch of the transport, if there is one.
    #[must_use]
    pub const fn transport(&self) -> Option<Epoch> {
        match self.state {
            State::Opening { epoch, .. }
            | State::Joining { epoch, .. }
            | State::Open { epoch, .. } => Some(epoch),
            State::Idle | State::Dialing { .. } | State::Backoff { .. } | State::Closed(_) => None,
        }
    }

    /// Whether events can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// How many frames wait to be written.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.frames.len()
    }

    /// How many packets were not passed on.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether the dial of `epoch` was asked for and is under way.
    fn is_dialing(&self, epoch: Epoch) -> bool {
        matches!(self.state, State::Dialing { epoch: dialled, .. } if dialled == epoch)
            && self.actions.dial.is_none()
    }

    fn has_transport(&self, epoch: Epoch) -> bool {
        self.transport() == Some(epoch)
    }
}
