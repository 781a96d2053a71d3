//! What the app may ask of this machine: the common methods of relay.md §6.
//!
//! Each method is off until it is allowed by name. Paths are those within the working
//! directory, by their text and by where they lead: they are opened below its handle, and no
//! symbolic link is followed. Commands end in time, with all that they started, and what they
//! print is bounded.

mod beneath;
mod command;
mod files;
mod listing;
mod order;
mod tools;

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hallway_core::relay::path::confine;
use hallway_core::relay::raw::Raw;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::dir::{Dir, DirError};

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

    /// The parameter that the reference looks at first.
    const fn first_parameter(self) -> &'static str {
        match self {
            Self::Bash => "command",
            Self::ReadFile | Self::WriteFile | Self::ListDirectory | Self::GetDirectoryTree => {
                "path"
            }
            Self::Ripgrep | Self::Difftastic => "args",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|method| method.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|method| method.name()).collect();
            format!("there is no such method; use one of {}", names.join(", "))
        })
    }
}

/// The bounds of the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerLimits {
    /// How many requests are worked on at once.
    pub max_running: usize,
    /// The longest file that is read or written, in bytes.
    pub max_file_bytes: usize,
    /// How many bytes a command may print, on each of its two outputs.
    pub max_output_bytes: usize,
    /// How many entries a listing may have.
    pub max_entries: usize,
    /// How deep a tree may be.
    pub max_depth: u32,
    /// How long a command runs unless it says otherwise.
    pub command_timeout: Duration,
    /// How long a command may ask to run, and how long anything else may take.
    pub max_time: Duration,
}

impl HandlerLimits {
    /// Eight at once; files of 512 KiB, which fit a frame of the relay; outputs of 1 MiB;
    /// 10,000 entries, 64 deep; 30 s a command, 10 minutes at most.
    pub const DEFAULT: Self = Self {
        max_running: 8,
        max_file_bytes: 524_288,
        max_output_bytes: 1_048_576,
        max_entries: 10_000,
        max_depth: 64,
        command_timeout: Duration::from_secs(30),
        max_time: Duration::from_secs(600),
    };
}

/// Serves the methods that are allowed, in one directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Handlers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: Dir,
    /// The directory's path, as requests name it.
    path: String,
    allowed: BTreeSet<Method>,
    limits: HandlerLimits,
    running: Semaphore,
}

/// Why a method failed: an answer of its own, or one for the whole request.
enum Failure {
    /// `{success:false,error}`.
    Answer(String),
    /// `{error}`: the parameters make no sense.
    Request(String),
}

type Outcome = Result<Value, Failure>;

fn failed(error: impl Into<String>) -> Failure {
    Failure::Answer(error.into())
}

impl Handlers {
    /// Opens the working directory.
    ///
    /// # Errors
    ///
    /// [`DirError`], also for a path that is not UTF-8.
    pub fn new(
        directory: &Path,
        allowed: impl IntoIterator<Item = Method>,
        limits: HandlerLimits,
    ) -> Result<Self, DirError> {
        let dir = Dir::open(directory)?;
        let path = directory.to_str().ok_or_else(|| DirError::BadName {
            path: directory.to_path_buf(),
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                dir,
                path: path.to_owned(),
                allowed: allowed.into_iter().collect(),
                limits,
                running: Semaphore::new(limits.max_running),
            }),
        })
    }

    /// The methods that are allowed.
    pub fn allowed(&self) -> impl Iterator<Item = Method> {
        self.shared.allowed.iter().copied()
    }

    /// Does what `method` asks with `params`, and gives the plaintext of the answer; `None` when
    /// there is no such method, or it is not allowed. Dropping it ends what was started.
    pub async fn call(&self, method: &str, params: Raw<'_>) -> Option<String> {
        let method = method.parse().ok()?;
        if !self.shared.allowed.contains(&method) {
            tracing::info!(method = method.name(), "a method is not allowed");
            return None;
        }
        let answer = self
            .answer(method, params)
            .await
            .unwrap_or_else(|failure| match failure {
                Failure::Answer(error) => json!({"success": false, "error": error}),
                Failure::Request(error) => json!({"error": error}),
            });
        Some(answer.to_string())
    }

    async fn answer(&self, method: Method, params: Raw<'_>) -> Outcome {
        let limits = &self.shared.limits;
        let Ok(_permit) = self.shared.running.try_acquire() else {
            let most = limits.max_running;
            return Err(Failure::Request(format!(
                "{most} requests are running; try again"
            )));
        };
        let params: Value = serde_json::from_str(params.as_str())
            .map_err(|_| Failure::Request("The parameters cannot be read".to_owned()))?;
        if params.is_null() {
            let first = method.first_parameter();
            return Err(Failure::Request(format!(
                "Cannot read properties of null (reading '{first}')"
            )));
        }
        match method {
            Method::Bash => command::bash(&self.shared, &params).await,
            Method::Ripgrep => tools::run(&self.shared, &tools::RIPGREP, &params).await,
            Method::Difftastic => tools::run(&self.shared, &tools::DIFFTASTIC, &params).await,
            Method::ReadFile => self.blocking(params, files::read).await,
            Method::WriteFile => self.blocking(params, files::write).await,
            Method::ListDirectory => self.blocking(params, listing::list).await,
            Method::GetDirectoryTree => self.blocking(params, listing::tree).await,
        }
    }

    /// Works with files on a thread of its own.
    async fn blocking(&self, params: Value, work: fn(&Shared, &Value) -> Outcome) -> Outcome {
        let shared = self.shared.clone();
        let work = tokio::task::spawn_blocking(move || work(&shared, &params));
        match tokio::time::timeout(self.shared.limits.max_time, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(failed("Unknown error")),
            Err(_) => Err(failed("It took too long")),
        }
    }
}

impl Shared {
    /// The path `path` of a request, relative to the working directory: empty for itself.
    fn confined(&self, path: &Value) -> Result<String, Failure> {
        let path = path_text(path)?;
        confine(&self.path, path).map_err(|error| failed(error.to_string()))
    }

    /// What comes of an error with the path of a request.
    fn told(error: beneath::Error, call: &str, path: &str) -> Failure {
        match error {
            beneath::Error::Link => failed(format!(
                "Access denied: Path '{path}' leads through a symbolic link"
            )),
            beneath::Error::System(error) => failed(beneath::words(error, call, path)),
        }
    }
}

/// The text of a path. The words of the refusal are the reference's platform's.
fn path_text(path: &Value) -> Result<&str, Failure> {
    path.as_str().ok_or_else(|| {
        let what = received(path);
        Failure::Request(format!(
            "The \"paths[1]\" argument must be of type string. Received {what}"
        ))
    })
}

/// What a value is, in the words of the reference's platform.
fn received(value: &Value) -> String {
    match value {
        Value::Null => "undefined".to_owned(),
        Value::Bool(value) => format!("type boolean ({value})"),
        Value::Number(value) => format!("type number ({value})"),
        Value::String(_) => "type string".to_owned(),
        Value::Array(_) => "an instance of Array".to_owned(),
        Value::Object(_) => "an instance of Object".to_owned(),
    }
}
