//! One frame, parsed in one pass without a tree: its type, the token it presents, and what is
//! left of it without the token (local.md §3).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use super::usual::Usual;
use crate::json;
use crate::limits::Limits;
use crate::scan::{Key, Reader};

/// A frame of a client: a JSON object that may or may not present a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message<'a> {
    kind: Kind,
    token: Option<Presented<'a>>,
    kept: Kept<'a>,
}

/// What a frame has for a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Presented<'a> {
    /// The text of a string in which nothing is escaped.
    Text(&'a str),
    /// The raw JSON of `meta.authToken`.
    Raw(&'a str),
}

/// What the server makes of a frame's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `"ping"`: answered, not kept.
    Ping,
    /// Any other type, or none: kept.
    Other,
}

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageError {
    /// It is not one JSON value, is `null`, nests too deep, or has a duplicate of a member that
    /// is interpreted.
    Invalid,
    /// It is JSON, but no object: it cannot present a token.
    NotAnObject,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the frame is not valid JSON, is null, or has a duplicate member",
            Self::NotAnObject => "the frame is not a JSON object",
        })
    }
}

impl core::error::Error for MessageError {}

/// A message without its token: one JSON object, as two slices of the frame. All other members
/// are there, in order, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kept<'a> {
    head: &'a str,
    tail: &'a str,
}

impl<'a> Kept<'a> {
    /// The object as one text.
    #[must_use]
    pub fn to_text(self) -> Box<str> {
        let mut text = String::with_capacity(self.len());
        self.append_to(&mut text);
        text.into_boxed_str()
    }

    /// Appends the object to `text`.
    pub(super) fn append_to(self, text: &mut String) {
        text.push_str(self.head);
        text.push_str(self.tail);
    }

    /// The length of [`Kept::to_text`], in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.head.len().saturating_add(self.tail.len())
    }

    /// Whether nothing is kept; never so for a parsed message, which keeps at least `{}`.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, self.tail)
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("token", &self.token.map(|_| "redacted"))
            .field("kept", &self.kept)
            .finish()
    }
}

/// Whether the frame is blank: nothing but JSON whitespace. Blank lines are skipped.
#[must_use]
pub fn is_blank(frame: &[u8]) -> bool {
    frame
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

impl<'a> Message<'a> {
    /// Parses a frame that is not blank.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(frame: &'a [u8], limits: &Limits) -> Result<Self, MessageError> {
        let text = core::str::from_utf8(trimmed(frame)).map_err(|_| MessageError::Invalid)?;
        if !text.starts_with('{') {
            return Err(match json::depth(text) {
                Some(depth) if depth <= limits.max_frame_depth() && text != "null" => {
                    MessageError::NotAnObject
                }
                Some(_) | None => MessageError::Invalid,
            });
        }
        Self::read(text, limits.max_frame_depth()).ok_or(MessageError::Invalid)
    }

    /// Reads an object that nests at most `levels` levels.
    fn read(text: &'a str, levels: usize) -> Option<Self> {
        const USUAL_LEVELS: usize = 2;
        if levels >= USUAL_LEVELS
            && let Some(usual) = Usual::read(text)
        {
            return Some(usual.into());
        }
        let mut reader = Reader::new(text);
        let mut outer = Spans::default();
        let (mut kind, mut meta) = (None, None);
        let levels = levels.checked_sub(1)?;
        reader.object(|reader, key| {
            if key.is("type") {
                let (raw, _) = outer.take(reader, key, levels)?;
                return kind.replace(raw).is_none().then_some(());
            }
            if !key.is("meta") {
                return outer.take(reader, key, levels).map(drop);
            }
            let inner = match reader.peek() {
                Some(b'{') => Meta::read(reader, levels)?,
                Some(_) | None => {
                    outer.take(reader, key, levels)?;
                    return meta.replace(None).is_none().then_some(());
                }
            };
            let span = outer.pass(reader, key);
            meta.replace(Some((inner, span))).is_none().then_some(())
        })?;
        if !reader.is_done() {
            return None;
        }
        let is_ping = kind.is_some_and(|raw| json::is(raw, "ping"));
        let kind = if is_ping { Kind::Ping } else { Kind::Other };
        let (token, cut) = match meta.flatten() {
            // An emptied `meta` goes as a whole.
            Some((inner, span)) if inner.is_token_alone() => {
                (inner.token, Some(outer.without(span)))
            }
            Some((inner, _)) => (inner.token, inner.cut),
            None => (None, None),
        };
        let kept = keep(text, cut)?;
        Some(Self {
            kind,
            token: token.map(Presented::Raw),
            kept,
        })
    }

    /// What its type asks for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The message without its token.
    #[must_use]
    pub const fn kept(&self) -> Kept<'a> {
        self.kept
    }

    /// Whether it presents a token for which `verify` answers yes. A token that is missing,
    /// empty, no string or no Unicode is presented to nobody.
    pub(super) fn presents(&self, verify: impl FnOnce(&str) -> bool) -> bool {
        let raw = match self.token {
            Some(Presented::Text(text)) => return verify(text),
            Some(Presented::Raw(raw)) => raw,
            None => return false,
        };
        match json::string(raw) {
            Some(Cow::Borrowed(text)) => verify(text),
            Some(Cow::Owned(text)) => verify(&Zeroizing::new(text)),
            None => false,
        }
    }
}

