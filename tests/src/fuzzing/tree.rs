//! Frames against serde_json's own tree, on what both accept: no two parsers may disagree on
//! who was authorised, nor on what was said (local.md §3).

use hallway_core::local::connection::{CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::message::{Kind, Message, MessageError};
use hallway_core::{Instant, Limits, Token, UnixTime};
use serde_json::Value;

const TOKEN: &str = "T";

/// Reads `bytes` as a frame and as a tree.
///
/// # Panics
///
/// When the two contradict each other.
pub fn check_tree(bytes: &[u8]) {
    // In a tree these names are not members but instructions to serde_json.
    let instructs = bytes.windows(12).any(|name| name == b"$serde_json:");
    let Ok(tree) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    if instructs {
        return;
    }
    match Message::parse(bytes, &Limits::DEFAULT) {
        Ok(message) => {
            assert_eq!(
                message.kind() == Kind::Ping,
                tree.get("type") == Some(&"ping".into())
            );
            let kept = message.kept().to_text();
            let kept: Value = serde_json::from_str(&kept).expect("what is kept is JSON");
            assert_eq!(kept, without_token(tree.clone()));
            check_authorised(bytes, &tree);
        }
        Err(MessageError::NotAnObject) => assert!(!tree.is_object() && !tree.is_null()),
        // Duplicates: a tree cannot say that there were, only of what.
        Err(MessageError::Invalid) => assert!(
            tree.is_null() || tree.get("type").is_some() || tree.get("meta").is_some(),
            "{tree}"
        ),
        Err(other) => panic!("the contract knows no {other:?}"),
    }
}

/// The tree without `meta.authToken`, and without `meta` if it is empty then.
fn without_token(mut tree: Value) -> Value {
    if let Some(Value::Object(meta)) = tree.get_mut("meta")
        && meta.remove("authToken").is_some()
        && meta.is_empty()
        && let Some(members) = tree.as_object_mut()
    {
        members.remove("meta");
    }
    tree
}

/// A server obeys the frame exactly when the tree has the token in its place.
fn check_authorised(frame: &[u8], tree: &Value) {
    if frame.contains(&b'\n') {
        return;
    }
    let server = Server::new("/s", Token::parse(TOKEN).expect("a token"));
    let mut connection = Connection::new(&Limits::DEFAULT, Instant::ORIGIN);
    for mut rest in [frame, b"\n"] {
        while !rest.is_empty() {
            let spare = connection.spare_mut();
            let n = rest.len().min(spare.len());
            spare[..n].copy_from_slice(&rest[..n]);
            connection.handle_input(n, Instant::ORIGIN);
            rest = &rest[n..];
        }
    }
    let event = connection.handle_frame(&server, Instant::ORIGIN, UnixTime::EPOCH);
    let is_ping = event.map(|event| event == Event::Pinged);
    if tree.pointer("/meta/authToken") == Some(&TOKEN.into()) {
        assert_eq!(is_ping, Some(tree.get("type") == Some(&"ping".into())));
    } else {
        assert_eq!(is_ping, None);
        let refused = CloseReason::Refused(Refusal::Unauthorized);
        assert_eq!(connection.close_reason(), Some(refused));
    }
}
