//! The relay's [`Link`] with its shell, its caller and a server that says anything at any time, or
//! nothing, so that each connection may be half open.
//!
//! The shell polls actions one by one and writes when it can; the events of a transport that was
//! replaced may still come. The machine's own budgets bound the model; what would make them whole
//! again (traffic, heartbeats, sleeps, the caller) is bounded by a purse.

mod acks;
mod checks;
mod shell;
mod witness;

use std::fmt;

use hallway_core::backoff::{Epoch, Policy};
use hallway_core::relay::limits::{Limits, LimitsBuilder};
use hallway_core::relay::link::{Action, Auth, Link, Status};
use stateright::Model;

use super::retries::{Budgets, RETRY_AFTER};
use super::transports::{Transport, Transports};
use super::{at, millis, span, token};
use crate::check::Size;
use witness::Witness;

const CONNECT: u16 = 2;
const JOIN: u16 = 2;
const PROBE: u16 = 2;
const PROBED: u16 = 1;
/// The engine's interval and its patience with it.
const INTERVAL: u16 = 3;
const PATIENCE: u16 = 5;
const ACK: u16 = 2;
const ANSWER: u16 = 2;
const SLEEP: u16 = 4;
const HEALTHY: u16 = 4;
const MOST_FRAMES: usize = 2;
const MOST_ACKS: usize = 1;
/// The join, a pong and a probe have room of their own.
const OWN_FRAMES: usize = 3;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Hang-ups are not carried out.
    ForgetsHangup,
    /// A dial may take for ever.
    HidesDialDeadline,
    /// The link is not told that a transport is open.
    ForgetsOpened,
    /// Late events count for the transport that is there.
    IgnoresEpochs,
    /// What was closed connects once more.
    Reopens,
    /// The authentication is passed off as written.
    SkipsJoin,
    /// An event is written twice.
    WritesTwice,
    /// A frame that was not written is passed off as written.
    LosesFrames,
    /// The answers to heartbeats are not written.
    SkipsPongs,
    /// An acknowledgement is told twice.
    AcksTwice,
    /// The caller is not told of lost acknowledgements.
    HidesLost,
    /// Acknowledgements and probes may take twice as long.
    SlowAcks,
    /// A probe counts as answered once it was written.
    TrustsSilence,
    /// The server's heartbeats are not passed on.
    HidesBeats,
    /// The caller is not told that there is a connection.
    HidesConnected,
    /// The caller is not told that the server may hold on to the connection before.
    HidesStale,
    /// A failed dial is the end.
    FirstFailureEnds,
    /// A connection proves itself by being opened.
    ProvesByOpening,
    /// The server's wish for a delay is not passed on.
    IgnoresRetryAfter,
    /// A sleep is passed off as a tick in time.
    HidesSleep,
    /// The bounds on what waits are not kept.
    UnboundedBooks,
    /// A timeout comes a millisecond early.
    FiresEarly,
    /// Deadlines are not kept.
    ForgetsTimeouts,
}

/// How often the world and the caller may do what makes the model larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Purse {
    /// Events of ours, acknowledged or not.
    emits: u8,
    volatile: u8,
    /// Events of the server's, to be acknowledged or not.
    asks: u8,
    events: u8,
    beats: u8,
    probes: u8,
    /// What a server does out of turn.
    odd: u8,
    /// How often a frame is not written before time passes.
    stalls: u8,
    sleeps: u8,
    forced: u8,
}

