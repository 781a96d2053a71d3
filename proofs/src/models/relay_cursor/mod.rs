//! The relay's [`Cursor`] against a server that numbers messages, uses numbers up, pushes,
//! answers fetches in pages, fails, lags behind itself and breaks promises; over a link that
//! loses, repeats, reorders and breaks; with processes that start again.
//!
//! What a link loses kills it: that is found by and by, as the link's own deadlines see to. What
//! a server that lags behind hides is fetched after the next connection. So both make the link
//! break later, which is nothing but the machine's own way to go on.

mod checks;
mod shell;
mod witness;

use std::fmt;

use hallway_core::relay::cursor::{Cursor, Fetch, FetchId};
use hallway_core::relay::limits::Limits;
use stateright::{Model, Property};

use super::{at, millis, span};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};
use checks::footprint;
use witness::{History, Numbers, Witness};

const FETCH: u16 = 2;
const PAGE: usize = 2;
const MOST_VAIN: usize = 2;
const MOST_OWN: usize = 1;
/// How many bytes each row of numbers that is remembered adds to what a cursor gives to be
/// hashed, and how many its state at the most.
const FOOTPRINT: (usize, usize) = (16, 25);

const ONCE: &str = "messages of others are delivered once, in order";
const COMPLETE: &str = "no message is passed over";
const SEEN: &str = "the cursor never moves over a number that was not seen";
const OWN: &str = "own messages never lift the cursor over a gap";
const REST: &str = "a cursor at rest has closed every gap that it has heard of";
const LATE: &str = "answers to an earlier fetch change nothing";
const DEADLINE: &str = "what is fetched or waited for has a deadline";
const EARLY: &str = "a timeout acts when it is due, and not before";
const MEMORY: &str = "the numbers that are remembered are bounded";

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// What lies beyond a gap is passed on at once.
    DeliversGaps,
    /// What was delivered before is passed on again.
    DeliversSkipped,
    /// A message of a page is not passed on.
    LosesRows,
    /// The application is not told what the server keeps back.
    HidesWithheld,
    /// The number of an own message counts as fetched.
    TrustsPost,
    /// A gap is noticed and forgotten.
    ForgetsGaps,
    /// A late page is taken for the one that is awaited.
    MixesPages,
    /// A connection does not make the cursor fetch.
    ForgetsConnect,
    /// Deadlines are not kept.
    ForgetsTimeouts,
    /// A fetch may take for ever.
    HidesDeadline,
    /// A timeout comes a millisecond early.
    FiresEarly,
    /// The bound on own numbers is not kept.
    RemembersAll,
}

/// What a number is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A message of another.
    Theirs,
    /// A message that this process has posted.
    Ours,
    /// A repetition, which is dropped.
    Burnt,
}

/// What a server answers to a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// What there is.
    Page,
    /// What there was a message ago.
    Stale,
    /// A message twice, or more behind nothing.
    Nonsense,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Page {
    fetch: Fetch,
    rows: Vec<u8>,
    /// Ours among them, as it was known when the page came.
    own: Numbers,
    more: bool,
}

/// How often the world may do what makes the model larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Purse {
    theirs: u8,
    ours: u8,
    burnt: u8,
    breaks: u8,
    losses: u8,
    again: u8,
    failures: u8,
    stale: u8,
    nonsense: u8,
    restarts: u8,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    cursor: Cursor,
    now: u16,
    history: History,
    /// Ours whose outcome the outbox does not know.
    waiting: Numbers,
    connected: bool,
    /// Something was lost or hidden: the link will break.
    doomed: bool,
    /// Pushed and not arrived.
    air: Numbers,
    /// Answers to posts that have not arrived.
    acks: Numbers,
    fetching: Option<FetchId>,
    requests: Vec<Fetch>,
    answers: Vec<Page>,
    page: Option<Page>,
    /// The number that is kept over a restart.
    kept: u8,
    purse: Purse,
    witness: Witness,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("last", &self.cursor.last())
            .field("settled", &self.cursor.is_settled())
            .field("now", &self.now)
            .field("due", &self.cursor.poll_timeout().map(millis))
            .field("history", &self.history)
            .field("connected", &self.connected)
            .field("air", &self.air)
            .field("requests", &self.requests)
            .field("answers", &self.answers)
            .field("page", &self.page)
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The server gives a number.
    Store(Kind),
    /// The link is there.
    Connect,
    /// The link breaks.
    Break,
    /// A link that lost something is found dead.
    Found,
    /// A pushed message arrives.
    Live(u8),
    /// A pushed message arrives, and will again.
    Again(u8),
    /// A pushed message does not arrive.
    Lose(u8),
    /// The answer to a post arrives.
    Told(u8),
    /// The shell asks for a fetch, and sends it.
    Fetch,
    /// The server answers a fetch.
    Serve(usize, Reply),
    /// A fetch fails, and the shell hears of it.
    Fail(usize),
    /// A fetch is lost.
    LoseFetch(usize),
    /// An answer arrives.
    Receive(usize),
    /// The next message of a page is taken.
    Row,
    /// Time passes until the machine wants to be told.
    Pass,
    /// The same while the answer is still on its way.
    Slow,
    /// The timer fires.
    Timeout,
    /// The number is kept for the next process.
    Keep,
    /// The process ends and another begins.
    Restart,
}

