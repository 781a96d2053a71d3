//! Many clients at one server: the [`Admission`] book and a production [`Connection`] for each
//! client, under one clock.

use std::fmt;

use hallway_core::local::connection::{Action, CloseReason, Connection, Refusal, Server};
use hallway_core::{Admission, ClientId, Limits, UnixTime};
use stateright::{Model, Property};

use super::{Cut, MAX_FRAME_BYTES, TOKEN, at, built, fill, millis, span, token};
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};

const AUTH: u16 = 1;
const IDLE: u16 = 2;
const CLOSING: u16 = 1;
const MOST_WAITING: usize = 1;
const MOST_REFUSED: usize = 1;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A client that may not linger is kept all the same.
    KeepsTheUnwelcome,
    /// A client that hung up keeps its place.
    ForgetsRelease,
    /// An evicted client is not told.
    EvictsSilently,
    /// A closing connection waits for ever for its peer to read.
    NoClosingDeadline,
    /// A client is trusted as soon as it comes.
    TrustsAtOnce,
    /// A client that authenticated is not entered as such.
    ForgetsAuthentication,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    id: ClientId,
    connection: Connection,
    authenticated: bool,
    /// Whether it has no place among the served.
    refused: bool,
}

impl Client {
    /// Whether it is served and has not authenticated.
    fn is_silent(&self) -> bool {
        !self.refused && !self.authenticated
    }
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    admission: Admission,
    clients: Vec<Client>,
    arrivals: u8,
    now: u16,
    /// A newcomer was refused although a silent client or nobody had its place.
    locked_out: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients.iter().map(|client| {
            let connection = &client.connection;
            let due = connection.poll_timeout().map(millis);
            (
                client.id,
                client.authenticated,
                connection.close_reason(),
                due,
            )
        });
        f.debug_struct("State")
            .field("now", &self.now)
            .field("clients", &clients.collect::<Vec<_>>())
            .field("served", &self.admission.served())
            .field("unauthenticated", &self.admission.unauthenticated())
            .field("refused", &self.admission.refused())
            .finish_non_exhaustive()
    }
}

/// What may happen next; a client is named by its place among those there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client comes.
    Arrive,
    /// The client pings, and the server takes it.
    Ping(usize),
    /// The client reads all that it was sent.
    Read(usize),
    /// The client ends its output, and the server takes note.
    Leave(usize),
    /// The client's connection is asked for its next action, which is done.
    Act(usize),
    /// A millisecond passes.
    Tick,
    /// The client's timer fires.
    Timeout(usize),
}

/// The model.
pub struct CrowdModel {
    limits: Limits,
    server: Server,
    places: usize,
    most_arrivals: u8,
    flaw: Option<Flaw>,
}

