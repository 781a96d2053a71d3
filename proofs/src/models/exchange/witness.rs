//! The wire contract of a client, as a witness of what it hears: which outcome is due for
//! which request.

use std::collections::VecDeque;

use hallway_core::local::exchange::{Answer, Exchange, Failure, Outcome};

use super::super::MAX_FRAME_BYTES;
use super::{MOST_PENDING, PING, SEND};

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// That a message is taken.
    Message,
    /// A sign of life.
    Ping,
    /// Any object.
    Object,
}

/// A line that the server may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A message was taken.
    Ok,
    /// A ping was received.
    Pong,
    /// An error frame.
    Error,
    /// An object of another kind.
    Other,
    /// JSON whitespace.
    Blank,
    /// No object.
    Null,
    /// One byte more than a frame may have.
    TooLong,
}

/// One byte more than a frame may have, and its newline.
static TOO_LONG: [u8; MAX_FRAME_BYTES + 2] = {
    let mut line = [b'x'; MAX_FRAME_BYTES + 2];
    line[MAX_FRAME_BYTES + 1] = b'\n';
    line
};

impl Reply {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Ok => b"{\"type\":\"response\",\"meta\":{\"id\":\"uds-7\"}}\n",
            Self::Pong => b"{\"type\":\"pong\"}\n",
            Self::Error => b"{\"type\":\"error\",\"data\":\"no\"}\n",
            Self::Other => b"{\"type\":\"later\"}\n",
            Self::Blank => b"\r\n",
            Self::Null => b"null\n",
            Self::TooLong => &TOO_LONG,
        }
    }

    /// How many bytes of it decide what becomes of it.
    fn decisive_bytes(self) -> usize {
        let newline = usize::from(self == Self::TooLong);
        self.bytes().len() - newline
    }

    /// The line as an [`Answer::Object`] has it.
    fn object(self) -> Option<&'static str> {
        let line = self.bytes().strip_suffix(b"\n")?;
        std::str::from_utf8(line).ok()
    }
}

/// What an exchange did that the wire contract does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An outcome that is not due, or none where one is.
    Outcome,
    /// A request was called written that was not, or the reverse.
    Written,
    /// An outcome names a request that is not the next.
    Id,
    /// More requests wait than may.
    Bound,
    /// A request was refused with room for it, or left something behind.
    Refused,
    /// A closed exchange changed.
    ClosedChanged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Request {
    asked: Asked,
    due: u16,
    /// How many of its bytes are not written.
    unwritten: usize,
}

/// What the wire contract knows of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    /// How many lines the server has said.
    pub(super) spoken: u8,
    /// Those of them that no poll has used up.
    lines: VecDeque<Reply>,
    /// How many bytes of `lines` were read.
    fed: usize,
    /// How many bytes of answered requests are not written; they are before all others.
    behind: usize,
    requests: VecDeque<Request>,
    ended: Option<Failure>,
    pub(super) answered: bool,
    pub(super) wrong: Option<Wrong>,
}

