//! An [`Exchange`] and a [`Connection`] with its inbox, over a link that cuts, half-closes
//! and loses, under one clock.
//!
//! Both shells are modelled as they must be written: a message is offered to the inbox and
//! answered in one step, and the client polls its outcomes before it tells the end of input.

mod checks;
mod state;
mod witness;

use hallway_core::local::connection::{Action, Connection, Event, Server};
use hallway_core::local::exchange::{Answer, Data, Draft, Exchange, Outcome};
use hallway_core::local::inbox::{EntryId, Inbox};
use hallway_core::{Limits, Token, UnixTime};
use stateright::{Model, Property};

use super::{Cut, LATE, MAX_FRAME_BYTES, PEER, TOKEN, at, built, millis, span, token};
use crate::check::Size;
use crate::search::{Goal, Proof};
use state::Pipe;
pub use state::{ClientStep, ServerStep, State, Step, Trouble};
use witness::Witness;
pub use witness::{Asked, Wrong};

const AUTH: u16 = 1;
const IDLE: u16 = 2;
const CLOSING: u16 = 1;
const SEND: u16 = 2;
const PING: u16 = 1;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The server takes any token.
    ChecksNoToken,
    /// The server answers `ok` without offering the message to the inbox.
    OkWithoutPush,
    /// The server's shell answers in a step of its own after the push.
    AnswersLate,
    /// The link delivers twice.
    Duplicates,
    /// The server answers a ping with an id.
    SwapsAnswers,
    /// The client tells each outcome as that of the newest request.
    SwapsOutcomes,
    /// The client's shell does not tell what it wrote.
    WritesUntold,
    /// The client's deadlines are not kept.
    NoSendDeadline,
    /// A closing connection waits for ever.
    NoClosingDeadline,
    /// The client's deadlines are one millisecond too far.
    SlowSendDeadline,
}

/// The model.
pub struct LinkModel {
    limits: Limits,
    server: Server,
    token: Token,
    forged: Token,
    requests: &'static [Asked],
    most_requests: u8,
    cuts: &'static [Cut],
    troubles: &'static [Trouble],
    flaw: Option<Flaw>,
}

const ALL: &[Asked] = &[Asked::Message, Asked::Forged, Asked::Ping];
const CUTS: &[Cut] = &[Cut::Whole, Cut::Half];
const TROUBLES: &[Trouble] = &[
    Trouble::LostToServer,
    Trouble::Evict,
    Trouble::LostToClient,
    Trouble::Stop,
];

impl LinkModel {
    /// A link that cuts and half-closes.
    #[must_use]
    pub fn calm(size: Size) -> Self {
        match size {
            Size::Small => Self::new((&ALL[..2], 1), &CUTS[..1], &[]),
            Size::Quick => Self::new((ALL, 2), &CUTS[..1], &[]),
            Size::Deep => Self::new((ALL, 2), CUTS, &[]),
        }
    }

    /// A link that also loses, to a server that stops and evicts.
    #[must_use]
    pub fn rough(size: Size) -> Self {
        match size {
            Size::Small => Self::new((&ALL[..1], 1), &CUTS[..1], &TROUBLES[..2]),
            Size::Quick => Self::new((ALL, 1), CUTS, TROUBLES),
            Size::Deep => Self::new((ALL, 2), CUTS, TROUBLES),
        }
    }

