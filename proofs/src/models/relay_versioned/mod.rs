//! The relay's [`Versioned`] value against a server that compares versions, other writers of
//! which some cannot be read, and a link that breaks or never answers.
//!
//! A value is a set of members: one for each update of ours, one for each write of another's.
//! A merge adds the update's member to what is known.

mod shell;

use std::fmt;

use hallway_core::relay::limits::Limits;
use hallway_core::relay::plaintext::Document;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::versioned::{Attempt, UpdateId, Value, Versioned};
use stateright::{Model, Property};

use super::verdicts::{Verdicts, judged};
use super::{at, millis, span};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};

const ACK: u16 = 2;
const UPDATE: u16 = 5;
const MOST_UPDATES: usize = 2;
const MOST_MERGES: usize = 2;

const ONE: &str = "one attempt is under way at most";
const LOST: &str = "no write of anybody's is lost";
const BLIND: &str = "what cannot be read is never written over";
const OUTCOMES: &str = "an outcome comes once, in order, and is true";
const KNOWN: &str = "what is known is what the server had under its version";
const ROOM: &str = "an update is refused when too many wait and only then";
const DEADLINE: &str = "what waits has a deadline";
const TIMELY: &str = "an update has its outcome by its deadline";
const EARLY: &str = "a timeout acts when it is due, and not before";
const GONE: &str = "after the end nothing is attempted";

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// An attempt is forgotten and made again.
    AsksTwice,
    /// A merge begins with nothing.
    MergesOnNothing,
    /// What cannot be read is passed off as null.
    ReadsNull,
    /// Silence is taken for success.
    BelievesSilence,
    /// An outcome is told twice.
    TellsTwice,
    /// A value is told under another version.
    MislabelsVersions,
    /// The bound on updates is not kept.
    UnboundedUpdates,
    /// An attempt may take for ever.
    HidesDeadline,
    /// The deadlines are a millisecond too far.
    SlowDeadline,
    /// A timeout comes a millisecond early.
    FiresEarly,
    /// The machine is not told of the end.
    HidesEnd,
    /// Deadlines are not kept.
    ForgetsTimeouts,
}

/// What the server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    members: u8,
    readable: bool,
}

/// What the server says to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Said {
    Success(u8),
    Mismatch(u8),
    Error,
}

/// What is on its way to us, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Down {
    Told(u8),
    Ack(Attempt, Said),
}

/// A write on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    attempt: Attempt,
    members: u8,
}

/// An update without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    id: UpdateId,
    member: u8,
    since: u16,
}

/// How often the world and the caller may do what makes the model larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Purse {
    updates: u8,
    others: u8,
    unreadable: u8,
    errors: u8,
    silences: u8,
    races: u8,
    breaks: u8,
    ends: u8,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    machine: Versioned,
    now: u16,
    connected: bool,
    /// What the server has held, by version.
    history: Vec<Held>,
    up: Option<Write>,
    down: Vec<Down>,
    waiting: Vec<Waiting>,
    /// The attempt whose answer is awaited, and until when.
    asking: Option<(Attempt, u16)>,
    requested: u8,
    ended: bool,
    purse: Purse,
    verdicts: Verdicts,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("now", &self.now)
            .field("due", &self.machine.poll_timeout().map(millis))
            .field("version", &self.machine.version())
            .field("history", &self.history)
            .field("up", &self.up)
            .field("down", &self.down)
            .field("waiting", &self.waiting)
            .field("verdicts", &self.verdicts)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The caller asks for an update.
    Request,
    /// The shell asks for an attempt, merges and sends.
    Attempt,
    /// The server takes the write.
    Serve,
    /// The server refuses the write.
    Refuse,
    /// The server says nothing to the write.
    Ignore,
    /// Another write comes first, and the server tells of the version before it.
    Race,
    /// Another writes what can be read, or not.
    Other(bool),
    /// What the server said arrives.
    Deliver,
    /// The link breaks.
    Break,
    /// The link is there.
    Connect,
    /// The next outcome is polled.
    Poll,
    /// The session is gone.
    Gone,
    /// Time passes until the machine wants to be told.
    Pass,
    /// The same while something is on its way.
    Slow,
    /// The timer fires.
    Timeout,
}