/// The model.
pub struct CursorModel {
    limits: Limits,
    /// What a cursor gives to be hashed that remembers nothing, in bytes.
    least: usize,
    purse: Purse,
    flaw: Option<Flaw>,
}

impl CursorModel {
    /// One session.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        let small = Purse {
            theirs: 1,
            ours: 1,
            burnt: 1,
            failures: 1,
            ..Purse::default()
        };
        Self::new(match size {
            Size::Small => small,
            Size::Quick => Purse {
                theirs: 2,
                burnt: 0,
                losses: 1,
                again: 1,
                ..small
            },
            Size::Deep => Purse {
                theirs: 2,
                losses: 1,
                ..small
            },
        })
    }

    /// The same where the server lags behind, and a process takes over from another.
    #[must_use]
    pub fn faithless(size: Size) -> Self {
        let small = Purse {
            theirs: 1,
            ours: 1,
            stale: 2,
            breaks: 1,
            ..Purse::default()
        };
        Self::new(match size {
            Size::Small => small,
            Size::Quick => Purse {
                ours: 2,
                breaks: 0,
                restarts: 1,
                nonsense: 1,
                ..small
            },
            Size::Deep => Purse {
                theirs: 2,
                burnt: 1,
                breaks: 0,
                restarts: 1,
                nonsense: 1,
                ..small
            },
        })
    }

    fn new(purse: Purse) -> Self {
        let limits = Self::limits(MOST_OWN);
        Self {
            least: footprint(&Cursor::new(&limits, 0, 0)),
            limits,
            purse,
            flaw: None,
        }
    }

    fn limits(most_own: usize) -> Limits {
        let limits = Limits::builder()
            .fetch_timeout(span(FETCH))
            .max_vain_fetches(MOST_VAIN)
            .max_own_numbers(most_own);
        limits.build().expect("the limits are within their ranges")
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        if flaw == Flaw::RemembersAll {
            self.limits = Self::limits(16);
            // Two rows of ours, with one of theirs between them.
            (self.purse.theirs, self.purse.ours) = (2, 2);
        }
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn deadline(&self, state: &State) -> Option<u16> {
        let due = state.cursor.poll_timeout().map(millis);
        due.filter(|_| !(self.has(Flaw::HidesDeadline) && state.awaits()))
    }

    fn start(&self, kept: u8) -> State {
        State {
            cursor: Cursor::new(&self.limits, kept.into(), 0),
            now: 0,
            history: History::default(),
            waiting: Numbers::default(),
            connected: false,
            doomed: false,
            air: Numbers::default(),
            acks: Numbers::default(),
            fetching: None,
            requests: Vec::new(),
            answers: Vec::new(),
            page: None,
            kept,
            purse: self.purse,
            witness: Witness::after(kept),
        }
    }
}

impl State {
    fn last(&self) -> u8 {
        u8::try_from(self.cursor.last()).expect("few numbers are given")
    }

    /// Whether the answer to a fetch is awaited.
    fn awaits(&self) -> bool {
        self.fetching.is_some_and(|id| self.cursor.is_fetching(id))
    }

    /// Whether what is awaited is still on its way.
    fn is_served(&self) -> bool {
        let of = |fetch: &Fetch| Some(fetch.id) == self.fetching;
        self.awaits()
            && (self.requests.iter().any(of)
                || self.answers.iter().any(|page| of(&page.fetch))
                || self.page.is_some())
    }

