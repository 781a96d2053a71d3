//! What the shell, the server and the caller do.

use hallway_core::relay::link::{Action, Cause, CloseReason, DialFailure, EmitError, Event};

use super::acks::Queued;
use super::checks::{CLOSED, EARLY, OUTCOMES, ROOM, SLEPT, STALE};
use super::witness::{Ended, Witness};
use super::{
    Failed, Flaw, INTERVAL, LinkModel, MOST_ACKS, MOST_FRAMES, PATIENCE, PROBED, SLEEP, Said, State,
};
use crate::models::{at, millis, span};

const CONSENT: &str = r#"40{"sid":"s"}"#;

impl LinkModel {
    pub(super) fn act(&self, state: &mut State) {
        let live = state.transports.epoch();
        match state.link.poll_action() {
            Some(Action::Hangup(epoch))
                if live == Some(epoch) && !self.has(Flaw::ForgetsHangup) =>
            {
                state.transports.leave();
            }
            Some(Action::Hangup(_)) | None => {}
            Some(Action::Dial(epoch)) => {
                let ended = state.witness.closed.is_some();
                state.transports.dial(epoch, ended);
                state.witness.retries.dial();
            }
        }
    }

    pub(super) fn pass(&self, state: &mut State) -> Option<()> {
        let due = state.link.poll_timeout().map(millis)?;
        let mut early = state.link.clone();
        let before = due - u16::from(!self.has(Flaw::FiresEarly));
        let event = early.handle_timeout(at(before));
        let nothing = event.is_none() && early == state.link;
        state.witness.verdicts.expect(nothing, EARLY);
        state.now = due;
        Some(())
    }

    pub(super) fn timeout(&self, state: &mut State) -> Option<()> {
        let due = millis(state.link.poll_timeout()?);
        if state.now < due {
            return None;
        }
        let now = if self.has(Flaw::HidesSleep) && state.asleep {
            due
        } else {
            state.now
        };
        let event = state.link.handle_timeout(at(now));
        if state.now - due >= SLEEP {
            state.witness.slept(state.now, event.as_ref());
            if state.link.is_open() {
                let soon = at(state.now + PROBED);
                let probes = state.link.poll_timeout().is_some_and(|due| due <= soon);
                state.witness.verdicts.expect(probes, SLEPT);
            }
        } else {
            state.witness.timed_out(state.now, event.as_ref());
        }
        state.asleep = false;
        Some(())
    }

    pub(super) fn poll_event(&self, state: &mut State) {
        let event = state.link.poll_event();
        let event = event.filter(|_| !self.has(Flaw::HidesLost));
        state.witness.hears_lost(event.as_ref());
    }

    pub(super) fn write(&self, state: &mut State) -> Option<()> {
        let epoch = state.transports.open()?;
        let frame = state.link.poll_transmit(epoch)?.to_owned();
        let skips = frame.starts_with("40") && self.has(Flaw::SkipsJoin)
            || frame.starts_with('3') && self.has(Flaw::SkipsPongs);
        let holds_back = state.witness.has_unwritten_probe();
        if !skips {
            state.witness.written(&frame);
        }
        if !(self.has(Flaw::WritesTwice) && frame.starts_with("42")) {
            state.link.handle_transmitted(epoch, at(state.now));
        }
        if self.has(Flaw::LosesFrames) {
            state.link.handle_transmitted(epoch, at(state.now));
        }
        if holds_back {
            state.witness.bytes(state.now);
        }
        if self.has(Flaw::TrustsSilence)
            && let Some(id) = frame
                .strip_prefix("42")
                .and_then(|rest| rest.strip_suffix("[\"ping\"]"))
        {
            let answer = format!("43{id}[]");
            state.link.handle_message(epoch, &answer, at(state.now));
        }
        Some(())
    }

    pub(super) fn opened(&self, state: &mut State) -> Option<()> {
        let epoch = state.transports.opens()?;
        if !self.has(Flaw::ForgetsOpened) {
            state.link.handle_opened(epoch);
        }
        Some(())
    }

    pub(super) fn dial_failed(&self, state: &mut State, failed: Failed) -> Option<()> {
        let epoch = state.transports.dialled()?;
        let status = |status, retry_after| DialFailure::Status {
            status,
            retry_after,
        };
        let (failure, ended) = match failed {
            Failed::Transient(0) => (DialFailure::Unreachable, Ended::Transient(0)),
            Failed::Transient(asked) => (status(503, Some(span(asked))), Ended::Transient(asked)),
            Failed::NotFound => (status(404, None), Ended::NotFound),
            Failed::Unauthorized => {
                let failure = status(401, None);
                (failure, Ended::Final(CloseReason::DialRefused(failure)))
            }
            Failed::Hopeless => (DialFailure::Untrusted, state.witness.hopeless()),
        };
        let told = match failure {
            DialFailure::Status { status: 503, .. } if self.has(Flaw::IgnoresRetryAfter) => {
                status(503, None)
            }
            failure => failure,
        };
        let event = if self.has(Flaw::FirstFailureEnds) {
            state.link.close()
        } else {
            let now = at(state.now);
            state.link.handle_dial_failed(epoch, told, now)
        };
        state.transports.leave();
        let cause = Cause::DialFailed(failure);
        state.witness.end(ended, cause, state.now, event.as_ref());
        Some(())
    }

