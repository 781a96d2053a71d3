//! The server's side of one connection: framing, authorisation, replies, endings
//! (local.md §3).
//!
//! ```text
//!            ┌────────────── Open { auth, idle, input } ──────────────┐
//!            │  frame: ping answered, or MessageReceived, then        │
//!            │  handle_enqueued answers `ok`                          │
//!            └──┬──────────────────┬──────────────────────────┬───────┘
//!   violation, inbox full,   end of input or stop,     transport broken
//!   timeout, eviction        all frames answered              │
//!   (one error frame)              │                          │
//!            ▼                     ▼                          │
//!        Closing { deadline, reason }                         │
//!        output is flushed, input thrown away                 │
//!            └── flushed and peer's end seen, or deadline ────┤
//!                                                             ▼
//!                                                      Closed { reason }
//! ```
//!
//! Back-pressure: while a reply might not fit into the outbox, no frame is taken, so the
//! framer fills up and [`Connection::spare_mut`] has no room.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::auth::{Auth, NotAuthorized};
use super::inbox::EntryId;
use super::message::{self, Kept, Kind, Message, MessageError};
use super::receipt::Receipt;
use crate::framer::{FrameTooLong, Framer};
use crate::json;
use crate::limits::Limits;
use crate::outbox::{Outbox, OutboxFull};
use crate::time::{Instant, UnixTime};
use crate::token::Token;

/// What all connections of a server have in common: its token and its address.
#[derive(Debug)]
pub struct Server {
    token: Token,
    pong_head: String,
}

impl Server {
    /// A server that listens at `socket_path` and obeys the bearers of `token`.
    #[must_use]
    pub fn new(socket_path: &str, token: Token) -> Self {
        let mut pong_head = String::from(r#"{"type":"pong","from":"#);
        pong_head.push_str(&json::quoted(socket_path));
        pong_head.push_str(r#","ts":""#);
        Self { token, pong_head }
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// The most bytes that the answer to one frame takes.
    fn max_reply_bytes(&self) -> usize {
        let pong = self
            .pong_head
            .len()
            .saturating_add(TS_BYTES)
            .saturating_add(3);
        pong.max(MAX_OK_BYTES)
    }
}

/// The length of every `ts`, in bytes.
const TS_BYTES: usize = 24;

/// The longest `ok` reply: 63 bytes around its timestamp and an id of 24.
const MAX_OK_BYTES: usize = 128;

/// What an error frame may take beyond [`Limits::max_outbox_bytes`], so that there is always
/// room for it.
pub(crate) const ERROR_RESERVE_BYTES: usize = 256;

/// Why a server refuses to go on with a client. Its `Display` is the `data` of the error frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A violation: a frame that is not a JSON value, or has duplicates of what is interpreted.
    InvalidFrame,
    /// A violation: a frame without the server's token.
    Unauthorized,
    /// A violation: a frame over the limit.
    FrameTooLong(FrameTooLong),
    /// The inbox does not take the message.
    InboxFull,
    /// No authorised frame came in time.
    AuthenticationTimeout,
    /// No byte went either way for too long.
    IdleTimeout,
    /// There is no place for this client.
    TooManyClients,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidFrame => f.write_str("invalid frame"),
            Self::Unauthorized => f.write_str("unauthorized"),
            Self::FrameTooLong(too_long) => too_long.fmt(f),
            Self::InboxFull => f.write_str("inbox full"),
            Self::AuthenticationTimeout => f.write_str("authentication timeout"),
            Self::IdleTimeout => f.write_str("idle timeout"),
            Self::TooManyClients => f.write_str("too many clients"),
        }
    }
}

/// How a connection ended, and who began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Remote: the peer ended its input; all its complete frames were answered.
    Finished,
    /// User: the server stopped; all frames received before were answered.
    Stopped,
    /// Library: the client was told why, or could have read it.
    Refused(Refusal),
    /// Remote: the transport failed.
    Broken,
    /// Library: a bug of ours; the connection ended rather than misinform the peer.
    Internal,
}

