//! What the server asks, and what it is asked (sessions.md §2, §3).

use hallway::session::{Reply, Update};
use hallway_core::session::event::{Cancelled, Cause, SendError};
use hallway_tests::session::{Direction, Relay, SessionServer};
use serde_json::{Value, json};

use crate::session_support::{Followed, bounded};

/// A question for permission.
fn permission(id: &str) -> String {
    json!({"type": "control_request", "request_id": id, "request": {
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"},
        "tool_use_id": "t1",
    }})
    .to_string()
}

fn success(id: &str, response: Value) -> Value {
    json!({"type": "control_response", "response": {
        "subtype": "success", "request_id": id, "response": response,
    }})
}

fn asked(client: &Followed, id: &str) {
    let Update::Request {
        message,
        request_id,
        subtype,
    } = client.next()
    else {
        panic!("no request {id}");
    };
    assert_eq!(message, permission(id));
    assert_eq!((&*request_id, &*subtype), (id, "can_use_tool"));
}

fn answer(client: &Followed, id: &str, reply: Reply) -> Result<(), SendError> {
    client.with_handle(async |handle| handle.answer(id, reply).await)
}

fn allow() -> Reply {
    Reply::Allow {
        updated_input: None,
    }
}

/// Covers: S1.5, S2.6, S2.7, S2.8, S2.13, S2.15
#[test]
fn requests_are_answered_once() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    for id in ["r1", "r2", "r3", "r4", "\u{1f600}\"\\"] {
        connection.send(&permission(id));
        asked(&client, id);
    }
    // In any order.
    let deny = Reply::Deny {
        message: "no\n\"way\"".to_owned(),
    };
    assert_eq!(answer(&client, "r2", deny), Ok(()));
    assert_eq!(answer(&client, "r1", allow()), Ok(()));
    let changed = Reply::Allow {
        updated_input: Some(r#"{"command": "pwd"}"#.to_owned()),
    };
    assert_eq!(answer(&client, "r3", changed), Ok(()));
    let error = Reply::Error {
        error: "cannot".to_owned(),
    };
    assert_eq!(answer(&client, "r4", error), Ok(()));
    assert_eq!(answer(&client, "\u{1f600}\"\\", allow()), Ok(()));
    let allowed = json!({"behavior": "allow", "updatedInput": {"command": "ls"}});
    for expected in [
        success("r2", json!({"behavior": "deny", "message": "no\n\"way\""})),
        success("r1", allowed.clone()),
        success(
            "r3",
            json!({"behavior": "allow", "updatedInput": {"command": "pwd"}}),
        ),
        json!({"type": "control_response", "response": {
            "subtype": "error", "request_id": "r4", "error": "cannot"}}),
        success("\u{1f600}\"\\", allowed),
    ] {
        assert_eq!(connection.next_json(), expected);
    }
    for id in ["r1", "never asked"] {
        let unknown = Err(SendError::UnknownRequest);
        assert_eq!(answer(&client, id, allow()), unknown, "{id}");
    }
}

#[test]
fn a_reply_that_is_no_json_is_not_taken() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    connection.send(&permission("r1"));
    asked(&client, "r1");
    for wrong in ["", "{", "{},{}", "{}}", "undefined"] {
        let reply = Reply::Allow {
            updated_input: Some(wrong.to_owned()),
        };
        assert_eq!(
            answer(&client, "r1", reply),
            Err(SendError::NotJson),
            "{wrong}"
        );
    }
    assert_eq!(answer(&client, "r1", allow()), Ok(()));
    assert_eq!(connection.next_json()["response"]["request_id"], "r1");
}

/// Covers: S2.12, S2.14
#[test]
fn what_is_not_served_is_refused_in_the_contracts_words() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    for subtype in ["mcp_status", "initialize", "hook_callback", "foo", ""] {
        let request = json!({"type": "control_request", "request_id": "r1",
            "request": {"subtype": subtype}});
        connection.send(&request.to_string());
        let expected = Update::RequestRefused {
            message: request.to_string(),
            request_id: "r1".to_owned(),
            subtype: subtype.to_owned(),
            answered: true,
        };
        assert_eq!(client.next(), expected);
        let error = format!("Unsupported control request subtype: {subtype}");
        assert_eq!(
            connection.next_json(),
            json!({"type": "control_response", "response": {
                "subtype": "error", "request_id": "r1", "error": error}})
        );
    }
}

/// Covers: S2.5, S2.13
#[test]
fn a_request_can_be_taken_back() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    connection.send(&permission("r1"));
    asked(&client, "r1");
    let cancel = r#"{"type":"control_cancel_request","request_id":"r1"}"#;
    connection.send(cancel);
    let expected = Update::RequestCancelled {
        message: Some(cancel.to_owned()),
        request_id: "r1".to_owned(),
        cancelled: Cancelled::ByServer,
    };
    assert_eq!(client.next(), expected);
    assert_eq!(
        answer(&client, "r1", allow()),
        Err(SendError::UnknownRequest)
    );
    // Of what nobody waits for it is only forwarded.
    connection.send(cancel);
    assert_eq!(client.message(), cancel);
}

