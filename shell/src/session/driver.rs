//! The task of one subscription: moves facts and actions between the core's machine and its
//! transport.
//!
//! A turn is: commands, facts (dial, token, messages), timers, actions, output; until nothing
//! moves or the budget is spent. While the client is slow nothing is read, so that the server
//! is slowed down, too; pings, answers and the clock go on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hallway_core::Instant;
use hallway_core::session::control::{Frame, Request};
use hallway_core::session::event::{Action, CloseReason, DialFailure, Epoch, Event, SendError};
use hallway_core::session::subscription::{Answer, Subscription};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tracing::{debug, info};
use tungstenite::Utf8Bytes;
use tungstenite::protocol::frame::coding::CloseCode;

use super::attempts::{Attempts, Dialled, Work};
use super::client::{Command, Reply, Settings};
use super::connector::Connector;
use super::text::Text;
use super::updates::{Outgoing, Update, Updates};
use crate::entropy;
use crate::net::dial::DialError;
use crate::net::link::{Link, Received};
use crate::net::token::TokenSource;

/// How many messages are taken before other tasks have a turn.
const MESSAGES_A_TURN: usize = 128;
/// How many commands are taken in a turn.
const COMMANDS_A_TURN: usize = 16;
/// Timers stand still while the machine is suspended, so that the clock is looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// Drives a subscription until it has ended.
pub(super) async fn drive(
    connector: Connector,
    tokens: TokenSource,
    settings: Settings,
    updates: Outgoing,
    commands: mpsc::Receiver<Command>,
) {
    // However this task ends, its client hears of it.
    let finish = Finish(updates.updates());
    let now = (settings.clock)();
    let seed = settings.seed.unwrap_or_else(random);
    let mut machine =
        Subscription::new(&settings.limits, settings.policy, seed).serving(settings.served);
    machine.connect(now);
    let mut driver = Driver {
        machine,
        settings,
        attempts: Attempts::new(connector, tokens, settings.limits),
        updates,
        commands,
        transport: Transport::None,
        asking: None,
        tags: VecDeque::new(),
        detail: None,
        leaving: None,
        sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        armed: now,
        counted: 0,
    };
    poll_fn(|context| driver.poll(context)).await;
    drop(finish);
    if let Some(link) = driver.leaving {
        link.leave().await;
    }
}

