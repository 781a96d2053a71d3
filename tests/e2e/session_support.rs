//! What the tests of remote sessions share: a client of the library on a thread of its own, whose
//! updates the test takes one by one.

use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hallway::session::{
    AccessToken, Client, Connector, Endpoint, Handle, Settings, TokenSource, TransportOptions,
    Update,
};
use hallway_core::Instant;
use hallway_core::backoff::{Growth, Policy, PolicyBuilder, Schedule, Spread};
use hallway_core::session::event::{Action, Cause, CloseReason, DialFailure, Event};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Subscription;
use hallway_tests::PATIENCE;
use hallway_tests::session::follower::{ORGANIZATION, SESSION, TOKEN};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// Three retries, or two for a session that is not found, a millisecond apart. Nothing but
/// traffic is proof.
pub(crate) fn policy() -> Policy {
    let schedule = |max_retries| Schedule {
        max_retries,
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        growth: Growth::Constant,
        spread: Spread::None,
    };
    let day = Duration::from_secs(86_400);
    PolicyBuilder::from(Policy::RESILIENT)
        .transient(schedule(3))
        .not_found(schedule(2))
        .forced_delay(Duration::ZERO)
        .healthy_after(day)
        .settled_after(day)
        .give_up_after(day)
        .build()
        .unwrap()
}

/// [`policy`] and bounds that no test reaches by accident.
pub(crate) fn settings() -> Settings {
    let limits = Limits::builder()
        .dial_timeout(PATIENCE)
        .token_timeout(PATIENCE)
        .sleep_lateness(Duration::from_secs(3_600));
    Settings {
        limits: limits.build().unwrap(),
        policy: policy(),
        seed: Some(1),
        ..Settings::default()
    }
}

/// [`settings`] with other bounds.
pub(crate) fn bounded(
    bound: impl FnOnce(
        hallway_core::session::limits::LimitsBuilder,
    ) -> hallway_core::session::limits::LimitsBuilder,
) -> Settings {
    let usual = Limits::builder()
        .dial_timeout(PATIENCE)
        .token_timeout(PATIENCE)
        .sleep_lateness(Duration::from_secs(3_600));
    Settings {
        limits: bound(usual).build().unwrap(),
        ..settings()
    }
}

/// A client that follows; it is dropped with this.
pub(crate) struct Followed {
    updates: Receiver<Update>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    runtime: Runtime,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Followed {
    /// Follows at `base` with the usual token and [`settings`].
    pub(crate) fn at(base: &str) -> Self {
        Self::with(base, settings())
    }

    pub(crate) fn with(base: &str, settings: Settings) -> Self {
        let token = AccessToken::parse(TOKEN).unwrap();
        let options = TransportOptions::default();
        Self::start(base, &options, TokenSource::fixed(token), settings)
    }

    pub(crate) fn start(
        base: &str,
        options: &TransportOptions,
        tokens: TokenSource,
        settings: Settings,
    ) -> Self {
        let endpoint = Endpoint::new(base, SESSION, ORGANIZATION).unwrap();
        let connector = Connector::new(endpoint, options).unwrap();
        let (sender, updates) = channel();
        let (give, given) = channel();
        let (stop, mut stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut client = Client::start(connector, tokens, settings);
                give.send(client.handle().clone()).unwrap();
                loop {
                    tokio::select! {
                        update = client.next() => match update {
                            // A test that has seen enough takes no more.
                            Some(update) => drop(sender.send(update)),
                            None => break,
                        },
                        _ = &mut stopped => break,
                    }
                }
                client.close().await;
            });
        });
        Self {
            updates,
            handle: given.recv_timeout(PATIENCE).unwrap(),
            stop: Some(stop),
            thread: Some(thread),
            runtime: runtime(),
        }
    }

    /// The next update.
    #[track_caller]
    pub(crate) fn next(&self) -> Update {
        self.updates.recv_timeout(PATIENCE).expect("an update")
    }

    #[track_caller]
    pub(crate) fn connected(&self) {
        assert_eq!(self.next(), Update::Connected);
    }

    /// The attempt and the cause of the next update, which is to be `Reconnecting`.
    #[track_caller]
    pub(crate) fn reconnecting(&self) -> (u32, Cause) {
        match self.next() {
            Update::Reconnecting { attempt, cause, .. } => (attempt, cause),
            other => panic!("{other:?}"),
        }
    }

    /// The reason of the next update, which is to be the last one.
    #[track_caller]
    pub(crate) fn closed(&self) -> CloseReason {
        match self.next() {
            Update::Closed { reason, .. } => {
                assert!(self.updates.recv_timeout(PATIENCE).is_err(), "the last one");
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    /// The text of the next update, which is to be a message.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        match self.next() {
            Update::Message(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Has `work` done with the handle of the client.
    pub(crate) fn with_handle<T>(&self, work: impl AsyncFnOnce(&Handle) -> T) -> T {
        self.runtime.block_on(work(&self.handle))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            stop.send(()).unwrap_or_default();
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the client failed"
            );
        }
    }
}

/// How often the machine dials, and why it ends, when every connection comes up and is closed
/// with `code`, or every dial fails with `failure`.
pub(crate) fn by_the_machine(
    policy: Policy,
    code: Option<u16>,
    failure: Option<DialFailure>,
) -> (usize, CloseReason) {
    let mut machine = Subscription::new(&Limits::DEFAULT, policy, 1);
    let (mut now, mut dials) = (Instant::ORIGIN, 0);
    machine.connect(now);
    loop {
        while let Some(action) = machine.poll_action() {
            let Action::Dial(epoch) = action else {
                continue;
            };
            dials += 1;
            if let Some(failure) = failure {
                machine.handle_dial_failed(epoch, failure, now);
            } else {
                assert_eq!(machine.handle_opened(epoch, now), Some(Event::Connected));
                machine.handle_closed(epoch, code, now);
            }
        }
        if let Some(reason) = machine.close_reason() {
            return (dials, reason);
        }
        now = machine.poll_timeout().expect("a deadline");
        machine.handle_timeout(now);
    }
}