/// Covers: S3.7
#[test]
fn a_reconnect_drops_what_is_pending_and_says_so() {
    let server = SessionServer::plain();
    let client = Followed::at(&server.base_url());
    let mut connection = server.connection();
    client.connected();
    for id in ["r1", "r2", "r3"] {
        connection.send(&permission(id));
        asked(&client, id);
    }
    assert_eq!(answer(&client, "r2", allow()), Ok(()));
    assert_eq!(connection.next_json()["response"]["request_id"], "r2");
    connection.reset();
    assert_eq!(client.reconnecting(), (1, Cause::ConnectionClosed(None)));
    let mut connection = server.connection();
    client.connected();
    for id in ["r1", "r3"] {
        let expected = Update::RequestCancelled {
            message: None,
            request_id: id.to_owned(),
            cancelled: Cancelled::Reconnected,
        };
        assert_eq!(client.next(), expected);
        assert_eq!(answer(&client, id, allow()), Err(SendError::UnknownRequest));
    }
    // Asked anew it is a new one.
    connection.send(&permission("r1"));
    asked(&client, "r1");
    assert_eq!(answer(&client, "r1", allow()), Ok(()));
    assert_eq!(connection.next_json()["response"]["request_id"], "r1");
}

/// What is accepted while there is no connection goes over the next one, in order and once.
///
/// Covers: S3.6a, S3.6b
#[test]
fn the_outbox_outlives_the_connection() {
    let server = SessionServer::plain();
    let settings = bounded(|limits| limits.max_outbox_frames(4));
    let client = Followed::with(&server.base_url(), settings);
    let request = server.request();
    let interrupt = |id: &str| {
        client.with_handle(async |handle| handle.request(id, r#"{"subtype":"interrupt"}"#).await)
    };
    for id in ["u1", "u2", "u3", "u4"] {
        assert_eq!(interrupt(id), Ok(()));
    }
    assert_eq!(interrupt("u5"), Err(SendError::Full));
    request.refuse(503, &[], "");
    assert_eq!(client.reconnecting().0, 1);
    let mut connection = server.connection();
    client.connected();
    for id in ["u1", "u2", "u3", "u4"] {
        let expected = json!({"type": "control_request", "request_id": id,
            "request": {"subtype": "interrupt"}});
        assert_eq!(connection.next_json(), expected);
        let sent = Update::Sent {
            request_id: id.to_owned(),
        };
        assert_eq!(client.next(), sent);
    }
    assert_eq!(interrupt("u5"), Ok(()));
    assert_eq!(connection.next_json()["request_id"], "u5");
}

/// A link that takes nothing: what is accepted stays, beyond what the system has buffered, and
/// comes over the next connection from where the last one is known to have ended.
///
/// Covers: S3.6a
#[test]
fn a_link_that_takes_nothing_loses_nothing() {
    let server = SessionServer::plain();
    let relay = Relay::new(server.address());
    let client = Followed::at(&server.base_url_at(relay.address()));
    let mut connection = server.connection();
    client.connected();
    relay.hold(Direction::Up);
    let padding = "x".repeat(1 << 20);
    let mut accepted = Vec::new();
    for n in 0.. {
        let id = format!("u{n}");
        let request = json!({"subtype": "interrupt", "padding": padding}).to_string();
        let taken = client.with_handle(async |handle| handle.request(&id, &request).await);
        match taken {
            Ok(()) => accepted.push(id),
            Err(error) => {
                assert_eq!(error, SendError::Full);
                break;
            }
        }
        assert!(n < 200, "nothing bounds it");
    }
    relay.cut();
    relay.release(Direction::Up);
    let mut arrived = Vec::new();
    // What was on its way may still arrive.
    while let Ok(frame) = connection.next_said() {
        let request: Value = serde_json::from_slice(&frame.payload).unwrap();
        arrived.push(request["request_id"].as_str().unwrap().to_owned());
    }
    let mut sent = Vec::new();
    loop {
        match client.next() {
            Update::Sent { request_id } => sent.push(request_id),
            Update::Reconnecting { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    let mut connection = server.connection();
    client.connected();
    let rest = &accepted[sent.len()..];
    assert_eq!(sent, accepted[..sent.len()], "in order");
    assert!(!rest.is_empty(), "all of it fitted into buffers");
    for id in rest {
        assert_eq!(connection.next_json()["request_id"], **id);
    }
    assert!(arrived.len() <= accepted.len());
    assert_eq!(arrived, accepted[..arrived.len()], "in order");
}
