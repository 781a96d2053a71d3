//! What a subscription can be told.

use hallway_core::Instant;
use hallway_core::session::event::{DialFailure, Epoch, Event};
use hallway_core::session::subscription::Subscription;

use crate::model::json::quote;

/// One thing that happens to a subscription.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names of the machine's own methods")]
pub enum Fact<'a> {
    Connect,
    Reconnect,
    Close,
    Opened(Epoch),
    DialFailed(Epoch, DialFailure),
    Token(Epoch, bool),
    Message(Epoch, &'a Said),
    Pong(Epoch),
    Gone(Epoch, Option<u16>),
    TooLong(Epoch),
    Wake,
    Time,
}

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A control request.
    Ask {
        /// Its id.
        id: String,
        /// Its subtype.
        subtype: &'static str,
        /// Its input, as raw JSON.
        input: String,
    },
    /// A request is taken back.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Any other message that is to be forwarded.
    Plain,
    /// What is not to be forwarded.
    Junk,
}

impl Said {
    /// Its text on the wire.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Ask { id, subtype, input } => format!(
                r#"{{"type":"control_request","request_id":{},"request":{{"subtype":"{subtype}","tool_name":"Bash","input":{input},"tool_use_id":"t"}}}}"#,
                quote(id)
            ),
            Self::Cancel { id } => format!(
                r#"{{"type":"control_cancel_request","request_id":{}}}"#,
                quote(id)
            ),
            Self::Plain => r#"{"type":"assistant","message":{}}"#.to_owned(),
            Self::Junk => r#"{"type":7}"#.to_owned(),
        }
    }
}

/// Tells the machine; gives what it says. The text of [`Fact::Message`] is `text`.
pub fn apply<'a>(
    machine: &mut Subscription,
    fact: &Fact<'_>,
    text: &'a str,
    now: Instant,
) -> Option<Event<'a>> {
    match *fact {
        Fact::Connect => {
            machine.connect(now);
            None
        }
        Fact::Reconnect => machine.reconnect(now),
        Fact::Close => machine.close(),
        Fact::Opened(epoch) => machine.handle_opened(epoch, now),
        Fact::DialFailed(epoch, failure) => machine.handle_dial_failed(epoch, failure, now),
        Fact::Token(epoch, another) => machine.handle_token(epoch, another, now),
        Fact::Message(epoch, _) => machine.handle_message(epoch, text),
        Fact::Pong(epoch) => {
            machine.handle_pong(epoch);
            None
        }
        Fact::Gone(epoch, code) => machine.handle_closed(epoch, code, now),
        Fact::TooLong(epoch) => machine.handle_message_too_long(epoch, now),
        Fact::Wake => machine.handle_wake(now),
        Fact::Time => machine.handle_timeout(now),
    }
}
