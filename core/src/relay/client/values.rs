//! The two values of a session or a machine and their updates (relay.md §9.3, §9.7).

use super::event::{Change, Event, Merge, Target};
use super::{Client, Kind};
use crate::relay::cipher::{Cipher, Nonce};
use crate::relay::limits::Limits;
use crate::relay::link::Asked;
use crate::relay::plaintext::{Document, shape::Field};
use crate::relay::raw::{Raw, Text};
use crate::relay::update::{SessionRow, VersionedValue};
use crate::relay::versioned::{
    Answer, Attempt, Outcome, Rejection, UpdateError, UpdateId, Value, Versioned,
};
use crate::time::Instant;

/// One value, and the attempt that waits for its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) versioned: Versioned,
    asked: Option<(Asked, Attempt)>,
}

impl Slot {
    pub(super) const fn new(versioned: Versioned) -> Self {
        Self {
            versioned,
            asked: None,
        }
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.asked = None;
        self.versioned.handle_disconnected();
    }

    /// Takes a newer value. Whether it is one, and whether it cannot be read.
    fn take(
        &mut self,
        told: &Field<VersionedValue<'_>>,
        cipher: &Cipher,
        limits: &Limits,
    ) -> (bool, bool) {
        let Field::Is(told) = told else {
            return (false, false);
        };
        if told.version <= self.versioned.version() || told.value == Field::Absent {
            return (false, false);
        }
        let value = bounded(open_value(&told.value, cipher), limits);
        let unreadable = value == Value::Unreadable;
        self.versioned.handle_value(told.version, value);
        (true, unreadable)
    }
}

/// Opens a sealed value, or `null`.
pub(super) fn open_value(member: &Field<Text<'_>>, cipher: &Cipher) -> Value {
    match member {
        Field::Is(text) => Value::open(Some(text.raw()), cipher),
        Field::Absent | Field::Null => Value::Null,
    }
}

/// A value that is longer than ours may be is not kept, and like any that cannot be read not
/// written over.
pub(super) fn bounded(value: Value, limits: &Limits) -> Value {
    match value {
        Value::Document(document) if document.raw().as_str().len() > limits.max_value_bytes() => {
            Value::Unreadable
        }
        Value::Document(_) | Value::Null | Value::Unreadable => value,
    }
}

impl Client {
    /// The value, as it is known, with its version.
    #[must_use]
    pub const fn value(&self, target: Target) -> (&Value, u64) {
        let versioned = &self.slot(target).versioned;
        (versioned.value(), versioned.version())
    }

    /// Asks for an update: its turn is an [`Action::Merge`](super::Action::Merge), and its
    /// outcome an [`Event::Updated`]. It waits while there is no connection, up to
    /// [`Limits::update_timeout`](super::Limits::update_timeout). Changes
    /// [`Client::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing has changed.
    pub fn request_update(
        &mut self,
        target: Target,
        now: Instant,
    ) -> Result<UpdateId, UpdateError> {
        if self.is_closed() {
            return Err(UpdateError::Ended);
        }
        self.slot_mut(target).versioned.request(now)
    }

    /// Carries out an update whose turn it is: `change` is given the value as it is, and says
    /// what is to become of it. It may be called again on a newer value, with another
    /// [`Merge`]. An update of the client's own does not call it, and one whose turn is over,
    /// as when the connection was lost, does nothing.
    pub fn merge(
        &mut self,
        merge: Merge,
        nonce: Nonce,
        now: Instant,
        change: impl FnOnce(Option<&Document>) -> Change,
    ) {
        let Merge {
            target, attempt, ..
        } = merge;
        if !self.slot(target).versioned.is_current(attempt) {
            return;
        }
        let own = self.own_change(&merge);
        let document = match self.slot(target).versioned.value() {
            Value::Document(document) => Some(document),
            Value::Null => None,
            // Never written over.
            Value::Unreadable => return self.slot_mut(target).versioned.handle_unsendable(attempt),
        };
        let change = match own {
            Some(change) => change,
            None => change(document),
        };
        let document = match change {
            Change::Keep => return self.slot_mut(target).versioned.handle_unchanged(attempt),
            Change::Write(document) => Some(document),
            Change::Clear => None,
        };
        match self.write(target, attempt, document.as_ref(), nonce, now) {
            Some(asked) => self.slot_mut(target).asked = Some((asked, attempt)),
            None => self.slot_mut(target).versioned.handle_unsendable(attempt),
        }
    }

