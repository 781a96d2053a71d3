//! What a subscription tells its client, and the bounded queue between their tasks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hallway_core::session::control::NotForwarded;
use hallway_core::session::event::{Cancelled, Cause, CloseReason};

/// How many updates wait for a slow consumer before the connection is no longer read from.
const MAX_WAITING: usize = 256;
/// How many bytes of messages they may hold before; the last one may exceed it.
const MAX_WAITING_BYTES: usize = 1_048_576;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// The connection is open.
    Connected,
    /// A message, as the server wrote it.
    Message(String),
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

impl Update {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message)
            | Self::Request { message, .. }
            | Self::RequestRefused { message, .. }
            | Self::RequestCancelled {
                message: Some(message),
                ..
            } => message.len(),
            Self::RequestCancelled { request_id, .. } | Self::Sent { request_id } => {
                request_id.len()
            }
            Self::Connected
            | Self::Ignored { .. }
            | Self::Reconnecting { .. }
            | Self::Closed { .. } => 0,
        }
    }
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Update>,
    bytes: usize,
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

impl Updates {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            waiting: VecDeque::new(),
            bytes: 0,
            consumer: Waker::noop().clone(),
            producer: Waker::noop().clone(),
            finished: false,
            abandoned: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics; what a panic elsewhere has left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for what the server sends; if not, the task is woken when there
    /// is.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> bool {
        let mut inner = self.lock();
        let has_room = inner.waiting.len() < MAX_WAITING && inner.bytes < MAX_WAITING_BYTES;
        if !has_room {
            inner.producer.clone_from(context.waker());
        }
        has_room
    }

    /// Whether nobody takes updates any more; if not, the task is woken when that is so.
    pub(super) fn poll_abandoned(&self, context: &Context<'_>) -> bool {
        let mut inner = self.lock();
        inner.producer.clone_from(context.waker());
        inner.abandoned
    }

    /// Appends an update. What the server cannot cause at will may come beyond the bound; while
    /// there is no room, only the last state of the connection is kept.
    pub(super) fn push(&self, update: Update) {
        let mut inner = self.lock();
        if inner.waiting.len() >= MAX_WAITING && matches!(update, Update::Reconnecting { .. }) {
            inner.waiting.pop_back_if(|last| *last == Update::Connected);
            let is_state = |last: &mut Update| matches!(last, Update::Reconnecting { .. });
            inner.waiting.pop_back_if(is_state);
        }
        inner.bytes = inner.bytes.saturating_add(update.bytes());
        inner.waiting.push_back(update);
        let consumer = std::mem::replace(&mut inner.consumer, Waker::noop().clone());
        drop(inner);
        consumer.wake();
    }

    /// Says that no more updates come.
    pub(super) fn finish(&self) {
        let mut inner = self.lock();
        inner.finished = true;
        inner.consumer.wake_by_ref();
    }

    /// Says that nobody takes them any more.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.abandoned = true;
        inner.producer.wake_by_ref();
    }

    /// The next update; `None` when there is none left and no more come.
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Update>> {
        let mut inner = self.lock();
        let Some(update) = inner.waiting.pop_front() else {
            if inner.finished {
                return Poll::Ready(None);
            }
            inner.consumer.clone_from(context.waker());
            return Poll::Pending;
        };
        let was_full = inner.waiting.len() + 1 >= MAX_WAITING || inner.bytes >= MAX_WAITING_BYTES;
        inner.bytes = inner.bytes.saturating_sub(update.bytes());
        if was_full {
            inner.producer.wake_by_ref();
        }
        Poll::Ready(Some(update))
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

    fn take(updates: &Updates) -> Option<Update> {
        match updates.poll_next(&context()) {
            Poll::Ready(update) => update,
            Poll::Pending => None,
        }
    }

    #[test]
    fn updates_come_in_order_until_the_end() {
        let updates = Updates::new();
        assert!(updates.poll_next(&context()).is_pending());
        updates.push(Update::Connected);
        updates.push(Update::Message("{}".to_owned()));
        updates.push(Update::Closed {
            reason: CloseReason::GaveUp {
                why: GaveUp::Time,
                cause: Cause::NoPong,
            },
            detail: None,
            unsent: 0,
        });
        updates.finish();
        assert_eq!(take(&updates), Some(Update::Connected));
        assert_eq!(take(&updates), Some(Update::Message("{}".to_owned())));
        assert!(matches!(take(&updates), Some(Update::Closed { .. })));
        assert_eq!(updates.poll_next(&context()), Poll::Ready(None));
    }

    #[test]
    fn room_is_bounded_by_count_and_by_bytes() {
        let updates = Updates::new();
        for _ in 0..MAX_WAITING {
            assert!(updates.poll_room(&context()));
            updates.push(Update::Message(String::new()));
        }
        assert!(!updates.poll_room(&context()));
        take(&updates);
        assert!(updates.poll_room(&context()));

        let updates = Updates::new();
        updates.push(Update::Message("x".repeat(MAX_WAITING_BYTES)));
        assert!(!updates.poll_room(&context()));
        take(&updates);
        assert!(updates.poll_room(&context()));
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
        let (updates, woken) = (Updates::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let context = &mut Context::from_waker(&waker);
        let count = || woken.0.load(Ordering::Relaxed);
        for _ in 0..MAX_WAITING {
            updates.push(Update::Connected);
        }
        assert!(!updates.poll_room(context));
        take(&updates);
        assert_eq!(count(), 1);
        updates.push(Update::Message("x".repeat(MAX_WAITING_BYTES)));
        while updates.lock().waiting.len() > 1 {
            take(&updates);
        }
        assert!(!updates.poll_room(context));
        let before = count();
        take(&updates);
        assert_eq!(count(), before + 1);
        assert!(updates.poll_next(context).is_pending());
        updates.push(Update::Connected);
        assert_eq!(count(), before + 2);
        assert!(!updates.poll_abandoned(context));
        updates.abandon();
        assert_eq!(count(), before + 3);
        assert!(updates.poll_abandoned(context));
    }

    #[test]
    fn a_connection_that_comes_and_goes_fills_nothing() {
        let updates = Updates::new();
        for _ in 0..MAX_WAITING {
            updates.push(Update::Message(String::new()));
        }
        for attempt in 1..1_000 {
            updates.push(reconnecting(attempt));
            updates.push(Update::Connected);
        }
        assert_eq!(updates.lock().waiting.len(), MAX_WAITING + 2);
        for _ in 0..MAX_WAITING {
            assert_eq!(take(&updates), Some(Update::Message(String::new())));
        }
        assert_eq!(take(&updates), Some(reconnecting(999)));
        assert_eq!(take(&updates), Some(Update::Connected));
    }
}
