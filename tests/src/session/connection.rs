//! The server's end of a WebSocket (RFC 6455 §5), which keeps no rule but the test's.

use std::io::{BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::stream::Stream;

/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// Its answer.
pub const PONG: u8 = 10;

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last one of its message.
    pub is_final: bool,
    /// Its opcode.
    pub opcode: u8,
    /// Its payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().copied();
        (self.opcode == CLOSE)
            .then_some(code?)
            .map(u16::from_be_bytes)
    }
}

/// An upgraded connection. Dropped, it is closed without a word.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
    answers_pings: bool,
}

impl Connection {
    pub(super) const fn new(stream: BufReader<Stream>) -> Self {
        Self {
            stream,
            answers_pings: true,
        }
    }

    /// Lets it leave pings unanswered.
    #[must_use]
    pub const fn deaf(mut self) -> Self {
        self.answers_pings = false;
        self
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends one frame, of which the first byte is `first`: flags and opcode.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        self.send_raw(&frame(first, payload))
    }

    /// Sends a text message.
    ///
    /// # Panics
    ///
    /// When the client is gone.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        let sent = self.send_frame(0x80 | TEXT, text.as_bytes());
        sent.expect("the client listens");
    }

    /// The next frame, whatever it is.
    ///
    /// # Errors
    ///
    /// When there is none: [`ErrorKind::UnexpectedEof`] at the end.
    ///
    /// # Panics
    ///
    /// When it is not masked, as a client's has to be.
    pub fn next_frame(&mut self) -> Result<Frame> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_ne!(head[1] & 0x80, 0, "a client's frame is masked (§5.3)");
        assert_eq!(head[0] & 0x70, 0, "no extension was agreed on (§5.2)");
        let length = match head[1] & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.bytes()?)),
            127 => usize::try_from(u64::from_be_bytes(self.bytes()?)).map_err(Error::other)?,
            short => usize::from(short),
        };
        let mask: [u8; 4] = self.bytes()?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Frame {
            is_final: head[0] & 0x80 != 0,
            opcode: head[0] & 0x0f,
            payload,
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next frame that is no ping or pong; answers pings unless it is deaf.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn next_said(&mut self) -> Result<Frame> {
        loop {
            let frame = self.next_frame()?;
            match frame.opcode {
                PING if self.answers_pings => self.send_frame(0x80 | PONG, &frame.payload)?,
                PING | PONG => {}
                _ => return Ok(frame),
            }
        }
    }

    /// The next text message as JSON.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    #[track_caller]
    pub fn next_json(&mut self) -> Value {
        let frame = self.next_said().expect("a message");
        assert!(frame.is_final && frame.opcode == TEXT, "{frame:?}");
        serde_json::from_slice(&frame.payload).expect("a message of JSON")
    }

    /// Waits for the next ping, and answers it unless it is deaf.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    #[track_caller]
    pub fn await_ping(&mut self) -> Vec<u8> {
        let ping = self.next_frame().expect("a ping");
        assert_eq!(ping.opcode, PING, "{ping:?}");
        if self.answers_pings {
            let sent = self.send_frame(0x80 | PONG, &ping.payload);
            sent.expect("the client listens");
        }
        ping.payload
    }

    /// Closes with `code` as RFC 6455 §7.1.2 says, and gives the code of the answer, if there is
    /// one.
    pub fn close(mut self, code: u16) -> Option<u16> {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(b"said the test");
        drop(self.send_frame(0x80 | CLOSE, &payload));
        let answered = self.await_close();
        self.finish();
        answered
    }

    /// The code with which the client closes; `None` when it ends without a word.
    pub fn await_close(&mut self) -> Option<u16> {
        while let Ok(frame) = self.next_said() {
            if frame.opcode == CLOSE {
                return frame.close_code();
            }
        }
        None
    }

    /// Waits until the client is gone, whether it says so or not.
    ///
    /// # Panics
    ///
    /// When it is still there after [`PATIENCE`](crate::PATIENCE).
    #[track_caller]
    pub fn await_end(mut self) {
        loop {
            match self.next_said() {
                Ok(_) => {}
                Err(error) => {
                    let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                    assert!(!late.contains(&error.kind()), "the client is still there");
                    return;
                }
            }
        }
    }

    /// Ends it without a close frame, after what was sent has arrived.
    pub fn finish(self) {
        self.stream.into_inner().finish();
    }

    /// Ends it with a reset.
    pub fn reset(self) {
        self.stream.into_inner().reset();
    }

    /// Lets a write that gets nowhere fail after `timeout`.
    ///
    /// # Panics
    ///
    /// When the system does not know how.
    pub fn write_timeout(&self, timeout: Duration) {
        let set = self.socket().set_write_timeout(Some(timeout));
        set.expect("an option of the socket");
    }

    /// Its socket, below TLS.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref().socket()
    }

    /// Ends the server's direction and goes on reading.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub fn half_close(&mut self) {
        self.socket()
            .shutdown(Shutdown::Write)
            .expect("a connection");
    }
}

/// A server's frame, which is not masked; `first` has the flags and the opcode.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}
