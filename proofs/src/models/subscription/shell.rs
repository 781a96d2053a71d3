//! What the shell, the server and the caller do.

use hallway_core::session::control::Request;
use hallway_core::session::event::{Action, Cancelled, Cause, CloseReason, DialFailure, Event};
use hallway_core::session::subscription::Answer;

use super::checks::{ENDS, EVENTS, ORDER, REQUESTS, SLEPT, STALE};
use super::witness::hopeless;
use super::{Ended, Flaw, SLEEP, State, SubscriptionModel};
use crate::models::retries::RETRY_AFTER;
use crate::models::{at, millis, span};

const MESSAGE: &str = r#"{"type":"x"}"#;

const fn status(status: u16) -> DialFailure {
    DialFailure::Status {
        status,
        retry_after: None,
    }
}

impl SubscriptionModel {
    pub(super) fn act(&self, state: &mut State) {
        let live = state.transports.epoch();
        match state.machine.poll_action() {
            Some(Action::Hangup(epoch))
                if live == Some(epoch) && !self.has(Flaw::ForgetsHangup) =>
            {
                state.leave();
            }
            Some(Action::Hangup(_)) | None => {}
            Some(Action::Dial(epoch)) => {
                let ended = state.witness.closed.is_some();
                state.transports.dial(epoch, ended);
                state.witness.retries.dial();
                state.pinged = None;
            }
            Some(Action::Ping(epoch)) => {
                state.witness.verdicts.expect(live == Some(epoch), EVENTS);
            }
            Some(Action::AskToken(epoch)) => state.asked_for_token = Some(epoch),
        }
    }

    pub(super) fn timeout(&self, state: &mut State) -> Option<()> {
        let due = millis(state.machine.poll_timeout()?);
        if state.now < due {
            return None;
        }
        let was_open = state.machine.open_epoch().is_some();
        let refused = state.refused;
        let now = if self.has(Flaw::HidesSleep) && state.asleep {
            due
        } else {
            state.now
        };
        let event = state.machine.handle_timeout(at(now));
        if was_open && event.is_none() {
            state.pinged = Some(state.now);
        }
        if state.now - due >= SLEEP {
            let live = was_open || refused.is_some();
            state.witness.slept(event.as_ref(), live);
            if was_open {
                let mut probe = state.machine.clone();
                let probes = matches!(probe.poll_action(), Some(Action::Ping(_)));
                state.witness.verdicts.expect(probes, SLEPT);
            }
        } else if let Some(Event::Reconnecting { cause, .. }) = event {
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        } else if let Some(Event::Closed { reason }) = event {
            match reason {
                CloseReason::GaveUp { cause, .. } => {
                    state
                        .witness
                        .end(Ended::Transient(0), cause, state.now, event.as_ref());
                }
                _ => {
                    let expected = refused.is_some() && reason == CloseReason::Unauthorized;
                    state.witness.verdicts.expect(expected, ENDS);
                    state.witness.close(reason);
                    state.refused = None;
                }
            }
        }
        state.asleep = false;
        Some(())
    }

    pub(super) fn write(&self, state: &mut State, heard: bool) -> Option<()> {
        let epoch = state.transports.open()?;
        let frame = state.machine.poll_transmit(epoch)?.to_owned();
        let first = state.witness.accepted.first().copied();
        let expected = first.is_some_and(|id| frame.contains(&format!("\"{id}\"")));
        state.witness.verdicts.expect(expected, ORDER);
        if heard {
            state.machine.handle_transmitted(epoch);
            if !state.witness.accepted.is_empty() {
                state.witness.accepted.remove(0);
            }
        } else {
            if self.has(Flaw::LosesFrames) {
                state.machine.handle_transmitted(epoch);
            }
            let event = state.machine.handle_closed(epoch, None, at(state.now));
            state.leave();
            let cause = Cause::ConnectionClosed(None);
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        }
        Some(())
    }

