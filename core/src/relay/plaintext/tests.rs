use alloc::format;
use alloc::string::String;

use super::*;
use crate::relay::raw::Text;

fn raw(text: &str) -> Raw<'_> {
    Raw::parse(text).unwrap_or_else(|| panic!("not JSON: {text}"))
}

/// Covers: R5.1, R5.10
#[test]
fn messages_are_read_by_their_role() {
    let user = r#"{"role":"user","content":{"type":"text","text":"\ud800"},"localKey":"k","meta":{"permissionMode":"of a later day","model":null,"allowedTools":["a","b"],"disallowedTools":[]}}"#;
    let SessionMessage::User(message) = SessionMessage::parse(raw(user)) else {
        panic!()
    };
    let meta = message.meta.clone().unwrap();
    assert_eq!(message.text.raw().as_str(), r#""\ud800""#);
    assert!(meta.permission_mode.unwrap().is("of a later day"));
    assert_eq!(
        (meta.model, meta.fallback_model),
        (Field::Null, Field::Absent)
    );
    assert_eq!(meta.disallowed_tools, Field::Is(alloc::vec![]));
    assert_eq!(message.to_json(), user);

    let agent =
        r#"{"role":"agent","content":{"type":"codex","data":[1]},"meta":{"sentFrom":"cli"}}"#;
    let SessionMessage::Agent(message) = SessionMessage::parse(raw(agent)) else {
        panic!()
    };
    assert_eq!(message.to_json(), agent);
    let envelope = r#"{"role":"session","content":{"id":"c"}}"#;
    assert_eq!(
        SessionMessage::parse(raw(envelope)),
        SessionMessage::Session(raw(r#"{"id":"c"}"#))
    );
}

/// Covers: R9.8
#[test]
fn what_is_of_no_known_shape_is_kept_as_it_is() {
    for text in [
        "null",
        "[]",
        "\"x\"",
        "{}",
        r#"{"role":"session"}"#,
        r#"{"role":"session","content":1}"#,
        r#"{"role":"robot","content":{}}"#,
        r#"{"role":"agent"}"#,
        r#"{"role":1,"content":{}}"#,
        r#"{"role":"user","content":{"type":"image","text":"x"}}"#,
        r#"{"role":"user","content":{"type":"text"}}"#,
        r#"{"role":"user","content":{"type":"text","text":1}}"#,
        r#"{"role":"user","content":{"text":"x"}}"#,
        r#"{"role":"user","content":{"type":1,"text":"x"}}"#,
        r#"{"content":{"type":"text","text":"x"}}"#,
        r#"{"role":1,"content":{"type":"text","text":"x"}}"#,
        r#"{"role":"user","content":{"type":"text","text":"x"},"meta":[]}"#,
        r#"{"role":"user","content":{"type":"text","text":"x"},"meta":{"allowedTools":[1]}}"#,
        r#"{"role":"user","content":{"type":"text","text":"x"},"meta":{"allowedTools":{}}}"#,
        r#"{"role":"user","content":{"type":"text","text":"x"},"localKey":null}"#,
    ] {
        assert_eq!(
            SessionMessage::parse(raw(text)),
            SessionMessage::Other(raw(text))
        );
    }
    for text in [r#"{"type":"new"}"#, r#"{"type":"acp","provider":"x"}"#, "7"] {
        let content = AgentContent::parse(raw(text));
        assert_eq!(content, AgentContent::Other(raw(text)));
        assert_eq!(content.to_json(), text);
    }
}

/// Each kind with all of its members, and then without each that is required.
/// Covers: R5.5
#[test]
fn every_kind_of_acp_data_is_typed() {
    for (members, required) in [
        (r#""type":"message","message":"m""#, 1),
        (r#""type":"reasoning","message":"m""#, 1),
        (r#""type":"thinking","text":"t""#, 1),
        (
            r#""type":"tool-call","callId":"c","name":"n","input":{"a":1},"id":"i""#,
            4,
        ),
        (
            r#""type":"tool-result","callId":"c","output":null,"id":"i","isError":true"#,
            3,
        ),
        (
            r#""type":"file-edit","description":"d","filePath":"/f","id":"i","diff":"+","oldContent":"a","newContent":"b""#,
            3,
        ),
        (r#""type":"terminal-output","data":"d","callId":"c""#, 2),
        (r#""type":"task_started","id":"i""#, 1),
        (r#""type":"task_complete","id":"i""#, 1),
        (r#""type":"turn_aborted","id":"i""#, 1),
        (
            r#""type":"permission-request","permissionId":"p","toolName":"t","description":"d","options":{}"#,
            3,
        ),
    ] {
        let whole = format!("{{{members}}}");
        let data = AcpData::parse(raw(&whole));
        assert!(!matches!(data, AcpData::Other(_)), "{whole}");
        let again = data.to_json();
        assert_eq!(AcpData::parse(raw(&again)), data);
        assert_eq!(again.len(), whole.len());
        let members: alloc::vec::Vec<&str> = members.split(',').collect();
        for at in 1..members.len() {
            let mut fewer = members.clone();
            fewer.remove(at);
            let text = format!("{{{}}}", fewer.join(","));
            let other = matches!(AcpData::parse(raw(&text)), AcpData::Other(_));
            assert_eq!(other, at <= required, "{text}");
        }
        assert_eq!(data.token_count(), None);
    }
    let counts = r#"{"type":"token_count","a":{"b":[1]}}"#;
    assert_eq!(AcpData::parse(raw(counts)).token_count(), Some(raw(counts)));
    for text in ["{}", r#"{"type":1}"#, r#"{"type":"x"}"#] {
        assert_eq!(AcpData::parse(raw(text)).token_count(), None);
    }
}

/// Covers: R5.2
#[test]
fn events_of_a_session_have_no_meta() {
    for (data, json) in [
        (
            SessionEvent::Switch {
                mode: Text::new("local"),
            },
            r#"{"type":"switch","mode":"local"}"#,
        ),
        (
            SessionEvent::Message {
                message: Text::new("m"),
            },
            r#"{"type":"message","message":"m"}"#,
        ),
        (
            SessionEvent::PermissionModeChanged {
                mode: Text::new("plan"),
            },
            r#"{"type":"permission-mode-changed","mode":"plan"}"#,
        ),
        (SessionEvent::Ready {}, r#"{"type":"ready"}"#),
    ] {
        let id = Text::new("E");
        let message = AgentMessage::new(AgentContent::Event { id, data });
        let expected =
            format!(r#"{{"role":"agent","content":{{"type":"event","id":"E","data":{json}}}}}"#);
        assert_eq!(message.to_json(), expected);
        assert_eq!(AgentMessage::parse(raw(&expected)), Some(message));
    }
}

/// Covers: R5.3, R5.4
#[test]
fn lines_of_claude_are_sent_with_what_follows_from_them() {
    let sent = |text| {
        let outgoing = claude_message(raw(text));
        let usage = outgoing.usage.map(|usage| usage.output_tokens);
        let summary = outgoing
            .summary
            .map(|text| String::from(text.raw().as_str()));
        let own = outgoing.plaintext.starts_with(r#"{"role":"user""#);
        assert!(own || outgoing.plaintext.contains(text));
        (own, usage, summary)
    };
    for (text, expected) in [
        (
            r#"{"type":"user","message":{"content":"x"}}"#,
            (true, None, None),
        ),
        (
            r#"{"type":"user","message":{"content":"x"},"isMeta":false}"#,
            (true, None, None),
        ),
        (
            r#"{"type":"user","message":{"content":"x"},"isMeta":true}"#,
            (false, None, None),
        ),
        (
            r#"{"type":"user","message":{"content":"x"},"isSidechain":true}"#,
            (false, None, None),
        ),
        (
            r#"{"type":"user","message":{"content":[]}}"#,
            (false, None, None),
        ),
        (r#"{"type":"user"}"#, (false, None, None)),
        (r#"{"message":{"content":"x"}}"#, (false, None, None)),
        (r#"{"type":"user","message":{}}"#, (false, None, None)),
        (r#"{"type":"assistant"}"#, (false, None, None)),
        (r#"{"type":"assistant","message":[]}"#, (false, None, None)),
        (
            r#"{"type":"assistant","message":{"usage":{"input_tokens":1,"output_tokens":2,"service_tier":null}}}"#,
            (false, Some(2), None),
        ),
        (
            r#"{"type":"assistant","message":{"usage":{"input_tokens":1}}}"#,
            (false, None, None),
        ),
        (
            r#"{"type":"system","message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#,
            (false, None, None),
        ),
        (
            r#"{"type":"summary","summary":"S"}"#,
            (false, None, Some(String::from("\"S\""))),
        ),
        (r#"{"type":"summary","summary":1}"#, (false, None, None)),
        (r#"{"type":1}"#, (false, None, None)),
        ("[7]", (false, None, None)),
    ] {
        assert_eq!(sent(text), expected, "{text}");
    }
}

/// Covers: R5.6
#[test]
fn lines_of_claude_are_typed_and_bad_usage_spoils_nothing_else() {
    let text =
        r#"{"type":"assistant","uuid":"u","message":{"model":"m","usage":{"input_tokens":-1}}}"#;
    let ClaudeLine::Assistant {
        message: Some(message),
        ..
    } = ClaudeLine::parse(raw(text))
    else {
        panic!()
    };
    assert_eq!(
        message.usage,
        Reported::Unreadable(raw(r#"{"input_tokens":-1}"#))
    );
    assert_eq!(ClaudeLine::parse(raw(text)).to_json(), text);
    let absent = r#"{"type":"assistant","uuid":"u","message":{}}"#;
    assert_eq!(ClaudeLine::parse(raw(absent)).to_json(), absent);
    let read = text.replace("-1", "1,\"output_tokens\":2,\"service_tier\":null");
    assert_eq!(ClaudeLine::parse(raw(&read)).to_json(), read);
    let usage = r#"{"input_tokens":1,"output_tokens":18446744073709551615}"#;
    let report = Usage::parse(raw(usage)).unwrap().report("S");
    assert!(
        report.contains(r#""total":18446744073709551615"#),
        "it saturates"
    );
}
