//! The [`Inbox`] with its limits, against a list of what it should hold.

use std::fmt;

use hallway_core::local::inbox::{Entry, EntryId, Full, Inbox, Peer};
use hallway_core::local::message::Message;
use hallway_core::{Limits, UnixTime};
use stateright::{Model, Property};

use super::{MAX_FRAME_BYTES, built};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};

const MOST_ENTRIES: usize = 3;
const MOST_BYTES: usize = 700;
const MOST_PEER_ENTRIES: usize = 2;
const MOST_PEER_BYTES: usize = 512;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The limits are larger than they are said to be.
    Unbounded,
    /// A message that fits is refused.
    RefusesWhatFits,
    /// What is popped is the newest but one.
    OutOfOrder,
    /// A refusal uses up an id.
    BurnsIds,
    /// The bytes of popped messages stay counted.
    KeepsBytes,
    /// Only the popped entry goes when several are processed.
    ProcessesOne,
}

/// What is kept, by the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    id: u64,
    pid: u32,
    bytes: usize,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    inbox: Inbox,
    held: Vec<Held>,
    pushes: u8,
    ids: u64,
    /// A refusal without a cause, or a push without room.
    misjudged: bool,
    /// What came out is not what was to come.
    misplaced: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("held", &self.held)
            .field("len", &self.inbox.len())
            .field("bytes", &self.inbox.bytes())
            .field("last", &self.inbox.last())
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The process pushes a message of so many bytes.
    Push(u32, usize),
    /// The oldest entry is taken.
    Pop,
    /// All entries up to this id are processed.
    Processed(u64),
}

/// The model.
pub struct InboxModel {
    limits: Limits,
    most_pushes: u8,
    flaw: Option<Flaw>,
}

