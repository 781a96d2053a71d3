//! How often and how long it may fail (sessions.md §3, points 1, 2, 8 and 9).

use std::ops::RangeInclusive;
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::backoff::{Budget, GaveUp, Growth, Policy, Schedule, Spread};

/// What was spent since a connection proved itself.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    policy: Policy,
    /// Retries, by budget.
    spent: [u32; 2],
    /// Steps along each schedule, which a connection has to last to undo.
    steps: [u32; 2],
    failing_since: Option<Instant>,
    /// How long the server has asked for patience since then.
    asked_for: Duration,
}

impl Budgets {
    pub(crate) const fn new(policy: Policy) -> Self {
        Self {
            policy,
            spent: [0; 2],
            steps: [0; 2],
            failing_since: None,
            asked_for: Duration::ZERO,
        }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many retries were spent, of both budgets.
    #[must_use]
    pub fn spent(&self) -> u32 {
        self.spent.iter().sum()
    }

    pub(crate) const fn restart(&mut self) {
        *self = Self::new(self.policy);
    }

    /// A connection is over.
    pub(crate) fn ended(&mut self, lasted: Duration, has_traffic: bool) {
        if has_traffic || lasted >= self.policy.healthy_after() {
            let steps = if lasted >= self.policy.settled_after() {
                [0; 2]
            } else {
                self.steps
            };
            *self = Self {
                steps,
                ..Self::new(self.policy)
            };
        }
    }

    /// The number of the next dial and the delays before it that are allowed.
    pub(crate) fn fail(
        &mut self,
        budget: Budget,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Result<(u32, RangeInclusive<Duration>), GaveUp> {
        let (of, schedule) = match budget {
            Budget::Transient => (0, self.policy.transient()),
            Budget::NotFound => (1, self.policy.not_found()),
        };
        let since = *self.failing_since.get_or_insert(now);
        if self.spent[of] == schedule.max_retries {
            return Err(GaveUp::Retries);
        }
        // What the server asked for does not count.
        if now.since(since).saturating_sub(self.asked_for) >= self.policy.give_up_after() {
            return Err(GaveUp::Time);
        }
        self.spent[of] += 1;
        self.steps[of] += 1;
        let own = delays(&schedule, self.steps[of]);
        let asked = retry_after.unwrap_or_default();
        let asked = asked.min(self.policy.max_retry_after());
        self.asked_for += asked;
        Ok((self.spent(), *own.start() + asked..=*own.end() + asked))
    }
}

/// The delays that are allowed before the `n`-th retry.
fn delays(schedule: &Schedule, n: u32) -> RangeInclusive<Duration> {
    let (first, most) = (schedule.first_delay, schedule.max_delay);
    let grown = match schedule.growth {
        Growth::Constant => first,
        Growth::Linear => first.saturating_mul(n),
        Growth::Double => first.saturating_mul(2_u32.saturating_pow(n - 1)),
    };
    let capped = grown.min(most);
    match schedule.spread {
        Spread::None => capped..=capped,
        Spread::Full => Duration::ZERO..=capped,
        Spread::Half => (grown / 2).min(most)..=(grown.saturating_mul(3) / 2).min(most),
    }
}