/// A past fact about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event<'a> {
    /// A ping was answered.
    Pinged,
    /// An authorised message arrived. It is to be offered to the inbox, and the inbox's answer
    /// to be told by [`Connection::handle_enqueued`]; until then no further frame is taken.
    MessageReceived(Kept<'a>),
}

/// What the transport is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// End the output, once. Everything was written; input is still read.
    FinishOutput,
    /// Close the transport, once.
    Hangup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Input {
    Reading,
    /// No more bytes will be taken; those that came are still answered. Then the connection
    /// closes for this reason.
    Ended(CloseReason),
}

impl Input {
    /// The first ending counts.
    fn end(&mut self, reason: CloseReason) {
        if *self == Self::Reading {
            *self = Self::Ended(reason);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Open {
        auth: Auth,
        idle: Instant,
        input: Input,
        /// A message was handed out and not yet answered.
        enqueuing: bool,
    },
    Closing {
        reason: CloseReason,
        deadline: Instant,
        /// Whether the peer's end of input was seen, or need not be waited for.
        ended: bool,
        finished: bool,
    },
    Closed {
        reason: CloseReason,
        hung_up: bool,
    },
}

/// One connection of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    framer: Framer,
    talk: Talk,
}

/// All of a connection but the bytes that came in, which an event borrows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Talk {
    limits: Limits,
    outbox: Outbox,
    receipt: Receipt,
    state: State,
}

