//! Messages that wait to be stored by the server: first in, first out, each under a local id
//! that makes a repetition harmless (relay.md §9.1).
//!
//! ```text
//!   Idle ── next_batch ──> Posting { deadline } ── stored ──> Idle
//!                             │ failed, or the deadline
//!                             └──> Waiting { until } ── time ──> Idle
//!   any ── unauthorised, session gone, no such route ──> Stopped { reason } ── resume ──> Idle
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::delays::{fraction, retry_delay};
use super::limits::Limits;
use super::raw::{Object, Raw};
use crate::backoff::Random;
use crate::time::Instant;

/// One post, numbered from 1. What is said of an earlier one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// Why a message is not taken; the outbox is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// Too many messages or bytes wait.
    Full,
    /// The message is longer than one post may be.
    TooLong,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many messages wait to be sent",
            Self::TooLong => "the message is too long",
        })
    }
}

impl core::error::Error for PushError {}

/// Why a post failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostFailure {
    /// The network, or the server's own trouble: it is tried again.
    Transient,
    /// The server says when to come back.
    RetryAfter(Duration),
    /// The server takes no body of this length: it is tried with fewer messages.
    TooLarge,
    /// The server does not know the token.
    Unauthorized,
    /// The server does not know the session.
    SessionGone,
    /// The server does not know the route: it is too old.
    NoRoute,
}

/// Why nothing is posted until [`Outbox::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The server does not know the token.
    Unauthorized,
    /// The server does not know the session.
    SessionGone,
    /// The server does not know the route.
    NoRoute,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The server has it, under this number.
    Stored {
        /// The message's id.
        local_id: Box<str>,
        /// Its number in the session.
        seq: u64,
    },
    /// The server takes no body as long as this message alone. It is dropped.
    TooLarge {
        /// The message's id.
        local_id: Box<str>,
    },
}

/// The answer to a post is not what the server promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidAnswer;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    local_id: Box<str>,
    content: Box<str>,
}

impl Entry {
    fn len(&self) -> usize {
        self.local_id.len().saturating_add(self.content.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Posting {
        /// How many of the first messages are in the post and have no outcome.
        count: usize,
        /// How many it was begun with.
        posted: usize,
        deadline: Instant,
    },
    Waiting {
        until: Instant,
    },
    Stopped(StopReason),
}

/// Messages that wait to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outbox {
    limits: Limits,
    entries: VecDeque<Entry>,
    bytes: usize,
    state: State,
    batch: u64,
    /// How many messages the next post may have: less than the limit after a refusal.
    batch_messages: usize,
    failures: u32,
    random: Random,
}

impl Outbox {
    /// An empty outbox; `seed` spreads its retries.
    #[must_use]
    pub const fn new(limits: &Limits, seed: u64) -> Self {
        Self {
            limits: *limits,
            entries: VecDeque::new(),
            bytes: 0,
            state: State::Idle,
            batch: 0,
            batch_messages: limits.max_batch_messages(),
            failures: 0,
            random: Random::new(seed),
        }
    }

    /// Takes a message: its sealed content in base64, under an id made once and for ever.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn push(&mut self, local_id: &str, content: &str) -> Result<(), PushError> {
        let entry = Entry {
            local_id: Box::from(local_id),
            content: Box::from(content),
        };
        if entry.len() > self.limits.max_batch_bytes() {
            return Err(PushError::TooLong);
        }
        let bytes = self.bytes.saturating_add(entry.len());
        if self.entries.len() >= self.limits.max_outbox_messages()
            || bytes > self.limits.max_outbox_bytes()
        {
            return Err(PushError::Full);
        }
        self.bytes = bytes;
        self.entries.push_back(entry);
        Ok(())
    }

    /// How many messages wait, those that are being posted included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Why nothing is posted, if it is stopped.
    #[must_use]
    pub const fn stopped(&self) -> Option<StopReason> {
        match self.state {
            State::Stopped(reason) => Some(reason),
            State::Idle | State::Posting { .. } | State::Waiting { .. } => None,
        }
    }

