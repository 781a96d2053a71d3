//! What a subscription is told and what it says.

use alloc::borrow::Cow;
use core::fmt;
use core::time::Duration;

use super::control::{NotForwarded, Request};
pub use crate::backoff::Epoch;
use crate::backoff::GaveUp;

/// What the caller is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drop the transport or the dial of this epoch, whatever it is doing.
    Hangup(Epoch),
    /// Get a token and open a connection; tell that it was opened, or that it failed.
    Dial(Epoch),
    /// Send a ping.
    Ping(Epoch),
    /// The token of this epoch's dial was refused: ask for it again and tell whether it is
    /// another one.
    AskToken(Epoch),
}

/// Why there is no open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialFailure {
    /// There was no token to be had.
    NoToken,
    /// No connection to the server or to the proxy, or it broke before the upgrade was done.
    Unreachable,
    /// What the server answered is not a WebSocket upgrade.
    NotWebSocket,
    /// The server's certificate is not to be trusted, or it does not trust ours.
    Untrusted,
    /// The proxy wants credentials, or does not let us through.
    ProxyRefused,
    /// The server answered with a status other than 101.
    Status {
        /// The status.
        status: u16,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// What a failed dial means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Transient(Option<Duration>),
    NotFound(Option<Duration>),
    Unauthorized,
    /// Nothing will change by itself, unless it worked before.
    Misconfigured,
}

impl DialFailure {
    pub(crate) const fn verdict(self) -> Verdict {
        match self {
            Self::NoToken | Self::Unreachable | Self::NotWebSocket => Verdict::Transient(None),
            Self::Untrusted | Self::ProxyRefused => Verdict::Misconfigured,
            Self::Status {
                status,
                retry_after,
            } => match status {
                401 | 403 => Verdict::Unauthorized,
                404 => Verdict::NotFound(retry_after),
                408 | 425 | 429 | 500..=599 => Verdict::Transient(retry_after),
                _ => Verdict::Misconfigured,
            },
        }
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "no token to be had",
            Self::Unreachable => "the server cannot be reached",
            Self::NotWebSocket => "the answer is no WebSocket upgrade",
            Self::Untrusted => "the certificate is not trusted",
            Self::ProxyRefused => "refused by the proxy",
            Self::Status { status, .. } => {
                return write!(f, "refused with HTTP status {status}");
            }
        })
    }
}

impl core::error::Error for DialFailure {}

/// Why a connection is dialled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The dial failed.
    DialFailed(DialFailure),
    /// The dial took longer than [`Limits::dial_timeout`](super::limits::Limits::dial_timeout).
    DialTimedOut,
    /// The connection ended, with this close code if it had one.
    ConnectionClosed(Option<u16>),
    /// The server sent a message longer than
    /// [`Limits::max_message_bytes`](super::limits::Limits::max_message_bytes).
    MessageTooLong,
    /// A ping was not answered.
    NoPong,
    /// The machine slept while it dialled.
    Slept,
    /// The caller asked for it.
    Forced,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DialFailed(failure) => return failure.fmt(f),
            Self::DialTimedOut => "dialling took too long",
            Self::ConnectionClosed(None) => "the connection broke",
            Self::ConnectionClosed(Some(4_001)) => "the session was not found (code 4001)",
            Self::ConnectionClosed(Some(code)) => {
                return write!(f, "the connection was closed (code {code})");
            }
            Self::MessageTooLong => "a message was too long",
            Self::NoPong => "a ping was not answered",
            Self::Slept => "the machine slept",
            Self::Forced => "as was asked for",
        })
    }
}

/// Why a subscription has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The caller closed it.
    User,
    /// The server refused the token: closed with code 4003, or HTTP 401 or 403 and there is no
    /// other token.
    Unauthorized,
    /// The first dial failed in a way that does not pass by itself.
    Refused(DialFailure),
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
            Self::Unauthorized => f.write_str("the token was refused"),
            Self::Refused(failure) => failure.fmt(f),
            Self::GaveUp { why, cause } => write!(f, "gave up: {why}; last: {cause}"),
        }
    }
}

impl core::error::Error for CloseReason {}

/// Why a request is not to be answered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancelled {
    /// The server took it back.
    ByServer,
    /// The connection that it came over is gone.
    Reconnected,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The connection is open.
    Connected,
    /// The message is one to be forwarded.
    MessageReceived,
    /// The message is none: it is only counted.
    MessageIgnored(NotForwarded),
    /// The server asks and waits for [`answer`](super::subscription::Subscription::answer). The
    /// message is to be forwarded, too.
    RequestArrived {
        /// The id to answer under.
        request_id: Cow<'a, str>,
        /// What is asked.
        request: Request<'a>,
    },
    /// The server asked what is not served, or more than is kept. The message is to be
    /// forwarded all the same.
    RequestRefused {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// Whether there was room for an answer that says so.
        answered: bool,
    },
    /// A request that had arrived is not to be answered any more. When the server took it back,
    /// the message is to be forwarded, too.
    RequestCancelled {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// Why.
        cancelled: Cancelled,
    },
    /// There is no connection; there will be another dial.
    Reconnecting {
        /// How many retries there were since the last connection that proved itself.
        attempt: u32,
        /// From now to the dial.
        delay: Duration,
        /// Why.
        cause: Cause,
    },
    /// It has ended. Nothing follows.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why something is not taken to be sent; the subscription is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// No request of this id waits for an answer.
    UnknownRequest,
    /// A part that should be one JSON value is none.
    NotJson,
    /// Too many frames, or too many bytes, wait to be sent. Room comes when they were.
    Full,
    /// The frame is longer than all that may wait.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The subscription has ended.
    Closed(CloseReason),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRequest => f.write_str("no request of this id waits for an answer"),
            Self::NotJson => f.write_str("not one JSON value"),
            Self::Full => f.write_str("too much waits to be sent"),
            Self::TooLong { bytes, limit } => {
                write!(f, "the frame takes {bytes} bytes; at most {limit} may wait")
            }
            Self::Closed(reason) => write!(f, "the subscription has ended: {reason}"),
        }
    }
}

impl core::error::Error for SendError {}
