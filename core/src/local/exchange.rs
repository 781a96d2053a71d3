//! The client's side of one connection: many sends pipelined, each answered by its deadline
//! (local.md §4).
//!
//! ```text
//!   Open ── error frame, bad response, end of input, broken, a deadline ──> Closed { failure }
//!    │  send / ping: pending, first in first out
//!    │  response: the oldest pending send is accepted; pong: the oldest pending ping is answered
//!    └─ any other object: skipped
//! ```
//!
//! Answers come in the order of the requests, so a `response` that meets a ping at the head of
//! the queue, or a `pong` that meets a send, belongs to nothing and is skipped too.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::message::is_blank;
use crate::framer::Framer;
use crate::json;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::time::{Instant, UnixTime};
use crate::token::Token;

/// One request of an exchange, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(u64);

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draft<'a> {
    /// Its `type`.
    pub kind: &'a str,
    /// Its `data`.
    pub data: Data<'a>,
    /// Its `from`: where the sender itself listens, if it does.
    pub from: Option<&'a str>,
}

/// The `data` of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data<'a> {
    /// A string.
    Text(&'a str),
    /// Any value, as JSON on one line. It is checked before it is sent.
    Json(&'a str),
}

/// Why a request is not taken; the exchange is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// Too many requests wait for their answers, or too many bytes for being written. Room
    /// comes with the next outcome or write.
    Full,
    /// The frame would be longer than any server takes.
    TooLong {
        /// Its length in bytes, newline aside.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// [`Data::Json`] is not one JSON value on one line.
    NotJson,
    /// The connection has ended.
    Closed(Failure),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many messages wait for their answers"),
            Self::TooLong { bytes, limit } => {
                write!(
                    f,
                    "the message takes {bytes} bytes; a frame may have {limit}"
                )
            }
            Self::NotJson => f.write_str("the data is not one JSON value on one line"),
            Self::Closed(failure) => failure.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused it; [`Exchange::refusal`] has its words.
    Refused,
    /// A violation: a line from the server is not a JSON object.
    InvalidResponse,
    /// A violation: a line from the server is longer than a frame may be.
    ResponseTooLong,
    /// The server ended the connection.
    EndedBeforeResponse,
    /// The deadline passed.
    TimedOut,
    /// The transport failed.
    Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused by the peer",
            Self::InvalidResponse => "invalid response",
            Self::ResponseTooLong => "response too long",
            Self::EndedBeforeResponse => "ended before response",
            Self::TimedOut => "timed out",
            Self::Broken => "connection broken",
        })
    }
}

impl core::error::Error for Failure {}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The request.
    pub id: SendId,
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// Whether all of it was written. Without an answer, a request that was written may have
    /// been taken; one that was not written was not.
    pub written: bool,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The message was taken, under the id that the server gave, if it gave one.
    Accepted(Option<Box<str>>),
    /// The ping was answered.
    Pong,
    /// The object that answers an [`Exchange::ask`], as the server wrote it.
    Object(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Message,
    Ping,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pending {
    id: SendId,
    asked: Asked,
    deadline: Instant,
    /// How many bytes had to be written, from the beginning, to have all of it written.
    end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Open,
    Closed(Failure),
}

/// One connection of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exchange {
    limits: Limits,
    framer: Framer,
    outbox: Outbox,
    pending: VecDeque<Pending>,
    last: u64,
    queued_bytes: u64,
    written_bytes: u64,
    refusal: Option<Box<str>>,
    state: State,
}

