//! One session of the relay, or one machine, over its socket and HTTP: moves facts and actions between the
//! core's client and the transports.
//!
//! [`Relay`] has no task of its own: whoever holds it polls [`Relay::next`], which is safe to
//! cancel, and sends in between. A turn is: facts (dial, answers of HTTP, frames), timers,
//! actions, output; until something is to be told or nothing moves.

mod send;
mod update;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::client::{
    Action, Change, Client, Event, Fetch, Kind, Merge, Route, Scope, Target,
};
use hallway_core::relay::cursor::FetchId;
use hallway_core::relay::limits::Limits;
use hallway_core::relay::outbox::BatchId;
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::versioned::UpdateId;
use hallway_core::{Instant, Token, TokenError};
use tokio::time::Sleep;
use tracing::{debug, info};
use tungstenite::protocol::frame::coding::CloseCode;

use super::http::{Http, HttpError};
use crate::net::AccessToken;
use crate::net::dial::DialError;
use crate::net::link::{Link, Received, Socket};
use crate::net::upgrade::{Request, config, upgrade};
use crate::{clock, entropy};

pub use send::SendFailure;
use send::fresh;
pub use update::Update;

/// Where the sockets are, below the base URL (relay.md §1).
const TARGET: &str = "/v1/updates/?EIO=4&transport=websocket";
/// What we call ourselves, for a session and for a machine.
const SESSION_CLIENT: &str = concat!("cli-coding-session/hallway-", env!("CARGO_PKG_VERSION"));
const MACHINE_CLIENT: &str = concat!("cli-daemon/hallway-", env!("CARGO_PKG_VERSION"));
/// The longest frame that is read: a message as long as the server takes one.
const MAX_FRAME_BYTES: usize = 134_217_728;
/// Timers stand still while the machine is suspended, so that the clock is looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// How many turns are made before other tasks have one.
const TURNS: usize = 64;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answer = Result<String, HttpError>;
type ChangeOf = Box<dyn FnMut(Option<&Document>) -> Change + Send>;

/// How a session or a machine is kept up.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    /// Its bounds.
    pub limits: Limits,
    /// When it dials again, and when it gives up.
    pub policy: Policy,
    /// The number of the last message that was dealt with; 0 for none.
    pub after: u64,
    /// The clock; tests bring their own.
    pub clock: fn() -> Instant,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            policy: Policy::PERSISTENT,
            after: 0,
            clock: clock::now,
        }
    }
}

/// What there is of a connection.
enum Transport {
    None,
    Dialing(Epoch, Work<Result<Socket, DialError>>),
    Open(Box<Link<Epoch>>),
}

/// A session or a machine that is kept up as long as it is polled.
pub struct Relay {
    client: Client,
    http: Http,
    token: AccessToken,
    clock: fn() -> Instant,
    transport: Transport,
    posting: Option<(BatchId, Work<Answer>)>,
    fetching: Option<(FetchId, Work<Answer>)>,
    changes: Vec<(Target, UpdateId, ChangeOf)>,
    told: VecDeque<Update>,
    /// What the system said of the last failure.
    detail: Option<String>,
    /// The connection of a session that was ended.
    leaving: Option<Box<Link<Epoch>>>,
    sleep: Pin<Box<Sleep>>,
    finished: bool,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("kind", &self.client.kind())
            .field("id", &self.client.id())
            .field("status", &self.client.status())
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts to connect to a session or a machine. To be polled under a tokio runtime with IO
    /// and time.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when the token is none for a socket.
    pub fn start(
        http: Http,
        token: AccessToken,
        scope: Scope,
        upkeep: &Upkeep,
    ) -> Result<Self, TokenError> {
        let client = match scope.kind() {
            Kind::Session => SESSION_CLIENT,
            Kind::Machine => MACHINE_CLIENT,
        };
        let auth = scope.auth(&Token::parse(token.expose())?, Some(client));
        let mut seed = [0; 8];
        if let Err(error) = entropy::fill(&mut seed) {
            info!(%error, "no entropy for the delays");
        }
        let seed = u64::from_ne_bytes(seed);
        let mut client = Client::new(
            &upkeep.limits,
            scope,
            upkeep.after,
            auth,
            upkeep.policy,
            seed,
        );
        client.connect((upkeep.clock)());
        Ok(Self {
            client,
            http,
            token,
            clock: upkeep.clock,
            transport: Transport::None,
            posting: None,
            fetching: None,
            changes: Vec::new(),
            told: VecDeque::new(),
            detail: None,
            leaving: None,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            finished: false,
        })
    }

