//! The sockets: Engine.IO and Socket.IO over WebSocket, text only (relay.md §1, §2).

use std::io::{self, BufReader, ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::state::Joined;
use super::{Shared, State};

const PING_INTERVAL: Duration = Duration::from_secs(15);
const MAX_FRAME: u64 = 1_000_000;

/// A text frame of a server.
pub(super) fn frame(text: &str) -> Vec<u8> {
    framed(0x81, text.as_bytes())
}

fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let length = payload.len();
    if let Ok(short @ 0..126) = u8::try_from(length) {
        out.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(126);
        out.extend(medium.to_be_bytes());
    } else {
        out.push(127);
        out.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }
    out.extend_from_slice(payload);
    out
}

/// What a client sent.
enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Close,
    TooLong,
    Other,
}

fn read_frame(reader: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            reader.read_exact(&mut bytes)?;
            u16::from_be_bytes(bytes).into()
        }
        127 => {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes)?;
            u64::from_be_bytes(bytes)
        }
        short => short.into(),
    };
    if length > MAX_FRAME {
        return Ok(Frame::TooLong);
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask)?;
    let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    reader.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(match head[0] {
        0x81 => Frame::Text(String::from_utf8(payload).map_err(io::Error::other)?),
        0x89 => Frame::Ping(payload),
        0x88 => Frame::Close,
        _ => Frame::Other,
    })
}

/// Serves a socket to its end.
pub(super) fn serve(
    stream: &TcpStream,
    mut reader: BufReader<&TcpStream>,
    key: &str,
    shared: &Shared,
) -> io::Result<()> {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.finalize());
    let mut out = stream;
    let head = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    out.write_all(head.as_bytes())?;
    let open = json!({"sid": "e", "upgrades": [], "pingInterval": 15_000, "pingTimeout": 45_000,
        "maxPayload": MAX_FRAME});
    out.write_all(&frame(&format!("0{open}")))?;
    stream.set_read_timeout(Some(PING_INTERVAL))?;
    // Under the lock nobody waits for a client that does not read.
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut number = None;
    let served = serve_frames(stream, &mut reader, shared, &mut number);
    if let Some(number) = number {
        let mut state = shared.lock();
        state.sockets.remove(&number);
        state.methods.retain(|_, owner| *owner != number);
    }
    shared.tell();
    stream.shutdown(Shutdown::Both).unwrap_or_default();
    served
}