impl Purse {
    /// Whether the server may say this once more.
    const fn allows(&self, said: Said) -> bool {
        match said {
            Said::Event(true) => self.asks > 0,
            Said::Event(false) => self.events > 0,
            Said::Beat => self.beats > 0,
            Said::Probed => self.probes > 0,
            _ => true,
        }
    }
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    link: Link,
    now: u16,
    transports: Transports,
    /// The machine slept and the timer has not fired.
    asleep: bool,
    purse: Purse,
    witness: Witness,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("now", &self.now)
            .field("due", &self.link.poll_timeout().map(millis))
            .field("transports", &self.transports)
            .field("status", &self.link.status())
            .field("purse", &self.purse)
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// How a dial fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failed {
    /// In a way that will pass; the server asks for so many milliseconds.
    Transient(u16),
    /// What is dialled is not there.
    NotFound,
    /// The token is refused.
    Unauthorized,
    /// In a way that does not pass by itself.
    Hopeless,
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// The engine's first packet.
    Greeting,
    /// Its consent, by which a server of this version gives an id.
    Consent(bool),
    /// A refusal, of which it is known that it does not pass.
    Refusal(bool),
    /// The same as an event.
    Error,
    /// The engine's heartbeat.
    Beat,
    /// The acknowledgement of our probe.
    Probed,
    /// The acknowledgement of our oldest event that was written.
    Ack,
    /// The acknowledgement of nothing.
    Stray,
    /// An event, to be acknowledged or not.
    Event(bool),
    /// The end of the namespace.
    Disconnect,
    /// What is no text.
    Binary,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The shell does the next thing that it is told.
    Act,
    /// Time passes until the machine wants to be told.
    Pass,
    /// The same while a frame cannot be written.
    Stall,
    /// The timer fires.
    Timeout,
    /// The caller polls an event that was left.
    PollEvent,
    /// The shell writes a frame.
    Write,
    /// The transport is open.
    Opened,
    /// The dial failed.
    DialFailed(Failed),
    /// The transport broke, or was closed with a code.
    Closed(Option<u16>),
    /// The server says something.
    Says(Said),
    /// Events of the transport before, and of any after the end.
    Late,
    /// The machine sleeps.
    Sleep,
    /// The caller sends an event, to be acknowledged or worth nothing later.
    Emit(bool),
    /// The caller acknowledges the oldest event of the server's.
    Answer,
    /// The caller forces a reconnect.
    Force,
    /// The caller closes.
    Close,
}

/// The model.
pub struct LinkModel {
    limits: Limits,
    policy: Policy,
    witness: Witness,
    purse: Purse,
    /// The server refuses nobody and closes without a word.
    plain: bool,
    flaw: Option<Flaw>,
}

impl LinkModel {
    /// How connections begin and end: failures of every class, proofs of health, sleeps.
    #[must_use]
    pub fn ends(size: Size) -> Self {
        let odd = Purse {
            odd: 1,
            ..Purse::default()
        };
        let lasting = Purse {
            beats: 1,
            sleeps: 1,
            ..Purse::default()
        };
        match size {
            Size::Small => Self::new(1, 0, odd),
            Size::Quick => Self::new(1, 0, lasting),
            Size::Deep => Self::new(1, 1, Purse { odd: 1, ..lasting }),
        }
    }

    /// What is sent and acknowledged both ways, over connections that break.
    #[must_use]
    pub fn acks(size: Size) -> Self {
        let small = Purse {
            emits: 1,
            ..Purse::default()
        };
        let purse = match size {
            Size::Small => small,
            Size::Quick => Purse {
                emits: 2,
                volatile: 1,
                ..small
            },
            Size::Deep => Purse { asks: 1, ..small },
        };
        Self {
            plain: true,
            ..Self::new(1, 0, purse)
        }
    }

    fn new(transient: u8, not_found: u8, purse: Purse) -> Self {
        let budgets = Budgets {
            transient,
            not_found,
        };
        let limits = Self::limits()
            .max_queued_frames(MOST_FRAMES)
            .max_pending_acks(MOST_ACKS)
            .max_owed_acks(MOST_ACKS);
        Self {
            limits: limits.build().expect("the limits are within their ranges"),
            policy: budgets.policy(HEALTHY),
            witness: Witness::new(budgets),
            purse,
            plain: false,
            flaw: None,
        }
    }

    fn limits() -> LimitsBuilder {
        Limits::builder()
            .connect_timeout(span(CONNECT))
            .join_timeout(span(JOIN))
            .probe_interval(span(PROBE))
            .probe_timeout(span(PROBED))
            .ack_timeout(span(ACK))
            .answer_timeout(span(ANSWER))
            .sleep_lateness(span(SLEEP))
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        let limits = match flaw {
            Flaw::UnboundedBooks => Self::limits(),
            Flaw::SlowAcks => Self::limits()
                .max_queued_frames(MOST_FRAMES)
                .max_pending_acks(MOST_ACKS)
                .max_owed_acks(MOST_ACKS)
                .ack_timeout(span(2 * ACK))
                .probe_interval(span(2 * PROBE)),
            _ => return self,
        };
        self.limits = limits.build().expect("the limits are within their ranges");
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// When the shell is to come back.
    fn deadline(&self, state: &State) -> Option<u16> {
        let dials = state.transports.dialled().is_some();
        let due = state.link.poll_timeout().map(millis);
        due.filter(|_| !(dials && self.has(Flaw::HidesDialDeadline)))
    }

    fn link(&self) -> Link {
        let auth = Auth::session(&token("T"), "S", None);
        Link::new(&self.limits, auth, self.policy, 0)
    }
}

impl State {
    /// The machine has let go of the transport and the shell has not heard of it: what the
    /// transport says counts no more.
    fn is_let_go(&self, next: Option<Action>) -> bool {
        let hangup = self.transports.epoch().map(Action::Hangup);
        hangup.is_some() && next == hangup
    }

