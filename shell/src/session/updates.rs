//! What a subscription tells its client, and the bounded queue between their tasks.
//!
//! ```text
//!   Outgoing { batch } ──flush──> Updates { waiting } ──refill──> Incoming { taken }
//! ```
//!
//! The task's end and the client's end each have a part of their own, so that a burst of
//! messages takes the lock and wakes the client once, not once a message.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hallway_core::session::control::NotForwarded;
use hallway_core::session::event::{Cancelled, Cause, CloseReason};

use super::text::Text;

/// How many updates wait for a slow consumer before the connection is no longer read from; it
/// may have taken as many that it has not come to.
const MAX_WAITING: usize = 128;
/// How many bytes may have been read for them before; the last batch may exceed it.
const MAX_WAITING_BYTES: usize = 524_288;
/// How many bytes may have been read for messages that the client does not know of; the last
/// one may exceed it.
const MAX_BATCH_BYTES: usize = 65_536;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// The connection is open.
    Connected,
    /// A message, as the server wrote it.
    Message(Text),
    /// A message that is no JSON object with a type is only counted.
    Ignored {
        /// What it is.
        why: NotForwarded,
        /// How many there were.
        total: u64,
    },
    /// The server asks and waits for an answer.
    Request {
        /// The message, as the server wrote it.
        message: String,
        /// The id to answer under.
        request_id: String,
        /// What kind of request it is.
        subtype: String,
    },
    /// The server asked what is not served, or more than is kept.
    RequestRefused {
        /// The message, as the server wrote it.
        message: String,
        /// The request's id.
        request_id: String,
        /// What kind of request it is.
        subtype: String,
        /// Whether an answer says so.
        answered: bool,
    },
    /// A request is not to be answered any more.
    RequestCancelled {
        /// The message, when it was the server that took it back.
        message: Option<String>,
        /// The request's id.
        request_id: String,
        /// Why.
        cancelled: Cancelled,
    },
    /// A request of ours was written to the connection.
    Sent {
        /// Its id.
        request_id: String,
    },
    /// There is no connection; there will be another dial.
    Reconnecting {
        /// How many retries there were since the last connection that proved itself.
        attempt: u32,
        /// From the failure to the dial.
        delay: Duration,
        /// Why.
        cause: Cause,
        /// What the system said of it, if it did.
        detail: Option<String>,
    },
    /// It has ended. Nothing follows.
    Closed {
        /// Why.
        reason: CloseReason,
        /// What the system said of it, if it did.
        detail: Option<String>,
        /// How many answers and requests were never sent.
        unsent: usize,
    },
}

#[derive(Debug)]
struct Waiting {
    update: Update,
    /// How many bytes were read for it. What was read is in memory as long as it is, so that
    /// these are counted and not those of its text.
    bytes: usize,
}

/// Updates that wait, and how many bytes they hold.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && self.bytes < MAX_WAITING_BYTES
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.bytes);
        self.waiting.push_back(waiting);
    }

    /// Removes the last update if it is such a one.
    fn unsay(&mut self, is_such: impl Fn(&Update) -> bool) {
        if let Some(last) = self.waiting.pop_back_if(|last| is_such(&last.update)) {
            self.bytes = self.bytes.saturating_sub(last.bytes);
        }
    }
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    consumer: Waker,
    producer: Waker,
    /// No more updates come.
    finished: bool,
    /// Nobody takes them any more.
    abandoned: bool,
}

/// The queue from the task of a subscription to its client.
#[derive(Debug)]
pub(super) struct Updates(Mutex<Inner>);

/// Both ends of a new queue.
pub(super) fn updates() -> (Outgoing, Incoming) {
    let updates = Arc::new(Updates(Mutex::new(Inner {
        queue: Queue::default(),
        consumer: Waker::noop().clone(),
        producer: Waker::noop().clone(),
        finished: false,
        abandoned: false,
    })));
    let outgoing = Outgoing {
        updates: updates.clone(),
        batch: Queue::default(),
        room: 0,
    };
    let taken = VecDeque::new();
    (outgoing, Incoming { updates, taken })
}

impl Updates {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics; what a panic elsewhere has left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that no more updates come.
    pub(super) fn finish(&self) {
        let mut inner = self.lock();
        inner.finished = true;
        inner.consumer.wake_by_ref();
    }
}

/// The end of the task.
#[derive(Debug)]
pub(super) struct Outgoing {
    updates: Arc<Updates>,
    /// Messages that the client does not know of.
    batch: Queue,
    /// How many more of them there is room for, at least.
    room: usize,
}

impl Outgoing {
    /// What outlives this end.
    pub(super) fn updates(&self) -> Arc<Updates> {
        self.updates.clone()
    }

