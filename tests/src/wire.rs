//! Raw ends of the wire: a client and a server that send what the test says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::PATIENCE;

/// The capability file of the socket `path` (local.md §2).
#[must_use]
pub fn capability_path(config: &Path, path: &str) -> PathBuf {
    let mut name = String::new();
    for byte in Sha256::digest(path.as_bytes()) {
        name.push_str(&format!("{byte:02x}"));
    }
    config
        .join("messaging-capabilities")
        .join(format!("{name}.json"))
}

/// The token that the server at `path` published.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn token_of(config: &Path, path: &str) -> String {
    let text = std::fs::read_to_string(capability_path(config, path)).expect("a capability file");
    let value: Value = serde_json::from_str(&text).expect("a capability");
    value
        .pointer("/authToken")
        .and_then(Value::as_str)
        .expect("a token")
        .to_owned()
}

/// Publishes `token` for the server at `path`, as any server of the dialect does.
///
/// # Panics
///
/// When that fails.
pub fn publish(config: &Path, path: &str, token: &str) {
    let file = capability_path(config, path);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(file.parent().expect("a parent"))
        .expect("the directory");
    let content = serde_json::json!({"socketPath": path, "authToken": token}).to_string();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .expect("the capability");
}

/// A message with a token, as a line.
#[must_use]
pub fn message(token: &str, kind: &str, data: &Value) -> String {
    let frame = serde_json::json!({"type": kind, "data": data, "meta": {"authToken": token}});
    format!("{frame}\n")
}

/// A connection on which the test says every byte.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Closed,
    /// With bytes of ours unread.
    Reset,
}

impl Wire {
    /// Connects to `path`.
    ///
    /// # Panics
    ///
    /// When nobody listens there.
    #[must_use]
    #[track_caller]
    pub fn connect(path: &str) -> Self {
        Self::over(UnixStream::connect(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// A wire over a connected socket.
    ///
    /// # Panics
    ///
    /// When its timeouts cannot be set.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// The socket itself.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// When they cannot be sent.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the peer reads");
        self
    }

    /// Sends bytes, also to a peer that has ended; whether all of them went out.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the output; input is still read.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub fn half_close(&mut self) -> &mut Self {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("an open connection");
        self
    }

    /// The next line, or how the connection ended.
    ///
    /// # Panics
    ///
    /// When neither comes in time.
    #[track_caller]
    pub fn try_line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                let line = line.strip_suffix(b"\n").unwrap_or_default();
                return Ok(String::from_utf8(line.to_vec()).expect("UTF-8"));
            }
            let mut buffer = [0_u8; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "the stream ended within a line");
                    return Err(End::Closed);
                }
                Ok(n) => self
                    .unread
                    .extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(End::Reset),
                Err(error) => panic!("no line came: {error}"),
            }
        }
    }

    /// The next line, as JSON.
    ///
    /// # Panics
    ///
    /// When there is none, or it is no JSON.
    #[track_caller]
    pub fn line(&mut self) -> Value {
        let line = self.try_line().expect("a line before the end");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// All further lines until the connection ends, as JSON, and how it ended.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<Value>, End) {
        let mut lines = Vec::new();
        loop {
            match self.try_line() {
                Ok(line) => lines.push(serde_json::from_str(&line).expect("JSON")),
                Err(end) => return (lines, end),
            }
        }
    }
}

/// A server of the dialect whose every answer is the test's.
#[derive(Debug)]
pub struct FakeServer {
    /// The path of its socket.
    pub path: String,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// The token that it publishes.
    pub const TOKEN: &'static str = "f00d";

    /// Listens at `path`, publishes its capability in `config`, and hands each of the next
    /// `clients` connections to `serve`, one after another.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start(
        config: &Path,
        path: &str,
        clients: usize,
        serve: impl Fn(Wire) + Send + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        publish(config, path, Self::TOKEN);
        let thread = std::thread::spawn(move || {
            for _ in 0..clients {
                let (stream, _) = listener.accept().expect("a client");
                serve(Wire::over(stream));
            }
        });
        Self {
            path: path.to_owned(),
            thread: Some(thread),
        }
    }

    /// Waits until all clients were served.
    ///
    /// # Panics
    ///
    /// When serving one of them failed.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's part");
        }
    }
}
