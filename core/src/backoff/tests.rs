use super::*;
use alloc::format;
use alloc::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN.after(Duration::from_secs(seconds))
}

fn schedule(growth: Growth, spread: Spread) -> Schedule {
    Schedule {
        max_retries: 3,
        first_delay: SECOND,
        max_delay: Duration::from_secs(10),
        growth,
        spread,
    }
}

/// Covers: S3.8a
#[test]
fn delays_grow_as_they_are_told() {
    for (growth, expected) in [
        (Growth::Constant, [1, 1, 1, 1, 1]),
        (Growth::Linear, [1, 2, 3, 4, 5]),
        (Growth::Double, [1, 2, 4, 8, 10]),
    ] {
        let schedule = schedule(growth, Spread::None);
        let delays: Vec<_> = (1..=5).map(|n| schedule.delay(n, u64::MAX)).collect();
        assert_eq!(delays, expected.map(Duration::from_secs));
        assert!(schedule.delay(u32::MAX, 0) <= schedule.max_delay);
        assert_eq!(
            schedule.delay(0, 0) == Duration::ZERO,
            growth == Growth::Linear
        );
    }
}

/// Covers: S3.8a
#[test]
fn full_jitter_spreads_from_nothing_to_the_delay() {
    let schedule = schedule(Growth::Double, Spread::Full);
    assert_eq!(schedule.delay(2, 0), Duration::ZERO);
    assert_eq!(schedule.delay(2, 1 << 63), SECOND);
    assert_eq!(schedule.delay(2, u64::MAX), 2 * SECOND);
    assert_eq!(schedule.delay(9, u64::MAX), 10 * SECOND);
}

#[test]
fn half_jitter_spreads_around_the_delay_and_is_cut_at_the_longest() {
    let schedule = schedule(Growth::Double, Spread::Half);
    assert_eq!(schedule.delay(2, 0), SECOND);
    assert_eq!(schedule.delay(2, 1 << 63), 2 * SECOND);
    assert_eq!(schedule.delay(2, u64::MAX), 3 * SECOND);
    assert_eq!(schedule.delay(4, u64::MAX), 10 * SECOND);
    assert_eq!(schedule.delay(99, 0), 10 * SECOND);
    assert_eq!(part(u64::MAX, u64::MAX), u64::MAX);
    assert_eq!(nanos(Duration::MAX), u64::MAX);
}

/// Covers: S3.8a
#[test]
fn equal_seeds_give_equal_delays_and_others_others() {
    let delays = |seed| {
        let mut backoff = Backoff::new(Policy::RESILIENT, seed);
        let mut fail = || backoff.fail(Budget::Transient, None, at(0)).unwrap().delay;
        [fail(), fail(), fail()]
    };
    assert_eq!(delays(7), delays(7));
    assert_ne!(delays(7), delays(8));
    // SplitMix64's own first values for seed 0.
    let mut backoff = Backoff::new(Policy::RESILIENT, 0);
    assert_eq!(backoff.random.draw(), 0xe220_a839_7b1d_cdaf);
    assert_eq!(backoff.random.draw(), 0x6e78_9e6a_a1b9_65f4);
}

/// Covers: S3.8c, S3.12, S3.13
#[test]
fn the_reference_is_reproduced_in_its_timing() {
    let mut backoff = Backoff::new(Policy::FIXED, 1);
    for (budget, expected) in [
        (Budget::Transient, [2, 2, 2, 2, 2].as_slice()),
        (Budget::NotFound, &[2, 4, 6]),
    ] {
        for delay in expected {
            let retry = backoff.fail(budget, None, at(0)).unwrap();
            assert_eq!(retry.delay, Duration::from_secs(*delay));
        }
        assert_eq!(backoff.fail(budget, None, at(0)), Err(GaveUp::Retries));
    }
    assert_eq!(backoff.attempt(), 8);
    assert_eq!(Policy::FIXED.max_dials(), 9);
    assert_eq!(Policy::FIXED.forced_delay(), Duration::from_millis(500));
    assert_eq!(backoff.policy(), &Policy::FIXED);
}

