//! What the caller, the server and the shell do.

use hallway_core::relay::versioned::{Answer, Outcome, Rejection, UpdateError, Value};

use super::{
    ACK, BLIND, Down, EARLY, Flaw, GONE, Held, LOST, MOST_UPDATES, ONE, OUTCOMES, ROOM, Said,
    State, Step, UPDATE, VersionedModel, Waiting, Write,
};
use crate::models::at;

impl VersionedModel {
    pub(super) fn request(state: &mut State) -> Option<()> {
        state.purse.updates = state.purse.updates.checked_sub(1)?;
        let requested = state.machine.request(at(state.now));
        let expected = if state.ended {
            Err(UpdateError::Ended)
        } else if state.waiting.len() >= MOST_UPDATES {
            Err(UpdateError::Full)
        } else {
            Ok(())
        };
        state
            .verdicts
            .expect(requested.map(|_| ()) == expected, ROOM);
        if let Ok(id) = requested {
            let (member, since) = (state.requested, state.now);
            state.waiting.push(Waiting { id, member, since });
        }
        state.requested += 1;
        Some(())
    }

    pub(super) fn attempt(&self, state: &mut State) -> Option<()> {
        if self.has(Flaw::AsksTwice) && state.asking.is_some() {
            state.machine.handle_disconnected();
            state.machine.handle_connected();
        }
        let before = state.machine.clone();
        let Some(attempt) = state.machine.next_attempt(at(state.now)) else {
            return (before != state.machine).then_some(());
        };
        state.verdicts.expect(!state.ended, GONE);
        let mut waiting = state.waiting.iter();
        let Waiting { member, since, .. } =
            *waiting.find(|waiting| waiting.id == attempt.update)?;
        let until = (state.now + ACK).min(since + UPDATE);
        let other = state.asking.replace((attempt, until));
        state.verdicts.expect(other.is_none(), ONE);
        let known = match state.machine.value() {
            Value::Document(document) if !self.has(Flaw::MergesOnNothing) => (0..8)
                .filter(|member| document.get(&format!("m{member}")).is_some())
                .fold(0, |all, member| all | 1 << member),
            _ => 0,
        };
        let members = known | 1 << member;
        if members == known {
            state.asking = None;
            state.machine.handle_unchanged(attempt);
            return Some(());
        }
        state.up = Some(Write { attempt, members });
        Some(())
    }

    /// The server answers the write.
    pub(super) fn answer(&self, state: &mut State, step: Step) -> Option<()> {
        let Write { attempt, members } = state.up.take()?;
        let version = state.version();
        let said = match step {
            Step::Serve if attempt.expected_version == u64::from(version) => {
                let before = state.held();
                state.verdicts.expect(before.readable, BLIND);
                state.verdicts.expect(
                    !before.readable || members & before.members == before.members,
                    LOST,
                );
                state.write(Held {
                    members,
                    readable: true,
                });
                Said::Success(state.version())
            }
            Step::Serve => Said::Mismatch(version),
            Step::Refuse => {
                state.purse.errors = state.purse.errors.checked_sub(1)?;
                Said::Error
            }
            Step::Race => {
                state.purse.races = state.purse.races.checked_sub(1)?;
                state.other(true);
                Said::Mismatch(version)
            }
            _ => {
                state.purse.silences = state.purse.silences.checked_sub(1)?;
                if !self.has(Flaw::BelievesSilence) {
                    return Some(());
                }
                Said::Success(version)
            }
        };
        state.down.push(Down::Ack(attempt, said));
        Some(())
    }

    pub(super) fn deliver(&self, state: &mut State) -> Option<()> {
        if state.down.is_empty() {
            return None;
        }
        let shift = u8::from(self.has(Flaw::MislabelsVersions));
        match state.down.remove(0) {
            Down::Told(version) => {
                let value = self.value(state.at(version)?);
                state.machine.handle_value((version + shift).into(), value);
            }
            Down::Ack(attempt, said) => {
                if state.asking.is_some_and(|(other, _)| other == attempt) {
                    state.asking = None;
                }
                let value = |version| Some(self.value(state.at(version)?));
                let answer = match said {
                    Said::Success(version) => Answer::Success {
                        value: value(version)?,
                        version: version.into(),
                    },
                    Said::Mismatch(version) => Answer::Mismatch {
                        value: value(version)?,
                        version: version.into(),
                    },
                    Said::Error => Answer::Error(Rejection::Other),
                };
                state.machine.handle_answer(attempt, answer);
            }
        }
        Some(())
    }

    pub(super) fn poll(&self, state: &mut State) -> Option<()> {
        let (id, outcome) = state.machine.poll_outcome()?;
        let times = 1 + u8::from(self.has(Flaw::TellsTwice));
        for _ in 0..times {
            let first = (!state.waiting.is_empty()).then(|| state.waiting.remove(0));
            let Some(waiting) = first.filter(|waiting| waiting.id == id) else {
                state.verdicts.expect(false, OUTCOMES);
                continue;
            };
            if state
                .asking
                .is_some_and(|(attempt, _)| attempt.update == id)
            {
                state.asking = None;
            }
            if let Outcome::Applied(version) = outcome {
                let held = u8::try_from(version).ok().and_then(|at| state.at(at));
                let there = held.is_some_and(|held| held.members >> waiting.member & 1 == 1);
                state.verdicts.expect(there, OUTCOMES);
            }
            let gone = outcome == Outcome::SessionGone;
            state.verdicts.expect(!gone || state.ended, OUTCOMES);
        }
        Some(())
    }

    pub(super) fn pass(&self, state: &mut State) -> Option<()> {
        let due = self.deadline(state)?;
        let mut early = state.machine.clone();
        let by = u16::from(!self.has(Flaw::FiresEarly)) + u16::from(self.has(Flaw::SlowDeadline));
        early.handle_timeout(at(due - by));
        state.verdicts.expect(early == state.machine, EARLY);
        state.now = due;
        Some(())
    }
}
