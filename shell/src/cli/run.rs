//! `hallway run`: a command with an inbox of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use hallway_core::local::record::SessionKind;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::args::Run;
use super::error::{Exit, Failed};
use super::output::Output;
use super::serve::{Consumer, builder};
use crate::home::Home;

/// Runs the command; its exit code is ours. Its messages are held for `hallway inbox`, which
/// the command itself can call, or given to `--on-message`: standard output is the command's.
pub(super) async fn run(arguments: Run, home: Home, output: &Output) -> Result<ExitCode, Failed> {
    let hold = arguments.delivery.on_message.is_none();
    let builder = builder(&arguments.identity, home, SessionKind::Interactive)?;
    let daemon = builder.owner_channel(hold).start().await?;
    info!(address = daemon.address(), "listening");
    let consumer = Consumer::new(hold, arguments.delivery, &daemon, output.json);
    let (program, rest) = arguments
        .command
        .split_first()
        .ok_or_else(|| Failed::new(Exit::Usage, "no command; nothing to run; give one after --"))?;
    let mut child = Command::new(program)
        .args(rest)
        .env("CLAUDE_CODE_MESSAGING_SOCKET", daemon.socket_path())
        .spawn()
        .map_err(|error| {
            let exit = if error.kind() == std::io::ErrorKind::NotFound {
                Exit::Usage
            } else {
                Exit::Failed
            };
            Failed::new(
                exit,
                format!("{program:?} does not start; {error}; check the command after --"),
            )
        })?;
    let status = consumer.attend(daemon, attend(&mut child)).await??;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(Exit::Failed.into(), ExitCode::from))
}

/// Waits for the command, and passes on the signals that are meant for it. An interrupt from
/// the terminal reaches it anyway.
async fn attend(child: &mut Child) -> Result<ExitStatus, Failed> {
    let install = |kind| {
        signal(kind).map_err(|error| {
            Failed::new(
                Exit::Failed,
                format!("signals cannot be handled; {error}; check the limits of this user"),
            )
        })
    };
    let mut terminate = install(SignalKind::terminate())?;
    let mut hangup = install(SignalKind::hangup())?;
    let mut interrupt = install(SignalKind::interrupt())?;
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => {
                return status.map_err(|error| Failed::new(Exit::Failed, format!("the command cannot be waited for; {error}; look whether it runs")));
            }
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
            _ = interrupt.recv() => continue,
        };
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, passed_on)
        {
            warn!(%error, "a signal could not be passed on");
        }
    }
}
