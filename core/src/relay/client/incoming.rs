//! What a client receives: the events of the link, updates, and pages of messages.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::event::{Event, Fetch, HttpFailure, Message, Route, Unreadable};
use super::{Client, Kind, PostFailure};
use crate::relay::base64;
use crate::relay::cursor::{FetchId, Verdict, Withheld};
use crate::relay::limits::Limits;
use crate::relay::link::{self, Ignored, Owed};
use crate::relay::plaintext::{SessionMessage, shape::Field};
use crate::relay::raw::{Raw, Text};
use crate::relay::rpc::{Refusal, Request};
use crate::relay::update::{Body, Ephemeral, StoredMessage, Update};
use crate::time::Instant;

/// How many messages the old route gives.
const HISTORY: usize = 150;

/// One message of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    seq: u64,
    local_id: Option<Box<str>>,
    /// The ciphertext; `None` when it is not sealed.
    sealed: Option<Box<str>>,
    /// It is one of ours that waited until now.
    own: bool,
}

impl Row {
    fn new(message: &StoredMessage<'_>) -> Self {
        let local_id = match &message.local_id {
            Field::Is(text) => text.to_unicode().map(Box::from),
            Field::Absent | Field::Null => None,
        };
        let sealed = message.sealed().map(|text| Box::from(&*text.to_lossy()));
        Self {
            seq: message.seq,
            local_id,
            sealed,
            own: false,
        }
    }
}

/// A page of messages that are not all taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Page {
    id: FetchId,
    rows: VecDeque<Row>,
    has_more: bool,
}

/// The beginnings of ciphertexts, nonces included: none has the same as another, unless somebody
/// gives it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    order: VecDeque<[u8; NONCE_BYTES]>,
    set: BTreeSet<[u8; NONCE_BYTES]>,
}

/// Version and nonce of the `dataKey` variant; the better half of a `legacy` nonce.
const NONCE_BYTES: usize = 13;

impl Seen {
    /// Whether it was inserted, and is not forgotten.
    fn contains(&self, sealed: &[u8]) -> bool {
        let nonce = sealed.first_chunk();
        nonce.is_some_and(|nonce| self.set.contains(nonce))
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, sealed: &[u8], limits: &Limits) -> bool {
        let Some(nonce) = sealed.first_chunk() else {
            return true;
        };
        if !self.set.insert(*nonce) {
            return false;
        }
        self.order.push_back(*nonce);
        if self.order.len() > limits.max_seen_nonces()
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

/// The link.
impl Client {
    /// What the link says, and what follows from it.
    pub(super) fn linked<'a>(&mut self, event: link::Event<'a>, now: Instant) -> Option<Event<'a>> {
        match event {
            link::Event::Connected { stale_until } => {
                self.metadata.versioned.handle_connected();
                self.state.versioned.handle_connected();
                if self.listening {
                    self.cursor.handle_connected();
                }
                self.alive = (self.name.kind == Kind::Machine && !self.gone).then_some(now);
                self.pump(now);
                Some(Event::Connected { stale_until })
            }
            link::Event::Received {
                name,
                argument,
                owed,
            } => self.received(name, argument, owed),
            link::Event::Acked { asked, argument } => {
                if let Some(event) = self.answer_attempt(asked, argument) {
                    return event;
                }
                self.answer_usage(asked, argument)?
            }
            // An attempt keeps the time itself.
            link::Event::AckLost { asked, why } => self.lose_usage(asked, why)?,
            link::Event::OwedLost { owed, why } => Some(Event::RpcLost { owed, why }),
            link::Event::Ignored(why) => Some(Event::Ignored(why)),
            link::Event::Reconnecting {
                attempt,
                delay,
                cause,
                said,
            } => {
                self.disconnected();
                Some(Event::Reconnecting {
                    attempt,
                    delay,
                    cause,
                    said,
                })
            }
            link::Event::Closed { reason, said } => {
                self.disconnected();
                self.metadata.versioned.close();
                self.state.versioned.close();
                self.page = None;
                Some(Event::Closed { reason, said })
            }
        }
    }

