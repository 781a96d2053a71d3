//! The client of a machine: its values, its methods and its sign of life.

use hallway_core::relay::client::{Kind, SendError, Target};
use hallway_core::relay::link::{AckFailure, CloseReason, Refusal};
use hallway_core::relay::plaintext::Usage;
use hallway_core::relay::rpc;
use hallway_core::relay::update::MachineRow;
use hallway_core::relay::versioned::{Outcome, Rejection, UpdateError, Value};

use super::*;

/// The machine M, whose daemon never said anything.
fn machine(limits: LimitsBuilder) -> Driven {
    let metadata = seal(250, r#"{"host":"h"}"#);
    let row = format!(
        r#"{{"id":"M","metadata":"{metadata}","metadataVersion":1,"daemonState":null,"daemonStateVersion":0}}"#
    );
    let row = MachineRow::parse(raw(&row)).expect("a row");
    let scope = Scope::machine(&row, cipher());
    assert_eq!(scope.kind(), Kind::Machine);
    let mut driven = Driven::of(scope, limits, 0);
    driven.client.connect(driven.now);
    driven.act();
    driven
}

fn open() -> Driven {
    let mut driven = machine(Limits::builder());
    driven.join();
    assert_eq!(
        driven.frames(),
        [r#"42["machine-alive",{"machineId":"M","time":77}]"#]
    );
    driven
}

fn seal(nonce: u8, plaintext: &str) -> String {
    let nonce = Nonce::from_entropy([nonce; 24]);
    cipher().seal_text(nonce, plaintext).expect("short")
}

fn request(driven: &mut Driven, target: Target) {
    let asked = driven.client.request_update(target, driven.now);
    asked.expect("room");
    driven.act();
}

/// One update was merged and sent: its payload and its id.
fn asked(driven: &mut Driven, event: &str) -> (serde_json::Value, u64) {
    driven.merge("a");
    let frames = driven.frames();
    let (name, payload, id) = emitted(frames.last().expect("a frame"));
    assert_eq!((name.as_str(), &payload["machineId"]), (event, &"M".into()));
    (payload, id.expect("an id"))
}

fn outcomes(driven: &mut Driven) -> Vec<(Target, Outcome)> {
    let outcome = |event: Event<'_>| match event {
        Event::Updated {
            target, outcome, ..
        } => (target, outcome),
        other => panic!("{other:?}"),
    };
    driven.events().into_iter().map(outcome).collect()
}

/// Whatever waits for an answer to a `ping` has it.
fn answer_pings(driven: &mut Driven) {
    for frame in driven.frames() {
        if frame.contains(r#"["ping"]"#) {
            let (_, _, id) = emitted(&frame.replace("[\"ping\"]", "[\"ping\",0]"));
            driven.receive(&format!("43{}[{{}}]", id.expect("an id")));
        }
    }
}

/// Covers: R1.28, R2.26
#[test]
fn it_joins_as_a_machine_and_fetches_nothing() {
    let mut driven = machine(Limits::builder());
    assert_eq!(
        (driven.client.kind(), driven.client.id()),
        (Kind::Machine, "M")
    );
    let epoch = driven.live.expect("a dial");
    driven.client.handle_opened(epoch);
    driven.receive(HELLO);
    assert_eq!(
        driven.frames(),
        [r#"40{"token":"secret-token","clientType":"machine-scoped","machineId":"M"}"#]
    );
    driven.client.listen();
    driven.receive(JOINED);
    assert_eq!(driven.fetches, []);
    let nonce = driven.nonce();
    let sent = driven.client.send("{}", "id", nonce);
    assert_eq!(sent, Err(SendError::OutOfScope));
    let usage = Usage::parse(raw(r#"{"input_tokens":1,"output_tokens":1}"#)).expect("usage");
    let sent = driven.client.send_usage(&usage);
    assert_eq!(sent, Err(SendError::OutOfScope));
    let sent = driven.client.keep_alive(true, "local", wall());
    assert_eq!(sent, Err(SendError::OutOfScope));
    assert!(!SendError::OutOfScope.to_string().is_empty());
    driven.frames();
    let message = driven.live(1, "hello").replace("\"S\"", "\"M\"");
    assert!(matches!(
        driven.receive(&message),
        Some(Event::OtherUpdate(_))
    ));
    assert_eq!((driven.events(), driven.client.cursor()), (vec![], 0));
    assert_eq!(driven.frames(), [""; 0]);
    assert_eq!(driven.posts, []);
    assert!(Driven::open().client.machine_alive(wall()).is_err());
}

/// Covers: R1.29, R9.5
#[test]
fn a_refusal_for_want_of_an_id_ends_it() {
    let mut driven = machine(Limits::builder());
    driven.client.handle_opened(driven.live.expect("a dial"));
    driven.receive(HELLO);
    driven.frames();
    let frame = r#"44{"message":"Machine ID required for machine-scoped clients"}"#;
    let Some(Event::Closed { reason, .. }) = driven.receive(frame) else {
        panic!("it ends");
    };
    assert_eq!(reason, CloseReason::Refused(Refusal::MissingMachine));
    assert_eq!(driven.client.poll_timeout(), None);
}

/// Every 20 s while it is connected, and not before or after.
/// Covers: R2.23, R9.6a, R9.11
#[test]
fn a_machine_is_alive_every_so_often_while_it_is_connected() {
    assert_eq!(Limits::DEFAULT.alive_interval(), 20 * SECOND);
    // Not when something else is due, too.
    for span in [20 * SECOND, 7 * SECOND] {
        is_alive_every(span);
    }
}

fn is_alive_every(span: Duration) {
    let mut driven = machine(Limits::builder().alive_interval(span));
    assert!(
        driven.client.machine_alive(wall()).is_err(),
        "no connection"
    );
    driven.join();
    assert_eq!(driven.alive, 1);
    let began = driven.now;
    let alive = |driven: &mut Driven| {
        let before = driven.alive;
        answer_pings(driven);
        while driven.alive == before {
            driven.tick();
            answer_pings(driven);
            if driven.alive > before {
                return driven.now.since(began);
            }
            // The server's heart beats.
            driven.receive("2");
        }
        unreachable!()
    };
    assert_eq!(alive(&mut driven), span);
    assert_eq!(alive(&mut driven), 2 * span);
    driven.drop_link();
    let lost = driven.now;
    while driven.now.since(lost) < 60 * SECOND {
        driven.tick();
        assert_eq!(driven.alive, 3, "not without a connection");
    }
    driven.reconnect();
    assert_eq!(driven.alive, 4, "at once");
    let event = driven.client.close(driven.now);
    assert!(matches!(event, Some(Event::Closed { .. })));
    driven.live = None;
    assert_eq!(driven.client.poll_timeout(), None);
    driven.later(60 * SECOND);
    assert_eq!(driven.client.poll_action(driven.now).map(drop), Some(()));
    assert_eq!(driven.client.poll_action(driven.now), None);
}

/// One that was not written in time is not followed by another.
/// Covers: R9.6a
#[test]
fn signs_of_life_do_not_pile_up() {
    let mut driven = open();
    assert_eq!(driven.client.machine_alive(wall()), Ok(()));
    assert!(driven.client.machine_alive(wall()).is_err());
    assert_eq!(driven.frames().len(), 1);
    assert_eq!(driven.client.machine_alive(wall()), Ok(()));
}

/// Covers: R2.24, R9.3b
#[test]
fn both_values_are_written_with_their_versions() {
    let mut driven = open();
    request(&mut driven, Target::State);
    let (payload, id) = asked(&mut driven, "machine-update-state");
    assert_eq!(payload["expectedVersion"], 0, "it makes the value");
    let sealed = payload["daemonState"].as_str().expect("a string");
    assert_eq!(opened(sealed), r#"{"a":1}"#);
    driven.receive(&format!(
        r#"43{id}[{{"result":"success","version":1,"daemonState":"{sealed}"}}]"#
    ));
    assert_eq!(
        outcomes(&mut driven),
        [(Target::State, Outcome::Applied(1))]
    );
    let (Value::Document(value), 1) = driven.client.value(Target::State) else {
        panic!("it is there");
    };
    assert_eq!(value.raw().as_str(), r#"{"a":1}"#);
    request(&mut driven, Target::Metadata);
    let (payload, id) = asked(&mut driven, "machine-update-metadata");
    assert_eq!(payload["expectedVersion"], 1);
    let theirs = seal(251, r#"{"host":"h","theirs":1}"#);
    driven.receive(&format!(
        r#"43{id}[{{"result":"version-mismatch","version":6,"metadata":"{theirs}"}}]"#
    ));
    let (payload, id) = asked(&mut driven, "machine-update-metadata");
    assert_eq!(payload["expectedVersion"], 6);
    let sealed = payload["metadata"].as_str().expect("a string");
    assert_eq!(opened(sealed), r#"{"host":"h","theirs":1,"a":1}"#);
    driven.receive(&format!(
        r#"43{id}[{{"result":"success","version":7,"metadata":"{sealed}"}}]"#
    ));
    assert_eq!(
        outcomes(&mut driven),
        [(Target::Metadata, Outcome::Applied(7))]
    );
    // Both are texts, and never null.
    for target in [Target::State, Target::Metadata] {
        request(&mut driven, target);
        let (merge, nonce) = (driven.merges.remove(0), driven.nonce());
        driven
            .client
            .merge(merge, nonce, driven.now, |_| Change::Clear);
        assert_eq!(driven.frames(), [""; 0]);
        let rejected = Outcome::Rejected(Rejection::Other);
        assert_eq!(outcomes(&mut driven), [(target, rejected)]);
    }
}

/// Covers: R2.25, R9.3b, R9.3c
#[test]
fn a_refusal_says_why_and_no_machine_means_the_end_of_all_updates() {
    let mut driven = open();
    request(&mut driven, Target::State);
    request(&mut driven, Target::State);
    let (_, id) = asked(&mut driven, "machine-update-state");
    let refused = r#"{"result":"error","message":"Invalid parameters"}"#;
    assert_eq!(driven.receive(&format!("43{id}[{refused}]")), None);
    let outcome = Outcome::Rejected(Rejection::InvalidParameters);
    assert_eq!(outcomes(&mut driven), [(Target::State, outcome)]);
    let (_, id) = asked(&mut driven, "machine-update-state");
    request(&mut driven, Target::Metadata);
    let (_, other) = asked(&mut driven, "machine-update-metadata");
    request(&mut driven, Target::Metadata);
    let gone = r#"{"result":"error","message":"Machine not found"}"#;
    let frame = format!("43{id}[{gone}]");
    assert_eq!(driven.receive(&frame), Some(Event::SessionGone));
    let not_found = Outcome::Rejected(Rejection::MachineNotFound);
    assert_eq!(
        outcomes(&mut driven),
        [
            (Target::Metadata, Outcome::SessionGone),
            (Target::Metadata, Outcome::SessionGone),
            (Target::State, not_found),
        ]
    );
    assert_eq!(driven.receive(&format!("43{other}[{gone}]")), None, "once");
    let asked = driven.client.request_update(Target::State, driven.now);
    assert_eq!(asked, Err(UpdateError::Ended));
    // It is not alive any more, over a reconnect either.
    let before = driven.alive;
    driven.drop_link();
    driven.reconnect();
    assert_eq!(driven.alive, before);
    // A session is not lost by the words about a machine.
    let mut session = Driven::open();
    request(&mut session, Target::Metadata);
    session.merge("a");
    session.frames();
    assert_eq!(session.receive(&format!("430[{gone}]")), None);
    request(&mut session, Target::Metadata);
}

/// Covers: R2.27
#[test]
fn a_machine_that_is_deleted_is_gone() {
    let mut driven = open();
    request(&mut driven, Target::State);
    let other = r#"42["update",{"body":{"t":"delete-machine","machineId":"N"}}]"#;
    assert!(matches!(driven.receive(other), Some(Event::OtherUpdate(_))));
    let session = r#"42["update",{"body":{"t":"delete-session","sid":"M"}}]"#;
    assert!(matches!(
        driven.receive(session),
        Some(Event::OtherUpdate(_))
    ));
    let due = driven.client.poll_timeout();
    let frame = other.replace("\"N\"", "\"M\"");
    assert_eq!(driven.receive(&frame), Some(Event::SessionGone));
    assert_eq!(
        outcomes(&mut driven),
        [(Target::State, Outcome::SessionGone)]
    );
    assert!(due.is_some() && driven.client.poll_timeout().is_some());
    let before = driven.alive;
    for _ in 0..6 {
        driven.tick();
        answer_pings(&mut driven);
        driven.receive("2");
    }
    assert_eq!(driven.alive, before);
}

/// Covers: R2.26, R6.3, R9.7b
#[test]
fn newer_values_are_taken_and_older_ones_not() {
    let mut driven = open();
    let newer = seal(251, r#"{"n":5}"#);
    let frame = |id: &str, version: u64, member: &str, value: &str| {
        format!(
            r#"42["update",{{"body":{{"t":"update-machine","machineId":"{id}","{member}":{{"value":"{value}","version":{version}}}}}}}]"#
        )
    };
    let taken = driven.receive(&frame("M", 5, "metadata", &newer)).is_some();
    assert!(taken && driven.client.value(Target::Metadata).1 == 5);
    for stale in [0, 4, 5] {
        let frame = frame("M", stale, "metadata", "AAAA");
        assert_eq!(driven.receive(&frame), None);
    }
    let frame_of_another = frame("N", 9, "metadata", &newer);
    assert!(matches!(
        driven.receive(&frame_of_another),
        Some(Event::OtherUpdate(_))
    ));
    let of_a_session =
        frame("M", 9, "metadata", &newer).replace("update-machine", "update-session");
    let of_a_session = of_a_session.replace("machineId", "id");
    assert!(matches!(
        driven.receive(&of_a_session),
        Some(Event::OtherUpdate(_))
    ));
    let unreadable = frame("M", 1, "daemonState", "AAAA");
    assert_eq!(
        driven.receive(&unreadable),
        Some(Event::ValuesChanged {
            metadata: false,
            state: true,
            unreadable: true
        })
    );
    request(&mut driven, Target::State);
    assert_eq!(
        outcomes(&mut driven),
        [(Target::State, Outcome::Unreadable)]
    );
    assert_eq!(driven.frames(), [""; 0], "it is not written over");
    // And a session is not about a machine.
    let mut session = Driven::open();
    let frame = frame("S", 9, "metadata", &newer);
    assert!(matches!(
        session.receive(&frame),
        Some(Event::OtherUpdate(_))
    ));
}

/// Covers: R9.3a, R9.3b
#[test]
fn an_update_without_an_answer_times_out_and_one_that_was_cut_off_is_made_again() {
    let mut driven = open();
    request(&mut driven, Target::State);
    asked(&mut driven, "machine-update-state");
    driven.drop_link();
    driven.reconnect();
    assert_eq!(driven.frames().len(), 1, "it is alive");
    let (payload, _) = asked(&mut driven, "machine-update-state");
    assert_eq!(payload["expectedVersion"], 0);
    let began = driven.now;
    let mut done = Vec::new();
    while done.is_empty() {
        answer_pings(&mut driven);
        driven.tick();
        done = outcomes(&mut driven);
    }
    assert_eq!(done, [(Target::State, Outcome::TimedOut)]);
    assert_eq!(driven.now.since(began), 10 * SECOND);
}

/// Covers: R2.16, R2.17, R2.18, R9.12b
#[test]
fn its_methods_are_below_its_id() {
    let mut driven = open();
    driven.client.register("echo").expect("room");
    driven.act();
    assert_eq!(
        driven.frames(),
        [r#"42["rpc-register",{"method":"M:echo"}]"#]
    );
    let registered = r#"42["rpc-registered",{"method":"M:echo"}]"#;
    let method = "echo".to_owned();
    assert_eq!(
        driven.receive(registered),
        Some(Event::RpcRegistered { method })
    );
    let params = seal(251, "[1]");
    let call = format!(r#"420["rpc-request",{{"method":"M:echo","params":"{params}"}}]"#);
    let Some(Event::RpcRequested { owed, method, .. }) = driven.receive(&call) else {
        panic!("it is called");
    };
    assert_eq!(method, "echo");
    let nonce = driven.nonce();
    assert_eq!(driven.client.answer_rpc(owed, "2", nonce), Ok(true));
    let frames = driven.frames();
    let (_, sealed) = frames[0].split_once('"').expect("a string");
    assert_eq!(opened(sealed.trim_end_matches("\"]")), "2");
    let call = call.replace("M:echo", "S:echo").replace("420", "421");
    let Some(Event::RpcRefused { owed, refusal }) = driven.receive(&call) else {
        panic!("it is not ours");
    };
    assert_eq!(refusal, rpc::Refusal::UnknownMethod);
    driven.drop_link();
    let why = AckFailure::Disconnected;
    assert_eq!(driven.events(), [Event::RpcLost { owed, why }]);
    driven.reconnect();
    let frames = driven.frames();
    assert!(frames[0].contains("M:echo"), "{frames:?}");
    driven.client.unregister("echo");
    assert_eq!(
        driven.frames(),
        [r#"42["rpc-unregister",{"method":"M:echo"}]"#]
    );
}

/// What waits is written; there is no `session-end`.
/// Covers: R2.28, R9.11
#[test]
fn its_end_waits_for_its_values_and_is_bounded() {
    let mut driven = open();
    request(&mut driven, Target::State);
    driven.client.end(wall(), driven.now);
    let (_, id) = asked(&mut driven, "machine-update-state");
    assert_eq!(driven.events(), []);
    driven.receive(&format!(
        r#"43{id}[{{"result":"success","version":1,"daemonState":null}}]"#
    ));
    let events = driven.events();
    assert!(
        matches!(
            events[..],
            [
                Event::Updated { .. },
                Event::Closed {
                    reason: CloseReason::User,
                    ..
                }
            ]
        ),
        "{events:?}"
    );
    assert_eq!(driven.client.poll_timeout(), None);
    // Without a connection it waits as long as the limits say.
    let mut driven = machine(Limits::builder().end_timeout(5 * SECOND));
    request(&mut driven, Target::State);
    driven.client.end(wall(), driven.now);
    assert_eq!(driven.events(), []);
    assert!(matches!(driven.tick(), Some(Event::Closed { .. })));
    assert_eq!(outcomes(&mut driven), [(Target::State, Outcome::Closed)]);
    // With nothing to say it does not wait at all.
    let mut driven = machine(Limits::builder());
    driven.client.end(wall(), driven.now);
    assert!(matches!(driven.events()[..], [Event::Closed { .. }]));
}
