//! The relay's packet codecs at standard input and output, for `codec.test.mjs`: for each line, a
//! frame as a JSON string, one line that says how it is read, and how what was read is written.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use hallway_core::relay::engineio;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::socketio::{self, Args, Body};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let frame = line.map(|line| serde_json::from_str::<String>(&line));
        let Ok(Ok(frame)) = frame else {
            eprintln!("error: a line is no JSON string; write one frame a line");
            return ExitCode::from(2);
        };
        if writeln!(out, "{}", read(&frame)).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn read(frame: &str) -> Value {
    let violation = |text: String| json!({ "violation": text });
    let text = match engineio::Packet::decode(frame) {
        Err(error) => return violation(error.to_string()),
        Ok(engineio::Packet::Message(text)) => text,
        Ok(other) => return json!({ "engine": other.encode() }),
    };
    let packet = match socketio::Packet::decode(text) {
        Err(error) => return violation(error.to_string()),
        Ok(packet) => packet,
    };
    let (kind, id, data) = match packet.body {
        Body::Connect(data) => (0, None, data),
        Body::Disconnect => (1, None, None),
        Body::Event(id, args) => (2, id, args.map(Args::raw)),
        Body::Ack(id, data) => (3, id, data),
        Body::ConnectError(data) => (4, None, data),
    };
    let again = engineio::Packet::Message(&packet.encode()).encode();
    json!({
        "type": kind,
        "nsp": packet.namespace,
        "id": id.map(socketio::AckId::digits),
        "data": data.map(Raw::as_str),
        "again": again,
    })
}