fn serve_frames(
    stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    shared: &Shared,
    number: &mut Option<u64>,
) -> io::Result<()> {
    let mut out = stream;
    loop {
        let received = match read_frame(reader) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !shared.lock().faults.half_open {
                    out.write_all(&frame("2"))?;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let text = match received {
            Frame::Text(text) => text,
            Frame::Ping(payload) => {
                if !shared.lock().faults.half_open {
                    out.write_all(&framed(0x8a, &payload))?;
                }
                continue;
            }
            Frame::Close => {
                return out.write_all(&framed(0x88, &[]));
            }
            Frame::TooLong => {
                return out.write_all(&framed(0x88, &1_009_u16.to_be_bytes()));
            }
            Frame::Other => continue,
        };
        match (text.get(..2), *number) {
            (Some("40"), None) => *number = join(stream, &text, shared)?,
            (Some("41"), _) => return Ok(()),
            (Some("42" | "43"), Some(own)) => {
                let mut state = shared.lock();
                if take(&mut state, own, &text).is_none() {
                    // A parse error closes.
                    return Ok(());
                }
            }
            _ if text == "3" => {}
            // A ping of the client's, or an event before it has joined.
            _ => return Ok(()),
        }
        shared.tell();
    }
}

fn join(stream: &TcpStream, text: &str, shared: &Shared) -> io::Result<Option<u64>> {
    let auth: Value = serde_json::from_str(text.get(2..).unwrap_or_default()).unwrap_or_default();
    let mut state = shared.lock();
    let token = auth["token"].as_str().unwrap_or_default();
    let refusal = if let Some(words) = &state.faults.refuse_join {
        Some(words.clone())
    } else if token.is_empty() {
        Some("Missing authentication token".to_owned())
    } else if auth["clientType"] == "session-scoped" && !auth["sessionId"].is_string() {
        Some("Session ID required for session-scoped clients".to_owned())
    } else if state.faults.no_tokens || !state.tokens.contains_key(token) {
        Some("Invalid authentication token".to_owned())
    } else {
        None
    };
    let mut out = stream;
    if let Some(words) = refusal {
        out.write_all(&frame(&format!("44{}", json!({"message": words}))))?;
        return Ok(None);
    }
    state.joined += 1;
    let number = state.joined;
    let joined = Joined {
        stream: Arc::new(stream.try_clone()?),
        session: auth["sessionId"].as_str().map(str::to_owned),
    };
    state.sockets.insert(number, joined);
    out.write_all(&frame(r#"40{"sid":"s"}"#))?;
    Ok(Some(number))
}

/// The id and the array of an event or an acknowledgement.
fn packet(text: &str) -> Option<(Option<u64>, Vec<Value>)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (id, rest) = text.split_at(digits);
    Some((id.parse().ok(), serde_json::from_str(rest).ok()?))
}

fn take(state: &mut State, own: u64, text: &str) -> Option<()> {
    let (id, values) = packet(text.get(2..)?)?;
    if text.starts_with("43") {
        // Late answers are nobody's.
        if let Some(waiting) = id.and_then(|id| state.calls.remove(&id)) {
            waiting.send(values.into_iter().next()?).unwrap_or_default();
        }
        return Some(());
    }
    let name = values.first()?.as_str()?.to_owned();
    let payload = values.get(1).cloned().unwrap_or_default();
    let answer = event(state, own, &name, &payload);
    if let (Some(id), Some(answer)) = (id, answer) {
        let socket = state.sockets.get(&own)?;
        state.write(socket, &format!("43{id}{}", json!([answer])));
    }
    Some(())
}

fn event(state: &mut State, own: u64, name: &str, payload: &Value) -> Option<Value> {
    let sid = payload["sid"].as_str().unwrap_or_default().to_owned();
    match name {
        "ping" => return (!state.faults.half_open).then(|| json!({})),
        "message" => {
            let local_id = payload["localId"].as_str();
            state.store(&sid, payload["message"].as_str()?, local_id, Some(own));
        }
        "session-alive" => {
            let session = state.sessions.get_mut(&sid)?;
            (session.active, session.alive) = (true, session.alive + 1);
        }
        "session-end" => state.sessions.get_mut(&sid)?.active = false,
        "usage-report" => {
            state.usage.push(payload.clone());
            return Some(json!({"success": true, "reportId": "r", "createdAt": 1, "updatedAt": 1}));
        }
        "update-metadata" => return write(state, &sid, payload, "metadata"),
        "update-state" => return write(state, &sid, payload, "agentState"),
        "rpc-register" => {
            let method = payload["method"].as_str()?.to_owned();
            if !state.faults.no_registrations {
                let answer = json!(["rpc-registered", {"method": method}]);
                // The first that joined wins.
                state.methods.entry(method).or_insert(own);
                state.write(state.sockets.get(&own)?, &format!("42{answer}"));
            }
        }
        "rpc-unregister" => {
            let method = payload["method"].as_str()?;
            state.methods.remove(method);
            let answer = json!(["rpc-unregistered", {"method": method}]);
            state.write(state.sockets.get(&own)?, &format!("42{answer}"));
        }
        _ => {}
    }
    None
}

/// Writes a value if its version is the expected one; the sockets hear of it before the writer.
fn write(state: &mut State, sid: &str, payload: &Value, name: &str) -> Option<Value> {
    if state.faults.no_acks {
        return None;
    }
    let expected = payload["expectedVersion"].as_u64();
    let new = payload[name].as_str().map(str::to_owned);
    let Some(session) = state.sessions.get_mut(sid) else {
        // Metadata of an unknown session are never acknowledged.
        return (name == "agentState").then(|| json!({"result": "error"}));
    };
    let (value, version) = if name == "metadata" {
        (Some(session.metadata.0.clone()), session.metadata.1)
    } else {
        session.agent_state.clone()
    };
    if expected != Some(version) {
        return Some(json!({"result": "version-mismatch", "version": version, name: value}));
    }
    let version = version + 1;
    if name == "metadata" {
        session.metadata = (new.clone()?, version);
    } else {
        session.agent_state = (new.clone(), version);
    }
    let body = json!({"t": "update-session", "id": sid, name: {"value": new, "version": version}});
    state.update(sid, body, None);
    Some(json!({"result": "success", "version": version, name: new}))
}
