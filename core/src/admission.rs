//! Who may be served: connections counted in all, per peer process, and before they have
//! authenticated (local.md §5.4, §5.5).
//!
//! ```text
//!   admit ──> Unauthenticated ──handle_authenticated──> Authenticated ──release──> gone
//!     │             └── evicted by a newcomer ──┐
//!     └── refused ──────────────────────────> Refused (a place to read why) ──release──> gone
//! ```

use alloc::collections::{BTreeMap, BTreeSet};

use crate::limits::Limits;

/// One client of a server, numbered from 1 in the order of arrival, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

/// A client is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Admitted {
    /// Its number; to be released when its connection is gone.
    pub id: ClientId,
    /// The client that made room for it, if any: to be told `too many clients` and closed. It
    /// is to be released too.
    pub evicted: Option<Evicted>,
}

/// A client that lost its place before it authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Evicted {
    /// Its number.
    pub id: ClientId,
    /// Whether it may stay until it has read why. If not, it is to be closed at once.
    pub may_linger: bool,
}

/// A client is not to be served, but to be told `too many clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// Its number when it may stay until it has read why; to be released then. If `None`, it is
    /// to be closed at once.
    pub id: Option<ClientId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Standing {
    Unauthenticated,
    Authenticated,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    peer: u32,
    standing: Standing,
}

/// The book of a server's clients: at most `max_clients + max_refused_clients` entries.
///
/// Deciding takes time logarithmic in the number of clients, and linear in the quota of
/// unauthenticated ones only for a process at its own quota.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Admission {
    limits: Limits,
    last: u64,
    clients: BTreeMap<ClientId, Client>,
    /// The unauthenticated ones; the first is the oldest.
    waiting: BTreeSet<ClientId>,
    /// How many clients of each process are served; never zero.
    of_peer: BTreeMap<u32, usize>,
    refused: usize,
}

impl Admission {
    /// An empty book.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            last: 0,
            clients: BTreeMap::new(),
            waiting: BTreeSet::new(),
            of_peer: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Decides on a new connection of the process `peer`.
    ///
    /// When the quota of unauthenticated clients or of all clients is used up, the oldest
    /// unauthenticated client makes room. A process at its own quota only ever displaces
    /// itself.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no room and nobody to make it.
    pub fn admit(&mut self, peer: u32) -> Result<Admitted, Refused> {
        let of_peer = self.of_peer.get(&peer).copied().unwrap_or_default();
        let to_evict = if of_peer >= self.limits.max_clients_per_peer() {
            Some(self.oldest_of(peer))
        } else if self.served() >= self.limits.max_clients()
            || self.waiting.len() >= self.limits.max_unauthenticated_clients()
        {
            Some(self.waiting.first().copied())
        } else {
            None
        };
        let evicted = match to_evict {
            None => None,
            Some(Some(id)) => Some(self.evict(id)),
            Some(None) => {
                let id = self
                    .may_linger()
                    .then(|| self.enter(peer, Standing::Refused));
                return Err(Refused { id });
            }
        };
        let id = self.enter(peer, Standing::Unauthenticated);
        Ok(Admitted { id, evicted })
    }

