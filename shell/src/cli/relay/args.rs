//! The arguments of `hallway relay`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::args::span;
use crate::cli::way::Way;
use crate::relay::handlers::Method;

#[derive(Debug, Args)]
pub(in crate::cli) struct Relay {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Pair this machine with an account, by an app that approves it
    Pair(Pair),
    /// Show the account, the server and the sessions
    Status(Status),
    /// Mirror a session: print what the app says and asks, and send what comes by standard input
    Mirror(Mirror),
}

/// Which server, and how it is reached.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server; else HAPPY_SERVER_URL, else what settings.json says, else the public one
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    #[command(flatten)]
    pub(super) way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Pair {
    #[command(flatten)]
    pub(super) server: Server,
    /// Also print the URL for this web app
    #[arg(long, value_name = "URL")]
    pub(super) webapp: Option<String>,
    /// How long to wait for the approval
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5m")]
    pub(super) timeout: Duration,
    /// Replace the credentials that are there
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Mirror {
    #[command(flatten)]
    pub(super) server: Server,
    /// What the session is known by: the same tag joins it again; else a random one
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// Deliver messages after this number; else after the last one that was shown here, and in a
    /// session that was never mirrored here those that come from now on
    #[arg(long, value_name = "NUMBER")]
    pub(super) after: Option<u64>,
    /// Serve this method in the directory; may be repeated: bash, readFile, writeFile,
    /// listDirectory, getDirectoryTree, ripgrep, difftastic (the last two need Landlock, which
    /// Linux has since 5.13)
    #[arg(long = "allow-rpc", value_name = "METHOD")]
    pub(super) allow_rpc: Vec<Method>,
    /// Put calls of this method to standard output, to be answered on standard input; may be
    /// repeated
    #[arg(long = "ask", value_name = "METHOD", default_value = "permission")]
    pub(super) ask: Vec<String>,
    /// The directory that methods are confined to; else the working directory
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// Keep this machine's own entry at the relay, too: alive, and saying that hallway runs here
    #[arg(long)]
    pub(super) machine: bool,
    /// Deliver what the user says to this local session, too
    #[arg(long, value_name = "TARGET")]
    pub(super) deliver: Option<String>,
    /// Be an inbox of this name; what local sessions say is told to the app
    #[arg(long, value_name = "NAME")]
    pub(super) inbox: Option<String>,
}
