//! What a client is for: one session, or one machine. They differ in their names on the wire,
//! and in what a machine has not: messages, reports of usage, and a last word.

use alloc::boxed::Box;
use alloc::string::String;

use super::event::{SendError, Target};
use super::values::open_value;
use crate::relay::cipher::Cipher;
use crate::relay::events;
use crate::relay::link::Auth;
use crate::relay::raw::Text;
use crate::relay::update::{MachineRow, SessionRow};
use crate::relay::versioned::{Attempt, Value};
use crate::token::Token;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A session.
    Session,
    /// A machine.
    Machine,
}

/// A session or a machine as it is joined.
#[derive(Debug)]
pub struct Scope {
    pub(super) name: Name,
    pub(super) cipher: Cipher,
    pub(super) metadata: (u64, Value),
    pub(super) state: (u64, Value),
}

impl Scope {
    /// The session that `row` describes: what `POST /v1/sessions` has answered.
    #[must_use]
    pub fn session(row: &SessionRow<'_>, cipher: Cipher) -> Self {
        let open = |member| open_value(member, &cipher);
        Self {
            name: Name::new(Kind::Session, &row.id),
            metadata: (row.metadata_version, open(&row.metadata)),
            state: (row.agent_state_version, open(&row.agent_state)),
            cipher,
        }
    }

    /// The machine that `row` describes: what `POST /v1/machines` has answered.
    #[must_use]
    pub fn machine(row: &MachineRow<'_>, cipher: Cipher) -> Self {
        let open = |member| open_value(member, &cipher);
        Self {
            name: Name::new(Kind::Machine, &row.id),
            metadata: (row.metadata_version, open(&row.metadata)),
            state: (row.daemon_state_version, open(&row.daemon_state)),
            cipher,
        }
    }

    /// How a client of it joins. `client` is what it calls itself, as `cli-daemon/1.2`.
    #[must_use]
    pub fn auth(&self, token: &Token, client: Option<&str>) -> Auth {
        match self.name.kind {
            Kind::Session => Auth::session(token, &self.name.id, client),
            Kind::Machine => Auth::machine(token, &self.name.id, client),
        }
    }

    /// Which of the two it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.name.kind
    }
}

/// What the server calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) id: Box<str>,
}

impl Name {
    fn new(kind: Kind, id: &Text<'_>) -> Self {
        let id = Box::from(&*id.to_lossy());
        Self { kind, id }
    }

    /// Whether the server's text names it.
    pub(super) fn is(&self, kind: Kind, id: &Text<'_>) -> bool {
        self.kind == kind && id.is(&self.id)
    }

    /// Refuses what only a scope of `kind` has.
    pub(super) fn check(&self, kind: Kind) -> Result<(), SendError> {
        let own = self.kind == kind;
        own.then_some(()).ok_or(SendError::OutOfScope)
    }

    /// The member of an acknowledgement that holds the value.
    pub(super) const fn member(&self, target: Target) -> &'static str {
        match (self.kind, target) {
            (Kind::Session | Kind::Machine, Target::Metadata) => "metadata",
            (Kind::Session, Target::State) => "agentState",
            (Kind::Machine, Target::State) => "daemonState",
        }
    }

    /// The event that writes the value, and its payload. Only the agent state of a session can
    /// be null.
    pub(super) fn update(
        &self,
        target: Target,
        attempt: Attempt,
        sealed: Option<&str>,
    ) -> Option<(&'static str, String)> {
        let (id, version) = (&self.id, attempt.expected_version);
        Some(match (self.kind, target) {
            (Kind::Session, Target::Metadata) => (
                "update-metadata",
                events::update_metadata(id, version, sealed?),
            ),
            (Kind::Session, Target::State) => {
                ("update-state", events::update_state(id, version, sealed))
            }
            (Kind::Machine, Target::Metadata) => (
                "machine-update-metadata",
                events::machine_update_metadata(id, version, sealed?),
            ),
            (Kind::Machine, Target::State) => (
                "machine-update-state",
                events::machine_update_state(id, version, sealed?),
            ),
        })
    }
}
