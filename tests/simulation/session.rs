//! A subscription under chance, run after run: see `hallway_tests::sim_session`.

use std::time::Duration;

use hallway_core::backoff::Policy;
use hallway_tests::sim_session::{Flaw, outage, run};

use crate::runs;

/// Covers: S1.9, S3.1a, S3.2, S3.3, S3.4a, S3.4b, S3.5, S3.6a, S3.7
/// Covers: S3.9b, S3.10b
#[test]
fn the_ten_points_hold() {
    runs::many(run, "session::the_ten");
}

#[test]
fn one_seed_is_one_run() {
    runs::twice(run);
}

#[test]
fn every_flaw_is_found() {
    runs::flawed(run, &Flaw::ALL);
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
