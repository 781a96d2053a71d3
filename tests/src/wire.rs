//! Raw ends of the wire: a client and a server that send what the test says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::PATIENCE;
use crate::frame;

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

/// Waits until `descriptor` is ready for one of `flags`, or at its end; whether it was within
/// `span`.
///
/// # Panics
///
/// When the system does not say.
pub fn wait_for(descriptor: impl AsFd, flags: PollFlags, span: Duration) -> bool {
    let start = Instant::now();
    loop {
        let left = Timespec::try_from(span.saturating_sub(start.elapsed())).expect("a short span");
        match poll(&mut [PollFd::new(&descriptor, flags)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(error) => panic!("no answer: {error}"),
        }
    }
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
                // With a timeout the kernel does not begin anew by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
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

    /// The next line as it was written, but for its `ts`: see [`frame::untimed`].
    ///
    /// # Panics
    ///
    /// When there is none, or its time is wrong.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        frame::untimed(&self.try_line().expect("a line before the end"))
    }

    /// Demands that the peer ends the connection in good order and says nothing before.
    ///
    /// # Panics
    ///
    /// When it says something, or does not end it in time.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.try_line(), Err(End::Closed));
    }

    /// Demands that the next line is the error frame `text`, exactly, and the last.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    pub fn expect_refusal(&mut self, text: &str) {
        assert_eq!(self.reply(), frame::refusal(text));
        self.expect_end();
    }

    /// Sends a ping with `token`, and demands the pong of the server at `path`.
    ///
    /// # Panics
    ///
    /// When there is another answer or none.
    #[track_caller]
    pub fn ping(&mut self, token: &str, path: &str) -> &mut Self {
        self.send(message(token, "ping", &Value::Null));
        assert_eq!(self.reply(), frame::pong(path));
        self
    }

    /// Waits until there is something to read, a line or the end, at most `span`; whether there
    /// was nothing.
    ///
    /// # Panics
    ///
    /// When the system does not say.
    #[must_use]
    pub fn is_quiet_for(&self, span: Duration) -> bool {
        self.unread.is_empty() && !self.wait_for(PollFlags::IN, span)
    }

    /// Sends as much of `bytes` as is taken without waiting; how much that was.
    ///
    /// # Panics
    ///
    /// When the peer is gone.
    #[track_caller]
    pub fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a mode");
        let sent = match self.stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => panic!("nothing can be sent: {error}"),
        };
        self.stream.set_nonblocking(false).expect("a mode");
        sent
    }

    /// Sends `line` again and again and reads nothing, until the peer takes no more of it over
    /// many `beat`s, which are to show that it lives; how many bytes it took.
    ///
    /// # Panics
    ///
    /// When it takes more than `most` bytes, or is gone.
    #[track_caller]
    pub fn send_until_stuck(&mut self, line: &str, most: usize, mut beat: impl FnMut()) -> usize {
        const BEATS: usize = 20;
        let lines = line.repeat(65_536 / line.len() + 1);
        let (mut sent, mut still) = (0, 0);
        while still < BEATS {
            let rest = lines.as_bytes().get(sent % line.len()..).expect("a rest");
            let taken = self.send_now(rest);
            sent += taken;
            assert!(sent <= most, "it takes without end: {sent} bytes");
            if taken == 0 {
                still += 1;
                beat();
            } else {
                still = 0;
            }
        }
        sent
    }

    /// Waits until the peer has closed the connection both ways. Reads nothing.
    ///
    /// # Panics
    ///
    /// When it does not in time.
    #[track_caller]
    pub fn expect_hangup(&self) {
        assert!(
            self.wait_for(PollFlags::empty(), PATIENCE),
            "the peer holds on"
        );
    }

    fn wait_for(&self, flags: PollFlags, span: Duration) -> bool {
        wait_for(&self.stream, flags, span)
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
                let wait = Timespec::try_from(PATIENCE).expect("a short patience");
                let ready = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&wait));
                assert_eq!(ready, Ok(1), "no client came");
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
