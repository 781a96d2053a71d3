use super::*;
use alloc::format;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn limits() -> Limits {
    let limits = Limits::builder()
        .max_outbox_messages(8)
        .max_outbox_bytes(100)
        .max_batch_messages(4)
        .max_batch_bytes(20);
    limits.build().unwrap()
}

/// An outbox with `count` messages "0", "1", … of three bytes each.
fn outbox(count: usize) -> Outbox {
    let mut outbox = Outbox::new(&limits(), 7);
    for at in 0..count {
        outbox.push(&format!("{at}"), "xx").unwrap();
    }
    outbox
}

fn ids(outbox: &Outbox) -> Vec<&str> {
    outbox.batch().map(|(id, _)| id).collect()
}

fn stored(outbox: &mut Outbox, id: BatchId, answer: &str) -> Result<usize, InvalidAnswer> {
    let raw = Raw::parse(answer).unwrap();
    outbox.handle_stored(id, raw, at(1)).map(|list| list.len())
}

/// Covers: R3.10, R9.1a, R9.1c
#[test]
fn messages_go_in_order_and_in_batches() {
    let mut outbox = outbox(6);
    assert_eq!(outbox.poll_timeout(), None);
    let first = outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["0", "1", "2", "3"]);
    assert_eq!(outbox.next_batch(at(0)), None);
    assert!(
        outbox
            .body()
            .starts_with(r#"{"messages":[{"content":"xx","localId":"0"},"#)
    );
    let answer = r#"{"messages":[{"localId":"1","seq":5},{"localId":"0","seq":4},{"localId":"2","seq":6},{"localId":"3","seq":7}]}"#;
    assert_eq!(stored(&mut outbox, first, answer), Ok(4));
    let second = outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["4", "5"]);
    assert_eq!(stored(&mut outbox, first, answer), Ok(0));
    assert_eq!(
        outbox.handle_failed(first, PostFailure::SessionGone, at(0)),
        None
    );
    let answer = r#"{"messages":[{"localId":"5","seq":9}]}"#;
    assert_eq!(stored(&mut outbox, second, answer), Ok(1));
    outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["4"]);
    assert_eq!(outbox.len(), 1);
}

/// Covers: R9.1a
#[test]
fn bounds_hold_at_push() {
    let mut outbox = outbox(8);
    assert_eq!(outbox.push("8", "x"), Err(PushError::Full));
    assert_eq!(outbox.push("8", &"x".repeat(20)), Err(PushError::TooLong));
    let mut outbox = Outbox::new(&limits(), 0);
    for id in ["a", "b", "c", "d", "e"] {
        outbox.push(id, &"x".repeat(19)).unwrap();
    }
    assert_eq!(outbox.push("f", ""), Err(PushError::Full));
    outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["a"], "a batch has at most 20 bytes");
    assert!(!format!("{} {}", PushError::Full, PushError::TooLong).is_empty());
}

#[test]
fn failures_wait_and_lose_nothing() {
    let mut outbox = outbox(2);
    let id = outbox.next_batch(at(0)).unwrap();
    outbox.handle_failed(id, PostFailure::RetryAfter(Duration::from_secs(9)), at(0));
    assert_eq!(outbox.poll_timeout(), Some(at(9_000)));
    outbox.handle_timeout(at(8_999));
    assert_eq!(outbox.next_batch(at(8_999)), None);
    outbox.handle_timeout(at(9_000));
    let id = outbox.next_batch(at(9_000)).unwrap();
    assert_eq!(outbox.poll_timeout(), Some(at(69_000)));
    outbox.handle_timeout(at(68_999));
    assert_eq!(ids(&outbox), ["0", "1"]);
    outbox.handle_timeout(at(69_000));
    assert!(
        outbox.poll_timeout() <= Some(at(70_000)),
        "the deadline is a failure"
    );
    outbox.handle_timeout(at(70_000));
    assert_eq!(outbox.handle_failed(id, PostFailure::NoRoute, at(0)), None);
    assert_eq!(outbox.stopped(), None);
    let id = outbox.next_batch(at(70_000)).unwrap();
    for answer in [
        "[]",
        "{}",
        r#"{"messages":{}}"#,
        r#"{"messages":[7]}"#,
        r#"{"messages":[{"localId":"0"}]}"#,
        r#"{"messages":[{"localId":"0","seq":"1"}]}"#,
        r#"{"messages":[{"seq":1}]}"#,
        r#"{"messages":[{"localId":0,"seq":1}]}"#,
        r#"{"messages":[{"localId":"\ud800","seq":1}]}"#,
    ] {
        let mut outbox = outbox.clone();
        assert_eq!(stored(&mut outbox, id, answer), Err(InvalidAnswer));
        assert!(outbox.poll_timeout().is_some());
    }
    let foreign = r#"{"messages":[{"localId":"x","seq":1}]}"#;
    for answer in [foreign, r#"{"messages":[]}"#] {
        let mut outbox = outbox.clone();
        assert_eq!(stored(&mut outbox, id, answer), Ok(0));
        assert_eq!(outbox.next_batch(at(70_000)), None, "it is a failure");
        assert!(outbox.poll_timeout().is_some());
    }
    assert_eq!(stored(&mut outbox, id, foreign), Ok(0));
    assert_eq!((outbox.len(), outbox.is_empty()), (2, false));
    assert_eq!(ids(&outbox), Vec::<&str>::new());
}