impl Connection {
    /// A connection accepted at `now`.
    #[must_use]
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let room = limits
            .max_outbox_bytes()
            .saturating_add(ERROR_RESERVE_BYTES);
        Self {
            framer: Framer::new(limits),
            talk: Talk {
                limits: *limits,
                outbox: Outbox::new(room),
                receipt: Receipt::new(),
                state: State::Open {
                    auth: Auth::new(limits, now),
                    idle: now.after(limits.idle_timeout()),
                    input: Input::Reading,
                    enqueuing: false,
                },
            },
        }
    }

    /// Where the next bytes of the peer go. Empty means: do not read before a frame was taken
    /// or output written. In a closing connection what is read is thrown away.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        match self.talk.state {
            State::Open {
                input: Input::Reading,
                ..
            } => self.framer.spare_mut(),
            State::Closing { ended: false, .. } => {
                self.framer.restart();
                self.framer.spare_mut()
            }
            State::Open { .. } | State::Closing { .. } | State::Closed { .. } => &mut [],
        }
    }

    /// `n` bytes were read into [`Connection::spare_mut`]. Moves the idle deadline.
    pub fn handle_input(&mut self, n: usize, now: Instant) {
        if let State::Open {
            input: Input::Reading,
            ..
        } = self.talk.state
        {
            self.framer.commit(n);
            self.talk.handle_activity(n, now);
        }
    }

    /// The transport has nothing more to read at present. Memory that a burst took is given
    /// back.
    pub fn handle_input_drained(&mut self) {
        self.framer.shrink();
    }

    /// Whether it has no memory to read into, and may be lent some.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.framer.is_bare()
    }

    /// Reads into `buffer` from now on, until [`Connection::reclaim`] gives it back.
    ///
    /// # Errors
    ///
    /// The buffer, when [it is not bare](Connection::is_bare).
    pub fn lend(&mut self, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        self.framer.lend(buffer)
    }

    /// Gives back the memory that it reads into, unless something waits there.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        if self.close_reason().is_some() {
            self.framer.restart();
        }
        self.framer.reclaim()
    }

    /// The peer ended its input. Complete frames are still answered.
    pub fn handle_end_of_input(&mut self) {
        match &mut self.talk.state {
            State::Open { input, .. } => input.end(CloseReason::Finished),
            State::Closing { ended, .. } => *ended = true,
            State::Closed { .. } => {}
        }
        self.talk.close_if_done();
    }

    /// The server stops. Complete frames are still answered; nothing more is read.
    pub fn handle_stop(&mut self) {
        if let State::Open { input, .. } = &mut self.talk.state {
            input.end(CloseReason::Stopped);
        }
    }

    /// The transport failed: nothing can be read or written any more.
    pub fn handle_broken(&mut self) {
        match self.talk.state {
            State::Open { .. } => self.talk.close(CloseReason::Broken),
            State::Closing { reason, .. } => self.talk.close(reason),
            State::Closed { .. } => {}
        }
    }

    /// There is no place for this client: it never gets one, or loses it to another.
    pub fn handle_eviction(&mut self, now: Instant, wall: UnixTime) {
        self.talk.refuse(Refusal::TooManyClients, now, wall);
    }

    /// Takes at most one frame, blank ones aside. `None` means that there is nothing to take
    /// before the next read, write or answer.
    ///
    /// A refused frame gives `None` too: the connection is closing then, with the error frame
    /// in its output. Changes [`Connection::poll_timeout`].
    pub fn handle_frame(
        &mut self,
        server: &Server,
        now: Instant,
        wall: UnixTime,
    ) -> Option<Event<'_>> {
        let Self { framer, talk } = self;
        let State::Open {
            auth,
            input,
            enqueuing: false,
            ..
        } = &mut talk.state
        else {
            return None;
        };
        let room = talk
            .limits
            .max_outbox_bytes()
            .saturating_sub(talk.outbox.len());
        if room < server.max_reply_bytes() {
            return None;
        }
        let checked = match next_with_content(framer) {
            Ok(Some(range)) => authorised(framer.frame(range), &talk.limits, auth, server),
            Ok(None) => {
                if let Input::Ended(reason) = *input {
                    talk.begin_closing(reason, true, now);
                }
                return None;
            }
            Err(too_long) => Err(Refusal::FrameTooLong(too_long)),
        };
        match checked {
            Ok(message) => Some(talk.handle_message(message, server, wall)),
            Err(refusal) => {
                talk.refuse(refusal, now, wall);
                None
            }
        }
    }

    /// Tells what became of the message of the last [`Event::MessageReceived`]: its id, or
    /// `None` when the inbox did not take it. Without such an event it does nothing.
    pub fn handle_enqueued(&mut self, id: Option<EntryId>, now: Instant, wall: UnixTime) {
        if !self.talk.take_enqueuing() {
            return;
        }
        match id {
            Some(id) => self.talk.reply_ok(id, wall),
            None => self.talk.refuse(Refusal::InboxFull, now, wall),
        }
    }

    /// Answers the message of the last [`Event::MessageReceived`] with `line`, one JSON object
    /// without newline, in place of [`Connection::handle_enqueued`]. It must fit into
    /// [`Limits::max_outbox_bytes`] less the longest other answer. Without such an event it
    /// does nothing.
    pub fn handle_answered(&mut self, line: &[u8]) {
        if self.talk.take_enqueuing() {
            self.talk.reply(&[line, b"\n"]);
        }
    }

    /// All bytes that wait to be written.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.talk.outbox.pending()
    }

    /// The first `n` bytes of [`Connection::pending`] were written. Moves the idle deadline.
    pub fn handle_output(&mut self, n: usize, now: Instant) {
        self.talk.outbox.consume(n);
        self.talk.handle_activity(n, now);
        self.talk.close_if_done();
    }

    /// What the transport is to do next, each thing once.
    pub fn poll_action(&mut self) -> Option<Action> {
        match &mut self.talk.state {
            State::Closing {
                finished: finished @ false,
                ..
            } if self.talk.outbox.is_empty() => {
                *finished = true;
                Some(Action::FinishOutput)
            }
            State::Closed {
                hung_up: hung_up @ false,
                ..
            } => {
                *hung_up = true;
                Some(Action::Hangup)
            }
            State::Open { .. } | State::Closing { .. } | State::Closed { .. } => None,
        }
    }

    /// When [`Connection::handle_timeout`] is due; `None` once closed, and never before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.talk.state {
            State::Open { auth, idle, .. } => Some(
                auth.poll_timeout()
                    .map_or(*idle, |deadline| deadline.min(*idle)),
            ),
            State::Closing { deadline, .. } => Some(*deadline),
            State::Closed { .. } => None,
        }
    }

    /// Ends what has waited too long by `now`.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime) {
        match &self.talk.state {
            State::Open { auth, .. } if auth.is_expired(now) => {
                self.talk.refuse(Refusal::AuthenticationTimeout, now, wall);
            }
            State::Open { idle, .. } if now >= *idle => {
                self.talk.refuse(Refusal::IdleTimeout, now, wall);
            }
            State::Closing {
                deadline, reason, ..
            } if now >= *deadline => self.talk.close(*reason),
            State::Open { .. } | State::Closing { .. } | State::Closed { .. } => {}
        }
    }

    /// Whether an authorised frame has come and the connection is open.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        matches!(&self.talk.state, State::Open { auth, .. } if auth.is_granted())
    }

    /// How the connection ends, once that is decided.
    #[must_use]
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.talk.state {
            State::Open { .. } => None,
            State::Closing { reason, .. } | State::Closed { reason, .. } => Some(reason),
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.talk.state, State::Closed { .. })
    }
}

