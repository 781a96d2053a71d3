//! Every model holds at its small size, and both searches see the same states.
//! `hallway-proofs check` and `check --deep` run the large ones.

use hallway_proofs::check::Size;
use hallway_proofs::models;

#[test]
fn every_model_holds_and_both_searches_agree() {
    for model in models::all() {
        let report = model.check(Size::Small);
        println!("{}: {report}", model.name);
        assert!(report.holds(), "{}: {report}", model.name);
        assert!(report.findings.states > 100, "{}: {report}", model.name);
    }
}
