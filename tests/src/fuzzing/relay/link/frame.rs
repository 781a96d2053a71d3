//! Frames of a server: what it says, what it says out of turn, and anything else.

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use hallway_core::relay::link::Asked;

/// One text frame.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Frame {
    /// The engine's first packet.
    Open {
        /// Milliseconds between two pings.
        interval: u16,
    },
    Consent,
    /// That of a server of another version.
    ConsentWithoutId,
    Refusal(Words),
    /// A ping with so many bytes of data.
    Ping(u8),
    /// An event, to be acknowledged under an id or not.
    Event(Option<u8>),
    /// An event that ends a connection to an old server.
    Error(Words),
    /// The acknowledgement of one of ours that waits.
    Ack(u8),
    /// One of any id, the probe's among them.
    AnyAck(u8),
    Disconnect,
    /// For another namespace.
    Elsewhere,
    /// Anything behind these digits.
    Bytes(u8, u8, [u8; 6]),
}

/// What a server says when it refuses.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Words {
    InvalidToken,
    MissingSession,
    Other,
}

impl Words {
    const fn text(self) -> &'static str {
        match self {
            Self::InvalidToken => "Invalid authentication token",
            Self::MissingSession => "Session ID required for session-scoped clients",
            Self::Other => "later",
        }
    }
}

impl Frame {
    /// The frame, when these events of ours wait.
    pub(super) fn text(self, asked: &BTreeSet<Asked>) -> String {
        match self {
            Self::Open { interval } => format!(
                r#"0{{"sid":"e","upgrades":[],"pingInterval":{interval},"pingTimeout":20000,"maxPayload":200}}"#
            ),
            Self::Consent => r#"40{"sid":"s"}"#.to_owned(),
            Self::ConsentWithoutId => "40".to_owned(),
            Self::Refusal(words) => format!(r#"44{{"message":"{}"}}"#, words.text()),
            Self::Ping(bytes) => format!("2{}", "p".repeat(bytes.into())),
            Self::Event(None) => r#"42["update",{}]"#.to_owned(),
            Self::Event(Some(id)) => format!(r#"42{id}["rpc-request",{{}}]"#),
            Self::Error(words) => format!(r#"42["error",{{"message":"{}"}}]"#, words.text()),
            Self::Ack(at) => {
                let asked = asked.iter().nth(usize::from(at) % 3);
                // Only its words give the number away.
                let words = asked.map(|asked| format!("{asked:?}")).unwrap_or_default();
                let digits: String = words.chars().filter(char::is_ascii_digit).collect();
                format!("43{digits}[{{}}]")
            }
            Self::AnyAck(id) => format!("43{id}[]"),
            Self::Disconnect => "41".to_owned(),
            Self::Elsewhere => "42/admin,[\"update\"]".to_owned(),
            Self::Bytes(first, second, rest) => {
                let digit = |byte: u8| char::from(b'0' + byte % 10);
                let rest = String::from_utf8_lossy(&rest);
                format!("{}{}{rest}", digit(first), digit(second))
            }
        }
    }
}
