//! [`Message::parse`] and the token check behind it, against the oracle and, where both
//! accept, against serde_json's tree.

use hallway_core::local::connection::{Connection, Event, Refusal, Server};
use hallway_core::local::message::{Kind, Message, MessageError};
use hallway_core::{Instant, Limits, Token, UnixTime};
use serde_json::Value;

use super::oracle::{Meaning, meaning};
use super::{LETTERS, every, limits};

/// Pieces of JSON that spell everything that is interpreted, escaped too.
pub const PIECES: &[&str] = &[
    "{",
    "}",
    ":",
    ",",
    "\"meta\"",
    "\"authToken\"",
    "\"T\"",
    "\"type\"",
    "\"ping\"",
    " ",
    "1",
    "[",
    "]",
    "null",
    "\"m\\u0065ta\"",
];

/// The same without what only adds breadth, for greater length.
pub const FEW_PIECES: &[&str] = &[
    "{",
    "}",
    ":",
    ",",
    "\"meta\"",
    "\"authToken\"",
    "\"T\"",
    "\"auth\\u0054oken\"",
    "1",
];

/// The parser and the connection that asks it.
pub struct Subject {
    limits: Limits,
    server: Server,
    connection: Connection,
}

impl Default for Subject {
    fn default() -> Self {
        let limits = limits();
        let token = Token::parse("T").expect("it is a token");
        Self {
            limits,
            server: Server::new("/s", token),
            connection: Connection::new(&limits, Instant::ORIGIN),
        }
    }
}

impl Subject {
    /// Compares what a frame means with what production makes of it.
    ///
    /// # Panics
    ///
    /// When they differ.
    pub fn compare(&self, frame: &str) {
        let parsed = Message::parse(frame.as_bytes(), &self.limits);
        match meaning(frame) {
            // Blank frames are skipped before they are parsed.
            Meaning::Blank => {}
            Meaning::Invalid => assert_eq!(parsed, Err(MessageError::Invalid), "{frame}"),
            Meaning::NoObject => assert_eq!(parsed, Err(MessageError::NotAnObject), "{frame}"),
            Meaning::Message {
                is_ping,
                token,
                kept,
            } => {
                let message = parsed.unwrap_or_else(|error| panic!("{frame}: {error}"));
                assert_eq!(message.kind() == Kind::Ping, is_ping, "{frame}");
                assert_eq!(*message.kept().to_text(), *kept, "{frame}");
                let authorised = token.as_deref() == Some("T");
                self.compare_connection(frame, is_ping, authorised, &kept);
                compare_tree(frame, is_ping, token.as_deref(), &kept);
            }
        }
    }

    fn compare_connection(&self, frame: &str, is_ping: bool, authorised: bool, kept: &str) {
        if frame.contains('\n') {
            return;
        }
        let mut connection = self.connection.clone();
        let line = frame.bytes().chain([b'\n']);
        let spare = connection.spare_mut();
        spare.iter_mut().zip(line).for_each(|(to, from)| *to = from);
        connection.handle_input(frame.len() + 1, Instant::ORIGIN);
        let event = connection.handle_frame(&self.server, Instant::ORIGIN, UnixTime::EPOCH);
        match event {
            Some(Event::Pinged) => assert!(authorised && is_ping, "{frame}"),
            Some(Event::MessageReceived(text)) => {
                assert!(authorised && !is_ping, "{frame}");
                assert_eq!(*text.to_text(), *kept, "{frame}");
            }
            None => {
                assert!(!authorised, "{frame}");
                let refused = hallway_core::local::CloseReason::Refused(Refusal::Unauthorized);
                assert_eq!(connection.close_reason(), Some(refused), "{frame}");
            }
        }
    }
}

