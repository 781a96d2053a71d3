//! What the packets of the server do, and how those of the client are made.

use alloc::string::String;

use super::books::Frame;
use super::event::{Cause, CloseReason, Event, Ignored, Refusal, Violation};
use super::{Engine, Link, MAX_PING_BYTES, Probe, State};
use crate::backoff::{Budget, Epoch};
use crate::relay::engineio::{self, Handshake};
use crate::relay::raw::{Raw, Text};
use crate::relay::socketio::{self, AckId, Args, Body};
use crate::time::Instant;

/// What packets do.
impl Link {
    pub(super) fn join(&mut self, epoch: Epoch, handshake: &Handshake<'_>, now: Instant) {
        let patience = handshake.patience();
        self.frames.push_own(Frame::Join);
        self.state = State::Joining {
            epoch,
            deadline: now.after(self.limits.join_timeout()),
            engine: Engine {
                patience,
                max_payload: handshake.max_payload.unwrap_or(usize::MAX),
                silent: now.after(patience),
            },
        };
    }

    pub(super) fn heartbeat(&mut self, data: &str, now: Instant) -> Option<Event<'static>> {
        if data.len() > MAX_PING_BYTES {
            return Some(self.violate(Violation::LongPing, now));
        }
        if let State::Joining { engine, .. } | State::Open { engine, .. } = &mut self.state {
            engine.silent = now.after(engine.patience);
        }
        if let State::Open { alive, .. } = &mut self.state {
            *alive = now;
        }
        let pong = engineio::Packet::Pong(data).encode();
        self.frames.push_own(Frame::Pong(pong.into_boxed_str()));
        None
    }

    pub(super) fn packet<'a>(
        &mut self,
        packet: socketio::Packet<'a>,
        now: Instant,
    ) -> Option<Event<'a>> {
        if packet.namespace != socketio::Packet::ROOT {
            return Some(self.ignore(Ignored::Meaningless));
        }
        let open = self.is_open();
        match packet.body {
            Body::Connect(data) => Some(self.joined(data, now)),
            Body::ConnectError(data) if !open => {
                let said = data.and_then(said);
                Some(self.refused(Refusal::of(said.as_ref()), said, now))
            }
            Body::Disconnect => Some(self.drop_transport(Cause::ServerDisconnected, None, now)),
            Body::Event(id, Some(args)) if open => Some(self.event(id, args, now)),
            Body::Ack(id, args) if open => self.ack(id, args, now),
            Body::ConnectError(_) | Body::Event(..) | Body::Ack(..) => {
                Some(self.ignore(Ignored::Meaningless))
            }
        }
    }

    pub(super) fn joined(&mut self, data: Option<Raw<'_>>, now: Instant) -> Event<'static> {
        let State::Joining { epoch, engine, .. } = self.state else {
            return self.ignore(Ignored::Meaningless);
        };
        let sid = data.and_then(|data| data.get("sid")).and_then(Raw::text);
        if sid.is_none() {
            if self.joined_before {
                return self.drop_transport(Cause::Incompatible, None, now);
            }
            self.hang_up();
            return self.end(CloseReason::Incompatible, None);
        }
        self.joined_before = true;
        self.state = State::Open {
            epoch,
            engine,
            since: now,
            probe: None,
            next_probe: now.after(self.limits.probe_interval()),
            alive: now,
            traffic: false,
        };
        let stale_until = self.stale_until.take().filter(|until| now < *until);
        Event::Connected { stale_until }
    }

    pub(super) fn refused<'a>(
        &mut self,
        refusal: Refusal,
        said: Option<Text<'a>>,
        now: Instant,
    ) -> Event<'a> {
        self.hang_up();
        if refusal.retries() {
            let cause = Cause::Refused(refusal);
            return self.fail(Budget::NotFound, None, cause, said, now);
        }
        self.end(CloseReason::Refused(refusal), said)
    }

    pub(super) fn event<'a>(
        &mut self,
        id: Option<AckId<'a>>,
        args: Args<'a>,
        now: Instant,
    ) -> Event<'a> {
        if let State::Open { traffic, .. } = &mut self.state {
            *traffic = true;
        }
        let Some(name) = args.name() else {
            return self.ignore(Ignored::Unnamed);
        };
        let argument = args.argument();
        if name.is("error") {
            // How the server of old refuses: after its consent, and just before `41`.
            let said = argument.and_then(said);
            let refusal = Refusal::of(said.as_ref());
            if !refusal.retries() {
                return self.refused(refusal, said, now);
            }
        }
        let owed = match id.map(|id| self.acks.owe(id, now, &self.limits)) {
            None => None,
            Some(Ok(owed)) => Some(owed),
            Some(Err(why)) => return self.ignore(why),
        };
        Event::Received {
            name,
            argument,
            owed,
        }
    }

    pub(super) fn ack<'a>(
        &mut self,
        id: Option<AckId<'a>>,
        args: Option<Raw<'a>>,
        now: Instant,
    ) -> Option<Event<'a>> {
        let id = id.and_then(AckId::get);
        if let State::Open {
            probe,
            next_probe,
            alive,
            ..
        } = &mut self.state
            && let Some(asked) = *probe
            && id == Some(asked.id)
        {
            *probe = None;
            *alive = (*alive).max(asked.asked);
            *next_probe = now.after(self.limits.probe_interval());
            return None;
        }
        let Some(asked) = id.and_then(|id| self.acks.acked(id)) else {
            return Some(self.ignore(Ignored::UnknownAck));
        };
        if let State::Open { traffic, .. } = &mut self.state {
            *traffic = true;
        }
        let argument = args.and_then(Raw::elements).and_then(|[first]| first);
        Some(Event::Acked { asked, argument })
    }

    pub(super) const fn ignore(&mut self, why: Ignored) -> Event<'static> {
        self.ignored = self.ignored.saturating_add(1);
        Event::Ignored(why)
    }

    /// Asks whether the server is there.
    pub(super) fn probe(&mut self, now: Instant) {
        let id = self.acks.next_id();
        let mut frame = String::from("4");
        let written = socketio::write_event(&mut frame, Some(id), "ping", None);
        debug_assert!(written.is_ok());
        if let State::Open { probe, .. } = &mut self.state {
            *probe = Some(Probe {
                id,
                asked: now,
                deadline: now.after(self.limits.probe_timeout()),
            });
            self.acks.take_id();
            self.frames.push_own(Frame::Probe(frame.into_boxed_str()));
        }
    }
}

/// The message of a refusal: the member of an object, or the string itself.
fn said(raw: Raw<'_>) -> Option<Text<'_>> {
    raw.text().or_else(|| raw.get("message")?.text())
}