    fn drop_link(&mut self) {
        self.connected = false;
        self.doomed = false;
        self.air = Numbers::default();
    }

    /// Whether the application has all that the server holds for it.
    fn is_complete(&self) -> bool {
        let mut messages = self.history.messages(self.witness.delivered);
        messages.all(|seq| !self.history.is_of_others(seq) || self.witness.withheld.has(seq))
    }
}

impl Model for CursorModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.start(0)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let purse = &state.purse;
        steps.extend([Kind::Theirs, Kind::Ours, Kind::Burnt].map(Step::Store));
        steps.push(if state.connected {
            Step::Break
        } else {
            Step::Connect
        });
        if state.connected && state.doomed {
            steps.push(Step::Found);
        }
        for seq in state.air.iter() {
            steps.extend([Step::Live(seq), Step::Again(seq), Step::Lose(seq)]);
        }
        steps.extend(state.acks.iter().map(Step::Told));
        steps.extend([Step::Fetch, Step::Row]);
        for number in 0..state.requests.len() {
            let replies = [Reply::Page, Reply::Stale, Reply::Nonsense];
            steps.extend(replies.map(|reply| Step::Serve(number, reply)));
            steps.extend([Step::Fail(number), Step::LoseFetch(number)]);
        }
        steps.extend((0..state.answers.len()).map(Step::Receive));
        if let Some(due) = self.deadline(state) {
            if state.now < due {
                steps.push(if state.is_served() {
                    Step::Slow
                } else {
                    Step::Pass
                });
            } else if !self.has(Flaw::ForgetsTimeouts) {
                steps.push(Step::Timeout);
            }
        }
        if purse.restarts > 0 {
            steps.extend([Step::Keep, Step::Restart]);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        let now = at(state.now);
        match step {
            Step::Store(kind) => Self::store(&mut state, kind)?,
            Step::Connect => {
                state.connected = true;
                if !self.has(Flaw::ForgetsConnect) {
                    state.cursor.handle_connected();
                }
            }
            Step::Break => {
                state.purse.breaks = state.purse.breaks.checked_sub(1)?;
                state.drop_link();
            }
            Step::Found => state.drop_link(),
            Step::Live(seq) => {
                state.air.remove(seq);
                self.live(&mut state, seq);
            }
            Step::Again(seq) => {
                state.purse.again = state.purse.again.checked_sub(1)?;
                self.live(&mut state, seq);
            }
            Step::Lose(seq) => {
                state.purse.losses = state.purse.losses.checked_sub(1)?;
                state.air.remove(seq);
                state.doomed = true;
            }
            Step::Told(seq) => {
                state.acks.remove(seq);
                if state.waiting.remove(seq) {
                    self.tell(&mut state, seq);
                }
            }
            Step::Fetch => {
                if state.page.is_some() {
                    return None;
                }
                let fetch = state.cursor.next_fetch(now)?;
                state.fetching = Some(fetch.id);
                state.requests.push(fetch);
            }
            Step::Serve(number, reply) => Self::serve(&mut state, number, reply)?,
            Step::Fail(number) => {
                state.purse.failures = state.purse.failures.checked_sub(1)?;
                let fetch = state.requests.remove(number);
                state.cursor.handle_failed(fetch.id, None, now);
            }
            Step::LoseFetch(number) => {
                state.purse.failures = state.purse.failures.checked_sub(1)?;
                state.requests.remove(number);
            }
            Step::Receive(number) => self.receive(&mut state, number)?,
            Step::Row => self.row(&mut state)?,
            Step::Pass => self.pass(&mut state)?,
            Step::Slow => {
                state.purse.failures = state.purse.failures.checked_sub(1)?;
                self.pass(&mut state)?;
            }
            Step::Timeout => state.cursor.handle_timeout(now),
            Step::Keep => state.kept = state.last(),
            Step::Restart => self.restart(&mut state)?,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties(self)
    }
}

impl Proof for CursorModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::Inevitable,
            name: "in the end all that the server holds is delivered, and the cursor rests",
            good: |_, s| s.is_complete() && s.cursor.is_settled() && s.connected,
        }]
    }

    /// An honest server, a link that works, the machine and its clock.
    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Connect
                | Step::Found
                | Step::Live(_)
                | Step::Fetch
                | Step::Serve(_, Reply::Page)
                | Step::Receive(_)
                | Step::Row
                | Step::Pass
                | Step::Timeout
        )
    }
}
