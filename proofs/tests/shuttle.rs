//! The mailbox and the gate with more threads than loom gets through, under schedules by chance.
//!
//! ```text
//! RUSTFLAGS="--cfg hallway_shuttle" HALLWAY_SCHEDULES=10000000 \
//!     cargo test -p hallway-proofs --release --test shuttle --target-dir target/shuttle
//! ```
#![cfg(hallway_shuttle)]

use std::future::poll_fn;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use hallway_core::local::inbox::{Entry, Full, Peer};
use hallway_core::local::message::Message;
use hallway_core::mailbox::{Gate, Mailbox, Rejected};
use hallway_core::{Limits, LimitsBuilder, UnixTime};
use shuttle::future::block_on;
use shuttle::sync::Arc;
use shuttle::thread;

const PEER: Peer = Peer { uid: 1, pid: 2 };
/// How many entries fit.
const PLACES: usize = 4;
const PRODUCERS: usize = 4;
const EACH: usize = 3;

fn limits(builder: LimitsBuilder) -> Limits {
    builder.build().expect("the limits are within their ranges")
}

/// A bug around the production mailbox, for the test that shows that the judgement can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The consumer's waker is forgotten.
    ForgetsWaker,
    /// Room is checked before the lock under which it is used.
    ChecksThenPushes,
    /// A drain copies under one lock and clears under another.
    CopiesThenClears,
}

struct Post {
    mailbox: Mailbox,
    bug: Option<Bug>,
}

impl Post {
    fn new(bug: Option<Bug>) -> Self {
        let roomy = bug == Some(Bug::ChecksThenPushes);
        let places = if roomy { 99 } else { PLACES };
        let mailbox = Mailbox::new(&limits(Limits::builder().max_inbox_entries(places)));
        Self { mailbox, bug }
    }

    fn push(&self) -> Result<u64, Rejected> {
        if self.bug == Some(Bug::ChecksThenPushes) && self.mailbox.size().0 >= PLACES {
            return Err(Rejected::Full(Full::Entries));
        }
        let message = Message::parse(b"{}", &Limits::DEFAULT).expect("it is a message");
        let pushed = self.mailbox.push(message.kept(), PEER, UnixTime::EPOCH);
        pushed.map(|id| id.get())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        if self.bug == Some(Bug::ForgetsWaker) {
            let mut nobody = Context::from_waker(Waker::noop());
            return self.mailbox.poll_pending(None, &mut nobody);
        }
        self.mailbox.poll_pending(None, context)
    }

    fn drain(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        if self.bug == Some(Bug::CopiesThenClears) {
            self.mailbox.peek(None, |entry| {
                ids.push(entry.id().get());
                true
            });
            self.mailbox.drain();
            return ids;
        }
        ids.extend(self.mailbox.drain().iter().map(|entry| entry.id().get()));
        ids
    }
}

/// Many producers, of whom the last closes, and a consumer that pops and drains: what was
/// accepted comes out once and in order, there is never more than fits, and the end is told.
fn all_arrive(bug: Option<Bug>) {
    let post = Arc::new(Post::new(bug));
    let left = Arc::new(shuttle::sync::atomic::AtomicUsize::new(PRODUCERS));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let (post, left) = (Arc::clone(&post), Arc::clone(&left));
            thread::spawn(move || {
                let mut accepted = Vec::new();
                for _ in 0..EACH {
                    match post.push() {
                        Ok(id) => accepted.push(id),
                        Err(why) => assert_eq!(why, Rejected::Full(Full::Entries)),
                    }
                    assert!(post.mailbox.size().0 <= PLACES, "too many are kept");
                }
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    post.mailbox.close();
                }
                accepted
            })
        })
        .collect();
    let mut ids = Vec::new();
    while block_on(poll_fn(|context| post.poll(context))) {
        ids.extend(
            post.mailbox
                .pop()
                .as_ref()
                .map(Entry::id)
                .map(|id| id.get()),
        );
        ids.extend(post.drain());
    }
    let joined = producers.into_iter().map(|producer| producer.join());
    let mut accepted: Vec<u64> = joined
        .flat_map(|accepted| accepted.expect("it does not panic"))
        .collect();
    accepted.sort_unstable();
    assert_eq!(ids, accepted, "accepted and received differ");
    assert_eq!(post.mailbox.size(), (0, 0));
    assert_eq!(post.push(), Err(Rejected::Closed));
}

/// More clients at a gate than it has places, each of whom authenticates, if it is served, and
/// goes: never more are served than there are places, and all are free in the end.
fn all_places_are_given_back() {
    let builder = Limits::builder()
        .max_clients(2)
        .max_unauthenticated_clients(1)
        .max_refused_clients(1);
    let gate = Arc::new(Gate::new(&limits(builder)));
    let clients: Vec<_> = (1..=5)
        .map(|peer| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || match gate.admit(peer) {
                Ok(admitted) => {
                    assert!(gate.served() <= 2 && gate.unauthenticated() <= 1);
                    gate.handle_authenticated(admitted.id);
                    gate.release(admitted.id);
                }
                Err(refused) => {
                    assert!(gate.refused() <= 1);
                    refused.id.into_iter().for_each(|id| gate.release(id));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("it does not panic");
    }
    let left = (gate.served(), gate.unauthenticated(), gate.refused());
    assert_eq!(left, (0, 0, 0));
}

/// Runs `model` under schedules by chance, of which half have few preemptions, and says how
/// many there were.
fn sample(name: &str, model: fn()) {
    let wanted = std::env::var("HALLWAY_SCHEDULES");
    let wanted = wanted.map_or(20_000, |text| text.parse().expect("a number"));
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let start = std::time::Instant::now();
    let counted = |count: &std::sync::Arc<AtomicUsize>| {
        let count = std::sync::Arc::clone(count);
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            model();
        }
    };
    shuttle::check_random(counted(&count), wanted / 2);
    shuttle::check_pct(counted(&count), wanted / 2, 3);
    let ran = count.load(Ordering::Relaxed);
    println!("{name}: {ran} schedules in {:.1?}", start.elapsed());
    assert_eq!(ran, wanted / 2 * 2);
}

#[test]
fn a_crowd_of_producers() {
    sample("4 x 3 into 4 places, popped and drained", || {
        all_arrive(None)
    });
}

#[test]
fn a_crowd_at_the_gate() {
    sample("5 clients at 2 places", all_places_are_given_back);
}

#[test]
fn every_bug_is_found() {
    for (bug, words) in [
        (Bug::ForgetsWaker, "deadlock"),
        (Bug::ChecksThenPushes, "too many are kept"),
        (Bug::CopiesThenClears, "accepted and received differ"),
    ] {
        let run = move || shuttle::check_random(move || all_arrive(Some(bug)), 20_000);
        let verdict = catch_unwind(run).expect_err("it is found");
        let said = verdict.downcast_ref::<String>().map(String::as_str);
        let said = said
            .or(verdict.downcast_ref::<&str>().copied())
            .unwrap_or_default();
        assert!(
            said.contains(words),
            "{bug:?} was found by accident: {said}"
        );
    }
}
