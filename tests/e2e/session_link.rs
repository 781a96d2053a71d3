//! Links that stall, fall silent, or speak too late (sessions.md §1, §3).

use std::time::Duration;

use hallway::session::{Settings, TokenSource, TransportOptions, Update};
use hallway_core::session::event::{Cause, CloseReason, DialFailure};
use hallway_tests::session::connection::{BINARY, PING, PONG, TEXT, frame};
use hallway_tests::session::follower::{ORGANIZATION_IN_QUERY, SESSION_IN_PATH, TOKEN};
use hallway_tests::session::{Direction, Relay, SessionServer};

use crate::home;
use crate::session_support::{Followed, bounded, settings};

const PROOF: &str = r#"{"type":"keep_alive"}"#;

/// A ping so often. Nothing depends on how long that is.
const INTERVAL: Duration = Duration::from_millis(150);

fn pinging() -> Settings {
    bounded(|limits| limits.ping_interval(INTERVAL).probe_timeout(INTERVAL))
}

/// Covers: S1.1, S1.2, S1.3
#[test]
fn the_request_is_that_of_the_contract() {
    let server = SessionServer::plain();
    let _client = Followed::at(&server.base_url());
    let request = server.request();
    assert_eq!(request.method, "GET");
    assert_eq!(
        request.target,
        format!(
            "/v1/sessions/ws/{SESSION_IN_PATH}/subscribe?organization_uuid={ORGANIZATION_IN_QUERY}"
        )
    );
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
    let port = server.address().port();
    assert_eq!(request.header("host"), Some(&*format!("localhost:{port}")));
    assert!(request.body.is_empty());
}

/// A server that stalls is given up after the dial's deadline, wherever it stalls.
///
/// Covers: S3.5
#[test]
fn every_stall_has_a_deadline() {
    let server = SessionServer::plain();
    let settings = bounded(|limits| limits.dial_timeout(Duration::from_millis(100)));
    let client = Followed::with(&server.base_url(), settings);
    let timed_out = Cause::DialTimedOut;
    let accepted = server.accept();
    assert_eq!(client.reconnecting(), (1, timed_out), "after TCP");
    let request = server.request();
    assert_eq!(client.reconnecting(), (2, timed_out), "after the request");
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";
    let half = server.request().switch(head);
    assert_eq!(client.reconnecting(), (3, timed_out), "within the answer");
    assert!(accepted.request().is_ok(), "it was sent at once");
    // What was given up is closed, so that the server does not keep it either.
    half.await_end();
    drop(request);
}

/// Covers: S1.9
#[test]
fn a_server_that_leaves_pings_unanswered_is_left_after_one() {
    let server = SessionServer::plain();
    let client = Followed::with(&server.base_url(), pinging());
    let mut connection = server.connection().deaf();
    client.connected();
    // Within two intervals there is one ping, and no second one before the end.
    connection.await_ping();
    let close = connection.next_frame().unwrap();
    assert_eq!(close.close_code(), Some(1000), "{close:?}");
    assert_eq!(client.reconnecting(), (1, Cause::NoPong));
    let _connection = server.connection();
    client.connected();
}

/// Covers: S1.9
#[test]
fn a_link_that_falls_silent_both_ways_is_found() {
    let server = SessionServer::plain();
    let relay = Relay::new(server.address());
    let client = Followed::with(&server.base_url_at(relay.address()), pinging());
    let mut connection = server.connection();
    client.connected();
    connection.await_ping();
    relay.hold(Direction::Down);
    relay.hold(Direction::Up);
    assert_eq!(client.reconnecting(), (1, Cause::NoPong));
    relay.release(Direction::Down);
    relay.release(Direction::Up);
    let _second = server.connection();
    client.connected();
    assert_eq!(relay.dials(), 2);
}

/// Anything that is heard is a sign of life, and a pong may carry anything.
#[test]
fn signs_of_life_keep_a_connection_up() {
    let server = SessionServer::plain();
    let client = Followed::with(&server.base_url(), pinging());
    let mut connection = server.connection().deaf();
    client.connected();
    for n in 0..8 {
        connection.await_ping();
        match n % 4 {
            0 => connection
                .send_frame(0x80 | PONG, b"not asked for")
                .unwrap(),
            1 => connection.send_frame(0x80 | PING, b"").unwrap(),
            2 => connection.send(PROOF),
            // The beginning of a message that does not end yet.
            _ => connection.send_raw(&[0x80 | TEXT, 5, b'"']).unwrap(),
        }
        if n % 4 == 1 {
            let pong = connection.next_frame().unwrap();
            assert_eq!((pong.opcode, pong.payload), (PONG, Vec::new()));
        }
        if n % 4 == 3 {
            connection.send_raw(br#"abc""#).unwrap();
        }
    }
    for _ in 0..2 {
        assert_eq!(client.message(), PROOF);
        assert!(matches!(client.next(), Update::Ignored { .. }));
    }
    assert_eq!(server.dials(), 1);
}

#[test]
fn pings_of_the_server_are_answered_with_their_payload() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        connection.send_frame(0x80 | PING, payload).unwrap();
        let pong = connection.next_frame().unwrap();
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, payload));
    }
}

