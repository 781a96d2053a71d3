//! One [`Exchange`] against a server that says anything, in any pieces, at any time.

mod checks;
mod witness;

use std::fmt;

use hallway_core::local::exchange::{Data, Draft, Exchange, Outcome, SendError, SendId};
use hallway_core::{Limits, Token, UnixTime};
use stateright::{Model, Property};

use super::{Cut, LATE, MAX_FRAME_BYTES, TOKEN, Way, at, built, fill, millis, span, token};
use crate::check::Size;
use crate::search::{Goal, Proof};
use witness::Witness;
pub use witness::{Asked, Reply, Wrong};

/// From a message to its answer, in milliseconds.
const SEND: u16 = 3;
/// From a ping to its pong.
const PING: u16 = 2;
/// How many requests may wait for their outcomes.
const MOST_PENDING: usize = 2;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Any answer answers anything.
    PongForMessage,
    /// A refusal is told of all that is unanswered.
    RefusesAll,
    /// An outcome comes twice.
    OutcomeTwice,
    /// The outcome of the last request gets lost.
    LosesOutcome,
    /// All that was queued counts as written.
    WrittenWhenQueued,
    /// The deadlines are not kept.
    NoDeadline,
    /// The deadlines are one millisecond too far.
    SlowDeadline,
    /// A timeout is one millisecond early.
    FiresEarly,
    /// A closed exchange opens again.
    Reopens,
    /// The bound on requests is not kept.
    UnboundedRequests,
    /// A request that is not taken leaves its bytes behind.
    LeavesSome,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    exchange: Exchange,
    now: u16,
    sends: u8,
    ids: Vec<SendId>,
    witness: Witness,
    input: Way,
    output: Way,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = &self.exchange;
        f.debug_struct("State")
            .field("now", &self.now)
            .field("poll_timeout", &exchange.poll_timeout().map(millis))
            .field("is_closed", &exchange.is_closed())
            .field("unanswered", &exchange.unanswered())
            .field("pending", &exchange.pending().len())
            .field("refusal", &exchange.refusal())
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The user asks for something.
    Send(Asked),
    /// Some of the output is written.
    Write(Cut),
    /// The server decides on its next line.
    Say(Reply),
    /// The transport delivers some of what the server said.
    Read(Cut),
    /// The next outcome is polled.
    Poll,
    /// The server ended its output, and the outcomes of what came before were polled.
    End,
    /// The transport fails.
    Break,
    /// A millisecond passes.
    Tick,
    /// The timer fires.
    Timeout,
}

/// The model.
pub struct ExchangeModel {
    limits: Limits,
    token: Token,
    requests: &'static [Asked],
    most_sends: u8,
    replies: &'static [Reply],
    most_replies: u8,
    cuts: &'static [Cut],
    flaw: Option<Flaw>,
}

