//! Frames against serde_json's own tree, on what both accept: no two parsers may disagree on
//! who was authorised, nor on what was said (local.md §3).

use hallway_core::local::connection::{CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::message::{Kind, Message, MessageError};
use hallway_core::session::control::{Frame, NotForwarded};
use hallway_core::{Instant, Limits, Token, UnixTime};
use serde_json::Value;
use serde_json::value::RawValue;

const TOKEN: &str = "T";

/// Reads `bytes` as a frame and as a tree.
///
/// # Panics
///
/// When the two contradict each other.
pub fn check_tree(bytes: &[u8]) {
    check_grammar(bytes);
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

/// What is JSON, and what of it is an object: as serde_json says that passes over a text and makes
/// no tree, which bounds neither numbers nor depth.
fn check_grammar(bytes: &[u8]) {
    let limits = Limits::DEFAULT;
    let found = Message::parse(bytes, &limits);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return assert_eq!(found, Err(MessageError::Invalid));
    };
    let raw = serde_json::from_str::<&RawValue>(text).map(RawValue::get);
    let is_object = raw.as_ref().is_ok_and(|raw| raw.starts_with('{'));
    let forwarded = Frame::parse(text) != Err(NotForwarded::NotAnObject);
    assert_eq!(forwarded, is_object, "{text}");
    match (found, raw) {
        (Err(MessageError::Invalid), Err(_)) => {}
        (Ok(message), Ok(_)) => assert!(is_object && !message.kept().is_empty(), "{text}"),
        (Err(MessageError::NotAnObject), Ok(raw)) => {
            assert!(!is_object && raw != "null", "{text}");
        }
        (Err(MessageError::Invalid), Ok(raw)) => {
            let brackets = raw.matches(['[', '{']).count();
            let nests_deep = brackets > limits.max_frame_depth();
            assert!(is_object || raw == "null" || nests_deep, "{text}");
        }
        (found, raw) => panic!("{text}: {found:?}, but {raw:?}"),
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
