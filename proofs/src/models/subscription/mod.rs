//! One [`Subscription`] with its shell, its caller and a server that does anything.
//!
//! The shell polls actions one by one, whenever it likes; the events of a transport that was
//! replaced may still come. The server may refuse for ever, so that the machine's own budgets
//! bound the model; what would make them whole again (traffic, sleep, the caller) is bounded by
//! a purse.

mod witness;

use std::fmt;

use hallway_core::backoff::{Growth, Policy, Schedule, Spread};
use hallway_core::session::control::Request;
use hallway_core::session::event::{
    Action, Cancelled, Cause, CloseReason, DialFailure, Epoch, Event,
};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::{Answer, Subscription};
use stateright::{Model, Property};

use super::{at, millis, span};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};
pub use witness::Ended;
use witness::{Witness, hopeless};

const DIAL: u16 = 2;
const TOKEN: u16 = 2;
const PING: u16 = 2;
const PROBE: u16 = 1;
const SLEEP: u16 = 3;
const FORCED: u16 = 1;
const HEALTHY: u16 = 3;
const GIVE_UP: u16 = 9;
const RETRY_AFTER: u16 = 2;
const TRANSIENT_DELAYS: [u16; 3] = [1, 2, 2];
const NOT_FOUND_DELAYS: [u16; 2] = [1, 2];

const BUDGETS: &str =
    "budgets are given back by proof of health, by a sleep or by the caller alone";
const DELAYS: &str = "delays are those of the policy and of Retry-After";
const ENDS: &str = "only the user, the token, a spent budget or a hopeless first dial ends it";
const EVENTS: &str = "the caller hears what happened";
const SLEPT: &str = "a sleep makes the budgets whole and probes or dials at once";
const DIALS: &str = "dials without a proof of health are bounded";
const STALE: &str = "late events of a replaced transport change nothing";
const ONE: &str = "one transport lives at most, and none after the end";
const DEADLINE: &str = "no state without a deadline but before the connect and after the end";
const ORDER: &str = "what was accepted is sent in order, again after a break, and never twice";
const REQUESTS: &str = "requests of a lost connection are dropped and the caller is told";

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A connection proves itself by being opened.
    ProvesByOpening,
    /// A failed dial is the end.
    FirstFailureEnds,
    /// Late events count for the transport that is there.
    IgnoresEpochs,
    /// Hang-ups are not carried out.
    ForgetsHangup,
    /// Deadlines are not kept.
    ForgetsTimeouts,
    /// A frame that was not written is passed off as written.
    LosesFrames,
    /// The caller is not told of dropped requests.
    HidesDropped,
    /// The server's wish for a delay is not passed on.
    IgnoresRetryAfter,
    /// A sleep is passed off as a tick in time.
    HidesSleep,
    /// The caller is not told that there is a connection.
    HidesConnected,
    /// A dial may take for ever.
    HidesDialDeadline,
}

/// The transport that the shell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Transport {
    epoch: Epoch,
    open: bool,
}

/// How often the world and the caller may do what makes the model larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Purse {
    traffic: u8,
    pongs: u8,
    sleeps: u8,
    forced: u8,
    requests: u8,
    sends: u8,
    tokens: u8,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    machine: Subscription,
    now: u16,
    transport: Option<Transport>,
    /// The transport before: its events may still come.
    replaced: Option<Epoch>,
    asked_for_token: Option<Epoch>,
    /// The dial whose token was refused, while the word about another one is due.
    refused: Option<Epoch>,
    /// When the ping that waits for its pong was sent.
    pinged: Option<u16>,
    /// The machine slept and the timer has not fired.
    asleep: bool,
    purse: Purse,
    witness: Witness,
    two_lived: bool,
    stale_counted: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("now", &self.now)
            .field("due", &self.machine.poll_timeout().map(millis))
            .field("transport", &self.transport)
            .field("closed", &self.machine.close_reason())
            .field("purse", &self.purse)
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The shell does the next thing that it is told.
    Act,
    /// Time passes until the machine wants to be told.
    Pass,
    /// The timer fires.
    Timeout,
    /// The caller polls an event that was left.
    PollEvent,
    /// The shell writes a frame; whether it hears that it was written.
    Write(bool),
    /// The transport is open.
    Opened,
    /// The dial failed.
    DialFailed(Ended),
    /// The transport was closed with a code.
    Closed(u16),
    /// The answer to the question for a token.
    Token(bool),
    /// A pong.
    Pong,
    /// A message, or nonsense.
    Message(bool),
    /// The server asks for permission, or takes the question back.
    Asks(bool),
    /// Events of the transport before.
    Late,
    /// The machine sleeps.
    Sleep,
    /// The caller sends a request.
    Send,
    /// The caller answers a request.
    Answer,
    /// The caller forces a reconnect.
    Force,
    /// The caller closes.
    Close,
}