    fn disconnected(&mut self) {
        self.metadata.handle_disconnected();
        self.state.handle_disconnected();
        self.methods.handle_disconnected();
        self.alive = None;
        self.forget_tries();
    }

    fn received<'a>(
        &mut self,
        name: Text<'a>,
        argument: Option<Raw<'a>>,
        owed: Option<Owed>,
    ) -> Option<Event<'a>> {
        if name.is("update") {
            let update = argument.and_then(Update::parse);
            return update.map_or(Some(Event::OtherEvent { name, argument }), |update| {
                self.updated(&update)
            });
        }
        if name.is("rpc-request") {
            return Some(match (argument.and_then(Request::parse), owed) {
                (Some(request), Some(owed)) => self.called(&request, owed),
                (None, Some(owed)) => Event::RpcRefused {
                    owed,
                    refusal: Refusal::UnknownMethod,
                },
                // Nobody waits for an answer.
                (_, None) => Event::Ignored(Ignored::Meaningless),
            });
        }
        if name.is("rpc-registered") {
            return self.registered(argument);
        }
        if name.is("rpc-unregistered") {
            return None;
        }
        if name.is("rpc-error") {
            let said = argument
                .and_then(|raw| raw.get("error"))
                .and_then(Raw::text);
            return Some(Event::RpcError { said });
        }
        match argument {
            Some(raw) if name.is("ephemeral") => Some(Event::Ephemeral(Ephemeral::parse(raw))),
            _ => Some(Event::OtherEvent { name, argument }),
        }
    }

    fn called(&mut self, request: &Request<'_>, owed: Owed) -> Event<'static> {
        let method = request.method_in(&self.name.id);
        let method = method.and_then(|method| {
            let known = self.methods.contains(&method);
            known.then_some(method).ok_or(Refusal::UnknownMethod)
        });
        let call = method.and_then(|method| Ok((method, request.open(&self.cipher)?)));
        match call {
            Ok((method, params)) => Event::RpcRequested {
                owed,
                method,
                params,
            },
            Err(refusal) => Event::RpcRefused { owed, refusal },
        }
    }

    fn registered(&mut self, argument: Option<Raw<'_>>) -> Option<Event<'static>> {
        let method = argument?.get("method")?.text()?;
        let method = method.to_unicode()?;
        let method = method.strip_prefix(&*self.name.id)?.strip_prefix(':')?;
        let waited = self.methods.handle_registered(method);
        waited.then(|| Event::RpcRegistered {
            method: String::from(method),
        })
    }

    fn updated<'a>(&mut self, update: &Update<'a>) -> Option<Event<'a>> {
        match Body::parse(update.body) {
            Body::NewMessage { sid, message } if self.name.is(Kind::Session, &sid) => {
                self.live(&Row::new(&message))
            }
            Body::UpdateSession {
                id,
                metadata,
                agent_state,
            } if self.name.is(Kind::Session, &id) => self.take_values(&metadata, &agent_state),
            Body::UpdateMachine {
                machine_id,
                metadata,
                daemon_state,
            } if self.name.is(Kind::Machine, &machine_id) => {
                self.take_values(&metadata, &daemon_state)
            }
            Body::DeleteSession { sid } if self.name.is(Kind::Session, &sid) => Some(self.lose()),
            Body::DeleteMachine { machine_id } if self.name.is(Kind::Machine, &machine_id) => {
                Some(self.lose())
            }
            Body::NewMessage { .. }
            | Body::UpdateSession { .. }
            | Body::DeleteSession { .. }
            | Body::NewSession(_)
            | Body::UpdateMachine { .. }
            | Body::DeleteMachine { .. }
            | Body::Other(_) => Some(Event::OtherUpdate(update.body)),
        }
    }

    /// A message came by the socket.
    fn live(&mut self, row: &Row) -> Option<Event<'static>> {
        if self.is_own(row) {
            return None;
        }
        if !self.listening {
            self.cursor.handle_known(row.seq);
            return None;
        }
        match self.cursor.handle_live(row.seq, false) {
            Verdict::Deliver => self.open(row),
            Verdict::Skip | Verdict::Gap => None,
        }
    }

    /// Whether the message is one of ours that waited: then it is stored.
    fn is_own(&mut self, row: &Row) -> bool {
        let waited = row.local_id.as_ref();
        let stored = waited.and_then(|id| self.outbox.handle_seen(id, row.seq));
        stored.is_some_and(|stored| {
            self.outcome(stored);
            true
        })
    }

    /// What a message says; nothing for one that we sealed, under whatever number and name the
    /// server gives it.
    fn open(&mut self, row: &Row) -> Option<Event<'static>> {
        let seq = row.seq;
        let unreadable = |why| Some(Event::MessageUnreadable { seq, why });
        let Some(sealed) = &row.sealed else {
            return unreadable(Unreadable::NotSealed);
        };
        let sealed = base64::decode(sealed);
        if self.own.contains(&sealed) {
            return None;
        }
        let plaintext = match self.cipher.open_json(&sealed) {
            Ok(plaintext) => plaintext,
            Err(error) => return unreadable(Unreadable::Unopened(error)),
        };
        // Only what was opened is remembered: a stranger cannot fill the book.
        if !self.seen.insert(&sealed, &self.limits) {
            return unreadable(Unreadable::Replayed);
        }
        let message = Message {
            seq,
            local_id: row.local_id.clone(),
            plaintext,
        };
        Some(if is_users(&message.body()) {
            Event::UserMessage(message)
        } else {
            Event::MessageReceived(message)
        })
    }
}

