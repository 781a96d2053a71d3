//! `hallway serve`: be an inbox.

use std::future::poll_fn;
use std::os::unix::net::UnixListener;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hallway_core::Mailbox;
use hallway_core::local::inbox::{EntryId, Renderer};
use hallway_core::local::record::SessionKind;
use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::args::{Delivery, Identity, Serve};
use super::entries;
use super::error::{Exit, Failed};
use super::output::Output;
use super::printer;
use super::signals::Stop;
use super::umask;
use crate::group::Group;
use crate::home::Home;
use crate::local::daemon::{Daemon, DaemonBuilder};

/// How many bytes of entries are rendered before they are printed.
const BATCH_BYTES: usize = 65_536;

/// How long the last messages of a stopped daemon may take to be dealt with.
const LAST_WORDS: Duration = Duration::from_secs(10);

pub(super) async fn run(arguments: Serve, home: Home, output: &Output) -> Result<ExitCode, Failed> {
    let (mut stop, mut again) = (Stop::listen()?, Stop::listen()?);
    let served = serve(arguments, home, output, &mut stop);
    let at_once = async {
        again.wait().await;
        again.wait().await;
    };
    tokio::select! {
        served = served => served?,
        () = at_once => {
            return Err(Failed::new(Exit::Failed, "stopped at once; a second signal came; messages may be undelivered whose senders believe otherwise"));
        }
    }
    Ok(Exit::Done.into())
}

async fn serve(
    arguments: Serve,
    home: Home,
    output: &Output,
    stop: &mut Stop,
) -> Result<(), Failed> {
    let builder =
        builder(&arguments.identity, home, SessionKind::Daemon)?.owner_channel(arguments.hold);
    let builder = match activated()? {
        Some(listener) => builder.listener(listener),
        None => builder,
    };
    let daemon = builder.start().await?;
    announce(&daemon, output).await?;
    notify(&[NotifyState::Ready]);
    let consumer = Consumer::new(arguments.hold, arguments.delivery, &daemon, output.json);
    let until = async {
        tokio::select! {
            () = stop.wait() => notify(&[NotifyState::Stopping]),
            () = watchdog() => {}
        }
    };
    consumer.attend(daemon, until).await?;
    if output.json {
        printer::print(b"{\"event\":\"stopped\"}\n").await?;
    }
    Ok(())
}

/// A daemon as the common options describe it.
pub(super) fn builder(
    identity: &Identity,
    home: Home,
    kind: SessionKind,
) -> Result<DaemonBuilder, Failed> {
    let home = home.with_limits(identity.limits()?);
    let mut builder = Daemon::builder().home(home).kind(kind);
    if let Some(name) = &identity.name {
        builder = builder.name(name);
    }
    if let Some(id) = &identity.session_id {
        builder = builder.session_id(id);
    }
    if let Some(path) = &identity.socket {
        builder = builder.socket(path);
    }
    Ok(builder)
}

/// The first line of a daemon's output.
pub(super) async fn announce(daemon: &Daemon, output: &Output) -> Result<(), Failed> {
    let address = daemon.address();
    let line = if output.json {
        json!({"event": "listening", "address": address, "pid": std::process::id()}).to_string()
    } else {
        format!(
            "listening at {address} (pid {}, session {})",
            std::process::id(),
            daemon.session_id()
        )
    };
    printer::print(format!("{line}\n").as_bytes()).await
}

/// What becomes of the messages.
pub(super) struct Consumer {
    mailbox: Arc<Mailbox>,
    way: Way,
    /// What is common to entries is spelled once.
    renderer: Renderer,
}

enum Way {
    /// Others read them over the owner channel.
    Hold,
    /// They are printed.
    Print { json: bool },
    /// A command gets each.
    Command {
        command: String,
        timeout: Duration,
        socket: String,
    },
}

impl Consumer {
    pub(super) fn new(hold: bool, delivery: Delivery, daemon: &Daemon, json: bool) -> Self {
        let way = match delivery.on_message {
            Some(command) => Way::Command {
                command,
                timeout: delivery.on_message_timeout,
                socket: daemon.socket_path().to_owned(),
            },
            None if hold => Way::Hold,
            None => Way::Print { json },
        };
        Self {
            mailbox: daemon.mailbox().clone(),
            way,
            renderer: Renderer::default(),
        }
    }

    /// Deals with messages until `until`, then stops the daemon and deals with what is left.
    pub(super) async fn attend<T>(
        self,
        daemon: Daemon,
        until: impl Future<Output = T>,
    ) -> Result<T, Failed> {
        let holds = matches!(self.way, Way::Hold);
        // A task of its own: a message wakes it, and not all that is waited for here. Dropped,
        // it ends.
        let mut consuming = JoinSet::new();
        consuming.spawn(self.consume());
        let output = tokio::select! {
            ended = consumed(&mut consuming) => {
                let mailbox = daemon.stop().await;
                ended?;
                return Err(unread(&mailbox, "the inbox closed"));
            }
            output = until => output,
        };
        let mailbox = daemon.stop().await;
        if holds {
            let (count, _) = mailbox.size();
            if count > 0 {
                warn!(
                    count,
                    "held messages were not read and are lost; read them with `hallway inbox` before stopping"
                );
            }
            return Ok(output);
        }
        match tokio::time::timeout(LAST_WORDS, consumed(&mut consuming)).await {
            Ok(done) => done.map(|()| output),
            Err(_) => Err(unread(&mailbox, "they were not taken in time")),
        }
    }