impl ExchangeModel {
    /// A user who sends anything to a server that says anything.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        const REQUESTS: &[Asked] = &[Asked::Message, Asked::Ping, Asked::Object];
        const REPLIES: &[Reply] = &[
            Reply::Ok,
            Reply::Pong,
            Reply::Error,
            Reply::Other,
            Reply::Null,
            Reply::Blank,
            Reply::TooLong,
        ];
        const CUTS: &[Cut] = &[Cut::Whole, Cut::Half, Cut::ButOne];
        match size {
            Size::Small => Self::new((&REQUESTS[..2], 2), (&REPLIES[..5], 1), &CUTS[..1]),
            Size::Quick => Self::new((REQUESTS, 2), (REPLIES, 2), CUTS),
            Size::Deep => Self::new((REQUESTS, 3), (&REPLIES[..4], 3), &CUTS[..1]),
        }
    }

    /// A user who sends more messages than may wait.
    #[must_use]
    pub fn eager(size: Size) -> Self {
        let (sends, replies) = match size {
            Size::Small => (3, 1),
            Size::Quick => (4, 4),
            Size::Deep => (6, 6),
        };
        Self::new(
            (&[Asked::Message], sends),
            (&[Reply::Ok], replies),
            &[Cut::Whole],
        )
    }

    fn new(
        (requests, most_sends): (&'static [Asked], u8),
        (replies, most_replies): (&'static [Reply], u8),
        cuts: &'static [Cut],
    ) -> Self {
        let limits = Limits::builder()
            .max_frame_bytes(MAX_FRAME_BYTES)
            .max_pending_sends(MOST_PENDING)
            .send_timeout(span(SEND))
            .ping_timeout(span(PING));
        Self {
            limits: built(limits),
            token: token(TOKEN),
            requests,
            most_sends,
            replies,
            most_replies,
            cuts,
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

    fn exchange(&self) -> Exchange {
        if self.has(Flaw::UnboundedRequests) {
            let builder = Limits::builder().max_frame_bytes(MAX_FRAME_BYTES);
            let builder = builder.send_timeout(span(SEND)).ping_timeout(span(PING));
            return Exchange::new(&built(builder));
        }
        Exchange::new(&self.limits)
    }

    fn deadline(&self, state: &State) -> Option<u16> {
        let deadline = state.exchange.poll_timeout().map(millis);
        let deadline = deadline.filter(|_| !self.has(Flaw::NoDeadline));
        deadline.map(|deadline| deadline + u16::from(self.has(Flaw::SlowDeadline)))
    }

    fn fire(&self, exchange: &mut Exchange, now: u16) {
        exchange.handle_timeout(at(now + u16::from(self.has(Flaw::FiresEarly))));
    }

    fn send(&self, state: &mut State, asked: Asked) {
        let draft = Draft {
            kind: "text",
            data: Data::Text("d"),
            from: None,
        };
        let (exchange, now) = (&mut state.exchange, at(state.now));
        let (token, wall) = (&self.token, UnixTime::EPOCH);
        let queued = exchange.pending().len();
        let sent = match asked {
            Asked::Message => exchange.send(draft, token, now, wall),
            Asked::Ping => exchange.ping(token, now, wall),
            Asked::Object => exchange.ask(draft, token, now, wall),
        };
        state.sends += 1;
        match sent {
            Ok(id) => {
                let bytes = exchange.pending().len() - queued;
                state.witness.ask(asked, bytes, state.now);
                if state.ids.last().is_some_and(|last| *last >= id) {
                    state.witness.is_wrong(Wrong::Id);
                }
                state.ids.push(id);
            }
            Err(error) => {
                let full = error == SendError::Full;
                let left = usize::from(self.has(Flaw::LeavesSome));
                let unchanged = queued == exchange.pending().len() + left;
                state.witness.not_sent(full, unchanged);
            }
        }
    }

    fn poll(&self, state: &mut State) {
        let unanswered = state.exchange.unanswered();
        let mut outcome = state.exchange.poll_outcome();
        if let Some(outcome) = &mut outcome {
            self.spoil(outcome);
        }
        if self.has(Flaw::LosesOutcome) && unanswered == 1 {
            outcome = None;
        }
        Self::hear(state, outcome.as_ref());
        if self.has(Flaw::OutcomeTwice) && outcome.is_some() {
            Self::hear(state, outcome.as_ref());
        }
        state.witness.settle(&state.exchange);
    }

    fn hear(state: &mut State, outcome: Option<&Outcome>) {
        if let Some(outcome) = outcome
            && (state.ids.is_empty() || state.ids.remove(0) != outcome.id)
        {
            state.witness.is_wrong(Wrong::Id);
        }
        state.witness.expect(outcome);
    }

    fn spoil(&self, outcome: &mut Outcome) {
        use hallway_core::local::exchange::{Answer, Failure};
        if self.has(Flaw::PongForMessage) && outcome.result == Ok(Answer::Pong) {
            outcome.result = Ok(Answer::Accepted(None));
        }
        if self.has(Flaw::RefusesAll) && outcome.result == Err(Failure::EndedBeforeResponse) {
            outcome.result = Err(Failure::Refused);
        }
        outcome.written |= self.has(Flaw::WrittenWhenQueued);
    }

    fn apply(&self, state: &mut State, step: Step) {
        match step {
            Step::Send(asked) => self.send(state, asked),
            Step::Write(cut) => {
                let n = cut.take(state.exchange.pending());
                state.output.moved(state.exchange.pending(), n);
                state.exchange.handle_output(n);
                state.witness.wrote(n);
            }
            Step::Say(reply) => state.witness.say(reply),
            Step::Read(cut) => {
                let unfed = state.witness.unfed();
                let n = fill(state.exchange.spare_mut(), &unfed, cut);
                state.exchange.handle_input(n);
                state.input.moved(&unfed, n);
                state.witness.feed(n);
            }
            Step::Poll => self.poll(state),
            Step::End => {
                state.exchange.handle_end_of_input();
                state.witness.end();
            }
            Step::Break if self.has(Flaw::Reopens) && state.exchange.is_closed() => {
                state.exchange = self.exchange();
            }
            Step::Break => {
                state.exchange.handle_broken();
                state.witness.break_off();
            }
            Step::Tick => state.now += 1,
            Step::Timeout => {
                self.fire(&mut state.exchange, state.now);
                state.witness.time_out(state.now);
            }
        }
    }

    fn observe(&self, before: &State, state: &mut State) {
        let (was, is) = (&before.exchange, &mut state.exchange);
        if was.is_closed() && (!is.is_closed() || !is.pending().is_empty()) {
            state.witness.is_wrong(Wrong::ClosedChanged);
        }
        is.spare_mut().fill(0);
        if is.is_closed() {
            state.input = Way::default();
            state.output = Way::default();
            state.now = 0;
            state.witness.close();
        }
    }
}

impl Model for ExchangeModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            exchange: self.exchange(),
            now: 0,
            sends: 0,
            ids: Vec::new(),
            witness: Witness::default(),
            input: Way::default(),
            output: Way::default(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend([Step::Poll, Step::Break]);
        if state.sends < self.most_sends {
            steps.extend(self.requests.iter().copied().map(Step::Send));
        }
        if state.exchange.is_closed() {
            steps.push(Step::End);
            return;
        }
        if state.witness.spoken < self.most_replies {
            steps.extend(self.replies.iter().copied().map(Step::Say));
        }
        let unfed = state.witness.unfed();
        steps.extend(state.input.cuts(self.cuts, &unfed).map(Step::Read));
        if state.witness.is_polled() {
            steps.push(Step::End);
        }
        let pending = state.exchange.pending();
        steps.extend(state.output.cuts(self.cuts, pending).map(Step::Write));
        if let Some(deadline) = self.deadline(state) {
            if state.now < deadline + LATE {
                steps.push(Step::Tick);
            }
            if state.now >= deadline {
                steps.push(Step::Timeout);
            }
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, step);
        self.observe(before, &mut state);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

impl Proof for ExchangeModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        checks::goals()
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Poll | Step::Tick | Step::Timeout)
    }
}
