//! The mailbox and the gate under every interleaving that loom can tell apart.
//!
//! ```text
//! RUSTFLAGS="--cfg hallway_loom" LOOM_MAX_PREEMPTIONS=2 \
//!     cargo test -p hallway-proofs --release --test loom --target-dir target/loom
//! ```
//!
//! Without `LOOM_MAX_PREEMPTIONS` the search is complete, but for the models that say
//! otherwise. With `--nocapture` each model prints its number of executions.
#![cfg(hallway_loom)]

mod seeded;

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hallway_core::local::inbox::{Entry, EntryId, Full, Peer};
use hallway_core::local::message::Message;
use hallway_core::mailbox::{Gate, Mailbox, Rejected};
use hallway_core::{Limits, LimitsBuilder, UnixTime};
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

const PEER: Peer = Peer { uid: 1, pid: 2 };

/// What the models ask of a mailbox, so that seeded bugs run through the same ones.
trait Post: Send + Sync + 'static {
    fn push(&self) -> Result<EntryId, Rejected>;
    fn poll(&self, context: &mut Context<'_>) -> Poll<bool>;
    fn pop(&self) -> Option<Entry>;
    fn drain(&self) -> Vec<Entry>;
    fn close(&self);
    fn size(&self) -> (usize, usize);
}

impl Post for Mailbox {
    fn push(&self) -> Result<EntryId, Rejected> {
        let message = Message::parse(b"{}", &Limits::DEFAULT).expect("it is a message");
        Self::push(self, message.kept(), PEER, UnixTime::EPOCH)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.poll_pending(None, context)
    }

    fn pop(&self) -> Option<Entry> {
        self.pop()
    }

    fn drain(&self) -> Vec<Entry> {
        self.drain()
    }

    fn close(&self) {
        self.close();
    }

    fn size(&self) -> (usize, usize) {
        self.size()
    }
}

fn limits(builder: LimitsBuilder) -> Limits {
    builder.build().expect("the limits are within their ranges")
}

fn entries(most: usize) -> Limits {
    limits(Limits::builder().max_inbox_entries(most))
}

/// Runs `model` in every interleaving, with at most `preemptions` if it is given, and says how
/// many those were.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let runs = std::sync::Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let bound = builder.preemption_bound;
    let start = std::time::Instant::now();
    builder.check(move || {
        runs.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let runs = count.load(Ordering::Relaxed);
    println!(
        "{name}: {runs} executions, preemptions {bound:?}, {:.1?}",
        start.elapsed()
    );
    assert!(runs > 1, "{name} has one interleaving");
}

/// The one consumer: takes what there is until the mailbox is closed and empty.
fn consume<P: Post>(post: &P, step: fn(&P) -> Vec<Entry>) -> Vec<u64> {
    let mut ids = Vec::new();
    while block_on(poll_fn(|context| post.poll(context))) {
        ids.extend(step(post).iter().map(|entry| entry.id().get()));
    }
    ids
}

fn one<P: Post>(post: &P) -> Vec<Entry> {
    post.pop().into_iter().collect()
}

/// `producers` push `each` message and the last of them closes; the consumer gets all of them,
/// once and in order, and does not sleep through any.
fn all_arrive<P: Post>(post: P, producers: usize, each: usize, step: fn(&P) -> Vec<Entry>) {
    let post = Arc::new(post);
    let left = Arc::new(loom::sync::atomic::AtomicUsize::new(producers));
    for _ in 0..producers {
        let (post, left) = (Arc::clone(&post), Arc::clone(&left));
        thread::spawn(move || {
            for _ in 0..each {
                post.push().expect("there is room");
            }
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                post.close();
            }
        });
    }
    let all = u64::try_from(producers * each).expect("a few");
    let ids = consume(&*post, step);
    assert!(ids.iter().copied().eq(1..=all), "{ids:?}");
    assert_eq!(post.size(), (0, 0));
}

/// `producers` push `each` message and nobody closes: the consumer gets all of them, once and
/// in order, and does not sleep through any.
fn all_wake<P: Post>(post: P, producers: usize, each: usize) {
    let post = Arc::new(post);
    for _ in 0..producers {
        let post = Arc::clone(&post);
        thread::spawn(move || {
            for _ in 0..each {
                post.push().expect("there is room");
            }
        });
    }
    let mut ids = Vec::new();
    while ids.len() < producers * each {
        assert!(
            block_on(poll_fn(|context| post.poll(context))),
            "nobody closed it"
        );
        ids.extend(post.drain().iter().map(|entry| entry.id().get()));
    }
    assert!(
        ids.iter().zip(1..).all(|(id, place)| *id == place),
        "{ids:?}"
    );
    assert_eq!(post.size(), (0, 0));
}

/// A push, a close and a drain at once: what was accepted comes out, what was not does not,
/// and the consumer learns of the end.
fn closes<P: Post>(post: P) {
    let post = Arc::new(post);
    let pusher = Arc::clone(&post);
    let pushed = thread::spawn(move || pusher.push());
    let closer = Arc::clone(&post);
    thread::spawn(move || closer.close());
    let ids = consume(&*post, P::drain);
    let pushed = pushed.join().expect("it does not panic");
    match pushed {
        Ok(id) => assert_eq!(ids, [id.get()]),
        Err(rejected) => {
            assert_eq!(rejected, Rejected::Closed);
            assert!(ids.is_empty());
        }
    }
    assert_eq!((post.size(), post.push()), ((0, 0), Err(Rejected::Closed)));
}

