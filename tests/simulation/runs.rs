//! What every simulation is put through.

use std::fmt::Debug;
use std::panic::catch_unwind;
use std::time::Instant;

use hallway_tests::sim::{Report, Situations};

/// How many seeds are run when nobody says.
const SEEDS: u64 = 500;

/// Runs a seed, aloud or not, with a flaw or without.
pub(crate) type Run<R, F> = fn(u64, bool, Option<F>) -> Report<R>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs many seeds, or the one of `HALLWAY_SIM_SEED` aloud; a seed that fails prints the command
/// that replays it. `filter` selects the test.
pub(crate) fn many<R: Situations, F>(run: Run<R, F>, filter: &str) {
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
    let (mut total, mut hash) = (R::default(), 0_u64);
    for seed in 0..seeds {
        let Ok(report) = catch_unwind(|| run(seed, false, None)) else {
            let test = format!("cargo test -p hallway-tests --test simulation {filter}");
            panic!("HALLWAY_SIM_SEED={seed} {test} -- --nocapture");
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

/// Runs a few seeds twice.
pub(crate) fn twice<R: Situations, F>(run: Run<R, F>) {
    for seed in 0..20 {
        assert_eq!(run(seed, false, None), run(seed, false, None));
    }
}

/// Finds each flaw within a few hundred seeds, by the words that are about it.
pub(crate) fn flawed<R: Situations, F: Copy + Debug>(run: Run<R, F>, flaws: &[(F, &str)]) {
    for (flaw, words) in flaws {
        let says = |seed| {
            let run = std::panic::AssertUnwindSafe(|| run(seed, false, Some(*flaw)));
            let verdict = catch_unwind(run).err()?;
            Some(match verdict.downcast_ref::<String>() {
                Some(said) => said.clone(),
                None => (*verdict.downcast_ref::<&str>().expect("words")).to_owned(),
            })
        };
        let mut by_accident = Vec::new();
        let found = (0..200).filter_map(says).any(|said| {
            let is_found = said.contains(words);
            if !is_found {
                by_accident.push(said);
            }
            is_found
        });
        assert!(found, "{flaw:?} was not found, but {by_accident:?}");
    }
}
