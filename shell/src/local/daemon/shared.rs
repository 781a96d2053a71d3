//! What the connections of one listener share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use hallway_core::local::connection::{Connection, Server};
use hallway_core::{ClientId, Gate, Instant, Limits};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::alarm::Alarm;

/// One listener's address, bounds and admission book.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) server: Server,
    pub(super) gate: Gate,
    pub(super) alarm: Alarm,
    pub(super) own_uid: u32,
    /// Told whenever a connection is gone: file descriptors may be free again.
    pub(super) released: Notify,
    /// How many connections of other users were dropped.
    pub(super) foreign: AtomicU64,
    controls: Mutex<BTreeMap<ClientId, Arc<Control>>>,
    /// What a connection reads into, while none does.
    buffer: Mutex<Option<Zeroizing<Vec<u8>>>>,
}

impl Shared {
    pub(super) fn new(limits: Limits, server: Server, alarm: Alarm, own_uid: u32) -> Self {
        Self {
            buffer: Mutex::new(None),
            limits,
            server,
            gate: Gate::new(&limits),
            alarm,
            own_uid,
            released: Notify::new(),
            foreign: AtomicU64::new(0),
            controls: Mutex::new(BTreeMap::new()),
        }
    }

    /// Takes up an admitted client; dropping the ticket gives its place back.
    pub(super) fn ticket(self: &Arc<Self>, id: ClientId) -> Ticket {
        let control = Arc::new(Control::default());
        self.controls().insert(id, control.clone());
        Ticket {
            id,
            control,
            shared: self.clone(),
            due: None,
        }
    }

    pub(super) fn order(&self, id: ClientId, order: Order) {
        let control = self.controls().get(&id).cloned();
        if let Some(control) = control {
            control.give(order);
        }
    }

    pub(super) fn order_all(&self, order: Order) {
        let controls: Vec<_> = self.controls().values().cloned().collect();
        for control in controls {
            control.give(order);
        }
    }

    /// Gives a connection that is about to read memory for the longest frame.
    pub(super) fn lend(&self, connection: &mut Connection) {
        if !connection.is_bare() {
            return;
        }
        let kept = self.buffer().take();
        let length = self.limits.max_frame_bytes().saturating_add(1);
        let buffer = kept.map_or_else(|| vec![0; length], |mut kept| std::mem::take(&mut *kept));
        // It is bare: it takes it.
        let _taken = connection.lend(buffer);
    }

    /// Takes that memory back for the next one, if nothing waits in it.
    pub(super) fn reclaim(&self, connection: &mut Connection) {
        let mut place = self.buffer();
        if place.is_none() {
            *place = connection.reclaim().map(Zeroizing::new);
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Option<Zeroizing<Vec<u8>>>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn controls(&self) -> MutexGuard<'_, BTreeMap<ClientId, Arc<Control>>> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection is told from outside. A later order outranks an earlier one only if it is
/// stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Nothing.
    Serve,
    /// Answer what was received, then end.
    Stop,
    /// Say `too many clients`, then end.
    Evict,
    /// End at once.
    Drop,
}

/// How a connection's task is reached.
#[derive(Debug, Default)]
pub(super) struct Control {
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn wake(&self) {
        let waker = self.waker().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            0 => Order::Serve,
            1 => Order::Stop,
            2 => Order::Evict,
            _ => Order::Drop,
        }
    }

    /// Registers whom to wake. To be followed by a look at [`Control::order`].
    pub(super) fn register(&self, waker: &Waker) {
        *self.waker() = Some(waker.clone());
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place; given back on drop, also by a task that panics.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: ClientId,
    pub(super) control: Arc<Control>,
    pub(super) shared: Arc<Shared>,
    /// When the alarm wakes it.
    due: Option<Instant>,
}

impl Ticket {
    /// Has the client's task woken no later than `due`. What it was to be woken for before is
    /// kept if that is earlier and not past; a deadline that moved away is noticed then.
    pub(super) fn wake_at(&mut self, due: Instant, now: Instant) {
        if self.due.is_some_and(|set| now < set && set <= due) {
            return;
        }
        self.wake_no_more();
        self.shared.alarm.set(due, self.id, &self.control);
        self.due = Some(due);
    }

    fn wake_no_more(&mut self) {
        if let Some(due) = self.due.take() {
            self.shared.alarm.forget(due, self.id);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.wake_no_more();
        self.shared.controls().remove(&self.id);
        self.shared.gate.release(self.id);
        self.shared.released.notify_one();
    }
}