/// Two pushes and a pop into a mailbox for one: never more than one entry, refusals only while
/// it is full, and exact counts at rest.
fn is_bounded<P: Post>(post: P) {
    let post = Arc::new(post);
    let pushers = [(); 2].map(|()| {
        let post = Arc::clone(&post);
        thread::spawn(move || {
            let pushed = post.push();
            assert!(post.size().0 <= 1, "{:?}", post.size());
            assert!(matches!(pushed, Ok(_) | Err(Rejected::Full(Full::Entries))));
            usize::from(pushed.is_ok())
        })
    });
    let popped = usize::from(post.pop().is_some());
    assert!(post.size().0 <= 1);
    let pushed = pushers.map(|pusher| pusher.join().expect("it does not panic"));
    let pushed: usize = pushed.into_iter().sum();
    assert!(
        pushed >= 1 && pushed <= 1 + popped,
        "{pushed} pushed, {popped} popped"
    );
    let rest = pushed - popped;
    assert_eq!(post.size(), (rest, rest * 2));
    assert_eq!(post.drain().len(), rest);
}

/// Two drains and a push at once: each message comes out once.
fn drains_once<P: Post>(post: P) {
    let post = Arc::new(post);
    post.push().expect("there is room");
    let pusher = Arc::clone(&post);
    let pushed = thread::spawn(move || pusher.push().is_ok());
    let drainer = Arc::clone(&post);
    let drained = thread::spawn(move || drainer.drain());
    let mut entries = post.drain();
    entries.extend(drained.join().expect("it does not panic"));
    assert!(pushed.join().expect("it does not panic"));
    entries.extend(post.drain());
    let mut ids: Vec<u64> = entries.iter().map(|entry| entry.id().get()).collect();
    ids.sort_unstable();
    assert_eq!((ids.as_slice(), post.size()), (&[1, 2][..], (0, 0)));
}

#[test]
fn one_producer_of_three() {
    explore("1 x 3", None, || {
        all_wake(Mailbox::new(&Limits::DEFAULT), 1, 3)
    });
}

#[test]
fn two_producers_of_one() {
    explore("2 x 1", None, || {
        all_wake(Mailbox::new(&Limits::DEFAULT), 2, 1)
    });
}

#[test]
fn two_producers_of_two() {
    explore("2 x 2", Some(3), || {
        all_wake(Mailbox::new(&Limits::DEFAULT), 2, 2)
    });
}

#[test]
fn three_producers_of_one() {
    explore("3 x 1", Some(3), || {
        all_wake(Mailbox::new(&Limits::DEFAULT), 3, 1)
    });
}

#[test]
fn one_producer_that_closes() {
    let model = || all_arrive(Mailbox::new(&Limits::DEFAULT), 1, 2, one);
    explore("1 x 2 and close, popped", None, model);
}

#[test]
fn two_producers_that_close() {
    let model = || all_arrive(Mailbox::new(&Limits::DEFAULT), 2, 1, Mailbox::drain);
    explore("2 x 1 and close", Some(3), model);
}

#[test]
fn close_against_push_against_drain() {
    explore("close, push, drain", None, || {
        closes(Mailbox::new(&Limits::DEFAULT))
    });
}

#[test]
fn one_place_for_two() {
    explore("2 pushes, 1 place", None, || {
        is_bounded(Mailbox::new(&entries(1)))
    });
}

#[test]
fn two_drains() {
    explore("2 drains, 1 push", None, || {
        drains_once(Mailbox::new(&Limits::DEFAULT))
    });
}

#[test]
fn processing_leaves_what_was_not_seen() {
    explore("mark_processed, push", None, || {
        let mailbox = Arc::new(Mailbox::new(&Limits::DEFAULT));
        let first = Post::push(&*mailbox).expect("there is room");
        let pusher = Arc::clone(&mailbox);
        let pushed = thread::spawn(move || Post::push(&*pusher).expect("there is room"));
        assert_eq!(mailbox.mark_processed(first), 1);
        let second = pushed.join().expect("it does not panic");
        let mut seen = Vec::new();
        mailbox.peek(None, |entry| {
            seen.push(entry.id());
            true
        });
        assert_eq!((seen, mailbox.size()), (vec![second], (1, 2)));
    });
}

/// Two clients come at once to a gate for `places`; each that is served authenticates and
/// goes, or was evicted by the other; all places are free in the end.
fn gate_is_given_back(places: usize, lingering: usize) {
    let builder = Limits::builder()
        .max_clients(places)
        .max_unauthenticated_clients(places)
        .max_refused_clients(lingering);
    let gate = Arc::new(Gate::new(&limits(builder)));
    let clients = [1, 2].map(|peer| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || match gate.admit(peer) {
            Ok(admitted) => {
                assert!(gate.served() <= places);
                gate.handle_authenticated(admitted.id);
                gate.release(admitted.id);
            }
            Err(refused) => {
                assert!(gate.refused() <= lingering);
                refused.id.into_iter().for_each(|id| gate.release(id));
            }
        })
    });
    for client in clients {
        client.join().expect("it does not panic");
    }
    assert_eq!(
        (gate.served(), gate.unauthenticated(), gate.refused()),
        (0, 0, 0)
    );
}

#[test]
fn one_place_at_the_gate() {
    explore("gate, 1 place", None, || gate_is_given_back(1, 1));
}

#[test]
fn two_places_at_the_gate() {
    explore("gate, 2 places", None, || gate_is_given_back(2, 1));
}
