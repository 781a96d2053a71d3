//! The reconnect policy of the models, and what is left of it by the contracts' account
//! (sessions.md §3, relay.md §9.5).

use hallway_core::backoff::{Budget, GaveUp, Growth, Policy, Schedule, Spread};

use super::span;

pub(super) const FORCED: u16 = 1;
pub(super) const RETRY_AFTER: u16 = 2;
const GIVE_UP: u16 = 9;
const TRANSIENT_DELAYS: [u16; 3] = [1, 2, 2];
const NOT_FOUND_DELAYS: [u16; 2] = [1, 2];

/// The budgets of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budgets {
    pub(super) transient: u8,
    pub(super) not_found: u8,
}

impl Budgets {
    /// The policy with these budgets, where a connection that lasted so long has proved itself.
    pub(super) fn policy(self, healthy: u16) -> Policy {
        let schedule = |max_retries: u8, growth| Schedule {
            max_retries: u32::from(max_retries),
            first_delay: span(1),
            max_delay: span(2),
            growth,
            spread: Spread::None,
        };
        let policy = Policy::builder()
            .transient(schedule(self.transient, Growth::Double))
            .not_found(schedule(self.not_found, Growth::Linear))
            .forced_delay(span(FORCED))
            .healthy_after(span(healthy))
            .settled_after(span(0))
            .give_up_after(span(GIVE_UP));
        policy.build().expect("the policy is within its ranges")
    }
}

/// What happened since the last proof of health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Retries {
    budgets: Budgets,
    spent: Budgets,
    failing_since: Option<u16>,
    dials: u8,
}

/// A retry: which one it is, and its delay.
pub(super) type Retry = (u32, u16);

impl Retries {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            ..Self::default()
        }
    }

    /// The budgets are whole again.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.budgets);
    }

    /// Another dial.
    pub(super) fn dial(&mut self) {
        self.dials += 1;
    }

    /// The dials since the last proof of health.
    pub(super) const fn dials(&self) -> u8 {
        self.dials
    }

    /// The connection has proved itself, so that its dials count no more; the budgets are whole once
    /// it ends.
    pub(super) fn prove(&mut self) {
        self.dials = 0;
    }

    /// Whether a failure is retried, for which the server asks for so many milliseconds.
    pub(super) fn fail(&mut self, budget: Budget, asked: u16, now: u16) -> Result<Retry, GaveUp> {
        let since = *self.failing_since.get_or_insert(now);
        let (spent, most, delays): (_, _, &[u16]) = match budget {
            Budget::Transient => (
                &mut self.spent.transient,
                self.budgets.transient,
                &TRANSIENT_DELAYS,
            ),
            Budget::NotFound => (
                &mut self.spent.not_found,
                self.budgets.not_found,
                &NOT_FOUND_DELAYS,
            ),
        };
        if *spent >= most {
            return Err(GaveUp::Retries);
        }
        if now.saturating_sub(since) >= GIVE_UP {
            return Err(GaveUp::Time);
        }
        let delay = delays.get(usize::from(*spent)).copied().unwrap_or(0);
        *spent += 1;
        self.failing_since = Some(since + asked);
        let attempt = u32::from(self.spent.transient) + u32::from(self.spent.not_found);
        Ok((attempt, delay + asked))
    }
}
