//! The reconnect policy: budgets, delays and seeded jitter (sessions.md §3).
//!
//! ```text
//!   fail ── its budget and the give-up time allow it ──> Retry { attempt, delay }
//!     └──── spent ──> GaveUp
//!   end_connection: one that proved itself makes the budgets whole again,
//!                   one that lasted makes the delays short again
//! ```
//!
//! A budget is not made whole by a mere connection, so a server that accepts and closes runs it
//! down. The delays are not made short by mere traffic, so a server that accepts, speaks and
//! closes is not hammered either.

use core::fmt;
use core::time::Duration;

use crate::limits::{LimitsError, in_range};
use crate::time::Instant;

/// One attempt at a transport. Every fact about a transport carries the epoch of its dial; a
/// fact of an earlier one is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How the delays of a [`Schedule`] grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Growth {
    /// They do not: each is the first.
    Constant,
    /// The n-th is n times the first.
    Linear,
    /// Each is twice the one before.
    Double,
}

/// How delays are spread, so that the clients of a restarted server do not return at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// Not at all.
    None,
    /// Evenly between nothing and the delay.
    Full,
    /// Evenly between half the delay and one and a half times it.
    Half,
}

/// The retries of one kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// How many retries there are before a connection proves itself.
    pub max_retries: u32,
    /// The first delay, before it is spread.
    pub first_delay: Duration,
    /// No delay is longer.
    pub max_delay: Duration,
    /// How they grow.
    pub growth: Growth,
    /// How they are spread.
    pub spread: Spread,
}

impl Schedule {
    /// The delay before the `n`-th retry, counted from 1; `random` is uniform over all values.
    #[must_use]
    pub fn delay(&self, n: u32, random: u64) -> Duration {
        let (first, max) = (nanos(self.first_delay), nanos(self.max_delay));
        let grown = match self.growth {
            Growth::Constant => first,
            Growth::Linear => first.saturating_mul(u64::from(n)),
            Growth::Double => {
                let doublings = n.saturating_sub(1);
                first.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
            }
        };
        let spread = match self.spread {
            Spread::None => grown,
            Spread::Full => part(grown.min(max), random),
            Spread::Half => {
                let half = grown >> 1;
                grown
                    .saturating_sub(half)
                    .saturating_add(part(grown, random))
            }
        };
        Duration::from_nanos(spread.min(max))
    }
}

/// `random` of 2⁶⁴ of the values from 0 to `whole`.
fn part(whole: u64, random: u64) -> u64 {
    let product = u128::from(whole)
        .saturating_add(1)
        .saturating_mul(u128::from(random));
    u64::try_from(product >> 64).unwrap_or(whole)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// When to dial again, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    transient: Schedule,
    not_found: Schedule,
    forced_delay: Duration,
    healthy_after: Duration,
    settled_after: Duration,
    give_up_after: Duration,
    max_retry_after: Duration,
}

impl Policy {
    /// Exponential backoff with full jitter up to a minute, for half an hour. The default.
    pub const RESILIENT: Policy = Policy {
        transient: Schedule {
            max_retries: 200,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            growth: Growth::Double,
            spread: Spread::Full,
        },
        not_found: Schedule {
            max_retries: 8,
            first_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(30),
            growth: Growth::Double,
            spread: Spread::Full,
        },
        forced_delay: Duration::from_millis(500),
        healthy_after: Duration::from_secs(30),
        settled_after: Duration::from_secs(30),
        give_up_after: Duration::from_secs(1_800),
        max_retry_after: Duration::from_secs(3_600),
    };

    /// The timing of the reference: two seconds, no jitter, 5 retries, or 3 for a session that
    /// is not found (sessions.md §3).
    pub const FIXED: Policy = Policy {
        transient: Schedule {
            max_retries: 5,
            first_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(2),
            growth: Growth::Constant,
            spread: Spread::None,
        },
        not_found: Schedule {
            max_retries: 3,
            first_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(6),
            growth: Growth::Linear,
            spread: Spread::None,
        },
        settled_after: Duration::ZERO,
        ..Policy::RESILIENT
    };

    /// Exponential backoff with full jitter up to half a minute, for ever: for what has nobody
    /// at hand to start it again (relay.md §9.5). A session that is not found is given up.
    pub const PERSISTENT: Policy = Policy {
        transient: Schedule {
            max_retries: u32::MAX,
            max_delay: Duration::from_secs(30),
            ..Policy::RESILIENT.transient
        },
        give_up_after: Duration::MAX,
        ..Policy::RESILIENT
    };