/// The model.
pub struct SubscriptionModel {
    limits: Limits,
    policy: Policy,
    witness: Witness,
    purse: Purse,
    flaw: Option<Flaw>,
}

impl SubscriptionModel {
    /// The policy: failures of every class, proofs of health, sleeps, tokens.
    #[must_use]
    pub fn policy(size: Size) -> Self {
        let purse = Purse {
            sleeps: 1,
            tokens: 1,
            ..Purse::default()
        };
        let more = Purse {
            traffic: 1,
            pongs: 1,
            ..purse
        };
        match size {
            Size::Small => Self::new(1, 0, purse),
            Size::Quick => Self::new(1, 1, more),
            Size::Deep => Self::new(2, 1, more),
        }
    }

    /// What is asked and sent, over connections that break.
    #[must_use]
    pub fn queues(size: Size) -> Self {
        let (requests, forced) = match size {
            Size::Small => (1, 0),
            Size::Quick => (2, 0),
            Size::Deep => (2, 1),
        };
        let purse = Purse {
            requests,
            sends: 1,
            forced,
            ..Purse::default()
        };
        Self::new(1, 0, purse)
    }

    fn new(most_transient: u8, most_not_found: u8, purse: Purse) -> Self {
        let limits = Limits::builder()
            .dial_timeout(span(DIAL))
            .token_timeout(span(TOKEN))
            .ping_interval(span(PING))
            .probe_timeout(span(PROBE))
            .sleep_lateness(span(SLEEP));
        let schedule = |max_retries: u8, growth| Schedule {
            max_retries: u32::from(max_retries),
            first_delay: span(1),
            max_delay: span(2),
            growth,
            spread: Spread::None,
        };
        let policy = Policy::builder()
            .transient(schedule(most_transient, Growth::Double))
            .not_found(schedule(most_not_found, Growth::Linear))
            .forced_delay(span(FORCED))
            .healthy_after(span(HEALTHY))
            .settled_after(span(0))
            .give_up_after(span(GIVE_UP));
        Self {
            limits: limits.build().expect("the limits are within their ranges"),
            policy: policy.build().expect("the policy is within its ranges"),
            witness: Witness::new(most_transient, most_not_found),
            purse,
            flaw: None,
        }
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// When the shell is to come back.
    fn deadline(&self, state: &State) -> Option<u16> {
        let dials = state.transport.is_some_and(|transport| !transport.open);
        let due = state.machine.poll_timeout().map(millis);
        due.filter(|_| !(dials && self.has(Flaw::HidesDialDeadline)))
    }

    fn act(&self, state: &mut State) {
        let live = state.transport.map(|transport| transport.epoch);
        match state.machine.poll_action() {
            Some(Action::Hangup(epoch))
                if live == Some(epoch) && !self.has(Flaw::ForgetsHangup) =>
            {
                state.leave();
            }
            Some(Action::Hangup(_)) | None => {}
            Some(Action::Dial(epoch)) => {
                state.two_lived |= live.is_some() || state.witness.closed.is_some();
                state.witness.dials += 1;
                state.pinged = None;
                state.transport = Some(Transport { epoch, open: false });
            }
            Some(Action::Ping(epoch)) => {
                state.witness.expect(live == Some(epoch), EVENTS);
                state.pinged = Some(state.now);
            }
            Some(Action::AskToken(epoch)) => state.asked_for_token = Some(epoch),
        }
    }

    fn timeout(&self, state: &mut State) -> Option<()> {
        let due = millis(state.machine.poll_timeout()?);
        if state.now < due {
            return None;
        }
        let was_open = state.machine.open_epoch().is_some();
        let refused = state.refused;
        let now = if self.has(Flaw::HidesSleep) && state.asleep {
            due
        } else {
            state.now
        };
        let event = state.machine.handle_timeout(at(now));
        if state.now - due >= SLEEP {
            let live = was_open || refused.is_some();
            state.witness.slept(event.as_ref(), live);
            if was_open {
                let mut probe = state.machine.clone();
                let probes = matches!(probe.poll_action(), Some(Action::Ping(_)));
                state.witness.expect(probes, SLEPT);
            }
        } else if let Some(Event::Reconnecting { cause, .. }) = event {
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        } else if let Some(Event::Closed { reason }) = event {
            match reason {
                CloseReason::GaveUp { cause, .. } => {
                    state
                        .witness
                        .end(Ended::Transient(0), cause, state.now, event.as_ref());
                }
                _ => {
                    let expected = refused.is_some() && reason == CloseReason::Unauthorized;
                    state.witness.expect(expected, ENDS);
                    state.witness.close(reason);
                    state.refused = None;
                }
            }
        }
        state.asleep = false;
        Some(())
    }

    fn write(&self, state: &mut State, heard: bool) -> Option<()> {
        let epoch = state.transport.filter(|transport| transport.open)?.epoch;
        let frame = state.machine.poll_transmit(epoch)?.to_owned();
        let first = state.witness.accepted.first().copied();
        let expected = first.is_some_and(|id| frame.contains(&format!("\"{id}\"")));
        state.witness.expect(expected, ORDER);
        if heard {
            state.machine.handle_transmitted(epoch);
            if !state.witness.accepted.is_empty() {
                state.witness.accepted.remove(0);
            }
        } else {
            if self.has(Flaw::LosesFrames) {
                state.machine.handle_transmitted(epoch);
            }
            let event = state.machine.handle_closed(epoch, None, at(state.now));
            state.leave();
            let cause = Cause::ConnectionClosed(None);
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        }
        Some(())
    }

    fn dial_failed(&self, state: &mut State, ended: Ended) -> Option<()> {
        let transport = state.transport.filter(|transport| !transport.open)?;
        let failure = match ended {
            Ended::Transient(0) => DialFailure::Unreachable,
            Ended::Transient(asked) => DialFailure::Status {
                status: 503,
                retry_after: (!self.has(Flaw::IgnoresRetryAfter)).then(|| span(asked)),
            },
            Ended::NotFound => status(404),
            Ended::Unauthorized => status(401),
            Ended::Hopeless => hopeless(),
        };
        let now = at(state.now);
        let event = if self.has(Flaw::FirstFailureEnds) {
            state.machine.close()
        } else {
            state
                .machine
                .handle_dial_failed(transport.epoch, failure, now)
        };
        state.leave();
        if ended == Ended::Unauthorized {
            state.witness.expect(event.is_none(), ENDS);
            state.refused = Some(transport.epoch);
        } else {
            let cause = match failure {
                DialFailure::Status { status: 503, .. } => Cause::DialFailed(DialFailure::Status {
                    status: 503,
                    retry_after: Some(span(RETRY_AFTER)),
                }),
                _ => Cause::DialFailed(failure),
            };
            state.witness.end(ended, cause, state.now, event.as_ref());
        }
        Some(())
    }

    fn late(&self, state: &mut State) -> Option<()> {
        let old = if state.is_let_go() || self.has(Flaw::IgnoresEpochs) {
            state.transport?.epoch
        } else {
            state.replaced.take()?
        };
        let before = state.machine.clone();
        let now = at(state.now);
        let mut heard = state.machine.handle_opened(old, now).is_some();
        heard |= state.machine.handle_message(old, MESSAGE).is_some();
        state.machine.handle_pong(old);
        state.machine.handle_transmitted(old);
        let (closed, failed) = (Some(4_003), DialFailure::Untrusted);
        heard |= state.machine.handle_message_too_long(old, now).is_some();
        heard |= state.machine.handle_closed(old, closed, now).is_some();
        heard |= state.machine.handle_dial_failed(old, failed, now).is_some();
        if state.refused != Some(old) {
            heard |= state.machine.handle_token(old, false, now).is_some();
        }
        state.stale_counted |= heard || state.machine != before;
        Some(())
    }

    fn opened(&self, state: &mut State) -> Option<()> {
        let transport = state
            .transport
            .as_mut()
            .filter(|transport| !transport.open)?;
        transport.open = true;
        let epoch = transport.epoch;
        let event = state.machine.handle_opened(epoch, at(state.now));
        let event = event.filter(|_| !self.has(Flaw::HidesConnected));
        state.witness.open(state.now, event.as_ref());
        if self.has(Flaw::ProvesByOpening) {
            state.machine.handle_message(epoch, MESSAGE);
        }
        Some(())
    }

    fn closed(state: &mut State, code: u16) -> Option<()> {
        let transport = state.transport.filter(|transport| transport.open)?;
        if state.witness.proves_at(state.now) {
            state.purse.pongs = state.purse.pongs.checked_sub(1)?;
        }
        state.witness.heard(state.now);
        let event = state
            .machine
            .handle_closed(transport.epoch, Some(code), at(state.now));
        state.leave();
        let ended = match code {
            4_001 => Ended::NotFound,
            4_003 => Ended::Unauthorized,
            _ => Ended::Transient(0),
        };
        let cause = Cause::ConnectionClosed(Some(code));
        state.witness.end(ended, cause, state.now, event.as_ref());
        Some(())
    }

    fn token(state: &mut State, another: bool) -> Option<()> {
        let epoch = state.asked_for_token.take()?;
        if another {
            state.purse.tokens = state.purse.tokens.checked_sub(1)?;
        }
        let waited = state.refused == Some(epoch);
        let event = state.machine.handle_token(epoch, another, at(state.now));
        if waited {
            state.refused = None;
        }
        if !waited {
            state.witness.expect(event.is_none(), STALE);
        } else if another {
            let cause = Cause::DialFailed(status(401));
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        } else {
            let reason = CloseReason::Unauthorized;
            state
                .witness
                .expect(event == Some(Event::Closed { reason }), ENDS);
            state.witness.close(reason);
        }
        Some(())
    }

    fn message(state: &mut State, sound: bool) -> Option<()> {
        let transport = state.transport.filter(|transport| transport.open)?;
        let event = if sound {
            state.purse.traffic = state.purse.traffic.checked_sub(1)?;
            state.machine.handle_message(transport.epoch, MESSAGE)
        } else {
            state.purse.pongs = state.purse.pongs.checked_sub(1)?;
            state.machine.handle_message(transport.epoch, "?")
        };
        state.hear();
        if sound {
            state.witness.traffic();
        }
        let expected = matches!(event, Some(Event::MessageReceived)) == sound;
        state.witness.expect(expected, EVENTS);
        Some(())
    }

    fn asks(state: &mut State, takes_back: bool) -> Option<()> {
        let transport = state.transport.filter(|transport| transport.open)?;
        let id = if takes_back {
            *state.witness.waiting.first()?
        } else {
            state.purse.requests = state.purse.requests.checked_sub(1)?;
            10 + state.purse.requests
        };
        let text = if takes_back {
            format!(r#"{{"type":"control_cancel_request","request_id":"{id}"}}"#)
        } else {
            format!(
                r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"can_use_tool","tool_name":"","input":{{}},"tool_use_id":""}}}}"#
            )
        };
        let event = state.machine.handle_message(transport.epoch, &text);
        state.hear();
        state.witness.traffic();
        if takes_back {
            state.witness.waiting.remove(0);
            let told = matches!(
                event,
                Some(Event::RequestCancelled {
                    cancelled: Cancelled::ByServer,
                    ..
                })
            );
            state.witness.expect(told, REQUESTS);
        } else {
            state.witness.waiting.push(id);
            let told = matches!(event, Some(Event::RequestArrived { .. }));
            state.witness.expect(told, REQUESTS);
        }
        Some(())
    }

    fn answer(state: &mut State) -> Option<()> {
        if state.witness.waiting.is_empty() {
            return None;
        }
        let id = state.witness.waiting.remove(0);
        let deny = Answer::Deny { message: "" };
        let answered = state.machine.answer(&id.to_string(), deny);
        state.witness.expect(answered.is_ok(), REQUESTS);
        let again = state.machine.answer(&id.to_string(), deny);
        state.witness.expect(again.is_err(), REQUESTS);
        state.witness.accepted.push(id);
        Some(())
    }

    fn send(state: &mut State) -> Option<()> {
        if state.witness.closed.is_some() {
            return None;
        }
        state.purse.sends = state.purse.sends.checked_sub(1)?;
        let id = state.purse.sends;
        let sent = state.machine.request(&id.to_string(), &Request::Interrupt);
        state.witness.expect(sent.is_ok(), ORDER);
        state.witness.accepted.push(id);
        Some(())
    }

    fn poll_event(&self, state: &mut State) -> Option<()> {
        let event = state.machine.poll_event();
        let event = event.filter(|_| !self.has(Flaw::HidesDropped));
        let Some(event) = event else {
            state
                .witness
                .expect(state.witness.dropped.is_empty(), REQUESTS);
            return Some(());
        };
        let told = matches!(
            &event,
            Event::RequestCancelled { request_id, cancelled: Cancelled::Reconnected }
                if state.witness.dropped.first().is_some_and(|id| id.to_string() == **request_id)
        );
        state.witness.expect(told, REQUESTS);
        if !state.witness.dropped.is_empty() {
            state.witness.dropped.remove(0);
        }
        Some(())
    }
}