impl<'a> From<Usual<'a>> for Message<'a> {
    fn from(usual: Usual<'a>) -> Self {
        let is_ping = usual.kind == Some(b"ping");
        Self {
            kind: if is_ping { Kind::Ping } else { Kind::Other },
            token: Some(Presented::Text(usual.token)),
            kept: Kept {
                head: usual.head,
                tail: "}",
            },
        }
    }
}

/// The frame without the JSON whitespace around it.
fn trimmed(mut frame: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..]
    | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = frame
    {
        frame = rest;
    }
    frame
}

struct Meta<'a> {
    token: Option<&'a str>,
    members: usize,
    cut: Option<Cut>,
}

impl<'a> Meta<'a> {
    /// Passes the object that is the value of `meta`, which nests at most `levels` levels.
    fn read(reader: &mut Reader<'a>, levels: usize) -> Option<Self> {
        let mut spans = Spans::default();
        let mut found = None;
        let levels = levels.checked_sub(1)?;
        reader.object(|reader, key| {
            let taken = spans.take(reader, key, levels)?;
            let is_again = key.is("authToken") && found.replace(taken).is_some();
            (!is_again).then_some(())
        })?;
        Some(Self {
            token: found.map(|(value, _)| value),
            members: spans.count,
            cut: found.map(|(_, span)| spans.without(span)),
        })
    }

    fn is_token_alone(&self) -> bool {
        self.token.is_some() && self.members == 1
    }
}

/// A byte range of the frame's text.
#[derive(Clone, Copy)]
struct Cut {
    from: usize,
    to: usize,
}

/// Where a member stands among the members of its object.
#[derive(Clone, Copy)]
struct Span {
    index: usize,
    start: usize,
    end: usize,
    /// Where the member before it ends.
    after: usize,
}

/// Follows the members of one object and knows what to cut to leave one out.
#[derive(Default)]
struct Spans {
    count: usize,
    last_end: usize,
    second_start: usize,
}

impl Spans {
    /// Passes the value of the member `key`, which nests at most `levels` levels.
    fn take<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        key: Key<'_>,
        levels: usize,
    ) -> Option<(&'a str, Span)> {
        let start = reader.at();
        let depth = reader.value()?;
        let value = reader.since(start);
        (depth <= levels).then(|| (value, self.pass(reader, key)))
    }

    /// The value of the member `key` was passed.
    fn pass(&mut self, reader: &Reader<'_>, key: Key<'_>) -> Span {
        let span = Span {
            index: self.count,
            start: key.start(),
            end: reader.at(),
            after: self.last_end,
        };
        if self.count == 1 {
            self.second_start = key.start();
        }
        self.count = self.count.saturating_add(1);
        self.last_end = span.end;
        span
    }

    /// The member with the one comma that goes with it: the comma before it, or for the first
    /// of several the comma after it.
    fn without(&self, span: Span) -> Cut {
        let (from, to) = match span.index {
            0 if self.count == 1 => (span.start, span.end),
            0 => (span.start, self.second_start),
            _ => (span.after, span.end),
        };
        Cut { from, to }
    }
}

fn keep(text: &str, cut: Option<Cut>) -> Option<Kept<'_>> {
    match cut {
        None => Some(Kept {
            head: text,
            tail: "",
        }),
        Some(Cut { from, to }) => Some(Kept {
            head: text.get(..from)?,
            tail: text.get(to..)?,
        }),
    }
}

#[cfg(test)]
mod tests;
