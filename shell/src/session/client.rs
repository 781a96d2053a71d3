//! The client of one subscription, as a program holds it.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use hallway_core::Instant;
use hallway_core::backoff::Policy;
use hallway_core::session::event::{CloseReason, SendError};
use hallway_core::session::limits::Limits;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::connector::Connector;
use super::driver;
use super::updates::{Incoming, Update, updates};
use crate::clock;
use crate::net::token::TokenSource;

/// How many commands may wait for the task.
const MAX_COMMANDS: usize = 16;

/// How a subscription behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its bounds.
    pub limits: Limits,
    /// When it dials again, and when it gives up.
    pub policy: Policy,
    /// Where the jitter of the delays comes from; none: from the system.
    pub seed: Option<u64>,
    /// Which requests of the server are put to the client. All others are refused.
    pub served: &'static [&'static str],
    /// The clock; tests bring their own.
    pub clock: fn() -> Instant,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            policy: Policy::RESILIENT,
            seed: None,
            served: &["can_use_tool"],
            clock: clock::now,
        }
    }
}

/// The answer to a request of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The tool may be used.
    Allow {
        /// Its input, as raw JSON; none: as it was asked for.
        updated_input: Option<String>,
    },
    /// The tool may not be used.
    Deny {
        /// Why.
        message: String,
    },
    /// It was done.
    Success {
        /// What the server is told, as raw JSON.
        response: Option<String>,
    },
    /// It was not done.
    Error {
        /// Why.
        error: String,
    },
}

/// What the task is told to do.
#[derive(Debug)]
pub(super) enum Command {
    Answer {
        request_id: String,
        reply: Reply,
        done: oneshot::Sender<Result<(), SendError>>,
    },
    Request {
        request_id: String,
        request: String,
        done: oneshot::Sender<Result<(), SendError>>,
    },
    Reconnect,
    Close,
}

/// Speaks to the task of a subscription; there may be many of one.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Answers a request of the server, once the connection allows.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the request waits as before.
    pub async fn answer(&self, request_id: &str, reply: Reply) -> Result<(), SendError> {
        let request_id = request_id.to_owned();
        self.send(|done| Command::Answer {
            request_id,
            reply,
            done,
        })
        .await
    }

    /// Asks the server, once the connection allows; `request` is a JSON object with a
    /// `subtype`. The server's answer comes as a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is sent.
    pub async fn request(&self, request_id: &str, request: &str) -> Result<(), SendError> {
        let (request_id, request) = (request_id.to_owned(), request.to_owned());
        self.send(|done| Command::Request {
            request_id,
            request,
            done,
        })
        .await
    }

    /// Drops the connection, if there is one, and dials again, with whole budgets.
    pub async fn reconnect(&self) {
        // Without its task it has ended, and [`Update::Closed`] says so.
        drop(self.commands.send(Command::Reconnect).await);
    }

    /// Ends it, with close code 1000. [`Update::Closed`] follows.
    pub async fn close(&self) {
        drop(self.commands.send(Command::Close).await);
    }

    async fn send(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), SendError>>) -> Command,
    ) -> Result<(), SendError> {
        const ENDED: SendError = SendError::Closed(CloseReason::User);
        let (done, result) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| ENDED)?;
        result.await.unwrap_or(Err(ENDED))
    }
}

/// One subscription that is kept up by a task of its own. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Client {
    updates: Incoming,
    handle: Handle,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts to connect. To be called under a tokio runtime with IO and time.
    #[must_use]
    pub fn start(connector: Connector, tokens: TokenSource, settings: Settings) -> Self {
        let (outgoing, incoming) = updates();
        let (sender, commands) = mpsc::channel(MAX_COMMANDS);
        let task = driver::drive(connector, tokens, settings, outgoing, commands);
        Self {
            updates: incoming,
            handle: Handle { commands: sender },
            task: tokio::spawn(task),
        }
    }

    /// What has happened next; `None` after [`Update::Closed`]. As long as it is not asked for,
    /// little is read from the connection. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|context| self.updates.poll_next(context)).await
    }

    /// The next update if there is one already.
    pub fn try_next(&mut self) -> Option<Update> {
        match self.updates.poll_next(&Context::from_waker(Waker::noop())) {
            Poll::Ready(update) => update,
            Poll::Pending => None,
        }
    }

    /// What speaks to the task; it can be had by others.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends it and waits until the server was told, for a second at most. Updates that were not
    /// taken are lost.
    pub async fn close(mut self) {
        self.handle.close().await;
        self.updates.abandon();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the task of a subscription failed");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.updates.abandon();
    }
}
