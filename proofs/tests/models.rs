//! Every model holds at its small size, and both searches see the same states.
//! `hallway-proofs check` and `check --deep` run the large ones.

use hallway_proofs::check::Size;
use hallway_proofs::models;
use hallway_proofs::search::Until;

fn holds(name: &str) {
    let found = models::all().into_iter().find(|model| model.name == name);
    let report = found
        .expect("there is such a model")
        .check(Size::Small, Until::End);
    println!("{name}: {report}");
    assert!(report.holds(), "{name}: {report}");
    assert!(report.findings.states > 100, "{name}: {report}");
}

/// A test for each model, so that they share the processors.
macro_rules! models {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            holds($name);
        })*

        #[test]
        fn none_is_left_out() {
            let names: Vec<_> = models::all().iter().map(|model| model.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

models! {
    connection: "connection";
    narrow: "narrow";
    exchange: "exchange";
    eager_exchange: "eager-exchange";
    link: "link";
    rough_link: "rough-link";
    crowd: "crowd";
    cramped_crowd: "cramped-crowd";
    inbox: "inbox";
    admission: "admission";
    policy: "policy";
    forced: "forced";
    queues: "queues";
    relay_link: "relay-link";
    relay_acks: "relay-acks";
    relay_cursor: "relay-cursor";
    relay_lag: "relay-lag";
    relay_outbox: "relay-outbox";
    relay_versioned: "relay-versioned";
}
