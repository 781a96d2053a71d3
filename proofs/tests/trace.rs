//! Every binding sentence of a complete wire contract is covered by a check, and every marker
//! of a check is about a sentence that there is.

use hallway_proofs::trace::{Trace, markers, requirements, workspace};

#[test]
fn every_requirement_has_a_check() {
    let trace = Trace::read(workspace()).expect("the sources can be read");
    assert!(trace.faults().is_empty(), "{trace}");
}

const TABLE: &str = "Status: complete\n| X1.1 | Be. | bound |\n| X1.2 | Be good. | bound |\n";

/// What a trace of one source finds wrong.
fn faults(table: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let dialect = requirements::parse("x", table, &mut faults);
    let checks = markers::scan("a.rs", source, &mut faults);
    Trace::new(vec![dialect], checks, faults).faults().to_vec()
}

#[test]
fn what_is_missing_or_unknown_is_a_fault() {
    let both = "/// Covers: X1.1, X1.2\n#[test]\nfn a() {";
    let one = "/// Covers: X1.2\n#[test]\nfn a() {";
    let none = Vec::<String>::new();
    assert_eq!(faults(TABLE, both), none);
    assert_eq!(faults(TABLE, one), ["X1.1: has no check"]);
    assert_eq!(faults(&TABLE.replace("complete", "open"), one), none);
    assert_eq!(
        faults(&TABLE.replace("X1.2", "X1.1"), both),
        [
            "X1.1: stands there twice",
            "a.rs: a: covers X1.2, which there is not",
        ]
    );
}