    /// The client, to send with. [`Relay::next`] carries out what follows.
    pub const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The number up to which every message was given by [`Relay::next`], or will not come;
    /// `None` while more is to be given.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.told.is_empty().then(|| self.client.cursor())
    }

    /// What has happened next; `None` after [`Update::Closed`]. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Ends it: what waits is sent, the server is told, and [`Update::Closed`] follows, all of it within the limits' `end_timeout`, if it is polled.
    pub fn end(&mut self) {
        self.client.end(clock::wall(), (self.clock)());
    }

    /// Tells the server that the connection ends, for a second at most.
    pub async fn leave(mut self) {
        if let Some(link) = self.leaving.take() {
            link.leave().await;
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Update>> {
        for _ in 0..TURNS {
            if let Some(update) = self.told.pop_front() {
                return Poll::Ready(Some(update));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            let now = (self.clock)();
            let mut moved = self.poll_dial(now, context);
            moved |= self.poll_http(now, context);
            moved |= self.take_events(now);
            if self.told.is_empty() {
                moved |= self.read(now, context);
            }
            moved |= self.tick(now, context);
            moved |= self.act(now);
            moved |= self.write(now, context);
            moved |= self.finish(now);
            if !moved && self.told.is_empty() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Once it is closed and all was told, nothing follows.
    fn finish(&mut self, now: Instant) -> bool {
        if self.client.close_reason().is_none() || self.take_events(now) {
            return false;
        }
        (self.posting, self.fetching) = (None, None);
        self.finished = true;
        true
    }

    fn poll_dial(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Transport::Dialing(epoch, dial) = &mut self.transport else {
            return false;
        };
        let Poll::Ready(result) = dial.as_mut().poll(context) else {
            return false;
        };
        let epoch = *epoch;
        match result {
            Ok(socket) => {
                self.detail = None;
                self.transport = Transport::Open(Box::new(Link::new(epoch, socket)));
                self.client.handle_opened(epoch);
            }
            Err(DialError { failure, detail }) => {
                info!(%failure, detail, "dial failed");
                self.detail = Some(detail);
                self.transport = Transport::None;
                let event = self.client.handle_dial_failed(epoch, failure, now);
                self.emit(event);
            }
        }
        true
    }

    fn poll_http(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        if let Some((id, work)) = &mut self.posting
            && let Poll::Ready(answer) = work.as_mut().poll(context)
        {
            let id = *id;
            self.posting = None;
            let answer = answer.and_then(|body| match Raw::parse(&body) {
                Some(raw) => {
                    self.client.handle_posted(id, raw, now);
                    Ok(())
                }
                None => Err(HttpError::Nonsense("list of messages")),
            });
            if let Err(error) = answer {
                info!(%error, "messages not posted");
                let failure = error.post_failure();
                let event = self.client.handle_post_failed(id, failure, now);
                self.emit(event);
            }
            moved = true;
        }
        if let Some((id, work)) = &mut self.fetching
            && let Poll::Ready(answer) = work.as_mut().poll(context)
        {
            let id = *id;
            self.fetching = None;
            let event = match answer {
                Ok(body) => self.client.handle_page(id, &body, now),
                Err(error) => {
                    info!(%error, "messages not fetched");
                    let failure = error.post_failure();
                    self.client.handle_fetch_failed(id, failure, now)
                }
            };
            self.emit(event);
            moved = true;
        }
        moved
    }

    /// Takes one event that follows from earlier facts.
    fn take_events(&mut self, now: Instant) -> bool {
        let event = self.client.poll_event(now);
        let moved = event.is_some();
        self.emit(event);
        moved
    }

    /// Takes one frame.
    fn read(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Transport::Open(link) = &mut self.transport else {
            return false;
        };
        let epoch = link.epoch;
        let received = link.poll_receive(context);
        if link.has_heard() {
            self.client.handle_bytes(epoch, now);
        }
        let Poll::Ready(received) = received else {
            return false;
        };
        match received {
            Received::Text(text) => {
                let event = self.client.handle_message(epoch, &text, now);
                if let Some(event) = event {
                    let update = Update::of(event);
                    self.tell(update);
                }
            }
            Received::Binary => {
                let event = self.client.handle_binary(epoch, now);
                self.emit(event);
            }
            Received::Sign => {}
            Received::TooLong => {
                let event = self.client.handle_message_too_long(epoch, now);
                self.emit(event);
            }
            Received::Closed { code, detail } => {
                self.detail = detail;
                if let Transport::Open(link) = self.take_transport() {
                    link.drop_closed();
                }
                let event = self.client.handle_closed(epoch, code, now);
                self.emit(event);
            }
        }
        true
    }

    fn tick(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Some(due) = self.client.poll_timeout() else {
            return false;
        };
        if now >= due {
            let event = self.client.handle_timeout(now);
            self.emit(event);
            return true;
        }
        let span = due.min(now.after(LOOK)).since(now);
        let until = tokio::time::Instant::now() + span + Duration::from_millis(1);
        self.sleep.as_mut().reset(until);
        self.sleep.as_mut().poll(context).is_ready()
    }

    fn act(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(action) = self.client.poll_action(now) {
            moved = true;
            match action {
                Action::Hangup(_) => self.hang_up(),
                Action::Dial(epoch) => {
                    self.transport = Transport::Dialing(epoch, self.dial());
                }
                Action::Post(id) => self.posting = Some((id, self.post())),
                Action::Fetch(fetch) => self.fetching = Some((fetch.id, self.fetch(fetch))),
                Action::KeepAlive => {
                    let told = self.client.machine_alive(clock::wall());
                    debug!(?told, "alive");
                }
                Action::Merge(merge) => self.merge(merge, now),
                _ => debug!("an action that is not known"),
            }
        }
        moved
    }

    fn dial(&self) -> Work<Result<Socket, DialError>> {
        let route = self.http.route().clone();
        let outbox = self.client.limits().max_queued_bytes();
        Box::pin(async move {
            let stream = route.open().await?;
            let target = format!("{}{TARGET}", route.origin().prefix());
            let request = Request {
                origin: route.origin(),
                target: &target,
                headers: &[],
            };
            upgrade(stream, &request, config(MAX_FRAME_BYTES, outbox)).await
        })
    }

    fn post(&self) -> Work<Answer> {
        let (http, token) = (self.http.clone(), self.token.clone());
        let (session, body) = (self.client.id().to_owned(), self.client.post_body());
        Box::pin(async move { http.post_messages(&token, &session, &body).await })
    }

    fn fetch(&self, fetch: Fetch) -> Work<Answer> {
        let (http, token) = (self.http.clone(), self.token.clone());
        let session = self.client.id().to_owned();
        let limit = u32::try_from(fetch.limit).unwrap_or(u32::MAX);
        Box::pin(async move {
            match fetch.route {
                Route::Durable => {
                    http.messages_after(&token, &session, fetch.after, limit)
                        .await
                }
                Route::Socket => http.newest_messages(&token, &session).await,
            }
        })
    }

    fn merge(&mut self, merge: Merge, now: Instant) {
        // Without a nonce nothing can be sealed: the update's own deadline ends it.
        let Ok(nonce) = fresh() else { return };
        let mut changes = self.changes.iter_mut();
        let change =
            changes.find(|(target, update, _)| *target == merge.target && *update == merge.update);
        self.client.merge(merge, nonce, now, |value| match change {
            Some((_, _, change)) => change(value),
            None => Change::Keep,
        });
    }

    const fn take_transport(&mut self) -> Transport {
        std::mem::replace(&mut self.transport, Transport::None)
    }

    /// Lets go of the dial or the connection. Only a session that ends waits for the server to
    /// know.
    fn hang_up(&mut self) {
        if let Transport::Open(link) = self.take_transport() {
            if self.client.close_reason().is_some() {
                self.leaving = Some(link);
            } else {
                link.drop_with(CloseCode::Normal);
            }
        }
    }

    fn write(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        let Transport::Open(link) = &mut self.transport else {
            return moved;
        };
        while let Poll::Ready(is_frame) = link.poll_written(context) {
            if is_frame {
                self.client.handle_transmitted(link.epoch, now);
                moved = true;
            }
            let Some(frame) = self.client.poll_transmit(link.epoch) else {
                break;
            };
            link.write_frame(frame);
        }
        moved
    }

    fn emit(&mut self, event: Option<Event<'static>>) {
        if let Some(event) = event {
            let update = Update::of(event);
            self.tell(update);
        }
    }

    /// Tells what has happened, unless it is for this side to deal with.
    fn tell(&mut self, update: Option<Update>) {
        let Some(mut update) = update else { return };
        if let Update::RpcRefused { owed, refusal } = &update {
            let answered =
                fresh().and_then(|nonce| Ok(self.client.refuse_rpc(*owed, *refusal, nonce)?));
            debug!(?refusal, ?answered, "a call is refused");
        }
        if let Update::Updated { target, update, .. } = &update {
            let ended = (*target, *update);
            self.changes.retain(|(own, id, _)| (*own, *id) != ended);
        }
        if let Update::Reconnecting { detail, .. } | Update::Closed { detail, .. } = &mut update {
            *detail = self.detail.take();
        }
        if let Update::Closed { unsent, .. } = &mut update {
            *unsent = self.client.unsent();
        }
        self.told.push_back(update);
    }
}