/// Whether the user said it, and not a client in the user's name.
fn is_users(body: &SessionMessage<'_>) -> bool {
    let SessionMessage::User(message) = body else {
        return false;
    };
    let from = message
        .meta
        .as_ref()
        .and_then(|meta| meta.sent_from.as_ref());
    !from.is_some_and(|from| from.is("cli"))
}

/// Pages of messages.
impl Client {
    /// The next fetch, if one is wanted and somebody waits for it.
    pub(super) fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
        let confirms = self.route == Route::Socket && self.outbox.posting().is_some();
        if self.fetching_stopped.is_some() || !(self.listening || confirms) {
            return None;
        }
        // What is to be confirmed must have left before.
        if self.page.is_some() || (confirms && self.link.queued() > 0) {
            return None;
        }
        let fetch = self.cursor.next_fetch(now)?;
        self.fetch_route = self.route;
        if confirms {
            self.confirming = Some(fetch.id);
        }
        let limit = match self.route {
            Route::Durable => self.page_messages,
            Route::Socket => HISTORY,
        };
        Some(Fetch {
            id: fetch.id,
            route: self.route,
            after: fetch.after,
            limit,
        })
    }

    /// The server has answered the fetch with `body`. Its messages come by
    /// [`Client::poll_event`]. Changes [`Client::poll_timeout`].
    pub fn handle_page(&mut self, id: FetchId, body: &str, now: Instant) -> Option<Event<'static>> {
        if !self.cursor.is_fetching(id) || self.is_closed() {
            return None;
        }
        if body.len() > self.limits.max_page_bytes() {
            return self.handle_fetch_failed(id, PostFailure::TooLarge, now);
        }
        let page = Raw::parse(body).and_then(|raw| self.page(id, raw));
        let Some(mut page) = page else {
            self.cursor.handle_failed(id, None, now);
            return Some(Event::PageInvalid);
        };
        self.page_messages = self.limits.max_page_messages();
        let mut withheld = None;
        if self.fetch_route == Route::Socket {
            let first = page.rows.front().map(|row| row.seq);
            let next = self.cursor.last().saturating_add(1);
            withheld = first
                .filter(|first| page.rows.len() >= HISTORY && *first > next)
                .map(|first| Withheld {
                    from: next,
                    to: first.saturating_sub(1),
                });
        }
        for row in &mut page.rows {
            row.own = self.is_own(row);
        }
        if self.fetch_route == Route::Socket {
            // The old route gives what was read before, too.
            let last = self.cursor.last();
            while page.rows.front().is_some_and(|row| row.seq <= last) {
                page.rows.pop_front();
            }
        }
        self.confirm(id, now);
        if !self.listening {
            // Nobody takes them: they are fetched again when somebody does.
            self.cursor.handle_failed(id, None, now);
            return None;
        }
        self.page = Some(page);
        withheld.map(Event::Withheld)
    }

    /// Over the socket: what is not in a history that was read after it was sent is sent again.
    fn confirm(&mut self, id: FetchId, now: Instant) {
        if self
            .confirming
            .take_if(|confirming| *confirming == id)
            .is_some()
            && let Some(batch) = self.outbox.posting()
        {
            self.outbox
                .handle_failed(batch, PostFailure::Transient, now);
        }
    }

    fn page(&self, id: FetchId, raw: Raw<'_>) -> Option<Page> {
        let [messages, has_more] = raw.pick(["messages", "hasMore"])?;
        let limit = match self.fetch_route {
            Route::Durable => self.limits.max_page_messages(),
            Route::Socket => HISTORY,
        };
        // Before any is taken: of one that does not ascend the rest would be passed over.
        let is_history = self.fetch_route == Route::Socket;
        let follows = |rows: &[Row], seq| {
            rows.len() < limit && (is_history || rows.last().is_none_or(|last| last.seq < seq))
        };
        let mut rows = Some(Vec::new());
        messages?.each_element(|element| {
            match (StoredMessage::parse(element), &mut rows) {
                (Some(message), Some(rows)) if follows(rows, message.seq) => {
                    rows.push(Row::new(&message));
                }
                _ => rows = None,
            }
            rows.is_some()
        })?;
        let mut rows = rows?;
        if is_history {
            rows.sort_by_key(|row| row.seq);
        }
        let has_more = has_more.and_then(Raw::boolean).unwrap_or(false);
        Some(Page {
            id,
            rows: rows.into(),
            has_more,
        })
    }

    /// The fetch has failed. Changes [`Client::poll_timeout`].
    pub fn handle_fetch_failed(
        &mut self,
        id: FetchId,
        failure: HttpFailure,
        now: Instant,
    ) -> Option<Event<'static>> {
        if !self.cursor.is_fetching(id) || self.is_closed() {
            return None;
        }
        let retry_after = match failure {
            PostFailure::RetryAfter(span) => Some(span),
            PostFailure::Transient
            | PostFailure::TooLarge
            | PostFailure::Unauthorized
            | PostFailure::SessionGone
            | PostFailure::NoRoute => None,
        };
        self.cursor.handle_failed(id, retry_after, now);
        match failure {
            PostFailure::Transient | PostFailure::RetryAfter(_) => return None,
            PostFailure::TooLarge
                if self.fetch_route == Route::Durable && self.page_messages > 1 =>
            {
                self.page_messages /= 2;
                return None;
            }
            PostFailure::NoRoute if self.fetch_route == Route::Durable => {
                return self.fall_back(now);
            }
            PostFailure::SessionGone => self.lose_session(),
            PostFailure::TooLarge | PostFailure::Unauthorized | PostFailure::NoRoute => {}
        }
        self.fetching_stopped = Some(failure);
        Some(Event::FetchingStopped(failure))
    }

    /// The next message of the page that the application has not.
    pub(super) fn next_message(&mut self, now: Instant) -> Option<Event<'static>> {
        loop {
            let page = self.page.as_mut()?;
            if !self.cursor.is_fetching(page.id) {
                // It took too long: what is left is fetched again.
                self.page = None;
                return None;
            }
            let id = page.id;
            let Some(row) = page.rows.pop_front() else {
                let has_more = page.has_more;
                self.page = None;
                let withheld = self.cursor.handle_page_end(id, has_more, now)?;
                return Some(Event::Withheld(withheld));
            };
            match self.cursor.handle_fetched(id, row.seq, row.own, now) {
                Ok(Verdict::Deliver) => {
                    if let Some(event) = self.open(&row) {
                        return Some(event);
                    }
                }
                Ok(Verdict::Skip | Verdict::Gap) => {}
                Err(_) => {
                    self.page = None;
                    return Some(Event::PageInvalid);
                }
            }
        }
    }
}
