//! Reading a held inbox from another process of its owner, over the daemon's owner channel.

use hallway_core::local::exchange::{Answer, Failure, SendError};
use hallway_core::local::inbox::EntryId;
use hallway_core::local::owner::{Question, Reply};

use crate::home::Home;
use crate::local::client::{Client, ConnectError, SendFailure};
use crate::local::target::{self, Resolved};
use crate::paths::owner_path;

/// Why the inbox could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// There is no owner channel, or it cannot be reached.
    #[error(
        "{source}; only the inbox of a running `hallway serve --hold` or `hallway run` can be read"
    )]
    Connect {
        /// Why not.
        #[from]
        source: ConnectError,
    },
    /// The daemon refused, such as a second consumer. The words are its own.
    #[error(
        "refused by the daemon: {words:?}; one reader at a time takes messages; end the other one, or use --peek"
    )]
    Refused {
        /// What it said.
        words: String,
    },
    /// The daemon did not answer.
    #[error("no answer from the daemon; {0}; it may have ended")]
    Unanswered(Failure),
    /// The question could not be asked.
    #[error(transparent)]
    NotAsked(SendError),
    /// The daemon answered something else.
    #[error("the daemon's answer makes no sense; it may be of another version; restart it")]
    Nonsense,
}

/// A connection to the owner channel of a held inbox.
#[derive(Debug)]
pub struct OwnerClient {
    client: Client,
}

impl OwnerClient {
    /// Connects to the owner channel of the session that `target` names.
    ///
    /// # Errors
    ///
    /// [`OwnerError::Connect`].
    pub async fn connect(home: &Home, target: &str) -> Result<Self, OwnerError> {
        let resolved = target::resolve(home, target).map_err(ConnectError::from)?;
        let path = owner_path(&resolved.path).map_err(ConnectError::from)?;
        // An answer is an entry with what the daemon says of it, longer than any frame.
        let limits = home.limits();
        let wide = limits.max_frame_bytes().saturating_mul(2);
        let mut builder = hallway_core::Limits::builder()
            .send_timeout(limits.send_timeout() + std::time::Duration::from_secs(30));
        builder = builder
            .max_frame_bytes(wide)
            .max_inbox_bytes(wide.max(limits.max_inbox_bytes()));
        builder = builder.max_inbox_bytes_per_peer(wide.max(limits.max_inbox_bytes_per_peer()));
        let home = home
            .clone()
            .with_limits(builder.build().unwrap_or_default());
        let owner = Resolved {
            path,
            session: resolved.session,
        };
        let client = Client::connect_to(&home, &owner).await?;
        Ok(Self { client })
    }

    /// Becomes the one consumer of the inbox, until this connection ends.
    ///
    /// # Errors
    ///
    /// [`OwnerError::Refused`] when there is another.
    pub async fn consume(&mut self) -> Result<(), OwnerError> {
        match self.ask(Question::Consume).await? {
            (Reply::Attached, _) => Ok(()),
            (Reply::Entry(_) | Reply::None | Reply::Processed(_), _) => Err(OwnerError::Nonsense),
        }
    }

    /// The first entry after `after`, as its id and its line of JSON. With `wait`, a consumer
    /// waits some seconds for one.
    ///
    /// # Errors
    ///
    /// [`OwnerError`].
    pub async fn next(
        &mut self,
        after: Option<EntryId>,
        wait: bool,
    ) -> Result<Option<(EntryId, String)>, OwnerError> {
        match self.ask(Question::Next { after, wait }).await? {
            (Reply::Entry(id), line) => Ok(Some((id, line))),
            (Reply::None, _) => Ok(None),
            (Reply::Attached | Reply::Processed(_), _) => Err(OwnerError::Nonsense),
        }
    }

    /// Marks the entries up to and including `id` as processed, which removes them; how many
    /// those were.
    ///
    /// # Errors
    ///
    /// [`OwnerError`].
    pub async fn mark_processed(&mut self, id: EntryId) -> Result<u64, OwnerError> {
        match self.ask(Question::Processed(id)).await? {
            (Reply::Processed(count), _) => Ok(count),
            (Reply::Attached | Reply::Entry(_) | Reply::None, _) => Err(OwnerError::Nonsense),
        }
    }

    async fn ask(&mut self, question: Question) -> Result<(Reply, String), OwnerError> {
        let asked = self.client.ask(question.kind(), &question.data());
        let id = asked.map_err(OwnerError::NotAsked)?;
        let answer = self.client.outcome_of(id).await.map_err(failed)?;
        let Answer::Object(line) = answer else {
            return Err(OwnerError::Nonsense);
        };
        let reply = Reply::parse(&line).map_err(|_| OwnerError::Nonsense)?;
        Ok((reply, String::from(line)))
    }
}

/// What a failed send means when it was a question.
fn failed(failure: SendFailure) -> OwnerError {
    match failure {
        SendFailure::NotSent(error) => OwnerError::NotAsked(error),
        SendFailure::InboxFull => OwnerError::Nonsense,
        SendFailure::Refused { words } => OwnerError::Refused { words },
        SendFailure::Unanswered { failure, .. } => OwnerError::Unanswered(failure),
    }
}
