//! The front that is written by hand: HTTP, and Engine.IO and Socket.IO over WebSocket, text only
//! (relay.md §1, §2). It does what no library's server does: what [`Faults`](super::Faults) says.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::routes::{self, Asked};
use super::state::Way;
use super::{Shared, State, events};

const PING_INTERVAL: Duration = Duration::from_secs(15);
const MAX_FRAME: u64 = 1_000_000;

/// Serves what connects to `listener`, each connection on a thread of its own.
pub(super) fn start(listener: TcpListener, shared: Arc<Shared>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.lock().stopped {
                break;
            }
            let shared = shared.clone();
            // A connection that ends is no error of the server's.
            thread::spawn(move || serve(&stream, &shared).unwrap_or_default());
        }
    });
}

/// Serves one request, which may become a socket.
fn serve(stream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (asked, key) = read(&mut reader)?;
    if let Some(key) = &key {
        if asked.path == "/v1/updates/" && asked.query == "EIO=4&transport=websocket" {
            return serve_socket(stream, reader, key, shared);
        }
        // Any other path: the server just drops the socket.
        return Ok(());
    }
    let Some((status, body)) = routes::respond(shared, &asked) else {
        return Ok(());
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = stream;
    stream.write_all((head + &body).as_bytes())
}

/// A request, and the key of an upgrade.
fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<(Asked, Option<String>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        ..Asked::default()
    };
    let (mut length, mut key) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "authorization" => asked.token = value.strip_prefix("Bearer ").map(str::to_owned),
            "sec-websocket-key" => key = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if length > 0 {
        asked.body = serde_json::from_slice(&body)?;
    }
    Ok((asked, key))
}

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
fn serve_socket(
    stream: &TcpStream,
    mut reader: BufReader<&TcpStream>,
    key: &str,
    shared: &Arc<Shared>,
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
    // Under the lock nobody waits for a client that does not read.
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut number = None;
    let served = serve_frames(stream, &mut reader, shared, &mut number);
    if let Some(number) = number {
        events::leave(&mut shared.lock(), number);
    }
    shared.tell();
    stream.shutdown(Shutdown::Both).unwrap_or_default();
    served
}

fn serve_frames(
    stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    shared: &Arc<Shared>,
    number: &mut Option<u64>,
) -> io::Result<()> {
    let mut out = stream;
    loop {
        let text = match read_frame(reader)? {
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
            (Some("40"), None) => {
                *number = join(stream, &text, shared)?;
                if let Some(own) = *number {
                    let shared = shared.clone();
                    thread::spawn(move || beat(&shared, own));
                }
            }
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

/// The engine's heartbeat, as long as the socket is joined.
fn beat(shared: &Shared, number: u64) {
    loop {
        thread::sleep(PING_INTERVAL);
        let state = shared.lock();
        match state.sockets.get(&number).map(|socket| &socket.way) {
            Some(Way::ByHand(stream)) => state.write(stream, "2"),
            Some(Way::Library(_)) | None => break,
        }
    }
}

fn join(stream: &TcpStream, text: &str, shared: &Shared) -> io::Result<Option<u64>> {
    let auth = serde_json::from_str(text.get(2..).unwrap_or_default()).unwrap_or_default();
    let mut state = shared.lock();
    let mut out = stream;
    if let Err(words) = events::admit(&state, &auth) {
        out.write_all(&frame(&format!("44{}", json!({"message": words}))))?;
        return Ok(None);
    }
    out.write_all(&frame(r#"40{"sid":"s"}"#))?;
    let way = Way::ByHand(Arc::new(stream.try_clone()?));
    Ok(Some(events::enter(&mut state, way, &auth)))
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
        state.hear("acknowledgement", &json!(values));
        // Late answers are nobody's.
        if let Some(waiting) = id.and_then(|id| state.calls.remove(&id)) {
            waiting.send(values.into_iter().next()?).unwrap_or_default();
        }
        return Some(());
    }
    let name = values.first()?.as_str()?.to_owned();
    let payload = values.get(1).cloned().unwrap_or_default();
    if name.starts_with("update-") {
        state.asked = id.unwrap_or(state.asked);
    }
    let answer = events::event(state, own, &name, &payload);
    if let (Some(id), Some(answer)) = (id, answer) {
        let socket = state.sockets.get(&own)?;
        if let Way::ByHand(stream) = &socket.way {
            for _ in 0..=u8::from(state.faults.acks_twice) {
                state.write(stream, &format!("43{id}{}", json!([answer])));
            }
        }
    }
    Some(())
}