    /// The client authenticated. One that was evicted meanwhile stays refused.
    pub fn handle_authenticated(&mut self, id: ClientId) {
        if self.waiting.remove(&id)
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.standing = Standing::Authenticated;
        }
    }

    /// The client's connection is gone. Harmless when repeated.
    pub fn release(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        match client.standing {
            Standing::Unauthenticated | Standing::Authenticated => {
                self.waiting.remove(&id);
                if let Some(count) = self.of_peer.get_mut(&client.peer) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.of_peer.remove(&client.peer);
                    }
                }
            }
            Standing::Refused => self.refused = self.refused.saturating_sub(1),
        }
    }

    /// How many clients are being served.
    #[must_use]
    pub fn served(&self) -> usize {
        self.clients.len().saturating_sub(self.refused)
    }

    /// How many of them have not authenticated.
    #[must_use]
    pub fn unauthenticated(&self) -> usize {
        self.waiting.len()
    }

    /// How many refused clients are being kept until they have read why.
    #[must_use]
    pub const fn refused(&self) -> usize {
        self.refused
    }

    const fn may_linger(&self) -> bool {
        self.refused < self.limits.max_refused_clients()
    }

    fn oldest_of(&self, peer: u32) -> Option<ClientId> {
        let is_of_peer = |id: &&ClientId| self.clients.get(id).is_some_and(|c| c.peer == peer);
        self.waiting.iter().find(is_of_peer).copied()
    }

    fn evict(&mut self, id: ClientId) -> Evicted {
        let peer = self.clients.get(&id).map(|client| client.peer);
        self.release(id);
        let may_linger = self.may_linger();
        if let Some(peer) = peer
            && may_linger
        {
            self.insert(id, peer, Standing::Refused);
        }
        Evicted { id, may_linger }
    }

    fn enter(&mut self, peer: u32, standing: Standing) -> ClientId {
        // 2^64 connections are out of reach: at one a nanosecond they take 584 years.
        self.last = self.last.saturating_add(1);
        let id = ClientId(self.last);
        self.insert(id, peer, standing);
        id
    }

    fn insert(&mut self, id: ClientId, peer: u32, standing: Standing) {
        match standing {
            Standing::Unauthenticated | Standing::Authenticated => {
                self.waiting.insert(id);
                let count = self.of_peer.entry(peer).or_default();
                *count = count.saturating_add(1);
            }
            Standing::Refused => self.refused = self.refused.saturating_add(1),
        }
        self.clients.insert(id, Client { peer, standing });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(
            &Limits::builder()
                .max_clients(4)
                .max_clients_per_peer(3)
                .max_unauthenticated_clients(2)
                .max_refused_clients(1)
                .build()
                .unwrap(),
        )
    }

    fn authenticated(admission: &mut Admission, peer: u32) -> ClientId {
        let id = admission.admit(peer).unwrap().id;
        admission.handle_authenticated(id);
        id
    }

    /// Covers: L5.5a, L5.5b
    #[test]
    fn the_oldest_silent_client_makes_room() {
        let mut admission = admission();
        let first = admission.admit(1).unwrap().id;
        let second = admission.admit(2).unwrap();
        assert_eq!(second.evicted, None);
        let third = admission.admit(3).unwrap();
        assert_eq!(
            third.evicted,
            Some(Evicted {
                id: first,
                may_linger: true
            })
        );
        let fourth = admission.admit(4).unwrap();
        let evicted = Evicted {
            id: second.id,
            may_linger: false,
        };
        assert_eq!(
            fourth.evicted,
            Some(evicted),
            "the places of the refused are bounded too"
        );
        assert_eq!(
            (
                admission.served(),
                admission.unauthenticated(),
                admission.refused()
            ),
            (2, 2, 1)
        );
        // An evicted client that authenticates late is not served after all.
        admission.handle_authenticated(first);
        assert_eq!(admission.refused(), 1);
        admission.release(first);
        assert_eq!(admission.refused(), 0);
    }

    #[test]
    fn authenticated_clients_are_never_displaced() {
        let mut admission = admission();
        let ids = [1, 2, 3, 4].map(|peer| authenticated(&mut admission, peer));
        let refused = admission.admit(5).unwrap_err();
        assert!(
            refused.id.is_some(),
            "the first refused client may read why"
        );
        assert_eq!(admission.admit(5), Err(Refused { id: None }));
        assert_eq!(admission.served(), 4);
        admission.release(refused.id.unwrap());
        admission.release(ids[0]);
        admission.release(ids[0]);
        assert_eq!(admission.served(), 3);
        assert_eq!(admission.admit(5).unwrap().evicted, None);
    }

    #[test]
    fn a_full_house_with_a_silent_client_takes_its_place() {
        let mut admission = admission();
        for peer in [1, 2, 3] {
            authenticated(&mut admission, peer);
        }
        let silent = admission.admit(4).unwrap().id;
        assert_eq!(admission.admit(5).unwrap().evicted.unwrap().id, silent);
    }

    #[test]
    fn nothing_is_remembered_of_processes_that_are_gone() {
        for authenticates in [false, true] {
            let [one, other] = [7, 8].map(|peer| {
                let mut book = admission();
                let admitted = book.admit(peer).unwrap();
                if authenticates {
                    book.handle_authenticated(admitted.id);
                }
                book.release(admitted.id);
                book
            });
            assert_eq!(one, other);
        }
    }

    #[test]
    fn a_process_at_its_quota_displaces_only_itself() {
        let mut admission = admission();
        authenticated(&mut admission, 7);
        authenticated(&mut admission, 7);
        let other = admission.admit(8).unwrap().id;
        let own = admission.admit(7).unwrap().id;
        let next = admission.admit(7).unwrap();
        assert_eq!(next.evicted.unwrap().id, own);
        admission.handle_authenticated(next.id);
        assert!(admission.admit(7).unwrap_err().id.is_none());
        admission.handle_authenticated(other);
        assert_eq!(admission.served(), 4);
    }
}
