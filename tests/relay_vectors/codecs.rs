//! Base64, Engine.IO, Socket.IO, delays.

use std::time::Duration;

use hallway_core::relay::raw::Raw;
use hallway_core::relay::socketio::{AckId, Args, Body, Packet, Violation, write_event};
use hallway_core::relay::{base64, delays, engineio};

use crate::js::Js;
use crate::shared;

/// Covers: R4.1, R4.2
#[test]
fn relay_vectors_base64() {
    shared("base64", |section| {
        for row in section.get("encode").map(Js::rows).unwrap_or_default() {
            let bytes = row.at("hex").hex();
            assert_eq!(base64::encode(&bytes), row.at("base64").str());
            assert_eq!(base64::encode_url(&bytes), row.at("base64url").str());
            assert_eq!(base64::decode(&row.at("base64").str()), bytes);
            assert_eq!(base64::decode(&row.at("base64url").str()), bytes);
        }
        for row in section.get("decode").map(Js::rows).unwrap_or_default() {
            let decoded = base64::decode(&row.at("in").str());
            assert_eq!(decoded, row.at("std").hex(), "{}", row.raw);
            assert_eq!(decoded, row.at("url").hex(), "{}", row.raw);
        }
    });
}

/// Covers: R1.3, R1.15, R1.22
#[test]
fn relay_vectors_socketio_encode() {
    shared("socketio", |section| {
        if let Some(prefix) = section.get("engineFramePrefix") {
            assert_eq!(engineio::Packet::Message("").encode(), prefix.str());
        }
        for row in section.get("encode").map(Js::rows).unwrap_or_default() {
            let wires = row.at("wire").rows();
            let wire = wires[0].str();
            if wires.len() > 1 {
                // Binary: what cannot be built here is refused when it comes.
                assert_eq!(Packet::decode(&wire), Err(Violation::Binary));
                continue;
            }
            let (id, data) = parts(row.at("packet"));
            let namespace = row.at("packet").at("nsp").str();
            let packet = build(row.at("packet"), &namespace, id.as_deref(), data.as_deref());
            assert_eq!(packet.encode(), wire);
            assert_eq!(Packet::decode(&wire), Ok(packet));
            let message = engineio::Packet::Message(&wire).encode();
            assert_eq!(
                engineio::Packet::decode(&message),
                Ok(engineio::Packet::Message(&wire))
            );
            as_event(row.at("packet"), &wire);
        }
    });
}

/// Covers: R1.15, R1.19, R1.20, R1.21, R1.22
#[test]
fn relay_vectors_socketio_decode() {
    shared("socketio", |section| {
        for row in section.get("decode").map(Js::rows).unwrap_or_default() {
            let text = row.at("in").str();
            let decoded = Packet::decode(&text);
            if row.get("throws").is_some() {
                assert!(decoded.is_err(), "{}: {decoded:?}", row.raw);
            } else if row.at("pendingBinary").bool() || row.at("out").is_null() {
                assert_eq!(decoded, Err(Violation::Binary), "{}", row.raw);
            } else {
                let (id, data) = parts(row.at("out"));
                let packet = decoded.unwrap_or_else(|v| panic!("{}: {v}", row.raw));
                compare(&packet, row.at("out"), id.as_deref(), data.as_deref());
            }
        }
    });
}

/// The id and the data of a packet, as text.
fn parts(packet: &Js) -> (Option<String>, Option<String>) {
    let id = packet.get("id").map(|id| format!("{:.0}", id.number()));
    (id, packet.get("data").map(|data| data.raw.clone()))
}

fn build<'a>(
    packet: &Js,
    namespace: &'a str,
    id: Option<&'a str>,
    data: Option<&'a str>,
) -> Packet<'a> {
    let id = id.map(|digits| AckId::parse(digits).expect("digits"));
    // The texts of the file have blanks that `JSON.stringify` does not write.
    let data = data.map(compact);
    let body = match packet.at("type").number() {
        0.0 => Body::Connect(data),
        1.0 => Body::Disconnect,
        2.0 => Body::Event(id, data.map(|raw| Args::parse(raw).expect("an event"))),
        3.0 => Body::Ack(id, data),
        4.0 => Body::ConnectError(data),
        other => panic!("no text packet has the type {other}"),
    };
    Packet { namespace, body }
}

fn compact(raw: &str) -> Raw<'static> {
    Raw::parse(String::leak(without_blanks(raw))).expect("JSON")
}

/// The text as `JSON.stringify` writes it, but for escapes.
pub(crate) fn without_blanks(raw: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for char in raw.chars() {
        if in_string || !char.is_ascii_whitespace() {
            out.push(char);
        }
        if char == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && char == '\\' && !escaped;
    }
    out
}

/// An event of the root namespace with one argument at most is also what `write_event` writes.
fn as_event(packet: &Js, wire: &str) {
    let is_event = packet.at("type").number() == 2.0 && packet.at("nsp").str() == "/";
    let Some(data) = packet.get("data").filter(|_| is_event) else {
        return;
    };
    if let [name, arguments @ ..] = data.list()
        && arguments.len() < 2
    {
        let mut out = String::new();
        let id = packet.get("id").map(|id| id.raw.parse().expect("small"));
        let argument = arguments.first().map(|argument| compact(&argument.raw));
        write_event(&mut out, id, &name.str(), argument).expect("an event's name");
        assert_eq!(out, wire);
    }
}

fn compare(packet: &Packet<'_>, expected: &Js, id: Option<&str>, data: Option<&str>) {
    let (kind, found_id, found) = match packet.body {
        Body::Connect(data) => (0.0, None, data),
        Body::Disconnect => (1.0, None, None),
        Body::Event(id, args) => (2.0, id, args.map(Args::raw)),
        Body::Ack(id, args) => (3.0, id, args),
        Body::ConnectError(data) => (4.0, None, data),
    };
    assert_eq!(kind, expected.at("type").number());
    assert_eq!(packet.namespace, expected.at("nsp").str());
    let number = |digits: &str| digits.parse::<f64>().expect("digits");
    assert_eq!(found_id.map(|id| number(id.digits())), id.map(number));
    assert_eq!(
        found.map(|raw| Js::read(raw.as_str())),
        data.map(Js::read),
        "{}",
        expected.raw
    );
}

/// Covers: R1.25
#[test]
fn relay_vectors_reconnection_delays() {
    shared("reconnectionDelays", |section| {
        assert_eq!(section.at("min").number(), 1_000.0);
        assert_eq!(section.at("max").number(), 5_000.0);
        assert_eq!(section.at("jitter").number(), 0.5);
        let rows = section.at("byRandom").members();
        assert!(!rows.is_empty());
        for (random, delays) in rows {
            let random = random.parse().expect("a number");
            for (attempt, expected) in (0..).zip(delays.rows()) {
                let delay = delays::reconnection_delay(attempt, random);
                assert_eq!(millis(delay), expected.number(), "{random}, {attempt}");
            }
        }
    });
}

/// Covers: R6.1
#[test]
fn relay_vectors_retry_delays() {
    shared("backoffMaxDelayMs", |section| {
        assert!(!section.members().is_empty());
        for (failures, expected) in section.members() {
            let failures = failures.parse().expect("a number");
            let most = delays::max_retry_delay(failures);
            assert_eq!(millis(most), expected.number());
            assert_eq!(delays::retry_delay(failures, 1.0 - 1e-9), most);
            assert_eq!(delays::retry_delay(failures, 0.0), Duration::ZERO);
        }
    });
}

fn millis(span: Duration) -> f64 {
    let millis = u32::try_from(span.as_millis()).expect("short");
    f64::from(millis)
}
