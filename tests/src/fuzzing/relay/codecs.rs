use std::time::Duration;

use hallway_core::relay::engineio::{self, Handshake};
use hallway_core::relay::raw::Raw;
use hallway_core::relay::socketio::{self, Args, Body, Violation};

use super::text;
use crate::model::json::{Json, decode, last};

/// Reads `bytes` as a frame of Engine.IO, and writes it again.
///
/// # Panics
///
/// When it is read or written wrongly.
pub fn check_engineio(bytes: &[u8]) {
    let frame = &*text(bytes);
    let decoded = engineio::Packet::decode(frame);
    let mut chars = frame.chars();
    let kind = chars.next();
    let data = chars.as_str();
    let expected = match kind {
        None => Err(engineio::Violation::Empty),
        Some('0') => return check_handshake(data, decoded),
        Some('2') => Ok(engineio::Packet::Ping(data)),
        Some('3') => Ok(engineio::Packet::Pong(data)),
        Some('4') => Ok(engineio::Packet::Message(data)),
        Some('1' | '5' | '6') if !data.is_empty() => Err(engineio::Violation::UnexpectedData),
        Some('1') => Ok(engineio::Packet::Close),
        Some('5') => Ok(engineio::Packet::Upgrade),
        Some('6') => Ok(engineio::Packet::Noop),
        Some('b') => Err(engineio::Violation::Binary),
        Some(_) => Err(engineio::Violation::UnknownType),
    };
    assert_eq!(decoded, expected, "{frame}");
    if let Ok(packet) = decoded {
        assert_eq!(packet.encode(), frame);
    }
}

fn check_handshake(data: &str, decoded: Result<engineio::Packet<'_>, engineio::Violation>) {
    let Ok(packet) = decoded else {
        assert_eq!(decoded, Err(engineio::Violation::BadHandshake));
        assert_eq!(handshake(data), None, "{data}");
        return;
    };
    let engineio::Packet::Open(found) = &packet else {
        panic!("{packet:?}");
    };
    let expected = handshake(data).unwrap_or_else(|| panic!("{data}"));
    let Handshake {
        sid,
        ping_interval,
        ping_timeout,
        max_payload,
    } = found;
    let found = (
        sid.raw().as_str().to_owned(),
        *ping_interval,
        *ping_timeout,
        *max_payload,
    );
    assert_eq!(found, expected);
    let again = packet.encode();
    assert_eq!(engineio::Packet::decode(&again), Ok(packet));
}

type Fields = (String, Duration, Duration, Option<usize>);

fn handshake(data: &str) -> Option<Fields> {
    let json = Json::read(data)?;
    let members = json.members()?;
    let sid = last(members, "sid")?;
    (sid.starts_with('"') && sid.len() <= 256).then_some(())?;
    let span = |name| {
        let millis = number(last(members, name)?)?;
        (1..=3_600_000)
            .contains(&millis)
            .then(|| Duration::from_millis(millis as u64))
    };
    let payload = match last(members, "maxPayload") {
        None => None,
        Some(raw) => Some(number(raw)?.try_into().ok()?),
    };
    Some((
        sid.to_owned(),
        span("pingInterval")?,
        span("pingTimeout")?,
        payload,
    ))
}

/// The whole number that a JSON number is, by shifting its digits one by one.
fn number(raw: &str) -> Option<u128> {
    if raw.starts_with(|c: char| !c.is_ascii_digit() && c != '-') {
        return None;
    }
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.iter().all(|digit| *digit == b'0') {
        return Some(0);
    }
    let mut behind = fraction.len() as i64 - exponent.parse::<i64>().ok()?;
    while behind > 0 {
        if digits.pop().unwrap_or(b'0') != b'0' {
            return None;
        }
        behind -= 1;
        if digits.is_empty() {
            return None;
        }
    }
    let significant = digits.iter().position(|digit| *digit != b'0')?;
    let length = digits.len() as i64 - significant as i64 - behind;
    if negative || length > 20 {
        return None;
    }
    digits.resize(digits.len() + (-behind) as usize, b'0');
    let value: u128 = std::str::from_utf8(&digits).ok()?.parse().ok()?;
    (value <= u128::from(u64::MAX)).then_some(value)
}