const MESSAGE: &str = r#"{"type":"x"}"#;

const fn status(status: u16) -> DialFailure {
    DialFailure::Status {
        status,
        retry_after: None,
    }
}

impl State {
    /// The transport is gone; its events may still come.
    fn leave(&mut self) {
        self.replaced = self.transport.take().map(|transport| transport.epoch);
        self.pinged = None;
    }

    /// Something came from the server: it had lived when the last ping was sent.
    fn hear(&mut self) {
        if let Some(pinged) = self.pinged.take() {
            self.witness.heard(pinged);
        }
    }

    /// The machine has let go of the transport and the shell has not heard of it: what the
    /// transport says counts no more.
    fn is_let_go(&self) -> bool {
        let hangup = self
            .transport
            .map(|transport| Action::Hangup(transport.epoch));
        hangup.is_some() && self.machine.clone().poll_action() == hangup
    }

    fn is_connected(&self) -> bool {
        self.machine.open_epoch().is_some()
    }
}

impl Model for SubscriptionModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut machine = Subscription::new(&self.limits, self.policy, 0);
        machine.connect(at(0));
        vec![State {
            machine,
            now: 0,
            transport: None,
            replaced: None,
            asked_for_token: None,
            refused: None,
            pinged: None,
            asleep: false,
            purse: self.purse,
            witness: self.witness.clone(),
            two_lived: false,
            stale_counted: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Act);
        if let Some(due) = self.deadline(state) {
            // The shell does what it is told at once, by its clock.
            if state.now < due && state.machine.clone().poll_action().is_none() {
                steps.push(Step::Pass);
            }
            if state.now >= due && !self.has(Flaw::ForgetsTimeouts) {
                steps.push(Step::Timeout);
            }
            if state.purse.sleeps > 0 && !state.asleep {
                steps.push(Step::Sleep);
            }
        }
        if state.asleep {
            return;
        }
        match state.transport.filter(|_| !state.is_let_go()) {
            Some(Transport { open: false, .. }) => {
                steps.push(Step::Opened);
                let ended = [
                    Ended::Transient(0),
                    Ended::Transient(RETRY_AFTER),
                    Ended::NotFound,
                    Ended::Unauthorized,
                    Ended::Hopeless,
                ];
                steps.extend(ended.map(Step::DialFailed));
            }
            Some(Transport { open: true, .. }) => {
                steps.extend([1_002, 4_001, 4_003].map(Step::Closed));
                steps.extend([true, false].map(Step::Write));
                steps.extend([true, false].map(Step::Message));
                steps.extend([true, false].map(Step::Asks));
                if state.pinged.is_some() && state.purse.pongs > 0 {
                    steps.push(Step::Pong);
                }
            }
            None => {}
        }
        if state.asked_for_token.is_some() {
            steps.extend([true, false].map(Step::Token));
        }
        steps.extend([
            Step::Late,
            Step::PollEvent,
            Step::Answer,
            Step::Send,
            Step::Close,
        ]);
        if state.purse.forced > 0 {
            steps.push(Step::Force);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Act => self.act(&mut state),
            Step::Pass => state.now = state.machine.poll_timeout().map(millis)?,
            Step::Timeout => self.timeout(&mut state)?,
            Step::PollEvent => self.poll_event(&mut state)?,
            Step::Write(heard) => self.write(&mut state, heard)?,
            Step::Opened => self.opened(&mut state)?,
            Step::DialFailed(ended) => self.dial_failed(&mut state, ended)?,
            Step::Closed(code) => Self::closed(&mut state, code)?,
            Step::Token(another) => Self::token(&mut state, another)?,
            Step::Pong => {
                state.purse.pongs -= 1;
                state.hear();
                state.machine.handle_pong(state.transport?.epoch);
            }
            Step::Message(sound) => Self::message(&mut state, sound)?,
            Step::Asks(takes_back) => Self::asks(&mut state, takes_back)?,
            Step::Late => self.late(&mut state)?,
            Step::Sleep => {
                state.purse.sleeps -= 1;
                state.asleep = true;
                state.now = state.machine.poll_timeout().map(millis)? + SLEEP;
            }
            Step::Send => Self::send(&mut state)?,
            Step::Answer => Self::answer(&mut state)?,
            Step::Force => {
                state.purse.forced -= 1;
                let event = state.machine.reconnect(at(state.now))?;
                state.refused = None;
                state.witness.forced(Some(&event));
            }
            Step::Close => {
                let event = state.machine.close()?;
                let reason = CloseReason::User;
                state
                    .witness
                    .expect(event == Event::Closed { reason }, ENDS);
                state.refused = None;
                state.witness.close(reason);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! judged {
            ($($name:ident)*) => {
                vec![$(Property::always($name, |_, s: &State| {
                    !s.witness.misjudged.contains(&$name)
                })),*]
            };
        }
        let mut properties = judged!(BUDGETS DELAYS ENDS EVENTS SLEPT ORDER REQUESTS);
        properties.extend([
            Property::always(STALE, |_, s: &State| {
                !s.stale_counted && !s.witness.misjudged.contains(&STALE)
            }),
            Property::always(ONE, |_, s: &State| !s.two_lived),
            Property::always(DEADLINE, |m: &Self, s: &State| {
                m.deadline(s).is_some() == s.machine.close_reason().is_none()
            }),
            Property::always(DIALS, |m: &Self, s: &State| {
                u32::from(s.witness.dials) <= m.policy.max_dials()
            }),
            Property::always("the machine knows what the caller knows", |_, s: &State| {
                s.machine.pending_requests() == s.witness.waiting.len()
                    && s.machine.unsent() == s.witness.accepted.len()
                    && s.machine.close_reason() == s.witness.closed
            }),
            Property::sometimes("a reconnect succeeds after failures", |_, s: &State| {
                s.is_connected() && s.witness.dials > 1
            }),
        ]);
        if self.purse.requests > 0 {
            properties.push(Property::sometimes(
                "an answer outlives its connection",
                |_, s: &State| !s.is_connected() && s.witness.accepted.iter().any(|id| *id >= 10),
            ));
        }
        if self.purse.tokens > 0 {
            properties.push(Property::sometimes(
                "another token helps",
                |m: &Self, s: &State| s.is_connected() && s.purse.tokens < m.purse.tokens,
            ));
        }
        properties
    }
}

impl Proof for SubscriptionModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![
            Goal {
                promise: Promise::Inevitable,
                name: "it is connected in the end, or it has ended",
                good: |_, s| s.is_connected() || s.witness.closed.is_some(),
            },
            Goal {
                promise: Promise::Inevitable,
                name: "a server that answers no ping is left",
                good: |_, s| !s.is_connected(),
            },
            Goal {
                promise: Promise::StaysReachable,
                name: "an end stays reachable, with no transport left",
                good: |_, s| s.witness.closed.is_some() && s.transport.is_none(),
            },
        ]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Act | Step::Pass | Step::Timeout)
    }
}
