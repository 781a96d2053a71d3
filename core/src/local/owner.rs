//! The owner channel: how the owner of a held inbox reads it.
//!
//! It is a second socket of the same daemon with a token of its own, and speaks the dialect's
//! frames: an authorised message is a question, and each is answered by one object.
//!
//! | question: `type`, `data` | answer |
//! |---|---|
//! | `consume` | `{"event":"attached"}`, or an error when another consumer is attached |
//! | `next`, `{"after":"uds-3","wait":true}` (both optional) | the next entry, or `{"event":"none"}` |
//! | `processed`, `{"id":"uds-4"}` | `{"event":"processed","count":…}` |
//!
//! An entry is removed by `processed` and by nothing else, so that a consumer that dies between
//! reading and showing a message loses none.

use alloc::string::String;
use alloc::vec::Vec;

use super::inbox::EntryId;
use super::message::Kept;
use crate::digits::Decimal;
use crate::json;

/// A question on the owner channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// To be the one consumer, until the connection ends.
    Consume,
    /// The first entry after `after`, or the first of all.
    Next {
        /// The last entry seen.
        after: Option<EntryId>,
        /// Whether to wait for one.
        wait: bool,
    },
    /// All entries up to and including this one were dealt with.
    Processed(EntryId),
}

/// The message is no question of the owner channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotAQuestion;

impl core::fmt::Display for NotAQuestion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not a question of the owner channel")
    }
}

impl core::error::Error for NotAQuestion {}

impl Question {
    /// Reads the question that an authorised message asks.
    ///
    /// # Errors
    ///
    /// [`NotAQuestion`].
    pub fn parse(kept: Kept<'_>) -> Result<Self, NotAQuestion> {
        let text = kept.to_text();
        let (mut kind, mut data) = (None, None);
        json::members(&text, |member| {
            if json::is(member.key, "type") {
                kind = json::string(member.value);
            } else if json::is(member.key, "data") {
                data = Some(member.value);
            }
            true
        })
        .map_err(|_| NotAQuestion)?;
        let (mut after, mut wait, mut id) = (Ok(None), false, None);
        if let Some(object) = data.filter(|raw| raw.starts_with('{')) {
            json::members(object, |member| {
                if json::is(member.key, "after") {
                    after = entry_id(member.value).map(Some).ok_or(NotAQuestion);
                } else if json::is(member.key, "wait") {
                    wait = member.value == "true";
                } else if json::is(member.key, "id") {
                    id = entry_id(member.value);
                }
                true
            })
            .map_err(|_| NotAQuestion)?;
        }
        match kind.as_deref() {
            Some("consume") => Ok(Self::Consume),
            Some("next") => Ok(Self::Next {
                after: after?,
                wait,
            }),
            Some("processed") => id.map(Self::Processed).ok_or(NotAQuestion),
            Some(_) | None => Err(NotAQuestion),
        }
    }

