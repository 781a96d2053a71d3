use super::*;
use alloc::vec::Vec;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// The rows of ours that are remembered.
fn rows(cursor: &Cursor) -> Vec<(u64, u64)> {
    cursor.own.iter().map(|(a, b)| (*a, *b)).collect()
}

/// Fetches, and hands over the page: its numbers, those of ours negative.
fn page(cursor: &mut Cursor, numbers: &[i64], has_more: bool) -> alloc::vec::Vec<u64> {
    let fetch = cursor.next_fetch(at(0)).expect("a fetch is wanted");
    let mut delivered = alloc::vec::Vec::new();
    for number in numbers {
        let (seq, own) = (number.unsigned_abs(), *number < 0);
        if cursor.handle_fetched(fetch.id, seq, own, at(0)) == Ok(Verdict::Deliver) {
            delivered.push(seq);
        }
    }
    assert_eq!(cursor.handle_page_end(fetch.id, has_more, at(0)), None);
    delivered
}

/// Covers: R2.14, R9.2a, R9.2d, R9.2e
#[test]
fn what_is_next_is_delivered_and_a_gap_is_fetched() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 5, 0);
    assert!(cursor.is_settled());
    assert_eq!(cursor.handle_live(6, false), Verdict::Deliver);
    assert_eq!(cursor.handle_live(6, false), Verdict::Skip);
    assert_eq!(cursor.handle_live(9, false), Verdict::Gap);
    assert!(!cursor.is_settled());
    let fetch = cursor.clone().next_fetch(at(0)).unwrap();
    assert_eq!((fetch.after, fetch.id), (6, FetchId(1)));
    // 7 is not there; 8 comes live too, and once.
    assert_eq!(page(&mut cursor, &[8], true), [8]);
    assert_eq!(cursor.handle_live(8, false), Verdict::Skip);
    assert_eq!(page(&mut cursor, &[9, 10], false), [9, 10]);
    assert_eq!(cursor.last(), 10);
    assert!(cursor.is_settled());
    assert_eq!(cursor.poll_timeout(), None);
}

/// Covers: R9.2b
#[test]
fn our_own_never_hide_what_came_before_them() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    cursor.handle_sent(2);
    assert_eq!(cursor.last(), 0);
    assert_eq!(cursor.handle_live(2, true), Verdict::Skip);
    assert_eq!(cursor.handle_live(1, false), Verdict::Deliver);
    assert_eq!(cursor.last(), 2);
    cursor.handle_sent(5);
    assert_eq!(page(&mut cursor, &[3, -4, -5, 6], false), [3, 6]);
    cursor.handle_sent(7);
    cursor.handle_sent(7);
    assert_eq!(cursor.last(), 7);
    assert!(cursor.is_settled());
    cursor.handle_sent(3);
    assert_eq!(cursor.last(), 7);
}

/// Covers: R9.2c
#[test]
fn a_connection_wants_a_fetch_and_one_that_runs_is_repeated() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    cursor.handle_connected();
    let fetch = cursor.next_fetch(at(0)).unwrap();
    assert_eq!(cursor.next_fetch(at(0)), None);
    cursor.handle_connected();
    assert_eq!(cursor.handle_page_end(fetch.id, false, at(0)), None);
    assert!(!cursor.is_settled());
    assert_eq!(page(&mut cursor, &[1], false), [1]);
    assert!(cursor.is_settled());
}

#[test]
fn failures_and_deadlines_are_repeated_and_stale_answers_dropped() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 3);
    cursor.handle_connected();
    let stale = cursor.next_fetch(at(0)).unwrap().id;
    assert_eq!(cursor.poll_timeout(), Some(at(60_000)));
    cursor.handle_timeout(at(59_999));
    assert_eq!(cursor.poll_timeout(), Some(at(60_000)));
    cursor.handle_timeout(at(60_000));
    let until = cursor.poll_timeout().unwrap();
    assert!(until > at(60_000) && until <= at(60_265));
    cursor.handle_timeout(Instant::from_nanos(until.as_nanos() - 1));
    assert_eq!(cursor.next_fetch(at(60_000)), None);
    cursor.handle_timeout(until);
    let id = cursor.next_fetch(until).unwrap().id;
    cursor.handle_failed(stale, None, until);
    assert_eq!(
        cursor.handle_fetched(stale, 1, false, until),
        Ok(Verdict::Skip)
    );
    assert_eq!(cursor.handle_page_end(stale, false, until), None);
    assert_eq!(
        cursor.handle_fetched(id, 4, false, until),
        Ok(Verdict::Deliver)
    );
    assert_eq!(cursor.handle_fetched(id, 4, false, until), Err(InvalidPage));
    assert_eq!(
        cursor.handle_fetched(id, 5, false, until),
        Ok(Verdict::Skip)
    );
    cursor.handle_failed(id, None, until);
    assert!(cursor.poll_timeout().is_some());
    // More behind nothing is no answer either.
    cursor.handle_timeout(at(100_000));
    let id = cursor.next_fetch(at(100_000)).unwrap().id;
    assert_eq!(cursor.handle_page_end(id, true, at(100_000)), None);
    assert!(cursor.poll_timeout() > Some(at(99_999)) && !cursor.is_settled());
}

