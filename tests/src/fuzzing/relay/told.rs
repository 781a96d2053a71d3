//! What the server tells and asks: the bodies of updates, what is ephemeral, and calls, against
//! the model's own JSON.

use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::keys::DataKey;
use hallway_core::relay::path::confine;
use hallway_core::relay::plaintext::Field;
use hallway_core::relay::raw::{Raw, Text};
use hallway_core::relay::rpc::{self, Refusal, Request};
use hallway_core::relay::update::{
    Body, Ephemeral, MachineRow, SessionRow, StoredMessage, Update, VersionedValue,
};

use super::calls::check_calls;
use super::text;
use crate::model::json::{Json, Member, decode, last};

/// Reads `bytes` as an update, as its body, as what is ephemeral, and as what these are made of.
///
/// # Panics
///
/// When something is read that is not there, or not read that is.
pub fn check_update(bytes: &[u8]) {
    let text = &*text(bytes);
    let (Some(raw), Some(json)) = (Raw::parse(text), Json::read(text)) else {
        return;
    };
    let members = json.members().unwrap_or_default();
    let update = Update::parse(raw);
    let body = last(members, "body");
    let fits = body.is_some() && fits(members, "seq", whole) && fits(members, "id", is_string);
    assert_eq!(update.is_some(), fits, "{text}");
    if let (Some(update), Some(body)) = (update, body) {
        assert_eq!(update.body.as_str(), body);
        check_body(update.body);
    }
    check_body(raw);
    check_row(raw, members);
    check_machine(raw, members);
    check_ephemeral(raw, members);
}

/// The body by its `t`; what is not of its shape is kept as it is.
fn check_body(raw: Raw<'_>) {
    let body = Body::parse(raw);
    let json = Json::read(raw.as_str()).expect("JSON");
    let members = json.members().unwrap_or_default();
    let kind = last(members, "t").and_then(decode);
    let named = |name| last(members, name).filter(|value| is_string(value));
    let value_fits = |name| fits_or_null(members, name, is_value);
    let known = match kind.as_deref() {
        Some("new-message") => {
            named("sid").is_some() && last(members, "message").is_some_and(is_message)
        }
        Some("update-session") => {
            let id = last(members, "id").or(last(members, "sid"));
            id.is_some_and(is_string) && value_fits("metadata") && value_fits("agentState")
        }
        Some("new-session") => is_row(members),
        Some("delete-session") => named("sid").is_some(),
        Some("update-machine") => {
            named("machineId").is_some() && value_fits("metadata") && value_fits("daemonState")
        }
        Some("delete-machine") => named("machineId").is_some(),
        _ => false,
    };
    assert_eq!(!matches!(body, Body::Other(_)), known, "{}", raw.as_str());
    match &body {
        Body::NewMessage { sid, message } => {
            same_text(sid, last(members, "sid"));
            check_message(message, last(members, "message").expect("a message"));
        }
        Body::UpdateSession {
            id,
            metadata,
            agent_state,
        } => {
            same_text(id, last(members, "id").or(last(members, "sid")));
            check_value(metadata, last(members, "metadata"));
            check_value(agent_state, last(members, "agentState"));
        }
        Body::UpdateMachine {
            machine_id,
            metadata,
            daemon_state,
        } => {
            same_text(machine_id, last(members, "machineId"));
            check_value(metadata, last(members, "metadata"));
            check_value(daemon_state, last(members, "daemonState"));
        }
        Body::DeleteSession { sid } => same_text(sid, last(members, "sid")),
        Body::DeleteMachine { machine_id } => same_text(machine_id, last(members, "machineId")),
        Body::NewSession(row) => same_text(&row.id, last(members, "id")),
        Body::Other(other) => assert_eq!(*other, raw),
        other => panic!("{other:?}"),
    }
}

fn check_message(message: &StoredMessage<'_>, text: &str) {
    let json = Json::read(text).expect("JSON");
    let members = json.members().expect("an object");
    assert_eq!(Some(message.seq), last(members, "seq").and_then(number));
    assert_eq!(
        message.local_id,
        field(members, "localId", |value| Raw::parse(value)?.text())
    );
    let content = Json::read(last(members, "content").expect("content")).expect("JSON");
    let content = content.members().unwrap_or_default();
    let is_sealed = last(content, "t").and_then(decode).as_deref() == Some("encrypted");
    let sealed = last(content, "c").filter(|value| is_sealed && is_string(value));
    let found = message.sealed();
    assert_eq!(found.is_some(), sealed.is_some(), "{text}");
    if let Some(found) = found {
        same_text(&found, sealed);
    }
}

fn check_value(value: &Field<VersionedValue<'_>>, text: Option<&str>) {
    let (Field::Is(value), Some(text)) = (value, text) else {
        let is_null = text.is_some_and(|text| text == "null");
        assert_eq!(matches!(value, Field::Null), is_null);
        assert_eq!(matches!(value, Field::Absent), text.is_none());
        return;
    };
    let json = Json::read(text).expect("JSON");
    let members = json.members().expect("an object");
    assert_eq!(
        Some(value.version),
        last(members, "version").and_then(number)
    );
    let expected = field(members, "value", |value| Raw::parse(value)?.text());
    assert_eq!(value.value, expected);
}

