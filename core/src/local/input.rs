//! One line of JSON that a user pipes in to be sent: `{"type":"text","data":…}`.

use alloc::borrow::Cow;
use core::fmt;

use super::exchange::{Data, Draft};
use crate::json;

/// A message to be sent, as its writer spelled it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input<'a> {
    kind: Cow<'a, str>,
    data: &'a str,
}

/// Why a line is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputError {
    /// It is not one JSON object.
    NotAnObject,
    /// `type` is not a string.
    Type,
    /// There is no `data`.
    NoData,
    /// It has a member that is not sent, or one of them twice: more likely a mistake than
    /// meant.
    Member,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "the line is not one JSON object",
            Self::Type => "its type is not a string",
            Self::NoData => "it has no data",
            Self::Member => "it has another member than one type and one data",
        })
    }
}

impl core::error::Error for InputError {}

impl<'a> Input<'a> {
    /// Reads a line. Without `type` it is of the type `text`; `data` may be any value.
    ///
    /// # Errors
    ///
    /// [`InputError`].
    pub fn parse(line: &'a str) -> Result<Self, InputError> {
        let (mut kind, mut data) = (None, None);
        let mut known = true;
        json::members(line, |member| {
            known = if json::is(member.key, "type") {
                kind.replace(member.value).is_none()
            } else {
                json::is(member.key, "data") && data.replace(member.value).is_none()
            };
            known
        })
        .map_err(|_| {
            if known {
                InputError::NotAnObject
            } else {
                InputError::Member
            }
        })?;
        let kind = match kind {
            None => Cow::Borrowed("text"),
            Some(raw) => json::string(raw).ok_or(InputError::Type)?,
        };
        let data = data.ok_or(InputError::NoData)?;
        Ok(Self { kind, data })
    }

    /// The message to send, without a `from`.
    #[must_use]
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            kind: &self.kind,
            data: Data::Json(self.data),
            from: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_draft() {
        let input =
            Input::parse(r#" {"type":"qu\u0065ry","data":{"a":[1e999,"\ud83d"]}} "#).unwrap();
        let draft = input.draft();
        assert_eq!((draft.kind, draft.from), ("query", None));
        assert_eq!(draft.data, Data::Json(r#"{"a":[1e999,"\ud83d"]}"#));
        let plain = Input::parse(r#"{"data":"x"}"#).unwrap();
        assert_eq!(plain.draft().kind, "text");
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for (line, error) in [
            ("", InputError::NotAnObject),
            ("\"x\"", InputError::NotAnObject),
            (r#"{"data":1"#, InputError::NotAnObject),
            (r#"{"data":1} x"#, InputError::NotAnObject),
            (r#"{"type":7,"data":1}"#, InputError::Type),
            (r#"{"type":"text"}"#, InputError::NoData),
            (r#"{"data":1,"data":2}"#, InputError::Member),
            (r#"{"type":"a","type":"b","data":2}"#, InputError::Member),
            (r#"{"data":1,"to":"x"}"#, InputError::Member),
            (r#"{"data":1,"meta":{}}"#, InputError::Member),
        ] {
            assert_eq!(Input::parse(line), Err(error), "{line}");
            assert!(!alloc::format!("{error}").is_empty());
        }
    }
}
