//! Metadata and agent state.

use hallway_core::relay::client::Target;
use hallway_core::relay::versioned::{Outcome, Rejection, Value};

use super::*;

/// Connected, with one update of the metadata that was sent: its id on the wire.
fn asked(driven: &mut Driven) -> u64 {
    driven.merge("a");
    let frames = driven.frames();
    let (name, written, id) = emitted(frames.last().expect("a frame"));
    assert_eq!(name, "update-metadata");
    assert!(opened(written["metadata"].as_str().unwrap()).contains(r#""a":1"#));
    id.expect("an id")
}

fn outcomes(driven: &mut Driven) -> Vec<Outcome> {
    let outcome = |event: Event<'_>| match event {
        Event::Updated { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    };
    driven.events().into_iter().map(outcome).collect()
}

fn request(driven: &mut Driven, target: Target) {
    driven
        .client
        .request_update(target, driven.now)
        .expect("room");
    driven.act();
}

/// A session that was deleted: nothing is acknowledged, and nothing waits behind it for ever.
/// Covers: R9.3a, R9.3b, R9.3c
#[test]
fn s5_an_update_without_an_answer_times_out_and_the_next_begins() {
    let mut driven = Driven::open();
    request(&mut driven, Target::Metadata);
    request(&mut driven, Target::Metadata);
    asked(&mut driven);
    let began = driven.now;
    let mut done = Vec::new();
    while done.is_empty() {
        let frames = driven.frames();
        for frame in frames.iter().filter(|frame| frame.contains("ping")) {
            let (_, _, id) = emitted(frame);
            driven.receive(&format!("43{}[{{}}]", id.unwrap()));
        }
        driven.tick();
        done = outcomes(&mut driven);
    }
    assert_eq!(done, [Outcome::TimedOut]);
    assert_eq!(driven.now.since(began), 10 * SECOND);
    driven.frames();
    assert_eq!(driven.merges.len(), 1, "the next one");
}

/// Covers: R1.21, R2.2, R9.3b
#[test]
fn s6_an_error_is_told() {
    for answer in [
        r#"{"result":"error"}"#,
        r#"{"result":"success"}"#,
        r#"{"result":"success","version":"4"}"#,
        "null",
    ] {
        let mut driven = Driven::open();
        request(&mut driven, Target::Metadata);
        let id = asked(&mut driven);
        assert_eq!(driven.receive(&format!("43{id}[{answer}]")), None);
        assert_eq!(
            outcomes(&mut driven),
            [Outcome::Rejected(Rejection::Other)],
            "{answer}"
        );
        assert_eq!(driven.client.value(Target::Metadata).1, 3);
    }
    let mut driven = Driven::open();
    request(&mut driven, Target::Metadata);
    let id = asked(&mut driven);
    driven.receive(&format!("43{id}[]"));
    assert_eq!(outcomes(&mut driven), [Outcome::Rejected(Rejection::Other)]);
}

/// Covers: R2.2, R6.2, R9.3b
#[test]
fn conflicts_are_merged_on_what_is_there() {
    let mut driven = Driven::open();
    request(&mut driven, Target::Metadata);
    let mut version = 3;
    loop {
        let id = asked(&mut driven);
        let nonce = driven.nonce();
        version += 1;
        let theirs = cipher()
            .seal_text(nonce, &format!(r#"{{"theirs":{version}}}"#))
            .unwrap();
        driven.receive(&format!(
            r#"43{id}[{{"result":"version-mismatch","version":{version},"metadata":"{theirs}"}}]"#
        ));
        if driven.merges.is_empty() {
            break;
        }
    }
    assert_eq!(version, 3 + 8, "as often as the limits say");
    assert_eq!(outcomes(&mut driven), [Outcome::Conflict]);
    let (Value::Document(value), 11) = driven.client.value(Target::Metadata) else {
        panic!()
    };
    assert_eq!(value.raw().as_str(), r#"{"theirs":11}"#);
}

/// Covers: R9.7b
#[test]
fn s10_metadata_that_cannot_be_read_are_never_written() {
    let mut driven = Driven::with_metadata(Limits::builder(), 0, "\"AAAA\"");
    driven.client.connect(driven.now);
    driven.act();
    driven.join();
    request(&mut driven, Target::Metadata);
    assert_eq!(outcomes(&mut driven), [Outcome::Unreadable]);
    assert_eq!(driven.merges, []);
    // What the server tells may be unreadable, too.
    let mut driven = Driven::open();
    let frame = r#"42["update",{"body":{"t":"update-session","id":"S","metadata":{"value":"AAAA","version":4}}}]"#;
    assert_eq!(
        driven.receive(frame),
        Some(Event::ValuesChanged {
            metadata: true,
            state: false,
            unreadable: true
        })
    );
    request(&mut driven, Target::Metadata);
    assert_eq!(outcomes(&mut driven), [Outcome::Unreadable]);
    assert_eq!(driven.frames(), [""; 0]);
}

/// Covers: R2.11, R6.3
#[test]
fn values_are_those_of_the_newest_version() {
    let mut driven = Driven::open();
    let nonce = driven.nonce();
    let newer = cipher().seal_text(nonce, r#"{"n":5}"#).unwrap();
    let frame = |version: u64, member: &str| {
        format!(
            r#"42["update",{{"body":{{"t":"update-session","id":"S","{member}":{{"value":"{newer}","version":{version}}}}}}}]"#
        )
    };
    assert!(driven.receive(&frame(5, "metadata")).is_some());
    for stale in [0, 4, 5] {
        assert_eq!(
            driven.receive(&frame(stale, "metadata")),
            None,
            "no way back"
        );
    }
    assert!(driven.receive(&frame(1, "agentState")).is_some());
    for target in [Target::Metadata, Target::State] {
        let (Value::Document(value), _) = driven.client.value(target) else {
            panic!()
        };
        assert_eq!(value.raw().as_str(), r#"{"n":5}"#);
    }
    let null = r#"42["update",{"body":{"t":"update-session","id":"S","metadata":null,"agentState":{"value":null,"version":2}}}]"#;
    assert!(driven.receive(null).is_some());
    assert_eq!(driven.client.value(Target::State), (&Value::Null, 2));
    let other = frame(9, "metadata").replace("\"S\"", "\"T\"");
    assert!(matches!(
        driven.receive(&other),
        Some(Event::OtherUpdate(_))
    ));
    assert_eq!(driven.client.value(Target::Metadata).1, 5);
}

/// Covers: R2.4
#[test]
fn the_agent_state_may_be_cleared_and_the_metadata_not() {
    let mut driven = Driven::open();
    request(&mut driven, Target::State);
    let merge = driven.merges.remove(0);
    let nonce = driven.nonce();
    driven.client.merge(merge, nonce, driven.now, |value| {
        assert_eq!(value, None);
        Change::Clear
    });
    let frames = driven.frames();
    assert_eq!(
        frames,
        [r#"420["update-state",{"sid":"S","expectedVersion":0,"agentState":null}]"#]
    );
    driven.receive(r#"430[{"result":"success","version":1,"agentState":null}]"#);
    assert_eq!(outcomes(&mut driven), [Outcome::Applied(1)]);
    request(&mut driven, Target::Metadata);
    for change in [Change::Clear, Change::Keep] {
        let merge = driven.merges.remove(0);
        let nonce = driven.nonce();
        let expected = if change == Change::Keep {
            Outcome::Applied(3)
        } else {
            Outcome::Rejected(Rejection::Other)
        };
        driven.client.merge(merge, nonce, driven.now, |_| change);
        assert_eq!(driven.frames(), [""; 0]);
        assert_eq!(outcomes(&mut driven), [expected]);
        request(&mut driven, Target::Metadata);
    }
}

/// Covers: R9.4a
#[test]
fn a_value_longer_than_a_frame_is_refused_before_it_is_sent() {
    let mut driven = Driven::open();
    request(&mut driven, Target::Metadata);
    let merge = driven.merges.remove(0);
    let nonce = driven.nonce();
    let long = format!("\"{}\"", "x".repeat(100_000));
    driven.client.merge(merge, nonce, driven.now, |value| {
        let mut value = value.cloned().unwrap_or_default();
        value.set("long", raw(&long));
        Change::Write(value)
    });
    assert_eq!(driven.frames(), [""; 0]);
    assert_eq!(outcomes(&mut driven), [Outcome::Rejected(Rejection::Other)]);
}

/// The server's values are bounded, too, however they come.
#[test]
fn a_value_longer_than_ours_may_be_is_not_kept() {
    let limits = Limits::builder().max_value_bytes(256);
    let mut driven = Driven::open_after(limits, 0);
    let nonce = driven.nonce();
    let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(256));
    let sealed = cipher().seal_text(nonce, &long).unwrap();
    request(&mut driven, Target::Metadata);
    let id = asked(&mut driven);
    driven.receive(&format!(
        r#"43{id}[{{"result":"version-mismatch","version":4,"metadata":"{sealed}"}}]"#
    ));
    assert_eq!(outcomes(&mut driven), [Outcome::Unreadable]);
    let frame = format!(
        r#"42["update",{{"body":{{"t":"update-session","id":"S","agentState":{{"value":"{sealed}","version":1}}}}}}]"#
    );
    let event = driven.receive(&frame);
    assert!(matches!(
        event,
        Some(Event::ValuesChanged {
            unreadable: true,
            ..
        })
    ));
    for target in [Target::Metadata, Target::State] {
        assert_eq!(driven.client.value(target).0, &Value::Unreadable);
    }
    assert!(!format!("{:?}", driven.client).contains("xxxx"));
}

/// Covers: R2.12, R9.3b
#[test]
fn a_session_that_is_gone_ends_every_update() {
    let mut driven = Driven::open();
    request(&mut driven, Target::Metadata);
    request(&mut driven, Target::State);
    let frame = r#"42["update",{"body":{"t":"delete-session","sid":"S"}}]"#;
    assert_eq!(driven.receive(frame), Some(Event::SessionGone));
    let gone = Outcome::SessionGone;
    assert_eq!(outcomes(&mut driven), [gone, gone]);
    let refused = driven.client.request_update(Target::Metadata, driven.now);
    assert!(refused.is_err());
}
