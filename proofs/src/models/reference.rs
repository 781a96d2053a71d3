//! The reference's reconnect policy, as sessions.md §3 tells it, against a server and a network
//! that do anything: the model to which the counterexamples belong.
//!
//! It is a description of behaviour and not of code. One number is the present socket, facts
//! carry no epoch, a token is awaited without a deadline, and pongs are not looked at. What a
//! contract that only lists faults leaves open is stated at its place.

use stateright::{Model, Property};

use super::policy::{self, Budget, Observed, Record, Statement};
use crate::search::{Goal, Proof};

/// How many milliseconds until a retry.
type Delay = u16;

const RETRY: Delay = 2_000;
const FORCED: Delay = 500;
const UNAUTHORIZED: u16 = 4_003;
const NOT_FOUND: u16 = 4_001;
const ABNORMAL: u16 = 1_006;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    Idle,
    Connecting,
    Connected,
    Closed,
}

/// The policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    phase: Phase,
    /// The socket that sends and closes go to.
    socket: Option<u8>,
    retry: Option<Delay>,
    transient: u8,
    not_found: u8,
    /// The socket over which the pending request came.
    pending: Option<u8>,
}

/// What the caller hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Reconnecting,
    Closed,
}

impl Client {
    /// Asks for a token and then dials, whatever it was doing.
    fn connect(&mut self) {
        self.phase = Phase::Connecting;
        self.retry = None;
    }

    /// The token came: there is a new socket, whatever happened meanwhile.
    fn dial(&mut self, socket: u8) {
        self.socket = Some(socket);
    }

    fn opened(&mut self) {
        self.phase = Phase::Connected;
        (self.transient, self.not_found) = (0, 0);
    }

    /// Any socket closed, or could not be opened.
    fn closed(&mut self, code: u16) -> Option<Heard> {
        let was = self.phase;
        if was == Phase::Closed {
            return None;
        }
        self.socket = None;
        let spent = match code {
            UNAUTHORIZED => return self.end(),
            NOT_FOUND => Budget::NotFound,
            _ if was == Phase::Connected => Budget::Transient,
            _ => return self.end(),
        };
        let count = match spent {
            Budget::NotFound => &mut self.not_found,
            Budget::Transient => &mut self.transient,
        };
        if *count >= spent.most() {
            return self.end();
        }
        *count += 1;
        self.retry = Some(match spent {
            Budget::NotFound => RETRY * u16::from(*count),
            Budget::Transient => RETRY,
        });
        self.phase = Phase::Connecting;
        Some(Heard::Reconnecting)
    }

    fn end(&mut self) -> Option<Heard> {
        self.phase = Phase::Closed;
        self.retry = None;
        Some(Heard::Closed)
    }

    /// The caller wants a new connection.
    fn reconnect(&mut self) -> Option<u8> {
        (self.transient, self.not_found) = (0, 0);
        self.retry = Some(FORCED);
        self.phase = Phase::Connecting;
        self.socket.take()
    }

    /// The caller wants no connection.
    fn close(&mut self) -> Option<u8> {
        self.end();
        self.socket.take()
    }

    /// The caller answers the pending request; whether the answer was written.
    fn answer(&mut self) -> bool {
        self.pending = None;
        self.phase == Phase::Connected && self.socket.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Its token is awaited; there is no transport.
    Token,
    Dialing,
    Open,
    /// The client has closed it; its last event is on its way.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Socket {
    id: u8,
    stage: Stage,
}

/// What the model has come to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    client: Client,
    sockets: Vec<Socket>,
    record: Record,
    /// Whether it was connected once.
    connected: bool,
    /// What the caller and the machine may still do, of a few each.
    connects: u8,
    reconnects: u8,
    requests: u8,
    sleeps: u8,
}

