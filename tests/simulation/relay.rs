//! A session of the relay under chance, run after run: see `hallway_tests::sim_relay`.

use hallway_tests::sim_relay::{Flaw, run};

use crate::runs;

/// Covers: R9.1a, R9.1b, R9.2a, R9.2c, R9.2e, R9.2f, R9.3b
#[test]
fn nothing_is_lost_repeated_or_out_of_order_either_way() {
    runs::many(run, "relay::nothing");
}

#[test]
fn one_seed_is_one_run() {
    runs::twice(run);
}

#[test]
fn every_flaw_is_found() {
    runs::flawed(run, &Flaw::ALL);
}
