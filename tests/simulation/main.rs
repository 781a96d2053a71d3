//! The whole system under chance, run after run: see `hallway_tests::sim`.
//!
//! `HALLWAY_SIM_SEEDS` sets how many seeds are run, `HALLWAY_SIM_SEED` runs one of them aloud.

mod session;

use std::panic::catch_unwind;
use std::time::Instant;

use hallway_tests::sim::{Flaw, Reached, run};

/// How many seeds are run when nobody says.
const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What replays one seed aloud.
fn command(seed: u64) -> String {
    let test = "cargo test -p hallway-tests --test simulation -- --nocapture";
    format!("HALLWAY_SIM_SEED={seed} {test}")
}

/// Covers: L3.27, L3.29, L3.32, L5.4
#[test]
fn every_ok_is_drained_once_or_lost_by_a_crash() {
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
