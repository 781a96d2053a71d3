//! The world of the link model: both machines, the pipes between them, and what may happen.

use std::fmt;

use hallway_core::Instant;
use hallway_core::local::connection::Connection;
use hallway_core::local::exchange::Exchange;
use hallway_core::local::inbox::{EntryId, Inbox};

use super::super::{Cut, Way, fill, millis};
use super::witness::{Asked, Witness};

/// One direction of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pipe {
    pub(super) bytes: Vec<u8>,
    /// The writer has ended it.
    pub(super) ended: bool,
    /// The reader knows.
    pub(super) told: bool,
    pub(super) way: Way,
}

impl Pipe {
    pub(super) fn send(&mut self, bytes: &[u8], cut: Cut) -> usize {
        let n = cut.take(bytes);
        self.way.moved(bytes, n);
        self.bytes.extend(bytes.iter().take(n));
        n
    }

    pub(super) fn receive(&mut self, spare: &mut [u8]) -> usize {
        let n = fill(spare, &self.bytes, Cut::Whole);
        self.bytes.drain(..n);
        n
    }

    /// Loses what is under way; nothing comes any more, not even an end.
    pub(super) fn cut_off(&mut self) {
        *self = Self {
            told: true,
            ..Self::default()
        };
    }
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Until it is closed and its user has heard all outcomes.
    pub(super) exchange: Option<Exchange>,
    /// Until it has hung up.
    pub(super) connection: Option<Connection>,
    pub(super) inbox: Inbox,
    pub(super) now: u16,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) lost: bool,
    pub(super) witness: Witness,
    /// With [`Flaw::AnswersLate`]: what is to be answered.
    pub(super) owed: Option<Option<EntryId>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.exchange.as_ref();
        let server = self.connection.as_ref();
        let due = |deadline: Option<Instant>| deadline.map(millis);
        f.debug_struct("State")
            .field("now", &self.now)
            .field(
                "client_timeout",
                &due(client.and_then(Exchange::poll_timeout)),
            )
            .field(
                "server_timeout",
                &due(server.and_then(Connection::poll_timeout)),
            )
            .field("client_is_closed", &client.map(Exchange::is_closed))
            .field("close_reason", &server.map(Connection::close_reason))
            .field("up", &self.up.bytes.len())
            .field("down", &String::from_utf8_lossy(&self.down.bytes))
            .field("lost", &self.lost)
            .field("inbox", &self.inbox.len())
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may come from outside, each at most once.
///
/// When the link breaks, what is under way is lost, and one side hears of it at once, the other
/// never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The link breaks, and the client hears of it.
    LostToClient,
    /// The link breaks, and the server hears of it.
    LostToServer,
    /// The server stops.
    Stop,
    /// The connection loses its place.
    Evict,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// At the client.
    Client(ClientStep),
    /// At the server.
    Server(ServerStep),
    /// Something from outside.
    Trouble(Trouble),
    /// A millisecond passes.
    Tick,
    /// The consumer takes an entry.
    Consume,
}

/// What the client may do, or be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientStep {
    /// The user asks for something.
    Ask(Asked),
    /// The user wants no more: the output ends.
    HalfClose,
    /// Some of the output is written.
    Write(Cut),
    /// All that has come is read.
    Read,
    /// An outcome is polled; the exchange is dropped when it is closed and has none.
    Poll,
    /// The input has ended.
    End,
    /// The link is broken.
    Break,
    /// The timer fires.
    Timeout,
}

/// What the server may do, or be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerStep {
    /// All that has come is read.
    Read,
    /// A frame is taken, and answered.
    Take,
    /// With [`Flaw::AnswersLate`](super::Flaw::AnswersLate): the frame is answered.
    Answer,
    /// Some of the output is written.
    Write(Cut),
    /// The next action is asked for and done.
    Act,
    /// The input has ended.
    End,
    /// The link is broken.
    Break,
    /// The timer fires.
    Timeout,
}