/// The model.
pub struct VersionedModel {
    limits: Limits,
    purse: Purse,
    flaw: Option<Flaw>,
}

impl VersionedModel {
    /// One value. The deep one is of a server that answers every write, and of one update more than
    /// may wait; with silences, too, there are more than ten million states.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        let small = Purse {
            updates: 1,
            others: 1,
            unreadable: 1,
            silences: 1,
            ends: 1,
            ..Purse::default()
        };
        let purse = match size {
            Size::Small => small,
            Size::Quick => Purse {
                updates: 2,
                errors: 1,
                races: 1,
                breaks: 1,
                ..small
            },
            Size::Deep => Purse {
                updates: 3,
                errors: 1,
                silences: 0,
                races: 1,
                breaks: 1,
                ..small
            },
        };
        Self {
            limits: Self::limits(MOST_UPDATES),
            purse,
            flaw: None,
        }
    }

    fn limits(most_updates: usize) -> Limits {
        let limits = Limits::builder()
            .ack_timeout(span(ACK))
            .update_timeout(span(UPDATE))
            .max_merges(MOST_MERGES)
            .max_updates(most_updates);
        limits.build().expect("the limits are within their ranges")
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        if flaw == Flaw::UnboundedUpdates {
            self.limits = Self::limits(16);
        }
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn deadline(&self, state: &State) -> Option<u16> {
        let due = state.machine.poll_timeout().map(millis);
        let due = due.filter(|_| !(self.has(Flaw::HidesDeadline) && state.asking.is_some()));
        due.map(|due| due + u16::from(self.has(Flaw::SlowDeadline)))
    }

    /// What we make of what the server held.
    fn value(&self, held: Held) -> Value {
        if !held.readable {
            return if self.has(Flaw::ReadsNull) {
                Value::Null
            } else {
                Value::Unreadable
            };
        }
        let mut document = Document::default();
        for member in (0..8).filter(|member| held.members >> member & 1 == 1) {
            document.set(&format!("m{member}"), Raw::NULL);
        }
        Value::Document(document)
    }

    fn knows(&self, state: &State) -> bool {
        let version = u8::try_from(state.machine.version()).ok();
        let held = version.and_then(|version| state.at(version));
        held.is_some_and(|held| self.value(held) == *state.machine.value())
    }
}

impl State {
    fn version(&self) -> u8 {
        u8::try_from(self.history.len() - 1).expect("few versions are written")
    }

    fn at(&self, version: u8) -> Option<Held> {
        self.history.get(usize::from(version)).copied()
    }

    fn held(&self) -> Held {
        self.at(self.version()).expect("there is a first version")
    }

    /// The server's value is written, and those who are connected are told.
    fn write(&mut self, held: Held) {
        self.history.push(held);
        if self.connected {
            self.down.push(Down::Told(self.version()));
        }
    }

    fn other(&mut self, readable: bool) {
        let members = self.held().members | 1 << (4 + self.version() % 4);
        self.write(Held { members, readable });
    }

    fn is_served(&self) -> bool {
        self.up.is_some() || !self.down.is_empty()
    }
}

