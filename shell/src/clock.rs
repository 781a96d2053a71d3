//! The clocks: the one place where the core's [`Instant`] and [`UnixTime`] come from.

use std::time::{Duration, SystemTime};

use hallway_core::{Instant, UnixTime};
#[cfg(target_os = "linux")]
use rustix::time::Timespec;
use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock that also counts the time the machine was suspended.
#[must_use]
pub fn now() -> Instant {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// A point of that clock, for a timer of the system.
#[cfg(target_os = "linux")]
pub(crate) fn timespec(at: Instant) -> Timespec {
    let since = at.since(Instant::ORIGIN);
    Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    }
}

/// Wall time. A clock set before 1970 or after 9999 gives the epoch.
#[must_use]
pub fn wall() -> UnixTime {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .and_then(UnixTime::from_millis)
        .unwrap_or_default()
}

/// When tokio is to wake for `deadline`. Its clock stands still while the machine is suspended,
/// so that it may wake late, never early.
pub(crate) fn timer(deadline: Instant) -> tokio::time::Instant {
    let span = deadline.since(now());
    // Tokio rounds timers to milliseconds; waking in the millisecond before would be for
    // nothing.
    tokio::time::Instant::now() + span + Duration::from_millis(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
        assert!(first > Instant::ORIGIN);
    }

    #[test]
    fn wall_time_is_of_this_century() {
        // 2026-01-01, when this was written.
        assert!(wall().as_millis() > 1_767_225_600_000);
    }
}
