//! What a session sends.

use hallway_core::UnixTime;
use hallway_core::relay::events;
use hallway_core::relay::plaintext::{
    AcpData, AgentContent, AgentMessage, Document, SessionEvent, Usage, claude_message,
};
use hallway_core::relay::raw::{Raw, Text};

use crate::generation;
use crate::js::{Js, Value};

/// The time of all sends, which the file has as `<ms>`.
const NOW: u64 = 1_790_000_000_123;

fn now() -> UnixTime {
    UnixTime::from_millis(NOW).expect("a time")
}

fn raw(js: &Js) -> Raw<'_> {
    Raw::parse(&js.raw).expect("JSON")
}

/// Covers: R2.1, R2.2, R2.4, R2.5, R2.6, R2.7, R5.2, R5.3, R5.4, R5.5, R5.7, R5.8
#[test]
fn relay_vectors_client_sends() {
    generation("clientSends", |section, _| {
        for row in section.rows() {
            let expected = row.at("emits").rows();
            let emitted: Vec<Js> = emits(row).iter().map(|text| timeless(text)).collect();
            assert_eq!(emitted, expected, "{}", row.raw);
        }
    });
}

/// What the row's method makes us send, each as the file writes it.
fn emits(row: &Js) -> Vec<String> {
    let method = row.at("method").str();
    let null = Js::read("null");
    let input = row.get("input").unwrap_or(&null);
    match method.as_str() {
        "sendClaudeSessionMessage" => {
            let sends = claude_message(raw(input));
            let mut out = vec![message(&sends.plaintext)];
            if let Some(usage) = sends.usage {
                out.push(event("usage-report", &usage.report("S1")));
            }
            if let Some(summary) = sends.summary {
                let mut metadata = before(row, "metadataDecrypted", "summary");
                metadata.set_summary(&summary, now());
                out.push(metadata_update(row, &metadata));
            }
            out
        }
        "sendCodexMessage" => vec![agent(AgentContent::Codex { data: raw(input) })],
        "sendAgentMessage" => {
            let [provider, data] = input.list() else {
                panic!("{}", row.raw)
            };
            let data = AcpData::parse(raw(data));
            assert!(!matches!(data, AcpData::Other(_)) || data.token_count().is_some());
            vec![agent(AgentContent::Acp {
                provider: Text::new(&provider.str()),
                data,
            })]
        }
        "sendSessionEvent" => {
            let [data, id] = input.list() else {
                panic!("{}", row.raw)
            };
            let data = SessionEvent::parse(raw(data));
            assert!(!matches!(data, SessionEvent::Other(_)), "{}", row.raw);
            vec![agent(AgentContent::Event {
                id: Text::new(&id.str()),
                data,
            })]
        }
        "keepAlive" => {
            let [thinking, mode] = input.list() else {
                panic!("{}", row.raw)
            };
            let payload = events::session_alive("S1", now(), thinking.bool(), &mode.str());
            vec![format!(r#"["VOLATILE","session-alive",{payload}]"#)]
        }
        "sendSessionDeath" => vec![event("session-end", &events::session_end("S1", now()))],
        "sendUsageData" => {
            let usage = Usage::parse(raw(input)).expect("a usage");
            vec![event("usage-report", &usage.report("S1"))]
        }
        "updateMetadata" => {
            let (name, value) = merge(&input.str()).expect("metadata is never null");
            let mut metadata = before(row, "metadataDecrypted", &name);
            metadata.set(&name, raw(&value));
            vec![metadata_update(row, &metadata)]
        }
        "updateAgentState" => vec![state_update(row, merge(&input.str()))],
        other => panic!("no test knows {other}"),
    }
}

fn event(name: &str, payload: &str) -> String {
    format!(r#"["{name}",{payload}]"#)
}

/// A payload whose ciphertext under `name` stands decrypted, as in the file.
fn decrypted(payload: &str, name: &str, plaintext: &str) -> String {
    let sealed = format!(r#""{name}":"SEALED""#);
    assert!(payload.contains(&sealed), "{payload}");
    payload.replace(&sealed, &format!(r#""{name}Decrypted":{plaintext}"#))
}

fn message(plaintext: &str) -> String {
    let payload = events::message("S1", "SEALED", None);
    event("message", &decrypted(&payload, "message", plaintext))
}

fn agent(content: AgentContent<'_>) -> String {
    let message_text = AgentMessage::new(content.clone()).to_json();
    let again = AgentMessage::parse(Raw::parse(&message_text).expect("JSON")).expect("ours");
    assert_eq!(again.content, content);
    message(&message_text)
}

fn expected_version(row: &Js) -> u64 {
    let payload = &row.at("emits").rows().last().expect("an update").list()[2];
    payload
        .at("expectedVersion")
        .raw
        .parse()
        .expect("a version")
}

fn metadata_update(row: &Js, metadata: &Document) -> String {
    let payload = events::update_metadata("S1", expected_version(row), "SEALED");
    let payload = decrypted(&payload, "metadata", metadata.raw().as_str());
    format!(r#"["ACK","update-metadata",{payload}]"#)
}

fn state_update(row: &Js, merge: Option<(String, Js)>) -> String {
    let version = expected_version(row);
    let payload = match merge {
        None => events::update_state("S1", version, None),
        Some((name, value)) => {
            let mut state = before(row, "agentStateDecrypted", &name);
            state.set(&name, raw(&value));
            let payload = events::update_state("S1", version, Some("SEALED"));
            decrypted(&payload, "agentState", state.raw().as_str())
        }
    };
    format!(r#"["ACK","update-state",{payload}]"#)
}

/// What the document was before the member `name` was set: the file says what it was after.
fn before(row: &Js, field: &str, name: &str) -> Document {
    let after = row.at("emits").rows().last().expect("an update").list()[2].at(field);
    let mut document = Document::parse(raw(after)).expect("an object");
    document.remove(name);
    assert_eq!(document.get(name), None);
    document
}

/// Reads `x => ({...x, name:value})`; `x => null` is `None`.
fn merge(function: &str) -> Option<(String, Js)> {
    let (parameter, body) = function.split_once(" => ").expect("a function");
    if body == "null" {
        return None;
    }
    let member = body
        .strip_prefix(&format!("({{...{parameter}, "))
        .and_then(|rest| rest.strip_suffix("})"))
        .unwrap_or_else(|| panic!("no test knows {function}"));
    let (name, value) = member.split_once(':').expect("a member");
    Some((name.trim().to_owned(), Js::read(value)))
}

/// The value with `<ms>` for the time.
fn timeless(text: &str) -> Js {
    let mut value = Js::read(text);
    forget(&mut value);
    value
}

fn forget(js: &mut Js) {
    match &mut js.value {
        Value::Number(number) if *number == NOW as f64 => {
            js.value = Value::Text("<ms>".encode_utf16().collect());
        }
        Value::List(list) => list.iter_mut().for_each(forget),
        Value::Object(members) => members.iter_mut().for_each(|(_, value)| forget(value)),
        _ => {}
    }
}