impl CrowdModel {
    /// Clients of one process; timers are punctual.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        Self::new(
            2,
            match size {
                Size::Small => 2,
                Size::Quick => 3,
                Size::Deep => 4,
            },
        )
    }

    /// The same with one place, so that few clients are too many.
    #[must_use]
    pub fn cramped(size: Size) -> Self {
        Self::new(
            1,
            match size {
                Size::Small => 3,
                Size::Quick => 4,
                Size::Deep => 5,
            },
        )
    }

    fn new(places: usize, most_arrivals: u8) -> Self {
        let limits = Limits::builder()
            .max_frame_bytes(MAX_FRAME_BYTES)
            .max_clients(places)
            .max_unauthenticated_clients(MOST_WAITING)
            .max_refused_clients(MOST_REFUSED)
            .auth_timeout(span(AUTH))
            .idle_timeout(span(IDLE))
            .closing_timeout(span(CLOSING));
        Self {
            limits: built(limits),
            server: Server::new("/s", token(TOKEN)),
            places,
            most_arrivals,
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

    fn deadline(&self, connection: &Connection) -> Option<u16> {
        let closing = connection.close_reason().is_some();
        let forgotten = closing && self.has(Flaw::NoClosingDeadline);
        connection.poll_timeout().map(millis).filter(|_| !forgotten)
    }

    fn arrive(&self, state: &mut State) {
        state.arrivals += 1;
        let full = state.admission.served() >= self.places;
        let silent = state.clients.iter().any(Client::is_silent);
        let now = at(state.now);
        let connection = Connection::new(&self.limits, now);
        let newcomer = |id: ClientId, refused: bool| Client {
            id,
            connection: connection.clone(),
            authenticated: false,
            refused,
        };
        match state.admission.admit(1) {
            Ok(admitted) => {
                if let Some(evicted) = admitted.evicted {
                    let of = |client: &Client| client.id == evicted.id;
                    if evicted.may_linger || self.has(Flaw::KeepsTheUnwelcome) {
                        let found = state.clients.iter_mut().filter(|client| of(client));
                        found.for_each(|client| self.refuse(client, state.now));
                    } else {
                        state.clients.retain(|client| !of(client));
                        state.admission.release(evicted.id);
                    }
                }
                if self.has(Flaw::TrustsAtOnce) {
                    state.admission.handle_authenticated(admitted.id);
                }
                state.clients.push(newcomer(admitted.id, false));
            }
            Err(refused) => {
                state.locked_out |= !full || silent;
                if let Some(id) = refused.id {
                    let mut client = newcomer(id, true);
                    self.refuse(&mut client, state.now);
                    state.clients.push(client);
                }
            }
        }
    }

    fn refuse(&self, client: &mut Client, now: u16) {
        client.refused = true;
        if !self.has(Flaw::EvictsSilently) {
            client.connection.handle_eviction(at(now), UnixTime::EPOCH);
        }
    }

    fn ping(&self, state: &mut State, place: usize) -> Option<()> {
        let line = b"{\"type\":\"ping\",\"meta\":{\"authToken\":\"T\"}}\n";
        let now = at(state.now);
        let client = state.clients.get_mut(place)?;
        let connection = &mut client.connection;
        let n = fill(connection.spare_mut(), line, Cut::Whole);
        connection.handle_input(n, now);
        connection.handle_frame(&self.server, now, UnixTime::EPOCH);
        if connection.is_authenticated() && !client.authenticated {
            client.authenticated = true;
            if !self.has(Flaw::ForgetsAuthentication) {
                state.admission.handle_authenticated(client.id);
            }
        }
        Some(())
    }

    fn act(&self, state: &mut State, place: usize) -> Option<()> {
        let client = state.clients.get_mut(place)?;
        if client.connection.poll_action()? == Action::Hangup {
            let gone = state.clients.remove(place);
            if !self.has(Flaw::ForgetsRelease) {
                state.admission.release(gone.id);
            }
        }
        Some(())
    }

    fn apply(&self, state: &mut State, step: Step) -> Option<()> {
        let (now, wall) = (at(state.now), UnixTime::EPOCH);
        match step {
            Step::Arrive => self.arrive(state),
            Step::Ping(place) => self.ping(state, place)?,
            Step::Read(place) => {
                let connection = &mut state.clients.get_mut(place)?.connection;
                let pending = connection.pending().len();
                connection.handle_output(pending, now);
            }
            Step::Leave(place) => {
                let connection = &mut state.clients.get_mut(place)?.connection;
                connection.handle_end_of_input();
                connection.handle_frame(&self.server, now, wall);
            }
            Step::Act(place) => self.act(state, place)?,
            Step::Tick => state.now += 1,
            Step::Timeout(place) => {
                let connection = &mut state.clients.get_mut(place)?.connection;
                connection.handle_timeout(now, wall);
            }
        }
        for client in &mut state.clients {
            client.connection.spare_mut().fill(0);
        }
        if state.clients.is_empty() {
            state.now = 0;
        }
        Some(())
    }
}

impl Model for CrowdModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            admission: Admission::new(&self.limits),
            clients: Vec::new(),
            arrivals: 0,
            now: 0,
            locked_out: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.arrivals < self.most_arrivals {
            steps.push(Step::Arrive);
        }
        for (place, client) in state.clients.iter().enumerate() {
            let connection = &client.connection;
            steps.push(Step::Act(place));
            if connection.close_reason().is_none() && !client.authenticated {
                steps.push(Step::Ping(place));
            }
            if !connection.pending().is_empty() {
                steps.push(Step::Read(place));
            }
            steps.push(Step::Leave(place));
            if self
                .deadline(connection)
                .is_some_and(|due| state.now >= due)
            {
                steps.push(Step::Timeout(place));
            }
        }
        let connections = state.clients.iter().map(|client| &client.connection);
        let first = connections
            .filter_map(|connection| self.deadline(connection))
            .min();
        if first.is_some_and(|due| state.now < due) {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, step)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no more connections than places",
                |model: &Self, s: &State| {
                    s.clients.len() <= model.places + MOST_REFUSED
                        && s.admission.served() <= model.places
                        && s.admission.unauthenticated() <= MOST_WAITING
                        && s.admission.refused() <= MOST_REFUSED
                },
            ),
            Property::always(
                "the book is about the connections that are there",
                |_, s: &State| {
                    let silent = s.clients.iter().filter(|client| client.is_silent());
                    s.admission.served() + s.admission.refused() == s.clients.len()
                        && s.admission.unauthenticated() == silent.count()
                },
            ),
            Property::always("silent clients lock nobody out", |_, s: &State| {
                !s.locked_out
            }),
            Property::always("who loses its place is told so", |_, s: &State| {
                let mut refused = s.clients.iter().filter(|client| client.refused);
                refused.all(|client| client.connection.close_reason().is_some())
            }),
            Property::sometimes(
                "a client is told that there are too many",
                |_, s: &State| {
                    let told = Some(CloseReason::Refused(Refusal::TooManyClients));
                    let mut clients = s.clients.iter();
                    clients.any(|client| client.connection.close_reason() == told)
                },
            ),
            Property::sometimes(
                "all places are taken for good",
                |model: &Self, s: &State| {
                    let trusted = s.clients.iter().filter(|client| client.authenticated);
                    trusted.count() == model.places
                },
            ),
        ]
    }
}

impl Proof for CrowdModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::Inevitable,
            name: "every place is given back",
            good: |_, s| s.admission.served() + s.admission.refused() == 0,
        }]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Act(_) | Step::Tick | Step::Timeout(_))
    }
}
