//! What the app may ask of this machine: the common methods of relay.md §6.
//!
//! Each method is off until it is allowed by name. Paths are those within the working
//! directory, by their text and by where they lead: they are opened below its handle, and no
//! symbolic link is followed; tools are confined to them by the kernel. Commands end in time,
//! with all that they started, and what they print is bounded.

mod beneath;
mod command;
mod confine;
mod files;
mod listing;
mod order;
mod tools;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hallway_core::relay::raw::Raw;
use hallway_core::relay::rpc::{self, Bounds, Call, Place};
pub use hallway_core::relay::rpc::{Method, UnknownMethod};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::dir::{Dir, DirError};

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

/// Why tools are refused where they are.
pub const NO_LANDLOCK: &str = "the kernel offers no Landlock (Linux has it since 5.13, unless it is off or a sandbox hides it)";

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
    /// Where tools are looked for.
    programs: Vec<PathBuf>,
    /// Whether the system confines them.
    confines: bool,
    running: Semaphore,
}

/// What is said of a failure: `{success:false,error}`.
struct Failure(String);

type Outcome = Result<Value, Failure>;

fn failed(error: impl Into<String>) -> Failure {
    Failure(error.into())
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
        let programs = std::env::var_os("PATH").unwrap_or_default();
        Self::with_programs(directory, allowed, limits, &programs)
    }

    /// The same with tools from the absolute directories of `programs`, which is as `PATH` is.
    ///
    /// # Errors
    ///
    /// As [`Handlers::new`].
    pub fn with_programs(
        directory: &Path,
        allowed: impl IntoIterator<Item = Method>,
        limits: HandlerLimits,
        programs: &OsStr,
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
                programs: tools::programs(programs),
                confines: confine::is_offered(),
                running: Semaphore::new(limits.max_running),
            }),
        })
    }

    /// The methods that are allowed.
    pub fn allowed(&self) -> impl Iterator<Item = Method> {
        self.shared.allowed.iter().copied()
    }

    /// Those among them that are refused here all the same: what starts a tool, where the system
    /// has nothing to confine it with ([`NO_LANDLOCK`]).
    pub fn unconfined(&self) -> impl Iterator<Item = Method> {
        let is_tool = |method: &Method| matches!(method, Method::Ripgrep | Method::Difftastic);
        let confines = self.shared.confines;
        self.allowed().filter(is_tool).filter(move |_| !confines)
    }

    /// Does what `method` asks with `params`, and gives the plaintext of the answer; `None` when
    /// there is no such method, or it is not allowed. Dropping it ends what was started.
    pub async fn call(&self, method: &str, params: Raw<'_>) -> Option<String> {
        let method = method.parse().ok()?;
        if !self.shared.allowed.contains(&method) {
            tracing::info!(method = method.name(), "a method is not allowed");
            return None;
        }
        let limits = &self.shared.limits;
        let Ok(_permit) = self.shared.running.try_acquire() else {
            let most = limits.max_running;
            let error = format!("{most} requests are running; try again");
            return Some(rpc::error(&error));
        };
        let call = match Call::parse(method, params, &self.shared.bounds()) {
            Ok(call) => call,
            Err(invalid) => return Some(invalid.answer(method)),
        };
        Some(match self.answer(call).await {
            Ok(answer) => answer.to_string(),
            Err(Failure(error)) => rpc::failure(&error),
        })
    }

    async fn answer(&self, call: Call) -> Outcome {
        match call {
            Call::Bash {
                command,
                directory,
                timeout,
            } => command::bash(&self.shared, &command, &directory, timeout).await,
            Call::Tool(invocation) => tools::run(&self.shared, &invocation).await,
            Call::ReadFile { path } => self.blocking(move |it| files::read(it, &path)).await,
            Call::WriteFile {
                path,
                content,
                expected_hash,
            } => {
                let work =
                    move |it: &_| files::write(it, &path, &content, expected_hash.as_deref());
                self.blocking(work).await
            }
            Call::ListDirectory { path } => self.blocking(move |it| listing::list(it, &path)).await,
            Call::GetDirectoryTree { path, depth } => {
                self.blocking(move |it| listing::tree(it, &path, depth))
                    .await
            }
        }
    }

    /// Works with files on a thread of its own.
    async fn blocking(&self, work: impl FnOnce(&Shared) -> Outcome + Send + 'static) -> Outcome {
        let shared = self.shared.clone();
        let work = tokio::task::spawn_blocking(move || work(&shared));
        match tokio::time::timeout(self.shared.limits.max_time, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(failed("Unknown error")),
            Err(_) => Err(failed("It took too long")),
        }
    }
}

impl Shared {
    fn bounds(&self) -> Bounds<'_> {
        let limits = &self.limits;
        Bounds {
            directory: &self.path,
            max_file_bytes: limits.max_file_bytes,
            max_depth: limits.max_depth,
            command_timeout: limits.command_timeout,
            max_time: limits.max_time,
        }
    }

    /// What comes of an error with the path of a request.
    fn told(error: beneath::Error, call: &str, path: &Place) -> Failure {
        let path = path.named();
        match error {
            beneath::Error::Link => failed(format!(
                "Access denied: Path '{path}' leads through a symbolic link"
            )),
            beneath::Error::System(error) => failed(beneath::words(error, call, path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_tool_starts_where_nothing_confines_it() {
        let home = tempfile::tempdir().unwrap();
        let programs = home.path().as_os_str();
        let limits = HandlerLimits::DEFAULT;
        let mut handlers =
            Handlers::with_programs(home.path(), Method::ALL, limits, programs).unwrap();
        let shared = Arc::get_mut(&mut handlers.shared).unwrap();
        shared.confines = true;
        assert_eq!(handlers.unconfined().count(), 0);
        let shared = Arc::get_mut(&mut handlers.shared).unwrap();
        shared.confines = false;
        let unconfined: Vec<_> = handlers.unconfined().collect();
        assert_eq!(unconfined, [Method::Ripgrep, Method::Difftastic]);
        for (method, program) in [("ripgrep", "rg"), ("difftastic", "difft")] {
            let params = Raw::parse("{\"args\":[]}").unwrap();
            let answer = handlers.call(method, params).await;
            let error = format!("spawn {program}: {NO_LANDLOCK}");
            assert_eq!(answer, Some(rpc::failure(&error)));
        }
    }
}