impl Model for VersionedModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let held = Held {
            members: 0,
            readable: true,
        };
        vec![State {
            machine: Versioned::new(&self.limits, 0, self.value(held)),
            now: 0,
            connected: false,
            history: vec![held],
            up: None,
            down: Vec::new(),
            waiting: Vec::new(),
            asking: None,
            requested: 0,
            ended: false,
            purse: self.purse,
            verdicts: Verdicts::default(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let purse = &state.purse;
        let told = state.machine.clone().poll_outcome().is_some();
        steps.extend((purse.updates > 0).then_some(Step::Request));
        steps.push(Step::Attempt);
        steps.extend((!state.down.is_empty()).then_some(Step::Deliver));
        steps.extend(told.then_some(Step::Poll));
        if state.up.is_some() {
            steps.push(Step::Serve);
            steps.extend((purse.errors > 0).then_some(Step::Refuse));
            steps.extend((purse.silences > 0).then_some(Step::Ignore));
            steps.extend((purse.races > 0).then_some(Step::Race));
        }
        steps.extend((purse.others > 0).then_some(Step::Other(true)));
        steps.extend((purse.unreadable > 0).then_some(Step::Other(false)));
        if !state.connected {
            steps.push(Step::Connect);
        } else if purse.breaks > 0 {
            steps.push(Step::Break);
        }
        steps.extend((purse.ends > 0).then_some(Step::Gone));
        if let Some(due) = self.deadline(state) {
            // Outcomes are taken before time passes.
            if state.now < due && !told {
                steps.push(if state.is_served() {
                    Step::Slow
                } else {
                    Step::Pass
                });
            }
            if state.now >= due && !self.has(Flaw::ForgetsTimeouts) {
                steps.push(Step::Timeout);
            }
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Request => Self::request(&mut state)?,
            Step::Attempt => self.attempt(&mut state)?,
            Step::Serve | Step::Refuse | Step::Ignore | Step::Race => {
                self.answer(&mut state, step)?;
            }
            Step::Other(readable) => {
                let purse = if readable {
                    &mut state.purse.others
                } else {
                    &mut state.purse.unreadable
                };
                *purse = purse.checked_sub(1)?;
                state.other(readable);
            }
            Step::Deliver => self.deliver(&mut state)?,
            Step::Break => {
                state.purse.breaks = state.purse.breaks.checked_sub(1)?;
                state.connected = false;
                state.asking = None;
                state.up = None;
                state.down.clear();
                state.machine.handle_disconnected();
            }
            Step::Connect => {
                state.connected = true;
                state.machine.handle_connected();
            }
            Step::Poll => self.poll(&mut state)?,
            Step::Gone => {
                state.purse.ends -= 1;
                state.ended = true;
                state.asking = None;
                if !self.has(Flaw::HidesEnd) {
                    state.machine.handle_gone();
                }
            }
            Step::Pass => self.pass(&mut state)?,
            Step::Slow => {
                state.purse.silences = state.purse.silences.checked_sub(1)?;
                self.pass(&mut state)?;
            }
            Step::Timeout => {
                state.machine.handle_timeout(at(state.now));
                state.asking = state.asking.filter(|(_, until)| state.now < *until);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = judged!(s => s.verdicts; ONE LOST BLIND OUTCOMES ROOM EARLY GONE);
        properties.extend([
            Property::always(KNOWN, |m: &Self, s: &State| m.knows(s)),
            Property::always(DEADLINE, |m: &Self, s: &State| {
                s.machine.is_settled() || m.deadline(s).is_some()
            }),
            Property::always(TIMELY, |_, s: &State| {
                let late = |waiting: &Waiting| s.now > waiting.since + UPDATE;
                s.machine.is_settled() || !s.waiting.iter().any(late)
            }),
            Property::sometimes("an update is merged on another's write", |_, s: &State| {
                let held = s.held();
                held.members & 0x0f != 0 && held.members & 0xf0 != 0 && s.waiting.is_empty()
            }),
            Property::sometimes("what cannot be read is left alone", |_, s: &State| {
                *s.machine.value() == Value::Unreadable && s.requested > 0 && s.waiting.is_empty()
            }),
        ]);
        properties
    }
}

impl Proof for VersionedModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::Inevitable,
            name: "every update has its outcome, and the next begins",
            good: |_, s| s.waiting.is_empty(),
        }]
    }

    /// An honest server, a link that works, the machine and its clock.
    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Attempt
                | Step::Serve
                | Step::Deliver
                | Step::Connect
                | Step::Poll
                | Step::Pass
                | Step::Timeout
        )
    }
}
