//! What a peer writes: lines whose meaning is known.

use arbitrary::Arbitrary;
use hallway_core::FrameTooLong;
use hallway_core::local::connection::Refusal;

/// The longest frame here.
pub(super) const MAX_FRAME: usize = 512;

/// What a peer writes at once.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Line {
    Blank(u8),
    Ping,
    Message(u8),
    /// A message of as many bytes as a frame may have.
    Longest,
    Invalid(u8),
    Unauthorized(u8),
    /// Too long by so many bytes and one, with or without a newline.
    TooLong(u8, bool),
}

/// What the contract makes of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    Nothing,
    Ping,
    Message(String),
    Violation(Refusal),
}

const BLANK: [&[u8]; 4] = [b"", b"\r", b" ", b"\t \r"];

const INVALID: [&[u8]; 8] = [
    b"{",
    b"null",
    b"{}{}",
    b"\xef\xbb\xbf{}",
    b"{\"data\":\"\xff\",\"meta\":{\"authToken\":\"T\"}}",
    b"{\"data\":\"\x01\",\"meta\":{\"authToken\":\"T\"}}",
    br#"{"meta":{"authToken":"T","authToken":"T"}}"#,
    br#"{"type":"text","t\u0079pe":"ping","meta":{"authToken":"T"}}"#,
];

const UNAUTHORIZED: [&[u8]; 8] = [
    b"0",
    br#""T""#,
    b"[]",
    b"{}",
    br#"{"meta":{"authToken":""}}"#,
    br#"{"meta":{"authToken":"t"}}"#,
    br#"{"meta":{"authToken":["T"]}}"#,
    br#"{"type":"ping","authToken":"T"}"#,
];

fn one_of(table: &[&[u8]], index: u8) -> Vec<u8> {
    table[usize::from(index) % table.len()].to_vec()
}

fn message(bytes: usize) -> (Vec<u8>, Meaning) {
    let data = "x".repeat(bytes);
    let frame = format!(r#"{{"data":"{data}","meta":{{"authToken":"T"}}}}"#);
    (
        frame.into_bytes(),
        Meaning::Message(format!(r#"{{"data":"{data}"}}"#)),
    )
}

impl Line {
    /// Its bytes, and what they mean.
    pub(super) fn written(self) -> (Vec<u8>, Meaning) {
        let (mut bytes, meaning) = match self {
            Self::Blank(index) => (one_of(&BLANK, index), Meaning::Nothing),
            Self::Ping => (
                br#"{"type":"ping","meta":{"authToken":"T"}}"#.to_vec(),
                Meaning::Ping,
            ),
            Self::Message(bytes) => message(usize::from(bytes)),
            Self::Longest => message(MAX_FRAME - message(0).0.len()),
            Self::Invalid(index) => (
                one_of(&INVALID, index),
                Meaning::Violation(Refusal::InvalidFrame),
            ),
            Self::Unauthorized(index) => (
                one_of(&UNAUTHORIZED, index),
                Meaning::Violation(Refusal::Unauthorized),
            ),
            Self::TooLong(more, _) => (
                vec![b' '; MAX_FRAME + 1 + usize::from(more)],
                Meaning::Violation(Refusal::FrameTooLong(FrameTooLong { limit: MAX_FRAME })),
            ),
        };
        if !matches!(self, Self::TooLong(_, false)) {
            bytes.push(b'\n');
        }
        (bytes, meaning)
    }
}