    /// The timing of the reference's socket: doubled from one second, half of it more or less,
    /// five at most, for ever, and from the start after every connection (relay.md §1.2).
    pub const SOCKET_IO: Policy = Policy {
        transient: Schedule {
            max_retries: u32::MAX,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(5),
            growth: Growth::Double,
            spread: Spread::Half,
        },
        healthy_after: Duration::ZERO,
        settled_after: Duration::ZERO,
        ..Policy::PERSISTENT
    };

    /// Starts from [`Policy::RESILIENT`].
    #[must_use]
    pub const fn builder() -> PolicyBuilder {
        PolicyBuilder(Self::RESILIENT)
    }

    /// The retries after a failure that will pass.
    #[must_use]
    pub const fn transient(&self) -> Schedule {
        self.transient
    }

    /// The retries after the server did not find the session.
    #[must_use]
    pub const fn not_found(&self) -> Schedule {
        self.not_found
    }

    /// From a reconnect that the caller forced to the dial.
    #[must_use]
    pub const fn forced_delay(&self) -> Duration {
        self.forced_delay
    }

    /// A connection that was open for so long, and was heard of then, has proved itself without
    /// any traffic.
    #[must_use]
    pub const fn healthy_after(&self) -> Duration {
        self.healthy_after
    }

    /// A connection that proved itself and was open for so long lets the delays start again
    /// from the first.
    #[must_use]
    pub const fn settled_after(&self) -> Duration {
        self.settled_after
    }

    /// A failure after so much time without a connection that proved itself is the last one.
    /// Time that the server asked for is not counted.
    #[must_use]
    pub const fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// The longest delay that a server may ask for; a longer one is cut to it.
    #[must_use]
    pub const fn max_retry_after(&self) -> Duration {
        self.max_retry_after
    }

    /// The most dials without a connection that proves itself, the first one included.
    #[must_use]
    pub const fn max_dials(&self) -> u32 {
        let retries = self.transient.max_retries;
        retries
            .saturating_add(self.not_found.max_retries)
            .saturating_add(1)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::RESILIENT
    }
}

/// A [`Policy`] in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyBuilder(Policy);

impl PolicyBuilder {
    /// Starts from `policy`.
    #[must_use]
    pub const fn from(policy: Policy) -> Self {
        Self(policy)
    }

    /// Sets [`Policy::transient`].
    #[must_use]
    pub const fn transient(mut self, value: Schedule) -> Self {
        self.0.transient = value;
        self
    }

    /// Sets [`Policy::not_found`].
    #[must_use]
    pub const fn not_found(mut self, value: Schedule) -> Self {
        self.0.not_found = value;
        self
    }

    /// Sets [`Policy::forced_delay`].
    #[must_use]
    pub const fn forced_delay(mut self, value: Duration) -> Self {
        self.0.forced_delay = value;
        self
    }

    /// Sets [`Policy::healthy_after`].
    #[must_use]
    pub const fn healthy_after(mut self, value: Duration) -> Self {
        self.0.healthy_after = value;
        self
    }

    /// Sets [`Policy::settled_after`].
    #[must_use]
    pub const fn settled_after(mut self, value: Duration) -> Self {
        self.0.settled_after = value;
        self
    }

    /// Sets [`Policy::give_up_after`].
    #[must_use]
    pub const fn give_up_after(mut self, value: Duration) -> Self {
        self.0.give_up_after = value;
        self
    }

    /// Sets [`Policy::max_retry_after`].
    #[must_use]
    pub const fn max_retry_after(mut self, value: Duration) -> Self {
        self.0.max_retry_after = value;
        self
    }

