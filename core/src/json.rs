//! What the dialects need of JSON beyond serde_json's tree: members in order, as borrowed raw
//! text.
//!
//! serde_json validates; nothing here decodes a value that is not asked for. Raw text keeps
//! what a tree would lose or refuse: lone surrogate escapes, numbers beyond `f64`, member
//! order, duplicates.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use serde_core::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// One member of an object: both texts as they stand in the source, the key with its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

/// The text is not one JSON object, or the visitor refused a member.
#[derive(Debug)]
pub(crate) struct NotAnObject;

/// Calls `visit` with each member of the object `text`, in order.
///
/// `visit` returns `false` to refuse, which ends the walk.
pub(crate) fn members<'a>(
    text: &'a str,
    visit: impl FnMut(Member<'a>) -> bool,
) -> Result<(), NotAnObject> {
    let mut reader = Deserializer::from_str(text);
    let walked = reader.deserialize_map(Walk { visit });
    walked.and_then(|()| reader.end()).map_err(|_| NotAnObject)
}

/// Whether `text` is one JSON value.
pub(crate) fn is_value(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether the raw key or string `raw` (with its quotes) is `name`, however it is escaped.
pub(crate) fn is(raw: &str, name: &str) -> bool {
    match unquoted(raw) {
        Some(plain) if !plain.contains('\\') => plain == name,
        _ => string(raw).is_some_and(|text| text == name),
    }
}

/// The text of the raw JSON string `raw`; `None` when it is no string, or not Unicode (a lone
/// surrogate).
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let plain = unquoted(raw)?;
    if plain.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

/// `text` as a JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    // Writing a string to memory cannot fail; the empty string would show in every test.
    serde_json::to_string(text).unwrap_or_default()
}

/// How many levels of objects and arrays the valid JSON `raw` nests: 0 for a scalar.
pub(crate) fn depth(raw: &str) -> usize {
    if !raw.starts_with(['{', '[']) {
        return 0;
    }
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in raw.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

struct Walk<F> {
    visit: F,
}

impl<'a, F: FnMut(Member<'a>) -> bool> Visitor<'a> for Walk<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<&RawValue>()? {
            let value = map.next_value::<&RawValue>()?;
            let member = Member {
                key: key.get(),
                value: value.get(),
            };
            if !(self.visit)(member) {
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn walk(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut out = Vec::new();
        members(text, |m| {
            out.push((m.key, m.value));
            true
        })
        .ok()
        .map(|()| out)
    }

    #[test]
    fn members_come_raw_and_in_order() {
        assert_eq!(
            walk(r#" {"b" : 1e999 , "a":"\ud83d","\ud83d":[1, 2],"b":null} "#),
            Some(alloc::vec![
                ("\"b\"", "1e999"),
                ("\"a\"", "\"\\ud83d\""),
                ("\"\\ud83d\"", "[1, 2]"),
                ("\"b\"", "null"),
            ])
        );
        assert_eq!(walk("{}"), Some(alloc::vec![]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{} {}",
            "[]",
            "1",
            "null",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\":\"\u{1}\"}",
            "\u{feff}{}",
            "{\"a\":01}",
        ] {
            assert_eq!(walk(text), None, "{text:?} was accepted");
        }
    }

    #[test]
    fn a_refusing_visitor_ends_the_walk() {
        let mut seen = 0;
        let walked = members(r#"{"a":1,"b":2}"#, |_| {
            seen += 1;
            false
        });
        assert!(walked.is_err());
        assert_eq!(seen, 1);
    }

    #[test]
    fn names_are_compared_decoded() {
        assert!(is(r#""meta""#, "meta"));
        assert!(is(r#""m\u0065ta""#, "meta"));
        assert!(!is(r#""m\u0065tb""#, "meta"));
        assert!(!is(r#""\ud83d""#, "meta"));
        assert!(!is("1", "1"));
        assert!(!is("\"", ""));
    }

    #[test]
    fn strings_decode_or_are_nothing() {
        assert_eq!(string(r#""a\nb""#).as_deref(), Some("a\nb"));
        assert_eq!(string(r#""ab""#).as_deref(), Some("ab"));
        assert_eq!(string(r#""\ud83d""#), None);
        assert_eq!(string("17"), None);
        assert_eq!(quoted("a\"\n\u{1f600}"), "\"a\\\"\\n\u{1f600}\"");
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth("1"), 0);
        assert_eq!(depth(r#""[[[""#), 0);
        assert_eq!(depth("[]"), 1);
        assert_eq!(depth(r#"[{"a":"]\"["},[[1]],2]"#), 3);
        // Brackets in a string are none, also behind an escaped quote or an escaped backslash.
        for (raw, expected) in [
            (r#"["[[["]"#, 1),
            (r#"["\"[[["]"#, 1),
            (r#"["\\",[[1]]]"#, 3),
            (r#"["\\\"[[["]"#, 1),
            (r#"{"[{":{"]":0}}"#, 2),
            ("[[],[],[[]]]", 3),
        ] {
            assert_eq!(depth(raw), expected, "{raw}");
        }
        assert!(is_value("[1]") && !is_value("[1"));
    }
}