impl Exchange {
    /// An exchange over a connection that is just open.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let room = limits
            .max_outbox_bytes()
            .saturating_add(limits.max_frame_bytes());
        Self {
            limits: *limits,
            framer: Framer::new(limits),
            outbox: Outbox::new(room),
            pending: VecDeque::new(),
            last: 0,
            queued_bytes: 0,
            written_bytes: 0,
            refusal: None,
            state: State::Open,
        }
    }

    /// Queues a message. Changes [`Exchange::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; the exchange is unchanged.
    pub fn send(
        &mut self,
        draft: Draft<'_>,
        token: &Token,
        now: Instant,
        wall: UnixTime,
    ) -> Result<SendId, SendError> {
        self.queue(Asked::Message, draft, token, now, wall)
    }

    /// Queues a message that is answered by an object of its own, whatever its type. For
    /// channels that speak the dialect's frames but not its `response`.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the exchange is unchanged.
    pub fn ask(
        &mut self,
        draft: Draft<'_>,
        token: &Token,
        now: Instant,
        wall: UnixTime,
    ) -> Result<SendId, SendError> {
        self.queue(Asked::Object, draft, token, now, wall)
    }

    /// Queues a ping. Changes [`Exchange::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; the exchange is unchanged.
    pub fn ping(
        &mut self,
        token: &Token,
        now: Instant,
        wall: UnixTime,
    ) -> Result<SendId, SendError> {
        self.enqueue(Asked::Ping, &[r#"{"type":"ping""#], &[], token, now, wall)
    }

    /// Where the next bytes of the server go. Empty means: do not read before the outcomes were
    /// polled.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        match self.state {
            State::Open => self.framer.spare_mut(),
            State::Closed(_) => &mut [],
        }
    }

    /// `n` bytes were read into [`Exchange::spare_mut`].
    pub fn handle_input(&mut self, n: usize) {
        if self.state == State::Open {
            self.framer.commit(n);
        }
    }

    /// The server ended its output. To be told after the outcomes of what came before were
    /// polled; what is still unanswered then is not going to be.
    pub fn handle_end_of_input(&mut self) {
        self.close(Failure::EndedBeforeResponse);
    }

    /// The transport failed.
    pub fn handle_broken(&mut self) {
        self.close(Failure::Broken);
    }

    /// Nothing can be written any more. Answers may still come, until the end of input: a
    /// server that refuses may close before it has read everything.
    pub fn handle_output_broken(&mut self) {
        self.outbox.discard();
    }

    /// All bytes that wait to be written.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// The first `n` bytes of [`Exchange::pending`] were written.
    pub fn handle_output(&mut self, n: usize) {
        let before = self.outbox.len();
        self.outbox.consume(n);
        let written = before.saturating_sub(self.outbox.len());
        self.written_bytes = self
            .written_bytes
            .saturating_add(u64::try_from(written).unwrap_or(0));
    }

    /// The next outcome, in the order of the requests; `None` when all that came is used up.
    /// Every request gets exactly one. Changes [`Exchange::poll_timeout`].
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        loop {
            if let State::Closed(failure) = self.state {
                return self.finish_head(Err(failure));
            }
            let asked = self.pending.front().map(|head| head.asked);
            let response = match self.framer.next_frame() {
                Ok(None) => return None,
                Ok(Some(frame)) if is_blank(frame) => continue,
                Ok(Some(frame)) => Response::parse(frame, asked),
                Err(_) => Err(Failure::ResponseTooLong),
            };
            match response {
                Ok(Response::Answer(answer)) => return self.finish_head(Ok(answer)),
                Ok(Response::Other) => {}
                Ok(Response::Error(text)) => {
                    self.refusal = Some(text);
                    self.close(Failure::Refused);
                    // What stands behind the refused request was never looked at.
                    let refused = self.finish_head(Err(Failure::Refused));
                    self.state = State::Closed(Failure::EndedBeforeResponse);
                    return refused;
                }
                Err(failure) => self.close(failure),
            }
        }
    }

    /// The words of the error frame that ended the exchange, if one did. They are the peer's:
    /// untrusted.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether the exchange has ended: nothing is to be read, written or sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    /// How many requests wait for their outcomes.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// When [`Exchange::handle_timeout`] is due; `None` when nothing is unanswered.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open => self.pending.iter().map(|pending| pending.deadline).min(),
            State::Closed(_) => None,
        }
    }

    /// Ends the exchange when a request waited too long by `now`: answers come in order, so
    /// nothing behind it can be told apart any more.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.close(Failure::TimedOut);
        }
    }

    fn queue(
        &mut self,
        asked: Asked,
        draft: Draft<'_>,
        token: &Token,
        now: Instant,
        wall: UnixTime,
    ) -> Result<SendId, SendError> {
        let kind = json::quoted(draft.kind);
        let text;
        let data = match draft.data {
            Data::Text(plain) => {
                text = json::quoted(plain);
                text.as_str()
            }
            Data::Json(raw) if json::is_value(raw) && !raw.contains('\n') => raw,
            Data::Json(_) => return Err(SendError::NotJson),
        };
        let from = draft.from.map(json::quoted).unwrap_or_default();
        let from_key = if from.is_empty() { "" } else { r#","from":"# };
        let parts = [r#"{"type":"#, &kind, r#","data":"#, data];
        let from = [from_key, from.as_str()];
        self.enqueue(asked, &parts, &from, token, now, wall)
    }

    fn enqueue(
        &mut self,
        asked: Asked,
        head: &[&str],
        from: &[&str],
        token: &Token,
        now: Instant,
        wall: UnixTime,
    ) -> Result<SendId, SendError> {
        if let State::Closed(failure) = self.state {
            return Err(SendError::Closed(failure));
        }
        let stamp = wall.iso8601();
        let secret = zeroize::Zeroizing::new(json::quoted(token.expose()));
        let mut parts: Vec<&[u8]> = head.iter().map(|part| part.as_bytes()).collect();
        parts.extend([&br#","ts":""#[..], &stamp, b"\""]);
        parts.extend(from.iter().map(|part| part.as_bytes()));
        parts.extend([&br#","meta":{"authToken":"#[..], secret.as_bytes(), b"}}\n"]);
        let length = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let (bytes, limit) = (length.saturating_sub(1), self.limits.max_frame_bytes());
        if bytes > limit {
            return Err(SendError::TooLong { bytes, limit });
        }
        if self.pending.len() >= self.limits.max_pending_sends() {
            return Err(SendError::Full);
        }
        self.outbox.push(&parts).map_err(|_| SendError::Full)?;
        self.last = self.last.saturating_add(1);
        self.queued_bytes = self
            .queued_bytes
            .saturating_add(u64::try_from(length).unwrap_or(0));
        let patience = match asked {
            Asked::Message | Asked::Object => self.limits.send_timeout(),
            Asked::Ping => self.limits.ping_timeout(),
        };
        self.pending.push_back(Pending {
            id: SendId(self.last),
            asked,
            deadline: now.after(patience),
            end: self.queued_bytes,
        });
        Ok(SendId(self.last))
    }

    fn finish_head(&mut self, result: Result<Answer, Failure>) -> Option<Outcome> {
        let head = self.pending.pop_front()?;
        Some(Outcome {
            id: head.id,
            result,
            written: head.end <= self.written_bytes,
        })
    }

    fn close(&mut self, failure: Failure) {
        if self.state == State::Open {
            self.state = State::Closed(failure);
            self.framer.discard();
            self.outbox.discard();
        }
    }
}

/// One line of a server, to a client that waits for what it `asked` for.
enum Response {
    Answer(Answer),
    Error(Box<str>),
    Other,
}

impl Response {
    /// The last of duplicate members counts: nobody else decides on this line.
    fn parse(frame: &[u8], asked: Option<Asked>) -> Result<Self, Failure> {
        let text = core::str::from_utf8(frame).map_err(|_| Failure::InvalidResponse)?;
        let (mut kind, mut data, mut meta) = (None, None, None);
        json::members(text, |member| {
            for (name, slot) in [
                ("type", &mut kind),
                ("data", &mut data),
                ("meta", &mut meta),
            ] {
                if json::is(member.key, name) {
                    *slot = Some(member.value);
                }
            }
            true
        })
        .map_err(|_| Failure::InvalidResponse)?;
        let kind = kind.and_then(json::string);
        Ok(match (kind.as_deref(), asked) {
            (Some("error"), _) => {
                let words = data.and_then(json::string).unwrap_or_default();
                Self::Error(Box::from(words))
            }
            (_, Some(Asked::Object)) => Self::Answer(Answer::Object(Box::from(text))),
            (Some("response"), Some(Asked::Message)) => {
                Self::Answer(Answer::Accepted(meta.and_then(entry_id)))
            }
            (Some("pong"), Some(Asked::Ping)) => Self::Answer(Answer::Pong),
            _ => Self::Other,
        })
    }
}

/// The string `id` of the raw object `meta`.
fn entry_id(meta: &str) -> Option<Box<str>> {
    let mut id = None;
    json::members(meta, |member| {
        if json::is(member.key, "id") {
            id = json::string(member.value).map(|text| String::from(text).into_boxed_str());
        }
        true
    })
    .ok()?;
    id
}

#[cfg(test)]
mod tests;
