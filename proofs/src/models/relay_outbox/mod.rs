//! The relay's [`Outbox`] against a server that stores each local id once, takes bodies of a
//! certain length, refuses and fails, and a network that loses requests and answers, or brings
//! them long after they were given up. What the server has stored may be seen in the session
//! before the answer to the post is there, or without it.

mod shell;
mod witness;

use std::fmt;

use hallway_core::relay::limits::Limits;
use hallway_core::relay::outbox::{BatchId, Outbox};
use stateright::{Model, Property};

use super::verdicts::judged;
use super::{at, millis, span};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};
use witness::{Store, Told, Witness};

const POST: u16 = 2;
/// More than any delay of the machine's own.
const RETRY_AFTER: u16 = 1_500;
const MOST_MESSAGES: usize = 3;
const MOST_BYTES: usize = 7;
const MOST_BATCH: usize = 2;
const MOST_BATCH_BYTES: usize = 5;
/// How many bytes of contents the server takes at once.
const MOST_BODY: usize = 2;

const ORDER: &str = "messages are stored in the order of their sending";
const ONCE: &str = "no message is stored twice";
const OUTCOMES: &str = "an outcome comes once and is true";
const FORGOTTEN: &str = "what was accepted waits until it has its outcome";
const BATCHES: &str = "a post is within its limits and begins with the oldest";
const ROOM: &str = "a message is refused when there is no room and only then";
const BOUNDED: &str = "what waits is bounded";
const LATE: &str = "answers to an earlier post change nothing";
const STOPS: &str = "what will not pass stops the posts, and nothing else does";
const DELAYS: &str = "the server is not asked again before it wants to be";
const EARLY: &str = "a timeout acts when it is due, and not before";
const DEADLINE: &str = "what is posted or waited for has a deadline";

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The newest message of a post is stored first.
    PostsInReverse,
    /// A message that is posted again has another id.
    FreshIds,
    /// A failed post is told as stored.
    BelievesFailure,
    /// What was told is told again when it is seen.
    TellsTwice,
    /// The first message of a failed post is dropped.
    DropsOnFailure,
    /// The bound on a post is not kept.
    LongPosts,
    /// The bound on what waits is not kept.
    UnboundedOutbox,
    /// A late answer is taken for the one that is awaited.
    MixesAnswers,
    /// A refusal is taken for trouble that passes.
    TriesForEver,
    /// The server's wish for a delay is not passed on.
    IgnoresRetryAfter,
    /// A timeout comes a millisecond early.
    FiresEarly,
    /// A post may take for ever.
    HidesDeadline,
    /// Deadlines are not kept.
    ForgetsTimeouts,
}

/// What a server says to a post that it does not store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is in trouble.
    Trouble,
    /// It says when to come back.
    Busy,
    /// It does not know the token.
    Unauthorized,
    /// It does not know the session.
    Gone,
    /// It does not know the route.
    NoRoute,
}

/// An answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    /// All is stored.
    Stored,
    /// All is stored, and only the first is listed.
    Short,
    /// It is none.
    Nonsense,
    /// The body is too large.
    TooLarge,
    Refused(Refusal),
}

/// How a server that stores answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// As it should.
    Honest,
    /// It lists less than it has stored.
    Short,
    /// With what is no answer.
    Nonsense,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Post {
    batch: BatchId,
    /// The messages under the ids that the server sees.
    messages: Vec<(u8, u8)>,
    answer: Option<Answer>,
}

/// How often the world may do what makes the model larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Purse {
    small: u8,
    large: u8,
    failures: u8,
    refusals: u8,
    odd: u8,
    seen: u8,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    outbox: Outbox,
    now: u16,
    store: Store,
    posts: Vec<Post>,
    gone: bool,
    pushed: u8,
    purse: Purse,
    witness: Witness,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("now", &self.now)
            .field("due", &self.outbox.poll_timeout().map(millis))
            .field("waits", &self.outbox.len())
            .field("stopped", &self.outbox.stopped())
            .field("posts", &self.posts)
            .field("store", &self.store)
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The caller sends a message, which may be one that the server never takes.
    Push(bool),
    /// The shell asks for a post, and sends it.
    Post,
    /// The server takes a post.
    Serve(usize, Reply),
    /// The server refuses a post.
    Refuse(usize, Refusal),
    /// A post, or the answer to it, is lost.
    Lose(usize),
    /// An answer arrives.
    Receive(usize),
    /// A stored message is seen in the session.
    Seen(u8),
    /// What stopped the posts was dealt with.
    Resume,
    /// Time passes until the machine wants to be told.
    Pass,
    /// The same while the answer is still on its way.
    Slow,
    /// The timer fires.
    Timeout,
}

/// The model.
pub struct OutboxModel {
    limits: Limits,
    purse: Purse,
    flaw: Option<Flaw>,
}

