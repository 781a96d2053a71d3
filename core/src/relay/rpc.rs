//! Requests to call a method of ours (relay.md §2.3): what they ask, and the plaintexts of the
//! answers. What a method does is the shell's.

mod call;
mod invalid;
mod tool;

use alloc::string::String;

pub use call::{
    Bounds, Call, MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_HASH_BYTES, MAX_PATH_BYTES, Method, Place,
    UnknownMethod,
};
pub use invalid::{Invalid, Parameter, failure, not_run};
pub use tool::Invocation;

use super::cipher::{Cipher, OpenError, Plaintext};
use super::raw::{Object, Raw, Text};

/// A request of the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request<'a> {
    /// The method with its scope.
    pub method: Text<'a>,
    /// The parameters, sealed.
    pub params: Option<Raw<'a>>,
}

/// Why a request is refused before any method sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such method in this scope.
    UnknownMethod,
    /// The parameters are no string.
    NoParams,
    /// The parameters cannot be opened. No method is called with `null` instead.
    Unreadable(OpenError),
}

impl Refusal {
    /// What the caller is told.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::UnknownMethod => String::from("Method not found"),
            Self::NoParams => String::from("The parameters are not a string"),
            Self::Unreadable(error) => alloc::format!("{error}"),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads the payload of the event `rpc-request`; `None` when it names no method.
    #[must_use]
    pub fn parse(raw: Raw<'a>) -> Option<Self> {
        let [method, params] = raw.pick(["method", "params"])?;
        Some(Self {
            method: method?.text()?,
            params,
        })
    }

    /// The method without the scope.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownMethod`] when it is not of this scope.
    pub fn method_in(&self, scope: &str) -> Result<String, Refusal> {
        let method = self.method.to_unicode();
        let method = method.as_deref().and_then(|method| {
            let rest = method.strip_prefix(scope)?;
            rest.strip_prefix(':')
        });
        method.map(String::from).ok_or(Refusal::UnknownMethod)
    }

    /// The parameters.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoParams`], [`Refusal::Unreadable`].
    pub fn open(&self, cipher: &Cipher) -> Result<Plaintext, Refusal> {
        let sealed = self.params.and_then(Raw::text).ok_or(Refusal::NoParams)?;
        cipher
            .open_text(&sealed.to_lossy())
            .map_err(Refusal::Unreadable)
    }
}

/// The plaintext of an answer that says what went wrong.
#[must_use]
pub fn error(text: &str) -> String {
    let mut object = Object::new();
    object.member("error", text);
    object.finish()
}

/// The text of a failure that has none of its own.
pub const UNKNOWN_ERROR: &str = "Unknown error";

/// The plaintext of an answer with nothing in it: the method returned nothing.
pub const NOTHING: &str = "";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::cipher::Nonce;
    use crate::relay::keys::DataKey;

    fn request(text: &str) -> Request<'_> {
        Request::parse(Raw::parse(text).unwrap()).unwrap()
    }

    /// Covers: R2.16
    #[test]
    fn methods_are_those_of_the_scope() {
        for (method, expected) in [
            ("S:bash", Ok("bash")),
            ("S:a:b", Ok("a:b")),
            ("S:", Ok("")),
            ("S", Err(Refusal::UnknownMethod)),
            ("SS:bash", Err(Refusal::UnknownMethod)),
            ("T:bash", Err(Refusal::UnknownMethod)),
            ("bash", Err(Refusal::UnknownMethod)),
            (r"S:\ud800", Err(Refusal::UnknownMethod)),
        ] {
            let text = alloc::format!(r#"{{"method":"{method}"}}"#);
            let method = request(&text).method_in("S");
            assert_eq!(method, expected.map(String::from), "{text}");
        }
        for text in ["null", "{}", r#"{"method":1}"#] {
            assert_eq!(Request::parse(Raw::parse(text).unwrap()), None);
        }
    }

    /// Covers: R2.21
    #[test]
    fn parameters_are_opened_or_the_caller_is_told_why_not() {
        let cipher = Cipher::DataKey(DataKey::from_bytes(&[1; 32]));
        let sealed = cipher
            .seal_text(Nonce::from_entropy([2; 24]), "[1]")
            .unwrap();
        let text = alloc::format!(r#"{{"method":"S:x","params":"{sealed}"}}"#);
        assert_eq!(request(&text).open(&cipher).unwrap().raw().as_str(), "[1]");
        for (params, refusal) in [
            ("null", Refusal::NoParams),
            ("{}", Refusal::NoParams),
            ("\"\"", Refusal::Unreadable(OpenError::TooShort)),
            ("\"AAAA\"", Refusal::Unreadable(OpenError::TooShort)),
        ] {
            let text = alloc::format!(r#"{{"method":"S:x","params":{params}}}"#);
            assert_eq!(request(&text).open(&cipher), Err(refusal));
            assert!(!refusal.text().is_empty());
        }
        assert_eq!(
            error(&Refusal::UnknownMethod.text()),
            r#"{"error":"Method not found"}"#
        );
    }
}
