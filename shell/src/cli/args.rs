//! The arguments of the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hallway_core::{Limits, LimitsError};

/// The trusted messenger between coding-agent sessions.
#[derive(Debug, Parser)]
#[command(
    name = "hallway",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 no such peer or ambiguous, 4 refused, 5 timed out, \
                  6 inbox full or queue full, 7 peer unreachable."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Config home; else CLAUDE_CONFIG_DIR, else ~/.claude
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) config_dir: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Log more; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(super) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show two sessions at work in a temporary home
    Demo,
    /// Be an inbox: listen, register, and print each message as it comes
    Serve(Serve),
    /// Run a command with an inbox of its own
    Run(Run),
    /// List the live sessions
    Peers(Peers),
    /// Ask a session whether it is there
    Ping(Ping),
    /// Send a message to a session
    Send(Send),
    /// Read the held messages of a daemon
    Inbox(Inbox),
    /// Follow a remote session, or speak to it
    #[cfg(feature = "session")]
    Session(super::session::Session),
    /// Pair with an end-to-end encrypted relay, and mirror a session to it
    #[cfg(feature = "relay")]
    Relay(super::relay::Relay),
    /// Look for what is wrong, and how to mend it
    Doctor(Doctor),
    /// Print a completion script
    Completions(Completions),
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub(super) struct Identity {
    /// Register under this name
    #[arg(long, value_name = "NAME", value_parser = one_line)]
    pub(super) name: Option<String>,
    /// Register as this session; else a random id
    #[arg(long, value_name = "ID", value_parser = one_line)]
    pub(super) session_id: Option<String>,
    /// Listen here; else in a private directory of its own
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Change a limit, such as max_clients=16 or idle_timeout=60000 (milliseconds)
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limit)]
    pub(super) limits: Vec<(String, u64)>,
}

#[derive(Debug, Args)]
pub(super) struct Delivery {
    /// Run this shell command for each message, with the entry as JSON on its stdin
    #[arg(long, value_name = "CMD")]
    pub(super) on_message: Option<String>,
    /// How long that command may take
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "60s", requires = "on_message")]
    pub(super) on_message_timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) identity: Identity,
    /// Keep the messages for `hallway inbox`
    #[arg(long, conflicts_with = "on_message")]
    pub(super) hold: bool,
    #[command(flatten)]
    pub(super) delivery: Delivery,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) identity: Identity,
    #[command(flatten)]
    pub(super) delivery: Delivery,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Peers {
    /// Also show what is dead or unreachable, and why
    #[arg(long)]
    pub(super) all: bool,
    /// Ping each session
    #[arg(long)]
    pub(super) probe: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ping {
    /// uds:PATH, an absolute path, a pid, a session id or its prefix, or a name
    pub(super) target: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// uds:PATH, an absolute path, a pid, a session id or its prefix, or a name
    pub(super) target: String,
    /// The message; else standard input, whole, or with --json one {"type":…,"data":…} a line
    pub(super) text: Option<String>,
    /// What kind of message it is
    #[arg(long = "type", value_enum, default_value_t = Kind::Text, value_name = "TYPE")]
    pub(super) kind: Kind,
    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Text,
    Notification,
    Query,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Notification => "notification",
            Self::Query => "query",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Inbox {
    /// Wait for further messages
    #[arg(long, conflicts_with = "peek")]
    pub(super) follow: bool,
    /// Show the messages and leave them there
    #[arg(long)]
    pub(super) peek: bool,
    /// Whose inbox; else that of CLAUDE_CODE_MESSAGING_SOCKET, else the only one there is
    #[arg(long, value_name = "TARGET")]
    pub(super) of: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Do the fixes that are safe
    #[arg(long)]
    pub(super) fix: bool,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

impl Identity {
    /// The defaults with the `--limit` options applied.
    pub(super) fn limits(&self) -> Result<Limits, LimitsError> {
        let mut builder = Limits::builder();
        for (name, value) in &self.limits {
            builder.set(name, *value)?;
        }
        builder.build()
    }
}

/// A span of time: `500ms`, `5s`, `2m`, or a number of seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let number: f64 = digits
        .parse()
        .map_err(|_| "use a number with ms, s or m, such as 500ms".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        _ => return Err("use ms, s or m, such as 500ms".to_owned()),
    };
    // What the limits allow: from a millisecond to an hour.
    if (0.001..=3_600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("use a time between 1ms and 60m".to_owned())
    }
}

fn limit(text: &str) -> Result<(String, u64), String> {
    limit_of(Limits::NAMES, text)
}

/// A limit that has one of these names, with its value.
pub(super) fn limit_of(names: &[&str], text: &str) -> Result<(String, u64), String> {
    let parsed = text.split_once('=').and_then(|(name, value)| {
        let value = value.parse().ok()?;
        names.contains(&name).then(|| (name.to_owned(), value))
    });
    parsed.ok_or_else(|| format!("use NAME=NUMBER with one of {}", names.join(", ")))
}

fn one_line(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("it must not be empty or hold control characters".to_owned())
    } else if text.len() > 256 {
        Err("it must not be longer than 256 bytes".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("2"), Ok(Duration::from_secs(2)));
        assert_eq!(span("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "-1s", "0", "5h", "61m", "nan", "inf", "1e9"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_named() {
        assert_eq!(limit("max_clients=7"), Ok(("max_clients".to_owned(), 7)));
        for text in [
            "max_clients",
            "max_clients=x",
            "nothing=1",
            "max_clients=-1",
        ] {
            assert!(limit(text).unwrap_err().contains("max_clients"), "{text}");
        }
    }

    #[test]
    fn names_are_one_line() {
        assert!(one_line("api worker").is_ok());
        for text in ["", "a\nb", "a\u{1b}[0m", &"x".repeat(257)] {
            assert!(one_line(text).is_err());
        }
    }
}
