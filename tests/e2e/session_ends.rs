//! How connections and dials end, and what becomes of the subscription (sessions.md §3).

use std::time::Duration;

use hallway::session::Update;
use hallway_core::backoff::{GaveUp, Policy, PolicyBuilder, Schedule};
use hallway_core::session::event::{Cause, CloseReason, DialFailure};
use hallway_tests::session::{Request, SessionServer};

use crate::session_support::{Followed, by_the_machine, policy, settings};

/// One message, which is proof of health.
const PROOF: &str = r#"{"type":"keep_alive"}"#;

/// [`policy`] with all the retries of the default profile.
fn patient() -> Policy {
    let millisecond = Duration::from_millis(1);
    let quick = |schedule: Schedule| Schedule {
        first_delay: millisecond,
        max_delay: millisecond,
        ..schedule
    };
    PolicyBuilder::from(policy())
        .transient(quick(Policy::RESILIENT.transient()))
        .not_found(quick(Policy::RESILIENT.not_found()))
        .build()
        .unwrap()
}

const fn status(status: u16) -> DialFailure {
    DialFailure::Status {
        status,
        retry_after: None,
    }
}

/// Covers: S3.10a, S3.11, S3.13, S3.15
#[test]
fn every_close_code_but_4003_is_dialled_again() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4001,
        4002, 4004, 4999,
    ];
    for code in codes {
        let mut connection = server.connection();
        client.connected();
        connection.send(PROOF);
        assert_eq!(client.message(), PROOF);
        assert_eq!(connection.close(code), Some(code), "the answer to a close");
        let cause = Cause::ConnectionClosed(Some(code));
        assert_eq!(client.reconnecting(), (1, cause), "after {code}");
    }
    let connection = server.connection();
    client.connected();
    connection.close(4003);
    assert_eq!(client.closed(), CloseReason::Unauthorized);
    assert_eq!(server.dials(), codes.len() + 1);
}

#[test]
fn an_end_without_a_code_is_dialled_again() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let next = || {
        let mut connection = server.connection();
        client.connected();
        connection.send(PROOF);
        assert_eq!(client.message(), PROOF);
        connection
    };
    let broke = (1, Cause::ConnectionClosed(None));
    next().finish();
    assert_eq!(client.reconnecting(), broke);
    next().reset();
    assert_eq!(client.reconnecting(), broke);
    // A close without a code, which the library has a number for.
    let mut connection = next();
    connection.send_frame(0x88, b"").unwrap();
    let closed = (1, Cause::ConnectionClosed(Some(1005)));
    assert_eq!(client.reconnecting(), closed);
    drop(connection);
    // Codes that must not stand in a frame (RFC 6455 §7.4), one that the library takes for such
    // a one (1014), and a code of one byte.
    for payload in [
        &[0, 0][..],
        &[3, 237],
        &[3, 238],
        &[3, 246],
        &[3, 247],
        &[255, 255],
        &[3],
    ] {
        let mut connection = next();
        connection.send_frame(0x88, payload).unwrap();
        let (attempt, cause) = client.reconnecting();
        assert_eq!(attempt, 1);
        assert!(matches!(cause, Cause::ConnectionClosed(_)), "{cause:?}");
    }
}

/// Has every connection closed with `code` as soon as it is up; gives what became of it.
#[track_caller]
fn closed_for_ever(code: u16, policy: Policy) -> (usize, CloseReason) {
    let mut server = SessionServer::plain();
    server.each(move |_, accepted| {
        accepted.request().unwrap().accept().close(code);
    });
    let settings = hallway::session::Settings {
        policy,
        ..settings()
    };
    let client = Followed::with(&server.base_url(), settings);
    let (expected, reason) = by_the_machine(policy, Some(code), None);
    for attempt in 1..expected {
        client.connected();
        let cause = Cause::ConnectionClosed(Some(code));
        assert_eq!(
            client.reconnecting(),
            (u32::try_from(attempt).unwrap(), cause)
        );
    }
    client.connected();
    assert_eq!(client.closed(), reason);
    (server.dials(), reason)
}

/// Covers: S3.1a, S3.12, S3.15
#[test]
fn accept_then_4001_for_ever_ends() {
    let (dials, reason) = closed_for_ever(4001, patient());
    let cause = Cause::ConnectionClosed(Some(4001));
    let why = GaveUp::Retries;
    assert_eq!(reason, CloseReason::GaveUp { why, cause });
    assert_eq!(
        dials,
        1 + 8,
        "the first dial and the retries of the profile"
    );
}

/// Covers: S3.1a, S3.16
#[test]
fn accept_then_any_other_code_for_ever_ends() {
    assert_eq!(closed_for_ever(1011, patient()).0, 1 + 200);
    assert_eq!(closed_for_ever(1000, policy()).0, 1 + 3);
}

