//! The [`Admission`] book, against a list of who is there.

use std::fmt;

use hallway_core::{Admission, ClientId, Limits};
use stateright::{Model, Property};

use super::built;
use crate::check::Size;
use crate::search::{Goal, Promise, Proof};

const MOST_CLIENTS: usize = 3;
const MOST_OF_PEER: usize = 2;
const MOST_WAITING: usize = 2;
const MOST_REFUSED: usize = 1;

/// A deliberate bug, for the tests that show that each property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The quota of one process is larger than it is said to be.
    UnboundedPeer,
    /// The quota of unauthenticated clients is larger than it is said to be.
    UnboundedWaiting,
    /// The places of refused clients are more than they are said to be.
    UnboundedRefused,
    /// A client that authenticates still counts as unauthenticated.
    ForgetsAuthentication,
    /// A refused client's place is not given back.
    LeaksRefused,
    /// A served client's place is not given back.
    LeaksServed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Standing {
    Waiting,
    Authenticated,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    id: ClientId,
    peer: u32,
    standing: Standing,
}

/// What the model has come to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    admission: Admission,
    /// In the order of arrival.
    clients: Vec<Client>,
    arrivals: u8,
    /// Somebody was served, evicted or refused who was not to be.
    misjudged: bool,
    last: Option<ClientId>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("clients", &self.clients)
            .field("served", &self.admission.served())
            .field("unauthenticated", &self.admission.unauthenticated())
            .field("refused", &self.admission.refused())
            .field("misjudged", &self.misjudged)
            .finish_non_exhaustive()
    }
}

impl State {
    fn count(&self, is: impl Fn(&Client) -> bool) -> usize {
        self.clients.iter().filter(|client| is(client)).count()
    }

    fn oldest_waiting(&self, of: Option<u32>) -> Option<ClientId> {
        let waits = |client: &&Client| {
            client.standing == Standing::Waiting && of.is_none_or(|peer| client.peer == peer)
        };
        self.clients.iter().find(waits).map(|client| client.id)
    }

    /// Who has to make room for a newcomer: nobody, a client, or nobody can.
    fn to_evict(&self, peer: u32) -> Option<Option<ClientId>> {
        let served = |client: &Client| client.standing != Standing::Refused;
        let of_peer = self.count(|client| served(client) && client.peer == peer);
        let waiting = self.count(|client| client.standing == Standing::Waiting);
        if of_peer >= MOST_OF_PEER {
            Some(self.oldest_waiting(Some(peer)))
        } else if self.count(served) >= MOST_CLIENTS || waiting >= MOST_WAITING {
            Some(self.oldest_waiting(None))
        } else {
            None
        }
    }

    fn has_lingering_place(&self) -> bool {
        self.count(|client| client.standing == Standing::Refused) < MOST_REFUSED
    }

    fn enter(&mut self, id: ClientId, peer: u32, standing: Standing) {
        self.misjudged |= self.last >= Some(id);
        self.last = Some(id);
        self.clients.push(Client { id, peer, standing });
    }

    fn arrive(&mut self, peer: u32) {
        self.arrivals += 1;
        let to_evict = self.to_evict(peer);
        match self.admission.admit(peer) {
            Ok(admitted) => {
                let evicted = admitted.evicted;
                self.misjudged |= evicted.map(|evicted| Some(evicted.id)) != to_evict;
                if let Some(evicted) = evicted {
                    let lingers = self.has_lingering_place();
                    self.misjudged |= evicted.may_linger != lingers;
                    let of = |client: &Client| client.id == evicted.id;
                    if lingers {
                        let found = self.clients.iter_mut().filter(|client| of(client));
                        found.for_each(|client| client.standing = Standing::Refused);
                    } else {
                        self.clients.retain(|client| !of(client));
                    }
                }
                self.enter(admitted.id, peer, Standing::Waiting);
            }
            Err(refused) => {
                self.misjudged |= to_evict != Some(None);
                self.misjudged |= refused.id.is_some() != self.has_lingering_place();
                if let Some(id) = refused.id {
                    self.enter(id, peer, Standing::Refused);
                }
            }
        }
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client of the process comes.
    Arrive(u32),
    /// The client authenticates; also one that was evicted meanwhile.
    Authenticate(ClientId),
    /// The client's connection is gone; said twice.
    Release(ClientId),
}

/// The model.
pub struct AdmissionModel {
    limits: Limits,
    most_arrivals: u8,
    flaw: Option<Flaw>,
}

impl AdmissionModel {
    /// Clients of three processes.
    #[must_use]
    pub fn sized(size: Size) -> Self {
        let most_arrivals = match size {
            Size::Small => 4,
            Size::Quick => 6,
            Size::Deep => 8,
        };
        Self {
            limits: built(Self::limits()),
            most_arrivals,
            flaw: None,
        }
    }

