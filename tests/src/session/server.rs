//! A server of sessions that takes each step when the test takes it.

use std::io::{BufRead as _, BufReader, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ServerConfig;

use super::connection::Connection;
use super::listener::Listener;
use super::stream::{self, Stream};
use crate::PATIENCE;

/// What RFC 6455 §1.3 has appended to the key of a handshake.
const HANDSHAKE: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A server on loopback. It accepts at once, and does nothing else by itself.
#[derive(Debug)]
pub struct SessionServer {
    listener: Listener,
    accepted: Mutex<Option<Receiver<TcpStream>>>,
    tls: Option<Arc<ServerConfig>>,
}

impl SessionServer {
    /// A server over plain TCP.
    #[must_use]
    pub fn plain() -> Self {
        Self::new(None)
    }

    /// A server over TLS.
    #[must_use]
    pub fn tls(config: Arc<ServerConfig>) -> Self {
        Self::new(Some(config))
    }

    fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        let (sender, accepted) = channel();
        // Whoever dials when the test is over is dropped.
        let listener = Listener::new(move |socket| drop(sender.send(socket)));
        Self {
            listener,
            accepted: Mutex::new(Some(accepted)),
            tls,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Its base URL, as `localhost`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.base_url_at(self.address())
    }

    /// The base URL that leads to it by way of a relay at `address`.
    #[must_use]
    pub fn base_url_at(&self, address: SocketAddr) -> String {
        let (scheme, port) = (
            if self.tls.is_some() { "https" } else { "http" },
            address.port(),
        );
        format!("{scheme}://localhost:{port}")
    }

    /// How many TCP connections there were, those that nobody took yet included.
    #[must_use]
    pub fn dials(&self) -> usize {
        self.listener.count()
    }

    /// The next TCP connection.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    #[must_use]
    #[track_caller]
    pub fn accept(&self) -> Accepted {
        let accepted = self.accepted.lock().expect("nobody panicked");
        let accepted = accepted.as_ref().expect("nobody else accepts");
        let socket = accepted.recv_timeout(PATIENCE).expect("no further dial");
        Accepted::new(socket, self.tls.clone())
    }

    /// The next request.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    #[must_use]
    #[track_caller]
    pub fn request(&self) -> Request {
        self.accept().request().expect("a request")
    }

    /// The next WebSocket.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    #[must_use]
    #[track_caller]
    pub fn connection(&self) -> Connection {
        self.request().accept()
    }

    /// Has `behave` take every further connection, counted from 0, on a thread of its own.
    ///
    /// # Panics
    ///
    /// When it was called before.
    pub fn each(&mut self, mut behave: impl FnMut(usize, Accepted) + Send + 'static) {
        let accepted = self.accepted.get_mut().expect("nobody panicked").take();
        let accepted = accepted.expect("nobody else accepts");
        let tls = self.tls.clone();
        std::thread::spawn(move || {
            for (n, socket) in accepted.iter().enumerate() {
                behave(n, Accepted::new(socket, tls.clone()));
            }
        });
    }
}

/// A TCP connection on which nothing was said.
#[derive(Debug)]
pub struct Accepted {
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
}

impl Accepted {
    fn new(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Self {
        socket.set_nodelay(true).expect("an option of the socket");
        let patience = Some(PATIENCE);
        socket.set_read_timeout(patience).expect("a timeout");
        socket.set_write_timeout(patience).expect("a timeout");
        Self { socket, tls }
    }

    /// Takes the TLS handshake, if there is one, and reads a request with its body.
    ///
    /// # Errors
    ///
    /// When the client does not come so far.
    pub fn request(self) -> Result<Request> {
        let mut stream = BufReader::new(Stream::secure(self.socket, self.tls)?);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let mut headers = Vec::new();
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Request {
            method,
            target,
            headers,
            body: Vec::new(),
            stream,
        };
        let length = request.header("content-length").map(str::parse);
        let length = length.transpose().map_err(std::io::Error::other)?;
        request.body = vec![0; length.unwrap_or(0)];
        request.stream.read_exact(&mut request.body)?;
        Ok(request)
    }

    /// Ends it with a reset.
    pub fn reset(self) {
        stream::reset(&self.socket);
    }

    /// Sends `bytes` without TLS and ends it; gives whether what came began like TLS.
    #[must_use]
    pub fn say(mut self, bytes: &str) -> bool {
        let mut first = [0];
        let is_tls = self.socket.read_exact(&mut first).is_ok() && first == [0x16];
        // A client that is gone does not hear it.
        drop(self.socket.write_all(bytes.as_bytes()));
        Stream::Plain(self.socket).finish();
        is_tls
    }
}

/// A request of which the answer is up to the test.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its headers in order; the names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    stream: BufReader<Stream>,
}

impl Request {
    /// The value of a header.
    ///
    /// # Panics
    ///
    /// When it is there twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|header| header.0 == name);
        let value = values.next().map(|header| header.1.as_str());
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }

    /// Upgrades it.
    ///
    /// # Panics
    ///
    /// When it is no request for that, by RFC 6455 §4.2.1, or the client is gone.
    #[must_use]
    #[track_caller]
    pub fn accept(self) -> Connection {
        assert_eq!(self.method, "GET");
        let asked = |name| self.header(name).map(str::to_ascii_lowercase);
        assert_eq!(asked("upgrade").as_deref(), Some("websocket"));
        assert_eq!(asked("connection").as_deref(), Some("upgrade"));
        assert_eq!(asked("sec-websocket-version").as_deref(), Some("13"));
        let key = self.header("sec-websocket-key").expect("a key").to_owned();
        let accept = accept_key(&key);
        self.switch(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
    }

    /// Sends `head`, whatever it is, and goes on as if it were an upgrade.
    ///
    /// # Panics
    ///
    /// When the client is gone.
    #[must_use]
    #[track_caller]
    pub fn switch(mut self, head: &str) -> Connection {
        let stream = self.stream.get_mut();
        stream
            .write_all(head.as_bytes())
            .expect("the client listens");
        Connection::new(self.stream)
    }

    /// Answers with `status`, more headers and a body, and ends the connection.
    pub fn refuse(self, status: u16, headers: &[(&str, &str)], body: &str) {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 {status} Said The Test\r\n{headers}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        ));
    }

    /// Sends `bytes` and ends the connection. A client that is gone does not hear it.
    pub fn say(mut self, bytes: &str) {
        drop(self.stream.get_mut().write_all(bytes.as_bytes()));
        self.stream.into_inner().finish();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.into_inner().reset();
    }
}

/// What proves that `key` was read (RFC 6455 §4.2.2).
fn accept_key(key: &str) -> String {
    let text = format!("{key}{HANDSHAKE}");
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// RFC 4648 §4.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standards() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
