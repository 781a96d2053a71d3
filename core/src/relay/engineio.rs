//! Engine.IO v4: one packet a WebSocket text frame, its first character the type (relay.md
//! §1.1).

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::raw::{Raw, Text};

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet<'a> {
    /// `0`: the server's first.
    Open(Handshake<'a>),
    /// `1`: the transport is to be closed.
    Close,
    /// `2`, from the server: a client answers with [`Packet::Pong`] of the same data, and never
    /// sends one itself.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong(&'a str),
    /// `4`: a packet of Socket.IO.
    Message(&'a str),
    /// `5`: of no meaning without polling.
    Upgrade,
    /// `6`: of no meaning without polling.
    Noop,
}

/// What the server says of itself in its first packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handshake<'a> {
    /// The session id of the engine, which is not the socket's.
    pub sid: Text<'a>,
    /// How often the server pings.
    pub ping_interval: Duration,
    /// How long a ping may be late.
    pub ping_timeout: Duration,
    /// The longest frame that the server takes, in bytes; `None` when it does not say.
    pub max_payload: Option<usize>,
}

/// What a peer may not send. It is fatal for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is empty.
    Empty,
    /// The first character is no packet type.
    UnknownType,
    /// A packet of binary data, which the relay never sends: the frame is binary, or is base64
    /// behind a `b`.
    Binary,
    /// The packet has data where its type has none.
    UnexpectedData,
    /// The first packet has no session id, or no sensible intervals.
    BadHandshake,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the frame is empty",
            Self::UnknownType => "unknown engine packet type",
            Self::Binary => "the relay sent binary data",
            Self::UnexpectedData => "the engine packet has data where there is none",
            Self::BadHandshake => "the engine handshake is not valid",
        })
    }
}

impl core::error::Error for Violation {}

/// The longest session id, as JSON text.
const MAX_SID_BYTES: usize = 256;
/// The longest interval or timeout that is believed, in milliseconds: one hour.
const MAX_SPAN_MS: u64 = 3_600_000;

impl<'a> Packet<'a> {
    /// Reads one text frame. It borrows all of its data.
    ///
    /// # Errors
    ///
    /// [`Violation`] when the frame is no packet.
    pub fn decode(frame: &'a str) -> Result<Self, Violation> {
        let mut chars = frame.chars();
        let kind = chars.next().ok_or(Violation::Empty)?;
        let data = chars.as_str();
        let bare = |packet| {
            if data.is_empty() {
                Ok(packet)
            } else {
                Err(Violation::UnexpectedData)
            }
        };
        match kind {
            '0' => Handshake::parse(data).map(Self::Open),
            '1' => bare(Self::Close),
            '2' => Ok(Self::Ping(data)),
            '3' => Ok(Self::Pong(data)),
            '4' => Ok(Self::Message(data)),
            '5' => bare(Self::Upgrade),
            '6' => bare(Self::Noop),
            'b' => Err(Violation::Binary),
            _ => Err(Violation::UnknownType),
        }
    }

    /// Appends the packet, one text frame.
    pub fn write(&self, out: &mut String) {
        let (kind, data) = match self {
            Self::Open(handshake) => {
                out.push('0');
                return handshake.write(out);
            }
            Self::Close => ('1', ""),
            Self::Ping(data) => ('2', *data),
            Self::Pong(data) => ('3', *data),
            Self::Message(data) => ('4', *data),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
        };
        out.reserve(data.len().saturating_add(1));
        out.push(kind);
        out.push_str(data);
    }

    /// The packet as one text frame.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

impl<'a> Handshake<'a> {
    /// How long a client waits for the next ping before the connection is dead.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.ping_interval.saturating_add(self.ping_timeout)
    }

    fn parse(data: &'a str) -> Result<Self, Violation> {
        Self::read(data).ok_or(Violation::BadHandshake)
    }

    fn read(data: &'a str) -> Option<Self> {
        let names = ["sid", "pingInterval", "pingTimeout", "maxPayload"];
        let [sid, interval, timeout, payload] = Raw::parse(data)?.pick(names)?;
        let sid = sid?.text()?;
        (sid.raw().as_str().len() <= MAX_SID_BYTES).then_some(())?;
        let max_payload = match payload {
            None => None,
            Some(bytes) => Some(usize::try_from(bytes.unsigned()?).ok()?),
        };
        Some(Self {
            sid,
            ping_interval: span(interval?)?,
            ping_timeout: span(timeout?)?,
            max_payload,
        })
    }