    /// Whether there is room for what the server sends; if not, the task is woken when there
    /// is.
    pub(super) fn poll_room(&mut self, context: &Context<'_>) -> bool {
        if self.room > 0 && self.batch.bytes < MAX_BATCH_BYTES {
            return true;
        }
        self.flush();
        let mut inner = self.updates.lock();
        let has_room = inner.queue.has_room();
        if has_room {
            self.room = MAX_WAITING.saturating_sub(inner.queue.waiting.len());
        } else {
            inner.producer.clone_from(context.waker());
        }
        has_room
    }

    /// Whether nobody takes updates any more; if not, the task is woken when that is so.
    pub(super) fn poll_abandoned(&self, context: &Context<'_>) -> bool {
        let mut inner = self.updates.lock();
        inner.producer.clone_from(context.waker());
        inner.abandoned
    }

    /// Appends a message for which `bytes` bytes were read, to be flushed with others.
    pub(super) fn push_message(&mut self, text: Text, bytes: usize) {
        let update = Update::Message(text);
        self.batch.push(Waiting { update, bytes });
        self.room = self.room.saturating_sub(1);
    }

    /// Gives the client what it does not know of.
    pub(super) fn flush(&mut self) {
        self.room = 0;
        if !self.batch.waiting.is_empty() {
            let mut inner = self.updates.lock();
            inner.queue.waiting.append(&mut self.batch.waiting);
            let bytes = std::mem::take(&mut self.batch.bytes);
            inner.queue.bytes = inner.queue.bytes.saturating_add(bytes);
            wake_consumer(inner);
        }
    }

    /// Appends an update for which `bytes` bytes were read. What the server cannot cause at will
    /// may come beyond the bound; while there is no room, only the last state of the connection
    /// is kept.
    pub(super) fn push(&mut self, update: Update, bytes: usize) {
        self.flush();
        let mut inner = self.updates.lock();
        if inner.queue.waiting.len() >= MAX_WAITING && matches!(update, Update::Reconnecting { .. })
        {
            inner.queue.unsay(|last| *last == Update::Connected);
            let is_state = |last: &Update| matches!(last, Update::Reconnecting { .. });
            inner.queue.unsay(is_state);
        }
        inner.queue.push(Waiting { update, bytes });
        wake_consumer(inner);
    }
}

/// Unlocks first: the waker may poll at once.
fn wake_consumer(mut inner: MutexGuard<'_, Inner>) {
    let consumer = std::mem::replace(&mut inner.consumer, Waker::noop().clone());
    drop(inner);
    consumer.wake();
}

/// The end of the client.
#[derive(Debug)]
pub(super) struct Incoming {
    updates: Arc<Updates>,
    /// What it has taken and not come to.
    taken: VecDeque<Waiting>,
}

impl Incoming {
    /// The next update; `None` when there is none left and no more come.
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Update>> {
        if self.taken.is_empty() {
            let mut inner = self.updates.lock();
            let was_full = !inner.queue.has_room();
            std::mem::swap(&mut self.taken, &mut inner.queue.waiting);
            inner.queue.bytes = 0;
            if self.taken.is_empty() && !inner.finished {
                inner.consumer.clone_from(context.waker());
                return Poll::Pending;
            }
            if was_full {
                inner.producer.wake_by_ref();
            }
        }
        Poll::Ready(self.taken.pop_front().map(|waiting| waiting.update))
    }

