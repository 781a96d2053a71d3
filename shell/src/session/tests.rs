//! The client against a server of its own, over loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hallway_core::backoff::{GaveUp, Policy, PolicyBuilder, Schedule};
use hallway_core::session::control::NotForwarded;
use hallway_core::session::event::{Cancelled, Cause, CloseReason, DialFailure, SendError};
use hallway_core::session::limits::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::*;
use crate::net::upgrade::accept;

const ASKS: &str = r#"{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"a": 1},"tool_use_id":"t"}}"#;

/// A server that does what the test says.
struct Server {
    listener: TcpListener,
}

type Socket = WebSocketStream<TcpStream>;

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    fn connector(&self) -> Connector {
        let endpoint = Endpoint::new(&self.url(), "s1", "o1").unwrap();
        Connector::new(endpoint, &TransportOptions::default()).unwrap()
    }

    /// The next connection, and the head of its request.
    async fn next(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        (stream, head)
    }

    async fn accept(&self) -> Socket {
        let (stream, head) = self.next().await;
        upgraded(stream, &head).await
    }

    async fn refuse(&self, answer: &str) -> String {
        let (mut stream, head) = self.next().await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

async fn upgraded(mut stream: TcpStream, head: &str) -> Socket {
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
    let accept = accept(key.split('\r').next().unwrap());
    let answer = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    WebSocketStream::from_raw_socket(stream, Role::Server, None).await
}

fn token(text: &str) -> TokenSource {
    TokenSource::fixed(AccessToken::parse(text).unwrap())
}

/// Retries at once, a few times.
fn settings() -> Settings {
    let schedule = Schedule {
        max_retries: 3,
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        ..Policy::FIXED.transient()
    };
    let policy = PolicyBuilder::from(Policy::FIXED);
    let policy = policy.transient(schedule).not_found(schedule);
    Settings {
        policy: policy.forced_delay(Duration::ZERO).build().unwrap(),
        ..Settings::default()
    }
}

async fn next(client: &mut Client) -> Update {
    let update = tokio::time::timeout(Duration::from_secs(60), client.next());
    update.await.unwrap().unwrap()
}

async fn cause(client: &mut Client) -> Cause {
    let update = next(client).await;
    let Update::Reconnecting { cause, .. } = update else {
        panic!("{update:?}");
    };
    cause
}

async fn text(socket: &mut Socket) -> String {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return text.as_str().to_owned();
        }
    }
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::Text(text.into())).await.unwrap();
}

/// Covers: S2.13, S2.14, S2.15
#[tokio::test]
async fn messages_come_and_answers_go() {
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), token("tok"), settings());
    let (stream, head) = server.next().await;
    assert!(head.starts_with("GET /v1/sessions/ws/s1/subscribe?organization_uuid=o1 "));
    assert!(head.contains("\r\nAuthorization: Bearer tok\r\n"));
    let mut socket = upgraded(stream, &head).await;
    assert_eq!(next(&mut client).await, Update::Connected);

    say(&mut socket, r#"{"type":"new","x":1e999}"#).await;
    let message = Update::Message(r#"{"type":"new","x":1e999}"#.to_owned().into());
    assert_eq!(next(&mut client).await, message);
    say(&mut socket, "[1]").await;
    let (why, total) = (NotForwarded::NotAnObject, 1);
    assert_eq!(next(&mut client).await, Update::Ignored { why, total });

    say(&mut socket, ASKS).await;
    let asked = Update::Request {
        message: ASKS.to_owned(),
        request_id: "r1".to_owned(),
        subtype: "can_use_tool".to_owned(),
    };
    assert_eq!(next(&mut client).await, asked);
    let handle = client.handle().clone();
    let allow = Reply::Allow {
        updated_input: None,
    };
    assert_eq!(handle.answer("r1", allow.clone()).await, Ok(()));
    assert_eq!(
        text(&mut socket).await,
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"r1","response":{"behavior":"allow","updatedInput":{"a": 1}}}}"#
    );
    let again = handle.answer("r1", allow).await;
    assert_eq!(again, Err(SendError::UnknownRequest));

    let stop = r#"{"subtype":"interrupt","more":[1]}"#;
    assert_eq!(handle.request("q1", stop).await, Ok(()));
    assert_eq!(
        text(&mut socket).await,
        format!(r#"{{"type":"control_request","request_id":"q1","request":{stop}}}"#)
    );
    let request_id = "q1".to_owned();
    assert_eq!(next(&mut client).await, Update::Sent { request_id });
    assert_eq!(handle.request("q2", "[]").await, Err(SendError::NotJson));

    let other = ASKS.replace("can_use_tool", "set_model");
    say(&mut socket, &other).await;
    let refused = Update::RequestRefused {
        message: other,
        request_id: "r1".to_owned(),
        subtype: "set_model".to_owned(),
        answered: true,
    };
    assert_eq!(next(&mut client).await, refused);
    assert!(
        text(&mut socket)
            .await
            .contains("Unsupported control request subtype: set_model")
    );
}