    /// Begins the next post, if there is one to begin: its body is [`Outbox::body`]. It changes
    /// `poll_timeout`.
    pub fn next_batch(&mut self, now: Instant) -> Option<BatchId> {
        self.next_batch_of(usize::MAX, now)
    }

    /// The same with at most `room` messages.
    pub fn next_batch_of(&mut self, room: usize, now: Instant) -> Option<BatchId> {
        if self.state != State::Idle || self.entries.is_empty() || room == 0 {
            return None;
        }
        let mut bytes = 0_usize;
        let fits = |entry: &&Entry| {
            bytes = bytes.saturating_add(entry.len());
            bytes <= self.limits.max_batch_bytes()
        };
        let most = self.batch_messages.max(1).min(room);
        let count = self.entries.iter().take(most).take_while(fits).count();
        self.batch = self.batch.saturating_add(1);
        self.state = State::Posting {
            count,
            posted: count,
            deadline: now.after(self.limits.post_timeout()),
        };
        Some(BatchId(self.batch))
    }

    /// The local ids and contents that are being posted.
    pub fn batch(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter().take(self.count());
        entries.map(|entry| (&*entry.local_id, &*entry.content))
    }

    /// The body of the post (relay.md §3).
    #[must_use]
    pub fn body(&self) -> String {
        let mut messages = String::from("[");
        for (local_id, content) in self.batch() {
            if messages.len() > 1 {
                messages.push(',');
            }
            let mut message = Object::new();
            message
                .member("content", content)
                .member("localId", local_id);
            messages.push_str(&message.finish());
        }
        messages.push(']');
        let mut body = Object::new();
        body.member("messages", &Raw::trusted(&messages));
        body.finish()
    }

    /// The server has answered the post with `answer`. What it lists is stored; what it does not
    /// list is posted again. It changes `poll_timeout`.
    ///
    /// # Errors
    ///
    /// [`InvalidAnswer`]: the post has failed and is repeated.
    pub fn handle_stored(
        &mut self,
        id: BatchId,
        answer: Raw<'_>,
        now: Instant,
    ) -> Result<Vec<Outcome>, InvalidAnswer> {
        if !self.is_current(id) {
            return Ok(Vec::new());
        }
        let Some(listed) = listed(answer, self.limits.max_batch_messages()) else {
            self.fail(now, None);
            return Err(InvalidAnswer);
        };
        let mut outcomes = Vec::new();
        for (local_id, seq) in listed {
            if let Some(entry) = self.take(&local_id, self.count()) {
                let local_id = entry.local_id;
                outcomes.push(Outcome::Stored { local_id, seq });
            }
        }
        if outcomes.is_empty() {
            self.fail(now, None);
        } else {
            self.failures = 0;
            self.batch_messages = self.limits.max_batch_messages();
            self.state = State::Idle;
        }
        Ok(outcomes)
    }

    /// The post has failed. Nothing that it held is lost, but for a message that alone is too
    /// large for the server. It changes `poll_timeout`.
    pub fn handle_failed(
        &mut self,
        id: BatchId,
        failure: PostFailure,
        now: Instant,
    ) -> Option<Outcome> {
        let State::Posting { posted, .. } = self.state else {
            return None;
        };
        if id.0 != self.batch {
            return None;
        }
        match failure {
            PostFailure::Transient => self.fail(now, None),
            PostFailure::RetryAfter(span) => self.fail(now, Some(span)),
            PostFailure::TooLarge => return self.split(posted),
            PostFailure::Unauthorized => self.state = State::Stopped(StopReason::Unauthorized),
            PostFailure::SessionGone => self.state = State::Stopped(StopReason::SessionGone),
            PostFailure::NoRoute => self.state = State::Stopped(StopReason::NoRoute),
        }
        None
    }

    /// A message with this local id was seen in the session: it is stored, whatever became of
    /// its post.
    pub fn handle_seen(&mut self, local_id: &str, seq: u64) -> Option<Outcome> {
        let entry = self.drop_entry(local_id)?;
        let local_id = entry.local_id;
        Some(Outcome::Stored { local_id, seq })
    }