    pub(super) fn closed(state: &mut State, code: Option<u16>) -> Option<()> {
        let epoch = state.transports.open()?;
        let event = state.link.handle_closed(epoch, code, at(state.now));
        state.transports.leave();
        let cause = Cause::ConnectionClosed(code);
        let ended = Ended::Transient(0);
        state.witness.end(ended, cause, state.now, event.as_ref());
        Some(())
    }

    pub(super) fn says(&self, state: &mut State, said: Said) -> Option<()> {
        let epoch = state.transports.open()?;
        let now = at(state.now);
        let purse = &mut state.purse;
        match said {
            Said::Event(true) => purse.asks = purse.asks.checked_sub(1)?,
            Said::Event(false) => purse.events = purse.events.checked_sub(1)?,
            Said::Beat => purse.beats = purse.beats.checked_sub(1)?,
            Said::Probed => purse.probes = purse.probes.checked_sub(1)?,
            _ => {}
        }
        let text = state.witness.text(said)?;
        let event = match said {
            Said::Binary => state.link.handle_binary(epoch, now),
            Said::Beat if self.has(Flaw::HidesBeats) => None,
            _ => state.link.handle_message(epoch, &text, now),
        };
        let violates = |cause| matches!(cause, Cause::Violation(_));
        let odd = match &event {
            Some(Event::Ignored(_)) => !matches!(said, Said::Ack | Said::Event(_)),
            Some(Event::Reconnecting { cause, .. }) => violates(*cause),
            Some(Event::Closed {
                reason: CloseReason::GaveUp { cause, .. },
                ..
            }) => violates(*cause),
            _ => false,
        };
        if odd {
            state.purse.odd = state.purse.odd.checked_sub(1)?;
        }
        self.said(state, said, event.as_ref());
        Some(())
    }

    fn said(&self, state: &mut State, said: Said, event: Option<&Event<'_>>) {
        let told = event.filter(|event| match event {
            Event::Connected { .. } => !self.has(Flaw::HidesConnected),
            _ => true,
        });
        let unheld = Event::Connected { stale_until: None };
        let connected = matches!(told, Some(Event::Connected { .. }));
        let told = told.map(|event| match event {
            Event::Connected { .. } if self.has(Flaw::HidesStale) => &unheld,
            event => event,
        });
        state.witness.says(said, state.now, told);
        if said == Said::Ack && self.has(Flaw::AcksTwice) {
            state.witness.acked(told);
        }
        if connected && self.has(Flaw::ProvesByOpening) {
            state.link.handle_wake(at(state.now));
        }
    }

    pub(super) fn late(&self, state: &mut State) -> Option<()> {
        if state.witness.closed.is_some() {
            state.after_the_end();
        }
        let old =
            if state.is_let_go(state.link.clone().poll_action()) || self.has(Flaw::IgnoresEpochs) {
                state.transports.epoch()?
            } else {
                state.transports.replaced.take()?
            };
        let before = state.link.clone();
        let now = at(state.now);
        let link = &mut state.link;
        let mut heard = link.poll_transmit(old).is_some();
        link.handle_opened(old);
        link.handle_bytes(old, now);
        link.handle_transmitted(old, now);
        heard |= link.handle_message(old, CONSENT, now).is_some();
        heard |= link.handle_message(old, "2", now).is_some();
        heard |= link.handle_message_too_long(old, now).is_some();
        heard |= link.handle_binary(old, now).is_some();
        heard |= link.handle_closed(old, Some(1_000), now).is_some();
        let failed = DialFailure::Untrusted;
        heard |= link.handle_dial_failed(old, failed, now).is_some();
        let unchanged = !heard && state.link == before;
        state.witness.verdicts.expect(unchanged, STALE);
        Some(())
    }

    pub(super) fn emit(state: &mut State, acked: bool) -> Option<()> {
        let purse = &mut state.purse;
        let left = if acked {
            &mut purse.emits
        } else {
            &mut purse.volatile
        };
        let charged = left.checked_sub(1)?;
        let expected = state.witness.refusal(acked);
        let (asked, refusal) = if acked {
            match state.link.emit_with_ack("e", None, at(state.now)) {
                Ok(asked) => (Some(asked), None),
                Err(error) => (None, Some(error)),
            }
        } else {
            (None, state.link.emit_volatile("v", None).err())
        };
        state.witness.verdicts.expect(refusal == expected, ROOM);
        if refusal.is_some() {
            return Some(());
        }
        *left = charged;
        match asked {
            Some(asked) => state.witness.taken(asked, state.now),
            None => state.witness.queued.push(Queued::Volatile),
        }
        Some(())
    }

