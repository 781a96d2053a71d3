//! Mailboxes with a bug each, and none: the models of the production mailbox find every bug.
//!
//! A deadlock that loom finds panics twice and aborts, so each bug runs in a process of its
//! own, as an ignored test of this very binary.

use std::process::Command;
use std::task::{Context, Poll, Waker};

use hallway_core::local::inbox::{Entry, EntryId, Inbox};
use hallway_core::local::message::Message;
use hallway_core::mailbox::Rejected;
use hallway_core::{Limits, UnixTime};
use loom::sync::{Mutex, MutexGuard};

use super::{PEER, Post, all_arrive, all_wake, closes, drains_once, entries, explore, is_bounded};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A push wakes nobody.
    SilentPush,
    /// A close wakes nobody.
    SilentClose,
    /// The consumer is registered after the lock was given up and taken again.
    LateRegistration,
    /// A push after the close is accepted.
    OpenAfterClose,
    /// Room is checked under one lock and used under another.
    CheckThenPush,
    /// A drain copies under one lock and clears under another.
    CopyThenClear,
}

struct Seeded {
    bug: Bug,
    shared: Mutex<Shared>,
    most: usize,
}

struct Shared {
    inbox: Inbox,
    consumer: Option<Waker>,
    closed: bool,
}

impl Seeded {
    fn new(bug: Bug, most: usize) -> Self {
        let roomy = if bug == Bug::CheckThenPush { 9 } else { most };
        let shared = Shared {
            inbox: Inbox::new(&entries(roomy)),
            consumer: None,
            closed: false,
        };
        Self {
            bug,
            shared: Mutex::new(shared),
            most,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic under the lock")
    }

    fn wake(mut shared: MutexGuard<'_, Shared>) {
        let consumer = shared.consumer.take();
        drop(shared);
        consumer.into_iter().for_each(Waker::wake);
    }
}

impl Post for Seeded {
    fn push(&self) -> Result<EntryId, Rejected> {
        let message = Message::parse(b"{}", &Limits::DEFAULT).expect("it is a message");
        if self.bug == Bug::CheckThenPush && self.lock().inbox.len() >= self.most {
            return Err(Rejected::Full(hallway_core::local::Full::Entries));
        }
        let mut shared = self.lock();
        if shared.closed && self.bug != Bug::OpenAfterClose {
            return Err(Rejected::Closed);
        }
        let pushed = shared.inbox.push(message.kept(), PEER, UnixTime::EPOCH);
        let id = pushed.map_err(Rejected::Full)?;
        if self.bug != Bug::SilentPush {
            Self::wake(shared);
        }
        Ok(id)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut shared = self.lock();
        if !shared.inbox.is_empty() {
            return Poll::Ready(true);
        }
        if shared.closed {
            return Poll::Ready(false);
        }
        if self.bug == Bug::LateRegistration {
            drop(shared);
            shared = self.lock();
        }
        shared.consumer = Some(context.waker().clone());
        Poll::Pending
    }

    fn pop(&self) -> Option<Entry> {
        self.lock().inbox.pop()
    }

    fn drain(&self) -> Vec<Entry> {
        let mut shared = self.lock();
        if self.bug == Bug::CopyThenClear {
            let copied = shared.inbox.pending(None).cloned().collect();
            drop(shared);
            shared = self.lock();
            while shared.inbox.pop().is_some() {}
            return copied;
        }
        std::iter::from_fn(|| shared.inbox.pop()).collect()
    }

    fn close(&self) {
        let mut shared = self.lock();
        shared.closed = true;
        if self.bug != Bug::SilentClose {
            Self::wake(shared);
        }
    }

    fn size(&self) -> (usize, usize) {
        let shared = self.lock();
        (shared.inbox.len(), shared.inbox.bytes())
    }
}

fn arrives(bug: Bug) {
    explore("seeded", Some(2), move || {
        all_arrive(Seeded::new(bug, 9), 1, 2, Seeded::drain);
    });
}

/// Each bug under the model that is to find it.
macro_rules! bugs {
    ($($name:ident: $model:expr;)*) => {
        /// The bugs themselves: each test fails, when it is asked to run.
        mod bug {
            use super::*;

            $(#[test]
            #[ignore = "fails by intent; run by finds_every_bug"]
            fn $name() {
                $model
            })*
        }

        const BUGS: &[&str] = &[$(stringify!($name)),*];
    };
}

bugs! {
    silent_push: explore("seeded", Some(2), || all_wake(Seeded::new(Bug::SilentPush, 9), 1, 1));
    silent_close: arrives(Bug::SilentClose);
    late_registration: arrives(Bug::LateRegistration);
    open_after_close: explore("seeded", Some(2), || closes(Seeded::new(Bug::OpenAfterClose, 9)));
    check_then_push: explore("seeded", Some(2), || is_bounded(Seeded::new(Bug::CheckThenPush, 1)));
    copy_then_clear: explore("seeded", Some(2), || drains_once(Seeded::new(Bug::CopyThenClear, 9)));
}

#[test]
fn finds_every_bug() {
    let exe = std::env::current_exe().expect("a test has a path");
    for bug in BUGS {
        let name = format!("seeded::bug::{bug}");
        let mut command = Command::new(&exe);
        command.args([
            "--exact",
            &name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test"), "{bug} is no test: {said}");
        assert!(!output.status.success(), "{bug} was not found");
    }
}

#[test]
fn finds_nothing_where_there_is_no_bug() {
    arrives(Bug::None);
    explore("no bug: wake", Some(2), || {
        all_wake(Seeded::new(Bug::None, 9), 1, 1)
    });
    explore("no bug: close", Some(2), || {
        closes(Seeded::new(Bug::None, 9))
    });
    explore("no bug: bound", Some(2), || {
        is_bounded(Seeded::new(Bug::None, 1))
    });
    explore("no bug: drain", Some(2), || {
        drains_once(Seeded::new(Bug::None, 9))
    });
}