struct Finish(Arc<Updates>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// A seed. Without entropy all clients would return at once after all; nothing worse.
fn random() -> u64 {
    let mut bytes = [0; 8];
    if let Err(error) = entropy::fill(&mut bytes) {
        info!(%error, "no entropy for the delays");
    }
    u64::from_ne_bytes(bytes)
}

/// What there is of a connection.
enum Transport {
    None,
    Dialing(Epoch, Work<Dialled>),
    Open(Box<Link<Epoch>>),
}

struct Driver {
    machine: Subscription,
    settings: Settings,
    attempts: Attempts,
    updates: Outgoing,
    commands: mpsc::Receiver<Command>,
    transport: Transport,
    asking: Option<(Epoch, Work<bool>)>,
    /// For each frame of the outbox, the id of the request of ours that it is, if it is one.
    tags: VecDeque<Option<String>>,
    /// What the system said of the last failure.
    detail: Option<String>,
    /// The connection that the client has closed.
    leaving: Option<Box<Link<Epoch>>>,
    sleep: Pin<Box<Sleep>>,
    /// The deadline that `sleep` waits for.
    armed: Instant,
    /// How many bytes of the open connection were read for updates.
    counted: u64,
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut budget = MESSAGES_A_TURN;
        // The client has what came with one read before the next one, so that the library can
        // read into the same buffer.
        if let Transport::Open(link) = &mut self.transport {
            link.allow_a_read();
        }
        loop {
            let now = (self.settings.clock)();
            let mut moved = self.obey(now, context);
            moved |= self.poll_dial(now, context);
            moved |= self.poll_token(now, context);
            moved |= self.read(&mut budget, now, context);
            moved |= self.tick(now, context);
            moved |= self.act();
            if self.machine.close_reason().is_some() {
                return Poll::Ready(());
            }
            moved |= self.write(context);
            if budget == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn obey(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        if self.updates.poll_abandoned(context) {
            let event = self.machine.close();
            self.emit(event);
        }
        for _ in 0..COMMANDS_A_TURN {
            let Poll::Ready(Some(command)) = self.commands.poll_recv(context) else {
                break;
            };
            moved = true;
            match command {
                Command::Answer {
                    request_id,
                    reply,
                    done,
                } => {
                    let result = self.machine.answer(&request_id, answer(&reply));
                    self.tag(None);
                    tell(done, result);
                }
                Command::Request {
                    request_id,
                    request,
                    done,
                } => {
                    let result = self.request(request_id, &request);
                    tell(done, result);
                }
                Command::Reconnect => {
                    let event = self.machine.reconnect(now);
                    self.emit(event);
                }
                Command::Close => {
                    let event = self.machine.close();
                    self.emit(event);
                }
            }
        }
        moved
    }

    fn request(&mut self, request_id: String, raw: &str) -> Result<(), SendError> {
        let read = Request::read(raw).ok_or(SendError::NotJson)?;
        // As it was written, with members that are not known.
        let request = Request::Unknown {
            subtype: read.subtype().into(),
            raw,
        };
        self.machine.request(&request_id, &request)?;
        self.tag(Some(request_id));
        Ok(())
    }

    /// Books what the machine has put into its outbox.
    fn tag(&mut self, request_id: Option<String>) {
        if request_id.is_some() {
            self.tags.push_back(request_id);
        }
        while self.tags.len() < self.machine.unsent() {
            self.tags.push_back(None);
        }
    }

    fn poll_dial(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Transport::Dialing(epoch, dial) = &mut self.transport else {
            return false;
        };
        let Poll::Ready((token, result)) = dial.as_mut().poll(context) else {
            return false;
        };
        let epoch = *epoch;
        self.attempts.used(token);
        let event = match result {
            Ok(socket) => {
                self.detail = None;
                self.counted = 0;
                self.transport = Transport::Open(Box::new(Link::new(epoch, socket)));
                self.machine.handle_opened(epoch, now)
            }
            Err(DialError { failure, detail }) => {
                info!(%failure, detail, "dial failed");
                // A status says it all.
                let says_more = !matches!(failure, DialFailure::Status { .. });
                self.detail = says_more.then_some(detail);
                self.transport = Transport::None;
                self.machine.handle_dial_failed(epoch, failure, now)
            }
        };
        self.emit(event);
        true
    }

    fn poll_token(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Some((epoch, asking)) = &mut self.asking else {
            return false;
        };
        let Poll::Ready(another) = asking.as_mut().poll(context) else {
            return false;
        };
        let epoch = *epoch;
        self.asking = None;
        let event = self.machine.handle_token(epoch, another, now);
        self.emit(event);
        true
    }

    fn read(&mut self, budget: &mut usize, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while *budget > 0 {
            let Transport::Open(link) = &mut self.transport else {
                break;
            };
            if !self.updates.poll_room(context) {
                link.unread = true;
                break;
            }
            // What the connection before has left comes first.
            if let Some(event) = self.machine.poll_event() {
                self.emit(Some(event));
                moved = true;
                continue;
            }
            let Poll::Ready(received) = link.poll_receive(context) else {
                if link.is_held_back() {
                    *budget = 0;
                }
                break;
            };
            self.take(received, now);
            moved = true;
            *budget = budget.saturating_sub(1);
        }
        self.updates.flush();
        if let Transport::Open(link) = &mut self.transport
            && link.has_heard()
        {
            self.machine.handle_pong(link.epoch);
        }
        moved
    }

    fn take(&mut self, received: Received, now: Instant) {
        match received {
            Received::Text(text) => self.take_message(Some(text)),
            Received::Binary => self.take_message(None),
            // All bytes are a sign of life.
            Received::Sign => {}
            Received::TooLong => {
                if let Transport::Open(link) = self.take_transport() {
                    let event = self.machine.handle_message_too_long(link.epoch, now);
                    link.drop_with(CloseCode::Size);
                    self.emit(event);
                }
            }
            Received::Closed { code, detail } => {
                if let Transport::Open(link) = self.take_transport() {
                    self.detail = detail;
                    let event = self.machine.handle_closed(link.epoch, code, now);
                    link.drop_closed();
                    self.emit(event);
                }
            }
        }
    }

    const fn take_transport(&mut self) -> Transport {
        std::mem::replace(&mut self.transport, Transport::None)
    }

    /// A text message, or a binary one.
    fn take_message(&mut self, text: Option<Utf8Bytes>) {
        let Transport::Open(link) = &self.transport else {
            return;
        };
        let event = match &text {
            Some(text) => self.machine.handle_message(link.epoch, text),
            None => self.machine.handle_binary(link.epoch),
        };
        let Some(event) = event else {
            return;
        };
        let read = link.read_bytes();
        let bytes = read.saturating_sub(std::mem::replace(&mut self.counted, read));
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if matches!(event, Event::MessageReceived) {
            drop(event);
            self.updates
                .push_message(Text::new(text.unwrap_or_default()), bytes);
            return;
        }
        let text = text.as_deref().unwrap_or_default();
        let update = match event {
            Event::MessageIgnored(why) => {
                let total = self.machine.ignored();
                info!(%why, total, "a message was ignored");
                Update::Ignored { why, total }
            }
            Event::RequestArrived {
                request_id,
                request,
            } => Update::Request {
                message: text.to_owned(),
                request_id: request_id.into_owned(),
                subtype: request.subtype().to_owned(),
            },
            Event::RequestRefused {
                request_id,
                answered,
            } => Update::RequestRefused {
                message: text.to_owned(),
                request_id: request_id.into_owned(),
                subtype: subtype(text),
                answered,
            },
            Event::RequestCancelled {
                request_id,
                cancelled,
            } => Update::RequestCancelled {
                message: Some(text.to_owned()),
                request_id: request_id.into_owned(),
                cancelled,
            },
            // A message does not cause these.
            Event::MessageReceived
            | Event::Connected
            | Event::Reconnecting { .. }
            | Event::Closed { .. }
            | _ => return,
        };
        self.tag(None);
        self.updates.push(update, bytes);
    }

    fn tick(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Some(due) = self.machine.poll_timeout() else {
            return false;
        };
        if now >= due {
            // A pong may be behind what the client has not let us read.
            if let Transport::Open(link) = &self.transport
                && link.unread
            {
                self.machine.handle_pong(link.epoch);
            }
            let event = self.machine.handle_timeout(now);
            self.emit(event);
            return true;
        }
        let until = due.min(now.after(LOOK));
        if until < self.armed || self.armed <= now {
            self.armed = until;
            let span = until.since(now) + Duration::from_millis(1);
            self.sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + span);
        }
        self.sleep.as_mut().poll(context).is_ready()
    }

    fn act(&mut self) -> bool {
        let mut moved = false;
        while let Some(action) = self.machine.poll_action() {
            moved = true;
            match action {
                Action::Hangup(_) => self.hang_up(),
                Action::Dial(epoch) => {
                    self.asking = None;
                    self.transport = Transport::Dialing(epoch, self.attempts.dial());
                }
                Action::Ping(epoch) => {
                    if let Transport::Open(link) = &mut self.transport
                        && link.epoch == epoch
                    {
                        link.ping = true;
                    }
                }
                Action::AskToken(epoch) => self.asking = Some((epoch, self.attempts.ask())),
            }
        }
        moved
    }

    /// Lets go of the dial or the connection. Only a client that leaves waits for the server to
    /// know.
    fn hang_up(&mut self) {
        if let Transport::Open(link) = self.take_transport() {
            if self.machine.close_reason() == Some(CloseReason::User) {
                self.leaving = Some(link);
            } else {
                link.drop_with(CloseCode::Normal);
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        let Transport::Open(link) = &mut self.transport else {
            return moved;
        };
        while let Poll::Ready(is_frame) = link.poll_written(context) {
            if is_frame {
                self.machine.handle_transmitted(link.epoch);
                if let Some(Some(request_id)) = self.tags.pop_front() {
                    self.updates.push(Update::Sent { request_id }, 0);
                }
                moved = true;
            }
            if link.write_ping() {
                continue;
            }
            let Some(frame) = self.machine.poll_transmit(link.epoch) else {
                break;
            };
            // The client hears of its requests, when it has room for that.
            let is_told = matches!(self.tags.front(), Some(Some(_)));
            if is_told && !self.updates.poll_room(context) {
                break;
            }
            link.write_frame(frame);
        }
        moved
    }

    fn emit(&mut self, event: Option<Event<'static>>) {
        if let Some(event) = event {
            self.emit_state(event);
        }
    }

    /// Tells the client what became of the connection.
    fn emit_state(&mut self, event: Event<'_>) {
        let update = match event {
            Event::Connected => Update::Connected,
            Event::Reconnecting {
                attempt,
                delay,
                cause,
            } => Update::Reconnecting {
                attempt,
                delay,
                cause,
                detail: self.detail.take(),
            },
            Event::RequestCancelled {
                request_id,
                cancelled,
            } => Update::RequestCancelled {
                message: None,
                request_id: request_id.into_owned(),
                cancelled,
            },
            Event::Closed { reason } => Update::Closed {
                reason,
                detail: self.detail.take(),
                unsent: self.machine.unsent(),
            },
            // What messages cause was told with them.
            Event::MessageReceived
            | Event::MessageIgnored(_)
            | Event::RequestArrived { .. }
            | Event::RequestRefused { .. }
            | _ => return,
        };
        self.updates.push(update, 0);
    }
}

fn tell(done: oneshot::Sender<Result<(), SendError>>, result: Result<(), SendError>) {
    if done.send(result).is_err() {
        debug!(?result, "nobody waits for the word");
    }
}

/// What kind of request a message is.
fn subtype(message: &str) -> String {
    match Frame::parse(message) {
        Ok(Frame::Request { request, .. }) => request.subtype().to_owned(),
        Ok(_) | Err(_) => String::new(),
    }
}

fn answer(reply: &Reply) -> Answer<'_> {
    match reply {
        Reply::Allow { updated_input } => Answer::Allow {
            updated_input: updated_input.as_deref(),
        },
        Reply::Deny { message } => Answer::Deny { message },
        Reply::Success { response } => Answer::Success {
            response: response.as_deref(),
        },
        Reply::Error { error } => Answer::Error { error },
    }
}
