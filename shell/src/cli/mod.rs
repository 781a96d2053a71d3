//! The command line.

mod args;
mod completions;
mod demo;
mod doctor;
mod entries;
mod error;
mod inbox;
mod lines;
mod man;
mod output;
mod peers;
mod ping;
mod printer;
#[cfg(feature = "relay")]
mod relay;
mod run;
mod send;
mod serve;
#[cfg(feature = "session")]
mod session;
mod signals;
mod terminal;
mod umask;
#[cfg(feature = "net")]
mod way;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Arguments, Color, Global, Verb};
pub use error::Exit;
use error::Failed;
use output::Output;

use crate::home::Home;
use crate::paths::Environment;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything is created, and before there is a second thread.
    umask::make_private();
    keep_secrets_out_of_core_dumps();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    let global = arguments.global;
    anstream::ColorChoice::write_global(match global.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    });
    let output = Output::new(&global);
    match start_log(&global).and_then(|()| dispatch(arguments.verb, &global, &output)) {
        Ok(code) => code,
        Err(failed) => {
            output.error(&failed);
            failed.exit.into()
        }
    }
}

/// Says what is wrong with the command line, or what was asked for in place of a verb.
fn misused(error: &clap::Error) -> ExitCode {
    // Help and version are not errors; clap knows which stream is theirs.
    let code = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    if code == Exit::Usage && wants_json() {
        let text = error.render().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.collect::<Vec<_>>().join("; ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        Output { json: true }.error(&Failed::new(code, message));
        return code.into();
    }
    if error.print().is_ok() {
        code.into()
    } else {
        Exit::Failed.into()
    }
}

/// Whether a command line that makes no sense asks for JSON. What is behind `--` is another's.
fn wants_json() -> bool {
    let mut own = std::env::args_os().take_while(|argument| argument != "--");
    own.any(|argument| argument == "--json")
}

fn dispatch(verb: Verb, global: &Global, output: &Output) -> Result<ExitCode, Failed> {
    // Not every verb needs a home.
    let home = || Home::new(Environment::from_process(), global.config_dir.as_deref());
    let runtime = runtime().map_err(|error| {
        let message = format!("the runtime does not start; {error}; check the limits of this user");
        Failed::new(Exit::Failed, message)
    })?;
    let code = runtime.block_on(async {
        match verb {
            Verb::Demo => demo::run(output).await,
            Verb::Serve(arguments) => serve::run(arguments, home()?, output).await,
            Verb::Run(arguments) => run::run(arguments, home()?, output).await,
            Verb::Peers(arguments) => peers::run(&arguments, &home()?, output).await,
            Verb::Ping(arguments) => ping::run(&arguments, &home()?, output).await,
            Verb::Send(arguments) => send::run(arguments, home()?, output).await,
            Verb::Inbox(arguments) => inbox::run(&arguments, &home()?, output).await,
            #[cfg(feature = "session")]
            Verb::Session(arguments) => session::run(arguments, global, output).await,
            #[cfg(feature = "relay")]
            Verb::Relay(arguments) => relay::run(arguments, global, output).await,
            Verb::Doctor(arguments) => doctor::run(&arguments, &home()?, output).await,
            Verb::Completions(arguments) => completions::run(&arguments),
            Verb::Man => man::run(),
        }
    });
    // A read of standard input may be under way on a thread; nothing waits for it.
    runtime.shutdown_background();
    code
}

/// The runtime of one thread. Tokio panics when its own descriptors cannot be had, so that they
/// are asked for before.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    const OWN_DESCRIPTORS: usize = 8;
    let probe: Result<Vec<_>, _> = (0..OWN_DESCRIPTORS)
        .map(|_| rustix::io::dup(rustix::stdio::stderr()))
        .collect();
    drop(probe?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Tokens are in memory: no core dump, and no other process of this user attaches.
fn keep_secrets_out_of_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // It cannot fail for this value; if it does, the daemon is no worse than any other.
        let _ignored = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Logs go to standard error: warnings, more with `-v`, less with `-q`, or what `HALLWAY_LOG`
/// says.
fn start_log(global: &Global) -> Result<(), Failed> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let spec = std::env::var("HALLWAY_LOG")
        .ok()
        .filter(|spec| !spec.is_empty());
    let targets: Targets = spec.as_deref().unwrap_or(level).parse().map_err(|error| {
        Failed::new(
            Exit::Usage,
            format!(
                "HALLWAY_LOG cannot be read; {error}; use a level such as debug, or target=level"
            ),
        )
    })?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(output::stderr_has_color(global));
    tracing_subscriber::registry()
        .with(targets)
        .with(layer)
        .try_init()
        .map_err(|error| {
            Failed::new(
                Exit::Failed,
                format!("the log does not start; {error}; report this"),
            )
        })
}