    fn write(&self, out: &mut String) {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let mut object = super::raw::Object::new();
        object
            .member("sid", &self.sid)
            .member("upgrades", &Raw::trusted("[]"))
            .member("pingInterval", &millis(self.ping_interval))
            .member("pingTimeout", &millis(self.ping_timeout));
        if let Some(bytes) = self.max_payload {
            object.member("maxPayload", &u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        out.push_str(&object.finish());
    }
}

fn span(raw: Raw<'_>) -> Option<Duration> {
    let millis = raw.unsigned()?;
    (1..=MAX_SPAN_MS)
        .contains(&millis)
        .then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const LIVE: &str = r#"0{"sid":"s","upgrades":[],"pingInterval":15000,"pingTimeout":45000,"maxPayload":1000000}"#;

    /// Covers: R1.4
    #[test]
    fn the_handshake_of_the_live_server_is_read() {
        let packet = Packet::decode(LIVE).unwrap();
        let Packet::Open(handshake) = &packet else {
            panic!("{packet:?}")
        };
        assert!(handshake.sid.is("s"));
        assert_eq!(handshake.patience(), Duration::from_secs(60));
        assert_eq!(handshake.max_payload, Some(1_000_000));
        assert_eq!(packet.encode(), LIVE);
    }

    #[test]
    fn a_handshake_is_bounded() {
        let long = "x".repeat(254);
        for (sid, interval, timeout, more, ok) in [
            (r#""s""#, "1", "3600000", "", true),
            (r#""s""#, "1", "1", r#","maxPayload":0"#, true),
            (&format!("\"{long}\""), "1", "1", "", true),
            (&format!("\"{long}x\""), "1", "1", "", false),
            (r#""s""#, "0", "1", "", false),
            (r#""s""#, "1", "0", "", false),
            (r#""s""#, "3600001", "1", "", false),
            (r#""s""#, "1.5", "1", "", false),
            (r#""s""#, "\"1\"", "1", "", false),
            (r#""s""#, "1", "1", r#","maxPayload":-1"#, false),
            (r#""s""#, "1", "1", r#","maxPayload":null"#, false),
            ("1", "1", "1", "", false),
        ] {
            let frame = format!(
                r#"0{{"sid":{sid},"pingInterval":{interval},"pingTimeout":{timeout}{more}}}"#
            );
            let decoded = Packet::decode(&frame);
            assert_eq!(decoded.is_ok(), ok, "{frame}: {decoded:?}");
        }
        let unlimited = r#"0{"sid":"s","upgrades":[],"pingInterval":1,"pingTimeout":2}"#;
        assert_eq!(Packet::decode(unlimited).unwrap().encode(), unlimited);
        for frame in [
            "0",
            "0[]",
            "0{}",
            r#"0{"sid":"s","pingInterval":1}"#,
            r#"0{"sid":"s","pingTimeout":1}"#,
        ] {
            assert_eq!(Packet::decode(frame), Err(Violation::BadHandshake));
        }
        for violation in [Violation::BadHandshake, Violation::Binary] {
            assert!(!format!("{violation}").is_empty());
        }
    }

    /// Covers: R1.3, R1.10
    #[test]
    fn every_type_round_trips_and_others_are_refused() {
        for (frame, packet) in [
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3", Packet::Pong("")),
            ("42[]", Packet::Message("2[]")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            assert_eq!(Packet::decode(frame).as_ref(), Ok(&packet));
            assert_eq!(packet.encode(), frame);
        }
        for (frame, violation) in [
            ("", Violation::Empty),
            ("7", Violation::UnknownType),
            ("\u{664}2[]", Violation::UnknownType),
            (" 2", Violation::UnknownType),
            ("bAAAA", Violation::Binary),
            ("1x", Violation::UnexpectedData),
            ("5x", Violation::UnexpectedData),
            ("6x", Violation::UnexpectedData),
        ] {
            assert_eq!(Packet::decode(frame), Err(violation), "{frame:?}");
            assert!(!format!("{violation}").is_empty());
        }
    }
}
