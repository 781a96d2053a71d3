//! The core's machines against the reference model, by proptest: see `hallway_tests::model`.
//!
//! Each test draws bytes that steer a check and shrinks them when it fails. What was found once
//! is in `regressions`, by name. `PROPTEST_CASES` sets the number of cases of each.

mod contract;
mod regressions;
mod relay;

use std::fmt;

use hallway_tests::fuzzing::check_tree;
use hallway_tests::model::check;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::sample::select;

/// Bytes that steer a check, shown as a literal that a regression test can take over.
#[derive(Clone)]
struct Steering(Vec<u8>);

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn steering(most: usize) -> impl Strategy<Value = Steering> {
    vec(any::<u8>(), 2..most).prop_map(Steering)
}

/// So many times the usual number of cases. No file remembers what failed: a failure becomes a
/// named test.
fn cases(times: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.saturating_mul(times),
        failure_persistence: None,
        ..usual
    }
}

/// Machines, under facts in any order.
mod machines {
    use super::*;

    proptest! {
        #![proptest_config(cases(1))]

        /// Covers: L5.3a
        #[test]
        fn outbox(bytes in steering(300)) {
            check::check_outbox(&bytes.0);
        }

        /// Covers: L3.19, L3.20, L3.23, L5.4
        #[test]
        fn connection(bytes in steering(400)) {
            check::check_connection(&bytes.0);
        }

        /// Covers: L4.3, L4.10, L5.13b
        #[test]
        fn exchange(bytes in steering(400)) {
            check::check_exchange(&bytes.0);
        }

        /// Covers: L3.32, L5.12a, L5.12b
        #[test]
        fn inbox(bytes in steering(400)) {
            check::check_inbox(&bytes.0);
        }

        #[test]
        fn mailbox(bytes in steering(400)) {
            check::check_mailbox(&bytes.0);
        }

        /// Covers: L5.5a, L5.5b
        #[test]
        fn admission(bytes in steering(400)) {
            check::check_admission(&bytes.0);
        }

        /// Covers: L3.22, L3.27, L5.2
        #[test]
        fn conversation(bytes in steering(300)) {
            check::check_conversation(&bytes.0);
        }

        /// Covers: S3.3
        #[test]
        fn subscription(bytes in steering(600)) {
            check::check_subscription(&bytes.0);
        }
    }
}

/// Decoders, which are quick.
mod decoders {
    use super::*;

    /// What frames and other JSON are made of.
    const PIECES: &[&str] = &[
        "{",
        "{\"meta\":{",
        "{\"m\\u0065ta\":",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"type\"",
        "\"ping\"",
        "\"authToken\"",
        "\"authToken\":\"T\"",
        "\"\\ud800\"",
        "\"a plain text of several words\"",
        "\"a\\\"b\"",
        "\"",
        "\\",
        "\u{1}",
        "é",
        "null",
        "true",
        "tru",
        "0",
        "-1.5e+3",
        "1e999",
        ".",
        " ",
        "\n",
    ];

    proptest! {
        #![proptest_config(cases(4))]

        /// Covers: L3.1, L5.1
        #[test]
        fn framer(bytes in steering(400)) {
            check::check_framer(&bytes.0);
        }

        /// Covers: L3.9, L3.31, L3.33, L3.38
        #[test]
        fn message(bytes in steering(200)) {
            check::check_message(&bytes.0);
        }

        #[test]
        fn tree(text in vec(select(PIECES), 0..16)) {
            check_tree(text.concat().as_bytes());
        }

        /// Covers: S2.2
        #[test]
        fn control(bytes in steering(60)) {
            check::check_control(&bytes.0);
        }

        /// Covers: L2.22
        #[test]
        fn record(bytes in steering(100)) {
            check::check_record(&bytes.0);
        }

        /// Covers: L2.7, L2.13
        #[test]
        fn capability(bytes in steering(60)) {
            check::check_capability(&bytes.0);
        }

        #[test]
        fn input(bytes in steering(60)) {
            check::check_input(&bytes.0);
        }

        /// Covers: L3.4
        #[test]
        fn time(millis in any::<u64>(), exponent in 0..64_u32) {
            check::check_time(millis >> exponent);
        }
    }
}
