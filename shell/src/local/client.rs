//! The client: sends to a session and pings it.

use std::io;
use std::time::Duration;

use hallway_core::Token;
use hallway_core::local::exchange::{
    Answer, Data, Draft, Exchange, Failure, Outcome, SendError, SendId,
};
use hallway_core::local::inbox::Peer;
use tokio::net::UnixStream;

use crate::clock;
use crate::home::Home;
use crate::local::capability::{self, CapabilityError};
use crate::local::target::{self, Resolved, TargetError};
use crate::local::transport::Transport;
use crate::paths::{PathError, check_socket_path};

/// How long a full queue is left alone.
const REDIAL: Duration = Duration::from_millis(10);

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The config home cannot be found.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The target names no one, or more than one.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no capability for the peer that can be trusted.
    #[error(
        "No auth token found for peer at {path}; {source}; ask `hallway peers` for sessions that can be reached"
    )]
    NoToken {
        /// The peer's socket.
        path: String,
        /// What is wrong with its capability.
        source: CapabilityError,
        /// Whether anything is at the peer's path.
        present: bool,
    },
    /// Nobody answers there.
    #[error(
        "Failed to connect to peer at {path}: {source}; the session may have ended; ask `hallway peers`"
    )]
    Failed {
        /// The peer's socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The peer did not accept in time.
    #[error("Failed to connect to peer at {path}: timed out after {} ms; it may be busy; try again", after.as_millis())]
    TimedOut {
        /// The peer's socket.
        path: String,
        /// The deadline.
        after: Duration,
    },
    /// Another user listens there. Nothing was sent.
    #[error("peer at {path} belongs to user {uid}; nothing was sent; do not use this address")]
    Foreign {
        /// The peer's socket.
        path: String,
        /// Whose it is.
        uid: u32,
    },
}

/// Why a message was not answered `ok`, or a ping not with `pong`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// It was not sent at all.
    #[error("not sent: {0}")]
    NotSent(#[from] SendError),
    /// The peer's inbox is full: the message was not taken.
    #[error(
        "inbox full; the peer holds as much as it may and did not take the message; try again when it has read some"
    )]
    InboxFull,
    /// The peer refused: the message was not taken. The words are the peer's.
    #[error("refused by the peer: {words:?}; the message was not taken")]
    Refused {
        /// What it said; untrusted.
        words: String,
    },
    /// There was no answer.
    #[error("{failure}; {}", fate(*.written))]
    Unanswered {
        /// Why not.
        failure: Failure,
        /// Whether all of it was written. If so, the peer may have taken it.
        written: bool,
    },
}

fn fate(written: bool) -> &'static str {
    if written {
        "it is not known whether the message was taken; look before you send it again"
    } else {
        "the message was not taken"
    }
}

/// A connection to one session.
#[derive(Debug)]
pub struct Client {
    path: String,
    peer: Peer,
    token: Token,
    from: Option<String>,
    transport: Transport,
}

