//! A session of the relay under chance, run after run: see `hallway_tests::sim_relay`.
//!
//! `HALLWAY_SIM_SEEDS` sets how many seeds are run, `HALLWAY_SIM_SEED` runs one of them aloud.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use hallway_tests::sim_relay::{Flaw, Reached, run};

/// How many seeds are run when nobody says.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_repeated_or_out_of_order_either_way() {
    if let Some(seed) = number("HALLWAY_SIM_SEED") {
        let reached = run(seed, true, None);
        println!("seed {seed}: {reached:?}");
        assert_eq!(reached, run(seed, false, None), "a seed is a run");
        return;
    }
    let (seeds, began) = (number("HALLWAY_SIM_SEEDS").unwrap_or(SEEDS), Instant::now());
    let mut total = Reached::default();
    for seed in 0..seeds {
        let Ok(reached) = catch_unwind(|| run(seed, false, None)) else {
            let test = "cargo test -p hallway-tests --test relay_simulation -- --nocapture";
            panic!("HALLWAY_SIM_SEED={seed} {test}");
        };
        total.add(reached);
    }
    println!("{seeds} seeds in {:?}: {total:?}", began.elapsed());
    for (what, count) in [
        ("stored", total.stored),
        ("delivered", total.delivered),
        ("connections", total.connections),
        ("half-open", total.half_open),
        ("repeated", total.repeated),
        ("applied", total.applied),
        ("not applied", total.not_applied),
        ("answered", total.answered),
        ("old servers", total.old),
        ("restarts", total.restarts),
    ] {
        assert!(count > 0, "no run came to: {what}");
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 77] {
        assert_eq!(run(seed, false, None), run(seed, false, None));
    }
}

#[test]
fn every_flaw_is_found() {
    for (flaw, words) in Flaw::ALL {
        let found = (0..200).any(|seed| {
            let run = AssertUnwindSafe(|| run(seed, false, Some(flaw)));
            let Err(why) = catch_unwind(run) else {
                return false;
            };
            let text = why.downcast_ref::<String>().cloned().unwrap_or_default();
            text.contains(words)
        });
        assert!(found, "{flaw:?} was not found");
    }
}
