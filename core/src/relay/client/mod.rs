//! The client of one session, or of one machine: everything between the application and the relay
//! (relay.md §9). A machine has the link, the values and the methods of this picture, and a sign of
//! life of its own.
//!
//! ```text
//!   application ── send_* ──────> Outbox ── Post ───────────┐
//!               ── listen <────── Cursor ── Fetch ──────────┤ HTTP
//!               ── request_update, merge ──> two Versioned ─┤
//!               ── register, answer_rpc ───> Methods ───────┤ Link ── Dial, Hangup, frames
//!               ── keep_alive, end ─────────────────────────┘
//! ```
//!
//! The caller carries out the [`Action`]s and tells the facts. One fact gives at most one
//! event; what else follows from it comes by [`Client::poll_event`], as do the messages of a
//! fetched page, which are opened one by one as they are taken. Actions are to be polled after
//! every fact.
//!
//! Nonces come in, one for each thing that is sealed. The client holds keys, and is for that
//! reason the one state machine that cannot be cloned.

mod event;
mod incoming;
mod methods;
mod outgoing;
mod scope;
mod values;

use alloc::collections::VecDeque;
use alloc::string::String;

pub use event::{
    Action, Change, Event, Fetch, HttpFailure, Merge, Message, Route, SendError, Target, Unreadable,
};
pub use scope::{Kind, Scope};

use super::cipher::Cipher;
use super::cursor::{Cursor, FetchId};
use super::limits::Limits;
use super::link::{self, Auth, CloseReason, DialFailure, Link, Status};
use super::outbox::{self, BatchId, Outbox, PostFailure};
use super::raw::Raw;
use super::versioned::Versioned;
use crate::backoff::{Epoch, Policy};
use crate::time::Instant;
use incoming::{Page, Seen};
use methods::Methods;
use outgoing::{Ending, Title, Usage};
use scope::Name;
use values::{Slot, bounded};

/// The client of one session, or of one machine.
#[derive(Debug)]
pub struct Client {
    limits: Limits,
    name: Name,
    cipher: Cipher,
    link: Link,
    outbox: Outbox,
    cursor: Cursor,
    metadata: Slot,
    state: Slot,
    methods: Methods,
    route: Route,
    /// By which route the fetch that is under way was asked for.
    fetch_route: Route,
    listening: bool,
    /// Why nothing is fetched.
    fetching_stopped: Option<HttpFailure>,
    /// How many messages the next page may have: fewer after one that was too long.
    page_messages: usize,
    page: Option<Page>,
    /// Over the socket: the fetch that shows whether the messages have arrived.
    confirming: Option<FetchId>,
    /// Messages that were passed on.
    seen: Seen,
    /// Messages of ours.
    own: Seen,
    title: Option<Title>,
    usage: Usage,
    ending: Option<Ending>,
    /// When a machine that is connected says that it is alive.
    alive: Option<Instant>,
    /// What became of messages, and was not told.
    outcomes: VecDeque<outbox::Outcome>,
    gone: bool,
}

impl Client {
    /// A client that is not connected, and joins by `auth`, as [`Scope::auth`] gives it. `after` is
    /// the number of the last message that was dealt with: 0, or what was kept. Equal seeds give
    /// equal delays.
    #[must_use]
    pub fn new(
        limits: &Limits,
        scope: Scope,
        after: u64,
        auth: Auth,
        policy: Policy,
        seed: u64,
    ) -> Self {
        let versioned =
            |(version, value)| Slot::new(Versioned::new(limits, version, bounded(value, limits)));
        Self {
            limits: *limits,
            name: scope.name,
            cipher: scope.cipher,
            link: Link::new(limits, auth, policy, seed),
            outbox: Outbox::new(limits, seed ^ 1),
            cursor: Cursor::new(limits, after, seed ^ 2),
            metadata: versioned(scope.metadata),
            state: versioned(scope.state),
            methods: Methods::default(),
            route: Route::Durable,
            fetch_route: Route::Durable,
            listening: false,
            fetching_stopped: None,
            page_messages: limits.max_page_messages(),
            page: None,
            confirming: None,
            seen: Seen::default(),
            own: Seen::default(),
            title: None,
            usage: Usage::default(),
            ending: None,
            alive: None,
            outcomes: VecDeque::new(),
            gone: false,
        }
    }

    /// Starts to connect; does nothing when that was done before. Changes
    /// [`Client::poll_timeout`].
    pub fn connect(&mut self, now: Instant) {
        self.link.connect(now);
    }

    /// The application takes messages from here on. Until then none is taken from the server,
    /// so that none is lost and none is kept. A machine has none.
    pub fn listen(&mut self) {
        if !self.listening && self.name.kind == Kind::Session {
            self.listening = true;
            if self.link.is_open() {
                // Otherwise the connection fetches.
                self.cursor.handle_connected();
            }
        }
    }