/// Covers: S3.3, S3.4a
#[test]
fn what_a_replaced_transport_says_is_not_heard() {
    let server = SessionServer::plain();
    let relay = Relay::new(server.address());
    let client = Followed::at(&server.base_url_at(relay.address()));
    let mut first = server.connection();
    client.connected();
    relay.hold(Direction::Down);
    first.send(r#"{"type":"late"}"#);
    // 4003 would be the end of everything.
    first.send_frame(0x88, &4003_u16.to_be_bytes()).unwrap();
    client.with_handle(async |handle| handle.reconnect().await);
    assert_eq!(client.reconnecting(), (0, Cause::Forced));
    let request = server.request();
    relay.release(Direction::Down);
    let mut second = request.accept();
    client.connected();
    second.send(PROOF);
    assert_eq!(client.message(), PROOF);
    first.await_end();
    second.send(PROOF);
    assert_eq!(client.message(), PROOF);
    assert_eq!(server.dials(), 2);
}

#[test]
fn a_cut_is_heard_at_once() {
    let server = SessionServer::plain();
    let relay = Relay::new(server.address());
    let client = Followed::at(&server.base_url_at(relay.address()));
    for attempt in 1..=3 {
        let _connection = server.connection();
        client.connected();
        relay.cut();
        let broke = Cause::ConnectionClosed(None);
        assert_eq!(client.reconnecting(), (attempt, broke));
    }
    let _connection = server.connection();
    client.connected();
    relay.refuse(true);
    relay.cut();
    assert!(matches!(client.closed(), CloseReason::GaveUp { .. }));
}

/// Covers: S3.4b
#[test]
fn close_during_a_dial_dials_no_more() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let request = server.request();
    client.with_handle(async |handle| {
        handle.close().await;
        handle.reconnect().await;
    });
    assert_eq!(client.closed(), CloseReason::User);
    // The answer comes too late.
    request.switch("HTTP/1.1 101 x\r\n").await_end();
    drop(client);
    assert_eq!(server.dials(), 1);
}

/// Covers: S3.4b
#[test]
fn close_while_waiting_dials_no_more() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    server.request().refuse(503, &[("Retry-After", "1000")], "");
    assert_eq!(client.reconnecting().0, 1);
    client.with_handle(async |handle| handle.close().await);
    assert_eq!(client.closed(), CloseReason::User);
    drop(client);
    assert_eq!(server.dials(), 1);
}

#[test]
fn close_while_open_says_so_and_waits_for_the_answer() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    client.with_handle(async |handle| handle.close().await);
    assert_eq!(connection.await_close(), Some(1000));
    assert_eq!(client.closed(), CloseReason::User);
    assert_eq!(server.dials(), 1);
}

/// Covers: S1.4, S3.10b
#[test]
fn a_token_that_changes_between_attempts() {
    let (home, server) = (home(), SessionServer::plain());
    let path = home.root().join("token");
    std::fs::write(&path, "old\n").unwrap();
    let source = TokenSource::file(&path);
    let options = TransportOptions::default();
    let client = Followed::start(&server.base_url(), &options, source, settings());

    let request = server.request();
    assert_eq!(request.header("authorization"), Some("Bearer old"));
    std::fs::write(&path, "new\n").unwrap();
    request.refuse(401, &[], "");
    assert_eq!(client.reconnecting().0, 1);
    let request = server.request();
    assert_eq!(request.header("authorization"), Some("Bearer new"));
    let mut connection = request.accept();
    client.connected();
    connection.send(PROOF);
    assert_eq!(client.message(), PROOF);

    // It is read anew at every attempt, refused or not.
    std::fs::write(&path, "newer").unwrap();
    connection.close(1012);
    assert_eq!(client.reconnecting().0, 1);
    let request = server.request();
    assert_eq!(request.header("authorization"), Some("Bearer newer"));
    std::fs::remove_file(&path).unwrap();
    request.refuse(403, &[], "");
    assert_eq!(client.closed(), CloseReason::Unauthorized);
    assert_eq!(server.dials(), 3);
}

