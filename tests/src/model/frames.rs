//! What a whole input means to a server (local.md §3): lines, and each line's verdict.

use std::io::BufRead;

use hallway_core::Limits;

use super::json::{self, Json, Member};

/// Whom the input is for.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The server's token.
    pub token: String,
    /// The path at which it listens.
    pub path: String,
    /// Its bounds (§1).
    pub limits: Limits,
}

/// An input, split.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines<'a> {
    /// The complete lines of allowed length, and where each ends in the input, newline
    /// included.
    pub lines: Vec<(&'a [u8], usize)>,
    /// Where the first byte too many stands, if a line was too long. Nothing after it counts.
    pub too_long: Option<usize>,
}

/// §3: "split on byte 0x0A alone"; §1: "the newline is not counted, a CR is"; §3: "more, with or
/// without a newline" is too long.
#[must_use]
pub fn split(input: &[u8], limit: usize) -> Lines<'_> {
    let mut lines = Vec::new();
    let mut from = 0;
    loop {
        let mut rest = &input[from..];
        let read = rest.skip_until(b'\n').expect("memory can be read");
        let piece = &input[from..from + read];
        let line = piece.strip_suffix(b"\n");
        if line.unwrap_or(piece).len() > limit {
            let too_long = Some(from + limit);
            return Lines { lines, too_long };
        }
        from += read;
        let Some(line) = line else {
            let too_long = None; // What follows the last newline is no line yet.
            return Lines { lines, too_long };
        };
        lines.push((line, from));
    }
}

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not JSON, `null`, nested too deep, or with a duplicate of what is interpreted.
    Invalid,
    /// JSON, but no object.
    NotAnObject,
    /// An object.
    Object {
        /// Whether its `type` is `ping`.
        is_ping: bool,
        /// Its `meta.authToken`, if that is a string.
        token: Option<String>,
        /// What is left without `meta.authToken`.
        kept: String,
    },
}

/// Reads one frame that is not blank.
#[must_use]
pub fn read(line: &[u8], max_depth: usize) -> Frame {
    // "invalid UTF-8; BOM", "not JSON; a raw control character in a string".
    let Some(json) = std::str::from_utf8(line).ok().and_then(Json::read) else {
        return Frame::Invalid;
    };
    // "`null`"; "deep nesting (define a limit)".
    if json.text == "null" || json.depth > max_depth {
        return Frame::Invalid;
    }
    let Some(members) = json.members() else {
        return Frame::NotAnObject;
    };
    // "For the members we interpret (`type`, `meta`, `authToken`) a duplicate is `invalid frame`".
    let (Ok(kind), Ok(meta)) = (the_one(members, "type"), the_one(members, "meta")) else {
        return Frame::Invalid;
    };
    let inner = meta.and_then(|at| Json::read(members[at].value));
    let inner_members = inner.as_ref().and_then(Json::members).unwrap_or_default();
    let Ok(token) = the_one(inner_members, "authToken") else {
        return Frame::Invalid;
    };
    let kept = match (meta, token) {
        // "if `meta` is then empty it is omitted".
        (Some(meta), Some(_)) if inner_members.len() == 1 => without(json.text, members, meta),
        (Some(meta), Some(token)) => {
            let Member { value, to, .. } = members[meta];
            let (head, tail) = (&json.text[..to - value.len()], &json.text[to..]);
            format!("{head}{}{tail}", without(value, inner_members, token))
        }
        _ => json.text.to_owned(),
    };
    Frame::Object {
        is_ping: kind
            .and_then(|at| json::decode(members[at].value))
            .as_deref()
            == Some("ping"),
        token: token.and_then(|at| json::decode(inner_members[at].value)),
        kept,
    }
}

/// The place of the one member called `name`, if there is one; an error if there are several.
fn the_one(members: &[Member<'_>], name: &str) -> Result<Option<usize>, ()> {
    let mut places = (0..members.len()).filter(|at| members[*at].is(name));
    match (places.next(), places.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(()),
    }
}

/// The object `text` without one member and without the comma before it, or for the first of
/// several the comma after it: "all other members are kept, in order, byte for byte".
fn without(text: &str, members: &[Member<'_>], at: usize) -> String {
    let from = if at == 0 {
        members[0].from
    } else {
        members[at - 1].to
    };
    let to = if at == 0 && members.len() > 1 {
        members[1].from
    } else {
        members[at].to
    };
    format!("{}{}", &text[..from], &text[to..])
}

/// What a server makes of one frame that is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A ping, to be answered.
    Ping,
    /// A message, to be kept.
    Message(String),
    /// An error, and the end.
    Refused(String),
}

/// §3: "blank line (only JSON whitespace)".
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    line.iter().all(is_space)
}

/// The verdict on one frame that is not blank: the table of §3.
#[must_use]
pub fn verdict(line: &[u8], rules: &Rules) -> Turn {
    match read(line, rules.limits.max_frame_depth()) {
        Frame::Invalid => Turn::Refused("invalid frame".to_owned()),
        Frame::Object {
            is_ping,
            token,
            kept,
        } if token.as_ref() == Some(&rules.token) => {
            if is_ping {
                Turn::Ping
            } else {
                Turn::Message(kept)
            }
        }
        Frame::NotAnObject | Frame::Object { .. } => Turn::Refused("unauthorized".to_owned()),
    }
}

/// All that `input` asks for, up to and including the first error, each with the number of
/// bytes after which it is known.
#[must_use]
pub fn turns(input: &[u8], rules: &Rules) -> Vec<(Turn, usize)> {
    let limit = rules.limits.max_frame_bytes();
    let split = split(input, limit);
    let mut turns = Vec::new();
    for (line, end) in split.lines {
        if is_blank(line) {
            continue;
        }
        let turn = verdict(line, rules);
        let refused = matches!(turn, Turn::Refused(_));
        turns.push((turn, end));
        if refused {
            return turns; // "One error frame a connection, and nothing after it takes effect."
        }
    }
    if let Some(at) = split.too_long {
        let text = format!("NDJSON frame exceeded {limit} bytes ({})", limit + 1);
        turns.push((Turn::Refused(text), at + 1));
    }
    turns
}
