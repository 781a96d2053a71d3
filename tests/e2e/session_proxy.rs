//! Ways through proxies (sessions.md §1).

use hallway::session::{AccessToken, Proxies, TokenSource, TransportOptions, Update};
use hallway_core::session::event::{Cause, CloseReason, DialFailure};
use hallway_tests::session::certificates::{Authority, Kind};
use hallway_tests::session::follower::TOKEN;
use hallway_tests::session::proxies::Credentials;
use hallway_tests::session::{HttpProxy, SessionServer, SocksProxy};

use crate::home;
use crate::session_support::{Followed, settings};

/// Only a proxy could know where that is (RFC 6761 §6.4).
const NAME: &str = "session.invalid";

const RIGHT: Credentials = Some(("us er", "p@ss:w/rd"));
/// [`RIGHT`] as it stands in a URL.
const RIGHT_IN_URL: Credentials = Some(("us%20er", "p%40ss%3Aw%2Frd"));

fn through(variables: &[(&str, &str)]) -> TransportOptions {
    let lookup = |name: &str| {
        let found = variables.iter().find(|variable| variable.0 == name);
        found.map(|variable| variable.1.to_owned())
    };
    TransportOptions {
        proxies: Proxies::from_variables(lookup).unwrap(),
        allow_insecure: true,
        ..TransportOptions::default()
    }
}

fn start(base: &str, options: &TransportOptions) -> Followed {
    let token = AccessToken::parse(TOKEN).unwrap();
    Followed::start(base, options, TokenSource::fixed(token), settings())
}

/// The server's base URL under [`NAME`].
fn base(server: &SessionServer) -> String {
    server.base_url().replace("localhost", NAME)
}

fn place(server: &SessionServer) -> String {
    format!("{NAME}:{}", server.address().port())
}

const REFUSED: CloseReason = CloseReason::Refused(DialFailure::ProxyRefused);

/// Covers: S1.6
#[test]
fn an_http_proxy() {
    let server = SessionServer::plain();
    let proxy = HttpProxy::new(server.address(), None);
    for (name, value) in [
        ("http_proxy", proxy.url(None)),
        ("HTTP_PROXY", proxy.url(None)),
        ("ALL_PROXY", proxy.url(None)),
        ("all_proxy", proxy.url(RIGHT_IN_URL)),
    ] {
        let client = start(&base(&server), &through(&[(name, &value)]));
        let _connection = server.connection();
        client.connected();
    }
    assert_eq!(proxy.asked(), [&*place(&server); 4]);
}

#[test]
fn an_http_proxy_that_demands_credentials() {
    let server = SessionServer::plain();
    let proxy = HttpProxy::new(server.address(), RIGHT);
    let client = start(
        &base(&server),
        &through(&[("http_proxy", &proxy.url(None))]),
    );
    assert_eq!(client.closed(), REFUSED);
    let wrong = proxy.url(Some(("us%20er", "wrong")));
    let client = start(&base(&server), &through(&[("http_proxy", &wrong)]));
    let Update::Closed { reason, detail, .. } = client.next() else {
        panic!("let through");
    };
    assert_eq!(reason, REFUSED);
    assert!(!detail.unwrap_or_default().contains("wrong"), "a password");
    assert_eq!(server.dials(), 0);
    let right = proxy.url(RIGHT_IN_URL);
    let client = start(&base(&server), &through(&[("http_proxy", &right)]));
    let _connection = server.connection();
    client.connected();
}

/// Covers: S1.6
#[test]
fn a_socks_proxy() {
    let server = SessionServer::plain();
    let proxy = SocksProxy::new(server.address(), None);
    let socks = proxy.url("socks5h", None);
    let client = start(&base(&server), &through(&[("ALL_PROXY", &socks)]));
    let _connection = server.connection();
    client.connected();
    assert_eq!(proxy.asked(), [place(&server)]);
}

#[test]
fn a_socks_proxy_that_demands_credentials() {
    let server = SessionServer::plain();
    let proxy = SocksProxy::new(server.address(), RIGHT);
    for credentials in [None, Some(("us%20er", "wrong"))] {
        let url = proxy.url("socks5h", credentials);
        let client = start(&base(&server), &through(&[("all_proxy", &url)]));
        assert_eq!(client.closed(), REFUSED, "{credentials:?}");
    }
    assert_eq!(server.dials(), 0);
    let url = proxy.url("socks5h", RIGHT_IN_URL);
    let client = start(&base(&server), &through(&[("all_proxy", &url)]));
    let _connection = server.connection();
    client.connected();
}

#[test]
fn a_proxy_that_is_not_there_is_tried_again() {
    let server = SessionServer::plain();
    let nowhere = {
        let gone = SessionServer::plain();
        gone.base_url()
    };
    let client = start(&base(&server), &through(&[("http_proxy", &nowhere)]));
    let unreachable = Cause::DialFailed(DialFailure::Unreachable);
    assert_eq!(client.reconnecting(), (1, unreachable));
    assert_eq!(server.dials(), 0, "nothing goes past the proxy");
}

/// Covers: S1.6
#[test]
fn what_is_exempt_goes_past_the_proxy() {
    let server = SessionServer::plain();
    let proxy = HttpProxy::new(server.address(), None);
    let url = proxy.url(None);
    let exempt = through(&[("http_proxy", &url), ("NO_PROXY", "example.org, localhost")]);
    let client = start(&server.base_url(), &exempt);
    let _connection = server.connection();
    client.connected();
    assert_eq!(proxy.asked(), [""; 0]);
}

/// Covers: S1.1, S1.6
#[test]
fn tls_goes_through_a_proxy_to_the_server() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let path = home.root().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let server = SessionServer::tls(authority.sign(Kind::Server, NAME).server());
    let proxy = HttpProxy::new(server.address(), None);
    let socks = SocksProxy::new(server.address(), RIGHT);
    for url in [proxy.url(None), socks.url("socks5h", RIGHT_IN_URL)] {
        let options = TransportOptions {
            ca_file: Some(path.clone()),
            // One for plain connections is not for this one.
            ..through(&[("https_proxy", &url), ("http_proxy", "http://127.0.0.1:1")])
        };
        let client = start(&base(&server), &options);
        let _connection = server.connection();
        client.connected();
    }
    assert_eq!(proxy.asked(), [place(&server)]);
    assert_eq!(socks.asked(), [place(&server)]);
}