    /// Drops the connection, if there is one, and dials again, with whole budgets. Changes
    /// [`Client::poll_timeout`].
    pub fn reconnect(&mut self, now: Instant) -> Option<Event<'static>> {
        let event = self.link.reconnect(now)?;
        self.linked(event, now)
    }

    /// Ends it at once: nothing is dialled, posted or fetched any more. Changes
    /// [`Client::poll_timeout`].
    pub fn close(&mut self, now: Instant) -> Option<Event<'static>> {
        let event = self.link.close()?;
        self.linked(event, now)
    }

    /// Sends and fetches again after what stopped it was dealt with.
    pub fn resume(&mut self) {
        self.outbox.resume();
        self.fetching_stopped = None;
        self.page_messages = self.limits.max_page_messages();
    }

    /// The WebSocket of `epoch` is open.
    pub fn handle_opened(&mut self, epoch: Epoch) {
        self.link.handle_opened(epoch);
    }

    /// The dial of `epoch` failed. Changes [`Client::poll_timeout`].
    pub fn handle_dial_failed(
        &mut self,
        epoch: Epoch,
        failure: DialFailure,
        now: Instant,
    ) -> Option<Event<'static>> {
        let event = self.link.handle_dial_failed(epoch, failure, now)?;
        self.linked(event, now)
    }

    /// The transport of `epoch` is gone: closed by the server with a code, 1005 for a close
    /// frame without one, or broken. Changes [`Client::poll_timeout`].
    pub fn handle_closed(
        &mut self,
        epoch: Epoch,
        code: Option<u16>,
        now: Instant,
    ) -> Option<Event<'static>> {
        let event = self.link.handle_closed(epoch, code, now)?;
        self.linked(event, now)
    }

    /// The server sent a frame that is longer than the caller takes over the transport of
    /// `epoch`. What it held is fetched. Changes [`Client::poll_timeout`].
    pub fn handle_message_too_long(
        &mut self,
        epoch: Epoch,
        now: Instant,
    ) -> Option<Event<'static>> {
        let event = self.link.handle_message_too_long(epoch, now)?;
        self.linked(event, now)
    }

    /// A binary frame came over the transport of `epoch`. Changes [`Client::poll_timeout`].
    pub fn handle_binary(&mut self, epoch: Epoch, now: Instant) -> Option<Event<'static>> {
        let event = self.link.handle_binary(epoch, now)?;
        self.linked(event, now)
    }

    /// A text frame came over the transport of `epoch`. Changes [`Client::poll_timeout`].
    pub fn handle_message<'a>(
        &mut self,
        epoch: Epoch,
        frame: &'a str,
        now: Instant,
    ) -> Option<Event<'a>> {
        let event = self.link.handle_message(epoch, frame, now)?;
        self.linked(event, now)
    }

    /// Bytes came over the transport of `epoch`. Changes [`Client::poll_timeout`].
    pub fn handle_bytes(&mut self, epoch: Epoch, now: Instant) {
        self.link.handle_bytes(epoch, now);
    }

    /// The machine slept. Changes [`Client::poll_timeout`].
    pub fn handle_wake(&mut self, now: Instant) -> Option<Event<'static>> {
        let event = self.link.handle_wake(now)?;
        self.linked(event, now)
    }

    /// The frame that is to be written to the transport of `epoch`, as a text message.
    #[must_use]
    pub fn poll_transmit(&self, epoch: Epoch) -> Option<&str> {
        self.link.poll_transmit(epoch)
    }

    /// The frame of [`Client::poll_transmit`] was written to the transport of `epoch`.
    pub fn handle_transmitted(&mut self, epoch: Epoch, now: Instant) {
        self.link.handle_transmitted(epoch, now);
    }

    /// The body of the [`Action::Post`] that is under way.
    #[must_use]
    pub fn post_body(&self) -> String {
        self.outbox.body()
    }

    /// The server has answered the post. Each message's outcome is an event. Changes
    /// [`Client::poll_timeout`].
    pub fn handle_posted(&mut self, id: BatchId, answer: Raw<'_>, now: Instant) {
        // An answer that is none has failed the post, which is repeated.
        let outcomes = self.outbox.handle_stored(id, answer, now);
        for outcome in outcomes.unwrap_or_default() {
            self.outcome(outcome);
        }
    }

    /// The post has failed. Changes [`Client::poll_timeout`].
    pub fn handle_post_failed(
        &mut self,
        id: BatchId,
        failure: HttpFailure,
        now: Instant,
    ) -> Option<Event<'static>> {
        if self.outbox.posting() != Some(id) {
            return None;
        }
        if let Some(outcome) = self.outbox.handle_failed(id, failure, now) {
            self.outcome(outcome);
        }
        match failure {
            PostFailure::Transient | PostFailure::RetryAfter(_) | PostFailure::TooLarge => None,
            PostFailure::NoRoute => {
                self.outbox.resume();
                self.fall_back(now)
            }
            PostFailure::SessionGone => {
                self.lose_session();
                Some(Event::SendingStopped(failure))
            }
            PostFailure::Unauthorized => Some(Event::SendingStopped(failure)),
        }
    }

    /// When [`Client::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        [
            self.link.poll_timeout(),
            self.outbox.poll_timeout(),
            self.cursor.poll_timeout(),
            self.metadata.versioned.poll_timeout(),
            self.state.versioned.poll_timeout(),
            self.methods.poll_timeout(),
            self.alive,
            self.ending.as_ref().map(|ending| ending.deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed. Changes [`Client::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        if self.is_closed() {
            return None;
        }
        if self
            .ending
            .as_ref()
            .is_some_and(|ending| now >= ending.deadline)
        {
            return self.close(now);
        }
        self.outbox.handle_timeout(now);
        self.cursor.handle_timeout(now);
        self.metadata.versioned.handle_timeout(now);
        self.state.versioned.handle_timeout(now);
        self.methods.handle_timeout(now, &self.limits);
        let event = self.link.handle_timeout(now)?;
        self.linked(event, now)
    }

    /// The next thing to do. Changes [`Client::poll_timeout`].
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.pump(now);
        if let Some(action) = self.link.poll_action() {
            return Some(match action {
                link::Action::Hangup(epoch) => Action::Hangup(epoch),
                link::Action::Dial(epoch) => Action::Dial(epoch),
            });
        }
        if self.is_closed() || self.link.status() == Status::Idle {
            return None;
        }
        if self.route == Route::Durable
            && self.outcomes.is_empty()
            && let Some(id) = self.next_batch(now)
        {
            return Some(Action::Post(id));
        }
        if let Some(fetch) = self.next_fetch(now) {
            return Some(Action::Fetch(fetch));
        }
        if self.is_alive_due(now) {
            return Some(Action::KeepAlive);
        }
        self.next_merge(now).map(Action::Merge)
    }

    /// The next event that follows from earlier facts. Messages are opened here.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event<'static>> {
        self.pump(now);
        if let Some(outcome) = self.outcomes.pop_front() {
            return Some(match outcome {
                outbox::Outcome::Stored { local_id, seq } => Event::Stored { local_id, seq },
                outbox::Outcome::TooLarge { local_id } => Event::TooLarge { local_id },
            });
        }
        if let Some(event) = self.next_value_event() {
            return Some(event);
        }
        if self.take_unreported() {
            return Some(Event::UsageNotReported);
        }
        if let Some(method) = self.methods.next_unconfirmed() {
            return Some(Event::RpcUnconfirmed { method });
        }
        while let Some(lost) = self.link.poll_event() {
            if let Some(event) = self.linked(lost, now) {
                return Some(event);
            }
        }
        if let Some(event) = self.next_message(now) {
            return Some(event);
        }
        if self.is_finished() {
            return self.close(now);
        }
        None
    }

    /// The number up to which every message was dealt with, once the event that covers it was.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor.last()
    }

    /// How many messages wait to be stored.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// What the connection is doing.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.link.status()
    }

    /// Why it has ended.
    #[must_use]
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.link.status() {
            Status::Closed(reason) => Some(reason),
            Status::Idle | Status::Connecting | Status::Open | Status::Waiting(_) => None,
        }
    }

    /// How messages are sent and fetched.
    #[must_use]
    pub const fn route(&self) -> Route {
        self.route
    }

    /// The id of the session or the machine.
    #[must_use]
    pub const fn id(&self) -> &str {
        &self.name.id
    }

    /// What it is the client of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.name.kind
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    const fn is_closed(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Does what can be done without the caller. It may be done at any time, and twice.
    fn pump(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.methods
            .register(&self.name.id, &mut self.link, now, &self.limits);
        self.request_title(now);
        self.report_usage(now);
        self.send_over_socket(now);
        self.end_session();
    }

    /// The session or the machine is gone: so is every update, and no machine is alive.
    fn lose_session(&mut self) {
        self.gone = true;
        self.alive = None;
        self.metadata.versioned.handle_gone();
        self.state.versioned.handle_gone();
    }

    /// The server says that it is gone.
    fn lose(&mut self) -> Event<'static> {
        self.lose_session();
        Event::SessionGone
    }

    /// The server knows no other way than the socket.
    fn fall_back(&mut self, now: Instant) -> Option<Event<'static>> {
        if self.route == Route::Socket {
            return None;
        }
        self.route = Route::Socket;
        if let Some(id) = self.outbox.posting() {
            self.outbox.handle_failed(id, PostFailure::Transient, now);
        }
        Some(Event::FellBack)
    }

    /// The next messages to send: no more than are remembered as ours wherever they come to
    /// stand. The rest waits for what is before those that were sent.
    fn next_batch(&mut self, now: Instant) -> Option<BatchId> {
        let room = self.cursor.room_for_own();
        self.outbox.next_batch_of(room, now)
    }

    fn outcome(&mut self, outcome: outbox::Outcome) {
        if let outbox::Outcome::Stored { seq, .. } = &outcome {
            self.cursor.handle_sent(*seq);
        }
        self.outcomes.push_back(outcome);
    }
}