    /// Whether a message with this local id waits.
    #[must_use]
    pub fn contains(&self, local_id: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| &*entry.local_id == local_id)
    }

    /// The post that is under way.
    #[must_use]
    pub const fn posting(&self) -> Option<BatchId> {
        match self.state {
            State::Posting { .. } => Some(BatchId(self.batch)),
            State::Idle | State::Waiting { .. } | State::Stopped(_) => None,
        }
    }

    /// The message with this local id is longer than the server takes: it is dropped.
    pub fn handle_too_large(&mut self, local_id: &str) -> Option<Outcome> {
        let entry = self.drop_entry(local_id)?;
        let local_id = entry.local_id;
        Some(Outcome::TooLarge { local_id })
    }

    /// Posts again after what stopped it was dealt with. It changes `poll_timeout`.
    pub fn resume(&mut self) {
        if self.stopped().is_some() {
            self.state = State::Idle;
            self.failures = 0;
        }
    }

    /// When to call [`Outbox::handle_timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Stopped(_) => None,
            State::Posting { deadline, .. } => Some(deadline),
            State::Waiting { until } => Some(until),
        }
    }

    /// Time has passed: a post that is not answered has failed, and one that waits may begin.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Posting { deadline, .. } if now >= deadline => self.fail(now, None),
            State::Waiting { until } if now >= until => self.state = State::Idle,
            State::Idle | State::Posting { .. } | State::Waiting { .. } | State::Stopped(_) => {}
        }
    }

    fn drop_entry(&mut self, local_id: &str) -> Option<Entry> {
        let entry = self.take(local_id, self.entries.len())?;
        if let State::Posting { count: 0, .. } = self.state {
            // All of the post has its outcome: its answer says nothing new.
            self.state = State::Idle;
        }
        Some(entry)
    }

    const fn count(&self) -> usize {
        match self.state {
            State::Posting { count, .. } => count,
            State::Idle | State::Waiting { .. } | State::Stopped(_) => 0,
        }
    }

    const fn is_current(&self, id: BatchId) -> bool {
        matches!(self.state, State::Posting { .. }) && id.0 == self.batch
    }

    /// Takes the message of that id out of the first `among`; a post shrinks with it.
    fn take(&mut self, local_id: &str, among: usize) -> Option<Entry> {
        let mut first = self.entries.iter().take(among);
        let at = first.position(|entry| &*entry.local_id == local_id)?;
        let entry = self.entries.remove(at)?;
        self.bytes = self.bytes.saturating_sub(entry.len());
        if let State::Posting { count, .. } = &mut self.state
            && at < *count
        {
            *count = count.saturating_sub(1);
        }
        Some(entry)
    }

    fn fail(&mut self, now: Instant, at_least: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let delay = retry_delay(self.failures, fraction(self.random.draw()));
        let delay = delay.max(at_least.unwrap_or_default());
        self.state = State::Waiting {
            until: now.after(delay),
        };
    }

    /// Half as many messages next time; one that is alone and too large is dropped.
    fn split(&mut self, posted: usize) -> Option<Outcome> {
        self.state = State::Idle;
        // What was seen meanwhile was in the post all the same.
        if posted > 1 {
            self.batch_messages = posted / 2;
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.bytes = self.bytes.saturating_sub(entry.len());
        self.batch_messages = self.limits.max_batch_messages();
        let local_id = entry.local_id;
        Some(Outcome::TooLarge { local_id })
    }
}

/// The local ids and numbers that an answer lists; `None` when it is none, or lists more than
/// can have been posted.
fn listed(answer: Raw<'_>, most: usize) -> Option<Vec<(String, u64)>> {
    let mut found = Some(Vec::new());
    answer.get("messages")?.each_element(|element| {
        let entry = element.pick(["localId", "seq"]).and_then(|[id, seq]| {
            let id = id?.text()?.to_unicode()?.into_owned();
            Some((id, seq?.unsigned()?))
        });
        match (entry, &mut found) {
            (Some(entry), Some(found)) if found.len() < most => found.push(entry),
            _ => found = None,
        }
        found.is_some()
    })?;
    found
}

#[cfg(test)]
mod tests;