/// What may happen next; a socket is named by its place among those there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The caller connects.
    Connect,
    /// The caller wants a new connection.
    Reconnect,
    /// The caller ends it.
    Close,
    /// The caller answers the request.
    Answer,
    /// The token getter gives a token.
    Token(usize),
    /// The token getter fails.
    NoToken(usize),
    /// The server accepts.
    Open(usize),
    /// The dial fails, by itself or, if so, by a refusal with 503.
    DialFails(usize, bool),
    /// The server asks something.
    Ask(usize),
    /// The connection is open for long.
    Proves(usize),
    /// The connection closes with this code.
    Closed(usize, u16),
    /// The retry is due.
    Retry,
    /// The machine sleeps and wakes.
    Sleep,
}

/// The model.
pub struct ReferenceModel(Statement);

impl ReferenceModel {
    /// One that looks for a violation of `statement`.
    #[must_use]
    pub const fn new(statement: Statement) -> Self {
        Self(statement)
    }
}

/// The most sockets that are at a time.
const MOST_SOCKETS: usize = 2;

impl State {
    fn start(&mut self) {
        self.client.connect();
        // The least number that nobody has: only whether two are the same counts.
        let taken = |id: &u8| {
            let pending = self.client.pending == Some(*id);
            pending || self.sockets.iter().any(|socket| socket.id == *id)
        };
        let id = (0..).find(|id| !taken(id)).unwrap_or_default();
        let stage = Stage::Token;
        self.sockets.push(Socket { id, stage });
    }

    /// A socket closed, or could not be opened; it is gone.
    fn lost(&mut self, at: usize, code: u16, refused: bool) -> Option<()> {
        let socket = (at < self.sockets.len()).then(|| self.sockets.remove(at))?;
        let before = self.client.clone();
        let heard = self.client.closed(code);
        let present = before.socket == Some(socket.id);
        if !present {
            self.record.late_event(self.client != before);
        }
        if heard == Some(Heard::Reconnecting) {
            let budget = if code == NOT_FOUND {
                Budget::NotFound
            } else {
                Budget::Transient
            };
            self.record.retries(budget);
            // No chance is in it: all clients wait as long.
            self.record.scheduled(false);
        }
        if socket.stage == Stage::Dialing && present && (refused || self.connected) {
            let left = before.transient < Budget::Transient.most();
            let ended = heard == Some(Heard::Closed);
            self.record.dial_failed(refused, ended, left);
        }
        Some(())
    }

    fn closing(&mut self, id: Option<u8>) {
        for socket in &mut self.sockets {
            if Some(socket.id) == id {
                socket.stage = Stage::Closing;
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.client.phase == Phase::Connected
    }

    fn apply(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Connect => {
                self.connects -= 1;
                self.start();
            }
            Step::Reconnect => {
                self.reconnects -= 1;
                let replaced = self.client.reconnect();
                self.closing(replaced);
                self.record.starts_again();
            }
            Step::Close => {
                let closed = self.client.close();
                self.closing(closed);
            }
            Step::Answer => {
                let written = self.client.answer();
                self.record.sent(written);
            }
            Step::Token(at) => {
                let socket = self.sockets.get_mut(at)?;
                socket.stage = Stage::Dialing;
                self.client.dial(socket.id);
            }
            // Nobody catches it: the state stays as it is.
            Step::NoToken(at) => {
                self.sockets.remove(at);
            }
            Step::Open(at) => {
                self.sockets.get_mut(at)?.stage = Stage::Open;
                self.client.opened();
                self.connected = true;
            }
            Step::DialFails(at, refused) => self.lost(at, ABNORMAL, refused)?,
            Step::Ask(at) => {
                self.requests -= 1;
                self.client.pending = Some(self.sockets.get(at)?.id);
                self.record.starts_again();
            }
            Step::Proves(at) => {
                self.sockets.get(at)?;
                self.record.starts_again();
            }
            Step::Closed(at, code) => self.lost(at, code, false)?,
            Step::Retry => self.start(),
            Step::Sleep => {
                self.sleeps -= 1;
                let spent = self.client.transient.max(self.client.not_found);
                // The overdue tick sends a ping, whose answer nobody waits for.
                let probed = self.is_connected().then_some(false);
                self.record.woke(spent, probed);
            }
        }
        Some(())
    }
}

impl Observed for State {
    fn record(&self) -> &Record {
        &self.record
    }