impl Talk {
    fn handle_message<'a>(
        &mut self,
        message: Message<'a>,
        server: &Server,
        wall: UnixTime,
    ) -> Event<'a> {
        match message.kind() {
            Kind::Ping => {
                self.reply(&[server.pong_head.as_bytes(), &wall.iso8601(), b"\"}\n"]);
                Event::Pinged
            }
            Kind::Other => {
                if let State::Open { enqueuing, .. } = &mut self.state {
                    *enqueuing = true;
                }
                Event::MessageReceived(message.kept())
            }
        }
    }

    /// Whether an answer was due; it is not any more.
    fn take_enqueuing(&mut self) -> bool {
        match &mut self.state {
            State::Open { enqueuing, .. } => core::mem::take(enqueuing),
            State::Closing { .. } | State::Closed { .. } => false,
        }
    }

    fn handle_activity(&mut self, n: usize, now: Instant) {
        if let State::Open { idle, .. } = &mut self.state
            && n > 0
        {
            *idle = now.after(self.limits.idle_timeout());
        }
    }

    /// Writes the one error frame, if the connection is open, and starts closing.
    fn refuse(&mut self, refusal: Refusal, now: Instant, wall: UnixTime) {
        let State::Open { input, .. } = self.state else {
            return;
        };
        let text = json::quoted(&refusal.to_string());
        let head = br#"{"type":"error","data":"#;
        self.reply(&[
            head,
            text.as_bytes(),
            br#","ts":""#,
            &wall.iso8601(),
            b"\"}\n",
        ]);
        let ended = matches!(input, Input::Ended(_));
        self.begin_closing(CloseReason::Refused(refusal), ended, now);
    }

    fn reply_ok(&mut self, id: EntryId, wall: UnixTime) {
        let pushed = self.outbox.push(&self.receipt.parts(id, wall));
        self.handle_pushed(pushed);
    }

    /// Adds to the output.
    fn reply(&mut self, parts: &[&[u8]]) {
        let pushed = self.outbox.push(parts);
        self.handle_pushed(pushed);
    }

    /// There is room by construction; if there were none, the peer must not get a reply with a
    /// hole before it.
    fn handle_pushed(&mut self, pushed: Result<(), OutboxFull>) {
        if pushed.is_err() {
            self.close(CloseReason::Internal);
        }
    }

    fn begin_closing(&mut self, reason: CloseReason, ended: bool, now: Instant) {
        if let State::Open { .. } = self.state {
            let deadline = now.after(self.limits.closing_timeout());
            self.state = State::Closing {
                reason,
                deadline,
                ended,
                finished: false,
            };
            self.close_if_done();
        }
    }

    fn close_if_done(&mut self) {
        if let State::Closing {
            reason,
            ended: true,
            ..
        } = self.state
            && self.outbox.is_empty()
        {
            self.close(reason);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed {
            reason,
            hung_up: false,
        };
        self.outbox.discard();
    }
}

/// The place of the next frame that is not blank.
fn next_with_content(framer: &mut Framer) -> Result<Option<Range<usize>>, FrameTooLong> {
    while let Some(range) = framer.next_range()? {
        if !message::is_blank(framer.frame(range.clone())) {
            return Ok(Some(range));
        }
    }
    Ok(None)
}