impl Client {
    /// Connects to `target` — `uds:<path>`, an absolute path, a pid, a session id or a unique
    /// prefix of one, or a name — in the process's own home.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect(target: &str) -> Result<Self, ConnectError> {
        Self::connect_in(&Home::from_process()?, target).await
    }

    /// Connects to `target` in `home`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect_in(home: &Home, target: &str) -> Result<Self, ConnectError> {
        let resolved = target::resolve(home, target)?;
        Self::connect_to(home, &resolved).await
    }

    /// Connects to a session that was found before.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect_to(home: &Home, resolved: &Resolved) -> Result<Self, ConnectError> {
        let path = resolved.path.clone();
        check_socket_path(&path)?;
        let token = capability::read(home.config(), &path).map_err(|source| {
            let present = std::fs::symlink_metadata(&path).is_ok();
            ConnectError::NoToken {
                path: path.clone(),
                source,
                present,
            }
        })?;
        let after = home.limits().connect_timeout();
        let stream = match tokio::time::timeout(after, dial(&path)).await {
            Ok(connected) => connected,
            Err(_) => return Err(ConnectError::TimedOut { path, after }),
        };
        let found = stream.and_then(|stream| Ok((stream.peer_cred()?, stream)));
        let (credentials, stream) = match found {
            Ok(found) => found,
            Err(source) => return Err(ConnectError::Failed { path, source }),
        };
        // Before the first byte: the token must not reach another user.
        if credentials.uid() != rustix::process::geteuid().as_raw() {
            return Err(ConnectError::Foreign {
                path,
                uid: credentials.uid(),
            });
        }
        let peer = Peer {
            uid: credentials.uid(),
            pid: credentials
                .pid()
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or_default(),
        };
        let from = home.environment().messaging_socket.as_deref();
        Ok(Self {
            path,
            peer,
            token,
            from: from
                .and_then(|path| path.to_str())
                .filter(|p| !p.is_empty())
                .map(str::to_owned),
            transport: Transport::new(stream, Exchange::new(home.limits())),
        })
    }

    /// Names the sender's own socket in what is sent, in place of the one that
    /// `CLAUDE_CODE_MESSAGING_SOCKET` names.
    #[must_use]
    pub fn from(mut self, socket_path: impl Into<String>) -> Self {
        self.from = Some(socket_path.into());
        self
    }

    /// The peer's socket.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The process that listens there, by the kernel's account.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Sends a text message and waits until the peer has taken it. Returns the id that the
    /// peer gave, if it gave one.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; it says whether the message may have been taken.
    pub async fn send(&mut self, text: &str) -> Result<Option<String>, SendFailure> {
        self.send_as("text", Data::Text(text)).await
    }

    /// Sends a message of any type and waits as [`Client::send`] does.
    ///
    /// # Errors
    ///
    /// [`SendFailure`].
    pub async fn send_as(
        &mut self,
        kind: &str,
        data: Data<'_>,
    ) -> Result<Option<String>, SendFailure> {
        let id = self.queue(kind, data)?;
        match self.outcome_of(id).await? {
            Answer::Accepted(id) => Ok(id.map(String::from)),
            Answer::Pong | Answer::Object(_) => Ok(None),
        }
    }

    /// Pings the peer; the time until it answered.
    ///
    /// # Errors
    ///
    /// [`SendFailure`].
    pub async fn ping(&mut self) -> Result<Duration, SendFailure> {
        let began = clock::now();
        let id = self
            .transport
            .exchange
            .ping(&self.token, began, clock::wall())?;
        self.outcome_of(id).await?;
        Ok(clock::now().since(began))
    }

    /// Queues a message without waiting; [`Client::next_outcome`] sends it and tells what
    /// became of it.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] until an outcome makes room, and others.
    pub fn queue(&mut self, kind: &str, data: Data<'_>) -> Result<SendId, SendError> {
        let draft = Draft {
            kind,
            data,
            from: self.from.as_deref(),
        };
        self.transport
            .exchange
            .send(draft, &self.token, clock::now(), clock::wall())
    }

    /// Queues a message that any object answers.
    pub(crate) fn ask(&mut self, kind: &str, data: &str) -> Result<SendId, SendError> {
        let draft = Draft {
            kind,
            data: Data::Json(data),
            from: None,
        };
        self.transport
            .exchange
            .ask(draft, &self.token, clock::now(), clock::wall())
    }

    /// The next outcome of what was queued, in its order; `None` when nothing is unanswered.
    /// Cancelling loses nothing.
    pub async fn next_outcome(&mut self) -> Option<(SendId, Result<Answer, SendFailure>)> {
        let Outcome {
            id,
            result,
            written,
        } = self.transport.next_outcome().await?;
        let result = result.map_err(|failure| self.failure(failure, written));
        Some((id, result))
    }

    /// Whether the connection has ended: nothing more can be sent over it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.transport.exchange.is_closed()
    }

    pub(crate) async fn outcome_of(&mut self, id: SendId) -> Result<Answer, SendFailure> {
        while let Some((answered, result)) = self.next_outcome().await {
            if answered == id {
                return result;
            }
        }
        // Every request has one outcome; this one was taken by a caller who mixes both ways.
        Err(SendFailure::Unanswered {
            failure: Failure::Broken,
            written: true,
        })
    }

    fn failure(&self, failure: Failure, written: bool) -> SendFailure {
        match (failure, self.transport.exchange.refusal()) {
            (Failure::Refused, Some("inbox full")) => SendFailure::InboxFull,
            (Failure::Refused, words) => SendFailure::Refused {
                words: words.unwrap_or_default().to_owned(),
            },
            _ => SendFailure::Unanswered { failure, written },
        }
    }
}

/// Connects. A server whose queue is full is waited for: the kernel has no event for room in it.
async fn dial(path: &str) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(REDIAL).await;
            }
            connected => return connected,
        }
    }
}