#[test]
fn what_is_too_large_is_halved_and_then_dropped() {
    let mut outbox = outbox(4);
    for expected in [&["0", "1", "2", "3"][..], &["0", "1"], &["0"]] {
        let id = outbox.next_batch(at(0)).unwrap();
        assert_eq!(ids(&outbox), expected);
        let outcome = outbox.handle_failed(id, PostFailure::TooLarge, at(0));
        let dropped = Outcome::TooLarge {
            local_id: "0".into(),
        };
        assert_eq!(outcome, (expected.len() == 1).then_some(dropped));
    }
    let id = outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["1", "2", "3"]);
    // Halved until one is stored.
    outbox.handle_failed(id, PostFailure::TooLarge, at(0));
    let id = outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["1"]);
    let answer = r#"{"messages":[{"localId":"1","seq":1}]}"#;
    assert_eq!(stored(&mut outbox, id, answer), Ok(1));
    outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["2", "3"]);
}

#[test]
fn what_stops_it_is_said_and_ends_with_resume() {
    for (failure, reason) in [
        (PostFailure::Unauthorized, StopReason::Unauthorized),
        (PostFailure::SessionGone, StopReason::SessionGone),
        (PostFailure::NoRoute, StopReason::NoRoute),
    ] {
        let mut outbox = outbox(1);
        let id = outbox.next_batch(at(0)).unwrap();
        outbox.handle_failed(id, failure, at(0));
        assert_eq!(outbox.stopped(), Some(reason));
        outbox.handle_timeout(at(1_000_000));
        assert_eq!(outbox.next_batch(at(0)), None);
        outbox.resume();
        assert!(outbox.next_batch(at(0)).is_some());
    }
}

#[test]
fn what_is_seen_is_stored() {
    let mut outbox = outbox(3);
    let id = outbox.next_batch(at(0)).unwrap();
    outbox.push("late", "x").unwrap();
    assert_eq!(outbox.handle_seen("other", 1), None);
    for (local_id, seq) in [("late", 9), ("1", 2), ("0", 1)] {
        let expected = Outcome::Stored {
            local_id: local_id.into(),
            seq,
        };
        assert_eq!(outbox.handle_seen(local_id, seq), Some(expected));
    }
    assert_eq!(ids(&outbox), ["2"]);
    assert!(outbox.handle_seen("2", 3).is_some());
    assert_eq!(outbox.poll_timeout(), None);
    assert_eq!(
        stored(&mut outbox, id, r#"{"messages":[{"localId":"2","seq":3}]}"#),
        Ok(0)
    );
    outbox.push("x", &"x".repeat(19)).unwrap();
    assert_eq!(outbox.len(), 1);
}

/// Over the socket each message has an outcome of its own.
#[test]
fn one_message_may_be_too_large_by_itself() {
    let mut outbox = outbox(2);
    outbox.next_batch(at(0)).unwrap();
    assert_eq!(outbox.handle_too_large("other"), None);
    for local_id in ["1", "0"] {
        let outcome = outbox.handle_too_large(local_id);
        let local_id = local_id.into();
        assert_eq!(outcome, Some(Outcome::TooLarge { local_id }));
    }
    assert_eq!((outbox.posting(), outbox.poll_timeout()), (None, None));
    // The bytes are given back, too.
    for id in ["a", "b", "c", "d", "e"] {
        outbox.push(id, &"x".repeat(19)).unwrap();
    }
    assert_eq!(outbox.push("f", ""), Err(PushError::Full));
}

#[test]
fn an_answer_may_list_what_was_seen_before_it() {
    let mut outbox = outbox(2);
    let id = outbox.next_batch(at(0)).unwrap();
    assert!(outbox.handle_seen("0", 1).is_some());
    let answer = r#"{"messages":[{"localId":"0","seq":1},{"localId":"1","seq":2}]}"#;
    assert_eq!(stored(&mut outbox, id, answer), Ok(1));
    assert!(outbox.is_empty());
    let mut outbox = self::outbox(1);
    let id = outbox.next_batch(at(0)).unwrap();
    let more = r#"{"localId":"0","seq":1},"#.repeat(5);
    let answer = format!(r#"{{"messages":[{}]}}"#, more.trim_end_matches(','));
    assert_eq!(stored(&mut outbox, id, &answer), Err(InvalidAnswer));
}

/// Not the message that is left is too long, but the post that it was in.
#[test]
fn a_post_that_shrank_and_was_too_large_loses_nothing() {
    let mut outbox = outbox(3);
    let id = outbox.next_batch(at(0)).unwrap();
    for seen in ["0", "1"] {
        assert!(outbox.handle_seen(seen, 1).is_some());
    }
    let outcome = outbox.handle_failed(id, PostFailure::TooLarge, at(0));
    assert_eq!(outcome, None);
    let id = outbox.next_batch(at(0)).unwrap();
    assert_eq!(ids(&outbox), ["2"]);
    let outcome = outbox.handle_failed(id, PostFailure::TooLarge, at(0));
    assert!(matches!(outcome, Some(Outcome::TooLarge { .. })));
}
