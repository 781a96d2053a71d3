//! A value that several write, with a version: metadata, or the state of an agent or of a daemon
//! (relay.md §9.3, §9.7).
//!
//! ```text
//!   Idle ── next_attempt ──> Asking { deadline } ── success, unchanged ──> Idle: Applied
//!     ^                          │ mismatch: merged again on the newer value, up to a bound
//!     │                          │ error: Rejected; deadline: TimedOut
//!     └──────────────────────────┘ disconnected: attempted again when connected
//!   any ── gone, closed ──> Ended: every update has its outcome
//! ```
//!
//! An update is a request to merge: the caller merges on [`Versioned::value`] as it is when the
//! attempt begins. Updates are attempted one at a time, in order. Each has an outcome, and the
//! next begins whatever it was.

use alloc::collections::VecDeque;
use core::fmt;

use super::cipher::Cipher;
use super::limits::Limits;
use super::plaintext::Document;
use super::raw::{Raw, Text};
use crate::time::Instant;

/// One update, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateId(u64);

/// The value as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// There is none.
    Null,
    /// It was opened.
    Document(Document),
    /// It could not be opened: it is never written over.
    Unreadable,
}

impl Value {
    /// Opens the value of a member: a ciphertext, `null` or nothing.
    #[must_use]
    pub fn open(member: Option<Raw<'_>>, cipher: &Cipher) -> Self {
        let Some(raw) = member.filter(|raw| !raw.is_null()) else {
            return Self::Null;
        };
        let opened = raw.text().map(|text| cipher.open_text(&text.to_lossy()));
        match opened {
            Some(Ok(plain)) if plain.raw().is_null() => Self::Null,
            Some(Ok(plain)) => {
                Document::parse(plain.raw()).map_or(Self::Unreadable, Self::Document)
            }
            Some(Err(_)) | None => Self::Unreadable,
        }
    }
}

impl Answer {
    /// Reads the acknowledgement of an update, whose value is the member `name`.
    #[must_use]
    pub fn parse(raw: Raw<'_>, name: &str, cipher: &Cipher) -> Self {
        let Some([result, version, member, message]) =
            raw.pick(["result", "version", name, "message"])
        else {
            return Self::Error(Rejection::Other);
        };
        let refused = Self::Error(Rejection::of(message.and_then(Raw::text).as_ref()));
        let version = version.and_then(Raw::unsigned);
        let (Some(result), Some(version)) = (result.and_then(Raw::text), version) else {
            return refused;
        };
        if result.is("success") {
            let value = Value::open(member, cipher);
            return Self::Success { version, value };
        }
        if result.is("version-mismatch") {
            let value = Value::open(member, cipher);
            return Self::Mismatch { version, value };
        }
        refused
    }
}

/// The first thing to do for an update: merge on the value, and send what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The update.
    pub update: UpdateId,
    /// Which attempt of all; what is said of an earlier one is dropped.
    pub number: u64,
    /// The version that the value has.
    pub expected_version: u64,
}

/// What the server says to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is written.
    Success {
        /// The version that it has.
        version: u64,
        /// The value that it has.
        value: Value,
    },
    /// The version was another.
    Mismatch {
        /// The version there is.
        version: u64,
        /// The value there is.
        value: Value,
    },
    /// The server refuses, or its answer cannot be read.
    Error(Rejection),
}

/// Why the server refuses an update, as far as it says so; it does for those of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// There is no such machine.
    MachineNotFound,
    /// What was sent is not what it takes.
    InvalidParameters,
    /// It does not say, or something else.
    Other,
}

impl Rejection {
    fn of(said: Option<&Text<'_>>) -> Self {
        let words = |words| said.is_some_and(|said| said.is(words));
        if words("Machine not found") {
            Self::MachineNotFound
        } else if words("Invalid parameters") {
            Self::InvalidParameters
        } else {
            Self::Other
        }
    }
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It is written, or there was nothing to write, at this version.
    Applied(u64),
    /// Others were faster each time.
    Conflict,
    /// The server refused, or there is something to write that cannot be sent.
    Rejected(Rejection),
    /// There was no answer in time. Whether it is written is not known.
    TimedOut,
    /// The value cannot be read, and is not written over.
    Unreadable,
    /// The session, or the machine, is gone.
    SessionGone,
    /// The client was closed.
    Closed,
}

/// Why an update is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpdateError {
    /// Too many wait.
    Full,
    /// The session or the machine is gone, or the client was closed.
    Ended,
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many updates wait",
            Self::Ended => "it has ended",
        })
    }
}

impl core::error::Error for UpdateError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Update {
    id: u64,
    merges: usize,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    /// The first of the updates is being attempted.
    Asking {
        deadline: Instant,
    },
    Ended,
}

/// A value with a version, and the updates of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Versioned {
    limits: Limits,
    version: u64,
    value: Value,
    updates: VecDeque<Update>,
    outcomes: VecDeque<(UpdateId, Outcome)>,
    state: State,
    connected: bool,
    next_id: u64,
    attempt: u64,
}

impl Versioned {
    /// The value as the server gave it.
    #[must_use]
    pub const fn new(limits: &Limits, version: u64, value: Value) -> Self {
        Self {
            limits: *limits,
            version,
            value,
            updates: VecDeque::new(),
            outcomes: VecDeque::new(),
            state: State::Idle,
            connected: false,
            next_id: 1,
            attempt: 0,
        }
    }

