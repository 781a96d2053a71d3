//! Frames as clients write them: an object without a space or an escape, of members that are
//! strings, and last of them `meta` with the token alone.
//!
//! What is read here, the general way ([`Message::parse`](super::message::Message::parse)) reads
//! the same; what is not is left to it.

use crate::scan::{is_plain, quote};

/// What such a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual<'a> {
    /// The text of `type`.
    pub(super) kind: Option<&'a [u8]>,
    /// The token.
    pub(super) token: &'a str,
    /// All that stands before `,"meta"`: with a closing brace, the message without its token.
    pub(super) head: &'a str,
}

impl<'a> Usual<'a> {
    /// Reads a frame; `None` for all that are written otherwise.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let mut kind = None;
        let mut rest = text.as_bytes().strip_prefix(b"{")?;
        loop {
            let (key, behind) = string(rest)?;
            let (value, behind) = string(behind.strip_prefix(b":")?)?;
            if key == b"type" && kind.replace(value).is_some() || key == b"meta" {
                return None;
            }
            rest = behind.strip_prefix(b",")?;
            let Some(last) = rest.strip_prefix(br#""meta":{"authToken":"#) else {
                continue;
            };
            let (token, end) = string(last)?;
            if end != b"}}" || !is_plain(text.as_bytes()) {
                return None;
            }
            let head = text.len().saturating_sub(behind.len());
            let (head, tail) = text.split_at_checked(head)?;
            let token = tail.get(BEFORE_TOKEN..)?.get(..token.len())?;
            return Some(Self { kind, token, head });
        }
    }
}

/// What stands between the message and the text of the token.
const BEFORE_TOKEN: usize = br#","meta":{"authToken":""#.len();

/// The text of the string that comes first, if nothing in it is escaped, and what is behind it.
#[inline]
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let (text, behind) = inner.split_at_checked(quote(inner)?)?;
    Some((text, behind.get(1..)?))
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
        assert_eq!(usual.kind, Some(&b"text"[..]));
        assert_eq!(usual.token, "T");
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
            r#"{"a":"\\","meta":{"authToken":"T"}}"#,
            r#"{"a":"b\","c":"d","meta":{"authToken":"T"}}"#,
            "{\"a\":\"\u{1f}\",\"meta\":{\"authToken\":\"T\"}}",
            "{\"a\":\"\",\n\"meta\":{\"authToken\":\"T\"}}",
            r#"{"\u0061":"","meta":{"authToken":"T"}}"#,
            r#"{"a":""}"#,
            "{}",
            "",
        ] {
            assert_eq!(Usual::read(frame), None, "{frame}");
        }
    }
}