impl InboxModel {
    /// Two processes that push messages.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        let most_pushes = match size {
            Size::Small => 4,
            Size::Quick => 8,
            Size::Deep => 16,
        };
        Self {
            limits: Self::limits(),
            most_pushes,
            flaw: None,
        }
    }

    fn limits() -> Limits {
        let limits = Limits::builder()
            .max_frame_bytes(MAX_FRAME_BYTES)
            .max_inbox_entries(MOST_ENTRIES)
            .max_inbox_bytes(MOST_BYTES)
            .max_inbox_entries_per_peer(MOST_PEER_ENTRIES)
            .max_inbox_bytes_per_peer(MOST_PEER_BYTES);
        built(limits)
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        if flaw == Flaw::Unbounded {
            self.limits = built(Limits::builder().max_frame_bytes(MAX_FRAME_BYTES));
        }
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn push(&self, state: &mut State, pid: u32, bytes: usize) {
        let frame = format!(r#"{{"data":"{}"}}"#, "x".repeat(bytes - 11));
        let message = Message::parse(frame.as_bytes(), &self.limits).expect("it is a message");
        let before = state.inbox.clone();
        let peer = Peer { uid: 1, pid };
        let kept = message.kept();
        let mut pushed = state.inbox.push(kept, peer, UnixTime::EPOCH);
        state.pushes += 1;
        let causes = causes(&state.held, pid, bytes);
        if self.has(Flaw::RefusesWhatFits) && pid == 8 && pushed.is_ok() {
            state.inbox = before.clone();
            pushed = Err(Full::Bytes);
        }
        match pushed {
            Ok(id) => {
                state.ids += 1;
                state.misjudged |= !causes.is_empty();
                state.misplaced |= id.get() != state.ids;
                let id = state.ids;
                state.held.push(Held { id, pid, bytes });
            }
            Err(full) => {
                state.misjudged |= !causes.contains(&full) || state.inbox != before;
                if self.has(Flaw::BurnsIds) {
                    state.ids += 1;
                }
            }
        }
    }

    fn pop(&self, state: &mut State) {
        let mut popped = state.inbox.pop();
        if self.has(Flaw::OutOfOrder) && state.inbox.len() == 1 {
            popped = state.inbox.pop();
        }
        let first = (!state.held.is_empty()).then(|| state.held.remove(0));
        state.misplaced |= popped.as_ref().map(held) != first;
    }

    fn processed(&self, state: &mut State, id: u64) {
        let upto = EntryId::parse(&format!("uds-{id}")).expect("it is an id");
        let mut removed = state.inbox.mark_processed(upto);
        if self.has(Flaw::ProcessesOne) {
            removed = removed.min(1);
        }
        let before = state.held.len();
        state.held.retain(|held| held.id > id);
        state.misplaced |= removed != before - state.held.len();
    }

    fn bytes(&self, state: &State) -> usize {
        let spent = if self.has(Flaw::KeepsBytes) {
            state.pushes
        } else {
            0
        };
        state.inbox.bytes() + usize::from(spent)
    }
}

fn held(entry: &Entry) -> Held {
    Held {
        id: entry.id().get(),
        pid: entry.peer().pid,
        bytes: entry.message().len(),
    }
}

/// Which limits forbid one more message.
fn causes(held: &[Held], pid: u32, bytes: usize) -> Vec<Full> {
    let sum = |held: &mut dyn Iterator<Item = &Held>| {
        held.fold((1, bytes), |(n, sum), held| (n + 1, sum + held.bytes))
    };
    let (entries, total) = sum(&mut held.iter());
    let (of_peer, peer_bytes) = sum(&mut held.iter().filter(|held| held.pid == pid));
    let broken = [
        (entries > MOST_ENTRIES, Full::Entries),
        (total > MOST_BYTES, Full::Bytes),
        (of_peer > MOST_PEER_ENTRIES, Full::PeerEntries),
        (peer_bytes > MOST_PEER_BYTES, Full::PeerBytes),
    ];
    let broken = broken.into_iter().filter(|(is_broken, _)| *is_broken);
    broken.map(|(_, full)| full).collect()
}

impl Model for InboxModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            inbox: Inbox::new(&self.limits),
            held: Vec::new(),
            pushes: 0,
            ids: 0,
            misjudged: false,
            misplaced: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.pushes < self.most_pushes {
            for pid in [7, 8] {
                steps.extend([100, 300, 412].map(|bytes| Step::Push(pid, bytes)));
            }
        }
        steps.push(Step::Pop);
        steps.extend((1..=state.ids + 1).map(Step::Processed));
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Push(pid, bytes) => self.push(&mut state, pid, bytes),
            Step::Pop => self.pop(&mut state),
            Step::Processed(id) => self.processed(&mut state, id),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a message is refused when it must be and only then",
                |_, s: &State| !s.misjudged,
            ),
            Property::always(
                "entries come out once, in order, without gaps",
                |_, s: &State| !s.misplaced && s.inbox.last().map_or(0, EntryId::get) == s.ids,
            ),
            Property::always("counts and bytes are exact", |model: &Self, s: &State| {
                let bytes = s.held.iter().map(|held| held.bytes).sum::<usize>();
                (s.inbox.len(), model.bytes(s)) == (s.held.len(), bytes)
                    && s.inbox.is_empty() == s.held.is_empty()
            }),
            Property::always("counts and bytes are bounded", |_, s: &State| {
                s.inbox.len() <= MOST_ENTRIES && s.inbox.bytes() <= MOST_BYTES
            }),
            Property::always("what is pending is what is held", |_, s: &State| {
                let seen = std::iter::once(None).chain((1..=s.ids).map(Some));
                seen.into_iter().all(|seen| {
                    let id = seen.and_then(|id| EntryId::parse(&format!("uds-{id}")));
                    let pending = s.inbox.pending(id).map(held);
                    pending.eq(s.held.iter().copied().filter(|held| Some(held.id) > seen))
                })
            }),
            Property::sometimes("the inbox is full", |_, s: &State| {
                s.inbox.len() == MOST_ENTRIES
            }),
        ]
    }
}

impl Proof for InboxModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::StaysReachable,
            name: "an inbox can always be emptied",
            good: |model, s| s.inbox.is_empty() && model.bytes(s) == 0,
        }]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Pop | Step::Processed(_))
    }
}
