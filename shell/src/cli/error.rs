//! Exit codes, and which error is which.

use std::process::ExitCode;

use hallway_core::LimitsError;
use hallway_core::local::exchange::{Failure, SendError};

use crate::local::client::{ConnectError, SendFailure};
use crate::local::daemon::StartError;
use crate::local::owner::OwnerError;
use crate::local::registry::RegistryError;
use crate::local::target::TargetError;
use crate::paths::PathError;

/// The exit codes of the binary. They are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such peer, or more than one.
    NoPeer = 3,
    /// Refused: unauthorised, or by policy.
    Refused = 4,
    /// There was no answer in time.
    TimedOut = 5,
    /// An inbox or a queue is full.
    Full = 6,
    /// The peer cannot be reached.
    Unreachable = 7,
}

impl Exit {
    /// Every code with its meaning, as the README lists them.
    pub const TABLE: [(Self, &'static str); 8] = [
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (Self::Usage, "usage"),
        (Self::NoPeer, "no such peer or ambiguous"),
        (Self::Refused, "refused (unauthorised, policy)"),
        (Self::TimedOut, "timed out"),
        (Self::Full, "inbox full or queue full"),
        (Self::Unreachable, "peer unreachable"),
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the command: `what; why; what to do`.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl From<PathError> for Failed {
    fn from(error: PathError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<LimitsError> for Failed {
    fn from(error: LimitsError) -> Self {
        Self::new(
            Exit::Usage,
            format!("the limits make no sense; {error}; change --limit"),
        )
    }
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Path(_) => Exit::Usage,
            StartError::Socket(crate::local::socket_dir::SocketError::Path(_)) => Exit::Usage,
            StartError::Socket(_)
            | StartError::Capability(_)
            | StartError::Registry(_)
            | StartError::Entropy(_)
            | StartError::Runtime(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<TargetError> for Failed {
    fn from(error: TargetError) -> Self {
        let exit = match &error {
            TargetError::InlineToken | TargetError::NotAbsolute(_) => Exit::Usage,
            TargetError::NotFound { .. } | TargetError::Ambiguous { .. } => Exit::NoPeer,
            TargetError::NoSocket(_) => Exit::Unreachable,
            TargetError::Registry(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::Path(error) => return error.into(),
            ConnectError::Target(error) => return error.into(),
            ConnectError::NoToken { present: true, .. } | ConnectError::Foreign { .. } => {
                Exit::Refused
            }
            ConnectError::NoToken { .. } | ConnectError::Failed { .. } => Exit::Unreachable,
            ConnectError::TimedOut { .. } => Exit::TimedOut,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<SendFailure> for Failed {
    fn from(error: SendFailure) -> Self {
        let exit = match &error {
            SendFailure::NotSent(SendError::Full) | SendFailure::InboxFull => Exit::Full,
            SendFailure::NotSent(SendError::TooLong { .. } | SendError::NotJson) => Exit::Usage,
            SendFailure::NotSent(_) => Exit::Failed,
            SendFailure::Refused { .. } => Exit::Refused,
            SendFailure::Unanswered {
                failure: Failure::TimedOut,
                ..
            } => Exit::TimedOut,
            SendFailure::Unanswered { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<OwnerError> for Failed {
    fn from(error: OwnerError) -> Self {
        let message = error.to_string();
        let exit = match error {
            OwnerError::Connect { source } => Self::from(source).exit,
            OwnerError::Refused { .. } => Exit::Refused,
            OwnerError::Unanswered(Failure::TimedOut) => Exit::TimedOut,
            OwnerError::NotAsked(SendError::Full) => Exit::Full,
            OwnerError::Unanswered(_) | OwnerError::NotAsked(_) | OwnerError::Nonsense => {
                Exit::Failed
            }
        };
        Self { exit, message }
    }
}
