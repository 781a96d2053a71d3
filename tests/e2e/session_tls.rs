//! Whom the client trusts, who it is, and what it does when there is no trust (sessions.md §1).

use std::path::PathBuf;
use std::time::Duration;

use hallway::session::{AccessToken, Settings, TokenSource, TransportOptions, Update};
use hallway_core::session::event::{Cause, CloseReason, DialFailure};
use hallway_tests::Home;
use hallway_tests::session::certificates::{Authority, Kind};
use hallway_tests::session::follower::TOKEN;
use hallway_tests::session::{Direction, Relay, SessionServer};

use crate::home;
use crate::session_support::{Followed, bounded, settings};

const UNTRUSTED: CloseReason = CloseReason::Refused(DialFailure::Untrusted);

/// What is trusted, written into `home`.
fn trusting(home: &Home, authority: &Authority) -> TransportOptions {
    let path: PathBuf = home.root().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    TransportOptions {
        ca_file: Some(path),
        ..TransportOptions::default()
    }
}

fn start(base: &str, options: &TransportOptions, settings: Settings) -> Followed {
    let token = AccessToken::parse(TOKEN).unwrap();
    Followed::start(base, options, TokenSource::fixed(token), settings)
}

/// The end of a subscription that is not trusted: after one dial, with words about it.
#[track_caller]
fn untrusted(mut server: SessionServer, options: &TransportOptions, words: &str) {
    let base = server.base_url();
    server.each(|_, accepted| assert!(accepted.request().is_err(), "the token was sent"));
    let client = start(&base, options, settings());
    match client.next() {
        Update::Closed { reason, detail, .. } => {
            assert_eq!(reason, UNTRUSTED);
            let detail = detail.unwrap_or_default().to_lowercase();
            assert!(detail.contains(words), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.dials(), 1);
}

/// Covers: S1.1, S1.7
#[test]
fn an_authority_of_a_file_is_trusted() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let identity = authority.sign(Kind::Server, "localhost");
    let server = SessionServer::tls(identity.server());
    let client = start(&server.base_url(), &trusting(&home, &authority), settings());
    let mut connection = server.connection();
    client.connected();
    connection.send(r#"{"type":"x"}"#);
    assert_eq!(client.message(), r#"{"type":"x"}"#);
    assert_eq!(connection.close(1000), Some(1000));
    let closed = Cause::ConnectionClosed(Some(1000));
    assert_eq!(client.reconnecting(), (1, closed));
    let connection = server.connection();
    client.connected();
    connection.finish();
    assert_eq!(client.reconnecting(), (2, Cause::ConnectionClosed(None)));
}

#[test]
fn an_address_is_a_name_too() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let identity = authority.sign(Kind::Server, "127.0.0.1");
    let server = SessionServer::tls(identity.server());
    let base = server.base_url().replace("localhost", "127.0.0.1");
    let client = start(&base, &trusting(&home, &authority), settings());
    let _connection = server.connection();
    client.connected();
}

#[test]
fn a_wrong_name_is_not_trusted() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let identity = authority.sign(Kind::Server, "elsewhere.example");
    let options = trusting(&home, &authority);
    untrusted(SessionServer::tls(identity.server()), &options, "name");
}

#[test]
fn an_expired_certificate_is_not_trusted() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let identity = authority.sign(Kind::Expired, "localhost");
    let options = trusting(&home, &authority);
    untrusted(SessionServer::tls(identity.server()), &options, "expired");
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let stranger = Authority::new("of nobody");
    let identity = stranger.sign(Kind::Server, "localhost");
    let server = SessionServer::tls(identity.server());
    untrusted(server, &trusting(&home, &authority), "unknownissuer");
    let identity = stranger.sign(Kind::Server, "localhost");
    let server = SessionServer::tls(identity.server());
    untrusted(server, &TransportOptions::default(), "unknownissuer");
}

#[test]
fn a_client_certificate_is_no_servers() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let identity = authority.sign(Kind::Client, "localhost");
    let options = trusting(&home, &authority);
    untrusted(SessionServer::tls(identity.server()), &options, "eku");
}

/// Covers: S1.7
#[test]
fn a_server_that_wants_a_client_certificate() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let clients = Authority::new("of clients");
    let identity = authority.sign(Kind::Server, "localhost");
    let options = trusting(&home, &authority);

    let server = SessionServer::tls(identity.server_for(&clients));
    untrusted(server, &options, "certificate");

    let of = |authority: &Authority, name| {
        let identity = authority.sign(Kind::Client, "client");
        let (certificate, key) = identity.write(home.root(), name);
        TransportOptions {
            client_certificate: Some(certificate),
            client_key: Some(key),
            ..options.clone()
        }
    };
    let server = SessionServer::tls(identity.server_for(&clients));
    untrusted(server, &of(&authority, "wrong"), "");

    let server = SessionServer::tls(identity.server_for(&clients));
    let client = start(&server.base_url(), &of(&clients, "right"), settings());
    let _connection = server.connection();
    client.connected();
}

#[test]
fn a_certificate_that_goes_bad_is_tried_again() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let good = SessionServer::tls(authority.sign(Kind::Server, "localhost").server());
    let bad = SessionServer::tls(authority.sign(Kind::Expired, "localhost").server());
    // Of two servers at one address one is reached after the other.
    let (relay, bad_relay) = (Relay::new(good.address()), bad.address());
    let options = trusting(&home, &authority);
    let client = start(&good.base_url_at(relay.address()), &options, settings());
    let _connection = good.connection();
    client.connected();
    relay.retarget(bad_relay);
    relay.cut();
    assert_eq!(client.reconnecting(), (1, Cause::ConnectionClosed(None)));
    assert!(bad.accept().request().is_err());
    let untrusted = Cause::DialFailed(DialFailure::Untrusted);
    relay.retarget(good.address());
    assert_eq!(client.reconnecting(), (2, untrusted));
    // The relay may have been asked before it was told.
    let _connection = good.connection();
    while client.next() != Update::Connected {}
}

#[test]
fn a_handshake_that_stalls_has_a_deadline() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let server = SessionServer::tls(authority.sign(Kind::Server, "localhost").server());
    let relay = Relay::new(server.address());
    relay.hold(Direction::Down);
    let settings = bounded(|limits| limits.dial_timeout(Duration::from_millis(200)));
    let base = server.base_url_at(relay.address());
    let client = start(&base, &trusting(&home, &authority), settings);
    assert_eq!(client.reconnecting(), (1, Cause::DialTimedOut));
}

#[test]
fn a_plain_server_where_tls_is_expected() {
    let server = SessionServer::plain();
    let base = server.base_url().replace("http:", "https:");
    let client = start(&base, &TransportOptions::default(), settings());
    let accepted = server.accept();
    // It answers in the clear, as a server of HTTP does.
    assert!(accepted.say("HTTP/1.1 400 Bad Request\r\n\r\n"), "TLS");
    let unreachable = Cause::DialFailed(DialFailure::Unreachable);
    assert_eq!(client.reconnecting(), (1, unreachable));
}
