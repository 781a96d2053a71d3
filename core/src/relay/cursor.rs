//! How far a session was read: each message of others is delivered once and in order, and what
//! was missed is fetched (relay.md §9.2).
//!
//! ```text
//!   Resting ── connected, a gap ──> Wanted ── next_fetch ──> Fetching { deadline }
//!      ^                              ^                          │ page with more: on
//!      │ page without more, gap closed│ time                     │
//!      └──────────────────────────────┼──────────────────────────┤
//!                            Waiting { until } <── failed, or the deadline
//! ```
//!
//! The cursor is the last number up to which everything was seen, fetched, sent by us, or said
//! by the server not to be there. A live message beyond the next number is not kept: it is
//! fetched in its turn, so that a gap costs no memory. Our own beyond it are remembered, row by
//! row: as many more are to be sent as there is room for, so that none is forgotten and taken
//! for another's.

use alloc::collections::BTreeMap;

use core::time::Duration;

use super::delays::{fraction, retry_delay};
use super::limits::Limits;
use crate::backoff::Random;
use crate::time::Instant;

/// One fetch, numbered from 1. What is said of an earlier one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(u64);

/// Messages to be fetched: `GET …/messages?after_seq=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Which fetch the answer belongs to.
    pub id: FetchId,
    /// The number after which messages are wanted.
    pub after: u64,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the next: it is the application's.
    Deliver,
    /// It was delivered, or it is our own.
    Skip,
    /// Something before it is missing: it will come by a fetch.
    Gap,
}

/// The server's page is not what it promises: its numbers do not ascend from where they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidPage;

/// Numbers that were seen live and that the server does not give when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Withheld {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Resting,
    Wanted,
    Fetching {
        deadline: Instant,
        /// The last number of the page so far, or that which it follows.
        page: u64,
        /// Whether the page has a message.
        filled: bool,
        /// The highest number that was known to exist when the fetch began.
        known: u64,
    },
    Waiting {
        until: Instant,
    },
}

/// How far a session was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    limits: Limits,
    last: u64,
    /// The highest number that is known to exist.
    known: u64,
    /// Numbers of ours beyond a gap: the first and the last of each row of them.
    own: BTreeMap<u64, u64>,
    state: State,
    /// Whether a fetch must follow the one that runs.
    again: bool,
    fetch: u64,
    failures: u32,
    vain: usize,
    random: Random,
}

impl Cursor {
    /// A cursor after the number `last`: 0, or what was kept. `seed` spreads its retries.
    #[must_use]
    pub const fn new(limits: &Limits, last: u64, seed: u64) -> Self {
        Self {
            limits: *limits,
            last,
            known: last,
            own: BTreeMap::new(),
            state: State::Resting,
            again: false,
            fetch: 0,
            failures: 0,
            vain: 0,
            random: Random::new(seed),
        }
    }

