//! One [`Connection`] and its inbox against a peer that says anything, in any pieces, and
//! against every fact that the shell may report at any time.
//!
//! The shell offers a message to the inbox at once, as it must; the inbox's answer is told in
//! a step of its own, so that evictions, failures and timeouts come in between.

mod checks;
mod witness;

use std::fmt;

use hallway_core::local::connection::{Action, Connection, Event, Refusal, Server};
use hallway_core::local::inbox::{EntryId, Inbox};
use hallway_core::local::message::Message;
use hallway_core::{Limits, UnixTime};
use stateright::{Model, Property};

use super::{
    Cut, LATE, MAX_FRAME_BYTES, PEER, Said, TOKEN, Way, at, built, fill, millis, span, token,
};
use crate::check::Size;
use crate::search::{Goal, Proof};
use witness::Witness;
pub use witness::{Line, Wrong};

/// From accept to the first authorised frame, in milliseconds.
const AUTH: u16 = 2;
/// Without a byte either way.
const IDLE: u16 = 3;
/// From an error frame or the last answer to the end.
const CLOSING: u16 = 1;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Any token, or none, is as good as the right one.
    ChecksNoToken,
    /// `ok` is answered for a message that was offered to no inbox.
    OkWithoutPush,
    /// A message is kept twice.
    PushesTwice,
    /// A pong is answered to whatever comes.
    PongsToAll,
    /// A client loses its place without being evicted.
    RefusesForNothing,
    /// An eviction is told even to a connection that was told an error before.
    SecondError,
    /// Messages are taken from what comes after an error frame.
    TakesAfterError,
    /// The authentication deadline is not kept.
    NoAuthDeadline,
    /// The idle deadline is not kept.
    NoIdleDeadline,
    /// A closing connection waits for ever.
    NoClosingDeadline,
    /// A closing connection waits longer than it may.
    SlowClosing,
    /// A failure of the transport takes the place of an earlier reason to close.
    ChangesReason,
    /// A closed connection opens again.
    Reopens,
    /// The end of input ends the connection before all its frames are answered.
    DropsFramesAtEnd,
    /// A timeout is one millisecond early.
    FiresEarly,
    /// The transport is told to close over and over.
    HangsUpAgain,
    /// Replies are queued without regard to the limit.
    UnboundedOutput,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    connection: Connection,
    inbox: Inbox,
    now: u16,
    witness: Witness,
    input: Way,
    output: Way,
    /// Whether the peer's end of input was reported.
    ended: bool,
    evicted: bool,
    /// The inbox's answer, not yet told.
    owed: Option<Option<EntryId>>,
    finishes: u8,
    hangups: u8,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = &self.connection;
        f.debug_struct("State")
            .field("now", &self.now)
            .field("poll_timeout", &connection.poll_timeout().map(millis))
            .field("is_authenticated", &connection.is_authenticated())
            .field("close_reason", &connection.close_reason())
            .field("is_closed", &connection.is_closed())
            .field("pending", &String::from_utf8_lossy(connection.pending()))
            .field("owed", &self.owed)
            .field("inbox", &self.inbox.len())
            .field("witness", &self.witness)
            .finish_non_exhaustive()
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The peer decides on its next line.
    Say(Line),
    /// The transport delivers some of what the peer said.
    Read(Cut),
    /// All that has to do nothing once the connection closes: more input, taking a frame, an
    /// answer, a stop, an eviction.
    Stray,
    /// A frame is taken.
    Take,
    /// The connection is told what became of the message, if there was one.
    Answer,
    /// Some of the output is written.
    Write(Cut),
    /// The connection is asked for its next action.
    Act,
    /// The peer ends its input.
    End,
    /// The transport fails.
    Break,
    /// The server stops.
    Stop,
    /// The connection loses its place.
    Evict,
    /// A millisecond passes.
    Tick,
    /// The timer fires.
    Timeout,
    /// The consumer takes an entry.
    Consume,
}

/// The model.
pub struct ConnectionModel {
    server: Server,
    path: String,
    limits: Limits,
    lines: &'static [Line],
    cuts: &'static [Cut],
    most_lines: u8,
    flaw: Option<Flaw>,
}

