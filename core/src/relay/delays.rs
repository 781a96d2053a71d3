//! How long the reference waits before it tries again. Randomness comes in, as a number from 0
//! up to 1.

use core::time::Duration;

/// How long the reference's socket waits before attempt `attempt` (from 0) to connect again
/// (relay.md §1.2): twice as long each time, up to half of it more or less, at most 5 s.
#[must_use]
pub fn reconnection_delay(attempt: u32, random: f64) -> Duration {
    // From the fourth doubling on, the least is beyond the bound.
    let span = f64::from(1_000_u32 << attempt.min(4));
    let deviation = floor(random * 0.5 * span);
    let milliseconds = if floor(random * 10.0) & 1 == 0 {
        floor(span).saturating_sub(deviation)
    } else {
        floor(span).saturating_add(deviation)
    };
    Duration::from_millis(u64::from(milliseconds.min(5_000)))
}

/// How long the reference waits before it repeats a request that has failed `failures` times
/// (relay.md §6): anything up to 265 ms at first, up to 1 s in the end.
#[must_use]
pub fn retry_delay(failures: u32, random: f64) -> Duration {
    let most = 250.0 + 15.0 * f64::from(failures.min(50));
    Duration::from_millis(u64::from(floor(random * most + 0.5)))
}

/// The most that [`retry_delay`] waits.
#[must_use]
pub fn max_retry_delay(failures: u32) -> Duration {
    let steps = u64::from(failures.min(50));
    Duration::from_millis(steps.saturating_mul(15).saturating_add(250))
}

/// The number from 0 up to 1 that the upper half of `random` makes, which is uniform over all
/// values.
pub(crate) fn fraction(random: u64) -> f64 {
    let top = u32::try_from(random >> 32).unwrap_or_default();
    f64::from(top) / 4_294_967_296.0
}

/// The greatest whole number that is not greater than `x`, for `x` from 0 up to 2^32.
fn floor(x: f64) -> u32 {
    // Beyond 2^52 a float has no fraction: adding that rounds to the nearest whole number and
    // leaves it in the low bits.
    let bits = (x + 4_503_599_627_370_496.0).to_bits() & 0xffff_ffff;
    let nearest = u32::try_from(bits).unwrap_or(u32::MAX);
    if f64::from(nearest) > x {
        nearest.saturating_sub(1)
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Random;

    #[test]
    fn floors_are_those_of_the_standard_library() {
        for x in [
            0.0,
            0.1,
            0.5,
            0.9,
            1.0,
            1.5,
            2.5,
            499.999,
            4_294_967_295.0,
            7.0 - 1e-12,
        ] {
            assert_eq!(f64::from(floor(x)), x.floor(), "{x}");
        }
    }

    #[test]
    fn fractions_are_spread_over_all_of_its_range() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..1_000 {
            let number = fraction(random.draw());
            assert!((0.0..1.0).contains(&number));
            seen[usize::try_from(floor(number * 10.0)).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (50..150).contains(count)),
            "{seen:?}"
        );
        assert_eq!(fraction(0).to_bits(), 0.0_f64.to_bits());
        assert!(fraction(u64::MAX) < 1.0);
    }

    /// By hand, from the formula of relay.md §1.2: less after an even tenth, more after an odd
    /// one.
    #[test]
    fn delays_of_the_socket_are_those_of_the_formula() {
        for (attempt, random, expected) in [
            (0, 0.0, 1_000),
            (0, 0.1, 1_050),
            (0, 0.25, 875),
            (0, 0.35, 1_175),
            (1, 0.25, 1_750),
            (1, 0.5, 2_500),
            (2, 0.65, 2_700),
            (2, 0.75, 5_000),
            (3, 0.875, 4_500),
        ] {
            let delay = reconnection_delay(attempt, random).as_millis();
            assert_eq!(delay, expected, "{attempt} {random}");
        }
    }

    #[test]
    fn delays_stay_within_their_bounds() {
        for step in 0..1_000_u32 {
            let random = f64::from(step) / 1_000.0;
            for attempt in [0, 1, 2, 3, 4, 5, 31, 32, u32::MAX] {
                let delay = reconnection_delay(attempt, random).as_millis();
                let span = 1_000_u128 << attempt.min(20);
                assert!(delay >= (span / 2).min(5_000) && delay <= (span * 3 / 2).min(5_000));
                assert!(attempt < 4 || delay == 5_000);
                let most = max_retry_delay(attempt);
                assert!(retry_delay(attempt, random) <= most);
            }
        }
        assert_eq!(retry_delay(1, 0.999_99).as_millis(), 265);
        assert_eq!(retry_delay(9, 0.0).as_millis(), 0);
        assert_eq!(retry_delay(50, 0.5).as_millis(), 500);
    }
}