    fn new(
        (requests, most_requests): (&'static [Asked], u8),
        cuts: &'static [Cut],
        troubles: &'static [Trouble],
    ) -> Self {
        let limits = Limits::builder()
            .max_frame_bytes(MAX_FRAME_BYTES)
            .max_inbox_entries(1)
            .auth_timeout(span(AUTH))
            .idle_timeout(span(IDLE))
            .closing_timeout(span(CLOSING))
            .send_timeout(span(SEND))
            .ping_timeout(span(PING));
        Self {
            limits: built(limits),
            server: Server::new("/s", token(TOKEN)),
            token: token(TOKEN),
            forged: token("t"),
            requests,
            most_requests,
            cuts,
            troubles,
            flaw: None,
        }
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        if flaw == Flaw::ChecksNoToken {
            self.forged = token(TOKEN);
        }
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn server_deadline(&self, state: &State) -> Option<u16> {
        let connection = state.connection.as_ref()?;
        let deadline = connection.poll_timeout().map(millis);
        let forgotten = self.has(Flaw::NoClosingDeadline) && connection.close_reason().is_some();
        deadline.filter(|_| !forgotten)
    }

    fn client_deadline(&self, state: &State) -> Option<u16> {
        let exchange = state.exchange.as_ref()?;
        let deadline = exchange.poll_timeout().map(millis);
        let deadline = deadline.filter(|_| !self.has(Flaw::NoSendDeadline));
        deadline.map(|deadline| deadline + u16::from(self.has(Flaw::SlowSendDeadline)))
    }

    fn ask(&self, state: &mut State, asked: Asked) -> Option<()> {
        let exchange = state.exchange.as_mut()?;
        let ordinal = state.witness.next();
        let text = ordinal.to_string();
        let data = if asked == Asked::Forged { "0" } else { &text };
        let draft = Draft {
            kind: "text",
            data: Data::Json(data),
            from: None,
        };
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        let sent = match asked {
            Asked::Message => exchange.send(draft, &self.token, now, wall),
            Asked::Ping => exchange.ping(&self.token, now, wall),
            Asked::Forged => exchange.send(draft, &self.forged, now, wall),
        };
        state.witness.ask(asked, sent.ok(), state.now);
        Some(())
    }

    fn client(&self, state: &mut State, step: ClientStep) -> Option<()> {
        let (up, down, now) = (&mut state.up, &mut state.down, at(state.now));
        let exchange = state.exchange.as_mut()?;
        match step {
            ClientStep::Ask(asked) => self.ask(state, asked)?,
            ClientStep::HalfClose => up.ended = true,
            ClientStep::Write(cut) => {
                let n = up.send(exchange.pending(), cut);
                if !self.has(Flaw::WritesUntold) {
                    exchange.handle_output(n);
                }
            }
            ClientStep::Read => {
                let n = down.receive(exchange.spare_mut());
                exchange.handle_input(n);
            }
            ClientStep::Poll => {
                let mut outcome = exchange.poll_outcome();
                if let Some(outcome) = &mut outcome {
                    self.spoil(outcome, &state.witness);
                }
                if outcome.is_none() && exchange.is_closed() {
                    state.exchange = None;
                    up.ended = true;
                    *down = Pipe::default();
                }
                state.witness.hear(outcome.as_ref(), &state.inbox);
            }
            ClientStep::End => exchange.handle_end_of_input(),
            ClientStep::Break => exchange.handle_broken(),
            ClientStep::Timeout => exchange.handle_timeout(now),
        }
        Some(())
    }

    fn spoil(&self, outcome: &mut Outcome, witness: &Witness) {
        if self.has(Flaw::SwapsAnswers) && outcome.result == Ok(Answer::Pong) {
            outcome.result = Ok(Answer::Accepted(None));
        }
        if self.has(Flaw::SwapsOutcomes)
            && let Some(other) = witness.last_id()
        {
            outcome.id = other;
        }
    }

    fn server(&self, state: &mut State, step: ServerStep) -> Option<()> {
        let (up, down, now) = (&mut state.up, &mut state.down, at(state.now));
        let connection = state.connection.as_mut()?;
        match step {
            ServerStep::Read => {
                if self.has(Flaw::Duplicates) && up.bytes.ends_with(b"\n") {
                    let again = up.bytes.clone();
                    up.bytes.extend(again);
                }
                let n = up.receive(connection.spare_mut());
                connection.handle_input(n, now);
            }
            ServerStep::Take => self.take(state)?,
            ServerStep::Answer => {
                let id = state.owed.take()?;
                connection.handle_enqueued(id, now, UnixTime::EPOCH);
            }
            ServerStep::Write(cut) => {
                let n = down.send(connection.pending(), cut);
                connection.handle_output(n, now);
            }
            ServerStep::Act => match connection.poll_action()? {
                Action::FinishOutput => down.ended = true,
                Action::Hangup => {
                    state.connection = None;
                    state.owed = None;
                    *up = Pipe::default();
                    down.ended = true;
                }
            },
            ServerStep::End => {
                up.told = true;
                connection.handle_end_of_input();
            }
            ServerStep::Break => connection.handle_broken(),
            ServerStep::Timeout => connection.handle_timeout(now, UnixTime::EPOCH),
        }
        Some(())
    }

    fn may_come(state: &State, trouble: Trouble) -> bool {
        match trouble {
            Trouble::LostToClient | Trouble::LostToServer => {
                !state.lost && state.exchange.is_some() && state.connection.is_some()
            }
            Trouble::Stop | Trouble::Evict => {
                let open = |connection: &Connection| connection.close_reason().is_none();
                state.connection.as_ref().is_some_and(open)
            }
        }
    }

    fn trouble(state: &mut State, trouble: Trouble) -> Option<()> {
        let (exchange, connection) = (&mut state.exchange, &mut state.connection);
        match trouble {
            Trouble::LostToClient => exchange.as_mut()?.handle_broken(),
            Trouble::LostToServer => connection.as_mut()?.handle_broken(),
            Trouble::Stop => connection.as_mut()?.handle_stop(),
            Trouble::Evict => {
                connection
                    .as_mut()?
                    .handle_eviction(at(state.now), UnixTime::EPOCH);
            }
        }
        if matches!(trouble, Trouble::LostToClient | Trouble::LostToServer) {
            state.lost = true;
            state.up.cut_off();
            state.down.cut_off();
        }
        Some(())
    }

    fn take(&self, state: &mut State) -> Option<()> {
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        let connection = state.connection.as_mut()?;
        let event = connection.handle_frame(&self.server, now, wall)?;
        let Event::MessageReceived(kept) = event else {
            return Some(());
        };
        let id = if self.has(Flaw::OkWithoutPush) {
            EntryId::parse("uds-1")
        } else {
            state.inbox.push(kept, PEER, wall).ok()
        };
        if self.has(Flaw::AnswersLate) {
            state.owed = Some(id);
        } else {
            connection.handle_enqueued(id, now, wall);
        }
        Some(())
    }

    /// Tells the witness, and blanks what will not be looked at again.
    fn observe(before: &State, state: &mut State) {
        if state.inbox.last() != before.inbox.last() {
            state.witness.keep(&before.inbox, &state.inbox);
        }
        if let Some(connection) = &mut state.connection {
            connection.spare_mut().fill(0);
            if connection.close_reason().is_some() {
                // It would only throw them away.
                state.up.bytes.clear();
            }
        } else {
            state.witness.server_gone();
        }
        if let Some(exchange) = &mut state.exchange {
            exchange.spare_mut().fill(0);
            if exchange.is_closed() {
                state.down.bytes.clear();
            }
        }
    }

    fn may_client(&self, state: &State, steps: &mut Vec<ClientStep>) {
        let Some(exchange) = &state.exchange else {
            return;
        };
        steps.push(ClientStep::Poll);
        if exchange.is_closed() {
            return;
        }
        if !state.up.ended {
            if state.witness.asked() < self.most_requests {
                steps.extend(self.requests.iter().copied().map(ClientStep::Ask));
            }
            let pending = exchange.pending();
            if pending.is_empty() {
                steps.push(ClientStep::HalfClose);
            }
            let cuts = state.up.way.cuts(self.cuts, pending);
            steps.extend(cuts.map(ClientStep::Write));
        }
        if !state.down.bytes.is_empty() {
            steps.push(ClientStep::Read);
        } else if state.down.ended && exchange.clone().poll_outcome().is_none() {
            steps.push(ClientStep::End);
        }
        if state.connection.is_none() {
            steps.push(ClientStep::Break);
        }
        let due = self.client_deadline(state);
        if due.is_some_and(|due| state.now >= due) {
            steps.push(ClientStep::Timeout);
        }
    }

    fn may_server(&self, state: &State, steps: &mut Vec<ServerStep>) {
        let Some(connection) = &state.connection else {
            return;
        };
        steps.push(ServerStep::Act);
        if connection.is_closed() {
            return;
        }
        if connection.close_reason().is_none() {
            steps.push(ServerStep::Take);
        }
        if state.owed.is_some() {
            steps.push(ServerStep::Answer);
        }
        if !state.up.bytes.is_empty() {
            steps.push(ServerStep::Read);
        } else if state.up.ended && !state.up.told {
            steps.push(ServerStep::End);
        }
        if state.exchange.is_none() {
            steps.push(ServerStep::Break);
        }
        if !state.lost {
            let cuts = state.down.way.cuts(self.cuts, connection.pending());
            steps.extend(cuts.map(ServerStep::Write));
        }
        let due = self.server_deadline(state);
        if due.is_some_and(|due| state.now >= due) {
            steps.push(ServerStep::Timeout);
        }
    }
}

impl Model for LinkModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            exchange: Some(Exchange::new(&self.limits)),
            connection: Some(Connection::new(&self.limits, at(0))),
            inbox: Inbox::new(&self.limits),
            now: 0,
            up: Pipe::default(),
            down: Pipe::default(),
            lost: false,
            witness: Witness::default(),
            owed: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        self.may_client(state, &mut client);
        self.may_server(state, &mut server);
        steps.extend(client.into_iter().map(Step::Client));
        steps.extend(server.into_iter().map(Step::Server));
        let troubles = self.troubles.iter().copied();
        steps.extend(
            troubles
                .filter(|trouble| Self::may_come(state, *trouble))
                .map(Step::Trouble),
        );
        if state.connection.is_some() && !state.inbox.is_empty() {
            steps.push(Step::Consume);
        }
        let deadlines = [self.client_deadline(state), self.server_deadline(state)];
        let first = deadlines.into_iter().flatten().min();
        if first.is_some_and(|due| state.now < due + LATE) {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        state.witness.forget_last();
        match step {
            Step::Client(step) => self.client(&mut state, step),
            Step::Server(step) => self.server(&mut state, step),
            Step::Trouble(trouble) => Self::trouble(&mut state, trouble),
            Step::Tick => {
                state.now += 1;
                Some(())
            }
            Step::Consume => state.inbox.pop().map(drop),
        }?;
        Self::observe(before, &mut state);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

impl Proof for LinkModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        checks::goals()
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::Tick
                | Step::Client(ClientStep::Poll | ClientStep::Timeout)
                | Step::Server(
                    ServerStep::Take | ServerStep::Answer | ServerStep::Act | ServerStep::Timeout
                )
        )
    }
}
