//! What a client is told and what it says.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::backoff::Epoch;
use crate::relay::cipher::{OpenError, Plaintext, SealError};
use crate::relay::cursor::{FetchId, Withheld};
use crate::relay::link::{AckFailure, Cause, CloseReason, EmitError, Ignored, Owed};
use crate::relay::outbox::{BatchId, PostFailure, PushError};
use crate::relay::plaintext::SessionMessage;
use crate::relay::raw::{Raw, Text};
use crate::relay::rpc::Refusal;
use crate::relay::update::Ephemeral;
use crate::relay::versioned::{Attempt, Outcome, UpdateId};
use crate::time::Instant;

/// Why a post or a fetch failed.
pub type HttpFailure = PostFailure;

/// How messages are sent and fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST` and `GET /v3/sessions/:id/messages`: the default.
    Durable,
    /// The events of the socket, and `GET /v1/sessions/:id/messages`: for servers that know no
    /// other way.
    Socket,
}

/// Which value of a session or a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Its metadata.
    Metadata,
    /// The state of a session's agent, or of a machine's daemon.
    State,
}

/// An update whose turn it is: [`Client::merge`](super::Client::merge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    /// Which value.
    pub target: Target,
    /// Which update: the one that [`Client::request_update`](super::Client::request_update)
    /// gave, or one of the client's own.
    pub update: UpdateId,
    pub(super) attempt: Attempt,
}

/// What a merge makes of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Nothing.
    Keep,
    /// This.
    Write(crate::relay::plaintext::Document),
    /// `null`, which only the state of a session's agent can be.
    Clear,
}

/// Messages to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Which fetch the answer belongs to.
    pub id: FetchId,
    /// By which route.
    pub route: Route,
    /// The number after which messages are wanted; the old route gives the newest instead.
    pub after: u64,
    /// The most that are wanted.
    pub limit: usize,
}

/// What the caller is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Drop the transport or the dial of this epoch, whatever it is doing.
    Hangup(Epoch),
    /// Open a WebSocket; tell that it was opened, or that it failed.
    Dial(Epoch),
    /// Post [`Client::post_body`](super::Client::post_body), and tell the answer.
    Post(BatchId),
    /// Fetch messages, and tell the answer.
    Fetch(Fetch),
    /// Say that the machine is alive: [`Client::machine_alive`](super::Client::machine_alive).
    KeepAlive,
    /// Bring a nonce, and for an update of the caller's the change, to
    /// [`Client::merge`](super::Client::merge).
    Merge(Merge),
}

/// A message of the session that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Its number in the session. What was dealt with may be kept as the place to start after.
    pub seq: u64,
    /// The id that its sender gave it.
    pub local_id: Option<Box<str>>,
    /// What it says.
    pub plaintext: Plaintext,
}

impl Message {
    /// What it says, by its kind.
    #[must_use]
    pub fn body(&self) -> SessionMessage<'_> {
        SessionMessage::parse(self.plaintext.raw())
    }
}

/// Why a message of the session is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreadable {
    /// It cannot be opened.
    Unopened(OpenError),
    /// It is not sealed at all, which anyone on the way could have written.
    NotSealed,
    /// The very same ciphertext was passed on before, under another number.
    Replayed,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unopened(error) => return error.fmt(f),
            Self::NotSealed => "the message is not sealed",
            Self::Replayed => "the message was given before under another number",
        })
    }
}

