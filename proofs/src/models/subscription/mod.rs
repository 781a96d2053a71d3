//! One [`Subscription`] with its shell, its caller and a server that does anything.
//!
//! The shell polls actions one by one, whenever it likes; the events of a transport that was
//! replaced may still come. The server may refuse for ever, so that the machine's own budgets
//! bound the model; what would make them whole again (traffic, sleep, the caller) is bounded by
//! a purse.

mod checks;
mod shell;
mod witness;

use std::fmt;

use hallway_core::backoff::Policy;
use hallway_core::session::event::{Action, Epoch};
use hallway_core::session::limits::Limits;
use hallway_core::session::subscription::Subscription;
use stateright::{Model, Property};

use super::retries::{Budgets, RETRY_AFTER};
use super::transports::{Transport, Transports};
use super::{at, millis, span};
use crate::check::Size;
pub use witness::Ended;
use witness::Witness;

const DIAL: u16 = 2;
const TOKEN: u16 = 2;
const PING: u16 = 2;
const PROBE: u16 = 1;
const SLEEP: u16 = 3;
const HEALTHY: u16 = 3;

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
    /// A forced reconnect is passed off as a connection that broke.
    ForcesByBreaking,
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
    transports: Transports,
    asked_for_token: Option<Epoch>,
    /// The dial whose token was refused, while the word about another one is due.
    refused: Option<Epoch>,
    /// When the machine asked for the ping that waits for its pong.
    pinged: Option<u16>,
    /// The machine slept and the timer has not fired.
    asleep: bool,
    purse: Purse,
    witness: Witness,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("now", &self.now)
            .field("due", &self.machine.poll_timeout().map(millis))
            .field("transports", &self.transports)
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

    /// The same where the caller also forces a reconnect, at any time.
    #[must_use]
    pub fn forced(size: Size) -> Self {
        let purse = Purse {
            tokens: 1,
            forced: 1,
            ..Purse::default()
        };
        let more = Purse {
            sleeps: 1,
            traffic: 1,
            ..purse
        };
        match size {
            Size::Small => Self::new(1, 0, purse),
            Size::Quick => Self::new(1, 0, more),
            Size::Deep => Self::new(1, 1, Purse { pongs: 1, ..more }),
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

    fn new(transient: u8, not_found: u8, purse: Purse) -> Self {
        let budgets = Budgets {
            transient,
            not_found,
        };
        let limits = Limits::builder()
            .dial_timeout(span(DIAL))
            .token_timeout(span(TOKEN))
            .ping_interval(span(PING))
            .probe_timeout(span(PROBE))
            .sleep_lateness(span(SLEEP));
        Self {
            limits: limits.build().expect("the limits are within their ranges"),
            policy: budgets.policy(HEALTHY),
            witness: Witness::new(budgets),
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
        let dials = state.transports.dialled().is_some();
        let due = state.machine.poll_timeout().map(millis);
        due.filter(|_| !(dials && self.has(Flaw::HidesDialDeadline)))
    }
}

impl State {
    /// The transport is gone; its events may still come.
    fn leave(&mut self) {
        self.transports.leave();
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
    fn is_let_go(&self, next: Option<Action>) -> bool {
        let hangup = self.transports.epoch().map(Action::Hangup);
        hangup.is_some() && next == hangup
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
            transports: Transports::default(),
            asked_for_token: None,
            refused: None,
            pinged: None,
            asleep: false,
            purse: self.purse,
            witness: self.witness.clone(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let action = state.machine.clone().poll_action();
        if action.is_some() {
            steps.push(Step::Act);
        }
        if let Some(due) = self.deadline(state) {
            // The shell does what it is told at once, by its clock.
            if state.now < due && action.is_none() {
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
        let (purse, live) = (&state.purse, state.transports.live);
        let is_let_go = state.is_let_go(action);
        match live.filter(|_| !is_let_go) {
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
            Some(Transport { open: true, epoch }) => {
                steps.extend([1_002, 4_001, 4_003].map(Step::Closed));
                if state.machine.poll_transmit(epoch).is_some() {
                    steps.extend([true, false].map(Step::Write));
                }
                steps.extend((purse.traffic > 0).then_some(Step::Message(true)));
                steps.extend((purse.pongs > 0).then_some(Step::Message(false)));
                steps.extend((!state.witness.waiting.is_empty()).then_some(Step::Asks(true)));
                steps.extend((purse.requests > 0).then_some(Step::Asks(false)));
                if state.pinged.is_some() && purse.pongs > 0 {
                    steps.push(Step::Pong);
                }
            }
            None => {}
        }
        if state.asked_for_token.is_some() {
            steps.extend((purse.tokens > 0).then_some(Step::Token(true)));
            steps.push(Step::Token(false));
        }
        if is_let_go || state.transports.replaced.is_some() || self.has(Flaw::IgnoresEpochs) {
            steps.push(Step::Late);
        }
        if self.purse.requests > 0 {
            steps.push(Step::PollEvent);
        }
        steps.extend((!state.witness.waiting.is_empty()).then_some(Step::Answer));
        steps.extend((purse.sends > 0).then_some(Step::Send));
        if state.machine.close_reason().is_none() {
            steps.push(Step::Close);
            steps.extend((purse.forced > 0).then_some(Step::Force));
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
                state.machine.handle_pong(state.transports.epoch()?);
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
            Step::Force => self.force(&mut state)?,
            Step::Close => Self::close(&mut state)?,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.statements()
    }
}
