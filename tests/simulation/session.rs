//! A subscription under chance, run after run: see `hallway_tests::sim_session`.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use hallway_core::backoff::Policy;
use hallway_tests::sim_session::{Flaw, Reached, outage, run};

use crate::number;

/// How many seeds are run when nobody says.
const SEEDS: u64 = 500;

/// What replays one seed aloud.
fn command(seed: u64) -> String {
    let test = "cargo test -p hallway-tests --test simulation session:: -- --nocapture";
    format!("HALLWAY_SIM_SEED={seed} {test}")
}

/// Covers: S1.9, S3.1a, S3.2, S3.3, S3.4a, S3.4b, S3.5, S3.6a, S3.7
/// Covers: S3.9b, S3.10b
#[test]
fn the_ten_points_hold() {
    if let Some(seed) = number("HALLWAY_SIM_SEED") {
        let report = run(seed, true, None);
        println!(
            "seed {seed}: trace {:016x}, {:?}",
            report.hash, report.reached
        );
        assert_eq!(report, run(seed, false, None), "a seed is a run");
        return;
    }
    let (seeds, began) = (number("HALLWAY_SIM_SEEDS").unwrap_or(SEEDS), Instant::now());
    let (mut total, mut hash) = (Reached::default(), 0_u64);
    for seed in 0..seeds {
        let Ok(report) = catch_unwind(|| run(seed, false, None)) else {
            panic!("{}", command(seed));
        };
        hash = hash.rotate_left(1) ^ report.hash;
        total.add(&report.reached);
    }
    println!(
        "{seeds} seeds in {:?}: trace {hash:016x}, {total:?}",
        began.elapsed()
    );
    if seeds >= SEEDS {
        assert_eq!(total.unreached(), Vec::<&str>::new(), "never came up");
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, false, None), run(seed, false, None));
    }
}

#[test]
fn every_flaw_is_found() {
    for (flaw, words) in Flaw::ALL {
        let verdict = (0..200).find_map(|seed| catch_unwind(|| run(seed, false, Some(flaw))).err());
        let verdict = verdict.unwrap_or_else(|| panic!("{flaw:?} was not found"));
        let said = match verdict.downcast_ref::<String>() {
            Some(said) => said.as_str(),
            None => verdict.downcast_ref::<&str>().expect("words"),
        };
        assert!(
            said.contains(words),
            "{flaw:?} was found by accident: {said}"
        );
    }
}

/// The server is down for ten minutes of virtual time: the client dials rarely, comes back, and
/// sends what waited. The dials are few because the delays grow; it comes back within one delay.
#[test]
fn a_server_that_is_down_for_ten_minutes() {
    let longest = Policy::RESILIENT.transient().max_delay;
    let (mut dials, mut slowest) = (0, Duration::ZERO);
    for seed in 0..500 {
        let (tried, back) = outage(seed, Duration::from_secs(600));
        // Six delays that grow, and then some thirty seconds each on average.
        assert!((7..=60).contains(&tried), "seed {seed}: {tried} dials");
        assert!(
            back <= longest + Duration::from_secs(1),
            "seed {seed}: {back:?}"
        );
        (dials, slowest) = (dials + tried, slowest.max(back));
    }
    println!("{dials} dials in 500 outages; back after {slowest:?} at most");
}
