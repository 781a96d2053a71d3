//! The scanner of JSON texts, through those who read with it, against serde_json: what is JSON,
//! how deep it nests, which string a member is.

use hallway_core::Limits;
use hallway_core::local::message::{Message, MessageError};
use hallway_core::session::control::{Frame, NotForwarded};
use serde_json::Value;
use serde_json::value::RawValue;

use super::every;

/// What a number is spelled with, but for all digits.
const NUMBERS: &[&str] = &["-", "+", ".", "e", "E", "0", "7"];

/// What ends, escapes and breaks a string.
const STRINGS: &[&str] = &["\"", "\\", "u", "d", "8", "n", "\u{1f}", "é"];

/// How many plain bytes a string begins with, so that its end falls into its first word, behind
/// it, behind a block of words, and into the far text that is searched.
const BEGINNINGS: &[usize] = &[0, 4, 11, 43, 261];

/// What arrays and objects are made of.
const NESTS: &[&str] = &["[", "]", "{", "}", ",", ":", "\"a\"", "1", " "];

/// The letters of the three words.
const WORDS: &[&str] = &["t", "r", "u", "e", "f", "a", "l", "s", "n"];

/// The least depth that may be allowed.
const LEVELS: usize = 128;

/// Brackets are kept by 64 to a word.
const WORD: usize = 64;

/// Every text of at most `most` of what numbers are spelled with.
pub fn every_number(most: usize) -> u64 {
    let limits = limits();
    every(NUMBERS, most, |text| compare(text, &limits))
}

/// Every text that is the beginning of a string and at most `most` of what matters in one.
pub fn every_string(most: usize) -> u64 {
    let limits = limits();
    let all = BEGINNINGS.iter().map(|plain| {
        let beginning = format!("\"{}", "x".repeat(*plain));
        every(STRINGS, most, |text| {
            compare(&[&beginning, text].concat(), &limits);
        })
    });
    all.sum()
}

/// Every text of at most `most` pieces of arrays and objects.
pub fn every_nest(most: usize) -> u64 {
    let limits = limits();
    every(NESTS, most, |text| compare(text, &limits))
}

/// Every text of at most `most` letters of `true`, `false` and `null`.
pub fn every_word(most: usize) -> u64 {
    let limits = limits();
    every(WORDS, most, |text| compare(text, &limits))
}

fn limits() -> Limits {
    let limits = Limits::builder().max_frame_depth(LEVELS).build();
    limits.expect("the limits are within their ranges")
}

/// Compares what both make of `text`, as a whole and as the value of a member.
fn compare(text: &str, limits: &Limits) {
    let raw = serde_json::from_str::<&RawValue>(text).ok();
    let found = Message::parse(text.as_bytes(), limits).map(|message| message.kept().to_text());
    let expected = match raw.map(RawValue::get) {
        None | Some("null") => Err(MessageError::Invalid),
        Some(object) if object.starts_with('{') => Ok(object.into()),
        Some(_) => Err(MessageError::NotAnObject),
    };
    assert_eq!(found, expected, "{text:?}");
    compare_member(text);
    if let Some(raw) = raw {
        compare_depth(raw.get(), limits);
    }
}

/// Compares what both make of `text` in the place of an id.
fn compare_member(text: &str) {
    let frame = format!(r#"{{"type":"control_cancel_request","request_id":{text}}}"#);
    let found = Frame::parse(&frame);
    if serde_json::from_str::<&RawValue>(&frame).is_err() {
        assert_eq!(found, Err(NotForwarded::NotAnObject), "{frame:?}");
        return;
    }
    // Without a tree it is no Unicode, or too large a number: no id.
    let tree: Option<Value> = serde_json::from_str(&frame).ok();
    let id = tree
        .as_ref()
        .and_then(|tree| tree.get("request_id")?.as_str());
    let expected = id.map_or(Frame::Other, |id| Frame::Cancel {
        request_id: id.into(),
    });
    assert_eq!(found, Ok(expected), "{frame:?}");
}

/// A value may nest as deep as is allowed, and no level deeper, wherever its brackets stand among
/// others.
fn compare_depth(raw: &str, limits: &Limits) {
    let Ok(tree) = serde_json::from_str::<Value>(raw) else {
        return;
    };
    let room = LEVELS - depth(&tree);
    for levels in [WORD - 1, WORD, WORD + 1, room, room + 1] {
        let text = wrapped(raw, levels);
        let expected = match levels {
            _ if levels > room => MessageError::Invalid,
            _ => MessageError::NotAnObject,
        };
        let found = Message::parse(text.as_bytes(), limits).err();
        assert_eq!(found, Some(expected), "{text}");
    }
}

fn depth(tree: &Value) -> usize {
    let inner = match tree {
        Value::Array(elements) => elements.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or_default()
}

/// The value within so many levels of arrays and objects, an array the outermost.
fn wrapped(raw: &str, levels: usize) -> String {
    let is_object = |level: &usize| level % 3 == 2 || level % 7 == 4;
    let mut text = String::new();
    for level in 0..levels {
        text.push_str(if is_object(&level) { "{\"b\":" } else { "[" });
    }
    text.push_str(raw);
    for level in (0..levels).rev() {
        text.push(if is_object(&level) { '}' } else { ']' });
    }
    text
}
