//! The reference's reconnect policy breaks each point of the list of sessions.md §3, and the
//! shortest way to it is told.

use hallway_proofs::check::broken;
use hallway_proofs::models::policy::Statement;
use hallway_proofs::models::reference::ReferenceModel;
use hallway_proofs::search::{Until, search};
use stateright::{Checker, HasDiscoveries, Model};

/// A shortest way to break `statement`, which stateright breaks, too.
fn shortest(statement: Statement) -> Vec<String> {
    let name = statement.words();
    let findings = search(&ReferenceModel::new(statement), Until::This(name));
    let failure = findings
        .failures
        .into_iter()
        .find(|failure| failure.name == name);
    let found = HasDiscoveries::AllOf([name].into());
    let checker = ReferenceModel::new(statement).checker();
    let checker = checker.finish_when(found).spawn_bfs().join();
    assert!(broken(&checker).contains(&name), "stateright misses {name}");
    failure.unwrap_or_else(|| panic!("{name} holds")).trace
}

/// For each statement its point, how many steps it takes to break it, and the last of them.
const WAYS: [(u8, usize, &str); 12] = [
    (1, 16, "Closed(0, 4001)"),
    (2, 7, "DialFails(0, false)"),
    (3, 4, "Closed(0, 1006)"),
    (4, 4, "Token(1)"),
    (4, 3, "Token(0)"),
    (5, 1, "Connect"),
    (6, 6, "Answer"),
    (7, 8, "Open(0)"),
    (8, 4, "Closed(0, 1006)"),
    (9, 5, "Sleep"),
    (9, 4, "Sleep"),
    (10, 3, "DialFails(0, true)"),
];

#[test]
fn every_point_has_its_counterexample() {
    let mut ways = Vec::new();
    for statement in Statement::ALL {
        let way = shortest(statement);
        println!("{}. {}: {way:?}", statement.point(), statement.words());
        ways.push((
            statement.point(),
            way.len(),
            way.last().cloned().unwrap_or_default(),
        ));
    }
    let ways: Vec<_> = ways
        .iter()
        .map(|(point, steps, last)| (*point, *steps, last.as_str()))
        .collect();
    assert_eq!(ways, WAYS);
}
