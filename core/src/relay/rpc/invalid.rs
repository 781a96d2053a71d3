//! Why the parameters of a call are refused, and what the app is told of it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use super::call::{MAX_ARGUMENTS, Method};
use crate::relay::raw::{Object, Raw};

/// The longest number that is repeated to whom it came from, in bytes.
const MAX_SHOWN_BYTES: usize = 32;

/// A parameter of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Parameter {
    /// `command`
    Command,
    /// `path`
    Path,
    /// `cwd`
    Directory,
    /// `content`
    Content,
    /// `expectedHash`
    ExpectedHash,
    /// `args`, or one of them.
    Arguments,
}

impl Parameter {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Path => "path",
            Self::Directory => "cwd",
            Self::Content => "content",
            Self::ExpectedHash => "expectedHash",
            Self::Arguments => "args",
        }
    }
}

/// Why the parameters of a method are refused. The words are those of the reference and its
/// platform where these have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalid<'a> {
    /// There are none; this is the first that would be looked at.
    Null(Parameter),
    /// It is no string; `None` when it is not there.
    NotText {
        /// Which.
        parameter: Parameter,
        /// What is in its place.
        received: Option<Raw<'a>>,
    },
    /// It holds a lone surrogate.
    NotUnicode(Parameter),
    /// It holds a NUL.
    Nul(Parameter),
    /// It has more bytes.
    TooLong {
        /// Which.
        parameter: Parameter,
        /// The most there may be.
        max: usize,
    },
    /// The path leads out of the working directory.
    Outside(Raw<'a>),
    /// It is no unsigned integer.
    Timeout(Raw<'a>),
    /// It is no integer.
    NoDepth(Raw<'a>),
    /// It is less than 0.
    NegativeDepth,
    /// There are more arguments than [`MAX_ARGUMENTS`].
    TooManyArguments,
    /// The argument might read or run something else.
    NotAllowed(Raw<'a>),
    /// Nothing follows the argument that wants a value.
    NoValue(Raw<'a>),
}

impl Invalid<'_> {
    /// The plaintext of the answer.
    #[must_use]
    pub fn answer(self, method: Method) -> String {
        let text = alloc::format!("{self}");
        match (self, method) {
            // What the reference fails over before the method has begun.
            (
                Self::Null(_)
                | Self::NotText {
                    parameter: Parameter::Path | Parameter::Directory,
                    ..
                },
                _,
            ) => super::error(&text),
            (
                Self::NotText { .. }
                | Self::Timeout(_)
                | Self::NotUnicode(Parameter::Command)
                | Self::Nul(Parameter::Command)
                | Self::TooLong {
                    parameter: Parameter::Command,
                    ..
                },
                Method::Bash,
            ) => not_run(&text),
            _ => failure(&text),
        }
    }
}

/// The plaintext of the answer of a method that has failed.
#[must_use]
pub fn failure(error: &str) -> String {
    let mut object = Object::new();
    object.member("success", &false).member("error", error);
    object.finish()
}

/// The plaintext of the answer for a command that did not run: what is said of it stands for
/// errors that it did not print.
#[must_use]
pub fn not_run(error: &str) -> String {
    let mut object = Object::new();
    object
        .member("success", &false)
        .member("stdout", "")
        .member("stderr", error)
        .member("exitCode", &1)
        .member("error", error);
    object.finish()
}

impl fmt::Display for Invalid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Null(first) => {
                let name = first.name();
                write!(f, "Cannot read properties of null (reading '{name}')")
            }
            Self::NotText {
                parameter,
                received,
            } => {
                let wanted = match parameter {
                    Parameter::Command => "The \"command\" argument must be of type string",
                    Parameter::Path | Parameter::Directory => {
                        "The \"paths[1]\" argument must be of type string"
                    }
                    Parameter::Content => {
                        "The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object"
                    }
                    Parameter::ExpectedHash => "The hash must be a string",
                    Parameter::Arguments => {
                        "The \"args\" argument must be an instance of Array of strings"
                    }
                };
                write!(f, "{wanted}. Received {}", words(received))
            }
            Self::NotUnicode(parameter) => {
                let name = parameter.name();
                write!(f, "The argument '{name}' must be a string of Unicode")
            }
            Self::Nul(parameter) => {
                let name = parameter.name();
                write!(
                    f,
                    "The argument '{name}' must be a string without null bytes"
                )
            }
            Self::TooLong { parameter, max } => {
                write!(f, "The {} has more than {max} bytes", parameter.name())
            }
            Self::Outside(path) => {
                let path = shown(path);
                write!(
                    f,
                    "Access denied: Path '{path}' is outside the working directory"
                )
            }
            Self::Timeout(received) => write!(
                f,
                "The value of \"timeout\" is out of range. It must be an unsigned integer. Received {}",
                words(Some(received))
            ),
            Self::NoDepth(received) => write!(
                f,
                "The \"maxDepth\" argument must be an integer. Received {}",
                words(Some(received))
            ),
            Self::NegativeDepth => f.write_str("maxDepth must be non-negative"),
            Self::TooManyArguments => {
                write!(f, "There are more than {MAX_ARGUMENTS} arguments")
            }
            Self::NotAllowed(argument) => {
                let argument = shown(argument);
                write!(f, "Access denied: the argument '{argument}' is not allowed")
            }
            Self::NoValue(argument) => write!(f, "{} has no value", shown(argument)),
        }
    }
}

impl core::error::Error for Invalid<'_> {}

fn shown(raw: Raw<'_>) -> String {
    let text = raw.text();
    text.map_or_else(String::new, |text| text.to_lossy().into_owned())
}

/// What a value is, in the words of the reference's platform.
fn words(received: Option<Raw<'_>>) -> Cow<'_, str> {
    let Some(raw) = received else {
        return Cow::Borrowed("undefined");
    };
    let text = raw.as_str();
    let kind = match (raw.boolean(), raw.is_number()) {
        (Some(_), _) => "boolean",
        (None, true) => "number",
        (None, false) if raw.is_null() => return Cow::Borrowed("null"),
        (None, false) if raw.is_array() => return Cow::Borrowed("an instance of Array"),
        (None, false) if raw.is_object() => return Cow::Borrowed("an instance of Object"),
        (None, false) => return Cow::Borrowed("type string"),
    };
    Cow::Owned(if text.len() > MAX_SHOWN_BYTES {
        alloc::format!("type {kind}")
    } else {
        alloc::format!("type {kind} ({text})")
    })
}
