use hallway_core::relay::plaintext::{
    AcpData, AgentMessage, ClaudeLine, Document, SessionEvent, SessionMessage, Usage,
    claude_message,
};
use hallway_core::relay::raw::{Raw, Text};

use super::text;
use crate::model::json::{Json, decode, last};

/// Reads `bytes` as every plaintext, and writes it again.
///
/// # Panics
///
/// When something is lost on the way.
pub fn check_plaintext(bytes: &[u8]) {
    let text = &*text(bytes);
    let parsed = Raw::parse(text);
    let json = Json::read(text);
    assert_eq!(parsed.map(Raw::as_str), json.as_ref().map(|json| json.text));
    let (Some(raw), Some(json)) = (parsed, json) else {
        return;
    };
    check_text(raw);
    check_shapes(raw);
    check_document(raw, &json);
}

fn check_text(raw: Raw<'_>) {
    let Some(text) = raw.text() else {
        assert!(!raw.as_str().starts_with('"'));
        return;
    };
    let unicode = decode(raw.as_str());
    assert_eq!(text.to_unicode().as_deref(), unicode.as_deref());
    let lossy = text.to_lossy();
    match unicode {
        Some(unicode) => {
            assert_eq!(lossy, unicode);
            assert!(text.is(&unicode) && Text::new(&unicode).is(&unicode));
        }
        // Escapes alone can be no Unicode: without them nothing is replaced.
        None => assert!(lossy.contains('\u{fffd}') && raw.as_str().contains("\\u")),
    }
}

/// What was read is written so that it reads the same.
fn check_shapes(raw: Raw<'_>) {
    let again = |text: String, check: &dyn Fn(Raw<'_>)| {
        let raw = Raw::parse(&text).unwrap_or_else(|| panic!("not JSON: {text}"));
        check(raw);
    };
    match SessionMessage::parse(raw) {
        SessionMessage::User(message) => again(message.to_json(), &|raw| {
            assert_eq!(
                SessionMessage::parse(raw),
                SessionMessage::User(message.clone())
            );
        }),
        SessionMessage::Agent(message) => again(message.to_json(), &|raw| {
            assert_eq!(AgentMessage::parse(raw), Some(message.clone()));
        }),
        SessionMessage::Session(content) => assert!(content.is_object()),
        SessionMessage::Other(other) => assert_eq!(other, raw),
        other => panic!("{other:?}"),
    }
    let acp = AcpData::parse(raw);
    again(acp.to_json(), &|raw| assert_eq!(AcpData::parse(raw), acp));
    let event = SessionEvent::parse(raw);
    again(event.to_json(), &|raw| {
        assert_eq!(SessionEvent::parse(raw), event);
    });
    let line = ClaudeLine::parse(raw);
    again(line.to_json(), &|raw| {
        assert_eq!(ClaudeLine::parse(raw), line)
    });
    if let Some(usage) = Usage::parse(raw) {
        again(usage.to_json(), &|raw| {
            assert_eq!(Usage::parse(raw).as_ref(), Some(&usage));
        });
        again(usage.report("S"), &|raw| assert!(raw.is_object()));
    }
    let sends = claude_message(raw);
    again(sends.plaintext, &|sent| match SessionMessage::parse(sent) {
        SessionMessage::User(user) => {
            assert_eq!(
                raw.get("message").and_then(|m| m.get("content")),
                Some(user.text.raw())
            );
        }
        SessionMessage::Agent(agent) => {
            assert!(agent.to_json().contains(raw.as_str()));
        }
        other => panic!("{other:?}"),
    });
}

/// Setting one member leaves all others as they were, in order.
fn check_document(raw: Raw<'_>, json: &Json<'_>) {
    let Some(mut document) = Document::parse(raw) else {
        assert!(json.members().is_none());
        return;
    };
    let members = json.members().expect("an object");
    // A name of its own, or one that is there.
    let first = members.first().and_then(|member| decode(member.key));
    for name in ["new", first.as_deref().unwrap_or("new")] {
        let value = Raw::parse(r#"["set"]"#).expect("JSON");
        document.set(name, value);
        let text = document.raw().as_str().to_owned();
        let set = Json::read(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(document.get(name), Some(value));
        let set = set.members().expect("an object");
        let others = |members: &[crate::model::json::Member<'_>]| -> Vec<(String, String)> {
            let others = members.iter().filter(|member| !member.is(name));
            let others = others.map(|m| (m.key.to_owned(), m.value.to_owned()));
            others.collect()
        };
        assert_eq!(others(set), others(members));
        assert_eq!(last(set, name), Some(value.as_str()));
        assert_eq!(set.iter().filter(|member| member.is(name)).count(), 1);
        document = Document::parse(raw).expect("an object");
        document.remove(name);
        assert_eq!(document.get(name), None);
        document = Document::parse(raw).expect("an object");
    }
}