    /// The value, as it is known.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The version of the value.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether no update waits for its outcome.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.updates.is_empty()
    }

    /// Asks for an update. It changes `poll_timeout`.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing has changed.
    pub fn request(&mut self, now: Instant) -> Result<UpdateId, UpdateError> {
        if self.state == State::Ended {
            return Err(UpdateError::Ended);
        }
        if self.updates.len().saturating_add(self.outcomes.len()) >= self.limits.max_updates() {
            return Err(UpdateError::Full);
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.updates.push_back(Update {
            id,
            merges: 0,
            deadline: now.after(self.limits.update_timeout()),
        });
        Ok(UpdateId(id))
    }

    /// Begins the next attempt, if there is one to begin. It changes `poll_timeout`.
    pub fn next_attempt(&mut self, now: Instant) -> Option<Attempt> {
        if self.state != State::Idle || !self.connected {
            return None;
        }
        while self.value == Value::Unreadable && !self.updates.is_empty() {
            self.finish(Outcome::Unreadable);
        }
        let update = self.updates.front_mut()?;
        update.merges = update.merges.saturating_add(1);
        let update = UpdateId(update.id);
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Asking {
            deadline: now.after(self.limits.ack_timeout()),
        };
        Some(Attempt {
            update,
            number: self.attempt,
            expected_version: self.version,
        })
    }

    /// The merge of the attempt changes nothing: nothing is sent.
    pub fn handle_unchanged(&mut self, attempt: Attempt) {
        if self.is_current(attempt) {
            self.finish(Outcome::Applied(self.version));
        }
    }

    /// The merge of the attempt gives something that cannot be sent, as one longer than a frame
    /// may be; or there is nothing to merge on, as the value cannot be read any more.
    pub fn handle_unsendable(&mut self, attempt: Attempt) {
        if self.is_current(attempt) {
            self.finish(if self.value == Value::Unreadable {
                Outcome::Unreadable
            } else {
                Outcome::Rejected(Rejection::Other)
            });
        }
    }

    /// The server has answered the attempt.
    pub fn handle_answer(&mut self, attempt: Attempt, answer: Answer) {
        match answer {
            Answer::Success { version, value } => {
                // True of the value, however late it comes.
                self.handle_value(version, value);
                if self.is_current(attempt) {
                    self.finish(Outcome::Applied(version));
                }
            }
            Answer::Mismatch { version, value } => {
                self.handle_value(version, value);
                if self.is_current(attempt) {
                    self.merge_again();
                }
            }
            Answer::Error(why) if self.is_current(attempt) => self.finish(Outcome::Rejected(why)),
            Answer::Error(_) => {}
        }
    }

    /// The value that the server tells of: it is taken when it is newer.
    pub fn handle_value(&mut self, version: u64, value: Value) {
        if version > self.version {
            self.version = version;
            self.value = value;
        }
    }

    /// The session was fetched anew, and this is its value: it is taken unless it is older.
    pub fn handle_fetched(&mut self, version: u64, value: Value) {
        if version >= self.version {
            self.version = version;
            self.value = value;
        }
    }

    /// The socket is connected.
    pub fn handle_connected(&mut self) {
        self.connected = true;
    }

    /// The socket is not connected: an attempt without an answer is made again later, on the
    /// value that is there then. It changes `poll_timeout`.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        if matches!(self.state, State::Asking { .. }) {
            self.merge_again();
        }
    }

    /// The session is gone: so is every update.
    pub fn handle_gone(&mut self) {
        self.end(Outcome::SessionGone);
    }

    /// Nothing more is updated.
    pub fn close(&mut self) {
        self.end(Outcome::Closed);
    }

    /// The next outcome that nobody took.
    pub fn poll_outcome(&mut self) -> Option<(UpdateId, Outcome)> {
        self.outcomes.pop_front()
    }

    /// When to call [`Versioned::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let overall = self.updates.front().map(|update| update.deadline);
        match self.state {
            State::Asking { deadline } => overall.into_iter().chain([deadline]).min(),
            State::Idle | State::Ended => overall,
        }
    }

    /// Time has passed: what has no answer has the outcome [`Outcome::TimedOut`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Asking { deadline } = self.state
            && now >= deadline
        {
            self.finish(Outcome::TimedOut);
        }
        while self
            .updates
            .front()
            .is_some_and(|update| now >= update.deadline)
        {
            self.finish(Outcome::TimedOut);
        }
    }

    /// Whether this attempt is the one that is under way.
    pub(crate) fn is_current(&self, attempt: Attempt) -> bool {
        matches!(self.state, State::Asking { .. }) && attempt.number == self.attempt
    }

    fn merge_again(&mut self) {
        self.state = State::Idle;
        let merges = self.updates.front().map_or(0, |update| update.merges);
        if merges >= self.limits.max_merges() {
            self.finish(Outcome::Conflict);
        }
    }

    /// The first update has its outcome; the next may begin.
    fn finish(&mut self, outcome: Outcome) {
        let update = self.updates.pop_front();
        let ended = update.map(|update| (UpdateId(update.id), outcome));
        ended
            .into_iter()
            .for_each(|ended| self.outcomes.push_back(ended));
        self.state = State::Idle;
    }

    fn end(&mut self, outcome: Outcome) {
        while !self.updates.is_empty() {
            self.finish(outcome);
        }
        self.state = State::Ended;
    }
}

#[cfg(test)]
mod tests;
