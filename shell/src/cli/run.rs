//! `hallway run`: a command with an inbox of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use hallway_core::local::record::SessionKind;
use rustix::process;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind};
use tracing::{info, warn};

use super::args::Run;
use super::error::{Exit, Failed};
use super::output::Output;
use super::serve::{Consumer, builder};
use super::signals::listen;
use super::umask;
use crate::home::Home;

/// Runs the command; its exit code is ours. Its messages are held for `hallway inbox`, which
/// the command itself can call, or given to `--on-message`: standard output is the command's.
pub(super) async fn run(arguments: Run, home: Home, output: &Output) -> Result<ExitCode, Failed> {
    let mut signals = PassedOn::listen()?;
    let hold = arguments.delivery.on_message.is_none();
    let builder = builder(&arguments.identity, home, SessionKind::Interactive)?;
    let daemon = builder.owner_channel(hold).start().await?;
    info!(address = daemon.address(), "listening");
    let consumer = Consumer::new(hold, arguments.delivery, &daemon, output.json);
    let (program, rest) = arguments
        .command
        .split_first()
        .ok_or_else(|| Failed::new(Exit::Usage, "no command; nothing to run; give one after --"))?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("CLAUDE_CODE_MESSAGING_SOCKET", daemon.socket_path());
    let mut child = umask::spawn(&mut command).map_err(|error| {
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
    let status = consumer
        .attend(daemon, signals.attend(&mut child))
        .await??;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(Exit::Failed.into(), ExitCode::from))
}

/// The signals that are meant for the command.
struct PassedOn {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
}

impl PassedOn {
    fn listen() -> Result<Self, Failed> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the command, and passes signals on to it. An interrupt from the terminal
    /// reaches it anyway.
    async fn attend(&mut self, child: &mut Child) -> Result<ExitStatus, Failed> {
        loop {
            let signal = tokio::select! {
                status = child.wait() => return status.map_err(|error| {
                    let message = format!("the command cannot be waited for; {error}; look whether it runs");
                    Failed::new(Exit::Failed, message)
                }),
                _ = self.terminate.recv() => process::Signal::TERM,
                _ = self.hangup.recv() => process::Signal::HUP,
                _ = self.interrupt.recv() => continue,
            };
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(process::Pid::from_raw)
                && let Err(error) = process::kill_process(pid, signal)
            {
                warn!(%error, "a signal could not be passed on");
            }
        }
    }
}
