//! What tasks share: the mailbox, into which many connections push and from which one consumer
//! takes, and the gate, through which new connections come.
//!
//! Both are a lock around a pure machine ([`Inbox`], [`Admission`]); the lock is held for one
//! transition at a time and never while a waker runs. Under `--cfg hallway_loom` the lock is
//! loom's, under `--cfg hallway_shuttle` shuttle's.

use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

#[cfg(hallway_loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(hallway_shuttle)]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(any(hallway_loom, hallway_shuttle)))]
use std::sync::{Mutex, MutexGuard};

use std::sync::PoisonError;

use crate::admission::{Admission, Admitted, ClientId, Refused};
use crate::limits::Limits;
use crate::local::inbox::{Entry, EntryId, Full, Inbox, Peer};
use crate::local::message::Kept;
use crate::time::UnixTime;

/// Why a mailbox took no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// The inbox is full.
    Full(Full),
    /// Nobody will read it any more.
    Closed,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => full.fmt(f),
            Self::Closed => f.write_str("the mailbox is closed"),
        }
    }
}

impl core::error::Error for Rejected {}

/// An [`Inbox`] that many tasks push into and one consumer reads.
#[derive(Debug)]
pub struct Mailbox(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    consumer: Option<Waker>,
    closed: bool,
}

impl Mailbox {
    /// An open mailbox around an empty inbox.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Mutex::new(Shared {
            inbox: Inbox::new(limits),
            consumer: None,
            closed: false,
        }))
    }

    /// Keeps a message and wakes the consumer.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; the mailbox is unchanged and no id is used up.
    pub fn push(&self, kept: Kept<'_>, peer: Peer, now: UnixTime) -> Result<EntryId, Rejected> {
        let mut shared = self.lock();
        if shared.closed {
            return Err(Rejected::Closed);
        }
        let id = shared.inbox.push(kept, peer, now).map_err(Rejected::Full)?;
        shared.release_and_wake();
        Ok(id)
    }

    /// Waits for an entry after `seen` (any, for `None`). Ready with `true` when there is one,
    /// with `false` when the mailbox is closed and there is none.
    ///
    /// Only the last context polled with is woken: there is one consumer.
    pub fn poll_pending(&self, seen: Option<EntryId>, context: &mut Context<'_>) -> Poll<bool> {
        let mut shared = self.lock();
        if shared.inbox.pending(seen).next().is_some() {
            return Poll::Ready(true);
        }
        if shared.closed {
            return Poll::Ready(false);
        }
        match &mut shared.consumer {
            Some(waker) => waker.clone_from(context.waker()),
            none @ None => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Removes and returns the oldest entry, if there is one.
    pub fn pop(&self) -> Option<Entry> {
        self.lock().inbox.pop()
    }

    /// Removes and returns all entries, first in first out.
    pub fn drain(&self) -> Vec<Entry> {
        let mut shared = self.lock();
        let mut entries = Vec::with_capacity(shared.inbox.len());
        while let Some(entry) = shared.inbox.pop() {
            entries.push(entry);
        }
        entries
    }

    /// Shows the entries after `seen`, oldest first, to `visit` until it returns `false`; they
    /// stay. `visit` runs under the lock and must not call the mailbox.
    pub fn peek(&self, seen: Option<EntryId>, mut visit: impl FnMut(&Entry) -> bool) {
        let shared = self.lock();
        for entry in shared.inbox.pending(seen) {
            if !visit(entry) {
                break;
            }
        }
    }

    /// Removes the entries up to and including `id`, and says how many those were.
    pub fn mark_processed(&self, id: EntryId) -> usize {
        self.lock().inbox.mark_processed(id)
    }

    /// Refuses all further messages and wakes the consumer. What is there can still be taken.
    pub fn close(&self) {
        let mut shared = self.lock();
        shared.closed = true;
        shared.release_and_wake();
    }

    /// Whether more than half of what the inbox may hold is used, in entries or in bytes.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.lock().inbox.is_crowded()
    }

    /// How many entries are pending, and how many bytes they keep.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let shared = self.lock();
        (shared.inbox.len(), shared.inbox.bytes())
    }

    fn lock(&self) -> Guard<'_> {
        // A panic of another task cannot have left a machine between two states: none of their
        // transitions panics.
        Guard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The lock on a mailbox, held.
struct Guard<'a>(MutexGuard<'a, Shared>);

impl Guard<'_> {
    /// Unlocks first: a waker may poll at once, on this very thread.
    fn release_and_wake(mut self) {
        let consumer = self.0.consumer.take();
        drop(self);
        if let Some(waker) = consumer {
            waker.wake();
        }
    }
}

impl core::ops::Deref for Guard<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl core::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        &mut self.0
    }
}

/// An [`Admission`] that tasks share.
#[derive(Debug)]
pub struct Gate(Mutex<Admission>);

