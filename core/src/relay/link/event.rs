//! What a link is told and what it says.

use core::fmt;
use core::time::Duration;

use crate::backoff::{Epoch, GaveUp};
use crate::relay::raw::{Raw, Text};
use crate::relay::{engineio, socketio};
use crate::time::Instant;

pub use crate::session::event::DialFailure;

/// What the caller is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drop the transport or the dial of this epoch, whatever it is doing.
    Hangup(Epoch),
    /// Open a WebSocket; tell that it was opened, or that it failed.
    Dial(Epoch),
}

/// What the server may not send. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is no packet of the engine.
    Engine(engineio::Violation),
    /// The message is no packet of Socket.IO.
    Socket(socketio::Violation),
    /// The frame is binary.
    Binary,
    /// The packet is not for this state, as a second handshake.
    OutOfTurn,
    /// A ping carries more than it may.
    LongPing,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine(violation) => return violation.fmt(f),
            Self::Socket(violation) => return violation.fmt(f),
            Self::Binary => "the relay sent binary data",
            Self::OutOfTurn => "the packet is out of turn",
            Self::LongPing => "a ping carries too much",
        })
    }
}

impl core::error::Error for Violation {}

/// Why the server does not let a client join (relay.md §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There was no token.
    MissingToken,
    /// The token is not valid.
    InvalidToken,
    /// There was no session id.
    MissingSession,
    /// There was no machine id.
    MissingMachine,
    /// There is no such namespace.
    InvalidNamespace,
    /// Anything else; what the server said is in the event.
    Other,
}

/// The server's words for each refusal.
const REFUSALS: [(&str, Refusal); 5] = [
    ("Missing authentication token", Refusal::MissingToken),
    ("Invalid authentication token", Refusal::InvalidToken),
    (
        "Session ID required for session-scoped clients",
        Refusal::MissingSession,
    ),
    (
        "Machine ID required for machine-scoped clients",
        Refusal::MissingMachine,
    ),
    ("Invalid namespace", Refusal::InvalidNamespace),
];

impl Refusal {
    pub(super) fn of(said: Option<&Text<'_>>) -> Self {
        let known = REFUSALS
            .iter()
            .find(|(words, _)| said.is_some_and(|said| said.is(words)));
        known.map_or(Self::Other, |(_, refusal)| *refusal)
    }

    /// Whether another attempt may have another answer: only when the server did not say what
    /// is wrong with this one.
    #[must_use]
    pub const fn retries(self) -> bool {
        matches!(self, Self::Other)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = REFUSALS.iter().find(|(_, refusal)| refusal == self);
        f.write_str(words.map_or("refused by the server", |(words, _)| words))
    }
}

impl core::error::Error for Refusal {}

/// Why a connection is dialled again: every cause is one that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The dial failed.
    DialFailed(DialFailure),
    /// The engine's first packet did not come in time.
    DialTimedOut,
    /// The server neither consented nor refused in time.
    JoinTimedOut,
    /// The server refused, and did not say what is wrong with the attempt.
    Refused(Refusal),
    /// The server speaks another version, and did not when it was joined before.
    Incompatible,
    /// The connection ended, with this close code if the server sent a close frame (1005 for
    /// one without a code).
    ConnectionClosed(Option<u16>),
    /// The server has put the client out of the namespace.
    ServerDisconnected,
    /// The server sent a frame longer than the caller takes.
    MessageTooLong,
    /// The server sent what it may not send.
    Violation(Violation),
    /// The engine's heartbeat stopped.
    NoHeartbeat,
    /// A `ping` of ours was not acknowledged: the connection is half open.
    NoAnswer,
    /// The machine slept while it connected.
    Slept,
    /// The caller asked for it.
    Forced,
}

impl Cause {
    /// Whether the server knows that the connection has ended.
    pub(super) const fn is_clean(self) -> bool {
        matches!(
            self,
            Self::ConnectionClosed(Some(_)) | Self::ServerDisconnected
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DialFailed(failure) => return failure.fmt(f),
            Self::DialTimedOut => "connecting took too long",
            Self::JoinTimedOut => "the server did not answer the authentication",
            Self::Refused(refusal) => return refusal.fmt(f),
            Self::Incompatible => "the server speaks another version of Socket.IO",
            Self::ConnectionClosed(None) => "the connection broke",
            Self::ConnectionClosed(Some(code)) => {
                return write!(f, "the connection was closed (code {code})");
            }
            Self::ServerDisconnected => "disconnected by the server",
            Self::MessageTooLong => "a message was too long",
            Self::Violation(violation) => return violation.fmt(f),
            Self::NoHeartbeat => "the server's heartbeat stopped",
            Self::NoAnswer => "the server does not answer",
            Self::Slept => "the machine slept",
            Self::Forced => "as was asked for",
        })
    }
}