    pub(super) fn dial_failed(&self, state: &mut State, ended: Ended) -> Option<()> {
        let epoch = state.transports.dialled()?;
        let failure = match ended {
            Ended::Transient(0) => DialFailure::Unreachable,
            Ended::Transient(asked) => DialFailure::Status {
                status: 503,
                retry_after: (!self.has(Flaw::IgnoresRetryAfter)).then(|| span(asked)),
            },
            Ended::NotFound => status(404),
            Ended::Unauthorized => status(401),
            Ended::Hopeless => hopeless(),
        };
        let now = at(state.now);
        let event = if self.has(Flaw::FirstFailureEnds) {
            state.machine.close()
        } else {
            state.machine.handle_dial_failed(epoch, failure, now)
        };
        state.leave();
        if ended == Ended::Unauthorized {
            state.witness.verdicts.expect(event.is_none(), ENDS);
            state.refused = Some(epoch);
        } else {
            let cause = match failure {
                DialFailure::Status { status: 503, .. } => Cause::DialFailed(DialFailure::Status {
                    status: 503,
                    retry_after: Some(span(RETRY_AFTER)),
                }),
                _ => Cause::DialFailed(failure),
            };
            state.witness.end(ended, cause, state.now, event.as_ref());
        }
        Some(())
    }

    pub(super) fn late(&self, state: &mut State) -> Option<()> {
        let old = if state.is_let_go(state.machine.clone().poll_action())
            || self.has(Flaw::IgnoresEpochs)
        {
            state.transports.epoch()?
        } else {
            state.transports.replaced.take()?
        };
        let before = state.machine.clone();
        let now = at(state.now);
        let mut heard = state.machine.handle_opened(old, now).is_some();
        heard |= state.machine.handle_message(old, MESSAGE).is_some();
        state.machine.handle_pong(old);
        state.machine.handle_transmitted(old);
        let (closed, failed) = (Some(4_003), DialFailure::Untrusted);
        heard |= state.machine.handle_message_too_long(old, now).is_some();
        heard |= state.machine.handle_closed(old, closed, now).is_some();
        heard |= state.machine.handle_dial_failed(old, failed, now).is_some();
        if state.refused != Some(old) {
            heard |= state.machine.handle_token(old, false, now).is_some();
        }
        let unchanged = !heard && state.machine == before;
        state.witness.verdicts.expect(unchanged, STALE);
        Some(())
    }

    pub(super) fn opened(&self, state: &mut State) -> Option<()> {
        let epoch = state.transports.opens()?;
        let event = state.machine.handle_opened(epoch, at(state.now));
        let event = event.filter(|_| !self.has(Flaw::HidesConnected));
        state.witness.open(state.now, event.as_ref());
        if self.has(Flaw::ProvesByOpening) {
            state.machine.handle_message(epoch, MESSAGE);
        }
        Some(())
    }

    pub(super) fn closed(state: &mut State, code: u16) -> Option<()> {
        let epoch = state.transports.open()?;
        if state.witness.proves_at(state.now) {
            state.purse.pongs = state.purse.pongs.checked_sub(1)?;
        }
        state.witness.heard(state.now);
        let event = state
            .machine
            .handle_closed(epoch, Some(code), at(state.now));
        state.leave();
        let ended = match code {
            4_001 => Ended::NotFound,
            4_003 => Ended::Unauthorized,
            _ => Ended::Transient(0),
        };
        let cause = Cause::ConnectionClosed(Some(code));
        state.witness.end(ended, cause, state.now, event.as_ref());
        Some(())
    }

    pub(super) fn token(state: &mut State, another: bool) -> Option<()> {
        let epoch = state.asked_for_token.take()?;
        if another {
            state.purse.tokens = state.purse.tokens.checked_sub(1)?;
        }
        let waited = state.refused == Some(epoch);
        let event = state.machine.handle_token(epoch, another, at(state.now));
        if waited {
            state.refused = None;
        }
        if !waited {
            state.witness.verdicts.expect(event.is_none(), STALE);
        } else if another {
            let cause = Cause::DialFailed(status(401));
            state
                .witness
                .end(Ended::Transient(0), cause, state.now, event.as_ref());
        } else {
            let reason = CloseReason::Unauthorized;
            state
                .witness
                .verdicts
                .expect(event == Some(Event::Closed { reason }), ENDS);
            state.witness.close(reason);
        }
        Some(())
    }