    /// Says that nobody takes them any more.
    pub(super) fn abandon(&self) {
        let mut inner = self.updates.lock();
        inner.abandoned = true;
        inner.producer.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallway_core::backoff::GaveUp;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn reconnecting(attempt: u32) -> Update {
        Update::Reconnecting {
            attempt,
            delay: Duration::ZERO,
            cause: Cause::NoPong,
            detail: None,
        }
    }

    fn take(incoming: &mut Incoming) -> Option<Update> {
        match incoming.poll_next(&context()) {
            Poll::Ready(update) => update,
            Poll::Pending => None,
        }
    }

    fn message() -> Text {
        "{}".to_owned().into()
    }

    #[test]
    fn updates_come_in_order_until_the_end() {
        let (mut outgoing, mut incoming) = updates();
        assert!(incoming.poll_next(&context()).is_pending());
        outgoing.push(Update::Connected, 0);
        outgoing.push_message(message(), 2);
        outgoing.push_message("[]".to_owned().into(), 2);
        outgoing.push(
            Update::Closed {
                reason: CloseReason::GaveUp {
                    why: GaveUp::Time,
                    cause: Cause::NoPong,
                },
                detail: None,
                unsent: 0,
            },
            0,
        );
        outgoing.updates().finish();
        assert_eq!(take(&mut incoming), Some(Update::Connected));
        assert_eq!(take(&mut incoming), Some(Update::Message(message())));
        assert_eq!(
            take(&mut incoming),
            Some(Update::Message("[]".to_owned().into()))
        );
        assert!(matches!(take(&mut incoming), Some(Update::Closed { .. })));
        assert_eq!(incoming.poll_next(&context()), Poll::Ready(None));
    }

    #[test]
    fn room_is_bounded_by_count() {
        let (mut outgoing, mut incoming) = updates();
        for known in [true, false] {
            for _ in 0..MAX_WAITING {
                assert!(outgoing.poll_room(&context()));
                if known {
                    outgoing.push(Update::Connected, 0);
                } else {
                    outgoing.push_message(message(), 0);
                }
            }
            assert!(!outgoing.poll_room(&context()));
            // The client takes all of them at once, and gets them one by one.
            for _ in 0..MAX_WAITING {
                assert!(take(&mut incoming).is_some());
                assert!(outgoing.poll_room(&context()));
            }
            assert!(incoming.poll_next(&context()).is_pending());
        }
    }

    #[test]
    fn room_is_bounded_by_bytes() {
        let (mut outgoing, mut incoming) = updates();
        for (each, expected) in [
            (MAX_WAITING_BYTES, 1),
            (MAX_WAITING_BYTES - 1, 2),
            (MAX_BATCH_BYTES, MAX_WAITING_BYTES / MAX_BATCH_BYTES),
        ] {
            let mut count = 0;
            while outgoing.poll_room(&context()) {
                outgoing.push_message(message(), each);
                count += 1;
            }
            assert_eq!(count, expected);
            while take(&mut incoming).is_some() {}
        }
    }

    #[test]
    fn a_message_is_known_when_it_is_flushed_or_there_are_many_bytes() {
        let (mut outgoing, mut incoming) = updates();
        assert!(outgoing.poll_room(&context()));
        outgoing.push_message(message(), MAX_BATCH_BYTES - 1);
        assert!(outgoing.poll_room(&context()));
        assert!(incoming.poll_next(&context()).is_pending());
        outgoing.flush();
        assert!(take(&mut incoming).is_some());
        outgoing.push_message(message(), MAX_BATCH_BYTES);
        assert!(outgoing.poll_room(&context()));
        assert!(take(&mut incoming).is_some());
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_side_is_woken_by_the_other() {
        let ((mut outgoing, mut incoming), woken) = (updates(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let context = &mut Context::from_waker(&waker);
        let count = || woken.0.load(Ordering::Relaxed);
        for _ in 0..MAX_WAITING {
            outgoing.push(Update::Connected, 0);
        }
        assert!(!outgoing.poll_room(context));
        take(&mut incoming);
        assert_eq!(count(), 1);
        while take(&mut incoming).is_some() {}
        assert_eq!(count(), 1);
        outgoing.push_message(message(), MAX_WAITING_BYTES);
        assert!(!outgoing.poll_room(context));
        take(&mut incoming);
        assert_eq!(count(), 2);
        assert!(incoming.poll_next(context).is_pending());
        outgoing.push(Update::Connected, 0);
        assert_eq!(count(), 3);
        take(&mut incoming);
        assert!(incoming.poll_next(context).is_pending());
        outgoing.push_message(message(), 2);
        outgoing.push_message(message(), 2);
        assert_eq!(count(), 3);
        outgoing.flush();
        outgoing.flush();
        assert_eq!(count(), 4);
        while take(&mut incoming).is_some() {}
        assert!(incoming.poll_next(context).is_pending());
        outgoing.updates().finish();
        assert_eq!(count(), 5);
        assert!(!outgoing.poll_abandoned(context));
        incoming.abandon();
        assert_eq!(count(), 6);
        assert!(outgoing.poll_abandoned(context));
    }

    #[test]
    fn a_connection_that_comes_and_goes_fills_nothing() {
        let (mut outgoing, mut incoming) = updates();
        for _ in 0..MAX_WAITING {
            outgoing.push_message(message(), 0);
        }
        for attempt in 1..1_000 {
            outgoing.push(reconnecting(attempt), 0);
            outgoing.push(Update::Connected, 0);
        }
        for _ in 0..MAX_WAITING {
            assert_eq!(take(&mut incoming), Some(Update::Message(message())));
        }
        assert_eq!(take(&mut incoming), Some(reconnecting(999)));
        assert_eq!(take(&mut incoming), Some(Update::Connected));
        assert!(incoming.poll_next(&context()).is_pending());
    }
}
