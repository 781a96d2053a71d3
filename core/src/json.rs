//! What the dialects need of JSON beyond serde_json's tree: members in order, as borrowed raw
//! text.
//!
//! Nothing here decodes a value that is not asked for; serde_json decodes. Raw text keeps what a
//! tree would lose or refuse: lone surrogate escapes, numbers beyond `f64`, member order,
//! duplicates.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::scan::Reader;

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
    mut visit: impl FnMut(Member<'a>) -> bool,
) -> Result<(), NotAnObject> {
    let mut reader = Reader::new(text);
    reader.space();
    let walked = reader.object(|reader, key| {
        let value = reader.raw_value()?;
        let key = key.raw();
        visit(Member { key, value }).then_some(())
    });
    match walked {
        Some(()) if reader.is_done() => Ok(()),
        Some(()) | None => Err(NotAnObject),
    }
}

/// Whether `text` is one JSON value.
pub(crate) fn is_value(text: &str) -> bool {
    depth(text).is_some()
}

/// How many levels of objects and arrays `text` nests, 0 for a scalar; `None` when it is not one
/// JSON value.
pub(crate) fn depth(text: &str) -> Option<usize> {
    let mut reader = Reader::new(text);
    reader.space();
    let depth = reader.value()?;
    reader.is_done().then_some(depth)
}

/// Whether the raw key or string `raw` (with its quotes) is `name`, however it is escaped.
pub(crate) fn is(raw: &str, name: &str) -> bool {
    match unquoted(raw) {
        // An escape is longer than what it stands for.
        Some(plain) if plain.len() <= name.len() => plain == name && !plain.contains('\\'),
        Some(plain) if plain.contains('\\') => string(raw).is_some_and(|text| text == name),
        Some(_) | None => false,
    }
}

/// The text of the raw JSON string `raw`; `None` when it is no string, or not Unicode (a lone
/// surrogate).
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let plain = unquoted(raw)?;
    if memchr::memchr(b'\\', plain.as_bytes()).is_some() {
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

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
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
        assert!(is(r#""\\""#, "\\"));
        assert!(!is(r#""\n""#, "\\n"));
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
        for (raw, expected) in [
            ("1", 0),
            (r#""[[[""#, 0),
            ("[]", 1),
            (r#"[{"a":"]\"["},[[1]],2]"#, 3),
            // Brackets in a string are none, also behind an escaped quote or backslash.
            (r#"["[[["]"#, 1),
            (r#"["\"[[["]"#, 1),
            (r#"["\\",[[1]]]"#, 3),
            (r#"["\\\"[[["]"#, 1),
            (r#"{"[{":{"]":0}}"#, 2),
            ("[[],[],[[]]]", 3),
        ] {
            assert_eq!(depth(raw), Some(expected), "{raw}");
        }
        assert!(is_value(" [1] ") && !is_value("[1"));
    }

    /// By the grammar of RFC 8259 and as serde_json has it.
    #[test]
    fn a_value_is_what_the_grammar_says() {
        let values = [
            "0",
            "-0",
            "10",
            "1.50",
            "1e5",
            "1E+05",
            "-1.0e-0",
            "true",
            "false",
            "null",
            r#""\u00Ff\ud800\"\\\/\b\f\n\r\t""#,
            "\"\u{7f}\"",
            "[1 , 2]",
            "[[],{}]",
            r#"{ "a" : [ ] , "a" : { } }"#,
        ];
        let others = [
            "",
            " ",
            "00",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e1",
            "1e",
            "1e+",
            "1e-+1",
            "--1",
            "0x1",
            "tru",
            "nul",
            "falsey",
            "True",
            "\"",
            "\"\\",
            r#""\""#,
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u123""#,
            r#""\u12"#,
            "\"\u{1f}\"",
            "[",
            "]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1}",
            "{1}",
            "{]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,}"#,
            r#"{"a":1 "b":2}"#,
            "1 1",
            "\u{b}1",
        ];
        for text in values.into_iter().chain(others) {
            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(text);
            assert_eq!(is_value(text), parsed.is_ok(), "{text}");
            assert_eq!(is_value(text), values.contains(&text), "{text}");
        }
    }
}
