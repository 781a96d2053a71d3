//! A client's side of a conversation (local.md §4): what is sent, and what each line of the
//! server means to what waits for an answer.

use std::collections::VecDeque;

use hallway_core::Limits;

use super::conversation::TS;
use super::frames::{is_blank, split};
use super::json::{Json, decode, last, quote};

/// How a request fails that an `error` frame answers.
pub const REFUSED: &str = "refused by the peer";

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A `response`.
    Message,
    /// A `pong`.
    Ping,
    /// Any object.
    Object,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Taken, under this id if the server gave one.
    Accepted(Option<String>),
    /// Answered by a pong.
    Pong,
    /// Answered by this object.
    Object(String),
    /// Not answered, for this reason.
    Failed(&'static str),
}

/// "frame key order `type, data, ts, from, meta`"; `data` is JSON.
#[must_use]
pub fn frame(kind: &str, data: Option<&str>, from: Option<&str>, token: &str) -> String {
    let data = data
        .map(|data| format!(r#","data":{data}"#))
        .unwrap_or_default();
    let from = from
        .map(|from| format!(r#","from":{}"#, quote(from)))
        .unwrap_or_default();
    let (kind, token) = (quote(kind), quote(token));
    format!(r#"{{"type":{kind}{data},"ts":"{TS}"{from},"meta":{{"authToken":{token}}}}}"#) + "\n"
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    limits: Limits,
    /// What waits for an answer: its number, what it waits for, its deadline in milliseconds,
    /// and where its frame ends in all that was sent.
    pub waiting: VecDeque<(u64, Asked, u64, usize)>,
    /// All that was queued for the server, and how much of it was written.
    pub sent: Vec<u8>,
    /// How many bytes of it were written.
    pub written: usize,
    /// All that came from the server; what was dealt with is gone.
    pub input: Vec<u8>,
    /// Why it ended.
    pub failure: Option<&'static str>,
    /// The words of the error frame that ended it.
    pub refusal: Option<String>,
    last: u64,
}

impl Client {
    /// A client of a server that was just reached.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            waiting: VecDeque::new(),
            sent: Vec::new(),
            written: 0,
            input: Vec::new(),
            failure: None,
            refusal: None,
            last: 0,
        }
    }

    /// Queues a frame, or says why not.
    ///
    /// # Errors
    ///
    /// The first letters of the reason.
    pub fn ask(&mut self, asked: Asked, frame: &str, now: u64) -> Result<u64, &'static str> {
        if self.failure.is_some() {
            return Err("closed");
        }
        if frame.len() - 1 > self.limits.max_frame_bytes() {
            return Err("too long");
        }
        let room = self.limits.max_outbox_bytes() + self.limits.max_frame_bytes();
        let queued = self.sent.len() - self.written + frame.len();
        if self.waiting.len() == self.limits.max_pending_sends() || queued > room {
            return Err("full");
        }
        let patience = match asked {
            Asked::Ping => self.limits.ping_timeout(),
            Asked::Message | Asked::Object => self.limits.send_timeout(),
        };
        self.last += 1;
        self.sent.extend_from_slice(frame.as_bytes());
        let deadline = now + patience.as_millis() as u64;
        self.waiting
            .push_back((self.last, asked, deadline, self.sent.len()));
        Ok(self.last)
    }

    /// The next request to have its fate, by what has come so far; and whether it was written.
    pub fn outcome(&mut self) -> Option<(u64, Fate, bool)> {
        let fate = loop {
            if let Some(failure) = self.failure {
                break Fate::Failed(failure);
            }
            let limit = self.limits.max_frame_bytes();
            let newline = self.input.iter().position(|byte| *byte == b'\n');
            let first = newline.map_or(self.input.len(), |at| at + 1);
            let lines = split(&self.input[..first], limit);
            let Some((line, end)) = lines.lines.first().copied() else {
                // "a response over 64 KiB"
                self.failure = lines.too_long.map(|_| "response too long");
                self.failure?;
                continue;
            };
            let line = line.to_vec();
            self.input.drain(..end);
            if let Some(fate) = self.read(&line) {
                break fate;
            }
        };
        if fate == Fate::Failed(REFUSED) {
            // The refusal is the oldest request's; what stands behind it was never looked at.
            self.failure = Some("ended before response");
        }
        let (id, _, _, end) = self.waiting.pop_front()?;
        Some((id, fate, end <= self.written))
    }

    /// One line: the fate of the oldest request, if it decides it.
    fn read(&mut self, line: &[u8]) -> Option<Fate> {
        if is_blank(line) {
            return None;
        }
        let text = std::str::from_utf8(line).ok();
        let json = text.and_then(Json::read);
        let Some(members) = json.as_ref().and_then(Json::members) else {
            self.failure = Some("invalid response");
            return None;
        };
        let kind = last(members, "type").and_then(decode).unwrap_or_default();
        let asked = self.waiting.front().map(|waiting| waiting.1);
        match (kind.as_str(), asked) {
            ("error", _) => {
                self.refusal = Some(last(members, "data").and_then(decode).unwrap_or_default());
                self.failure = Some(REFUSED);
                None
            }
            (_, Some(Asked::Object)) => text.map(|text| Fate::Object(text.to_owned())),
            ("response", Some(Asked::Message)) => {
                let meta = last(members, "meta").and_then(Json::read);
                let id = meta
                    .as_ref()
                    .and_then(Json::members)
                    .and_then(|all| last(all, "id"));
                Some(Fate::Accepted(id.and_then(decode)))
            }
            ("pong", Some(Asked::Ping)) => Some(Fate::Pong),
            _ => None, // "Unknown frames are skipped."
        }
    }

    /// The first of all deadlines: a total one, so that a drip of frames buys no time (§5.13).
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let open = self.failure.is_none();
        self.waiting
            .iter()
            .map(|waiting| waiting.2)
            .min()
            .filter(|_| open)
    }

    /// Ends for `failure`, unless it has ended.
    pub fn fail(&mut self, failure: &'static str) {
        self.failure = self.failure.or(Some(failure));
    }
}