/// Compares the oracle, and so production, with serde_json's tree: the type, the token, and
/// that what is kept is the same tree without the token.
fn compare_tree(frame: &str, is_ping: bool, token: Option<&str>, kept: &str) {
    let mut tree: Value = serde_json::from_str(frame).expect("both accept it");
    let kept: Value = serde_json::from_str(kept).expect("what is kept is JSON");
    assert_eq!(
        tree.get("type") == Some(&Value::from("ping")),
        is_ping,
        "{frame}"
    );
    if let Some(meta) = tree.get_mut("meta").and_then(Value::as_object_mut) {
        let removed = meta.remove("authToken");
        let presented = removed.as_ref().and_then(Value::as_str);
        assert_eq!(presented, token, "{frame}");
        let emptied = removed.is_some() && meta.is_empty();
        if emptied && let Some(members) = tree.as_object_mut() {
            members.remove("meta");
        }
    } else {
        assert_eq!(token, None, "{frame}");
    }
    assert_eq!(tree, kept, "{frame}");
}

/// Every string of at most `most` letters of the wire contract.
pub fn every_text(most: usize) -> u64 {
    let subject = Subject::default();
    every(LETTERS, most, |frame| subject.compare(frame))
}

/// Every string of at most `most` pieces.
pub fn every_string(most: usize) -> u64 {
    let subject = Subject::default();
    every(PIECES, most, |frame| subject.compare(frame))
}

/// Every string of at most `most` of `pieces` that may begin a JSON value, and every such
/// string with one more piece after which it cannot.
pub fn every_beginning(pieces: &[&str], most: usize) -> u64 {
    let subject = Subject::default();
    let mut text = String::new();
    extend(&subject, pieces, most, &Place::default(), &mut text)
}

/// Every message that begins with a `meta`, and goes on with at most `most` of `pieces`, as
/// [`every_beginning`] does: the token alone, first, last, in between, and again.
pub fn every_meta(pieces: &[&str], most: usize) -> u64 {
    let begun = ["{", "\"meta\"", ":", "{"];
    let place = begun
        .iter()
        .try_fold(Place::default(), |place, piece| place.after(piece));
    let place = place.expect("it may begin so");
    let subject = Subject::default();
    extend(&subject, pieces, most, &place, &mut begun.concat())
}

fn extend(
    subject: &Subject,
    pieces: &[&str],
    left: usize,
    place: &Place,
    text: &mut String,
) -> u64 {
    let mut count = 0;
    for piece in pieces {
        let length = text.len();
        text.push_str(piece);
        subject.compare(text);
        count += 1;
        if left > 1
            && let Some(next) = place.after(piece)
        {
            count += extend(subject, pieces, left - 1, &next, text);
        }
        text.truncate(length);
    }
    count
}

/// Where in a JSON text the next piece comes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The brackets that are open.
    open: Vec<char>,
    due: Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Value,
    /// A value, or the end of an empty array.
    Element,
    Key,
    /// A key, or the end of an empty object.
    Member,
    Colon,
    /// A comma or an end.
    Comma,
    /// The same, or more digits.
    Digits,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            due: Due::Value,
        }
    }
}

impl Place {
    /// The place after a piece, if a JSON value may begin so.
    fn after(&self, piece: &str) -> Option<Self> {
        use Due::{Colon, Comma, Digits, Element, Key, Member, Value};
        let mut open = self.open.clone();
        let value = matches!(self.due, Value | Element);
        let ended = matches!(self.due, Comma | Digits);
        let due = match piece {
            " " if self.due == Digits => Comma,
            " " => self.due,
            "{" | "[" if value => {
                open.extend(piece.chars());
                if piece == "{" { Member } else { Element }
            }
            "}" if (ended || self.due == Member) && open.pop() == Some('{') => Comma,
            "]" if (ended || self.due == Element) && open.pop() == Some('[') => Comma,
            ":" if self.due == Colon => Value,
            "," if ended => match open.last()? {
                '{' => Key,
                _ => Value,
            },
            "1" if value || self.due == Digits => Digits,
            "null" if value => Comma,
            text if text.starts_with('"') && matches!(self.due, Key | Member) => Colon,
            text if text.starts_with('"') && value => Comma,
            _ => return None,
        };
        Some(Self { open, due })
    }
}
