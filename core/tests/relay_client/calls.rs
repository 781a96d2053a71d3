//! Calls of our methods.

use hallway_core::relay::client::SendError;
use hallway_core::relay::link::{AckFailure, Ignored};
use hallway_core::relay::rpc::Refusal;

use super::*;

fn serving() -> Driven {
    let mut driven = Driven::open();
    driven.client.register("bash").expect("room");
    driven.act();
    assert_eq!(
        driven.frames(),
        [r#"42["rpc-register",{"method":"S:bash"}]"#]
    );
    driven
}

fn call(driven: &mut Driven, id: u32, method: &str) -> String {
    let nonce = driven.nonce();
    let params = cipher().seal_text(nonce, "[1]").expect("short");
    format!(r#"42{id}["rpc-request",{{"method":"{method}","params":"{params}"}}]"#)
}

/// The plaintext of the acknowledgement.
fn answered(frame: &str) -> String {
    let (_, sealed) = frame.split_once('"').expect("a string");
    opened(sealed.trim_end_matches("\"]"))
}

/// Covers: R2.9, R2.17, R9.12b, R9.12c
#[test]
fn point_12_registrations_are_confirmed_on_every_connection() {
    let mut driven = serving();
    assert!(!driven.client.is_registered("bash"));
    let registered = r#"42["rpc-registered",{"method":"S:bash"}]"#;
    let method = String::from("bash");
    assert_eq!(
        driven.receive(registered),
        Some(Event::RpcRegistered { method })
    );
    assert!(driven.client.is_registered("bash"));
    assert_eq!(driven.receive(registered), None, "once");
    for other in ["S:other", "T:bash", "bash"] {
        let frame = format!(r#"42["rpc-registered",{{"method":"{other}"}}]"#);
        assert_eq!(driven.receive(&frame), None);
    }
    driven.drop_link();
    assert!(!driven.client.is_registered("bash"));
    while driven.live.is_none() {
        driven.tick();
    }
    let epoch = driven.live.unwrap();
    driven.client.handle_opened(epoch);
    driven.receive(HELLO);
    driven.frames();
    // The server was not told of the end of the one before: it may be the owner still.
    let Some(Event::Connected {
        stale_until: Some(until),
    }) = driven.receive(JOINED)
    else {
        panic!()
    };
    assert!(until.since(driven.now) > 50 * SECOND);
    assert_eq!(
        driven.frames(),
        [r#"42["rpc-register",{"method":"S:bash"}]"#]
    );
}

/// Covers: R2.9, R9.12b
#[test]
fn point_12_a_registration_without_an_answer_is_repeated_and_reported() {
    let mut driven = serving();
    let mut asked = 1;
    let event = loop {
        driven.tick();
        for frame in driven.frames() {
            let (name, _, id) = emitted(&frame);
            match name.as_str() {
                "rpc-register" => asked += 1,
                "ping" => {
                    let answer = format!("43{}[{{}}]", id.unwrap());
                    assert_eq!(driven.receive(&answer), None);
                }
                other => panic!("{other}"),
            }
        }
        if let Some(event) = driven.events().pop() {
            break event;
        }
    };
    let method = String::from("bash");
    assert_eq!(event, Event::RpcUnconfirmed { method });
    assert_eq!(asked, 3);
    let frame = r#"42["rpc-error",{"type":"register","error":"no"}]"#;
    let Some(Event::RpcError { said: Some(said) }) = driven.receive(frame) else {
        panic!()
    };
    assert!(said.is("no"));
    // Late, but true.
    let registered = r#"42["rpc-registered",{"method":"S:bash"}]"#;
    assert!(driven.receive(registered).is_some());
}

/// Covers: R2.18
#[test]
fn calls_are_opened_and_answered_once() {
    let mut driven = serving();
    let frame = call(&mut driven, 0, "S:bash");
    let Some(Event::RpcRequested {
        owed,
        method,
        params,
    }) = driven.receive(&frame)
    else {
        panic!()
    };
    assert_eq!((method.as_str(), params.raw().as_str()), ("bash", "[1]"));
    let nonce = driven.nonce();
    assert_eq!(
        driven.client.answer_rpc(owed, "{\"ok\":1}", nonce),
        Ok(true)
    );
    let frames = driven.frames();
    assert!(frames[0].starts_with("430[\""));
    assert_eq!(answered(&frames[0]), "{\"ok\":1}");
    let nonce = driven.nonce();
    assert!(matches!(
        driven.client.answer_rpc(owed, "1", nonce),
        Err(SendError::Emit(_))
    ));
    assert_eq!(driven.frames(), [""; 0]);
}

/// Covers: R9.4c
#[test]
fn s7_a_result_that_is_too_long_is_answered_by_an_error() {
    let mut driven = serving();
    let frame = call(&mut driven, 0, "S:bash");
    let Some(Event::RpcRequested { owed, .. }) = driven.receive(&frame) else {
        panic!()
    };
    let nonce = driven.nonce();
    let long = format!("\"{}\"", "x".repeat(80_000));
    assert_eq!(driven.client.answer_rpc(owed, &long, nonce), Ok(false));
    let frames = driven.frames();
    assert_eq!(
        answered(&frames[0]),
        r#"{"error":"The result is too long to be sent"}"#
    );
    // The longest that fits, fits.
    let frame = call(&mut driven, 1, "S:bash");
    let Some(Event::RpcRequested { owed, .. }) = driven.receive(&frame) else {
        panic!()
    };
    let nonce = driven.nonce();
    let most = format!("\"{}\"", "x".repeat(74_940));
    assert_eq!(driven.client.answer_rpc(owed, &most, nonce), Ok(true));
    let length = driven.frames()[0].len();
    assert!(length > 99_900 && length <= 100_000, "{length}");
}

/// Covers: R2.9, R2.16, R2.19, R2.21
#[test]
fn what_is_not_served_is_refused_before_it_is_opened() {
    let mut driven = serving();
    for (id, method) in [(0, "S:other"), (1, "T:bash"), (2, "bash")] {
        let frame = call(&mut driven, id, method);
        let Some(Event::RpcRefused { owed, refusal }) = driven.receive(&frame) else {
            panic!()
        };
        assert_eq!(refusal, Refusal::UnknownMethod);
        let nonce = driven.nonce();
        assert_eq!(driven.client.refuse_rpc(owed, refusal, nonce), Ok(true));
        let frames = driven.frames();
        assert_eq!(answered(&frames[0]), r#"{"error":"Method not found"}"#);
    }
    for params in ["null", "\"AAAA\"", "{}"] {
        let frame = format!(r#"423["rpc-request",{{"method":"S:bash","params":{params}}}]"#);
        let Some(Event::RpcRefused { owed, .. }) = driven.receive(&frame) else {
            panic!("no method is called with null")
        };
        let nonce = driven.nonce();
        driven
            .client
            .refuse_rpc(owed, Refusal::NoParams, nonce)
            .unwrap();
        driven.frames();
    }
    let frame = call(&mut driven, 4, "S:bash").replace("424[", "42[");
    let why = Ignored::Meaningless;
    assert_eq!(driven.receive(&frame), Some(Event::Ignored(why)));
    driven.client.unregister("bash");
    assert_eq!(
        driven.frames(),
        [r#"42["rpc-unregister",{"method":"S:bash"}]"#]
    );
    let frame = call(&mut driven, 5, "S:bash");
    assert!(matches!(
        driven.receive(&frame),
        Some(Event::RpcRefused { .. })
    ));
}

#[test]
fn a_call_that_is_lost_is_told() {
    let mut driven = serving();
    let frame = call(&mut driven, 0, "S:bash");
    let Some(Event::RpcRequested { owed, .. }) = driven.receive(&frame) else {
        panic!()
    };
    driven.drop_link();
    let why = AckFailure::Disconnected;
    assert_eq!(driven.events(), [Event::RpcLost { owed, why }]);
    let limits = Limits::builder().max_methods(1);
    let mut driven = Driven::open_after(limits, 0);
    driven.client.register("a").unwrap();
    driven.client.register("a").unwrap();
    assert_eq!(driven.client.register("b"), Err(SendError::Full));
}
