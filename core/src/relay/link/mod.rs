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

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

pub use auth::Auth;
pub use event::{
    AckFailure, Action, Asked, Cause, CloseReason, DialFailure, EmitError, Event, Ignored, Owed,
    Refusal, Status, Violation,
};

use super::engineio::{self, Handshake};
use super::limits::Limits;
use super::raw::{Raw, Text};
use super::socketio::{self, AckId, Args, Body};
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
        if self.is_dialing(epoch)
            && let State::Dialing { deadline, .. } = self.state
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

    /// Bytes came over the transport of `epoch`, or left for it. A long frame on a slow link
    /// holds back the acknowledgement behind it, so that its bytes count, too. Changes
    /// [`Link::poll_timeout`].
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

    /// The frame of [`Link::poll_transmit`] was written to the transport of `epoch`.
    pub fn handle_transmitted(&mut self, epoch: Epoch, now: Instant) {
        if self.has_transport(epoch) {
            self.frames.pop();
            self.handle_bytes(epoch, now);
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit(&mut self, name: &str, argument: Option<Raw<'_>>) -> Result<(), EmitError> {
        let frame = self.frame(None, name, argument)?;
        self.push(Frame::Packet(frame))
    }

    /// Sends an event that is worth nothing later: it is refused, too, while another one waits
    /// to be written (relay.md §9.6).
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit_volatile(
        &mut self,
        name: &str,
        argument: Option<Raw<'_>>,
    ) -> Result<(), EmitError> {
        let frame = self.frame(None, name, argument)?;
        if self.frames.has_volatile() {
            return Err(EmitError::Full);
        }
        self.push(Frame::Volatile(frame))
    }

    /// Sends an event that the server is to acknowledge within [`Limits::ack_timeout`]. Changes
    /// [`Link::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit_with_ack(
        &mut self,
        name: &str,
        argument: Option<Raw<'_>>,
        now: Instant,
    ) -> Result<Asked, EmitError> {
        let id = self.acks.next_id();
        let frame = self.frame(Some(id), name, argument)?;
        if !self.acks.has_room(&self.limits) {
            return Err(EmitError::Full);
        }
        self.push(Frame::Packet(frame))?;
        self.acks.take_id();
        self.acks.ask(id, now.after(self.limits.ack_timeout()));
        Ok(Asked(id))
    }

    /// Acknowledges an event of the server's, once. Changes [`Link::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`EmitError`]; it still waits for its acknowledgement when that was too long, or when
    /// there was no room.
    pub fn answer(&mut self, owed: Owed, argument: Option<Raw<'_>>) -> Result<(), EmitError> {
        let id = self.acks.digits(owed).ok_or(EmitError::UnknownRequest)?;
        let mut frame = String::from("4");
        socketio::write_ack(&mut frame, id, argument);
        self.check_length(frame.len())?;
        self.push(Frame::Packet(frame.into_boxed_str()))?;
        self.acks.answered(owed);
        Ok(())
    }

    /// The longest frame that is taken at present.
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        let own = self.limits.max_frame_bytes();
        if let State::Open { engine, .. } = self.state {
            engine.max_payload.min(own)
        } else {
            own
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

    /// Whether there is room for another event that is to be acknowledged.
    #[must_use]
    pub fn has_room_for_ack(&self) -> bool {
        self.acks.has_room(&self.limits)
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

/// What packets do.
impl Link {
    fn join(&mut self, epoch: Epoch, handshake: &Handshake<'_>, now: Instant) {
        let patience = handshake.patience();
        self.frames.push_own(Frame::Join);
        self.state = State::Joining {
            epoch,
            deadline: now.after(self.limits.join_timeout()),
            engine: Engine {
                patience,
                max_payload: handshake.max_payload.unwrap_or(usize::MAX),
                silent: now.after(patience),
            },
        };
    }

    fn heartbeat(&mut self, data: &str, now: Instant) -> Option<Event<'static>> {
        if data.len() > MAX_PING_BYTES {
            return Some(self.violate(Violation::LongPing, now));
        }
        if let State::Joining { engine, .. } | State::Open { engine, .. } = &mut self.state {
            engine.silent = now.after(engine.patience);
        }
        if let State::Open { alive, .. } = &mut self.state {
            *alive = now;
        }
        let pong = engineio::Packet::Pong(data).encode();
        self.frames.push_own(Frame::Pong(pong.into_boxed_str()));
        None
    }

    fn packet<'a>(&mut self, packet: socketio::Packet<'a>, now: Instant) -> Option<Event<'a>> {
        if packet.namespace != socketio::Packet::ROOT {
            return Some(self.ignore(Ignored::Meaningless));
        }
        let open = self.is_open();
        match packet.body {
            Body::Connect(data) if !open => Some(self.joined(data, now)),
            Body::ConnectError(data) if !open => {
                let said = data.and_then(said);
                Some(self.refused(Refusal::of(said.as_ref()), said, now))
            }
            Body::Disconnect => Some(self.drop_transport(Cause::ServerDisconnected, None, now)),
            Body::Event(id, Some(args)) if open => Some(self.event(id, args, now)),
            Body::Ack(id, args) if open => self.ack(id, args, now),
            Body::Connect(_) | Body::ConnectError(_) | Body::Event(..) | Body::Ack(..) => {
                Some(self.ignore(Ignored::Meaningless))
            }
        }
    }

    fn joined(&mut self, data: Option<Raw<'_>>, now: Instant) -> Event<'static> {
        let State::Joining { epoch, engine, .. } = self.state else {
            return self.ignore(Ignored::Meaningless);
        };
        let sid = data.and_then(|data| data.get("sid")).and_then(Raw::text);
        if sid.is_none() {
            if self.joined_before {
                return self.drop_transport(Cause::Incompatible, None, now);
            }
            self.hang_up();
            return self.end(CloseReason::Incompatible, None);
        }
        self.joined_before = true;
        self.state = State::Open {
            epoch,
            engine,
            since: now,
            probe: None,
            next_probe: now.after(self.limits.probe_interval()),
            alive: now,
            traffic: false,
        };
        let stale_until = self.stale_until.take().filter(|until| now < *until);
        Event::Connected { stale_until }
    }

    fn refused<'a>(&mut self, refusal: Refusal, said: Option<Text<'a>>, now: Instant) -> Event<'a> {
        self.hang_up();
        if refusal.retries() {
            let cause = Cause::Refused(refusal);
            return self.fail(Budget::NotFound, None, cause, said, now);
        }
        self.end(CloseReason::Refused(refusal), said)
    }

    fn event<'a>(&mut self, id: Option<AckId<'a>>, args: Args<'a>, now: Instant) -> Event<'a> {
        if let State::Open { traffic, .. } = &mut self.state {
            *traffic = true;
        }
        let Some(name) = args.name() else {
            return self.ignore(Ignored::Unnamed);
        };
        let argument = args.argument();
        if name.is("error") {
            // How the server of old refuses: after its consent, and just before `41`.
            let said = argument.and_then(said);
            let refusal = Refusal::of(said.as_ref());
            if !refusal.retries() {
                return self.refused(refusal, said, now);
            }
        }
        let owed = match id.map(|id| self.acks.owe(id, now, &self.limits)) {
            None => None,
            Some(Ok(owed)) => Some(owed),
            Some(Err(why)) => return self.ignore(why),
        };
        Event::Received {
            name,
            argument,
            owed,
        }
    }

    fn ack<'a>(
        &mut self,
        id: Option<AckId<'a>>,
        args: Option<Raw<'a>>,
        now: Instant,
    ) -> Option<Event<'a>> {
        let id = id.and_then(AckId::get);
        if let State::Open {
            probe,
            next_probe,
            alive,
            ..
        } = &mut self.state
            && let Some(asked) = *probe
            && id == Some(asked.id)
        {
            *probe = None;
            *alive = (*alive).max(asked.asked);
            *next_probe = now.after(self.limits.probe_interval());
            return None;
        }
        let Some(asked) = id.and_then(|id| self.acks.acked(id)) else {
            return Some(self.ignore(Ignored::UnknownAck));
        };
        if let State::Open { traffic, .. } = &mut self.state {
            *traffic = true;
        }
        let argument = args.and_then(Raw::elements).and_then(|[first]| first);
        Some(Event::Acked { asked, argument })
    }

    const fn ignore(&mut self, why: Ignored) -> Event<'static> {
        self.ignored = self.ignored.saturating_add(1);
        Event::Ignored(why)
    }

    /// Asks whether the server is there.
    fn probe(&mut self, now: Instant) {
        let id = self.acks.next_id();
        let mut frame = String::from("4");
        let written = socketio::write_event(&mut frame, Some(id), "ping", None);
        debug_assert!(written.is_ok());
        if let State::Open { probe, .. } = &mut self.state {
            *probe = Some(Probe {
                id,
                asked: now,
                deadline: now.after(self.limits.probe_timeout()),
            });
            self.acks.take_id();
            self.frames.push_own(Frame::Probe(frame.into_boxed_str()));
        }
    }

    fn frame(
        &self,
        id: Option<u64>,
        name: &str,
        argument: Option<Raw<'_>>,
    ) -> Result<Box<str>, EmitError> {
        match self.status() {
            Status::Open => {}
            Status::Closed(reason) => return Err(EmitError::Closed(reason)),
            Status::Idle | Status::Connecting | Status::Waiting(_) => {
                return Err(EmitError::NotConnected);
            }
        }
        // A payload that is too long is not copied first.
        self.check_length(argument.map_or(0, |raw| raw.as_str().len()))?;
        let mut frame = String::from("4");
        socketio::write_event(&mut frame, id, name, argument)
            .map_err(|_| EmitError::ReservedName)?;
        self.check_length(frame.len())?;
        Ok(frame.into_boxed_str())
    }

    fn check_length(&self, bytes: usize) -> Result<(), EmitError> {
        let limit = self.max_frame_bytes();
        if bytes > limit {
            return Err(EmitError::TooLong { bytes, limit });
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) -> Result<(), EmitError> {
        self.frames.push(frame, &self.limits)
    }
}

