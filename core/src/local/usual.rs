//! Frames as clients write them: an object without a space or an escape, of members that are
//! strings, and last of them `meta` with the token alone.
//!
//! What is read here, the general way ([`Message::parse`](super::message::Message::parse)) reads
//! the same; what is not is left to it.

use crate::scan::Reader;

/// What such a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual<'a> {
    /// The text of `type`.
    pub(super) kind: Option<&'a str>,
    /// The token with its quotes.
    pub(super) token: &'a str,
    /// All that stands before `,"meta"`: with a closing brace, the message without its token.
    pub(super) head: &'a str,
}

impl<'a> Usual<'a> {
    /// Reads a frame; `None` for all that are written otherwise.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let mut reader = Reader::new(text);
        let mut kind = None;
        reader.word("{")?;
        loop {
            let key = reader.plain_string()?;
            reader.word(":")?;
            let value = reader.plain_string()?;
            if key == "type" && kind.replace(value).is_some() || key == "meta" {
                return None;
            }
            let head = reader.since(0);
            reader.word(",")?;
            if !reader.eat_word(r#""meta":{"authToken":"#) {
                continue;
            }
            let start = reader.at();
            reader.plain_string()?;
            let token = reader.since(start);
            return (reader.rest() == b"}}").then_some(Self { kind, token, head });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_clients_frame_is_usual() {
        let head = r#"{"type":"text","data":"d","from":"/s","ts":"t""#;
        let frame = format!(r#"{head},"meta":{{"authToken":"T"}}}}"#);
        let usual = Usual::read(&frame).unwrap();
        assert_eq!(usual.kind, Some("text"));
        assert_eq!(usual.token, r#""T""#);
        assert_eq!(usual.head, head);
    }

    #[test]
    fn a_frame_that_is_written_otherwise_is_not() {
        for frame in [
            r#"{"meta":{"authToken":"T"}}"#,
            r#"{"a":"","meta":{"authToken":"T"},"b":""}"#,
            r#"{"a":"","meta":{"authToken":"T","b":""}}"#,
            r#"{"a":"","meta":{"authToken":"T"}}}"#,
            r#"{"a":"","meta":{"authToken":"T"}} "#,
            r#"{"a":"","meta":{"authToken":"T"}"#,
            r#"{"a":"","meta":{"authToken":1}}"#,
            r#"{"a":"","meta":"","meta":{"authToken":"T"}}"#,
            r#"{"a":"","meta":{"authToken":"\u0054"}}"#,
            r#"{"type":"","type":"","meta":{"authToken":"T"}}"#,
            r#"{"a":1,"meta":{"authToken":"T"}}"#,
            r#"{"a": "","meta":{"authToken":"T"}}"#,
            r#"{"a":"\n","meta":{"authToken":"T"}}"#,
            r#"{"\u0061":"","meta":{"authToken":"T"}}"#,
            r#"{"a":""}"#,
            "{}",
            "",
        ] {
            assert_eq!(Usual::read(frame), None, "{frame}");
        }
    }
}