    /// Checks every range, in milliseconds, and every relation.
    ///
    /// # Errors
    ///
    /// [`LimitsError::OutOfRange`], or [`LimitsError::Inverted`] when a first delay is longer
    /// than the longest.
    pub fn build(self) -> Result<Policy, LimitsError> {
        const DAY: u64 = 86_400_000;
        let policy = self.0;
        for (name, span, min) in [
            ("forced_delay", policy.forced_delay, 0),
            ("healthy_after", policy.healthy_after, 1),
            ("settled_after", policy.settled_after, 0),
            ("give_up_after", policy.give_up_after, 1),
            ("max_retry_after", policy.max_retry_after, 0),
            ("first_delay", policy.transient.first_delay, 1),
            ("max_delay", policy.transient.max_delay, 1),
            ("first_delay", policy.not_found.first_delay, 1),
            ("max_delay", policy.not_found.max_delay, 1),
        ] {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            in_range(name, millis, min, DAY)?;
        }
        for schedule in [policy.transient, policy.not_found] {
            if schedule.first_delay > schedule.max_delay {
                return Err(LimitsError::Inverted {
                    name: "first_delay",
                    bound: "max_delay",
                });
            }
        }
        Ok(policy)
    }
}

/// Which retries a failure spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// Those of [`Policy::transient`].
    Transient,
    /// Those of [`Policy::not_found`].
    NotFound,
}

/// One more dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// How many retries there were since the last connection that proved itself, this one
    /// included.
    pub attempt: u32,
    /// How long to wait first.
    pub delay: Duration,
}

/// Why there is no further dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// The retries of the budget are spent.
    Retries,
    /// No connection proved itself for [`Policy::give_up_after`].
    Time,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retries => "all retries are spent",
            Self::Time => "it has failed for too long",
        })
    }
}

impl core::error::Error for GaveUp {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Spent {
    /// Retries since the last proof of health.
    retries: u32,
    /// Steps along the schedule since a connection lasted.
    steps: u32,
}

/// The retries of one connection that is to be kept up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    policy: Policy,
    random: Random,
    transient: Spent,
    not_found: Spent,
    failing_since: Option<Instant>,
}

impl Backoff {
    /// Whole budgets; equal seeds give equal delays.
    #[must_use]
    pub const fn new(policy: Policy, seed: u64) -> Self {
        const NONE: Spent = Spent {
            retries: 0,
            steps: 0,
        };
        Self {
            policy,
            random: Random::new(seed),
            transient: NONE,
            not_found: NONE,
            failing_since: None,
        }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A connection ended that was heard of `open_for` after it was opened, with application
    /// traffic or without. To be told before its [`Backoff::fail`].
    pub fn end_connection(&mut self, open_for: Duration, traffic: bool) {
        if !traffic && open_for < self.policy.healthy_after {
            return;
        }
        self.failing_since = None;
        for spent in [&mut self.transient, &mut self.not_found] {
            spent.retries = 0;
            if open_for >= self.policy.settled_after {
                spent.steps = 0;
            }
        }
    }

    /// Starts again from the beginning: the caller asked for it, or the machine slept.
    pub fn restart(&mut self) {
        self.failing_since = None;
        self.transient = Spent::default();
        self.not_found = Spent::default();
    }

    /// A dial or a connection failed; the server may have asked for a delay. Gives the next
    /// dial.
    ///
    /// # Errors
    ///
    /// [`GaveUp`] when there is none.
    pub fn fail(
        &mut self,
        budget: Budget,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Result<Retry, GaveUp> {
        let failing_since = *self.failing_since.get_or_insert(now);
        let schedule = match budget {
            Budget::Transient => self.policy.transient,
            Budget::NotFound => self.policy.not_found,
        };
        let random = match schedule.spread {
            Spread::None => 0,
            Spread::Full | Spread::Half => self.random.draw(),
        };
        let spent = match budget {
            Budget::Transient => &mut self.transient,
            Budget::NotFound => &mut self.not_found,
        };
        if spent.retries >= schedule.max_retries {
            return Err(GaveUp::Retries);
        }
        if now.since(failing_since) >= self.policy.give_up_after {
            return Err(GaveUp::Time);
        }
        spent.retries = spent.retries.saturating_add(1);
        spent.steps = spent.steps.saturating_add(1);
        let own = schedule.delay(spent.steps, random);
        let asked = retry_after.unwrap_or_default();
        let asked = asked.min(self.policy.max_retry_after);
        self.failing_since = Some(failing_since.after(asked));
        Ok(Retry {
            attempt: self.attempt(),
            delay: own.saturating_add(asked),
        })
    }

    /// How many retries there were since the last connection that proved itself.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.transient
            .retries
            .saturating_add(self.not_found.retries)
    }
}

/// Numbers from a seed (SplitMix64), to spread retries; not for secrets. Every seed has a full
/// period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over all values.
    pub(crate) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;
