//! `hallway relay`: pair, look, mirror.

mod args;
mod mirror;
mod pair;
mod render;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

pub(super) use args::Relay;
use args::{Server, Verb};

use super::args::Global;
use super::error::{Exit, Failed};
use super::output::Output;
use crate::dir::DirError;
use crate::paths::Environment;
use crate::relay::credentials::{CredentialsError, HappyHome, SettingsError};
use crate::relay::http::{Class, DEFAULT_SERVER, Http, HttpError, Patience, ServerError};
use crate::relay::machine::{About, MachineError};
use crate::relay::session::SessionError;

pub(super) async fn run(
    arguments: Relay,
    global: &Global,
    output: &Output,
) -> Result<ExitCode, Failed> {
    match arguments.verb {
        Verb::Pair(pair) => pair::run(&pair, output).await,
        Verb::Status(status) => status::run(&status, output).await,
        Verb::Mirror(mirror) => mirror::run(mirror, global, output).await,
    }
}

/// The files of the relay's clients, and the way to the server that is meant.
fn set_up(server: &Server) -> Result<(HappyHome, Http), Failed> {
    let environment = Environment::from_process();
    let home = HappyHome::at(environment.happy_home()?);
    let variable = environment.happy_server_url.as_ref();
    let variable = variable
        .and_then(|url| url.to_str())
        .filter(|url| !url.is_empty());
    let url = match (&server.server, variable) {
        (Some(url), _) => url.clone(),
        (None, Some(url)) => url.to_owned(),
        (None, None) => match home.settings()?.server_url {
            Some(url) => url,
            None => DEFAULT_SERVER.to_owned(),
        },
    };
    let http = Http::new(&url, &server.way.options()?, Patience::DEFAULT)?;
    Ok((home, http))
}

/// What a machine says of itself, as far as it is known.
fn about(home: &HappyHome) -> About {
    let lossy = |path: PathBuf| path.to_string_lossy().into_owned();
    let library = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let own = Environment::from_process().home.map(PathBuf::from);
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let facts = [
        ("host", Some(name)),
        ("platform", Some(std::env::consts::OS.to_owned())),
        (
            "happyCliVersion",
            Some(concat!("hallway-", env!("CARGO_PKG_VERSION")).to_owned()),
        ),
        ("homeDir", own.map(lossy)),
        ("happyHomeDir", Some(lossy(home.path().to_owned()))),
        ("happyLibDir", library.map(lossy)),
    ];
    let known = facts.into_iter();
    known
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}

/// The metadata of a session that is made here.
fn metadata(home: &HappyHome, machine: &str, directory: &std::path::Path) -> serde_json::Value {
    let about = about(home);
    let of = |name| {
        about
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, text)| text)
    };
    serde_json::json!({
        "path": directory.to_string_lossy(),
        "host": of("host"),
        "homeDir": of("homeDir"),
        "happyHomeDir": of("happyHomeDir"),
        "happyLibDir": of("happyLibDir"),
        "happyToolsDir": of("happyLibDir"),
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "machineId": machine,
        "hostPid": std::process::id(),
        "startedBy": "terminal",
        "startedFromDaemon": false,
        "lifecycleState": "running",
        "lifecycleStateSince": crate::clock::wall().as_millis(),
        "flavor": "hallway",
    })
}

impl From<DirError> for Failed {
    fn from(error: DirError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<CredentialsError> for Failed {
    fn from(error: CredentialsError) -> Self {
        let exit = match &error {
            CredentialsError::Missing(_) => Exit::Refused,
            CredentialsError::Dir(_)
            | CredentialsError::Malformed { .. }
            | CredentialsError::Token { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<SettingsError> for Failed {
    fn from(error: SettingsError) -> Self {
        let exit = match &error {
            SettingsError::Locked(_) => Exit::TimedOut,
            SettingsError::Dir(_) | SettingsError::Malformed(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ServerError> for Failed {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Url(error) => Self::new(Exit::Usage, error.to_string()),
            ServerError::Setup(error) => error.into(),
        }
    }
}

impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        let exit = match (&error, error.class()) {
            (HttpError::TimedOut { .. }, _) => Exit::TimedOut,
            (HttpError::Unreachable { .. } | HttpError::Unanswered(_), _) => Exit::Unreachable,
            (_, Class::Unauthorized) => Exit::Refused,
            (_, Class::NotFound) => Exit::NoPeer,
            (_, Class::Transient | Class::RetryAfter(_)) => Exit::Unreachable,
            (_, Class::NoRoute | Class::TooLarge | Class::Final) => Exit::Failed,
        };
        Self::new(exit, format!("the relay: {error}"))
    }
}

impl From<MachineError> for Failed {
    fn from(error: MachineError) -> Self {
        match error {
            MachineError::Entry(error) => error.into(),
            error @ (MachineError::Token(_) | MachineError::Update(_)) => {
                Self::new(Exit::Failed, error.to_string())
            }
        }
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Http(error) => error.into(),
            SessionError::Dir(error) => error.into(),
            error @ (SessionError::NoKey(_) | SessionError::Unwrap { .. }) => {
                Self::new(Exit::Refused, error.to_string())
            }
            error @ SessionError::Crypto(_) => Self::new(Exit::Failed, error.to_string()),
        }
    }
}