#[test]
fn what_the_server_keeps_from_us_is_said_in_the_end() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    assert_eq!(cursor.handle_live(3, false), Verdict::Gap);
    for round in 1..=Limits::DEFAULT.max_vain_fetches() {
        cursor.handle_timeout(at(1_000_000));
        let id = cursor.next_fetch(at(0)).unwrap().id;
        assert!(cursor.handle_live(4, false) == Verdict::Gap);
        let withheld = cursor.handle_page_end(id, false, at(0));
        let expected =
            (round == Limits::DEFAULT.max_vain_fetches()).then_some(Withheld { from: 1, to: 4 });
        assert_eq!(withheld, expected);
    }
    assert_eq!(cursor.last(), 4);
    assert!(cursor.is_settled());
}

/// What comes while a page is read is fetched after it.
#[test]
fn a_gap_that_opens_during_a_fetch_is_fetched_next() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    cursor.handle_connected();
    let fetch = cursor.next_fetch(at(0)).unwrap();
    assert_eq!(cursor.handle_live(9, false), Verdict::Gap);
    assert_eq!(cursor.handle_page_end(fetch.id, false, at(0)), None);
    assert!(!cursor.is_settled());
    assert_eq!(page(&mut cursor, &[9], false), [9]);
    assert!(cursor.is_settled());
}

/// Named by the server and seen live as somebody's: it is ours all the same.
#[test]
fn what_was_sent_is_ours_however_it_comes() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    cursor.handle_sent(3);
    assert_eq!(cursor.handle_live(3, false), Verdict::Skip);
    assert_eq!(page(&mut cursor, &[1, 2, 3], false), [1, 2]);
}

/// 9.2: before somebody listens, a number is all that is kept of a message.
#[test]
fn what_is_known_to_exist_is_fetched_unless_it_was_seen() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 5, 0);
    cursor.handle_known(5);
    assert!(cursor.is_settled());
    cursor.handle_known(6);
    assert!(!cursor.is_settled());
    let fetch = cursor.next_fetch(at(0)).unwrap();
    assert_eq!(fetch.after, 5);
    // It is held against the server that does not give it.
    assert_eq!(cursor.handle_page_end(fetch.id, false, at(0)), None);
    assert!(!cursor.is_settled());
    cursor.handle_timeout(at(1_000));
    assert_eq!(page(&mut cursor, &[6], false), [6]);
    assert!(cursor.is_settled());
}

#[test]
fn the_last_number_of_all_is_the_end() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, u64::MAX - 2, 0);
    cursor.handle_sent(u64::MAX);
    assert_eq!(cursor.handle_live(u64::MAX - 1, false), Verdict::Deliver);
    assert_eq!(cursor.last(), u64::MAX);
    assert_eq!(cursor.handle_live(u64::MAX, false), Verdict::Skip);
}

/// Covers: R9.2b
#[test]
fn rows_of_our_own_are_remembered_as_one() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    for (seq, expected) in [
        (5, &[(5, 5)][..]),
        (5, &[(5, 5)]),
        (7, &[(5, 5), (7, 7)]),
        (6, &[(5, 7)]),
        (3, &[(3, 3), (5, 7)]),
        (8, &[(3, 3), (5, 8)]),
        (6, &[(3, 3), (5, 8)]),
        (2, &[(2, 3), (5, 8)]),
    ] {
        cursor.handle_sent(seq);
        assert_eq!(rows(&cursor), expected, "{seq}");
        assert_eq!(
            cursor.room_for_own(),
            Limits::DEFAULT.max_own_numbers() - expected.len()
        );
    }
    for (seq, own) in [
        (1, false),
        (2, true),
        (4, false),
        (5, true),
        (8, true),
        (9, false),
    ] {
        assert_eq!(cursor.is_own(seq), own, "{seq}");
    }
    assert_eq!(page(&mut cursor, &[1, 2, 3, 4, 7, 9], false), [1, 4, 9]);
    assert_eq!((rows(&cursor), cursor.last()), (Vec::new(), 9));
    let mut end = cursor.clone();
    end.handle_sent(u64::MAX);
    end.handle_sent(u64::MAX);
    end.handle_sent(u64::MAX - 1);
    assert_eq!(rows(&end), [(u64::MAX - 1, u64::MAX)]);
    // The page may begin within a row.
    cursor.handle_sent(12);
    cursor.handle_sent(11);
    assert_eq!(page(&mut cursor, &[12, 14], false), [14]);
    assert_eq!(cursor.last(), 14);
}

#[test]
fn memory_is_bounded() {
    let mut cursor = Cursor::new(&Limits::DEFAULT, 0, 0);
    for seq in 0..10_000 {
        cursor.handle_sent(seq * 2);
    }
    assert_eq!(cursor.own.len(), Limits::DEFAULT.max_own_numbers());
    assert_eq!(cursor.room_for_own(), 0);
    // Those that continue a row have room.
    cursor.handle_sent(3);
    assert!(cursor.is_own(3) && cursor.is_own(4));
    let limits = Limits::builder().max_own_numbers(1).build().unwrap();
    let mut full = Cursor::new(&limits, 0, 0);
    for (seq, row) in [(5, (5, 5)), (6, (5, 6)), (4, (4, 6)), (9, (4, 6))] {
        full.handle_sent(seq);
        assert_eq!(rows(&full), [row]);
    }
    cursor.handle_live(u64::MAX, false);
    cursor.handle_sent(u64::MAX);
    assert_eq!(cursor.last(), 0);
    assert_eq!(
        Cursor::new(&Limits::DEFAULT, u64::MAX, 0).handle_live(u64::MAX, false),
        Verdict::Skip
    );
}
