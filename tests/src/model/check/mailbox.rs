use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hallway_core::local::inbox::{Entry, EntryId, Peer};
use hallway_core::mailbox::{Mailbox, Rejected};
use hallway_core::{Limits, UnixTime};

use super::inbox::{check_entry, check_reason, entry_id, message};
use super::plan;
use crate::model::conversation::Store;
use crate::model::generate;
use crate::model::source::Source;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A mailbox is the model's store, and wakes the consumer that waits: once, for a message that
/// it took or for the end, and the one that asked last. Closed, it takes nothing ever again and
/// gives what it has.
///
/// # Panics
///
/// When it is not so.
pub fn check_mailbox(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let limits = generate::limits(&mut plan);
    let mut pair = Pair {
        mailbox: Mailbox::new(&limits),
        limits,
        store: Store::default(),
        closed: false,
        wakes: Default::default(),
        waiting: None,
        woken: [0; 2],
    };
    while !source.is_empty() {
        pair.step(&mut source);
        pair.agree();
    }
}

struct Pair {
    mailbox: Mailbox,
    limits: Limits,
    store: Store,
    closed: bool,
    /// Two consumers, of which one waits at most, and how often each has to have been woken.
    wakes: [Arc<Wakes>; 2],
    waiting: Option<usize>,
    woken: [usize; 2],
}

impl Pair {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(12) {
            0..4 => self.push(source),
            4..7 => self.poll(source),
            7 => {
                let popped = self.mailbox.pop();
                self.removed(popped.as_slice());
            }
            8 => {
                let drained = self.mailbox.drain();
                assert_eq!(drained.len(), self.store.pending().len());
                self.removed(&drained);
            }
            9 => {
                let id = 1 + source.below(self.store.taken.len() + 2);
                let removed = id
                    .min(self.store.taken.len())
                    .saturating_sub(self.store.removed);
                assert_eq!(self.mailbox.mark_processed(entry_id(id)), removed);
                self.store.removed += removed;
            }
            10 => self.peek(source),
            _ if source.once_in(3) => {
                self.mailbox.close();
                self.closed = true;
                self.wake();
            }
            _ => {}
        }
    }

    fn push(&mut self, source: &mut Source<'_>) {
        let pid = source.pick(&[1, 2]);
        let (kept, text) = message(source.pick(&[11, 250, 600]));
        let found = self
            .mailbox
            .push(kept, Peer { uid: 1_000, pid }, UnixTime::EPOCH);
        if self.closed {
            assert_eq!(found, Err(Rejected::Closed), "closed stays closed");
            return;
        }
        let expected = self.store.push(text, pid, &self.limits);
        match found {
            Ok(id) => {
                assert_eq!(Some(id.get()), expected);
                self.wake();
            }
            Err(Rejected::Full(full)) => {
                assert_eq!(expected, None);
                check_reason(full, kept.len(), pid, &self.limits, &self.store);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn poll(&mut self, source: &mut Source<'_>) {
        let seen = source.below(self.store.taken.len() + 2);
        let who = source.below(2);
        let waker = Waker::from(self.wakes[who].clone());
        let known = (seen > 0).then(|| entry_id(seen));
        let found = self
            .mailbox
            .poll_pending(known, &mut Context::from_waker(&waker));
        let expected = if seen.max(self.store.removed) < self.store.taken.len() {
            Poll::Ready(true)
        } else if self.closed {
            Poll::Ready(false)
        } else {
            self.waiting = Some(who);
            Poll::Pending
        };
        assert_eq!(found, expected);
    }

    fn peek(&mut self, source: &mut Source<'_>) {
        let (seen, most) = (
            source.below(self.store.taken.len() + 2),
            1 + source.below(3),
        );
        let mut ids = Vec::new();
        self.mailbox
            .peek((seen > 0).then(|| entry_id(seen)), |entry: &Entry| {
                ids.push(entry.id());
                ids.len() < most
            });
        let first = seen.max(self.store.removed) + 1;
        let expected = (first..=self.store.taken.len()).map(entry_id);
        assert!(ids.iter().copied().eq(expected.take(most)));
    }

    /// These came out, first in first out.
    fn removed(&mut self, entries: &[Entry]) {
        assert!(entries.is_sorted_by_key(Entry::id));
        for entry in entries {
            self.store.removed += 1;
            check_entry(entry, self.store.removed, &self.store);
        }
    }

    fn wake(&mut self) {
        if let Some(who) = self.waiting.take() {
            self.woken[who] += 1;
        }
    }

    fn agree(&self) {
        let bytes = self.store.pending().iter().map(|entry| entry.0.len()).sum();
        let (entries, most) = (self.store.pending().len(), self.limits.max_inbox_entries());
        assert_eq!(self.mailbox.size(), (entries, bytes));
        let half = self.limits.max_inbox_bytes() / 2;
        assert_eq!(
            self.mailbox.is_crowded(),
            entries > most / 2 || bytes > half
        );
        let woken = [0, 1].map(|who: usize| self.wakes[who].0.load(Ordering::SeqCst));
        assert_eq!(woken, self.woken, "how often each consumer was woken");
        let mut first: Option<EntryId> = None;
        self.mailbox.peek(None, |entry| {
            first = Some(entry.id());
            false
        });
        assert_eq!(
            first,
            (entries > 0).then(|| entry_id(self.store.removed + 1))
        );
    }
}