    /// The number up to which nothing is missing: what to keep over a restart, after the
    /// messages that it covers were dealt with.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Whether everything that is known to exist was seen.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state == State::Resting
    }

    /// The socket is connected: what came meanwhile is to be fetched.
    pub fn handle_connected(&mut self) {
        match self.state {
            State::Resting => self.state = State::Wanted,
            // A fetch that began before may miss what came just before the connection.
            State::Fetching { .. } => self.again = true,
            State::Wanted | State::Waiting { .. } => {}
        }
    }

    /// A message came by the socket; `own` when its local id is one of ours.
    pub fn handle_live(&mut self, seq: u64, own: bool) -> Verdict {
        self.known = self.known.max(seq);
        if own {
            self.handle_sent(seq);
            return Verdict::Skip;
        }
        if seq <= self.last || self.is_own(seq) {
            return Verdict::Skip;
        }
        if Some(seq) == self.last.checked_add(1) {
            self.advance(seq);
            return Verdict::Deliver;
        }
        self.want();
        Verdict::Gap
    }

    /// The server has stored a message of ours under this number. It closes no gap before it:
    /// what is there is fetched.
    pub fn handle_sent(&mut self, seq: u64) {
        self.known = self.known.max(seq);
        if Some(seq) == self.last.checked_add(1) {
            self.advance(seq);
        } else if seq > self.last {
            self.remember(seq);
            self.want();
        }
    }

    /// How many messages of ours may be on their way to the server: wherever it puts them, their
    /// numbers are remembered until what is before them was seen.
    #[must_use]
    pub fn room_for_own(&self) -> usize {
        let most = self.limits.max_own_numbers();
        most.saturating_sub(self.own.len())
    }

    /// Begins the next fetch, if one is wanted. It changes `poll_timeout`.
    pub fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
        if self.state != State::Wanted {
            return None;
        }
        self.fetch = self.fetch.saturating_add(1);
        self.state = State::Fetching {
            deadline: now.after(self.limits.fetch_timeout()),
            page: self.last,
            filled: false,
            known: self.known,
        };
        self.again = false;
        Some(Fetch {
            id: FetchId(self.fetch),
            after: self.last,
        })
    }

    /// The next message of a page, in the page's order; `own` when its local id is one of ours.
    /// Numbers that the page leaves out are not there.
    ///
    /// # Errors
    ///
    /// [`InvalidPage`] when the numbers do not ascend: the fetch has failed.
    pub fn handle_fetched(
        &mut self,
        id: FetchId,
        seq: u64,
        own: bool,
        now: Instant,
    ) -> Result<Verdict, InvalidPage> {
        let State::Fetching { page, filled, .. } = &mut self.state else {
            return Ok(Verdict::Skip);
        };
        if id.0 != self.fetch {
            return Ok(Verdict::Skip);
        }
        if seq <= *page {
            self.fail(now);
            return Err(InvalidPage);
        }
        *page = seq;
        *filled = true;
        self.known = self.known.max(seq);
        if seq <= self.last {
            return Ok(Verdict::Skip);
        }
        let ours = own || self.is_own(seq);
        self.advance(seq);
        Ok(if ours {
            Verdict::Skip
        } else {
            Verdict::Deliver
        })
    }

    /// The page has ended, and `has_more` says whether another follows. It changes
    /// `poll_timeout`.
    ///
    /// When the server keeps from us what was known to exist, the fetch is repeated, and in the
    /// end the gap is given up and said.
    pub fn handle_page_end(
        &mut self,
        id: FetchId,
        has_more: bool,
        now: Instant,
    ) -> Option<Withheld> {
        let State::Fetching { known, filled, .. } = self.state else {
            return None;
        };
        if id.0 != self.fetch {
            return None;
        }
        if has_more && !filled {
            // More behind nothing: to ask again at once would never end.
            self.fail(now);
            return None;
        }
        if has_more || known <= self.last {
            self.failures = 0;
            self.vain = 0;
            self.settle(has_more);
            return None;
        }
        self.vain = self.vain.saturating_add(1);
        if self.vain < self.limits.max_vain_fetches() {
            self.fail(now);
            return None;
        }
        let withheld = Withheld {
            from: self.last.saturating_add(1),
            to: known,
        };
        self.failures = 0;
        self.vain = 0;
        self.advance(known);
        self.settle(false);
        Some(withheld)
    }

    /// The fetch has failed; it is repeated, and not before `retry_after` when the server says
    /// so. It changes `poll_timeout`.
    pub fn handle_failed(&mut self, id: FetchId, retry_after: Option<Duration>, now: Instant) {
        if self.is_fetching(id) {
            self.fail_after(retry_after.unwrap_or_default(), now);
        }
    }

    /// Whether the answer to this fetch is still waited for.
    #[must_use]
    pub const fn is_fetching(&self, id: FetchId) -> bool {
        matches!(self.state, State::Fetching { .. }) && id.0 == self.fetch
    }

    /// A message with this number exists. It is fetched in its turn.
    pub fn handle_known(&mut self, seq: u64) {
        if seq > self.last {
            self.known = self.known.max(seq);
            self.want();
        }
    }

    /// When to call [`Cursor::handle_timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Resting | State::Wanted => None,
            State::Fetching { deadline, .. } => Some(deadline),
            State::Waiting { until } => Some(until),
        }
    }

    /// Time has passed: a fetch that is not answered has failed, and one that waits may begin.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Fetching { deadline, .. } if now >= deadline => self.fail(now),
            State::Waiting { until } if now >= until => self.state = State::Wanted,
            State::Resting | State::Wanted | State::Fetching { .. } | State::Waiting { .. } => {}
        }
    }

    fn want(&mut self) {
        if self.state == State::Resting {
            self.state = State::Wanted;
        }
    }

    /// The fetch has ended: rests, unless something is known to be there still.
    fn settle(&mut self, more: bool) {
        let wanted = more || self.again || self.known > self.last;
        self.state = if wanted {
            State::Wanted
        } else {
            State::Resting
        };
    }

    /// Everything up to `seq` was seen, and what is ours directly behind it.
    fn advance(&mut self, seq: u64) {
        self.last = seq;
        while let Some(row) = self.own.first_entry()
            && *row.key() <= self.last.saturating_add(1)
        {
            self.last = self.last.max(row.remove());
        }
    }

    fn is_own(&self, seq: u64) -> bool {
        let row = self.own.range(..=seq).next_back();
        row.is_some_and(|(_, last)| seq <= *last)
    }

    /// Adds a number to the row that it continues, or begins one.
    fn remember(&mut self, seq: u64) {
        if self.is_own(seq) {
            return;
        }
        let before = self.own.range(..seq).next_back();
        let before = before.filter(|(_, last)| last.checked_add(1) == Some(seq));
        let first = before.map_or(seq, |(first, _)| *first);
        let behind = seq.checked_add(1).and_then(|next| self.own.remove(&next));
        if first < seq || behind.is_some() || self.room_for_own() > 0 {
            self.own.insert(first, behind.unwrap_or(seq));
        }
    }

    fn fail(&mut self, now: Instant) {
        self.fail_after(Duration::ZERO, now);
    }

    fn fail_after(&mut self, at_least: Duration, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let delay = retry_delay(self.failures, fraction(self.random.draw()));
        self.state = State::Waiting {
            until: now.after(delay.max(at_least)),
        };
    }
}

#[cfg(test)]
mod tests;