#[tokio::test]
async fn a_client_that_leaves_says_so() {
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), token("tok"), settings());
    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    client.handle().close().await;
    let closed = Update::Closed {
        reason: CloseReason::User,
        detail: None,
        unsent: 0,
    };
    assert_eq!(next(&mut client).await, closed);
    assert_eq!(client.next().await, None);
    let close = socket.next().await.unwrap().unwrap();
    assert!(matches!(close, Message::Close(Some(frame)) if u16::from(frame.code) == 1_000));
    let ended = client.handle().request("q", r#"{"subtype":"x"}"#).await;
    assert_eq!(ended, Err(SendError::Closed(CloseReason::User)));
}

/// Covers: S3.7, S3.11
#[tokio::test]
async fn close_codes_mean_what_they_should() {
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), token("tok"), settings());
    let close = |code: u16| {
        let reason = "why".into();
        let code = code.into();
        Message::Close(Some(CloseFrame { code, reason }))
    };
    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    say(&mut socket, ASKS).await;
    assert!(matches!(next(&mut client).await, Update::Request { .. }));
    socket.send(close(4_001)).await.unwrap();
    let lost = next(&mut client).await;
    let Update::Reconnecting {
        cause: why, detail, ..
    } = lost
    else {
        panic!("{lost:?}");
    };
    assert_eq!(why, Cause::ConnectionClosed(Some(4_001)));
    assert_eq!(detail.as_deref(), Some("the server says \"why\""));

    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    let cancelled = Update::RequestCancelled {
        message: None,
        request_id: "r1".to_owned(),
        cancelled: Cancelled::Reconnected,
    };
    assert_eq!(next(&mut client).await, cancelled);
    socket.send(Message::Close(None)).await.unwrap();
    assert_eq!(
        cause(&mut client).await,
        Cause::ConnectionClosed(Some(1_005))
    );

    let socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    drop(socket);
    assert_eq!(cause(&mut client).await, Cause::ConnectionClosed(None));

    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    socket.send(close(4_003)).await.unwrap();
    let reason = CloseReason::Unauthorized;
    assert!(matches!(next(&mut client).await, Update::Closed { reason: why, .. } if why == reason));
}

#[tokio::test]
async fn a_server_that_accepts_and_closes_is_given_up() {
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), token("tok"), settings());
    let serve = async {
        let mut dials = 0;
        loop {
            drop(server.accept().await);
            dials += 1;
            if dials == 4 {
                return;
            }
        }
    };
    let ((), reason) = tokio::join!(serve, async {
        loop {
            if let Update::Closed { reason, .. } = next(&mut client).await {
                return reason;
            }
        }
    });
    let cause = Cause::ConnectionClosed(None);
    let why = GaveUp::Retries;
    assert_eq!(reason, CloseReason::GaveUp { why, cause });
}

/// Covers: S1.4, S3.10b
#[tokio::test]
async fn a_refused_token_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), TokenSource::file(&path), settings());
    let (mut stream, head) = server.next().await;
    assert!(head.contains("Bearer old\r\n"));
    std::fs::write(&path, "new").unwrap();
    stream.write_all(b"HTTP/1.1 401 no\r\n\r\n").await.unwrap();
    let refused = DialFailure::Status {
        status: 401,
        retry_after: None,
    };
    assert_eq!(cause(&mut client).await, Cause::DialFailed(refused));
    let head = server.refuse("HTTP/1.1 403 no\r\n\r\n").await;
    assert!(head.contains("Bearer new\r\n"));
    let update = next(&mut client).await;
    let reason = CloseReason::Unauthorized;
    assert!(
        matches!(update, Update::Closed { reason: why, .. } if why == reason),
        "{update:?}"
    );
}

/// Covers: S1.9
#[tokio::test]
async fn a_silent_connection_is_found_and_a_speaking_one_kept() {
    let server = Server::start().await;
    let limits = Limits::builder().ping_interval(Duration::from_millis(50));
    let settings = Settings {
        limits: limits.build().unwrap(),
        ..settings()
    };
    let mut client = Client::start(server.connector(), token("tok"), settings);
    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    // As long as it is read from, the library answers the pings.
    for _ in 0..5 {
        let ping = socket.next().await.unwrap().unwrap();
        assert!(ping.is_ping(), "{ping:?}");
    }
    assert_eq!(client.try_next(), None);
    assert_eq!(cause(&mut client).await, Cause::NoPong);
}