    pub(super) fn message(state: &mut State, sound: bool) -> Option<()> {
        let epoch = state.transports.open()?;
        let event = if sound {
            state.purse.traffic = state.purse.traffic.checked_sub(1)?;
            state.machine.handle_message(epoch, MESSAGE)
        } else {
            state.purse.pongs = state.purse.pongs.checked_sub(1)?;
            state.machine.handle_message(epoch, "?")
        };
        state.hear();
        if sound {
            state.witness.traffic();
        }
        let expected = matches!(event, Some(Event::MessageReceived)) == sound;
        state.witness.verdicts.expect(expected, EVENTS);
        Some(())
    }

    pub(super) fn asks(state: &mut State, takes_back: bool) -> Option<()> {
        let epoch = state.transports.open()?;
        let id = if takes_back {
            *state.witness.waiting.first()?
        } else {
            state.purse.requests = state.purse.requests.checked_sub(1)?;
            10 + state.purse.requests
        };
        let text = if takes_back {
            format!(r#"{{"type":"control_cancel_request","request_id":"{id}"}}"#)
        } else {
            format!(
                r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"can_use_tool","tool_name":"","input":{{}},"tool_use_id":""}}}}"#
            )
        };
        let event = state.machine.handle_message(epoch, &text);
        state.hear();
        state.witness.traffic();
        if takes_back {
            state.witness.waiting.remove(0);
            let told = matches!(
                event,
                Some(Event::RequestCancelled {
                    cancelled: Cancelled::ByServer,
                    ..
                })
            );
            state.witness.verdicts.expect(told, REQUESTS);
        } else {
            state.witness.waiting.push(id);
            let told = matches!(event, Some(Event::RequestArrived { .. }));
            state.witness.verdicts.expect(told, REQUESTS);
        }
        Some(())
    }

    pub(super) fn answer(state: &mut State) -> Option<()> {
        if state.witness.waiting.is_empty() {
            return None;
        }
        let id = state.witness.waiting.remove(0);
        let deny = Answer::Deny { message: "" };
        let answered = state.machine.answer(&id.to_string(), deny);
        state.witness.verdicts.expect(answered.is_ok(), REQUESTS);
        let again = state.machine.answer(&id.to_string(), deny);
        state.witness.verdicts.expect(again.is_err(), REQUESTS);
        state.witness.accepted.push(id);
        Some(())
    }

    pub(super) fn send(state: &mut State) -> Option<()> {
        if state.witness.closed.is_some() {
            return None;
        }
        state.purse.sends = state.purse.sends.checked_sub(1)?;
        let id = state.purse.sends;
        let sent = state.machine.request(&id.to_string(), &Request::Interrupt);
        state.witness.verdicts.expect(sent.is_ok(), ORDER);
        state.witness.accepted.push(id);
        Some(())
    }

    pub(super) fn poll_event(&self, state: &mut State) -> Option<()> {
        let event = state.machine.poll_event();
        let event = event.filter(|_| !self.has(Flaw::HidesDropped));
        let Some(event) = event else {
            state
                .witness
                .verdicts
                .expect(state.witness.dropped.is_empty(), REQUESTS);
            return Some(());
        };
        let told = matches!(
            &event,
            Event::RequestCancelled { request_id, cancelled: Cancelled::Reconnected }
                if state.witness.dropped.first().is_some_and(|id| id.to_string() == **request_id)
        );
        state.witness.verdicts.expect(told, REQUESTS);
        if !state.witness.dropped.is_empty() {
            state.witness.dropped.remove(0);
        }
        Some(())
    }

    pub(super) fn force(&self, state: &mut State) -> Option<()> {
        state.purse.forced -= 1;
        let now = at(state.now);
        let event = match state.transports.open() {
            Some(epoch) if self.has(Flaw::ForcesByBreaking) => {
                state.leave();
                state.machine.handle_closed(epoch, None, now)?
            }
            _ => state.machine.reconnect(now)?,
        };
        state.refused = None;
        state.witness.forced(Some(&event));
        Some(())
    }

    pub(super) fn close(state: &mut State) -> Option<()> {
        let event = state.machine.close()?;
        let reason = CloseReason::User;
        let told = event == Event::Closed { reason };
        state.witness.verdicts.expect(told, ENDS);
        state.refused = None;
        state.witness.close(reason);
        Some(())
    }
}
