//! What becomes of the authorised messages of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hallway_core::local::connection::Connection;
use hallway_core::local::inbox::{EntryId, Peer};
use hallway_core::local::message::Kept;
use hallway_core::local::owner::{Question, Reply};
use hallway_core::{Instant, Mailbox, UnixTime};

use crate::clock;

/// How long an owner's question waits for an entry before it is answered with none. Shorter
/// than any idle timeout of the owner channel.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// Where the messages of one connection go.
pub(super) enum Desk {
    /// Into the inbox.
    Inbox {
        mailbox: Arc<Mailbox>,
        /// Whether there is a consumer to give way to.
        consumed: Arc<AtomicBool>,
    },
    /// They are questions about the inbox.
    Owner(Owner),
}

/// The answer to a message, if there is one already.
pub(super) enum Verdict {
    Enqueued(Option<EntryId>),
    Answered(Vec<u8>),
    /// [`Desk::poll_late`] will give it.
    Later,
}

impl Desk {
    pub(super) fn receive(
        &mut self,
        kept: Kept<'_>,
        peer: Peer,
        now: Instant,
        wall: UnixTime,
    ) -> Verdict {
        match self {
            Self::Inbox { mailbox, .. } => Verdict::Enqueued(mailbox.push(kept, peer, wall).ok()),
            Self::Owner(owner) => owner.receive(kept, now),
        }
    }

    /// Whether the inbox is more than half full, and somebody empties it.
    pub(super) fn is_crowded(&self) -> bool {
        match self {
            Self::Inbox { mailbox, consumed } => {
                mailbox.is_crowded() && consumed.load(Ordering::Relaxed)
            }
            Self::Owner(_) => false,
        }
    }

    /// Gives the answer that was put off, if its time has come; whether it did.
    pub(super) fn poll_late(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        match self {
            Self::Inbox { .. } => false,
            Self::Owner(owner) => owner.poll_late(connection, now, context),
        }
    }
}

/// One connection of the owner channel.
pub(super) struct Owner {
    mailbox: Arc<Mailbox>,
    /// Whether any connection is the consumer.
    taken: Arc<AtomicBool>,
    /// Whether this one is.
    consumer: bool,
    waiting: Option<Waiting>,
}

struct Waiting {
    after: Option<EntryId>,
    deadline: Instant,
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Owner {
    pub(super) fn new(mailbox: Arc<Mailbox>, taken: Arc<AtomicBool>) -> Self {
        Self {
            mailbox,
            taken,
            consumer: false,
            waiting: None,
        }
    }

    fn receive(&mut self, kept: Kept<'_>, now: Instant) -> Verdict {
        match Question::parse(kept) {
            Err(error) => refusal(&error.to_string()),
            Ok(Question::Consume) if self.consumer => Verdict::Answered(Reply::ATTACHED.to_vec()),
            Ok(Question::Consume) if self.taken.swap(true, Ordering::SeqCst) => {
                refusal("another consumer is attached")
            }
            Ok(Question::Consume) => {
                self.consumer = true;
                Verdict::Answered(Reply::ATTACHED.to_vec())
            }
            Ok(Question::Next { after, wait }) => match self.next(after) {
                Some(line) => Verdict::Answered(line),
                // Only one may wait: a mailbox wakes one consumer.
                None if wait && self.consumer => {
                    let deadline = now.after(WAIT);
                    let sleep = Box::pin(tokio::time::sleep_until(clock::timer(deadline)));
                    self.waiting = Some(Waiting {
                        after,
                        deadline,
                        sleep,
                    });
                    Verdict::Later
                }
                None => Verdict::Answered(Reply::NONE.to_vec()),
            },
            Ok(Question::Processed(_)) if !self.consumer => refusal("not the consumer"),
            Ok(Question::Processed(id)) => {
                let count = u64::try_from(self.mailbox.mark_processed(id)).unwrap_or(u64::MAX);
                let mut line = Vec::new();
                Reply::write_processed(count, &mut line);
                Verdict::Answered(line)
            }
        }
    }

    fn next(&self, after: Option<EntryId>) -> Option<Vec<u8>> {
        let mut line = None;
        self.mailbox.peek(after, |entry| {
            entry.write_json(line.get_or_insert_with(Vec::new));
            false
        });
        line
    }

    fn poll_late(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(waiting) = &mut self.waiting else {
            return false;
        };
        let expired = now >= waiting.deadline || waiting.sleep.as_mut().poll(context).is_ready();
        let after = waiting.after;
        let ready = self.mailbox.poll_pending(after, context);
        if ready.is_pending() && !expired {
            return false;
        }
        self.waiting = None;
        match (ready, self.next(after)) {
            (Poll::Ready(true), Some(line)) => connection.handle_answered(&line),
            (Poll::Ready(_) | Poll::Pending, _) => connection.handle_answered(Reply::NONE),
        }
        true
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.consumer {
            self.taken.store(false, Ordering::SeqCst);
        }
    }
}

/// An error frame without its time; `words` are ours and need no escaping.
fn refusal(words: &str) -> Verdict {
    Verdict::Answered(format!(r#"{{"type":"error","data":"{words}"}}"#).into_bytes())
}