    pub(super) fn answer(state: &mut State) -> Option<()> {
        let waits = *state.witness.owed.first()?;
        let key = u8::try_from(waits.id?).ok()?;
        let full = state.witness.queued.len() >= MOST_FRAMES;
        let expected = match waits.lost {
            Some(_) => Err(EmitError::UnknownRequest),
            None if full => Err(EmitError::Full),
            None => Ok(()),
        };
        let answered = state.link.answer(waits.what, None);
        state.witness.verdicts.expect(answered == expected, ROOM);
        if answered.is_ok() {
            state.witness.owed.remove(0);
            state.witness.queued.push(Queued::Answer(key));
            let again = state.link.answer(waits.what, None);
            let once = again == Err(EmitError::UnknownRequest);
            state.witness.verdicts.expect(once, OUTCOMES);
        }
        Some(())
    }

    pub(super) fn force(state: &mut State) -> Option<()> {
        let event = state.link.reconnect(at(state.now))?;
        state.purse.forced -= 1;
        state.witness.forced(Some(&event));
        Some(())
    }

    pub(super) fn close(&self, state: &mut State) -> Option<()> {
        let event = state.link.close()?;
        let reason = CloseReason::User;
        let cause = Cause::Forced;
        let ended = Ended::Final(reason);
        state.witness.end(ended, cause, state.now, Some(&event));
        if self.has(Flaw::Reopens) {
            state.link = self.link();
            state.link.connect(at(state.now));
        }
        Some(())
    }
}

impl State {
    /// Nothing that may be told or asked after the end changes anything.
    fn after_the_end(&mut self) {
        let later = at(self.now + 100);
        let mut link = self.link.clone();
        link.connect(later);
        let heard = [
            link.reconnect(later).is_some(),
            link.handle_wake(later).is_some(),
            link.handle_timeout(later).is_some(),
            link.close().is_some(),
            link.emit("e", None).is_ok(),
            link.emit_with_ack("e", None, later).is_ok(),
            link.poll_timeout().is_some(),
        ];
        let unchanged = !heard.contains(&true) && link == self.link;
        self.witness.verdicts.expect(unchanged, CLOSED);
    }
}

impl Witness {
    /// How a failure ends it that does not pass by itself.
    fn hopeless(&self) -> Ended {
        if self.worked() {
            Ended::Transient(0)
        } else {
            Ended::Final(CloseReason::DialRefused(DialFailure::Untrusted))
        }
    }

    /// Why an event of ours is not taken.
    fn refusal(&self, acked: bool) -> Option<EmitError> {
        if let Some(reason) = self.closed {
            return Some(EmitError::Closed(reason));
        }
        if !self.is_open() {
            return Some(EmitError::NotConnected);
        }
        let waits = if acked {
            self.asked.len() >= MOST_ACKS
        } else {
            self.queued.contains(&Queued::Volatile)
        };
        (waits || self.queued.len() >= MOST_FRAMES).then_some(EmitError::Full)
    }

    /// What the server says.
    fn text(&self, said: Said) -> Option<String> {
        let invalid = r#"{"message":"Invalid authentication token"}"#;
        let timeout = PATIENCE - INTERVAL;
        Some(match said {
            Said::Greeting => format!(
                r#"0{{"sid":"e","upgrades":[],"pingInterval":{INTERVAL},"pingTimeout":{timeout}}}"#
            ),
            Said::Consent(true) => CONSENT.to_owned(),
            Said::Consent(false) => "40".to_owned(),
            Said::Refusal(true) => format!("44{invalid}"),
            Said::Refusal(false) => r#"44{"message":"later"}"#.to_owned(),
            Said::Error => format!(r#"42["error",{invalid}]"#),
            Said::Beat => "2".to_owned(),
            Said::Probed => format!("43{}[]", self.connection?.probed?),
            Said::Ack => {
                let mut asked = self.asked.iter().filter(|_| self.is_open());
                let id = asked.find_map(|waits| waits.id);
                format!("43{}[]", id?)
            }
            Said::Stray => "43999[]".to_owned(),
            Said::Event(true) => format!(r#"42{}["x",{{}}]"#, self.keys),
            Said::Event(false) => r#"42["x",{}]"#.to_owned(),
            Said::Disconnect => "41".to_owned(),
            Said::Binary => String::new(),
        })
    }
}