#[test]
fn without_a_token_nothing_is_dialled() {
    let (home, server) = (home(), SessionServer::plain());
    let source = TokenSource::file(home.root().join("none"));
    let options = TransportOptions::default();
    let client = Followed::start(&server.base_url(), &options, source, settings());
    for attempt in 1..=3 {
        let no_token = Cause::DialFailed(DialFailure::NoToken);
        assert_eq!(client.reconnecting(), (attempt, no_token));
    }
    assert!(matches!(client.closed(), CloseReason::GaveUp { .. }));
    assert_eq!(server.dials(), 0);
}

#[test]
fn a_message_of_the_greatest_size_and_one_byte_more() {
    const MOST: usize = 70_000;
    let server = SessionServer::plain();
    let settings = bounded(|limits| limits.max_message_bytes(MOST));
    let client = Followed::with(&server.base_url(), settings);
    let message = |length: usize| {
        let empty = r#"{"type":"x","y":""}"#;
        let filling = "z".repeat(length - empty.len());
        empty.replace(r#""""#, &format!(r#""{filling}""#))
    };
    let too_long = (1, Cause::MessageTooLong);

    let mut connection = server.connection();
    client.connected();
    let longest = message(MOST);
    assert_eq!(longest.len(), MOST);
    connection.send(&longest);
    assert_eq!(client.message(), longest);
    connection.send(&message(MOST + 1));
    assert_eq!(client.reconnecting(), too_long);

    // The same in fragments, with a ping between them.
    let mut connection = server.connection();
    client.connected();
    let (head, tail) = longest.as_bytes().split_at(40_000);
    connection.send_frame(TEXT, head).unwrap();
    connection.send_frame(0x80 | PING, b"").unwrap();
    connection.send_frame(0x80, tail).unwrap();
    assert_eq!(client.message(), longest);
    let longer = message(MOST + 1);
    let (head, tail) = longer.as_bytes().split_at(40_000);
    connection.send_frame(TEXT, head).unwrap();
    connection.send_frame(0x80, tail).unwrap();
    assert_eq!(client.reconnecting(), too_long);

    // A length that nobody has memory for.
    let mut connection = server.connection();
    client.connected();
    connection.send(PROOF);
    assert_eq!(client.message(), PROOF);
    let mut head = vec![0x80 | TEXT, 127];
    head.extend_from_slice(&(1_u64 << 62).to_be_bytes());
    connection.send_raw(&head).unwrap();
    assert_eq!(client.reconnecting(), too_long);
}

/// Covers: S2.1, S2.2, S2.3
#[test]
fn what_is_not_to_be_forwarded_is_counted_and_closes_nothing() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    let junk = [
        "",
        "7",
        "[]",
        "nonsense",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"x"} {}"#,
    ];
    for (n, junk) in junk.iter().enumerate() {
        connection.send(junk);
        let Update::Ignored { total, .. } = client.next() else {
            panic!("{junk} was forwarded");
        };
        assert_eq!(total, n as u64 + 1);
    }
    connection.send_frame(0x80 | BINARY, &[0xff, 0xfe]).unwrap();
    assert!(matches!(client.next(), Update::Ignored { total: 8, .. }));
    // As it was written, whatever JSON allows.
    for text in [
        "\t{ \"type\" : \"x\" }\r\n",
        r#"{"type":"\ud800","n":1e999,"type":"y"}"#,
        "{\"\\u0074ype\":\"never heard of\",\"\u{1f600}\":[[]]}",
    ] {
        connection.send(text);
        assert_eq!(client.message(), text);
    }
    assert_eq!(server.dials(), 1);
}

/// Frames that RFC 6455 forbids end the connection and nothing else.
#[test]
fn garbage_is_survived() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let long_ping = frame(0x80 | PING, &[0; 126]);
    for garbage in [
        &[0x83, 0][..],               // a reserved opcode
        &[0xc1, 1, b'x'],             // compressed, which was not agreed on
        &[0x81, 0x81, 1, 2, 3, 4, 5], // masked
        &[0x80, 0],                   // the end of no message
        &[0x09, 0],                   // a ping in fragments
        &long_ping,
        &[0x81, 2, 0xff, 0xff],                  // not UTF-8
        &[0x01, 1, b'x', 0x81, 1, b'y'],         // a message within a message
        &[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], // a negative length
        &[b'H'; 100],
    ] {
        let mut connection = server.connection();
        client.connected();
        connection.send(PROOF);
        assert_eq!(client.message(), PROOF);
        connection.send_raw(garbage).unwrap();
        let (attempt, cause) = client.reconnecting();
        assert_eq!(attempt, 1, "{garbage:?}: {cause:?}");
        let is_as_expected = matches!(cause, Cause::ConnectionClosed(None) | Cause::MessageTooLong);
        assert!(is_as_expected, "{garbage:?}: {cause:?}");
    }
}