    fn limits() -> hallway_core::LimitsBuilder {
        Limits::builder()
            .max_clients(MOST_CLIENTS)
            .max_clients_per_peer(MOST_OF_PEER)
            .max_unauthenticated_clients(MOST_WAITING)
            .max_refused_clients(MOST_REFUSED)
    }

    /// The same with a deliberate bug.
    #[must_use]
    pub fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        let limits = Self::limits();
        self.limits = built(match flaw {
            Flaw::UnboundedPeer => limits.max_clients_per_peer(MOST_CLIENTS),
            Flaw::UnboundedWaiting => limits.max_unauthenticated_clients(MOST_CLIENTS),
            Flaw::UnboundedRefused => limits.max_refused_clients(MOST_REFUSED + 1),
            Flaw::ForgetsAuthentication | Flaw::LeaksRefused | Flaw::LeaksServed => limits,
        });
        self
    }

    fn leaks(&self, standing: Standing) -> bool {
        match standing {
            Standing::Refused => self.flaw == Some(Flaw::LeaksRefused),
            Standing::Waiting | Standing::Authenticated => self.flaw == Some(Flaw::LeaksServed),
        }
    }
}

impl Model for AdmissionModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            admission: Admission::new(&self.limits),
            clients: Vec::new(),
            arrivals: 0,
            misjudged: false,
            last: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.arrivals < self.most_arrivals {
            steps.extend([1, 2, 3].map(Step::Arrive));
        }
        for client in &state.clients {
            if client.standing != Standing::Authenticated {
                steps.push(Step::Authenticate(client.id));
            }
            steps.push(Step::Release(client.id));
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Arrive(peer) => state.arrive(peer),
            Step::Authenticate(id) => {
                if self.flaw != Some(Flaw::ForgetsAuthentication) {
                    state.admission.handle_authenticated(id);
                }
                for client in &mut state.clients {
                    if client.id == id && client.standing == Standing::Waiting {
                        client.standing = Standing::Authenticated;
                    }
                }
            }
            Step::Release(id) => {
                let gone = state
                    .clients
                    .iter()
                    .find(|client| client.id == id)
                    .copied()?;
                state.clients.retain(|client| client.id != id);
                if !self.leaks(gone.standing) {
                    state.admission.release(id);
                    state.admission.release(id);
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "served, evicted and refused are those who must be",
                |_, s: &State| !s.misjudged,
            ),
            Property::always("the book counts who is there", |_, s: &State| {
                let refused = s.count(|client| client.standing == Standing::Refused);
                s.admission.served() == s.clients.len() - refused
                    && s.admission.unauthenticated()
                        == s.count(|client| client.standing == Standing::Waiting)
                    && s.admission.refused() == refused
            }),
            Property::always("every quota holds", |_, s: &State| {
                let of_peer = |peer| {
                    s.count(|client| client.peer == peer && client.standing != Standing::Refused)
                };
                s.admission.served() <= MOST_CLIENTS
                    && s.admission.unauthenticated() <= MOST_WAITING
                    && s.admission.refused() <= MOST_REFUSED
                    && [1, 2, 3]
                        .into_iter()
                        .all(|peer| of_peer(peer) <= MOST_OF_PEER)
            }),
            Property::sometimes("all places are taken", |_, s: &State| {
                s.admission.served() == MOST_CLIENTS && s.admission.refused() == MOST_REFUSED
            }),
        ]
    }
}

impl Proof for AdmissionModel {
    fn goals(&self) -> Vec<Goal<Self>> {
        vec![Goal {
            promise: Promise::StaysReachable,
            name: "every place is given back",
            good: |_, s| s.admission.served() + s.admission.refused() == 0,
        }]
    }

    fn is_own(&self, step: &Step) -> bool {
        matches!(step, Step::Release(_))
    }
}