#[tokio::test]
async fn a_slow_client_loses_nothing_and_keeps_its_connection() {
    const COUNT: usize = 100_000;
    let server = Server::start().await;
    let limits = Limits::builder().ping_interval(Duration::from_millis(20));
    let settings = Settings {
        limits: limits.build().unwrap(),
        ..settings()
    };
    let mut client = Client::start(server.connector(), token("tok"), settings);
    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    let padding = "x".repeat(200);
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let serve = tokio::spawn(async move {
        for n in 0..COUNT {
            counter.store(n, Ordering::Relaxed);
            let text = format!(r#"{{"type":"n","n":{n},"p":"{padding}"}}"#);
            socket.feed(Message::Text(text.into())).await.unwrap();
        }
        socket.flush().await.unwrap();
        socket
    });
    // Nothing is taken until the server has been stuck for many ping intervals.
    let mut before = None;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let count = sent.load(Ordering::Relaxed);
        if before.replace(count) == Some(count) && count > 0 {
            break;
        }
    }
    assert!(!serve.is_finished());
    for n in 0..COUNT {
        let Update::Message(text) = next(&mut client).await else {
            panic!("{n}");
        };
        assert!(
            text.starts_with(&format!(r#"{{"type":"n","n":{n},"#)),
            "{n}: {text}"
        );
    }
    drop(serve.await.unwrap());
    assert!(matches!(
        cause(&mut client).await,
        Cause::ConnectionClosed(_) | Cause::NoPong
    ));
}

#[tokio::test]
async fn a_message_may_be_as_long_as_it_may_be() {
    let server = Server::start().await;
    let settings = Settings {
        limits: Limits::builder().max_message_bytes(2_000).build().unwrap(),
        ..settings()
    };
    let mut client = Client::start(server.connector(), token("tok"), settings);
    let mut socket = server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    let frame = r#"{"type":"x","p":""}"#;
    let longest = frame.replace(r#""""#, &format!("\"{}\"", "p".repeat(2_000 - frame.len())));
    assert_eq!(longest.len(), 2_000);
    say(&mut socket, &longest).await;
    assert_eq!(
        next(&mut client).await,
        Update::Message(longest.clone().into())
    );
    say(&mut socket, &(longest + " ")).await;
    assert_eq!(cause(&mut client).await, Cause::MessageTooLong);
    let close = socket.next().await.unwrap().unwrap();
    assert!(matches!(close, Message::Close(Some(frame)) if u16::from(frame.code) == 1_009));
}

/// Covers: S3.6a
#[tokio::test]
async fn an_answer_waits_for_the_next_connection() {
    let server = Server::start().await;
    let mut client = Client::start(server.connector(), token("tok"), settings());
    let handle = client.handle().clone();
    let (mut stream, _) = server.next().await;
    assert_eq!(
        handle.request("q1", r#"{"subtype":"interrupt"}"#).await,
        Ok(())
    );
    stream.write_all(b"HTTP/1.1 503 no\r\n\r\n").await.unwrap();
    assert!(matches!(cause(&mut client).await, Cause::DialFailed(_)));
    let mut socket = server.accept().await;
    assert!(text(&mut socket).await.contains(r#""request_id":"q1""#));
    handle.reconnect().await;
    assert_eq!(next(&mut client).await, Update::Connected);
    let request_id = "q1".to_owned();
    assert_eq!(next(&mut client).await, Update::Sent { request_id });
    assert_eq!(cause(&mut client).await, Cause::Forced);
    let close = socket.next().await.unwrap().unwrap();
    assert!(matches!(close, Message::Close(Some(frame)) if u16::from(frame.code) == 1_000));
    server.accept().await;
    assert_eq!(next(&mut client).await, Update::Connected);
}

/// Covers: S3.5
#[tokio::test]
async fn a_stuck_dial_is_given_up_in_time() {
    let server = Server::start().await;
    let limits = Limits::builder().dial_timeout(Duration::from_millis(50));
    let settings = Settings {
        limits: limits.build().unwrap(),
        ..settings()
    };
    let mut client = Client::start(server.connector(), token("tok"), settings);
    let (mut stream, _) = server.next().await;
    assert_eq!(cause(&mut client).await, Cause::DialTimedOut);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Covers: S1.6
#[tokio::test]
async fn connections_go_through_proxies() {
    for (scheme, resolved) in [("http", false), ("socks5", true), ("socks5h", false)] {
        let server = Server::start().await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        let proxies = Proxies::from_variables(|name| {
            (name == "ALL_PROXY").then(|| format!("{scheme}://me:pw@{address}"))
        });
        let options = TransportOptions {
            proxies: proxies.unwrap(),
            ..TransportOptions::default()
        };
        let url = server.url().replace("127.0.0.1", "localhost");
        let endpoint = Endpoint::new(&url, "s1", "o1").unwrap();
        let connector = Connector::new(endpoint, &options).unwrap();
        let mut client = Client::start(connector, token("tok"), settings());
        let target = server.listener.local_addr().unwrap();
        let relay = tokio::spawn(async move {
            let (mut near, _) = proxy.accept().await.unwrap();
            if scheme == "http" {
                let head = head(&mut near).await;
                assert!(head.starts_with("CONNECT localhost:"), "{head}");
                assert!(head.contains("Proxy-Authorization: Basic bWU6cHc=\r\n"));
                near.write_all(b"HTTP/1.0 200 ok\r\n\r\n").await.unwrap();
            } else {
                let mut bytes = [0; 4 + 7];
                near.read_exact(&mut bytes[..4]).await.unwrap();
                near.write_all(&[5, 2]).await.unwrap();
                near.read_exact(&mut bytes[4..]).await.unwrap();
                near.write_all(&[1, 0]).await.unwrap();
                let mut request = [0; 5];
                near.read_exact(&mut request).await.unwrap();
                assert_eq!(request[3] != 3, resolved);
                let rest: usize = match request[3] {
                    1 => 3 + 2,
                    4 => 15 + 2,
                    _ => usize::from(request[4]) + 2,
                };
                near.read_exact(&mut vec![0; rest]).await.unwrap();
                near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
                    .await
                    .unwrap();
            }
            let mut far = TcpStream::connect(target).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        });
        let mut socket = server.accept().await;
        assert_eq!(next(&mut client).await, Update::Connected);
        say(&mut socket, r#"{"type":"x"}"#).await;
        assert!(matches!(next(&mut client).await, Update::Message(_)));
        drop((client, socket));
        relay.await.unwrap();
    }
}

/// Covers: S2.16, S2.17, S2.18
#[tokio::test]
async fn user_messages_are_posted() {
    let server = Server::start().await;
    let (connector, tokens) = (server.connector(), token("tok"));
    let timeout = Duration::from_secs(60);
    let post = connector.post_user_message(&tokens, "hé \"x\"", timeout);
    let serve = async {
        let (mut stream, head) = server.next().await;
        assert!(head.starts_with("POST /v1/sessions/s1/events HTTP/1.1\r\n"));
        for line in [
            "Authorization: Bearer tok",
            "anthropic-beta: ccr-byoc-2025-07-29",
            "x-organization-uuid: o1",
            "Content-Type: application/json",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}");
        }
        let length = head.split("Content-Length: ").nth(1).unwrap();
        let length: usize = length.split('\r').next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 201 ok\r\n\r\n").await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    let (id, body) = tokio::join!(post, serve);
    let expected = serde_json::json!({"events": [{
        "uuid": id.unwrap(), "session_id": "s1", "type": "user", "parent_tool_use_id": null,
        "message": {"role": "user", "content": "hé \"x\""},
    }]});
    assert_eq!(body, expected);

    for status in [200, 204, 302, 401, 404, 500] {
        let post = connector.post_user_message(&tokens, "x", timeout);
        let answer = format!("HTTP/1.1 {status} x\r\nLocation: http://h/\r\n\r\n");
        let (posted, _) = tokio::join!(post, server.refuse(&answer));
        match posted {
            Ok(_) => assert_eq!(status, 200),
            Err(PostError::Refused { status: other, .. }) => assert_eq!(other, status),
            Err(error) => panic!("{error}"),
        }
    }
    let post = connector.post_user_message(&tokens, "x", timeout);
    let (posted, _) = tokio::join!(post, server.refuse(""));
    assert!(matches!(posted, Err(PostError::Unanswered(_))));
    let post = connector.post_user_message(&tokens, "x", Duration::from_millis(50));
    let posted = post.await;
    assert!(
        matches!(posted, Err(PostError::TimedOut { sent: true, .. })),
        "{posted:?}"
    );
    drop(server);
    let post = connector.post_user_message(&tokens, "x", timeout).await;
    assert!(matches!(post, Err(PostError::Unreachable { .. })));
}