    /// Sends the value; `None` when it cannot be sent.
    fn write(
        &mut self,
        target: Target,
        attempt: Attempt,
        document: Option<&Document>,
        nonce: Nonce,
        now: Instant,
    ) -> Option<Asked> {
        let sealed = match document {
            Some(document) => {
                let text = document.raw().as_str();
                if text.len() > self.limits.max_value_bytes() {
                    return None;
                }
                Some(self.cipher.seal_text(nonce, text).ok()?)
            }
            None => None,
        };
        let (event, payload) = self.name.update(target, attempt, sealed.as_deref())?;
        let payload = Raw::trusted(&payload);
        self.link.emit_with_ack(event, Some(payload), now).ok()
    }

    /// The next update whose turn it is, when there is room for it.
    pub(super) fn next_merge(&mut self, now: Instant) -> Option<Merge> {
        if !self.link.is_open() || self.link.queued() > 0 || !self.link.has_room_for_ack() {
            return None;
        }
        [Target::Metadata, Target::State]
            .into_iter()
            .find_map(|target| {
                let attempt = self.slot_mut(target).versioned.next_attempt(now)?;
                Some(Merge {
                    target,
                    update: attempt.update,
                    attempt,
                })
            })
    }

    /// Whether an attempt waited for this acknowledgement; and the event, if it says that the
    /// machine is gone.
    pub(super) fn answer_attempt(
        &mut self,
        asked: Asked,
        argument: Option<Raw<'_>>,
    ) -> Option<Option<Event<'static>>> {
        for target in [Target::Metadata, Target::State] {
            let slot = self.slot_mut(target);
            let Some((_, attempt)) = slot.asked.take_if(|(other, _)| *other == asked) else {
                continue;
            };
            let member = self.name.member(target);
            let answer = argument.map_or(Answer::Error(Rejection::Other), |raw| {
                Answer::parse(raw, member, &self.cipher)
            });
            let answer = match answer {
                Answer::Success { version, value } => Answer::Success {
                    version,
                    value: bounded(value, &self.limits),
                },
                Answer::Mismatch { version, value } => Answer::Mismatch {
                    version,
                    value: bounded(value, &self.limits),
                },
                Answer::Error(why) => Answer::Error(why),
            };
            let lost = self.name.kind == Kind::Machine
                && answer == Answer::Error(Rejection::MachineNotFound)
                && !self.gone;
            self.slot_mut(target)
                .versioned
                .handle_answer(attempt, answer);
            return Some(lost.then(|| self.lose()));
        }
        None
    }

    /// The server tells of newer values.
    pub(super) fn take_values(
        &mut self,
        metadata: &Field<VersionedValue<'_>>,
        state: &Field<VersionedValue<'_>>,
    ) -> Option<Event<'static>> {
        let (metadata, first) = self.metadata.take(metadata, &self.cipher, &self.limits);
        let (state, second) = self.state.take(state, &self.cipher, &self.limits);
        (metadata || state).then_some(Event::ValuesChanged {
            metadata,
            state,
            unreadable: first || second,
        })
    }

    /// The next outcome of an update.
    pub(super) fn next_value_event(&mut self) -> Option<Event<'static>> {
        for target in [Target::Metadata, Target::State] {
            let outcome = self.slot_mut(target).versioned.poll_outcome();
            if let Some((update, outcome)) = outcome {
                if target == Target::Metadata && self.keeps_title(update, outcome) {
                    continue;
                }
                return Some(Event::Updated {
                    target,
                    update,
                    outcome,
                });
            }
        }
        None
    }

    /// The session was read anew over HTTP.
    pub fn handle_row(&mut self, row: &SessionRow<'_>) {
        if !self.name.is(Kind::Session, &row.id) {
            return;
        }
        let open = |member| bounded(open_value(member, &self.cipher), &self.limits);
        let (metadata, state) = (open(&row.metadata), open(&row.agent_state));
        let slot = &mut self.metadata.versioned;
        slot.handle_fetched(row.metadata_version, metadata);
        let slot = &mut self.state.versioned;
        slot.handle_fetched(row.agent_state_version, state);
    }

    const fn slot(&self, target: Target) -> &Slot {
        match target {
            Target::Metadata => &self.metadata,
            Target::State => &self.state,
        }
    }

    const fn slot_mut(&mut self, target: Target) -> &mut Slot {
        match target {
            Target::Metadata => &mut self.metadata,
            Target::State => &mut self.state,
        }
    }
}

/// Whether an update that ended so may succeed another time.
pub(super) const fn may_succeed_later(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Conflict | Outcome::TimedOut)
}