/// Reads `bytes` as a packet of Socket.IO, and writes it again.
///
/// # Panics
///
/// When it is read or written wrongly.
pub fn check_socketio(bytes: &[u8]) {
    let text = &*text(bytes);
    let decoded = socketio::Packet::decode(text);
    let expected = read(text);
    let Ok(packet) = decoded else {
        assert_eq!(decoded.map(|_| ()), expected.map(|_| ()), "{text}");
        return;
    };
    let (kind, id, payload) = match packet.body {
        Body::Connect(data) => ('0', None, data),
        Body::Disconnect => ('1', None, None),
        Body::Event(id, args) => ('2', id, args.map(Args::raw)),
        Body::Ack(id, args) => ('3', id, args),
        Body::ConnectError(data) => ('4', None, data),
    };
    let expected = expected.unwrap_or_else(|violation| panic!("{text}: {violation}"));
    let kept = matches!(kind, '2' | '3');
    assert_eq!(kind, expected.kind);
    assert_eq!(packet.namespace, expected.namespace);
    assert_eq!(
        id.map(|id| id.digits()),
        expected.id.filter(|_| kept),
        "{text}"
    );
    assert_eq!(payload.map(Raw::as_str), expected.payload, "{text}");
    let again = packet.encode();
    let same = socketio::Packet::decode(&again);
    assert_eq!(same, Ok(packet), "{text}");
}

struct Parts<'a> {
    kind: char,
    namespace: &'a str,
    id: Option<&'a str>,
    payload: Option<&'a str>,
}

/// The parts of a packet, character by character.
fn read(text: &str) -> Result<Parts<'_>, Violation> {
    let kind = text.chars().next().unwrap_or('0');
    let mut at = if text.is_empty() { 0 } else { kind.len_utf8() };
    let peek = |at: usize| text.as_bytes().get(at).copied();
    match kind {
        '0'..='4' => {}
        '5' | '6' => {
            let from = at;
            while peek(at).is_some_and(|byte| byte.is_ascii_digit()) {
                at += 1;
            }
            let counted = at > from && peek(at) == Some(b'-');
            return Err(if counted {
                Violation::Binary
            } else {
                Violation::IllegalAttachments
            });
        }
        _ => return Err(Violation::UnknownType),
    }
    let mut namespace = "/";
    if peek(at) == Some(b'/') {
        let from = at;
        while peek(at).is_some_and(|byte| byte != b',') {
            at += 1;
        }
        namespace = &text[from..at];
        at = text.len().min(at + 1);
    }
    let from = at;
    while peek(at).is_some_and(|byte| byte.is_ascii_digit()) {
        at += 1;
    }
    let id = (at > from).then(|| &text[from..at]);
    let rest = &text[at..];
    let payload = (!rest.is_empty()).then_some(rest);
    if !payload.is_none_or(|payload| allowed(kind, payload)) {
        return Err(Violation::InvalidPayload);
    }
    Ok(Parts {
        kind,
        namespace,
        id,
        payload: payload.map(|payload| payload.trim_end_matches([' ', '\t', '\r', '\n'])),
    })
}

fn allowed(kind: char, payload: &str) -> bool {
    let Some(first) = Json::read(payload).and_then(|_| payload.chars().next()) else {
        return false;
    };
    match (kind, first) {
        ('0' | '4', '{') | ('4', '"') | ('3', '[') => true,
        ('2', '[') => first_element(&payload[1..]),
        _ => false,
    }
}

/// Whether the first element of an array is a number or a string that is not reserved.
fn first_element(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
    if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return true;
    }
    let Some(inner) = rest.strip_prefix('"') else {
        return false;
    };
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let name = &rest[..end.expect("valid JSON") + 2];
    !socketio::RESERVED_NAMES.contains(&decode(name).unwrap_or_default().as_str())
}