    fn is_closed(&self) -> bool {
        self.client.phase == Phase::Closed
    }

    fn is_waiting(&self) -> bool {
        matches!(self.client.phase, Phase::Connecting | Phase::Connected)
    }

    /// A connected one has its tick.
    fn has_deadline(&self) -> bool {
        self.client.retry.is_some() || self.is_connected()
    }

    fn live_transports(&self) -> usize {
        let live = |socket: &&Socket| matches!(socket.stage, Stage::Dialing | Stage::Open);
        self.sockets.iter().filter(live).count()
    }

    fn has_stale_requests(&self) -> bool {
        let pending = self.client.pending;
        self.is_connected() && pending.is_some() && pending != self.client.socket
    }
}

impl Model for ReferenceModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            client: Client::default(),
            sockets: Vec::new(),
            record: Record::of(self.0),
            connected: false,
            // Who connects twice, or again, breaks more than the point that is about it.
            connects: 1 + u8::from(self.0 == Statement::OneTransport),
            reconnects: u8::from(self.0 == Statement::LateEventsAreIgnored),
            requests: 1,
            sleeps: 1,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let client = &state.client;
        let room = state.sockets.len() < MOST_SOCKETS;
        let began = !matches!(client.phase, Phase::Idle | Phase::Closed);
        let may = |step: Step, may: bool| may.then_some(step);
        let closed = client.phase == Phase::Closed;
        steps.extend(may(Step::Connect, state.connects > 0 && room && !closed));
        steps.extend(may(Step::Reconnect, state.reconnects > 0 && began));
        steps.extend(may(Step::Close, began));
        steps.extend(may(Step::Answer, client.pending.is_some()));
        steps.extend(may(Step::Retry, client.retry.is_some() && room));
        steps.extend(may(Step::Sleep, state.sleeps > 0 && began));
        for (at, socket) in state.sockets.iter().enumerate() {
            match socket.stage {
                Stage::Token => steps.extend([Step::Token(at), Step::NoToken(at)]),
                Stage::Dialing => {
                    let fails = [false, true].map(|refused| Step::DialFails(at, refused));
                    steps.push(Step::Open(at));
                    steps.extend(fails);
                }
                Stage::Open => {
                    steps.extend(may(Step::Ask(at), state.requests > 0));
                    steps.push(Step::Proves(at));
                    let codes = [ABNORMAL, NOT_FOUND, UNAUTHORIZED];
                    steps.extend(codes.map(|code| Step::Closed(at, code)));
                }
                Stage::Closing => steps.push(Step::Closed(at, ABNORMAL)),
            }
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        state.apply(step)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        policy::properties()
    }
}

impl Proof for ReferenceModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        Vec::new()
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Client {
        let mut client = Client::default();
        client.connect();
        client.dial(0);
        client.opened();
        client
    }

    #[test]
    fn it_is_the_policy_of_the_table() {
        let mut refused = connected();
        assert_eq!(refused.closed(UNAUTHORIZED), Some(Heard::Closed));
        assert_eq!((refused.phase, refused.retry), (Phase::Closed, None));

        let mut compacting = connected();
        for delay in [2_000, 4_000, 6_000] {
            assert_eq!(compacting.closed(NOT_FOUND), Some(Heard::Reconnecting));
            assert_eq!(compacting.retry, Some(delay));
        }
        assert_eq!(compacting.closed(NOT_FOUND), Some(Heard::Closed));

        let mut flaky = connected();
        for _ in 0..5 {
            assert_eq!(flaky.closed(ABNORMAL), Some(Heard::Reconnecting));
            assert_eq!(flaky.retry, Some(2_000));
            // Without the reset that comes with being open.
            flaky.phase = Phase::Connected;
        }
        assert_eq!(flaky.closed(ABNORMAL), Some(Heard::Closed));

        let mut forced = connected();
        forced.closed(NOT_FOUND);
        assert_eq!(forced.reconnect(), None);
        assert_eq!((forced.retry, forced.not_found), (Some(500), 0));
        assert_eq!(connected().reconnect(), Some(0), "the old one is closed");
    }
}
