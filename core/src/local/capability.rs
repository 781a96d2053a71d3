//! The capability file: where a server's token waits for its clients (local.md §2).
//!
//! The shell decides whether the file itself can be trusted (owner, mode, kind); this module
//! only knows its text.

use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use crate::json;
use crate::token::Token;

/// The longest capability file that is read, in bytes.
pub const MAX_BYTES: usize = 8_192;

/// Why a capability file yields no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CapabilityError {
    /// It is longer than [`MAX_BYTES`], is not UTF-8 or is not one JSON object.
    NotAnObject,
    /// It speaks of another socket, or of none.
    OtherSocket,
    /// `authToken` is missing, empty, too long or not a string.
    NoToken,
}

impl fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "the capability file is not one JSON object",
            Self::OtherSocket => "the capability file speaks of another socket",
            Self::NoToken => "the capability file has no usable authToken",
        })
    }
}

impl core::error::Error for CapabilityError {}

/// The exact content of the capability file of `socket_path`; wiped on drop.
#[must_use]
pub fn print(socket_path: &str, token: &Token) -> Zeroizing<String> {
    let path = json::quoted(socket_path);
    let secret = Zeroizing::new(json::quoted(token.expose()));
    // Sized beforehand: a growing buffer would leave unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(
        path.len().saturating_add(secret.len()).saturating_add(32),
    ));
    for part in [r#"{"socketPath":"#, &path, r#","authToken":"#, &secret, "}"] {
        text.push_str(part);
    }
    text
}

/// The token that `bytes`, the content of a capability file, hold for `socket_path`.
///
/// As for every reader of the dialect, the last of duplicate members counts.
///
/// # Errors
///
/// [`CapabilityError`]; to a client each means "no token".
pub fn parse(bytes: &[u8], socket_path: &str) -> Result<Token, CapabilityError> {
    if bytes.len() > MAX_BYTES {
        return Err(CapabilityError::NotAnObject);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| CapabilityError::NotAnObject)?;
    let (mut path, mut secret) = (None, None);
    json::members(text, |member| {
        if json::is(member.key, "socketPath") {
            path = Some(member.value);
        } else if json::is(member.key, "authToken") {
            secret = Some(member.value);
        }
        true
    })
    .map_err(|_| CapabilityError::NotAnObject)?;
    if !path.is_some_and(|raw| json::is(raw, socket_path)) {
        return Err(CapabilityError::OtherSocket);
    }
    let secret = secret
        .and_then(json::string)
        .map(|text| Zeroizing::new(text.into_owned()))
        .ok_or(CapabilityError::NoToken)?;
    Token::parse(&secret).map_err(|_| CapabilityError::NoToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn parsed(text: &str) -> Result<String, CapabilityError> {
        parse(text.as_bytes(), "/s").map(|token| String::from(token.expose()))
    }

    /// Covers: L2.7
    #[test]
    fn prints_the_contract_text_and_reads_it_back() {
        let token = Token::from_entropy(&[7; 32]);
        let text = print("/tmp/a \"b\"/m.sock", &token);
        assert_eq!(
            *text,
            format!(
                r#"{{"socketPath":"/tmp/a \"b\"/m.sock","authToken":"{}"}}"#,
                "07".repeat(32)
            )
        );
        let read = parse(text.as_bytes(), "/tmp/a \"b\"/m.sock").unwrap();
        assert!(read.verify(token.expose()));
    }

    #[test]
    fn takes_what_a_reader_of_the_dialect_takes() {
        assert_eq!(
            parsed(r#"{"authToken":"x","socketPath":"/s","more":1}"#).as_deref(),
            Ok("x")
        );
        assert_eq!(
            parsed("{\"socketPath\":\"\\u002fs\",\"authToken\":\"a\\u0062\"}\n").as_deref(),
            Ok("ab")
        );
        assert_eq!(
            parsed(r#"{"socketPath":"/s","authToken":"x","authToken":"y"}"#).as_deref(),
            Ok("y")
        );
    }

    /// Covers: L2.13
    #[test]
    fn everything_else_is_no_token() {
        use CapabilityError::{NoToken, NotAnObject, OtherSocket};
        for (text, error) in [
            ("", NotAnObject),
            ("null", NotAnObject),
            ("{\"socketPath\":\"/s\"", NotAnObject),
            ("{}", OtherSocket),
            (r#"{"socketPath":"/t","authToken":"x"}"#, OtherSocket),
            (r#"{"socketPath":7,"authToken":"x"}"#, OtherSocket),
            (r#"{"socketPath":"/s"}"#, NoToken),
            (r#"{"socketPath":"/s","authToken":7}"#, NoToken),
            (r#"{"socketPath":"/s","authToken":""}"#, NoToken),
            (r#"{"socketPath":"/s","authToken":null}"#, NoToken),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
            assert!(!format!("{error}").is_empty());
        }
        assert_eq!(parse(b"\xff", "/s").unwrap_err(), NotAnObject);
        let padded = |bytes: usize| {
            let head = r#"{"socketPath":"/s","authToken":"x","pad":""#;
            format!("{head}{}\"}}", "p".repeat(bytes - head.len() - 2))
        };
        assert_eq!(parsed(&padded(8_193)), Err(NotAnObject));
        assert_eq!(parsed(&padded(8_192)).as_deref(), Ok("x"));
    }
}
