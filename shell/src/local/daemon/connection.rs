//! One connection of the daemon: a task that moves bytes between a socket and its
//! [`Connection`].

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

use hallway_core::local::connection::{Action, Connection, Event};
use hallway_core::local::inbox::Peer;
use hallway_core::{Instant, UnixTime};
use std::os::unix::net::UnixStream;
use tracing::{debug, warn};

use super::desk::{Desk, Verdict};
use super::shared::{Order, Ticket};
use super::stream::Stream;
use crate::clock;

/// How many frames a connection may take before the others have a turn.
const FRAMES_A_TURN: usize = 64;

/// Serves one client until its connection has ended.
pub(super) async fn serve(stream: UnixStream, peer: Peer, ticket: Ticket, desk: Desk) {
    let stream = match Stream::new(stream) {
        Ok(stream) => stream,
        Err(error) => {
            warn!(%error, pid = peer.pid, "a connection could not be registered");
            return;
        }
    };
    let connection = Connection::new(&ticket.shared.limits, clock::now());
    let mut task = Task {
        stream,
        connection,
        peer,
        desk,
        ticket,
        waker: Waker::noop().clone(),
        authenticated: false,
        obeyed: Order::Serve,
        waived: false,
    };
    while poll_fn(|context| task.turn(context)).await == Turn::Over {
        // Not by waking itself: the runtime would come back to it many times before it looks
        // which other sockets are ready.
        tokio::task::yield_now().await;
    }
    debug!(pid = peer.pid, reason = ?task.connection.close_reason(), "connection ended");
}

/// How a turn ended.
#[derive(PartialEq, Eq)]
enum Turn {
    /// There is more to do, after the others.
    Over,
    /// The connection has ended.
    Ended,
}

struct Task {
    stream: Stream,
    connection: Connection,
    peer: Peer,
    desk: Desk,
    ticket: Ticket,
    waker: Waker,
    authenticated: bool,
    obeyed: Order,
    /// The last turn was left to the others.
    waived: bool,
}

impl Task {
    /// One turn, with memory to read into that is others' between turns.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        self.ticket.shared.lend(&mut self.connection);
        let turn = self.poll(context);
        self.ticket.shared.reclaim(&mut self.connection);
        turn
    }

    /// One turn: orders, frames, output, actions, input, until nothing moves; then timers.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if !self.waker.will_wake(context.waker()) {
            self.waker = context.waker().clone();
            self.ticket.control.register(&self.waker);
        }
        if self.obey().is_ready() {
            return Poll::Ready(Turn::Ended);
        }
        let Some(mut budget) = self.budget() else {
            return Poll::Ready(Turn::Over);
        };
        let (now, wall) = (clock::now(), clock::wall());
        let mut is_drained = false;
        loop {
            let mut moved = self.desk.poll_late(&mut self.connection, now, context);
            let frames = self.take_frames(budget, now, wall);
            budget = budget.saturating_sub(frames);
            moved |= frames > 0;
            // A write may register the socket anew, and nobody to wake when it can be read.
            is_drained &= self.connection.pending().is_empty();
            moved |= self.write(now, context);
            if self.act().is_ready() {
                return Poll::Ready(Turn::Ended);
            }
            if budget == 0 {
                self.expire(now, wall);
                return Poll::Ready(Turn::Over);
            }
            if !is_drained {
                match self.read(now, context) {
                    Poll::Ready(read) => moved |= read,
                    Poll::Pending => is_drained = true,
                }
            }
            if !moved && !self.expire(now, wall) {
                if let Some(due) = self.connection.poll_timeout() {
                    self.ticket.wake_at(due, now);
                }
                return Poll::Pending;
            }
        }
    }

    /// How many frames this turn may take; `None` lets the others have theirs first. A consumer
    /// that keeps up is not to find its inbox full because it had no turn.
    fn budget(&mut self) -> Option<usize> {
        if !self.desk.is_crowded() {
            self.waived = false;
            return Some(FRAMES_A_TURN);
        }
        self.waived = !self.waived;
        (!self.waived).then_some(1)
    }

    fn obey(&mut self) -> Poll<()> {
        let order = self.ticket.control.order();
        if order > self.obeyed {
            self.obeyed = order;
            match order {
                Order::Serve => {}
                Order::Stop => self.connection.handle_stop(),
                Order::Evict => self.connection.handle_eviction(clock::now(), clock::wall()),
                Order::Drop => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn take_frames(&mut self, most: usize, now: Instant, wall: UnixTime) -> usize {
        let mut taken = 0_usize;
        let server = &self.ticket.shared.server;
        while taken < most {
            let verdict = match self.connection.handle_frame(server, now, wall) {
                None => break,
                Some(Event::Pinged) => None,
                Some(Event::MessageReceived(kept)) => {
                    Some(self.desk.receive(kept, self.peer, now, wall))
                }
            };
            taken = taken.saturating_add(1);
            match verdict {
                Some(Verdict::Enqueued(id)) => self.connection.handle_enqueued(id, now, wall),
                Some(Verdict::Answered(line)) => self.connection.handle_answered(&line),
                Some(Verdict::Later) | None => {}
            }
        }
        if !self.authenticated && self.connection.is_authenticated() {
            self.authenticated = true;
            self.ticket.shared.gate.handle_authenticated(self.ticket.id);
        }
        taken
    }

    fn write(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.connection.pending().is_empty() {
            match self.stream.poll_write(context, self.connection.pending()) {
                Poll::Ready(Ok(n)) => self.connection.handle_output(n, now),
                Poll::Ready(Err(_)) => self.connection.handle_broken(),
                Poll::Pending => break,
            }
            moved = true;
        }
        moved
    }

    fn act(&mut self) -> Poll<()> {
        while let Some(action) = self.connection.poll_action() {
            match action {
                Action::Hangup => return Poll::Ready(()),
                Action::FinishOutput => {
                    // When it fails, the peer is gone and the next read says so.
                    if let Err(error) = self.stream.shutdown() {
                        debug!(%error, "ending the output failed");
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Reads once; whether there was room to read into.
    fn read(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<bool> {
        let spare = self.connection.spare_mut();
        if spare.is_empty() {
            return Poll::Ready(false);
        }
        match ready!(self.stream.poll_read(context, spare)) {
            Ok(0) => self.connection.handle_end_of_input(),
            Ok(n) => self.connection.handle_input(n, now),
            Err(_) => self.connection.handle_broken(),
        }
        Poll::Ready(true)
    }

    /// Ends what is due by the clock: a timer does not fire while a peer leaves nothing to wait
    /// for. Whether something was.
    fn expire(&mut self, now: Instant, wall: UnixTime) -> bool {
        let due = self.connection.poll_timeout();
        let is_due = due.is_some_and(|due| due <= now);
        if is_due {
            self.connection.handle_timeout(now, wall);
        }
        is_due
    }
}
