//! What the caller tells and asks, beyond the properties of relay.md §9: facts of the transport,
//! answers that come too late, and the words for each failure.

use std::collections::BTreeSet;

use hallway_core::relay::cipher::{OpenError, SealError};
use hallway_core::relay::client::{HttpFailure, Route, SendError, Target, Unreadable};
use hallway_core::relay::link::{Cause, DialFailure, EmitError, Ignored, Violation};
use hallway_core::relay::plaintext::{Document, Usage};
use hallway_core::relay::rpc::Refusal;
use hallway_core::relay::versioned::{Outcome, Rejection, UpdateError, Value};

use super::*;

fn cause(event: Option<Event<'_>>) -> Cause {
    match event {
        Some(Event::Reconnecting { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn facts_of_the_transport_reach_the_link() {
    let mut driven = Driven::new();
    let first = driven.live.take().expect("a dial");
    let failure = DialFailure::Unreachable;
    let event = driven.client.handle_dial_failed(first, failure, driven.now);
    assert_eq!(cause(event), Cause::DialFailed(failure));
    assert_eq!(
        driven.client.handle_dial_failed(first, failure, driven.now),
        None
    );
    assert_eq!(cause(driven.client.handle_wake(driven.now)), Cause::Slept);
    driven.act();
    driven.join();
    assert_eq!(driven.client.handle_wake(driven.now), None, "it is probed");
    let (live, now) = (driven.live.expect("a transport"), driven.now);
    let client = &mut driven.client;
    assert_eq!(client.handle_binary(first, now), None);
    assert_eq!(client.handle_message_too_long(first, now), None);
    assert_eq!(client.handle_closed(first, None, now), None);
    let binary = Cause::Violation(Violation::Binary);
    assert_eq!(cause(client.handle_binary(live, now)), binary);
    driven.act();
    driven.reconnect();
    let live = driven.live.expect("a transport");
    let event = driven.client.handle_message_too_long(live, driven.now);
    assert_eq!(cause(event), Cause::MessageTooLong);
    driven.act();
    driven.reconnect();
    let dials = driven.dials;
    assert_eq!(cause(driven.client.reconnect(driven.now)), Cause::Forced);
    driven.act();
    driven.reconnect();
    assert_eq!(driven.dials, dials + 1);
    assert_eq!(driven.client.id(), "S");
    assert_eq!(driven.client.limits(), &Limits::DEFAULT);
    let idle = &mut Driven::with(Limits::builder(), 0).client;
    assert_eq!(idle.reconnect(driven.now), None);
    assert_eq!(idle.status(), Status::Idle);
}

/// A long frame on a slow link: its bytes put off the end, and those of another epoch do not.
#[test]
fn s12_bytes_are_signs_of_life() {
    let mut driven = Driven::open();
    driven.tick();
    let due = driven.client.poll_timeout().expect("a deadline");
    driven.later(SECOND);
    driven.client.handle_bytes(Epoch::default(), driven.now);
    assert_eq!(driven.client.poll_timeout(), Some(due));
    driven.client.handle_bytes(driven.live.unwrap(), driven.now);
    assert_eq!(driven.client.poll_timeout(), Some(due.after(SECOND)));
}

/// What has to leave before the `ping` holds it back, and what leaves after it does not.
#[test]
fn what_is_written_ahead_of_a_ping_holds_it_back() {
    let mut driven = Driven::open();
    let epoch = driven.live.expect("a transport");
    let alive = |driven: &mut Driven| driven.client.keep_alive(false, "local", wall());
    assert_eq!(alive(&mut driven), Ok(()));
    driven.tick();
    for written in ["session-alive", "ping"] {
        driven.later(4 * SECOND);
        let frame = driven.client.poll_transmit(epoch).expect("a frame");
        assert!(frame.contains(written), "{frame}");
        driven.client.handle_transmitted(epoch, driven.now);
        let due = driven.client.poll_timeout();
        assert_eq!(due, Some(driven.now.after(5 * SECOND)), "{written}");
    }
    assert_eq!(alive(&mut driven), Ok(()));
    let due = driven.client.poll_timeout();
    driven.later(4 * SECOND);
    assert_eq!(driven.frames().len(), 1);
    assert_eq!(driven.client.poll_timeout(), due);
}

/// A way that is lost without a word takes what is written to it: that is no sign of life.
/// Covers: R9.12a
#[test]
fn what_nobody_answers_puts_off_nothing() {
    let mut driven = Driven::open();
    let began = driven.now;
    let cause = loop {
        driven.later(2 * SECOND);
        if let Some(event) = driven.client.handle_timeout(driven.now) {
            break cause(Some(event));
        }
        let alive = driven.client.keep_alive(false, "local", wall());
        assert_eq!(alive, Ok(()));
        driven.frames();
    };
    assert_eq!(cause, Cause::NoAnswer);
    assert!(driven.now.since(began) <= 16 * SECOND);
}

#[test]
fn a_fetch_waits_as_long_as_the_server_says_and_no_late_answer_counts() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().expect("a fetch");
    let failure = HttpFailure::RetryAfter(9 * SECOND);
    let failed = driven.now;
    let client = &mut driven.client;
    assert_eq!(client.handle_fetch_failed(fetch.id, failure, failed), None);
    // Too late, both.
    assert_eq!(
        client.handle_fetch_failed(fetch.id, HttpFailure::Unauthorized, failed),
        None
    );
    assert_eq!(client.handle_page(fetch.id, "{}", failed), None);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    assert_eq!(driven.now.since(failed), 9 * SECOND);
    // Unauthorized would have stopped it.
    assert_eq!(driven.page(&[], false), []);
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().expect("a fetch");
    driven.client.close(driven.now);
    let client = &mut driven.client;
    assert_eq!(client.handle_page(fetch.id, "{}", driven.now), None);
    assert_eq!(
        client.handle_fetch_failed(fetch.id, HttpFailure::Unauthorized, driven.now),
        None
    );
}

/// Taken slowly, a page outlives its fetch: what is left of it is fetched again, once.
#[test]
fn what_is_left_of_a_page_that_took_too_long_is_fetched_again() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    let rows = [driven.row(1, "one"), driven.row(2, "two")];
    let fetch = driven.fetches.pop().expect("a fetch");
    let body = format!(r#"{{"messages":[{}],"hasMore":false}}"#, rows.join(","));
    assert_eq!(driven.client.handle_page(fetch.id, &body, driven.now), None);
    let first = driven.client.poll_event(driven.now).expect("a message");
    assert_eq!(said(&[first]), [(1, "one".into())]);
    driven.later(Limits::DEFAULT.fetch_timeout());
    driven.client.handle_timeout(driven.now);
    assert_eq!(driven.client.cursor(), 1);
    assert_eq!(said(&driven.events()), []);
    while driven.fetches.is_empty() {
        driven.tick();
    }
    assert_eq!(driven.fetches[0].after, 1);
    assert_eq!(said(&driven.page(&rows[1..], false)), [(2, "two".into())]);
}

#[test]
fn calls_that_name_no_method_are_refused_or_passed_over() {
    let mut driven = Driven::open();
    let event = driven.receive(r#"427["rpc-request",{}]"#);
    let Some(Event::RpcRefused { owed, refusal }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(refusal, Refusal::UnknownMethod);
    let nonce = driven.nonce();
    assert_eq!(driven.client.refuse_rpc(owed, refusal, nonce), Ok(true));
    assert!(driven.frames()[0].starts_with("437["));
    for unanswerable in [r#"42["rpc-request",{}]"#, r#"42["rpc-request"]"#] {
        let event = driven.receive(unanswerable);
        assert_eq!(event, Some(Event::Ignored(Ignored::Meaningless)));
    }
    driven.client.register("a").expect("room");
    for nothing in [
        r#"["rpc-unregistered",{"method":"S:a"}]"#,
        r#"["rpc-registered"]"#,
        r#"["rpc-registered",{}]"#,
        r#"["rpc-registered",{"method":1}]"#,
        r#"["rpc-registered",{"method":"\ud800"}]"#,
        r#"["rpc-registered",{"method":"Sa"}]"#,
    ] {
        assert_eq!(driven.receive(&format!("42{nothing}")), None, "{nothing}");
    }
    assert!(!driven.client.is_registered("a"));
    let other = r#"42["update",{"id":"u","seq":1,"body":{"t":"delete-session","sid":"T"}}]"#;
    assert!(matches!(driven.receive(other), Some(Event::OtherUpdate(_))));
    let now = driven.now;
    assert!(driven.client.request_update(Target::Metadata, now).is_ok());
}

#[test]
fn s12_methods_that_are_not_confirmed_are_told_unless_that_is_outdated() {
    let limits = || {
        Limits::builder()
            .max_registrations(1)
            .register_timeout(SECOND)
    };
    let mut driven = Driven::open_after(limits(), 0);
    for method in ["a", "b", "c"] {
        driven.client.register(method).expect("room");
    }
    driven.act();
    assert_eq!(driven.frames().len(), 3);
    let due = driven.now.after(SECOND);
    assert_eq!(driven.client.poll_timeout(), Some(due));
    driven.later(SECOND / 2);
    driven.client.register("d").expect("room");
    driven.act();
    driven.later(SECOND / 2);
    driven.client.handle_timeout(driven.now);
    // Removed, or confirmed after all, before it was told.
    driven.client.unregister("a");
    let registered = r#"42["rpc-registered",{"method":"S:b"}]"#;
    let method = String::from("b");
    let event = driven
        .client
        .handle_message(driven.live.unwrap(), registered, driven.now);
    assert_eq!(event, Some(Event::RpcRegistered { method }));
    let unconfirmed = |method: &str| Event::RpcUnconfirmed {
        method: method.into(),
    };
    assert_eq!(driven.events(), [unconfirmed("c")]);
    driven.later(SECOND / 2);
    driven.client.handle_timeout(driven.now);
    assert_eq!(driven.events(), [unconfirmed("d")], "each in its time");
    let sent = driven.frames();
    assert!(sent.iter().any(|frame| frame.contains("rpc-unregister")));
    // Neither what is not served nor what nobody can be told of is taken back.
    driven.client.unregister("a");
    assert_eq!(driven.frames(), [""; 0]);
    driven.drop_link();
    driven.client.unregister("d");
    driven.reconnect();
    assert_eq!(driven.frames().len(), 2);
}

/// A queue that is full puts off what follows by itself, and loses none of it.
#[test]
fn a_full_queue_puts_off_registrations_reports_and_updates() {
    let mut driven = Driven::open_after(Limits::builder().max_queued_frames(1), 0);
    assert_eq!(driven.client.limits().max_queued_frames(), 1);
    driven.client.register("a").expect("room");
    driven.client.register("b").expect("room");
    let usage = r#"{"type":"assistant","uuid":"u","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
    let nonce = driven.nonce();
    driven
        .client
        .send_claude(raw(usage), "m", nonce, wall())
        .expect("room");
    driven
        .client
        .request_update(Target::State, driven.now)
        .expect("room");
    let mut names = Vec::new();
    for _ in 0..3 {
        driven.act();
        assert_eq!(driven.merges, []);
        let epoch = driven.live.unwrap();
        let frame = driven
            .client
            .poll_transmit(epoch)
            .expect("a frame")
            .to_owned();
        driven.client.handle_transmitted(epoch, driven.now);
        names.push(emitted(&frame).0);
    }
    assert_eq!(names, ["rpc-register", "rpc-register", "usage-report"]);
    driven.act();
    assert_eq!(driven.merges.len(), 1);
}

#[test]
fn a_report_of_usage_that_cannot_be_sent_or_is_never_answered_is_told() {
    let usage = |tokens: u32| {
        format!(
            r#"{{"type":"assistant","uuid":"u","message":{{"usage":{{"input_tokens":{tokens},"output_tokens":0}}}}}}"#
        )
    };
    let report = |driven: &mut Driven, tokens, id: &str| {
        let nonce = driven.nonce();
        let line = usage(tokens);
        driven
            .client
            .send_claude(raw(&line), id, nonce, wall())
            .expect("room");
        driven.act();
    };
    let reports = |driven: &mut Driven| {
        let mut reports = Vec::new();
        for frame in driven.frames() {
            let (name, value, id) = emitted(&frame);
            if name == "ping" {
                let answer = format!("43{}[{{}}]", id.unwrap());
                assert_eq!(driven.receive(&answer), None);
            } else {
                reports.push(value["tokens"]["total"].as_u64().expect("a number"));
            }
        }
        reports
    };
    let mut driven = Driven::open();
    report(&mut driven, 1, "a");
    assert_eq!(reports(&mut driven), [1]);
    // A newer one comes while the first is waited for: only that is sent again.
    report(&mut driven, 2, "b");
    let mut sent = Vec::new();
    let event = loop {
        driven.tick();
        let event = driven.events().pop();
        sent.extend(reports(&mut driven));
        if let Some(event) = event {
            break event;
        }
    };
    assert_eq!(event, Event::UsageNotReported);
    assert_eq!(sent, [2, 2], "with the first, as often as the limits say");
    // Refused.
    report(&mut driven, 3, "c");
    let frames = driven.frames();
    let (_, _, id) = emitted(frames.last().unwrap());
    let answer = format!(r#"43{}[{{"success":false,"error":"no"}}]"#, id.unwrap());
    assert_eq!(driven.receive(&answer), Some(Event::UsageNotReported));
    // Longer than the server takes.
    let mut driven = Driven::new();
    let epoch = driven.live.unwrap();
    driven.client.handle_opened(epoch);
    driven.receive(r#"0{"sid":"e","pingInterval":15000,"pingTimeout":45000,"maxPayload":90}"#);
    driven.frames();
    driven.receive(JOINED);
    report(&mut driven, 4, "d");
    assert_eq!(driven.events(), [Event::UsageNotReported]);
    assert_eq!(driven.frames(), [""; 0]);
}

#[test]
fn nothing_follows_from_a_line_that_is_not_taken() {
    let limits = Limits::builder()
        .max_outbox_messages(1)
        .max_value_bytes(256);
    let mut driven = Driven::open_after(limits, 0);
    let send = |driven: &mut Driven, line: &str, id: &str| {
        let nonce = driven.nonce();
        driven.client.send_claude(raw(line), id, nonce, wall())
    };
    // A title longer than any value is sent as a message and set nowhere.
    let title = format!(r#"{{"type":"summary","summary":"{}"}}"#, "x".repeat(256));
    assert_eq!(send(&mut driven, &title, "a"), Ok(()));
    let title = r#"{"type":"summary","summary":"T"}"#;
    assert_eq!(send(&mut driven, title, "b"), Err(SendError::Full));
    driven.act();
    assert_eq!(driven.merges, []);
    assert_eq!(driven.store(1).len(), 1);
    assert_eq!(send(&mut driven, title, "b"), Ok(()));
    driven.act();
    assert_eq!(driven.merges.len(), 1);
}

/// The title goes into metadata that there were none of, and is no matter of other updates.
#[test]
fn a_title_is_written_where_there_were_no_metadata() {
    let mut driven = Driven::with_metadata(Limits::builder(), 0, "null");
    driven.client.connect(driven.now);
    driven.act();
    driven.join();
    let title = raw(r#"{"type":"summary","summary":"T"}"#);
    let nonce = driven.nonce();
    driven
        .client
        .send_claude(title, "a", nonce, wall())
        .expect("room");
    let state = driven
        .client
        .request_update(Target::State, driven.now)
        .unwrap();
    driven.act();
    let metadata = driven
        .client
        .request_update(Target::Metadata, driven.now)
        .unwrap();
    driven.act();
    assert_eq!(driven.merges.len(), 2);
    let (merge, mine) = (driven.merges.remove(0), driven.merges.remove(0));
    assert_eq!(merge.update, mine.update, "each is the first of its value");
    let nonce = driven.nonce();
    let mut asked = false;
    driven.client.merge(mine, nonce, driven.now, |_| {
        asked = true;
        Change::Keep
    });
    assert!(asked);
    let nonce = driven.nonce();
    driven
        .client
        .merge(merge, nonce, driven.now, |_| panic!("it is the client's"));
    let frames = driven.frames();
    let (_, written, id) = emitted(&frames[0]);
    let sealed = written["metadata"].as_str().unwrap();
    assert_eq!(opened(sealed), r#"{"summary":{"text":"T","updatedAt":77}}"#);
    let id = id.unwrap();
    driven.receive(&format!(
        r#"43{id}[{{"result":"success","version":4,"metadata":"{sealed}"}}]"#
    ));
    // The caller's own follows.
    let merge = driven.merge("mine");
    assert_eq!((merge.target, merge.update), (Target::Metadata, metadata));
    assert_eq!((mine.target, mine.update), (Target::State, state));
}

/// The title waits behind an update of the caller's that conflicts, and the session is deleted.
#[test]
fn a_title_ends_with_its_session() {
    let mut driven = Driven::open();
    driven
        .client
        .request_update(Target::Metadata, driven.now)
        .unwrap();
    driven.act();
    let title = raw(r#"{"type":"summary","summary":"T"}"#);
    let nonce = driven.nonce();
    driven
        .client
        .send_claude(title, "a", nonce, wall())
        .expect("room");
    driven.act();
    driven.merge("mine");
    let frames = driven.frames();
    let (_, _, id) = emitted(&frames[0]);
    let conflict = format!(r#"43{}[{{"result":"error"}}]"#, id.unwrap());
    driven.receive(&conflict);
    let refused = driven.events();
    assert!(
        matches!(
            refused[..],
            [Event::Updated {
                outcome: Outcome::Rejected(Rejection::Other),
                ..
            }]
        ),
        "{refused:?}"
    );
    assert_eq!(driven.merges.len(), 1, "the title's turn");
    let gone = r#"42["update",{"id":"u","seq":1,"body":{"t":"delete-session","sid":"S"}}]"#;
    assert_eq!(driven.receive(gone), Some(Event::SessionGone));
    let events = driven.events();
    assert!(
        matches!(
            events[..],
            [Event::Updated {
                outcome: Outcome::SessionGone,
                ..
            }]
        ),
        "{events:?}"
    );
    driven.later(600 * SECOND);
    driven.client.handle_timeout(driven.now);
    assert_eq!(driven.events(), []);
}

#[test]
fn a_value_that_turns_unreadable_before_its_merge_is_not_written() {
    let mut driven = Driven::open();
    driven
        .client
        .request_update(Target::Metadata, driven.now)
        .unwrap();
    driven.act();
    let told = r#"42["update",{"id":"u","seq":1,"body":{"t":"update-session","id":"S","metadata":{"value":"AAAA","version":9}}}]"#;
    assert!(matches!(
        driven.receive(told),
        Some(Event::ValuesChanged {
            metadata: true,
            state: false,
            unreadable: true
        })
    ));
    let (merge, nonce) = (driven.merges.remove(0), driven.nonce());
    driven
        .client
        .merge(merge, nonce, driven.now, |_| panic!("nothing to merge on"));
    assert_eq!(driven.frames(), [""; 0]);
    let events = driven.events();
    assert!(
        matches!(
            events[..],
            [Event::Updated {
                outcome: Outcome::Unreadable,
                ..
            }]
        ),
        "{events:?}"
    );
    // A version without a value, or an older one, tells nothing.
    for told in [r#""version":10"#, r#""value":null,"version":9"#] {
        let told = format!(
            r#"42["update",{{"id":"u","seq":1,"body":{{"t":"update-session","id":"S","metadata":{{{told}}}}}}}]"#
        );
        assert_eq!(driven.receive(&told), None);
    }
}

#[test]
fn a_value_longer_than_ours_may_be_is_not_written() {
    let mut driven = Driven::open_after(Limits::builder().max_value_bytes(256), 0);
    driven
        .client
        .request_update(Target::State, driven.now)
        .unwrap();
    driven.act();
    let (merge, nonce) = (driven.merges.remove(0), driven.nonce());
    let long = format!("\"{}\"", "x".repeat(256));
    driven.client.merge(merge, nonce, driven.now, |_| {
        let mut document = Document::default();
        document.set("a", raw(&long));
        Change::Write(document)
    });
    assert_eq!(driven.frames(), [""; 0]);
    let events = driven.events();
    assert!(
        matches!(
            events[..],
            [Event::Updated {
                outcome: Outcome::Rejected(Rejection::Other),
                ..
            }]
        ),
        "{events:?}"
    );
    driven.client.close(driven.now);
    let now = driven.now;
    assert_eq!(
        driven.client.request_update(Target::State, now),
        Err(UpdateError::Ended)
    );
}

/// The time of an update is over before its acknowledgement: what comes then is nobody's.
#[test]
fn an_acknowledgement_after_the_update_has_ended_is_nobodys() {
    let limits = Limits::builder().update_timeout(4 * SECOND);
    let mut driven = Driven::open_after(limits, 0);
    let request = |driven: &mut Driven| {
        driven
            .client
            .request_update(Target::State, driven.now)
            .unwrap();
        driven.act();
        driven.merge("a");
        let frames = driven.frames();
        emitted(frames.last().unwrap()).2.unwrap()
    };
    let late = request(&mut driven);
    driven.later(4 * SECOND);
    driven.client.handle_timeout(driven.now);
    assert_eq!(driven.events().len(), 1);
    let asked = request(&mut driven);
    let error = r#"[{"result":"error"}]"#;
    assert_eq!(driven.receive(&format!("43{late}{error}")), None);
    assert_eq!(driven.events(), []);
    assert_eq!(driven.receive(&format!("43{asked}{error}")), None);
    assert!(matches!(
        driven.events()[..],
        [Event::Updated {
            outcome: Outcome::Rejected(Rejection::Other),
            ..
        }]
    ));
    // So it is with one that is lost.
    let asked = request(&mut driven);
    driven.drop_link();
    assert_eq!(driven.events(), [], "it is tried again");
    driven.reconnect();
    assert_eq!(driven.merges.len(), 1, "update {asked}");
}

#[test]
fn a_session_read_anew_has_its_values() {
    let mut driven = Driven::open();
    let row = |driven: &mut Driven, id: &str, metadata: &str, version: u64| {
        let nonce = driven.nonce();
        let sealed = cipher().seal_text(nonce, metadata).expect("short");
        let row = format!(
            r#"{{"id":"{id}","metadata":"{sealed}","metadataVersion":{version},"agentState":"{sealed}","agentStateVersion":{version}}}"#
        );
        driven
            .client
            .handle_row(&SessionRow::parse(raw(&row)).expect("a row"));
    };
    let before = Value::Document(Document::parse(raw(r#"{"path":"/w"}"#)).unwrap());
    row(&mut driven, "T", "{}", 8);
    row(&mut driven, "S", "{}", 2);
    assert_eq!(driven.client.value(Target::Metadata), (&before, 3));
    let empty = Value::Document(Document::default());
    assert_eq!(driven.client.value(Target::State), (&empty, 2));
    row(&mut driven, "S", "{}", 3);
    assert_eq!(driven.client.value(Target::Metadata), (&empty, 3));
    let long = format!(
        r#"{{"a":"{}"}}"#,
        "x".repeat(Limits::DEFAULT.max_value_bytes())
    );
    row(&mut driven, "S", &long, 5);
    assert_eq!(
        driven.client.value(Target::Metadata),
        (&Value::Unreadable, 5)
    );
    assert_eq!(driven.client.value(Target::State), (&Value::Unreadable, 5));
}

#[test]
fn an_end_counts_once_and_waits_for_a_connection() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.client.end(wall(), driven.now);
    let usage = Usage::parse(raw(r#"{"input_tokens":3,"output_tokens":4}"#)).expect("a usage");
    assert_eq!(driven.client.send_usage(&usage), Err(SendError::Ended));
    let began = driven.now;
    driven.reconnect();
    driven
        .client
        .end(UnixTime::from_millis(99).unwrap(), driven.now);
    let frames = driven.frames();
    assert_eq!(frames, [r#"42["session-end",{"sid":"S","time":77}]"#]);
    let events = driven.events();
    assert!(matches!(events[..], [Event::Closed { .. }]), "{events:?}");
    assert!(driven.now.since(began) < Limits::DEFAULT.end_timeout());
    driven.client.end(wall(), driven.now);
    assert_eq!(driven.client.poll_timeout(), None);
    let mut driven = Driven::open();
    driven.client.close(driven.now);
    driven.client.end(wall(), driven.now);
    assert_eq!(driven.client.send_usage(&usage), Err(SendError::Ended));
    assert_eq!(driven.client.poll_timeout(), None);
    driven.later(Limits::DEFAULT.end_timeout());
    assert_eq!(driven.client.handle_timeout(driven.now), None);
    // Without a connection it has an end all the same.
    let mut driven = Driven::new();
    driven.client.end(wall(), driven.now);
    driven.later(Limits::DEFAULT.end_timeout());
    assert!(matches!(
        driven.client.handle_timeout(driven.now),
        Some(Event::Closed { .. })
    ));
}

/// A newer title comes while an older one is being written: it is written next, and last.
#[test]
fn a_title_that_is_outdated_is_written_again() {
    let mut driven = Driven::open();
    let title = |driven: &mut Driven, text: &str, id: &str| {
        let line = format!(r#"{{"type":"summary","summary":"{text}"}}"#);
        let nonce = driven.nonce();
        driven
            .client
            .send_claude(raw(&line), id, nonce, wall())
            .expect("room");
        driven.act();
    };
    // Merges for the title, and the server consents; what was written.
    let write = |driven: &mut Driven, version: u64, newer: Option<&str>| {
        let (merge, nonce) = (driven.merges.remove(0), driven.nonce());
        let client = &mut driven.client;
        client.merge(merge, nonce, driven.now, |_| panic!("it is the client's"));
        let frames = driven.frames();
        let (_, written, id) = emitted(&frames[0]);
        let sealed = written["metadata"].as_str().unwrap();
        if let Some(text) = newer {
            title(driven, text, text);
        }
        let id = id.unwrap();
        let answer =
            format!(r#"43{id}[{{"result":"success","version":{version},"metadata":"{sealed}"}}]"#);
        assert_eq!(driven.receive(&answer), None);
        opened(sealed)
    };
    title(&mut driven, "old", "a");
    assert!(write(&mut driven, 4, Some("new")).contains("old"));
    assert_eq!(
        driven.events(),
        [],
        "it is not told before the newer one is written"
    );
    assert_eq!(driven.merges.len(), 1);
    assert!(write(&mut driven, 5, None).contains("new"));
    assert_eq!(driven.events().len(), 1);
    assert_eq!(driven.merges, []);
}

/// 9.4: an update waits for room among what waits for an acknowledgement.
#[test]
fn an_update_waits_for_room_for_its_acknowledgement() {
    let mut driven = Driven::open_after(Limits::builder().max_pending_acks(1), 0);
    let usage = r#"{"type":"assistant","uuid":"u","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
    let nonce = driven.nonce();
    driven
        .client
        .send_claude(raw(usage), "a", nonce, wall())
        .expect("room");
    driven
        .client
        .request_update(Target::Metadata, driven.now)
        .unwrap();
    driven.act();
    let frames = driven.frames();
    let (_, _, id) = emitted(&frames[0]);
    assert_eq!(driven.merges, []);
    driven.receive(&format!(r#"43{}[{{"success":true}}]"#, id.unwrap()));
    assert_eq!(driven.merges.len(), 1);
}

/// A message that only sealing makes too long, and a history that only the limits do.
#[test]
fn what_is_just_too_long_is_said() {
    let limits = Limits::builder().max_batch_bytes(300).max_page_bytes(600);
    let mut driven = Driven::open_after(limits, 0);
    let text = format!("\"{}\"", "x".repeat(280));
    let nonce = driven.nonce();
    assert_eq!(
        driven.client.send(&text, "a", nonce),
        Err(SendError::TooLong)
    );
    // As long as it may be, and one longer.
    let body = |length: usize| {
        let empty = r#"{"messages":[],"hasMore":false,"":""}"#;
        empty.replace(
            r#":"""#,
            &format!(r#":"{}""#, "x".repeat(length - empty.len())),
        )
    };
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().expect("a fetch");
    driven.client.handle_page(fetch.id, &body(600), driven.now);
    assert_eq!(driven.events(), []);
    driven.drop_link();
    driven.reconnect();
    let fetch = driven.fetches.pop().expect("settled, and fetched anew");
    let event = driven
        .client
        .handle_fetch_failed(fetch.id, HttpFailure::NoRoute, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    while driven.fetches.is_empty() {
        driven.tick();
    }
    let fetch = driven.fetches.pop().expect("a fetch");
    assert_eq!(fetch.route, Route::Socket);
    // The old route has no smaller pages.
    let event = driven.client.handle_page(fetch.id, &body(601), driven.now);
    assert_eq!(event, Some(Event::FetchingStopped(HttpFailure::TooLarge)));
}

/// Without a listener nothing is fetched, whatever is known and whatever is being posted.
#[test]
fn s9_nobody_listens_and_nothing_is_fetched() {
    let mut driven = Driven::new();
    driven.join();
    let frame = driven.live(1, "one");
    assert_eq!(driven.receive(&frame), None);
    driven.send("a");
    assert_eq!((driven.posts.len(), driven.fetches.len()), (1, 0));
    driven.client.listen();
    driven.act();
    assert_eq!(driven.fetches.len(), 1);
}

/// As many ciphertexts are remembered as the limits say, the newest.
#[test]
fn a_replay_is_known_as_long_as_it_is_remembered() {
    let mut driven = Driven::open_after(Limits::builder().max_seen_nonces(2), 0);
    let plaintexts = ["a", "b", "c"].map(|text| {
        let nonce = driven.nonce();
        cipher().seal_text(nonce, &user(text)).expect("short")
    });
    let [a, b, c] = &plaintexts;
    let mut replayed = Vec::new();
    for (sealed, seq) in [a, b, a, b, c, b, c, a].into_iter().zip(1..) {
        let frame = update(&row(seq, sealed, None));
        match driven.receive(&frame) {
            Some(Event::UserMessage(message)) => assert_eq!(message.seq, seq),
            Some(Event::MessageUnreadable { seq, why }) => {
                assert_eq!(why, Unreadable::Replayed);
                replayed.push(seq);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(replayed, [3, 4, 6, 7]);
}

/// 9.11: what was fetched and not taken is not given any more.
#[test]
fn a_page_ends_with_its_client() {
    let mut driven = Driven::open();
    driven.drop_link();
    driven.reconnect();
    let rows = [driven.row(1, "one"), driven.row(2, "two")];
    let fetch = driven.fetches.pop().expect("a fetch");
    let body = format!(r#"{{"messages":[{}],"hasMore":false}}"#, rows.join(","));
    assert_eq!(driven.client.handle_page(fetch.id, &body, driven.now), None);
    let first = driven.client.poll_event(driven.now).expect("a message");
    assert_eq!(said(&[first]), [(1, "one".into())]);
    driven.client.close(driven.now);
    assert_eq!(driven.events(), []);
    assert_eq!(driven.client.cursor(), 1);
}

/// A connection that is lost says nothing about the server's will to take a report.
#[test]
fn reports_that_are_lost_with_connections_are_sent_for_ever() {
    let mut driven = Driven::open_after(Limits::builder().ack_timeout(SECOND), 0);
    let usage = r#"{"type":"assistant","uuid":"u","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
    let nonce = driven.nonce();
    driven
        .client
        .send_claude(raw(usage), "a", nonce, wall())
        .expect("room");
    for _ in 0..3 {
        for _ in 1..Limits::DEFAULT.max_registrations() {
            driven.act();
            assert!(driven.frames()[0].contains("usage-report"));
            driven.tick();
            assert_eq!(driven.events(), []);
        }
        driven.drop_link();
        assert_eq!(driven.events(), []);
        driven.reconnect();
    }
}

/// Over the socket a batch begins when everything before it has left.
#[test]
fn over_the_socket_a_batch_waits_for_an_empty_queue() {
    let mut driven = Driven::open();
    driven.send("a");
    let (id, _) = driven.posts.pop().expect("a post");
    driven.client.register("m").expect("room");
    driven.act();
    let failure = HttpFailure::NoRoute;
    driven.client.handle_post_failed(id, failure, driven.now);
    driven.later(2 * SECOND);
    driven.client.handle_timeout(driven.now);
    driven.act();
    let epoch = driven.live.unwrap();
    let first = driven.client.poll_transmit(epoch).expect("a frame");
    assert!(first.contains("rpc-register"));
    driven.client.handle_transmitted(epoch, driven.now);
    assert_eq!(driven.client.poll_transmit(epoch), None);
    driven.act();
    let second = driven.client.poll_transmit(epoch).expect("a frame");
    assert!(second.contains(r#"42["message""#));
}

/// The bound of a value, both ways: as long as it may be, and one longer.
#[test]
fn values_are_taken_and_written_up_to_their_bound() {
    let mut driven = Driven::open_after(Limits::builder().max_value_bytes(256), 0);
    let value = |length: usize| {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
        Document::parse(raw(&text)).expect("an object")
    };
    for (length, version) in [(256, 7), (257, 8)] {
        let nonce = driven.nonce();
        let text = value(length);
        let sealed = cipher()
            .seal_text(nonce, text.raw().as_str())
            .expect("short");
        let told = format!(
            r#"42["update",{{"id":"u","seq":1,"body":{{"t":"update-session","id":"S","agentState":{{"value":"{sealed}","version":{version}}}}}}}]"#
        );
        driven.receive(&told);
        let expected = match length {
            256 => Value::Document(text),
            _ => Value::Unreadable,
        };
        assert_eq!(driven.client.value(Target::State), (&expected, version));
    }
    for (length, frames) in [(256, 1), (257, 0)] {
        driven
            .client
            .request_update(Target::Metadata, driven.now)
            .unwrap();
        driven.act();
        let (merge, nonce) = (driven.merges.remove(0), driven.nonce());
        driven
            .client
            .merge(merge, nonce, driven.now, |_| Change::Write(value(length)));
        let written = driven.frames();
        assert_eq!(written.len(), frames);
        for frame in written {
            let (_, _, id) = emitted(&frame);
            driven.receive(&format!(r#"43{}[{{"result":"error"}}]"#, id.unwrap()));
        }
    }
}

/// The end waits for what was asked for before it: an update of either value.
#[test]
fn an_end_waits_for_updates() {
    for target in [Target::Metadata, Target::State] {
        let mut driven = Driven::open();
        driven.client.request_update(target, driven.now).unwrap();
        driven.act();
        driven.merge("a");
        driven.client.end(wall(), driven.now);
        let frames = driven.frames();
        let (name, _, id) = emitted(&frames[0]);
        assert!(
            name.starts_with("update-") && frames.len() == 1,
            "{frames:?}"
        );
        driven.receive(&format!(r#"43{}[{{"result":"error"}}]"#, id.unwrap()));
        driven.client.poll_event(driven.now).expect("an outcome");
        let frames = driven.frames();
        assert_eq!(frames, [r#"42["session-end",{"sid":"S","time":77}]"#]);
    }
}

/// Before the connection is asked for and after its end nothing is posted or fetched.
#[test]
fn nothing_leaves_a_client_that_is_idle_or_closed() {
    let mut driven = Driven::with(Limits::builder(), 0);
    driven.client.listen();
    driven.send("a");
    assert_eq!((driven.posts.len(), driven.fetches.len()), (0, 0));
    driven.client.connect(driven.now);
    driven.client.close(driven.now);
    driven.act();
    assert_eq!((driven.posts.len(), driven.fetches.len()), (0, 0));
    assert_eq!((driven.dials, driven.client.unsent()), (0, 1));
}

/// Over the socket a batch that does not fit into the queue is sent in parts, in order.
#[test]
fn over_the_socket_what_does_not_fit_goes_with_the_next_batch() {
    let mut driven = Driven::open_after(Limits::builder().max_queued_frames(2), 0);
    for id in ["a", "b", "c"] {
        driven.send(id);
    }
    let (id, _) = driven.posts.pop().expect("a post");
    let event = driven
        .client
        .handle_post_failed(id, HttpFailure::NoRoute, driven.now);
    assert_eq!(event, Some(Event::FellBack));
    // What is said of the durable post is of no use any more.
    assert_eq!(
        driven
            .client
            .handle_post_failed(id, HttpFailure::Unauthorized, driven.now),
        None
    );
    let answer = r#"{"messages":[{"localId":"a","seq":1}]}"#;
    driven.client.handle_posted(id, raw(answer), driven.now);
    assert_eq!(driven.events(), []);
    assert_eq!(
        (driven.client.unsent(), driven.client.route()),
        (3, Route::Socket)
    );
    let sent = |driven: &mut Driven| {
        let mut sent = Vec::new();
        for frame in driven.frames() {
            let (name, value, _) = emitted(&frame);
            if name == "message" {
                sent.push(value["localId"].as_str().unwrap().to_owned());
            }
        }
        sent
    };
    driven.act();
    while driven.client.poll_transmit(driven.live.unwrap()).is_none() {
        driven.tick();
    }
    // What is to be confirmed leaves first.
    assert_eq!(driven.fetches, []);
    assert_eq!(sent(&mut driven), ["a", "b"]);
    assert_eq!(driven.fetches.len(), 1);
}

#[test]
fn every_failure_has_its_words() {
    let mut words = BTreeSet::new();
    let sends = [
        SendError::Full,
        SendError::TooLong,
        SendError::DuplicateId,
        SendError::from(SealError::TooLong),
        SendError::from(EmitError::NotConnected),
        SendError::Ended,
    ];
    for error in sends {
        words.insert(error.to_string());
    }
    let messages = [
        Unreadable::Unopened(OpenError::Forged),
        Unreadable::NotSealed,
        Unreadable::Replayed,
    ];
    for error in messages {
        words.insert(error.to_string());
    }
    assert_eq!(words.len(), sends.len() + messages.len(), "{words:?}");
    assert!(!words.contains(""));
}