impl Gate {
    /// A gate that nobody has passed.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Mutex::new(Admission::new(limits)))
    }

    /// See [`Admission::admit`].
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no place.
    pub fn admit(&self, peer: u32) -> Result<Admitted, Refused> {
        self.lock().admit(peer)
    }

    /// See [`Admission::handle_authenticated`].
    pub fn handle_authenticated(&self, id: ClientId) {
        self.lock().handle_authenticated(id);
    }

    /// See [`Admission::release`].
    pub fn release(&self, id: ClientId) {
        self.lock().release(id);
    }

    /// How many clients are being served.
    #[must_use]
    pub fn served(&self) -> usize {
        self.lock().served()
    }

    /// How many of them have not authenticated.
    #[must_use]
    pub fn unauthenticated(&self) -> usize {
        self.lock().unauthenticated()
    }

    /// How many refused clients are being kept until they have read why.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.lock().refused()
    }

    fn lock(&self) -> MutexGuard<'_, Admission> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(any(hallway_loom, hallway_shuttle)))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::message::Message;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use core::sync::atomic::{AtomicUsize, Ordering};

    const PEER: Peer = Peer { uid: 0, pid: 1 };

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn push(mailbox: &Mailbox) -> Result<EntryId, Rejected> {
        let message = Message::parse(b"{}", &Limits::DEFAULT).unwrap();
        mailbox.push(message.kept(), PEER, UnixTime::EPOCH)
    }

    #[test]
    fn a_waiting_consumer_is_woken_once_by_a_push_or_the_end() {
        let mailbox = Mailbox::new(&Limits::DEFAULT);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        assert_eq!(mailbox.poll_pending(None, &mut context), Poll::Pending);
        assert_eq!(mailbox.poll_pending(None, &mut context), Poll::Pending);
        let first = push(&mailbox).unwrap();
        push(&mailbox).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(mailbox.poll_pending(None, &mut context), Poll::Ready(true));
        assert_eq!(
            mailbox.poll_pending(Some(first), &mut context),
            Poll::Ready(true)
        );
        let second = EntryId::parse("uds-2");
        assert_eq!(mailbox.poll_pending(second, &mut context), Poll::Pending);
        mailbox.close();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
        assert_eq!(mailbox.poll_pending(None, &mut context), Poll::Ready(true));
        assert_eq!(
            mailbox.poll_pending(second, &mut context),
            Poll::Ready(false)
        );
    }

    #[test]
    fn the_last_context_polled_with_is_the_one_that_is_woken() {
        let mailbox = Mailbox::new(&Limits::DEFAULT);
        let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
        for each in &wakes {
            let waker = Waker::from(each.clone());
            let poll = mailbox.poll_pending(None, &mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Pending);
        }
        push(&mailbox).unwrap();
        assert_eq!(wakes.map(|each| each.0.load(Ordering::SeqCst)), [0, 1]);
    }

    /// Covers: L3.32
    #[test]
    fn entries_are_peeked_processed_popped_and_drained() {
        let mailbox = Mailbox::new(&Limits::DEFAULT);
        let ids: Vec<_> = (0..5).map(|_| push(&mailbox).unwrap()).collect();
        assert_eq!(mailbox.size(), (5, 10));
        assert!(!mailbox.is_crowded());
        let mut seen = Vec::new();
        mailbox.peek(Some(ids[0]), |entry| {
            seen.push(entry.id());
            seen.len() < 2
        });
        assert_eq!(seen, ids[1..3]);
        assert_eq!(mailbox.mark_processed(ids[1]), 2);
        assert_eq!(mailbox.pop().map(|entry| entry.id()), Some(ids[2]));
        let rest: Vec<_> = mailbox.drain().iter().map(Entry::id).collect();
        assert_eq!(rest, ids[3..]);
        assert_eq!(mailbox.size(), (0, 0));
    }

    #[test]
    fn refusals_say_why() {
        let mailbox = Mailbox::new(&Limits::builder().max_inbox_entries(1).build().unwrap());
        push(&mailbox).unwrap();
        assert_eq!(push(&mailbox), Err(Rejected::Full(Full::Entries)));
        mailbox.close();
        assert_eq!(push(&mailbox), Err(Rejected::Closed));
        assert!(
            alloc::format!("{} {}", Rejected::Closed, Rejected::Full(Full::Bytes))
                .contains("closed")
        );
        assert_eq!(mailbox.drain().len(), 1);
    }

    #[test]
    fn the_gate_is_the_admission_book() {
        let gate = Gate::new(
            &Limits::builder()
                .max_clients(1)
                .max_unauthenticated_clients(1)
                .build()
                .unwrap(),
        );
        let first = gate.admit(1).unwrap().id;
        assert_eq!(
            (gate.served(), gate.unauthenticated(), gate.refused()),
            (1, 1, 0)
        );
        gate.handle_authenticated(first);
        assert_eq!(gate.unauthenticated(), 0);
        let refused = gate.admit(2).unwrap_err();
        assert_eq!(gate.refused(), 1);
        gate.release(refused.id.unwrap());
        gate.release(first);
        assert_eq!((gate.served(), gate.refused()), (0, 0));
    }
}
