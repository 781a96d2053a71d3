use super::*;
use crate::relay::cipher::Nonce;
use crate::relay::keys::DataKey;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn value(text: &str) -> Value {
    Value::Document(Document::parse(Raw::parse(text).unwrap()).unwrap())
}

fn connected() -> Versioned {
    let mut versioned = Versioned::new(&Limits::DEFAULT, 3, value("{}"));
    versioned.handle_connected();
    versioned
}

fn outcomes(versioned: &mut Versioned) -> Vec<Outcome> {
    core::iter::from_fn(|| versioned.poll_outcome())
        .map(|(_, outcome)| outcome)
        .collect()
}

/// Covers: R1.23, R6.2
#[test]
fn updates_are_written_one_at_a_time_and_in_order() {
    let mut versioned = connected();
    assert_eq!(versioned.next_attempt(at(0)), None);
    let first = versioned.request(at(0)).unwrap();
    let second = versioned.request(at(0)).unwrap();
    let attempt = versioned.next_attempt(at(0)).unwrap();
    assert_eq!((attempt.update, attempt.expected_version), (first, 3));
    assert_eq!(versioned.next_attempt(at(0)), None);
    // The broadcast comes before the answer.
    versioned.handle_value(4, value(r#"{"a":1}"#));
    let answer = Answer::Success {
        version: 4,
        value: value(r#"{"a":1}"#),
    };
    versioned.handle_answer(attempt, answer.clone());
    assert_eq!(versioned.poll_outcome(), Some((first, Outcome::Applied(4))));
    assert_eq!(versioned.value(), &value(r#"{"a":1}"#));
    let attempt = versioned.next_attempt(at(0)).unwrap();
    assert_eq!((attempt.update, attempt.expected_version), (second, 4));
    versioned.handle_unchanged(attempt);
    versioned.handle_unchanged(attempt);
    assert_eq!(
        versioned.poll_outcome(),
        Some((second, Outcome::Applied(4)))
    );
    assert_eq!(versioned.poll_outcome(), None);
    assert_eq!(versioned.poll_timeout(), None);
}

/// Covers: R2.3, R6.2, R6.3
#[test]
fn conflicts_are_merged_on_the_newer_value_and_end() {
    let mut versioned = connected();
    versioned.request(at(0)).unwrap();
    for version in 4..12 {
        assert_eq!(outcomes(&mut versioned), []);
        let attempt = versioned.next_attempt(at(0)).unwrap();
        assert_eq!(attempt.expected_version, version - 1);
        let value = value(&format!(r#"{{"v":{version}}}"#));
        versioned.handle_answer(attempt, Answer::Mismatch { version, value });
        assert_eq!(versioned.version(), version);
    }
    assert_eq!(outcomes(&mut versioned), [Outcome::Conflict]);
    // A lost race may tell of the old version.
    versioned.request(at(0)).unwrap();
    let attempt = versioned.next_attempt(at(0)).unwrap();
    let old = Answer::Mismatch {
        version: 11,
        value: Value::Null,
    };
    versioned.handle_answer(attempt, old);
    assert_ne!(versioned.value(), &Value::Null);
    assert!(versioned.next_attempt(at(0)).unwrap().number > attempt.number);
}

/// Covers: R9.3a, R9.3c
#[test]
fn every_wait_ends() {
    let mut versioned = connected();
    assert!(versioned.is_settled());
    versioned.request(at(0)).unwrap();
    assert!(!versioned.is_settled());
    versioned.request(at(1)).unwrap();
    let attempt = versioned.next_attempt(at(0)).unwrap();
    assert_eq!(versioned.poll_timeout(), Some(at(10)));
    versioned.handle_timeout(at(9));
    assert_eq!(outcomes(&mut versioned), []);
    versioned.handle_timeout(at(10));
    assert_eq!(outcomes(&mut versioned), [Outcome::TimedOut]);
    versioned.handle_answer(attempt, Answer::Error(Rejection::Other));
    assert_eq!(outcomes(&mut versioned), []);
    // Without a connection too.
    versioned.handle_disconnected();
    assert_eq!(versioned.next_attempt(at(10)), None);
    assert_eq!(versioned.poll_timeout(), Some(at(121)));
    versioned.handle_timeout(at(121));
    assert_eq!(outcomes(&mut versioned), [Outcome::TimedOut]);
    // A late success is still true of the value.
    let late = Answer::Success {
        version: 9,
        value: Value::Null,
    };
    versioned.handle_answer(attempt, late);
    assert_eq!((versioned.version(), versioned.value()), (9, &Value::Null));
}

/// Covers: R9.3c
#[test]
fn a_refusal_releases_the_next_and_a_disconnect_repeats() {
    let mut versioned = connected();
    versioned.request(at(0)).unwrap();
    versioned.request(at(0)).unwrap();
    versioned.request(at(0)).unwrap();
    let attempt = versioned.next_attempt(at(0)).unwrap();
    versioned.handle_answer(attempt, Answer::Error(Rejection::Other));
    let attempt = versioned.next_attempt(at(0)).unwrap();
    versioned.handle_unsendable(attempt);
    versioned.handle_unsendable(attempt);
    assert_eq!(
        outcomes(&mut versioned),
        [Outcome::Rejected(Rejection::Other); 2]
    );
    let attempt = versioned.next_attempt(at(0)).unwrap();
    versioned.handle_disconnected();
    assert_eq!(versioned.next_attempt(at(0)), None);
    versioned.handle_connected();
    versioned.handle_answer(attempt, Answer::Error(Rejection::Other));
    assert_eq!(outcomes(&mut versioned), []);
    assert_eq!(
        versioned.next_attempt(at(0)).unwrap().update,
        attempt.update
    );
}

/// Covers: R9.7b
#[test]
fn what_cannot_be_read_is_not_written_over() {
    let mut versioned = connected();
    versioned.handle_value(4, Value::Unreadable);
    versioned.request(at(0)).unwrap();
    versioned.request(at(0)).unwrap();
    assert_eq!(versioned.next_attempt(at(0)), None);
    assert_eq!(outcomes(&mut versioned), [Outcome::Unreadable; 2]);
    // Also when it becomes so between two attempts.
    versioned.handle_fetched(4, value("{}"));
    versioned.request(at(0)).unwrap();
    let attempt = versioned.next_attempt(at(0)).unwrap();
    let answer = Answer::Mismatch {
        version: 5,
        value: Value::Unreadable,
    };
    versioned.handle_answer(attempt, answer);
    assert_eq!(versioned.next_attempt(at(0)), None);
    assert_eq!(outcomes(&mut versioned), [Outcome::Unreadable]);
    versioned.handle_fetched(4, Value::Null);
    versioned.handle_value(4, Value::Null);
    assert_eq!(versioned.version(), 5);
}

/// Covers: R2.2
#[test]
fn answers_are_read_or_are_errors() {
    let cipher = Cipher::DataKey(DataKey::from_bytes(&[1; 32]));
    let seal = |text| {
        let sealed = cipher.seal_text(Nonce::from_entropy([2; 24]), text);
        format!("\"{}\"", sealed.unwrap())
    };
    let read = |text: &str| Answer::parse(Raw::parse(text).unwrap(), "metadata", &cipher);
    for (member, expected) in [
        (seal(r#"{"a":1}"#), value(r#"{"a":1}"#)),
        (seal("null"), Value::Null),
        (String::from("null"), Value::Null),
        (seal("[]"), Value::Unreadable),
        (seal(""), Value::Unreadable),
        (String::from("\"AAAA\""), Value::Unreadable),
        (String::from("{}"), Value::Unreadable),
    ] {
        let (version, value) = (7, expected);
        let text = format!(r#"{{"result":"success","version":7,"metadata":{member}}}"#);
        let success = Answer::Success {
            version,
            value: value.clone(),
        };
        assert_eq!(read(&text), success);
        let text = text.replace("success", "version-mismatch");
        assert_eq!(read(&text), Answer::Mismatch { version, value });
    }
    for text in [
        "null",
        r#"{"result":"error"}"#,
        r#"{"result":"error","version":1}"#,
        r#"{"result":"success"}"#,
        r#"{"result":"success","version":-1}"#,
        r#"{"result":1,"version":1}"#,
        r#"{"result":"error","message":1}"#,
        r#"{"result":"error","message":"machine not found"}"#,
    ] {
        assert_eq!(read(text), Answer::Error(Rejection::Other), "{text}");
    }
    for (words, why) in [
        ("Machine not found", Rejection::MachineNotFound),
        ("Invalid parameters", Rejection::InvalidParameters),
    ] {
        for version in ["", r#","version":7"#] {
            let text = alloc::format!(r#"{{"result":"error","message":"{words}"{version}}}"#);
            assert_eq!(read(&text), Answer::Error(why), "{text}");
        }
    }
}

/// Covers: R9.3b
#[test]
fn an_end_is_an_end_for_all() {
    for (gone, outcome) in [(true, Outcome::SessionGone), (false, Outcome::Closed)] {
        let mut versioned = connected();
        versioned.request(at(0)).unwrap();
        versioned.request(at(0)).unwrap();
        let attempt = versioned.next_attempt(at(0)).unwrap();
        if gone {
            versioned.handle_gone();
        }
        versioned.close();
        assert_eq!(outcomes(&mut versioned), [outcome; 2]);
        assert_eq!(versioned.request(at(0)), Err(UpdateError::Ended));
        let success = Answer::Success {
            version: 4,
            value: Value::Null,
        };
        versioned.handle_answer(attempt, success);
        versioned.handle_timeout(at(1_000));
        versioned.handle_connected();
        assert_eq!(versioned.next_attempt(at(0)), None);
        assert_eq!(outcomes(&mut versioned), []);
        assert_eq!(versioned.poll_timeout(), None);
    }
    let mut versioned = connected();
    while versioned.request(at(0)).is_ok() {}
    assert_eq!(versioned.request(at(0)), Err(UpdateError::Full));
    versioned.close();
    assert_eq!(
        outcomes(&mut versioned).len(),
        Limits::DEFAULT.max_updates()
    );
    let words = [UpdateError::Full, UpdateError::Ended].map(|error| format!("{error}"));
    assert!(words[0] != words[1] && words.iter().all(|words| !words.is_empty()));
}