/// How connections begin and end.
impl Link {
    fn dial(&mut self, now: Instant) {
        self.last = self.last.next();
        self.actions.dial = Some(self.last);
        self.state = State::Dialing {
            epoch: self.last,
            deadline: now.after(self.limits.connect_timeout()),
        };
    }

    /// Lets go of the transport or the dial, if there is one. A dial that the caller has not
    /// heard of is just forgotten.
    const fn hang_up(&mut self) {
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

    fn violate(&mut self, violation: Violation, now: Instant) -> Event<'static> {
        self.drop_transport(Cause::Violation(violation), None, now)
    }

    fn drop_transport<'a>(
        &mut self,
        cause: Cause,
        said: Option<Text<'a>>,
        now: Instant,
    ) -> Event<'a> {
        self.hang_up();
        self.fail(Budget::Transient, None, cause, said, now)
    }

    /// What was under way over the transport is lost.
    fn lose(&mut self, cause: Cause) {
        if let State::Open { engine, .. } = self.state {
            self.stale_until = (!cause.is_clean()).then_some(engine.silent);
        }
        self.frames = Frames::default();
        self.acks.disconnect();
    }

    /// The dial or the connection has failed and is no more.
    fn fail<'a>(
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

    fn wait<'a>(
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

    fn end<'a>(&mut self, reason: CloseReason, said: Option<Text<'a>>) -> Event<'a> {
        self.lose(Cause::Forced);
        self.state = State::Closed(reason);
        Event::Closed { reason, said }
    }
}

/// The message of a refusal: the member of an object, or the string itself.
fn said(raw: Raw<'_>) -> Option<Text<'_>> {
    raw.text().or_else(|| raw.get("message")?.text())
}
