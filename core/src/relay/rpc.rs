//! Requests to call a method of ours (relay.md §2.3): what they ask, and the plaintexts of the
//! answers. What a method does is the shell's.

use alloc::string::String;

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