    /// Deals with messages as they come, until the mailbox is closed and empty. An entry stays
    /// in the inbox until it has been dealt with.
    async fn consume(mut self) -> Result<(), Failed> {
        if let Way::Hold = self.way {
            return std::future::pending().await;
        }
        let mut batch = Vec::new();
        while poll_fn(|context| self.mailbox.poll_pending(None, context)).await {
            let last = self.render(&mut batch);
            self.deliver(&batch).await?;
            if let Some(last) = last {
                self.mailbox.mark_processed(last);
            }
        }
        Ok(())
    }

    /// Writes into `batch` what is dealt with together; gives the last entry of it.
    fn render(&mut self, batch: &mut Vec<u8>) -> Option<EntryId> {
        let mut last = None;
        batch.clear();
        self.mailbox.peek(None, |entry| {
            last = Some(entry.id());
            match self.way {
                Way::Hold => false,
                Way::Print { json: true } => {
                    self.renderer.write_json(entry, batch);
                    batch.push(b'\n');
                    batch.len() < BATCH_BYTES
                }
                Way::Print { json: false } => {
                    entries::write(entry, batch);
                    batch.len() < BATCH_BYTES
                }
                Way::Command { .. } => {
                    entry.write_json(batch);
                    false
                }
            }
        });
        last
    }

    async fn deliver(&self, bytes: &[u8]) -> Result<(), Failed> {
        match &self.way {
            Way::Hold => Ok(()),
            Way::Print { .. } => printer::print(bytes).await,
            Way::Command {
                command,
                timeout,
                socket,
            } => {
                // A failing command is the user's to mend; the daemon goes on.
                if let Err(why) = run_command(command, *timeout, socket, bytes).await {
                    warn!(why, "the command for a message failed");
                }
                Ok(())
            }
        }
    }
}

/// How the consumer ended.
async fn consumed(consuming: &mut JoinSet<Result<(), Failed>>) -> Result<(), Failed> {
    match consuming.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Ok(()),
        },
        None => Ok(()),
    }
}

/// Messages whose senders were told `ok` and that nobody got.
fn unread(mailbox: &Mailbox, why: &str) -> Failed {
    let (count, _) = mailbox.size();
    Failed::new(
        Exit::Failed,
        format!("{count} messages were not delivered; {why}; their senders believe they were"),
    )
}

async fn run_command(
    command: &str,
    timeout: Duration,
    socket: &str,
    entry: &[u8],
) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .env("CLAUDE_CODE_MESSAGING_SOCKET", socket)
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child =
        umask::spawn(&mut shell).map_err(|error| format!("it does not start: {error}"))?;
    let stdin = child.stdin.take();
    // Dropped before the child, whose pid is its own until it has been waited for.
    let group = Group::of(&child);
    let feed = async {
        if let Some(mut stdin) = stdin
            && let Err(error) = stdin.write_all(entry).await
        {
            debug!(%error, "the command did not read its input");
        }
        // What it does not read any more when it has ended need not be written.
        std::future::pending().await
    };
    let ended = async {
        tokio::select! {
            ended = child.wait() => ended,
            never = feed => never,
        }
    };
    match tokio::time::timeout(timeout, ended).await {
        Ok(ended) => {
            group.let_live();
            match ended {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(status.to_string()),
                Err(error) => Err(format!("it cannot be waited for: {error}")),
            }
        }
        Err(_) => Err(format!("it took longer than {timeout:?} and was killed")),
    }
}

/// The socket that a service manager passed, if it did.
fn activated() -> Result<Option<UnixListener>, Failed> {
    let refused = |why: String| {
        Failed::new(
            Exit::Usage,
            format!(
                "the passed socket cannot be used; {why}; let the unit have one ListenStream= with an absolute path"
            ),
        )
    };
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() > 1 {
        return Err(refused(format!("{} were passed", passed.len())));
    }
    let listener = if passed.len() == 0 {
        None
    } else {
        passed
            .take_unix_listener(0)
            .map_err(|error| refused(error.to_string()))?
    };
    if let Some(listener) = &listener {
        let address = listener.local_addr();
        if !address.is_ok_and(|address| address.as_pathname().is_some()) {
            return Err(refused("it has no path".to_owned()));
        }
        // Not for the commands that we start.
        fcntl_setfd(listener, FdFlags::CLOEXEC).map_err(|error| refused(error.to_string()))?;
    }
    Ok(listener)
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager was not told");
    }
}

/// Feeds the service manager's watchdog from the daemon's own thread, if there is one.
async fn watchdog() {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}