    /// The `type` of the message that asks it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Next { .. } => "next",
            Self::Processed(_) => "processed",
        }
    }

    /// The `data` of the message that asks it, as JSON.
    #[must_use]
    pub fn data(&self) -> String {
        match self {
            Self::Consume => String::from("{}"),
            Self::Next { after: None, wait } => alloc::format!(r#"{{"wait":{wait}}}"#),
            Self::Next {
                after: Some(id),
                wait,
            } => {
                alloc::format!(r#"{{"after":"{id}","wait":{wait}}}"#)
            }
            Self::Processed(id) => alloc::format!(r#"{{"id":"{id}"}}"#),
        }
    }
}

/// An object that answers a question, as its asker reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The asker is the one consumer.
    Attached,
    /// An entry, under this id. The object is the entry's line.
    Entry(EntryId),
    /// There is none.
    None,
    /// So many entries were removed.
    Processed(u64),
}

impl Reply {
    /// The answer to [`Question::Consume`].
    pub const ATTACHED: &'static [u8] = br#"{"event":"attached"}"#;

    /// The answer to [`Question::Next`] when there is no entry.
    pub const NONE: &'static [u8] = br#"{"event":"none"}"#;

    /// Writes the answer to [`Question::Processed`].
    pub fn write_processed(count: u64, out: &mut Vec<u8>) {
        let digits = Decimal::new(count);
        for part in [
            &br#"{"event":"processed","count":"#[..],
            digits.as_bytes(),
            b"}",
        ] {
            out.extend_from_slice(part);
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// [`NotAQuestion`] when the object answers none.
    pub fn parse(object: &str) -> Result<Self, NotAQuestion> {
        let (mut event, mut id, mut count) = (None, None, None);
        json::members(object, |member| {
            if json::is(member.key, "event") {
                event = json::string(member.value);
            } else if json::is(member.key, "id") {
                id = entry_id(member.value);
            } else if json::is(member.key, "count") {
                count = member.value.parse().ok();
            }
            true
        })
        .map_err(|_| NotAQuestion)?;
        let reply = match event.as_deref() {
            Some("attached") => Some(Self::Attached),
            Some("none") => Some(Self::None),
            Some("message") => id.map(Self::Entry),
            Some("processed") => count.map(Self::Processed),
            Some(_) | None => None,
        };
        reply.ok_or(NotAQuestion)
    }
}

fn entry_id(raw: &str) -> Option<EntryId> {
    json::string(raw).and_then(|text| EntryId::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::local::message::Message;
    use alloc::format;

    fn parse(text: &str) -> Result<Question, NotAQuestion> {
        Question::parse(
            Message::parse(text.as_bytes(), &Limits::DEFAULT)
                .unwrap()
                .kept(),
        )
    }

    #[test]
    fn questions_read_back_as_they_were_asked() {
        let id = EntryId::parse("uds-7").unwrap();
        for question in [
            Question::Consume,
            Question::Next {
                after: None,
                wait: false,
            },
            Question::Next {
                after: Some(id),
                wait: true,
            },
            Question::Processed(id),
        ] {
            let text = format!(
                r#"{{"type":"{}","data":{}}}"#,
                question.kind(),
                question.data()
            );
            assert_eq!(parse(&text), Ok(question));
        }
        assert_eq!(
            parse(r#"{"type":"next"}"#),
            Ok(Question::Next {
                after: None,
                wait: false
            })
        );
    }

    #[test]
    fn anything_else_is_no_question() {
        for text in [
            "{}",
            r#"{"type":"text","data":"next"}"#,
            r#"{"type":7}"#,
            r#"{"type":"processed"}"#,
            r#"{"type":"processed","data":{"id":"uds-0"}}"#,
            r#"{"type":"next","data":{"after":"3"}}"#,
            r#"{"type":"next","data":{"after":null}}"#,
        ] {
            assert_eq!(parse(text), Err(NotAQuestion), "{text}");
        }
        assert!(format!("{NotAQuestion}").contains("owner channel"));
    }

    #[test]
    fn answers_read_back_as_they_were_given() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(Reply::parse(&text(Reply::ATTACHED)), Ok(Reply::Attached));
        assert_eq!(Reply::parse(&text(Reply::NONE)), Ok(Reply::None));
        let mut out = Vec::new();
        Reply::write_processed(12, &mut out);
        assert_eq!(Reply::parse(&text(&out)), Ok(Reply::Processed(12)));
        let entry = r#"{"event":"message","id":"uds-3","message":{"id":"uds-9","event":"none"}}"#;
        assert_eq!(
            Reply::parse(entry),
            Ok(Reply::Entry(EntryId::parse("uds-3").unwrap()))
        );
        for other in [
            "{}",
            "[]",
            r#"{"event":"message"}"#,
            r#"{"event":"processed"}"#,
            r#"{"event":7}"#,
        ] {
            assert_eq!(Reply::parse(other), Err(NotAQuestion), "{other}");
        }
    }
}