/// Parses a frame and checks its token.
fn authorised<'a>(
    frame: &'a [u8],
    limits: &Limits,
    auth: &mut Auth,
    server: &Server,
) -> Result<Message<'a>, Refusal> {
    let message = Message::parse(frame, limits).map_err(|error| match error {
        MessageError::Invalid => Refusal::InvalidFrame,
        MessageError::NotAnObject => Refusal::Unauthorized,
    })?;
    auth.handle_message(&message, &server.token)
        .map_err(|NotAuthorized| Refusal::Unauthorized)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_room_ends_the_connection() {
        let mut connection = Connection::new(&Limits::DEFAULT, Instant::ORIGIN);
        connection.talk.outbox = Outbox::new(1);
        connection.talk.reply(&[b"12"]);
        assert_eq!(connection.close_reason(), Some(CloseReason::Internal));
        assert_eq!(connection.poll_action(), Some(Action::Hangup));
    }

    #[test]
    fn lent_memory_comes_back_between_frames_and_when_the_connection_closes() {
        let limits = Limits::DEFAULT;
        let mut connection = Connection::new(&limits, Instant::ORIGIN);
        assert!(connection.is_bare());
        assert_eq!(connection.reclaim(), None);
        connection.lend(alloc::vec![0; 9_000]).unwrap();
        assert!(connection.lend(Vec::new()).is_err() && !connection.is_bare());
        assert_eq!(connection.spare_mut().len(), 9_000);
        connection.spare_mut().fill(b'x');
        connection.handle_input(9_000, Instant::ORIGIN);
        assert_eq!(connection.reclaim(), None, "a partial frame waits");
        connection.handle_eviction(Instant::ORIGIN, UnixTime::EPOCH);
        assert_eq!(connection.reclaim().map(|buffer| buffer.len()), Some(9_000));
        // What still comes is thrown away, into whatever it is lent.
        connection.lend(alloc::vec![0; 10]).unwrap();
        for _ in 0..3 {
            assert_eq!(connection.spare_mut().len(), 10);
            connection.handle_input(10, Instant::ORIGIN);
        }
        assert_eq!(connection.reclaim().map(|buffer| buffer.len()), Some(10));
    }

    #[test]
    fn the_longest_replies_fit_their_bounds() {
        let mut connection = Connection::new(&Limits::DEFAULT, Instant::ORIGIN);
        if let State::Open { enqueuing, .. } = &mut connection.talk.state {
            *enqueuing = true;
        }
        let id = EntryId::parse("uds-18446744073709551615");
        connection.handle_enqueued(id, Instant::ORIGIN, UnixTime::EPOCH);
        assert!(
            connection.pending().len() <= MAX_OK_BYTES,
            "{}",
            connection.pending().len()
        );
        let too_long = FrameTooLong { limit: 16_777_216 };
        let before = connection.pending().len();
        let refusal = Refusal::FrameTooLong(too_long);
        connection
            .talk
            .refuse(refusal, Instant::ORIGIN, UnixTime::EPOCH);
        assert!(connection.pending().len() - before <= ERROR_RESERVE_BYTES);
    }

    #[test]
    fn an_error_frame_without_room_ends_the_connection() {
        let mut connection = Connection::new(&Limits::DEFAULT, Instant::ORIGIN);
        connection.talk.outbox = Outbox::new(1);
        connection.handle_eviction(Instant::ORIGIN, UnixTime::EPOCH);
        assert_eq!(connection.close_reason(), Some(CloseReason::Internal));
        assert_eq!(connection.poll_action(), Some(Action::Hangup));
    }

    #[test]
    fn the_outbox_at_its_fullest_stays_within_its_worst_case() {
        let limits = Limits::DEFAULT;
        let mut connection = Connection::new(&limits, Instant::ORIGIN);
        let line = [b'x'; 99];
        while limits.max_outbox_bytes() - connection.pending().len() >= 100 {
            connection.talk.reply(&[&line, b"\n"]);
        }
        connection.handle_eviction(Instant::ORIGIN, UnixTime::EPOCH);
        let worst = Outbox::worst_case_bytes(&limits);
        assert!(connection.pending().len() <= worst + ERROR_RESERVE_BYTES);
        assert!(connection.pending().len() > worst / 2);
    }
}
