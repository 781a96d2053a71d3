//! The deadlines of a listener's connections, under one timer of the system.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hallway_core::{ClientId, Instant};
use tracing::warn;

use super::shared::Control;
use super::timer::Timer;
use crate::clock;

/// Wakes connections when their deadlines have come.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Timer,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    due: BTreeMap<(Instant, ClientId), Arc<Control>>,
    /// When the timer fires: never later than the first that is due.
    set: Option<Instant>,
}

impl Alarm {
    /// An alarm of this runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            timer: Timer::new()?,
            book: Mutex::default(),
        })
    }

    /// Has a connection woken at `due`, once.
    pub(super) fn set(&self, due: Instant, id: ClientId, control: &Arc<Control>) {
        let mut book = self.book();
        book.due.insert((due, id), control.clone());
        if book.set.is_none_or(|set| due < set) {
            self.set_timer(&mut book);
        }
    }

    /// Forgets what [`Alarm::set`] was told. The timer fires all the same.
    pub(super) fn forget(&self, due: Instant, id: ClientId) {
        self.book().due.remove(&(due, id));
    }

    /// Wakes who is due, for ever.
    pub(super) async fn ring(&self) -> std::convert::Infallible {
        loop {
            if let Err(error) = self.timer.fired().await {
                // The runtime ends, and all its tasks.
                warn!(%error, "the timer cannot be waited for");
                std::future::pending::<()>().await;
            }
            for control in self.take_due(clock::now()) {
                control.wake();
            }
        }
    }

    fn take_due(&self, now: Instant) -> Vec<Arc<Control>> {
        let mut book = self.book();
        let mut controls = Vec::new();
        while let Some(first) = book.due.first_entry() {
            let (due, _) = *first.key();
            if due > now {
                break;
            }
            controls.push(first.remove());
        }
        self.set_timer(&mut book);
        controls
    }

    fn set_timer(&self, book: &mut Book) {
        book.set = book.due.keys().next().map(|(due, _)| *due);
        if let Some(due) = book.set
            && let Err(error) = self.timer.set(due)
        {
            warn!(%error, "the timer cannot be set");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::daemon::shared::Order;
    use hallway_core::{Gate, Limits};
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    /// Waits until the control is woken.
    async fn woken(control: &Control) {
        let mut polled = false;
        let woken = poll_fn(|context| {
            control.register(context.waker());
            if std::mem::replace(&mut polled, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let woken = tokio::time::timeout(Duration::from_secs(20), woken);
        woken.await.expect("the alarm does not ring");
        assert_eq!(control.order(), Order::Serve);
    }

    #[tokio::test]
    async fn each_is_woken_when_it_is_due_and_who_is_forgotten_is_not() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let ringing = alarm.clone();
        let ringing = tokio::spawn(async move { ringing.ring().await });
        let gate = Gate::new(&Limits::DEFAULT);
        let [late, early, never] = [(); 3].map(|()| gate.admit(1).unwrap().id);
        let [one, other] = [(); 2].map(|()| Arc::new(Control::default()));
        let start = clock::now();
        let after = |millis| start.after(Duration::from_millis(millis));
        alarm.set(after(60_000), never, &one);
        alarm.set(after(60), late, &one);
        alarm.set(after(20), early, &other);
        alarm.set(after(30), never, &other);
        alarm.forget(after(30), never);
        woken(&other).await;
        assert!(clock::now() >= after(20));
        woken(&one).await;
        assert!(clock::now() >= after(60));
        let left: Vec<_> = alarm.book().due.keys().copied().collect();
        assert_eq!(left, [(after(60_000), never)]);
        assert_eq!(alarm.book().set, Some(after(60_000)));
        // One that is past already, before the one that the timer is set for.
        alarm.set(start, early, &other);
        woken(&other).await;
        ringing.abort();
    }
}
