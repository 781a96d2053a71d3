//! What has happened to a session or a machine, without a borrow.

use std::time::Duration;

use hallway_core::relay::cipher::Plaintext;
use hallway_core::relay::client::{Event, HttpFailure, Message, Target, Unreadable};
use hallway_core::relay::cursor::Withheld;
use hallway_core::relay::link::{AckFailure, Cause, CloseReason, Owed};
use hallway_core::relay::raw::Text;
use hallway_core::relay::rpc::Refusal;
use hallway_core::relay::versioned::{Outcome, UpdateId};

/// What has happened. The server's words are untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// The socket is connected; and whether the server may still hold the connection before for
    /// the owner of our methods.
    Connected {
        /// It may.
        stale_owner: bool,
    },
    /// There is no connection; there will be another dial.
    Reconnecting {
        /// How many retries there were since the last connection that proved itself.
        attempt: u32,
        /// From the failure to the dial.
        delay: Duration,
        /// Why.
        cause: Cause,
        /// What the server said.
        said: Option<String>,
        /// What the system said.
        detail: Option<String>,
    },
    /// It has ended.
    Closed {
        /// Why.
        reason: CloseReason,
        /// What the server said.
        said: Option<String>,
        /// What the system said.
        detail: Option<String>,
        /// How many messages were never stored.
        unsent: usize,
    },
    /// The user says something.
    UserMessage(Message),
    /// Somebody else says something.
    Message(Message),
    /// A message cannot be read.
    Unreadable {
        /// Its number.
        seq: u64,
        /// Why.
        why: Unreadable,
    },
    /// Messages are known to exist, and the server does not give them.
    Withheld(Withheld),
    /// The server has stored a message of ours.
    Stored {
        /// The message's id.
        local_id: String,
        /// Its number.
        seq: u64,
    },
    /// A message of ours is longer than the server takes. It is dropped.
    TooLarge {
        /// The message's id.
        local_id: String,
    },
    /// Nothing is sent until the client is resumed.
    SendingStopped(HttpFailure),
    /// Nothing is fetched until the client is resumed.
    FetchingStopped(HttpFailure),
    /// The server is an old one: messages go over the socket.
    FellBack,
    /// A change of a value has its outcome.
    Updated {
        /// Of which value.
        target: Target,
        /// Which change.
        update: UpdateId,
        /// What became of it.
        outcome: Outcome,
    },
    /// There are newer values.
    ValuesChanged {
        /// Whether the metadata are newer.
        metadata: bool,
        /// Whether the state of the agent or of the daemon is newer.
        state: bool,
        /// Whether one of them cannot be read.
        unreadable: bool,
    },
    /// The report of usage did not arrive.
    UsageNotReported,
    /// A method of ours is called.
    RpcRequested {
        /// What to answer by.
        owed: Owed,
        /// The method, without its scope.
        method: String,
        /// The parameters.
        params: Plaintext,
    },
    /// A call was refused.
    RpcRefused {
        /// What it was answered by.
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
    /// The server sends calls of this method.
    RpcRegistered {
        /// The method.
        method: String,
    },
    /// The server does not confirm that it sends calls of this method.
    RpcUnconfirmed {
        /// The method.
        method: String,
    },
    /// The server refused to register some method.
    RpcError {
        /// What it says.
        said: Option<String>,
    },
    /// The session, or the machine, was deleted.
    SessionGone,
}

impl Update {
    /// What an event says; `None` for what is of no use to anyone here.
    pub(super) fn of(event: Event<'_>) -> Option<Self> {
        let words = |said: Option<Text<'_>>| said.map(|text| text.to_lossy().into_owned());
        Some(match event {
            Event::Connected { stale_until } => Self::Connected {
                stale_owner: stale_until.is_some(),
            },
            Event::Reconnecting {
                attempt,
                delay,
                cause,
                said,
            } => Self::Reconnecting {
                attempt,
                delay,
                cause,
                said: words(said),
                detail: None,
            },
            Event::Closed { reason, said } => Self::Closed {
                reason,
                said: words(said),
                detail: None,
                unsent: 0,
            },
            Event::UserMessage(message) => Self::UserMessage(message),
            Event::MessageReceived(message) => Self::Message(message),
            Event::MessageUnreadable { seq, why } => Self::Unreadable { seq, why },
            Event::Withheld(withheld) => Self::Withheld(withheld),
            Event::Stored { local_id, seq } => Self::Stored {
                local_id: local_id.into(),
                seq,
            },
            Event::TooLarge { local_id } => Self::TooLarge {
                local_id: local_id.into(),
            },
            Event::SendingStopped(failure) => Self::SendingStopped(failure),
            Event::FetchingStopped(failure) => Self::FetchingStopped(failure),
            Event::FellBack => Self::FellBack,
            Event::Updated {
                target,
                update,
                outcome,
            } => Self::Updated {
                target,
                update,
                outcome,
            },
            Event::ValuesChanged {
                metadata,
                state,
                unreadable,
            } => Self::ValuesChanged {
                metadata,
                state,
                unreadable,
            },
            Event::UsageNotReported => Self::UsageNotReported,
            Event::RpcRequested {
                owed,
                method,
                params,
            } => Self::RpcRequested {
                owed,
                method,
                params,
            },
            Event::RpcRefused { owed, refusal } => Self::RpcRefused { owed, refusal },
            Event::RpcLost { owed, why } => Self::RpcLost { owed, why },
            Event::RpcRegistered { method } => Self::RpcRegistered { method },
            Event::RpcUnconfirmed { method } => Self::RpcUnconfirmed { method },
            Event::RpcError { said } => Self::RpcError { said: words(said) },
            Event::SessionGone => Self::SessionGone,
            Event::PageInvalid => {
                tracing::warn!("the server's page of messages makes no sense");
                return None;
            }
            other @ (Event::Ephemeral(_)
            | Event::OtherUpdate(_)
            | Event::OtherEvent { .. }
            | Event::Ignored(_)
            | _) => {
                tracing::debug!(?other, "of no use here");
                return None;
            }
        })
    }
}