/// Has every dial answered with `status`; gives the dials and the ending.
#[track_caller]
fn refused_for_ever(code: u16) -> (usize, CloseReason) {
    let mut server = SessionServer::plain();
    server.each(move |_, accepted| accepted.request().unwrap().refuse(code, &[], "no"));
    let client = Followed::at(&server.base_url());
    let ending = loop {
        match client.next() {
            Update::Reconnecting { cause, .. } => {
                assert_eq!(cause, Cause::DialFailed(status(code)));
            }
            Update::Closed { reason, .. } => break reason,
            other => panic!("{other:?}"),
        }
    };
    (server.dials(), ending)
}

/// Covers: S3.10b, S3.10c
#[test]
fn every_class_of_status() {
    for code in [408, 425, 429, 500, 501, 502, 503, 504, 520, 599] {
        let expected = by_the_machine(policy(), None, Some(status(code)));
        assert_eq!(expected.0, 1 + 3);
        assert_eq!(refused_for_ever(code), expected, "status {code} passes");
    }
    let expected = by_the_machine(policy(), None, Some(status(404)));
    assert_eq!(expected.0, 1 + 2);
    assert_eq!(refused_for_ever(404), expected, "not found");
    for code in [401, 403] {
        let ending = CloseReason::Unauthorized;
        assert_eq!(
            refused_for_ever(code),
            (1, ending),
            "status {code} needs another token"
        );
    }
    for code in [
        200, 201, 204, 301, 302, 307, 400, 402, 405, 406, 410, 418, 426, 451,
    ] {
        let ending = CloseReason::Refused(status(code));
        assert_eq!(
            refused_for_ever(code),
            (1, ending),
            "status {code} does not pass"
        );
    }
}

#[test]
fn no_redirect_is_followed() {
    let (server, elsewhere) = (SessionServer::plain(), SessionServer::plain());
    let client = Followed::at(&server.base_url());
    let target = format!("{}/v1/sessions/ws/x/subscribe", elsewhere.base_url());
    server.request().refuse(307, &[("Location", &target)], "");
    assert_eq!(client.closed(), CloseReason::Refused(status(307)));
    assert_eq!(elsewhere.dials(), 0, "the token goes nowhere else");
}

/// What does not pass by itself may do so where it has worked before.
#[test]
fn a_refusal_after_a_connection_is_tried_again() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    connection.send(PROOF);
    assert_eq!(client.message(), PROOF);
    connection.close(1001);
    assert_eq!(client.reconnecting().0, 1);
    server.request().refuse(400, &[], "");
    let refused = Cause::DialFailed(status(400));
    assert_eq!(client.reconnecting(), (2, refused));
    server.request().refuse(502, &[], "");
    assert_eq!(client.reconnecting().0, 3);
    let _connection = server.connection();
    client.connected();
}

/// Covers: S3.8b
#[test]
fn the_delay_that_the_server_asks_for() {
    for (asked, least, most) in [
        ("0", 0, 1),
        ("120", 120, 121),
        ("999999999", 3_600, 3_601),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 1),
        ("Tue, 31 Dec 2199 23:59:59 GMT", 3_600, 3_601),
        ("soon", 0, 1),
        ("-5", 0, 1),
    ] {
        let server = SessionServer::plain();
        let client = Followed::at(&server.base_url());
        server.request().refuse(503, &[("Retry-After", asked)], "");
        let Update::Reconnecting { delay, .. } = client.next() else {
            panic!("no retry after {asked}");
        };
        let range = Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(range.contains(&delay), "{asked}: {delay:?}");
    }
}

/// Has the first dial answered with `answer`, and the second one accepted.
#[track_caller]
fn after(answer: impl FnOnce(Request)) -> Cause {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    answer(server.request());
    let (attempt, cause) = client.reconnecting();
    assert_eq!(attempt, 1);
    let _connection = server.connection();
    client.connected();
    cause
}

#[test]
fn an_answer_that_is_no_upgrade_is_tried_again() {
    let upgrade = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let no_websocket = Cause::DialFailed(DialFailure::NotWebSocket);
    for answer in [
        format!("{upgrade}Sec-WebSocket-Accept: bm90IHlvdXJzIQ==\r\n\r\n"),
        format!("{upgrade}\r\n"),
        "HTTP/1.1 101 x\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)),
    ] {
        assert_eq!(
            after(|request| request.say(&answer)),
            no_websocket,
            "{answer:.60}"
        );
    }
    let unreachable = Cause::DialFailed(DialFailure::Unreachable);
    assert_eq!(after(|request| request.say("")), unreachable);
    assert_eq!(after(|request| request.say("HTTP/1.1 101")), unreachable);
    assert_eq!(after(Request::reset), unreachable);
}

/// Covers: S3.2, S3.15
#[test]
fn a_dial_that_fails_spends_the_budget_too() {
    let mut server = SessionServer::plain();
    server.each(|_, accepted| accepted.reset());
    let client = Followed::at(&server.base_url());
    let failure = DialFailure::Unreachable;
    let (dials, reason) = by_the_machine(policy(), None, Some(failure));
    for attempt in 1..u32::try_from(dials).unwrap() {
        assert_eq!(client.reconnecting(), (attempt, Cause::DialFailed(failure)));
    }
    assert_eq!(client.closed(), reason);
    assert_eq!(server.dials(), dials);
}