/// Why a link has ended. None of these passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The caller closed it.
    User,
    /// The server refused the token or the scope.
    Refused(Refusal),
    /// The first dial failed in a way that does not pass by itself.
    DialRefused(DialFailure),
    /// The server speaks another version of Socket.IO: its consent has no `sid`.
    Incompatible,
    /// The policy allows no further dial.
    GaveUp {
        /// What was spent.
        why: GaveUp,
        /// The last failure.
        cause: Cause,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("closed"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::DialRefused(failure) => failure.fmt(f),
            Self::Incompatible => Cause::Incompatible.fmt(f),
            Self::GaveUp { why, cause } => write!(f, "gave up: {why}; last: {cause}"),
        }
    }
}

impl core::error::Error for CloseReason {}

/// What a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// It was not asked to connect.
    Idle,
    /// It is dialling, or joining.
    Connecting,
    /// It is connected.
    Open,
    /// It will dial again.
    Waiting(Cause),
    /// It has ended.
    Closed(CloseReason),
}

impl Status {
    /// Whether it goes on by itself. When it does not, only the caller can help: with another
    /// token, another server, or another link.
    #[must_use]
    pub const fn retries(self) -> bool {
        match self {
            Self::Idle | Self::Closed(_) => false,
            Self::Connecting | Self::Open | Self::Waiting(_) => true,
        }
    }
}

/// An event of ours that waits for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked(pub(super) u64);

/// An event of the server's that waits for our acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owed(pub(super) u64);

/// Why an acknowledgement is not to be had, or to be given, any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckFailure {
    /// Its time is over.
    TimedOut,
    /// The connection is gone. Whether the event has arrived is not known.
    Disconnected,
}

impl fmt::Display for AckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "there was no acknowledgement in time",
            Self::Disconnected => "the connection was lost before the acknowledgement",
        })
    }
}

impl core::error::Error for AckFailure {}

/// Why a packet of the server's is not passed on. The connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// An acknowledgement of nothing that waits for one: late, repeated, or made up.
    UnknownAck,
    /// The event has no name, or one that is no string.
    Unnamed,
    /// The event has the id of one that still waits for our acknowledgement, or an id that no
    /// server counts up to.
    BadId,
    /// Too many events of the server's wait for our acknowledgement.
    Flooded,
    /// It is for another namespace, or of no meaning.
    Meaningless,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The link is open.
    Connected {
        /// Until when the server may hold the connection before for a living one, when it was
        /// not told of its end.
        stale_until: Option<Instant>,
    },
    /// The server sent an event.
    Received {
        /// Its name.
        name: Text<'a>,
        /// Its argument.
        argument: Option<Raw<'a>>,
        /// What to acknowledge it by, when the server wants that.
        owed: Option<Owed>,
    },
    /// The server has acknowledged an event of ours.
    Acked {
        /// Which.
        asked: Asked,
        /// What it says.
        argument: Option<Raw<'a>>,
    },
    /// An event of ours will not be acknowledged.
    AckLost {
        /// Which.
        asked: Asked,
        /// Why.
        why: AckFailure,
    },
    /// An event of the server's is not to be acknowledged any more.
    OwedLost {
        /// Which.
        owed: Owed,
        /// Why.
        why: AckFailure,
    },
    /// A packet is not passed on.
    Ignored(Ignored),
    /// There is no connection; there will be another dial.
    Reconnecting {
        /// How many retries there were since the last connection that proved itself.
        attempt: u32,
        /// From now to the dial.
        delay: Duration,
        /// Why.
        cause: Cause,
        /// What the server said to it.
        said: Option<Text<'a>>,
    },
    /// It has ended. Nothing follows but the acknowledgements that are lost.
    Closed {
        /// Why.
        reason: CloseReason,
        /// What the server said to it.
        said: Option<Text<'a>>,
    },
}

/// Why something is not taken to be sent; the link is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmitError {
    /// There is no connection. Nothing is kept for the next one.
    NotConnected,
    /// Too much waits to be written, or to be acknowledged. Room comes when it was.
    Full,
    /// The frame is longer than the server takes, or than all that may wait.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The library keeps the event's name for itself.
    ReservedName,
    /// Nothing of this id waits for an acknowledgement.
    UnknownRequest,
    /// The link has ended.
    Closed(CloseReason),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected to the relay"),
            Self::Full => f.write_str("too much waits to be sent"),
            Self::TooLong { bytes, limit } => {
                write!(
                    f,
                    "the frame takes {bytes} bytes; at most {limit} are taken"
                )
            }
            Self::ReservedName => socketio::ReservedName.fmt(f),
            Self::UnknownRequest => f.write_str("nothing of this id waits for an answer"),
            Self::Closed(reason) => write!(f, "the link has ended: {reason}"),
        }
    }
}

impl core::error::Error for EmitError {}
