//! The whole system under chance, run after run: see `hallway_tests::sim`.
//!
//! `HALLWAY_SIM_SEEDS` sets how many seeds are run, `HALLWAY_SIM_SEED` runs one of them aloud.

mod relay;
mod runs;
mod session;

use hallway_tests::sim::{Flaw, run};

/// Covers: L3.27, L3.29, L3.32, L5.4
#[test]
fn every_ok_is_drained_once_or_lost_by_a_crash() {
    runs::many(run, "every_ok");
}

#[test]
fn one_seed_is_one_run() {
    runs::twice(run);
}

#[test]
fn every_flaw_is_found() {
    runs::flawed(run, &Flaw::ALL);
}