impl OutboxModel {
    /// One session.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        let small = Purse {
            small: 2,
            large: 1,
            failures: 1,
            refusals: 1,
            ..Purse::default()
        };
        Self::new(match size {
            Size::Small => small,
            Size::Quick => Purse {
                seen: 1,
                odd: 1,
                ..small
            },
            Size::Deep => Purse {
                seen: 1,
                odd: 1,
                failures: 2,
                ..small
            },
        })
    }

    fn new(purse: Purse) -> Self {
        let limits = Self::limits().max_batch_messages(MOST_BATCH);
        Self {
            limits: limits
                .max_batch_bytes(MOST_BATCH_BYTES)
                .build()
                .expect("the limits are within their ranges"),
            purse,
            flaw: None,
        }
    }

    fn limits() -> hallway_core::relay::limits::LimitsBuilder {
        Limits::builder()
            .post_timeout(span(POST))
            .max_outbox_messages(MOST_MESSAGES)
            .max_outbox_bytes(MOST_BYTES)
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        let limits = match flaw {
            Flaw::LongPosts => Self::limits(),
            Flaw::UnboundedOutbox => Limits::builder()
                .post_timeout(span(POST))
                .max_batch_messages(MOST_BATCH)
                .max_batch_bytes(MOST_BATCH_BYTES),
            _ => return self,
        };
        self.limits = limits.build().expect("the limits are within their ranges");
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn deadline(&self, state: &State) -> Option<u16> {
        let due = state.outbox.poll_timeout().map(millis);
        due.filter(|_| !(self.has(Flaw::HidesDeadline) && state.outbox.posting().is_some()))
    }
}

impl State {
    fn compare(&mut self) {
        let outbox = &self.outbox;
        let holds = |id: u8| outbox.contains(&id.to_string());
        self.witness.compare(holds, outbox.len());
    }

    /// Whether what is awaited is still on its way.
    fn is_served(&self) -> bool {
        let current = self.outbox.posting();
        current.is_some() && self.posts.iter().any(|post| Some(post.batch) == current)
    }

    /// How many bytes wait, by the caller's account.
    fn bytes(&self) -> usize {
        self.witness
            .waiting()
            .map(|message| message.bytes + 1)
            .sum()
    }
}

impl Model for OutboxModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            outbox: Outbox::new(&self.limits, 0),
            now: 0,
            store: Store::default(),
            posts: Vec::new(),
            gone: false,
            pushed: 0,
            purse: self.purse,
            witness: Witness::default(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend([Step::Push(false), Step::Push(true), Step::Post]);
        for (number, post) in state.posts.iter().enumerate() {
            if post.answer.is_some() {
                steps.push(Step::Receive(number));
            } else {
                let replies = [Reply::Honest, Reply::Short, Reply::Nonsense];
                steps.extend(replies.map(|reply| Step::Serve(number, reply)));
                let refusals = [
                    Refusal::Trouble,
                    Refusal::Busy,
                    Refusal::Unauthorized,
                    Refusal::Gone,
                    Refusal::NoRoute,
                ];
                steps.extend(refusals.map(|refusal| Step::Refuse(number, refusal)));
            }
            steps.push(Step::Lose(number));
        }
        steps.extend(state.store.rows.iter().map(|row| Step::Seen(row.id)));
        if state.outbox.stopped().is_some() && !state.gone {
            steps.push(Step::Resume);
        }
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
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Push(large) => Self::push(&mut state, large)?,
            Step::Post => self.post(&mut state)?,
            Step::Serve(number, reply) => Self::serve(&mut state, number, reply)?,
            Step::Refuse(number, refusal) => {
                state.purse.refusals = state.purse.refusals.checked_sub(1)?;
                state.gone |= refusal == Refusal::Gone;
                state.posts.get_mut(number)?.answer = Some(Answer::Refused(refusal));
            }
            Step::Lose(number) => {
                state.purse.failures = state.purse.failures.checked_sub(1)?;
                state.posts.remove(number);
            }
            Step::Receive(number) => self.receive(&mut state, number)?,
            Step::Seen(id) => self.seen(&mut state, id)?,
            Step::Resume => state.outbox.resume(),
            Step::Pass => self.pass(&mut state)?,
            Step::Slow => {
                state.purse.failures = state.purse.failures.checked_sub(1)?;
                self.pass(&mut state)?;
            }
            Step::Timeout => state.outbox.handle_timeout(at(state.now)),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = judged!(s => s.witness.verdicts;
            OUTCOMES FORGOTTEN BATCHES ROOM LATE STOPS DELAYS EARLY
        );
        properties.extend([
            Property::always(ORDER, |_, s: &State| s.store.is_in_order()),
            Property::always(ONCE, |_, s: &State| s.store.is_once_each()),
            Property::always(BOUNDED, |_, s: &State| {
                s.outbox.len() <= MOST_MESSAGES && s.bytes() <= MOST_BYTES
            }),
            Property::always(DEADLINE, |m: &Self, s: &State| {
                let posts = || s.outbox.clone().next_batch(at(s.now)).is_some();
                let rests = s.outbox.posting().is_none()
                    && (s.outbox.is_empty() || s.outbox.stopped().is_some());
                rests || m.deadline(s).is_some() || posts()
            }),
            Property::sometimes("a message is too large", |_, s: &State| {
                let mut accepted = s.witness.accepted.iter();
                accepted.any(|message| message.told == Told::TooLarge)
            }),
            Property::sometimes("a post that was stored is repeated", |_, s: &State| {
                let stored =
                    |(local, _): &(u8, u8)| s.store.rows.iter().any(|row| row.local == *local);
                let again = |post: &Post| post.answer.is_none() && post.messages.iter().any(stored);
                s.posts.iter().any(again)
            }),
            Property::sometimes("all of several messages is stored", |_, s: &State| {
                s.store.rows.len() > 1 && s.outbox.is_empty()
            }),
        ]);
        properties
    }
}

impl Proof for OutboxModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::Inevitable,
            name: "every message has its outcome, unless the session is gone",
            good: |_, s| s.witness.waiting().next().is_none() || s.gone,
        }]
    }

    /// An honest server, a network that works, the machine and its clock.
    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Post
                | Step::Serve(_, Reply::Honest)
                | Step::Receive(_)
                | Step::Resume
                | Step::Pass
                | Step::Timeout
        )
    }
}
