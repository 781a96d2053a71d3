//! The exhaustive proofs at sizes that an unoptimised build finishes in seconds.
//! `hallway-proofs exhaustive N` goes further.

use hallway_proofs::exhaustive::{LETTERS, cuts, edges, framer, message, scan};

/// The first size for an unoptimised build, the second for an optimised one.
const fn size(small: usize, large: usize) -> usize {
    if cfg!(debug_assertions) { small } else { large }
}

/// Covers: L1.1, L3.1, L3.17
#[test]
fn the_framer_splits_however_cut() {
    assert!(framer::every_cut(&["a", "\n", "é"], size(5, 8), false) > 1_000);
    assert!(framer::every_cut(LETTERS, size(2, 4), false) > 1_000);
    assert!(framer::every_cut(&["a", "\n"], size(6, 9), true) > 1_000);
}

#[test]
fn the_framer_splits_in_every_state() {
    assert!(framer::every_state(size(1, 3)) > 100);
    assert!(framer::every_growth(size(2, 4)) > 100);
}

/// Covers: L3.9, L3.10, L3.14, L3.31, L3.38
#[test]
fn messages_mean_what_the_oracle_says() {
    assert!(message::every_text(size(4, 5)) > 1_000);
    assert!(message::every_string(size(4, 5)) > 1_000);
    assert!(message::every_beginning(message::PIECES, size(6, 8)) > 1_000);
    assert!(message::every_beginning(message::FEW_PIECES, size(9, 13)) > 1_000);
    assert!(message::every_meta(message::FEW_PIECES, size(9, 12)) > 1_000);
}

#[test]
fn the_scanner_agrees_with_serde_json() {
    assert!(scan::every_number(size(4, 6)) > 1_000);
    assert!(scan::every_string(size(3, 5)) > 1_000);
    assert!(scan::every_nest(size(4, 5)) > 1_000);
    assert!(scan::every_word(size(3, 5)) > 100);
}

/// Covers: L3.23, L3.27, L5.2
#[test]
fn connections_answer_however_cut() {
    assert!(cuts::every_cut(size(4, 5)) > 1_000);
}

/// Covers: L3.15
#[test]
fn tokens_verify_themselves_alone() {
    assert!(edges::every_token(size(3, 4)) > 1_000);
    assert!(edges::every_near_token() > 1_000);
}

/// Covers: L3.4, L3.26
#[test]
fn arithmetic_is_right_at_its_edges() {
    assert!(edges::every_limit() > 100);
    assert_eq!(edges::every_worst_case(), 64);
    assert!(edges::every_instant() > 1_000);
    assert!(edges::every_new_year() > 1_000);
    assert!(edges::every_id(size(4, 6)) > 1_000);
    assert!(edges::every_path() > 100);
}
