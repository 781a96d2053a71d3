//! The shapes of messages.

use hallway_core::relay::plaintext::{
    AssistantMessage, ClaudeLine, Field, Reported, SessionMessage, UserMessage, claude_message,
};
use hallway_core::relay::raw::Raw;

use crate::generation;
use crate::js::Js;

/// The modes that the reference knows. It refuses messages with others; ours delivers them
/// (relay.md §9.8).
const MODES: &[&str] = &[
    "default",
    "acceptEdits",
    "bypassPermissions",
    "plan",
    "read-only",
    "safe-yolo",
    "yolo",
];

/// Covers: R5.1
#[test]
fn relay_vectors_user_message_schema() {
    generation("userMessageSchema", |section, source| {
        let closed = source.get("source").is_none_or(|name| name.str() == "seed");
        for row in section.rows() {
            let raw = Raw::parse(&row.at("in").raw).expect("JSON");
            let parsed = UserMessage::parse(raw);
            let mode = parsed
                .as_ref()
                .and_then(|message| message.meta.as_ref()?.permission_mode.as_ref())
                .filter(|mode| !MODES.iter().any(|known| mode.is(known)));
            let ok = row.at("ok").bool();
            assert_eq!(parsed.is_some(), ok || mode.is_some(), "{}", row.raw);
            assert!(!(closed && ok && mode.is_some()), "{}", row.raw);
            let kind = SessionMessage::parse(raw);
            match parsed {
                Some(message) => {
                    if let Some(out) = row.get("out") {
                        assert_eq!(&Js::read(&message.to_json()), out);
                    }
                    let again = message.to_json();
                    let again = UserMessage::parse(Raw::parse(&again).expect("JSON"));
                    assert_eq!(again, Some(message.clone()));
                    assert_eq!(kind, SessionMessage::User(message));
                }
                // Nothing is refused: it is delivered as it is, or as an agent's.
                None => assert!(!matches!(kind, SessionMessage::User(_))),
            }
        }
    });
}

/// Covers: R5.6
#[test]
fn relay_vectors_raw_json_lines_schema() {
    generation("rawJSONLinesSchema", |section, source| {
        let strict = source.get("source").is_none_or(|name| name.str() == "seed");
        for row in section.rows() {
            let raw = Raw::parse(&row.at("in").raw).expect("JSON");
            let line = ClaudeLine::parse(raw);
            let known = !matches!(line, ClaudeLine::Other(_));
            let taken = known && !(strict && spoiled(&line));
            assert_eq!(taken, row.at("ok").bool(), "{}", row.raw);
            if let Some(out) = row.get("out") {
                // Nothing is stripped: what is sent has the line as it is.
                let sent = claude_message(raw).plaintext;
                let content = Js::read(&sent).at("content").clone();
                match content.get("data") {
                    Some(data) => assert_eq!(data, out, "{}", row.raw),
                    None => assert_eq!(
                        content.at("text"),
                        out.at("message").at("content"),
                        "{}",
                        row.raw
                    ),
                }
            }
        }
    });
}

/// Whether the seed refuses a line for its usage, which ours sends without a report.
fn spoiled(line: &ClaudeLine<'_>) -> bool {
    let ClaudeLine::Assistant {
        message: Some(AssistantMessage { usage, .. }),
        ..
    } = line
    else {
        return false;
    };
    match usage {
        Reported::Absent => false,
        Reported::Usage(usage) => usage.service_tier == Field::Null,
        Reported::Unreadable(_) => true,
    }
}