impl Witness {
    pub(super) fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong = self.wrong.or(Some(wrong));
    }

    pub(super) fn ask(&mut self, asked: Asked, bytes: usize, now: u16) {
        let patience = if asked == Asked::Ping { PING } else { SEND };
        self.requests.push_back(Request {
            asked,
            due: now + patience,
            unwritten: bytes,
        });
        if self.requests.len() > MOST_PENDING || self.ended.is_some() {
            self.is_wrong(Wrong::Bound);
        }
    }

    pub(super) fn not_sent(&mut self, full: bool, unchanged: bool) {
        let fits = full == (self.ended.is_none() && self.requests.len() == MOST_PENDING);
        if !fits || !unchanged || !full && self.ended.is_none() {
            self.is_wrong(Wrong::Refused);
        }
    }

    pub(super) fn wrote(&mut self, n: usize) {
        let mut rest = n.saturating_sub(self.behind);
        self.behind = self.behind.saturating_sub(n);
        for request in &mut self.requests {
            let part = rest.min(request.unwritten);
            request.unwritten -= part;
            rest -= part;
        }
    }

    pub(super) fn say(&mut self, reply: Reply) {
        self.spoken += 1;
        self.lines.push_back(reply);
    }

    pub(super) fn unfed(&self) -> Vec<u8> {
        let lines = self.lines.iter().map(|line| line.bytes());
        let mut bytes = lines.collect::<Vec<_>>().concat();
        bytes.drain(..self.fed.min(bytes.len()));
        bytes
    }

    pub(super) fn feed(&mut self, n: usize) {
        self.fed += n;
    }

    /// Whether a poll has nothing to use up.
    pub(super) fn is_polled(&self) -> bool {
        let first = self.lines.front();
        first.is_none_or(|line| self.fed < line.decisive_bytes())
    }

    pub(super) fn end(&mut self) {
        self.ended = self.ended.or(Some(Failure::EndedBeforeResponse));
    }

    pub(super) fn break_off(&mut self) {
        self.ended = self.ended.or(Some(Failure::Broken));
    }

    pub(super) fn time_out(&mut self, now: u16) {
        if self.requests.iter().any(|request| now >= request.due) {
            self.ended = self.ended.or(Some(Failure::TimedOut));
        }
    }

    /// Compares what a poll returned with what was due.
    pub(super) fn expect(&mut self, outcome: Option<&Outcome>) {
        let due = self.poll();
        let result = outcome.map(|outcome| outcome.result.clone());
        let Some((request, due)) = due else {
            if result.is_some() {
                self.is_wrong(Wrong::Outcome);
            }
            return;
        };
        if result != Some(due) {
            self.is_wrong(Wrong::Outcome);
        }
        self.behind += request.unwritten;
        if outcome.is_some_and(|outcome| outcome.written != (request.unwritten == 0)) {
            self.is_wrong(Wrong::Written);
        }
    }

    /// The request at the head and its outcome, if that is decided.
    fn poll(&mut self) -> Option<(Request, Result<Answer, Failure>)> {
        while self.ended.is_none() && !self.is_polled() {
            let line = self.lines.pop_front()?;
            self.fed = self.fed.saturating_sub(line.bytes().len());
            let head = self.requests.front().map(|head| head.asked);
            let answer = match (line, head) {
                (Reply::Null, _) => {
                    self.ended = Some(Failure::InvalidResponse);
                    break;
                }
                (Reply::TooLong, _) => {
                    self.ended = Some(Failure::ResponseTooLong);
                    break;
                }
                (Reply::Error, _) => {
                    self.ended = Some(Failure::EndedBeforeResponse);
                    let refused = self.requests.pop_front()?;
                    return Some((refused, Err(Failure::Refused)));
                }
                (Reply::Blank, _) => continue,
                (line, Some(Asked::Object)) => {
                    line.object().map(|text| Answer::Object(Box::from(text)))
                }
                (Reply::Ok, Some(Asked::Message)) => {
                    Some(Answer::Accepted(Some(Box::from("uds-7"))))
                }
                (Reply::Pong, Some(Asked::Ping)) => Some(Answer::Pong),
                (Reply::Ok | Reply::Pong | Reply::Other, _) => None,
            };
            if let Some(answer) = answer {
                self.answered = true;
                return self.requests.pop_front().map(|head| (head, Ok(answer)));
            }
        }
        let failure = self.ended?;
        self.requests.pop_front().map(|head| (head, Err(failure)))
    }

    /// After a poll, both agree on how many requests wait, and whether it goes on.
    pub(super) fn settle(&mut self, exchange: &Exchange) {
        if exchange.unanswered() != self.requests.len()
            || exchange.is_closed() != self.ended.is_some()
        {
            self.is_wrong(Wrong::Outcome);
        }
    }

    /// Whether all that waits may still wait.
    pub(super) fn is_patient(&self, now: u16) -> bool {
        self.ended.is_some() || self.requests.iter().all(|request| now <= request.due)
    }

    pub(super) fn waits(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Forgets what a closed exchange will not look at.
    pub(super) fn close(&mut self) {
        self.behind = 0;
        self.lines.clear();
        self.fed = 0;
        for request in &mut self.requests {
            request.due = 0;
        }
    }
}
