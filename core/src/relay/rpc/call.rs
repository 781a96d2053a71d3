//! What an app asks of this machine: the parameters of the common methods (relay.md §6), read
//! into a request of known shape. Nothing here looks at a file.
//!
//! Paths of a request lie within the working directory by their text; where they lead is for the
//! shell to confine, through directory handles (§9.10).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use super::invalid::{Invalid, Parameter};
use super::tool::{self, Invocation};
use crate::relay::base64;
use crate::relay::path::confine;
use crate::relay::raw::{Number, Raw};

/// The longest path, in bytes: no system opens a longer one.
pub const MAX_PATH_BYTES: usize = 4_096;
/// The longest command or argument, in bytes: no system passes a longer one to a program.
pub const MAX_ARGUMENT_BYTES: usize = 131_071;
/// How many arguments a tool may be given.
pub const MAX_ARGUMENTS: usize = 1_024;
/// The longest hash, in bytes; a true one has 64.
pub const MAX_HASH_BYTES: usize = 256;

/// A method of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Runs a shell command.
    Bash,
    /// Reads a file.
    ReadFile,
    /// Writes a file.
    WriteFile,
    /// Lists a directory.
    ListDirectory,
    /// Lists a directory and those below it.
    GetDirectoryTree,
    /// Searches with `rg`.
    Ripgrep,
    /// Compares with `difft`.
    Difftastic,
}

/// There is no method of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownMethod;

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Method::ALL.map(Method::name).join(", ");
        write!(f, "there is no such method; use one of {names}")
    }
}

impl core::error::Error for UnknownMethod {}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Bash,
        Self::ReadFile,
        Self::WriteFile,
        Self::ListDirectory,
        Self::GetDirectoryTree,
        Self::Ripgrep,
        Self::Difftastic,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::ReadFile => "readFile",
            Self::WriteFile => "writeFile",
            Self::ListDirectory => "listDirectory",
            Self::GetDirectoryTree => "getDirectoryTree",
            Self::Ripgrep => "ripgrep",
            Self::Difftastic => "difftastic",
        }
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        let mut all = Self::ALL.into_iter();
        all.find(|method| method.name() == name)
            .ok_or(UnknownMethod)
    }
}

/// What the parameters are read against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds<'a> {
    /// The working directory: an absolute path.
    pub directory: &'a str,
    /// The longest file that is written, in bytes.
    pub max_file_bytes: usize,
    /// How deep a tree may be.
    pub max_depth: u32,
    /// How long a command runs unless it says otherwise.
    pub command_timeout: Duration,
    /// How long a command may ask to run.
    pub max_time: Duration,
}

/// A path within the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub(super) named: String,
    pub(super) below: String,
}

impl Place {
    /// As the request names it.
    #[must_use]
    pub fn named(&self) -> &str {
        &self.named
    }

    /// Relative to the working directory: names joined by `/`, without `.` and `..`; empty for
    /// the directory itself.
    #[must_use]
    pub fn below(&self) -> &str {
        &self.below
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Runs `command` in `directory`, for so long at most.
    Bash {
        /// The command line; it has no NUL.
        command: String,
        /// Where it runs.
        directory: Place,
        /// How long it may run.
        timeout: Duration,
    },
    /// Reads a file.
    ReadFile {
        /// Which.
        path: Place,
    },
    /// Writes a file.
    WriteFile {
        /// Which.
        path: Place,
        /// What is to be in it.
        content: Vec<u8>,
        /// The SHA-256 of what is there, in hex; `None` when there is to be nothing.
        expected_hash: Option<String>,
    },
    /// Lists a directory.
    ListDirectory {
        /// Which.
        path: Place,
    },
    /// Lists a directory and those below it.
    GetDirectoryTree {
        /// Which.
        path: Place,
        /// How many levels of children.
        depth: u32,
    },
    /// Runs `rg` or `difft`.
    Tool(Invocation),
}

impl Call {
    /// Reads the parameters of `method`. As in the reference, what is no object has no members.
    ///
    /// # Errors
    ///
    /// [`Invalid`], whose text and shape are the reference's where it has one.
    pub fn parse<'a>(
        method: Method,
        params: Raw<'a>,
        bounds: &Bounds<'_>,
    ) -> Result<Self, Invalid<'a>> {
        if params.is_null() {
            return Err(Invalid::Null(first_parameter(method)));
        }
        match method {
            Method::Bash => bash(params, bounds),
            Method::ReadFile => path(params, bounds).map(|path| Self::ReadFile { path }),
            Method::WriteFile => write_file(params, bounds),
            Method::ListDirectory => path(params, bounds).map(|path| Self::ListDirectory { path }),
            Method::GetDirectoryTree => {
                let path = path(params, bounds)?;
                let depth = depth(params.get("maxDepth"), bounds.max_depth)?;
                Ok(Self::GetDirectoryTree { path, depth })
            }
            Method::Ripgrep => tool::parse(&tool::RIPGREP, params, bounds).map(Self::Tool),
            Method::Difftastic => tool::parse(&tool::DIFFTASTIC, params, bounds).map(Self::Tool),
        }
    }
}