    /// The transport that counts, if it is open.
    fn open(&self) -> Option<Epoch> {
        let open = self.transports.open()?;
        let next = self.link.clone().poll_action();
        (!self.is_let_go(next)).then_some(open)
    }

    /// Whether a frame waits that the shell can write.
    fn can_write(&self) -> bool {
        self.open()
            .is_some_and(|epoch| self.link.poll_transmit(epoch).is_some())
    }
}

impl Model for LinkModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut link = self.link();
        link.connect(at(0));
        vec![State {
            link,
            now: 0,
            transports: Transports::default(),
            asleep: false,
            purse: self.purse,
            witness: self.witness.clone(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let action = state.link.clone().poll_action();
        if action.is_some() {
            steps.push(Step::Act);
        }
        if let Some(due) = self.deadline(state) {
            // The shell does what it is told at once, by its clock.
            if state.now < due && action.is_none() {
                let stalls = state.can_write();
                steps.push(if stalls { Step::Stall } else { Step::Pass });
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
                steps.push(Step::DialFailed(Failed::Transient(0)));
                let failed = [
                    Failed::Transient(RETRY_AFTER),
                    Failed::NotFound,
                    Failed::Unauthorized,
                    Failed::Hopeless,
                ];
                let failed = failed.map(Step::DialFailed).into_iter();
                steps.extend(failed.filter(|_| !self.plain));
            }
            Some(Transport { open: true, .. }) => {
                steps.push(Step::Write);
                steps.push(Step::Closed(None));
                let said = [
                    Said::Greeting,
                    Said::Consent(true),
                    Said::Beat,
                    Said::Probed,
                    Said::Ack,
                    Said::Stray,
                    Said::Event(true),
                    Said::Event(false),
                ];
                let said = said.into_iter().filter(|said| purse.allows(*said));
                steps.extend(said.map(Step::Says));
                if !self.plain {
                    let said = [
                        Said::Consent(false),
                        Said::Refusal(true),
                        Said::Refusal(false),
                        Said::Error,
                        Said::Disconnect,
                        Said::Binary,
                    ];
                    steps.extend(said.map(Step::Says));
                    steps.push(Step::Closed(Some(1_000)));
                }
            }
            None => {}
        }
        if is_let_go || state.transports.replaced.is_some() || self.has(Flaw::IgnoresEpochs) {
            steps.push(Step::Late);
        }
        steps.push(Step::PollEvent);
        steps.extend((purse.emits > 0).then_some(Step::Emit(true)));
        steps.extend((purse.volatile > 0).then_some(Step::Emit(false)));
        steps.extend((!state.witness.owed.is_empty()).then_some(Step::Answer));
        if !matches!(state.link.status(), Status::Closed(_)) {
            steps.push(Step::Close);
        }
        if purse.forced > 0 {
            steps.push(Step::Force);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Act => self.act(&mut state),
            Step::Pass => self.pass(&mut state)?,
            Step::Stall => {
                state.purse.stalls = state.purse.stalls.checked_sub(1)?;
                self.pass(&mut state)?;
            }
            Step::Timeout => self.timeout(&mut state)?,
            Step::PollEvent => self.poll_event(&mut state),
            Step::Write => self.write(&mut state)?,
            Step::Opened => self.opened(&mut state)?,
            Step::DialFailed(failed) => self.dial_failed(&mut state, failed)?,
            Step::Closed(code) => Self::closed(&mut state, code)?,
            Step::Says(said) => self.says(&mut state, said)?,
            Step::Late => self.late(&mut state)?,
            Step::Sleep => {
                state.purse.sleeps -= 1;
                state.asleep = true;
                state.now = state.link.poll_timeout().map(millis)? + SLEEP;
            }
            Step::Emit(acked) => Self::emit(&mut state, acked)?,
            Step::Answer => Self::answer(&mut state)?,
            Step::Force => Self::force(&mut state)?,
            Step::Close => self.close(&mut state)?,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        self.statements()
    }
}
