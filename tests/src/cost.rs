//! What a client's bytes make the core do, without a socket: the hot path as a daemon drives it,
//! for measures that count work and not time.

use hallway_core::local::Inbox;
use hallway_core::local::connection::{Connection, Event, Server};
use hallway_core::local::inbox::Peer;
use hallway_core::{Instant, Limits, Token, UnixTime};

/// The token of the server.
pub const TOKEN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// At least so many bytes are served at a time, so that what a connection costs by itself has no
/// weight.
const SERVED_BYTES: usize = 4_096;

const NOW: Instant = Instant::from_nanos(1);
const WALL: UnixTime = UnixTime::from_millis(1_767_323_045_678).expect("a time");
const PEER: Peer = Peer { uid: 1, pid: 1 };

/// A frame with its LF as clients send it, with a text of `text_bytes`.
#[must_use]
pub fn frame(text_bytes: usize) -> Vec<u8> {
    let words = "The schema change has landed on the main branch, the workers can take it now. ";
    let text: String = words.chars().cycle().take(text_bytes).collect();
    format!(
        "{{\"type\":\"text\",\"data\":\"{text}\",\"ts\":\"2026-01-02T03:04:05.678Z\",\"meta\":{{\"authToken\":\"{TOKEN}\"}}}}\n"
    )
    .into_bytes()
}

/// The input, which is not empty, again and again until it is long enough to be measured.
#[must_use]
pub fn long_enough(input: &[u8]) -> Vec<u8> {
    input.repeat(SERVED_BYTES.div_ceil(input.len().max(1)))
}

/// The longest read of each way to cut an input.
const READS: [usize; 4] = [usize::MAX, 256, 16, 1];

/// How an input is cut into reads, by its first byte: the longest read, and the rest of the input
/// if there is any.
#[must_use]
pub fn cut(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let most = READS[usize::from(*first) % READS.len()];
    (!rest.is_empty()).then_some((most, rest))
}

/// Serves an input twice: however it is cut, a client is served on or refused.
///
/// # Panics
///
/// When that depends on the cuts.
pub fn check(bytes: &[u8]) {
    let Some((most, input)) = cut(bytes) else {
        return;
    };
    let served = [most, usize::MAX].map(|most| {
        let mut client = Client::new();
        client.serve(input, most);
        client.is_served()
    });
    assert_eq!(served[0], served[1], "reads of at most {most}");
}

/// A client that has the token and has shown it, and the consumer of its messages.
#[derive(Debug)]
pub struct Client {
    server: Server,
    connection: Connection,
    inbox: Inbox,
    printed: Vec<u8>,
}

impl Client {
    /// Connects and has a first message taken.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn new() -> Self {
        let limits = &Limits::DEFAULT;
        let mut client = Self {
            server: Server::new("/s", Token::parse(TOKEN).expect("a token")),
            connection: Connection::new(limits, NOW),
            inbox: Inbox::new(limits),
            printed: Vec::new(),
        };
        client.serve(&frame(1), usize::MAX);
        assert!(client.connection.is_authenticated(), "the token is good");
        client
    }

    /// Whether the connection still takes input.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Serves `input` in reads of at most `most` bytes: every message is taken, answered and
    /// printed, every answer written. Says how many bytes were read before the connection was
    /// closed.
    pub fn serve(&mut self, input: &[u8], most: usize) -> usize {
        let mut read = 0;
        while read < input.len() && self.is_served() {
            let rest = &input[read..];
            let spare = self.connection.spare_mut();
            let length = rest.len().min(spare.len()).min(most);
            spare[..length].copy_from_slice(&rest[..length]);
            assert!(
                length > 0,
                "there is room while nothing waits to be written"
            );
            self.connection.handle_input(length, NOW);
            read += length;
            self.turn();
        }
        read
    }

    fn turn(&mut self) {
        while let Some(event) = self.connection.handle_frame(&self.server, NOW, WALL) {
            match event {
                Event::Pinged => {}
                Event::MessageReceived(kept) => {
                    let id = self.inbox.push(kept, PEER, WALL).ok();
                    self.connection.handle_enqueued(id, NOW, WALL);
                }
            }
            while let Some(entry) = self.inbox.pop() {
                self.printed.clear();
                entry.write_json(&mut self.printed);
            }
        }
        let written = self.connection.pending().len();
        self.connection.handle_output(written, NOW);
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