/// Covers: S3.1a
#[test]
fn only_a_connection_that_proved_itself_gives_the_retries_back() {
    let healthy = Policy::FIXED.healthy_after();
    let just_short = healthy.saturating_sub(Duration::from_nanos(1));
    for (open_for, traffic, whole) in [
        (Duration::ZERO, false, false),
        (just_short, false, false),
        (healthy, false, true),
        (Duration::ZERO, true, true),
    ] {
        let mut backoff = Backoff::new(Policy::FIXED, 1);
        for _ in 0..3 {
            backoff.fail(Budget::NotFound, None, at(0)).unwrap();
        }
        backoff.fail(Budget::Transient, None, at(0)).unwrap();
        backoff.end_connection(open_for, traffic);
        assert_eq!(backoff.attempt(), if whole { 0 } else { 4 });
        let next = backoff.fail(Budget::NotFound, None, at(0));
        assert_eq!(next.is_ok(), whole, "{open_for:?} {traffic}");
        assert_eq!(
            whole,
            next == Ok(Retry {
                attempt: 1,
                delay: 2 * SECOND
            })
        );
    }
}

/// Covers: S3.1b
#[test]
fn the_time_that_proves_a_connection_is_the_policys() {
    assert_eq!(Policy::default().healthy_after(), 30 * SECOND);
    for (policy, healthy) in [
        (Policy::builder(), 30),
        (Policy::builder().healthy_after(2 * SECOND), 2),
    ] {
        for (open_for, whole) in [(healthy - 1, false), (healthy, true)] {
            let mut backoff = Backoff::new(policy.build().unwrap(), 1);
            backoff.fail(Budget::Transient, None, at(0)).unwrap();
            backoff.end_connection(Duration::from_secs(open_for), false);
            assert_eq!(backoff.attempt() == 0, whole, "{open_for} of {healthy}");
        }
    }
}

/// Covers: S3.8a
#[test]
fn the_default_doubles_to_a_minute_and_spreads_over_all_of_it() {
    let mut spans = [1, 2, 4, 8, 16, 32, 60, 60].map(|most| (most * SECOND, Vec::new()));
    for seed in 0..200 {
        let mut backoff = Backoff::new(Policy::default(), seed);
        for (_, delays) in &mut spans {
            delays.push(backoff.fail(Budget::Transient, None, at(0)).unwrap().delay);
        }
    }
    for (longest, delays) in spans {
        assert!(delays.iter().all(|delay| *delay <= longest));
        assert!(delays.iter().any(|delay| *delay * 10 > longest * 9));
        assert!(delays.iter().any(|delay| *delay * 10 < longest));
    }
}

#[test]
fn traffic_alone_does_not_make_the_delays_short_again() {
    let mut policy = Policy::builder();
    policy = policy.transient(schedule(Growth::Double, Spread::None));
    let mut backoff = Backoff::new(policy.build().unwrap(), 1);
    let mut delays = Vec::new();
    for open_for in [0, 29, 0, 30, 0] {
        let retry = backoff.fail(Budget::Transient, None, at(0)).unwrap();
        assert_eq!(retry.attempt, 1);
        delays.push(retry.delay.as_secs());
        backoff.end_connection(Duration::from_secs(open_for), true);
    }
    assert_eq!(delays, [1, 2, 4, 8, 1]);
}

/// Covers: S3.16
#[test]
fn it_gives_up_by_time_that_the_server_did_not_ask_for() {
    let mut backoff = Backoff::new(Policy::RESILIENT, 1);
    let mut fail = |after, now| backoff.fail(Budget::Transient, after, at(now));
    assert!(fail(None, 100).is_ok());
    assert!(fail(None, 1_899).is_ok());
    assert!(fail(Some(Duration::from_secs(60)), 1_899).is_ok());
    assert!(fail(None, 1_959).is_ok());
    assert_eq!(fail(None, 1_960), Err(GaveUp::Time));
    assert_eq!(fail(None, 1_961), Err(GaveUp::Time));
    backoff.end_connection(Duration::ZERO, true);
    assert!(backoff.fail(Budget::Transient, None, at(9_000)).is_ok());
    assert!(backoff.fail(Budget::Transient, None, at(10_799)).is_ok());
    backoff.restart();
    assert_eq!(backoff.attempt(), 0);
    assert!(backoff.fail(Budget::Transient, None, at(99_000)).is_ok());
    assert!(backoff.fail(Budget::Transient, None, at(100_000)).is_ok());
}