fn check_row(raw: Raw<'_>, members: &[Member<'_>]) {
    let row = SessionRow::parse(raw);
    assert_eq!(row.is_some(), is_row(members), "{}", raw.as_str());
    let Some(row) = row else { return };
    let version = last(members, "metadataVersion").and_then(number);
    assert_eq!(Some(row.metadata_version), version);
    let again = row.to_json();
    let again = Raw::parse(&again).and_then(SessionRow::parse);
    assert_eq!(again, Some(row.clone()), "{}", raw.as_str());
}

fn check_machine(raw: Raw<'_>, members: &[Member<'_>]) {
    let row = MachineRow::parse(raw);
    assert_eq!(row.is_some(), is_machine(members), "{}", raw.as_str());
    let Some(row) = row else { return };
    same_text(&row.id, last(members, "id"));
    let version = last(members, "daemonStateVersion").and_then(number);
    assert_eq!(Some(row.daemon_state_version), version);
    let again = row.to_json();
    let again = Raw::parse(&again).and_then(MachineRow::parse);
    assert_eq!(again, Some(row.clone()), "{}", raw.as_str());
}

fn check_ephemeral(raw: Raw<'_>, members: &[Member<'_>]) {
    let ephemeral = Ephemeral::parse(raw);
    let again = ephemeral.to_json();
    let reread = Raw::parse(&again).unwrap_or_else(|| panic!("not JSON: {again}"));
    assert_eq!(Ephemeral::parse(reread), ephemeral, "{}", raw.as_str());
    let kind = last(members, "type").and_then(decode);
    match (&ephemeral, kind.as_deref()) {
        (Ephemeral::Activity { id, active, .. }, Some("activity"))
        | (Ephemeral::MachineActivity { id, active, .. }, Some("machine-activity")) => {
            same_text(id, last(members, "id"));
            assert_eq!(Some(active.to_string().as_str()), last(members, "active"));
        }
        (Ephemeral::Usage { tokens, cost, .. }, Some("usage")) => {
            assert_eq!(Some(tokens.as_str()), last(members, "tokens"));
            assert_eq!(Some(cost.as_str()), last(members, "cost"));
        }
        (Ephemeral::MachineStatus { online, .. }, Some("machine-status")) => {
            assert_eq!(Some(online.to_string().as_str()), last(members, "online"));
        }
        (Ephemeral::SessionEvent { title, body, .. }, Some("session-event")) => {
            same_text(title, last(members, "title"));
            same_text(body, last(members, "body"));
        }
        (Ephemeral::Other(other), _) => assert_eq!(*other, raw),
        other => panic!("{other:?}"),
    }
}

/// Reads `bytes`, up to the first 0, as the payload of a call, seals what is behind it as the
/// parameters of one and of every common method, and takes both for paths.
///
/// # Panics
///
/// When a method or parameters are found that are not there, or a path outside is let through.
pub fn check_rpc(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let first = text(parts.next().unwrap_or_default());
    let second = text(parts.next().unwrap_or_default());
    check_request(&first);
    check_params(&second);
    check_calls(&second);
    check_path(&first, &second);
    check_path("/w", &first);
    let error = rpc::error(&second);
    let raw = Raw::parse(&error).expect("JSON");
    let said = raw.get("error").and_then(Raw::text).expect("a string");
    assert_eq!(said.to_unicode().as_deref(), Some(&*second));
}

fn check_request(payload: &str) {
    let Some(raw) = Raw::parse(payload) else {
        return;
    };
    let json = Json::read(payload).expect("JSON");
    let members = json.members().unwrap_or_default();
    let request = Request::parse(raw);
    let method = last(members, "method").filter(|value| is_string(value));
    assert_eq!(request.is_some(), method.is_some(), "{payload}");
    let (Some(request), Some(method)) = (request, method) else {
        return;
    };
    let params = last(members, "params");
    assert_eq!(request.params.map(Raw::as_str), params);
    let method = decode(method);
    let name = method
        .as_deref()
        .and_then(|method| method.split_once(':'))
        .filter(|(scope, _)| *scope == "S");
    let name = name.map(|(_, name)| name.to_owned());
    assert_eq!(
        request.method_in("S"),
        name.ok_or(Refusal::UnknownMethod),
        "{payload}"
    );
    // Nobody has sealed these.
    let expected = if params.is_some_and(is_string) {
        assert!(matches!(
            request.open(&cipher()),
            Err(Refusal::Unreadable(_))
        ));
        return;
    } else {
        Err(Refusal::NoParams)
    };
    assert_eq!(request.open(&cipher()).map(|_| ()), expected);
}

