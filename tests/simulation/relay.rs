//! A session of the relay under chance, run after run: see `hallway_tests::sim_relay`.

use hallway_tests::sim_relay::{Flaw, run};

use crate::runs;

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