impl core::error::Error for Unreadable {}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The socket is connected.
    Connected {
        /// Until when the server may still send our calls to the connection before, of whose
        /// end it was not told (relay.md §2.3).
        stale_until: Option<Instant>,
    },
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
    /// It has ended. Only outcomes of what was under way follow.
    Closed {
        /// Why.
        reason: CloseReason,
        /// What the server said to it.
        said: Option<Text<'a>>,
    },
    /// The user says something.
    UserMessage(Message),
    /// Somebody else says something: another client of the session, or this one in an earlier
    /// life.
    MessageReceived(Message),
    /// A message is not passed on. The next ones are.
    MessageUnreadable {
        /// Its number.
        seq: u64,
        /// Why.
        why: Unreadable,
    },
    /// Messages are known to exist, and the server does not give them.
    Withheld(Withheld),
    /// What the server gave as a page of messages is none; it is fetched again.
    PageInvalid,
    /// The server has stored a message of ours.
    Stored {
        /// The message's id.
        local_id: Box<str>,
        /// Its number in the session.
        seq: u64,
    },
    /// A message of ours is longer than the server takes. It is dropped.
    TooLarge {
        /// The message's id.
        local_id: Box<str>,
    },
    /// Nothing is sent until [`Client::resume`](super::Client::resume).
    SendingStopped(HttpFailure),
    /// Nothing is fetched until [`Client::resume`](super::Client::resume).
    FetchingStopped(HttpFailure),
    /// The server is an old one: messages go over the socket from here.
    FellBack,
    /// An update has its outcome.
    Updated {
        /// Of which value.
        target: Target,
        /// Which update.
        update: UpdateId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The server told of newer values: [`Client::value`](super::Client::value).
    ValuesChanged {
        /// Whether the metadata are newer.
        metadata: bool,
        /// Whether the state of the agent or of the daemon is newer.
        state: bool,
        /// Whether one of them cannot be read. It is not written over.
        unreadable: bool,
    },
    /// The report of usage was refused, or lost again and again.
    UsageNotReported,
    /// A method of ours is called, and waits for
    /// [`Client::answer_rpc`](super::Client::answer_rpc).
    RpcRequested {
        /// What to answer by.
        owed: Owed,
        /// The method, without its scope.
        method: String,
        /// The parameters.
        params: Plaintext,
    },
    /// A call is not to be served, and waits for
    /// [`Client::refuse_rpc`](super::Client::refuse_rpc).
    RpcRefused {
        /// What to answer by.
        owed: Owed,
        /// Why.
        refusal: Refusal,
    },
    /// A call is not to be answered any more.
    RpcLost {
        /// What it was to be answered by.
        owed: Owed,
        /// Why.
        why: AckFailure,
    },
    /// The server has confirmed that it sends calls of this method.
    RpcRegistered {
        /// The method, without its scope.
        method: String,
    },
    /// The server does not confirm that it sends calls of this method.
    RpcUnconfirmed {
        /// The method, without its scope.
        method: String,
    },
    /// The server refused to register some method.
    RpcError {
        /// What it says.
        said: Option<Text<'a>>,
    },
    /// The session, or the machine, was deleted.
    SessionGone,
    /// Something that is true for a while.
    Ephemeral(Ephemeral<'a>),
    /// An update of something else, or of a kind that is not known, as it is.
    OtherUpdate(Raw<'a>),
    /// An event of a name that is not known, as it is.
    OtherEvent {
        /// The name.
        name: Text<'a>,
        /// The argument.
        argument: Option<Raw<'a>>,
    },
    /// A packet of the server's is of no use.
    Ignored(Ignored),
}

/// Why something is not taken to be sent; the client is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// Too many messages or bytes wait.
    Full,
    /// The message is longer than the server takes.
    TooLong,
    /// A message with this id waits already.
    DuplicateId,
    /// It cannot be sealed.
    Seal(SealError),
    /// The socket does not take it.
    Emit(EmitError),
    /// It is being ended, or has.
    Ended,
    /// A machine has no messages, and a session no sign of life of a machine's.
    OutOfScope,
}

impl From<PushError> for SendError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Full,
            PushError::TooLong => Self::TooLong,
        }
    }
}

impl From<EmitError> for SendError {
    fn from(error: EmitError) -> Self {
        Self::Emit(error)
    }
}

impl From<SealError> for SendError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => return PushError::Full.fmt(f),
            Self::TooLong => return PushError::TooLong.fmt(f),
            Self::Seal(error) => return error.fmt(f),
            Self::Emit(error) => return error.fmt(f),
            Self::DuplicateId => "a message with this id waits already",
            Self::Ended => "it has ended",
            Self::OutOfScope => "a machine has no messages, and a session is no machine",
        })
    }
}

impl core::error::Error for SendError {}