/// The parameter that the reference looks at first.
const fn first_parameter(method: Method) -> Parameter {
    match method {
        Method::Bash => Parameter::Command,
        Method::ReadFile | Method::WriteFile | Method::ListDirectory | Method::GetDirectoryTree => {
            Parameter::Path
        }
        Method::Ripgrep | Method::Difftastic => Parameter::Arguments,
    }
}

fn bash<'a>(params: Raw<'a>, bounds: &Bounds<'_>) -> Result<Call, Invalid<'a>> {
    let command = params.get("command");
    let command = text(command, Parameter::Command, MAX_ARGUMENT_BYTES)?;
    let directory = match directory(params)? {
        // As in the reference, `/` is none.
        Some((_, named)) if named == "/" => working(),
        Some((raw, named)) => place(raw, named, bounds)?,
        None => working(),
    };
    let timeout = timeout(params.get("timeout"), bounds)?;
    Ok(Call::Bash {
        command,
        directory,
        timeout,
    })
}

fn write_file<'a>(params: Raw<'a>, bounds: &Bounds<'_>) -> Result<Call, Invalid<'a>> {
    let path = path(params, bounds)?;
    let content = params.get("content");
    let content = text(content, Parameter::Content, usize::MAX)?;
    let content = base64::decode(&content);
    if content.len() > bounds.max_file_bytes {
        let (parameter, max) = (Parameter::Content, bounds.max_file_bytes);
        return Err(Invalid::TooLong { parameter, max });
    }
    let expected_hash = match params.get("expectedHash").filter(|hash| !hash.is_null()) {
        None => None,
        hash => Some(text(hash, Parameter::ExpectedHash, MAX_HASH_BYTES)?),
    };
    Ok(Call::WriteFile {
        path,
        content,
        expected_hash,
    })
}

fn path<'a>(params: Raw<'a>, bounds: &Bounds<'_>) -> Result<Place, Invalid<'a>> {
    let raw = params.get("path");
    let named = text(raw, Parameter::Path, MAX_PATH_BYTES)?;
    place(raw.unwrap_or(Raw::NULL), named, bounds)
}

/// The directory that a request names, if it names one.
pub(super) fn directory(params: Raw<'_>) -> Result<Option<(Raw<'_>, String)>, Invalid<'_>> {
    let Some(raw) = params.get("cwd").filter(|cwd| !cwd.is_null()) else {
        return Ok(None);
    };
    let named = text(Some(raw), Parameter::Directory, MAX_PATH_BYTES)?;
    Ok((!named.is_empty()).then_some((raw, named)))
}

/// The working directory, which nothing names.
pub(super) fn working() -> Place {
    let (named, below) = (String::from("."), String::new());
    Place { named, below }
}

pub(super) fn place<'a>(
    raw: Raw<'a>,
    named: String,
    bounds: &Bounds<'_>,
) -> Result<Place, Invalid<'a>> {
    let below = confine(bounds.directory, &named).map_err(|_| Invalid::Outside(raw))?;
    Ok(Place { named, below })
}

/// A text without NUL, of at most `max` bytes.
pub(super) fn text(
    value: Option<Raw<'_>>,
    parameter: Parameter,
    max: usize,
) -> Result<String, Invalid<'_>> {
    let not_text = Invalid::NotText {
        parameter,
        received: value,
    };
    let text = value.and_then(Raw::text).ok_or(not_text)?;
    // Replaced by U+FFFD, as the reference does, it would name another file.
    let text = text.to_unicode().ok_or(Invalid::NotUnicode(parameter))?;
    if text.len() > max {
        return Err(Invalid::TooLong { parameter, max });
    }
    if text.contains('\0') {
        return Err(Invalid::Nul(parameter));
    }
    Ok(text.into_owned())
}

/// The reference's platform takes unsigned integers, and the reference no 0.
fn timeout<'a>(value: Option<Raw<'a>>, bounds: &Bounds<'_>) -> Result<Duration, Invalid<'a>> {
    let Some(raw) = value.filter(|raw| !raw.is_null()) else {
        return Ok(bounds.command_timeout);
    };
    match raw.number() {
        Some(Number::Whole(0)) => Ok(bounds.command_timeout),
        Some(Number::Whole(span)) => Ok(Duration::from_millis(span).min(bounds.max_time)),
        Some(Number::Beyond) => Ok(bounds.max_time),
        Some(Number::Negative | Number::Fraction) | None => Err(Invalid::Timeout(raw)),
    }
}

/// How many levels `maxDepth` wants, of at most `most`. The reference takes a fraction, too.
fn depth(value: Option<Raw<'_>>, most: u32) -> Result<u32, Invalid<'_>> {
    let Some(raw) = value.filter(|raw| !raw.is_null()) else {
        return Ok(0);
    };
    match raw.number() {
        Some(Number::Whole(levels)) => Ok(u32::try_from(levels).map_or(most, |n| n.min(most))),
        Some(Number::Beyond) => Ok(most),
        Some(Number::Negative) => Err(Invalid::NegativeDepth),
        Some(Number::Fraction) | None => Err(Invalid::NoDepth(raw)),
    }
}

#[cfg(test)]
mod tests;
