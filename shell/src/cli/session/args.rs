//! The arguments of `hallway session`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hallway_core::LimitsError;
use hallway_core::backoff::Policy;
use hallway_core::session::limits::Limits;

use crate::cli::args::{limit_of, span};
use crate::cli::way::Way;

#[derive(Debug, Args)]
pub(in crate::cli) struct Session {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print what a remote session says, and answer what it asks
    Follow(Follow),
    /// Send a message to a remote session
    Send(Send),
    /// Stop what a remote session is doing
    Interrupt(Interrupt),
}

/// Where the session is, and how it is reached.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The session's id
    #[arg(value_name = "ID")]
    pub(super) session: String,
    /// The id of its organization
    #[arg(long, value_name = "ID")]
    pub(super) org: String,
    /// The server
    #[arg(
        long,
        value_name = "URL",
        env = "HALLWAY_BASE_URL",
        default_value = "https://api.anthropic.com"
    )]
    pub(super) base_url: String,
    /// Read the access token from this file, anew at each attempt; else from HALLWAY_ACCESS_TOKEN
    #[arg(long, value_name = "PATH", conflicts_with = "token_command")]
    pub(super) token_file: Option<PathBuf>,
    /// Take it from the output of this shell command, run anew at each attempt
    #[arg(long, value_name = "CMD")]
    pub(super) token_command: Option<String>,
    #[command(flatten)]
    pub(super) way: Way,
}

/// How the subscription is kept up.
#[derive(Debug, Args)]
pub(super) struct Upkeep {
    /// When to dial again: with growing, scattered delays, or every two seconds
    #[arg(long, value_enum, default_value_t = Profile::Resilient, value_name = "PROFILE")]
    profile: Profile,
    /// Change a limit, such as ping_interval=10000 (milliseconds)
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limit)]
    limits: Vec<(String, u64)>,
    /// Where the scatter of the delays begins
    #[arg(long, value_name = "N", hide = true)]
    pub(super) seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Resilient,
    Fixed,
}

impl Upkeep {
    pub(super) const fn policy(&self) -> Policy {
        match self.profile {
            Profile::Resilient => Policy::RESILIENT,
            Profile::Fixed => Policy::FIXED,
        }
    }

    /// The defaults with the `--limit` options applied.
    pub(super) fn limits(&self) -> Result<Limits, LimitsError> {
        let mut builder = Limits::builder();
        for (name, value) in &self.limits {
            builder.set(name, *value)?;
        }
        builder.build()
    }
}

#[derive(Debug, Args)]
pub(super) struct Follow {
    #[command(flatten)]
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) upkeep: Upkeep,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// The message; else standard input
    pub(super) text: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    pub(super) timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct Interrupt {
    #[command(flatten)]
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) upkeep: Upkeep,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    pub(super) timeout: Duration,
}

fn limit(text: &str) -> Result<(String, u64), String> {
    limit_of(Limits::NAMES, text)
}
