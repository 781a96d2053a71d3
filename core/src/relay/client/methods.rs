//! The methods that a client serves: each is registered anew on every connection, and the
//! registration is confirmed or said not to be (relay.md §9.12).
//!
//! ```text
//!   Wanted ── rpc-register ──> Asked { deadline } ── rpc-registered ──> Confirmed
//!     ^                           │ time, a few times      │ disconnected
//!     └───────────────────────────┴────────────────────────┘
//!                                 └── time, too often ──> Unconfirmed
//! ```

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::relay::events;
use crate::relay::limits::Limits;
use crate::relay::link::Link;
use crate::relay::raw::Raw;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Wanted { tries: usize },
    Asked { tries: usize, deadline: Instant },
    Confirmed,
    Unconfirmed { told: bool },
}

/// The methods that are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Methods {
    methods: BTreeMap<Box<str>, State>,
}

impl Methods {
    /// Whether there was room for another method.
    pub(super) fn insert(&mut self, method: &str, limits: &Limits) -> bool {
        if self.methods.contains_key(method) {
            return true;
        }
        let room = self.methods.len() < limits.max_methods();
        if room {
            let state = State::Wanted { tries: 0 };
            self.methods.insert(Box::from(method), state);
        }
        room
    }

    /// Whether it was served.
    pub(super) fn remove(&mut self, method: &str) -> bool {
        self.methods.remove(method).is_some()
    }

    pub(super) fn contains(&self, method: &str) -> bool {
        self.methods.contains_key(method)
    }

    /// Whether the server is known to send calls of it.
    pub(super) fn is_confirmed(&self, method: &str) -> bool {
        self.methods.get(method) == Some(&State::Confirmed)
    }

    /// Another connection, or none: nothing is registered.
    pub(super) fn handle_disconnected(&mut self) {
        for state in self.methods.values_mut() {
            *state = State::Wanted { tries: 0 };
        }
    }

    /// Asks for what is wanted, as far as there is room.
    pub(super) fn register(
        &mut self,
        session: &str,
        link: &mut Link,
        now: Instant,
        limits: &Limits,
    ) {
        if !link.is_open() {
            return;
        }
        for (method, state) in &mut self.methods {
            let State::Wanted { tries } = *state else {
                continue;
            };
            let payload = events::rpc_method(session, method);
            if link
                .emit("rpc-register", Some(Raw::trusted(&payload)))
                .is_err()
            {
                return;
            }
            *state = State::Asked {
                tries: tries.saturating_add(1),
                deadline: now.after(limits.register_timeout()),
            };
        }
    }

    /// The server confirms. Whether that was waited for.
    pub(super) fn handle_registered(&mut self, method: &str) -> bool {
        let Some(state) = self.methods.get_mut(method) else {
            return false;
        };
        let waited = matches!(state, State::Asked { .. } | State::Unconfirmed { .. });
        *state = State::Confirmed;
        waited
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = |state: &State| match state {
            State::Asked { deadline, .. } => Some(*deadline),
            State::Wanted { .. } | State::Confirmed | State::Unconfirmed { .. } => None,
        };
        self.methods.values().filter_map(deadline).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, limits: &Limits) {
        for state in self.methods.values_mut() {
            let State::Asked { tries, deadline } = *state else {
                continue;
            };
            if now < deadline {
                continue;
            }
            *state = if tries < limits.max_registrations() {
                State::Wanted { tries }
            } else {
                State::Unconfirmed { told: false }
            };
        }
    }

    /// The next method that the server did not confirm.
    pub(super) fn next_unconfirmed(&mut self) -> Option<String> {
        let untold = State::Unconfirmed { told: false };
        let mut methods = self.methods.iter_mut();
        let (method, state) = methods.find(|(_, state)| **state == untold)?;
        *state = State::Unconfirmed { told: true };
        Some(String::from(&**method))
    }
}