impl ConnectionModel {
    /// A peer that says any lines.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        const ALL: &[Line] = &[
            Line::Text,
            Line::Ping,
            Line::WrongToken,
            Line::NoToken,
            Line::Garbage,
            Line::Blank,
            Line::TooLong,
        ];
        const CUTS: &[Cut] = &[Cut::Whole, Cut::Half, Cut::ButOne];
        match size {
            Size::Small => Self::new(&ALL[..3], 1, &CUTS[..1]),
            Size::Quick => Self::new(ALL, 2, &CUTS[..2]),
            Size::Deep => Self::new(&ALL[..4], 3, &CUTS[..2]),
        }
    }

    /// A peer that only pings, at a path so long that two pongs fill the output.
    #[must_use]
    pub fn narrow(size: Size) -> Self {
        let most_lines = match size {
            Size::Small => 2,
            Size::Quick => 4,
            Size::Deep => 6,
        };
        let mut model = Self::new(&[Line::Ping], most_lines, &[Cut::Whole]);
        model.path = "/s".repeat(200);
        model.server = Server::new(&model.path, token(TOKEN));
        model
    }

    fn new(lines: &'static [Line], most_lines: u8, cuts: &'static [Cut]) -> Self {
        let path = "/s".to_owned();
        let limits = Limits::builder()
            .max_frame_bytes(MAX_FRAME_BYTES)
            .max_outbox_bytes(1_024)
            .max_inbox_entries(1)
            .auth_timeout(span(AUTH))
            .idle_timeout(span(IDLE))
            .closing_timeout(span(CLOSING));
        Self {
            server: Server::new(&path, token(TOKEN)),
            path,
            limits: built(limits),
            lines,
            cuts,
            most_lines,
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

    fn connection(&self, now: u16) -> Connection {
        if self.has(Flaw::UnboundedOutput) {
            let wide = Limits::builder().max_frame_bytes(MAX_FRAME_BYTES);
            return Connection::new(&built(wide), at(now));
        }
        Connection::new(&self.limits, at(now))
    }

    fn deadline(&self, state: &State) -> Option<u16> {
        let connection = &state.connection;
        let deadline = connection.poll_timeout().map(millis)?;
        let closing = connection.close_reason().is_some();
        if self.has(Flaw::NoClosingDeadline) && closing {
            return None;
        }
        if self.has(Flaw::SlowClosing) && closing {
            return Some(deadline + 1);
        }
        if self.has(Flaw::NoIdleDeadline) && !closing && connection.is_authenticated() {
            return Some(deadline + IDLE);
        }
        if self.has(Flaw::NoAuthDeadline) && !closing && !connection.is_authenticated() {
            return Some(deadline.max(state.witness.since + IDLE));
        }
        Some(deadline)
    }

    fn read(&self, state: &mut State, cut: Cut) {
        let unfed = state.witness.unfed(self.flaw);
        let n = fill(state.connection.spare_mut(), &unfed, cut);
        state.connection.handle_input(n, at(state.now));
        state.input.moved(&unfed, n);
        state.witness.feed(n, state.now);
    }

    fn stray(&self, state: &mut State) {
        let line = Line::Text.bytes(None);
        let n = fill(state.connection.spare_mut(), line, Cut::Whole);
        state.connection.handle_input(n, at(state.now));
        if self.has(Flaw::TakesAfterError) {
            let message = Message::parse(line, &self.limits).expect("it is a message");
            push(&mut state.inbox, message.kept());
        }
        self.take(state);
        self.answer(state);
        state.connection.handle_stop();
        self.evict(state);
    }

    fn answer(&self, state: &mut State) {
        let stray = EntryId::parse("uds-1");
        let id = state.owed.take().unwrap_or(stray);
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        state.connection.handle_enqueued(id, now, wall);
    }

    fn take(&self, state: &mut State) {
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        let event = state.connection.handle_frame(&self.server, now, wall);
        if let Some(Event::MessageReceived(kept)) = event {
            let mut id = EntryId::parse("uds-1");
            if !self.has(Flaw::OkWithoutPush) {
                id = push(&mut state.inbox, kept);
            }
            if self.has(Flaw::PushesTwice) {
                push(&mut state.inbox, kept);
            }
            state.owed = Some(id);
            if self.has(Flaw::PongsToAll) {
                state
                    .witness
                    .hear(Said::Pong, &state.inbox, state.now, false);
            }
        }
    }

    fn evict(&self, state: &mut State) {
        if state.connection.close_reason().is_none() {
            state.evicted = true;
        } else if self.has(Flaw::SecondError) && !state.evicted {
            let error = Said::Error(Refusal::TooManyClients);
            state.witness.hear(error, &state.inbox, state.now, true);
        }
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        state.connection.handle_eviction(now, wall);
    }

    fn fire(&self, connection: &mut Connection, now: u16) {
        let early = u16::from(self.has(Flaw::FiresEarly));
        connection.handle_timeout(at(now + early), UnixTime::EPOCH);
    }

    fn apply(&self, state: &mut State, step: Step) {
        let now = at(state.now);
        match step {
            Step::Say(line) => state.witness.say(line),
            Step::Read(cut) => self.read(state, cut),
            Step::Stray => self.stray(state),
            Step::Take => self.take(state),
            Step::Answer => self.answer(state),
            Step::Write(cut) => {
                let n = cut.take(state.connection.pending());
                state.output.moved(state.connection.pending(), n);
                if state.connection.close_reason().is_none() {
                    state.witness.wrote(state.now);
                }
                state.connection.handle_output(n, now);
            }
            Step::Act => match state.connection.poll_action() {
                Some(Action::FinishOutput) => state.finishes += 1,
                Some(Action::Hangup) => state.hangups += 1,
                None if self.has(Flaw::HangsUpAgain) && state.hangups == 1 => state.hangups += 1,
                None => {}
            },
            Step::End => {
                state.ended = true;
                if self.has(Flaw::DropsFramesAtEnd) {
                    state.connection = self.connection(state.now);
                }
                state.connection.handle_end_of_input();
            }
            Step::Break if self.has(Flaw::Reopens) && state.connection.is_closed() => {
                state.connection = self.connection(state.now);
            }
            Step::Break => {
                if self.has(Flaw::ChangesReason) && state.connection.close_reason().is_some() {
                    state.connection = self.connection(state.now);
                }
                state.connection.handle_broken();
            }
            Step::Stop => state.connection.handle_stop(),
            Step::Evict => self.evict(state),
            Step::Tick if self.has(Flaw::RefusesForNothing) => {
                state.connection.handle_eviction(now, UnixTime::EPOCH);
            }
            Step::Tick => state.now += 1,
            Step::Timeout => self.fire(&mut state.connection, state.now),
            Step::Consume => {
                state.inbox.pop();
            }
        }
    }

    /// Tells the witness what the step did, and blanks what will not be looked at again.
    fn observe(&self, before: &State, state: &mut State, step: Step) {
        let State {
            connection: was,
            inbox: old,
            ..
        } = before;
        let now = state.now;
        if state.inbox.last() != old.last() {
            state
                .witness
                .keep(old, &state.inbox, was.close_reason().is_some());
        }
        if !matches!(step, Step::Write(_)) {
            let start = was.pending().len();
            let fresh = state.connection.pending().get(start..).unwrap_or_default();
            for line in fresh.split_inclusive(|byte| *byte == b'\n') {
                let text = std::str::from_utf8(line).unwrap_or_default();
                let line = text.strip_suffix('\n').unwrap_or_default();
                let said = Said::read(line, &self.path);
                state.witness.hear(said, &state.inbox, now, state.evicted);
            }
        }
        state.witness.watch(was, &state.connection, now);
        state.connection.spare_mut().fill(0);
        if state.connection.close_reason().is_some() {
            state.input = Way::default();
            state.evicted = false;
            state.owed = None;
        }
        if state.connection.is_closed() {
            state.now = 0;
            state.ended = false;
            state.inbox = Inbox::new(&self.limits);
            state.output = Way::default();
        }
    }

    fn may(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend([Step::Act, Step::Break]);
        if state.connection.close_reason().is_some() {
            steps.extend([Step::Stray, Step::End]);
        } else {
            // Answers also where none is due, which has to do nothing.
            steps.extend([Step::Take, Step::Answer, Step::Stop, Step::Evict]);
            self.may_hear(state, steps);
        }
        let pending = state.connection.pending();
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

    fn may_hear(&self, state: &State, steps: &mut Vec<Step>) {
        if !state.ended && state.witness.spoken < self.most_lines {
            steps.extend(self.lines.iter().copied().map(Step::Say));
        }
        let unfed = state.witness.unfed(self.flaw);
        steps.extend(state.input.cuts(self.cuts, &unfed).map(Step::Read));
        if unfed.is_empty() {
            steps.push(Step::End);
        }
        if !state.inbox.is_empty() {
            steps.push(Step::Consume);
        }
    }
}

fn push(inbox: &mut Inbox, kept: hallway_core::local::Kept<'_>) -> Option<EntryId> {
    inbox.push(kept, PEER, UnixTime::EPOCH).ok()
}

impl Model for ConnectionModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let roomy = Limits::DEFAULT;
        let limits = if self.has(Flaw::PushesTwice) {
            &roomy
        } else {
            &self.limits
        };
        vec![State {
            connection: self.connection(0),
            inbox: Inbox::new(limits),
            now: 0,
            witness: Witness::default(),
            input: Way::default(),
            output: Way::default(),
            ended: false,
            evicted: false,
            owed: None,
            finishes: 0,
            hangups: 0,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        self.may(state, steps);
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, step);
        self.observe(before, &mut state, step);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

impl Proof for ConnectionModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        checks::goals()
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Take | Step::Answer | Step::Act | Step::Tick | Step::Timeout
        )
    }
}