/// Parameters that the app has sealed are opened when they are JSON, and are what it sealed.
fn check_params(plain: &str) {
    let nonce = Nonce::from_entropy([3; 24]);
    let sealed = cipher().seal_text(nonce, plain).expect("short");
    let payload = format!(r#"{{"method":"S:m","params":"{sealed}"}}"#);
    let request = Raw::parse(&payload).and_then(Request::parse);
    let opened = request.expect("a request").open(&cipher());
    // A byte order mark is no part of the text, as the reference has it.
    let json = Json::read(plain.strip_prefix('\u{feff}').unwrap_or(plain));
    match (opened, json) {
        (Ok(opened), Some(json)) => assert_eq!(opened.raw().as_str(), json.text),
        (Err(Refusal::Unreadable(_)), None) => {}
        (opened, json) => panic!("{opened:?}, but {json:?}"),
    }
}

/// What is let through is below the directory, step by step, and without the steps outside.
fn check_path(directory: &str, path: &str) {
    let directory = format!("/{directory}");
    let found = confine(&directory, path).map_err(|error| error.to_string());
    let base = steps(Vec::new(), &directory);
    let from = if path.starts_with('/') {
        Vec::new()
    } else {
        base.clone()
    };
    let reached = steps(from, path);
    let inside = reached.len() >= base.len() && reached[..base.len()] == base[..];
    // Below the root itself nothing is.
    let inside = inside && (!base.is_empty() || reached.is_empty());
    match found {
        Ok(relative) => {
            assert!(inside, "{path} leads out of {directory}");
            assert_eq!(steps(base, &relative), reached);
            let mut names = relative.split('/');
            assert!(relative.is_empty() || names.all(|name| !["", ".", ".."].contains(&name)));
        }
        Err(words) => {
            assert!(!inside, "{path} is inside {directory}");
            assert_eq!(
                words,
                format!("Access denied: Path '{path}' is outside the working directory")
            );
        }
    }
}

/// Where one is after each step of `path`.
pub(super) fn steps(mut at: Vec<String>, path: &str) -> Vec<String> {
    let mut name = String::new();
    for char in path.chars().chain(['/']) {
        if char != '/' {
            name.push(char);
            continue;
        }
        match std::mem::take(&mut name).as_str() {
            "" | "." => {}
            ".." => drop(at.pop()),
            step => at.push(step.to_owned()),
        }
    }
    at
}

fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&[5; 32]))
}

fn is_string(value: &str) -> bool {
    value.starts_with('"')
}

fn whole(value: &str) -> bool {
    number(value).is_some()
}

/// The whole number that `text` spells: its digits without zeros at both ends, and how many
/// places they are moved.
fn number(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unsigned = whole.trim_start_matches('-');
    let all = format!("{unsigned}{fraction}");
    let digits = all.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let cut = i64::try_from(all.len() - digits.len()).ok()?;
    let places = exponent + cut - i64::try_from(fraction.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    if whole.starts_with('-') || !(0..=20).contains(&places) {
        return None;
    }
    let zeros = "0".repeat(places.try_into().ok()?);
    format!("{digits}{zeros}").parse().ok()
}

/// Whether the member is not there, or as it must be.
fn fits(members: &[Member<'_>], name: &str, is: impl Fn(&str) -> bool) -> bool {
    last(members, name).is_none_or(is)
}

fn fits_or_null(members: &[Member<'_>], name: &str, is: impl Fn(&str) -> bool) -> bool {
    fits(members, name, |value| value == "null" || is(value))
}

fn is_value(text: &str) -> bool {
    let json = Json::read(text).expect("JSON");
    json.members().is_some_and(|members| {
        last(members, "version").is_some_and(whole) && fits_or_null(members, "value", is_string)
    })
}

fn is_message(text: &str) -> bool {
    let json = Json::read(text).expect("JSON");
    json.members().is_some_and(|members| {
        last(members, "seq").is_some_and(whole)
            && last(members, "content").is_some()
            && fits_or_null(members, "localId", is_string)
    })
}

fn is_row(members: &[Member<'_>]) -> bool {
    last(members, "id").is_some_and(is_string)
        && fits(members, "seq", whole)
        && last(members, "metadataVersion").is_some_and(whole)
        && last(members, "agentStateVersion").is_some_and(whole)
        && ["metadata", "agentState", "dataEncryptionKey"]
            .iter()
            .all(|name| fits_or_null(members, name, is_string))
}

fn is_machine(members: &[Member<'_>]) -> bool {
    last(members, "id").is_some_and(is_string)
        && last(members, "metadataVersion").is_some_and(whole)
        && last(members, "daemonStateVersion").is_some_and(whole)
        && ["metadata", "daemonState", "dataEncryptionKey"]
            .iter()
            .all(|name| fits_or_null(members, name, is_string))
}

fn same_text(found: &Text<'_>, expected: Option<&str>) {
    assert_eq!(Some(found.raw().as_str()), expected);
}

fn field<'a, T>(
    members: &[Member<'a>],
    name: &str,
    read: impl Fn(&'a str) -> Option<T>,
) -> Field<T> {
    match last(members, name) {
        None => Field::Absent,
        Some("null") => Field::Null,
        Some(value) => read(value).map_or(Field::Absent, Field::Is),
    }
}
