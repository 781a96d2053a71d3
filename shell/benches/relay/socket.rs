//! Messages that a server says as fast as they are taken, read by the client and by less.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use hallway::core::relay::cipher::{Cipher, Nonce};
use hallway::core::relay::client::Scope;
use hallway::core::relay::engineio;
use hallway::core::relay::keys::DataKey;
use hallway::core::relay::raw::Raw;
use hallway::core::relay::socketio;
use hallway::core::relay::update::{self, Body, SessionRow};
use hallway::net::{AccessToken, TransportOptions};
use hallway::relay::http::{Http, Patience};
use hallway::relay::transport::{Relay, Update, Upkeep};
use hallway_tests::session::SessionServer;
use hallway_tests::session::connection::{TEXT, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// How long the plaintext of a message is, in bytes.
pub(crate) const LENGTHS: [usize; 2] = [200, 4_096];

const KEY: [u8; 32] = [7; 32];
const HELLO: &str =
    r#"0{"sid":"e","upgrades":[],"pingInterval":600000,"pingTimeout":600000,"maxPayload":1000000}"#;

fn cipher() -> Cipher {
    Cipher::DataKey(DataKey::from_bytes(&KEY))
}

/// A server of one session of which the first message is in its history, and the others are said
/// when they are asked for.
pub(crate) struct Speaker {
    base: String,
    messages: usize,
    go: Mutex<Option<Sender<()>>>,
    /// For each socket, what it waits for.
    starts: std::sync::Arc<Mutex<Vec<Sender<()>>>>,
    _server: SessionServer,
}

impl Speaker {
    /// A server of so many messages of `length` bytes.
    pub(crate) fn start(length: usize, messages: usize) -> Result<Self> {
        let mut all = Vec::new();
        for seq in 2..=messages {
            let update = format!(
                r#"42["update",{{"id":"u","seq":{seq},"body":{{"t":"new-message","sid":"S","message":{}}},"createdAt":1}}]"#,
                stored(seq, length)?
            );
            all.extend(frame(0x80 | TEXT, update.as_bytes()));
        }
        let page = format!(r#"{{"messages":[{}],"hasMore":false}}"#, stored(1, length)?);
        let mut server = SessionServer::plain();
        let base = server.base_url().replace("localhost", "127.0.0.1");
        let starts = std::sync::Arc::new(Mutex::new(Vec::new()));
        let waiting = starts.clone();
        let all = std::sync::Arc::new(all);
        server.each(move |_, accepted| {
            let (page, all) = (page.clone(), all.clone());
            let (start, started) = channel();
            let waiting = waiting.clone();
            std::thread::spawn(move || {
                let Ok(request) = accepted.request() else {
                    return;
                };
                if request.header("upgrade").is_none() {
                    return request.refuse(200, &[], &page);
                }
                let mut connection = request.accept();
                connection.send(HELLO);
                if connection.next_said().is_err() {
                    return;
                }
                if let Ok(mut waiting) = waiting.lock() {
                    waiting.push(start);
                }
                connection.send(r#"40{"sid":"s"}"#);
                if started.recv().is_ok() {
                    // The reader leaves when it has what it wants.
                    drop(connection.socket().write_all(&all));
                    // It may leave later, and must find the connection until then.
                    started.recv().unwrap_or_default();
                }
            });
        });
        Ok(Self {
            base,
            messages,
            go: Mutex::new(None),
            starts,
            _server: server,
        })
    }

    /// Has the socket that joined last hear the messages.
    fn go(&self) -> Result<()> {
        let start = self.starts.lock().ok().and_then(|mut starts| starts.pop());
        let start = start.context("a socket")?;
        start.send(())?;
        if let Ok(mut go) = self.go.lock() {
            // The connection before is let go.
            *go = Some(start);
        }
        Ok(())
    }

    fn rate(&self, began: Instant) -> Result<f64> {
        let took = began.elapsed().as_secs_f64();
        Ok(f64::from(u32::try_from(self.messages - 2)?) / took)
    }
}

/// A message as the server stores it, under a nonce of its own.
fn stored(seq: usize, length: usize) -> Result<String> {
    let empty = r#"{"role":"user","content":{"type":"text","text":""}}"#;
    let filling = "x".repeat(length.saturating_sub(empty.len()));
    let plain = empty.replace(r#":""}"#, &format!(r#":"{filling}"}}"#));
    let mut nonce = [0; 24];
    let (first, _) = nonce.split_at_mut(8);
    first.copy_from_slice(&u64::try_from(seq)?.to_be_bytes());
    let sealed = cipher().seal_text(Nonce::from_entropy(nonce), &plain)?;
    Ok(format!(
        r#"{{"id":"m{seq}","seq":{seq},"content":{{"t":"encrypted","c":"{sealed}"}},"localId":null,"createdAt":1,"updatedAt":1}}"#
    ))
}

/// What does less than the client.
#[derive(Clone, Copy)]
pub(crate) enum Floor {
    /// The WebSocket library and the codecs of both layers.
    Codecs,
    /// The same, and each message is found in its update, opened, and held to be JSON.
    Opened,
}

pub(crate) const FLOORS: [Floor; 2] = [Floor::Codecs, Floor::Opened];

impl Floor {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Codecs => "",
            Self::Opened => ", opened",
        }
    }

    /// Messages a second from the first said to the last.
    pub(crate) async fn read(self, server: &Speaker) -> Result<f64> {
        let mut socket = connect(&server.base).await?;
        let cipher = cipher();
        let consent = r#"40{"token":"t"}"#;
        next(&mut socket).await?;
        socket.send(Message::text(consent)).await?;
        next(&mut socket).await?;
        server.go()?;
        let mut began = Instant::now();
        for n in 2..=server.messages {
            let message = next(&mut socket).await?;
            let argument = argument(message.to_text()?).context("an event")?;
            if matches!(self, Self::Opened) {
                std::hint::black_box(opened(argument, &cipher).context("a message")?);
            } else {
                std::hint::black_box(argument);
            }
            if n == 2 {
                began = Instant::now();
            }
        }
        server.rate(began)
    }
}

fn argument(frame: &str) -> Option<Raw<'_>> {
    let Ok(engineio::Packet::Message(text)) = engineio::Packet::decode(frame) else {
        return None;
    };
    let socketio::Body::Event(_, Some(args)) = socketio::Packet::decode(text).ok()?.body else {
        return None;
    };
    args.name()?.is("update").then(|| args.argument())?
}

fn opened(argument: Raw<'_>, cipher: &Cipher) -> Option<String> {
    let update = update::Update::parse(argument)?;
    let Body::NewMessage { message, .. } = Body::parse(update.body) else {
        return None;
    };
    let sealed = message.sealed()?;
    let plaintext = cipher.open_text(&sealed.to_lossy()).ok()?;
    Some(plaintext.raw().as_str().to_owned())
}

async fn connect(base: &str) -> Result<WebSocketStream<TcpStream>> {
    let authority = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let head = "GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
                Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101 "), "no upgrade");
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Result<Message> {
    let message = socket.next().await.context("the end")??;
    ensure!(message.is_text(), "no text");
    Ok(message)
}

/// The client and its transport. Messages a second from the first said to the last.
pub(crate) async fn read_ours(server: &Speaker) -> Result<f64> {
    let http = Http::new(
        &server.base,
        &TransportOptions::default(),
        Patience::DEFAULT,
    )?;
    let row = r#"{"id":"S","metadata":null,"metadataVersion":0,"agentState":null,"agentStateVersion":0,"dataEncryptionKey":null}"#;
    let row = Raw::parse(row)
        .and_then(SessionRow::parse)
        .context("a row")?;
    let session = Scope::session(&row, cipher());
    let token = AccessToken::parse("t")?;
    let mut relay = Relay::start(http, token, session, &Upkeep::default())?;
    relay.client().listen();
    let connected = relay.next().await;
    ensure!(
        matches!(connected, Some(Update::Connected { .. })),
        "{connected:?}"
    );
    let mut began = Instant::now();
    for n in 1..=server.messages {
        let update = relay.next().await;
        let Some(Update::UserMessage(message)) = &update else {
            anyhow::bail!("{update:?}");
        };
        ensure!(message.seq == u64::try_from(n)?, "out of order");
        std::hint::black_box(&update);
        match n {
            1 => server.go()?,
            2 => began = Instant::now(),
            _ => {}
        }
    }
    server.rate(began)
}