/// Covers: S3.8b
#[test]
fn what_the_server_asks_for_comes_on_top_and_is_bounded() {
    let mut policy = Policy::builder();
    policy = policy.transient(schedule(Growth::Constant, Spread::None));
    policy = policy.max_retry_after(Duration::from_secs(50));
    let mut backoff = Backoff::new(policy.build().unwrap(), 1);
    for (asked, delay) in [(7, 8), (50, 51), (51, 51)] {
        let asked = Some(Duration::from_secs(asked));
        let retry = backoff.fail(Budget::Transient, asked, at(0)).unwrap();
        assert_eq!(retry.delay, Duration::from_secs(delay));
    }
}

#[test]
fn a_restart_forgets_the_steps_too() {
    let mut backoff = Backoff::new(Policy::FIXED, 1);
    for _ in 0..2 {
        backoff.fail(Budget::NotFound, None, at(0)).unwrap();
    }
    backoff.restart();
    let retry = backoff.fail(Budget::NotFound, None, at(0)).unwrap();
    assert_eq!(
        retry,
        Retry {
            attempt: 1,
            delay: 2 * SECOND
        }
    );
}

#[test]
fn a_policy_is_checked() {
    assert_eq!(Policy::builder().build(), Ok(Policy::RESILIENT));
    assert_eq!(
        PolicyBuilder::from(Policy::FIXED).build(),
        Ok(Policy::FIXED)
    );
    assert_eq!(Policy::default(), Policy::RESILIENT);
    let inverted = Schedule {
        first_delay: 2 * SECOND,
        max_delay: SECOND,
        ..Policy::RESILIENT.transient()
    };
    for builder in [
        Policy::builder().transient(inverted),
        Policy::builder().not_found(inverted),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(
            error,
            LimitsError::Inverted {
                name: "first_delay",
                bound: "max_delay"
            }
        );
    }
    let day = Duration::from_secs(86_400);
    let long = day.saturating_add(Duration::from_millis(1));
    type Set = fn(PolicyBuilder, Duration) -> PolicyBuilder;
    let sets: [(&str, Set, u64); 5] = [
        ("forced_delay", PolicyBuilder::forced_delay, 0),
        ("healthy_after", PolicyBuilder::healthy_after, 1),
        ("settled_after", PolicyBuilder::settled_after, 0),
        ("give_up_after", PolicyBuilder::give_up_after, 1),
        ("max_retry_after", PolicyBuilder::max_retry_after, 0),
    ];
    for (name, set, min) in sets {
        assert!(set(Policy::builder(), day).build().is_ok());
        let shortest = set(Policy::builder(), Duration::ZERO).build();
        assert_eq!(shortest.is_ok(), min == 0, "{name}");
        let error = set(Policy::builder(), long).build().unwrap_err();
        assert_eq!(
            error,
            LimitsError::OutOfRange {
                name,
                min,
                max: 86_400_000
            }
        );
    }
    for (name, first_delay, max_delay) in [
        ("first_delay", Duration::ZERO, SECOND),
        ("max_delay", SECOND, long),
    ] {
        let bad = Schedule {
            first_delay,
            max_delay,
            ..Policy::FIXED.transient()
        };
        for builder in [
            Policy::builder().transient(bad),
            Policy::builder().not_found(bad),
        ] {
            let error = builder.build().unwrap_err();
            assert_eq!(
                error,
                LimitsError::OutOfRange {
                    name,
                    min: 1,
                    max: 86_400_000
                }
            );
        }
    }
    let policy = Policy::builder()
        .healthy_after(SECOND)
        .settled_after(2 * SECOND)
        .give_up_after(3 * SECOND)
        .max_retry_after(4 * SECOND);
    let policy = policy.build().unwrap();
    assert_eq!(policy.healthy_after(), SECOND);
    assert_eq!(policy.settled_after(), 2 * SECOND);
    assert_eq!(policy.give_up_after(), 3 * SECOND);
    assert_eq!(policy.max_retry_after(), 4 * SECOND);
    assert_eq!(policy.transient(), Policy::RESILIENT.transient());
    assert_eq!(policy.not_found(), Policy::RESILIENT.not_found());
}

#[test]
fn reasons_read_well() {
    assert_eq!(format!("{}", GaveUp::Retries), "all retries are spent");
    assert_eq!(format!("{}", GaveUp::Time), "it has failed for too long");
}
