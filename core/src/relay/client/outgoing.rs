//! What a client sends: messages of every kind, reports of usage, and the signs of life.

use alloc::boxed::Box;
use alloc::string::String;

use super::event::{Change, Event, Merge, Route, SendError};
use super::values::may_succeed_later;
use super::{Client, Kind, PostFailure};
use crate::relay::base64;
use crate::relay::cipher::Nonce;
use crate::relay::events;
use crate::relay::link::{AckFailure, Asked, EmitError, Owed};
use crate::relay::plaintext::{
    self, AcpData, AgentContent, AgentMessage, Document, SessionEvent, claude_message,
};
use crate::relay::raw::{Raw, Text};
use crate::relay::rpc::{self, Refusal};
use crate::relay::versioned::{Outcome, UpdateId, Value};
use crate::time::{Instant, UnixTime};

/// What a reply to a call says when the result is longer than a frame may be.
const TOO_LONG_TO_ANSWER: &str = "The result is too long to be sent";

/// The title that the metadata are to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Title {
    text: Text<'static>,
    at: UnixTime,
    /// The update that is to write it.
    update: Option<UpdateId>,
    /// What that update writes is another title.
    stale: bool,
}

/// The report of usage: the server keeps the last one, so that one is all there is to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Usage {
    wanted: Option<Box<str>>,
    asked: Option<(Asked, Box<str>)>,
    /// How often the server did not answer on this connection.
    tries: usize,
    failed: bool,
}

/// It is to end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ending {
    pub(super) deadline: Instant,
    /// The last word of a session.
    payload: Option<Box<str>>,
    sent: bool,
}

/// The senders of a session. Each takes an id that is made once for the message, and a nonce. What they take
/// is sent, in order, whether there is a connection or not.
impl Client {
    /// Sends a line of Claude's transcript, and what follows from it: a report of its usage, or
    /// the title of the session.
    ///
    /// # Errors
    ///
    /// [`SendError`]; then nothing follows either.
    pub fn send_claude(
        &mut self,
        line: Raw<'_>,
        local_id: &str,
        nonce: Nonce,
        at: UnixTime,
    ) -> Result<(), SendError> {
        let outgoing = claude_message(line);
        self.send(&outgoing.plaintext, local_id, nonce)?;
        if let Some(usage) = &outgoing.usage {
            self.want_usage(usage);
        }
        if let Some(text) = outgoing.summary
            && text.raw().as_str().len() <= self.limits.max_value_bytes()
        {
            let update = self.title.as_ref().and_then(|title| title.update);
            self.title = Some(Title {
                text: text.into_owned(),
                at,
                update,
                stale: true,
            });
        }
        Ok(())
    }

    /// Sends a message of codex.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_codex(
        &mut self,
        data: Raw<'_>,
        local_id: &str,
        nonce: Nonce,
    ) -> Result<(), SendError> {
        self.send_content(AgentContent::Codex { data }, local_id, nonce)
    }

    /// Sends a message of an agent that speaks the agent client protocol.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_acp(
        &mut self,
        provider: &str,
        data: AcpData<'_>,
        local_id: &str,
        nonce: Nonce,
    ) -> Result<(), SendError> {
        let provider = Text::new(provider);
        self.send_content(AgentContent::Acp { provider, data }, local_id, nonce)
    }

    /// Sends what happened to the session; `id` is what the sender knows it by.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_event(
        &mut self,
        id: &str,
        data: SessionEvent<'_>,
        local_id: &str,
        nonce: Nonce,
    ) -> Result<(), SendError> {
        let id = Text::new(id);
        self.send_content(AgentContent::Event { id, data }, local_id, nonce)
    }

    /// Sends a message of any shape: its plaintext, which is one JSON value.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send(&mut self, plaintext: &str, local_id: &str, nonce: Nonce) -> Result<(), SendError> {
        self.name.check(Kind::Session)?;
        if self.is_closed() || self.ending.is_some() {
            return Err(SendError::Ended);
        }
        if plaintext.len() > self.limits.max_batch_bytes() {
            return Err(SendError::TooLong);
        }
        if self.outbox.contains(local_id) {
            return Err(SendError::DuplicateId);
        }
        let sealed = self.cipher.seal_text(nonce, plaintext)?;
        self.outbox.push(local_id, &sealed)?;
        self.own.insert(&base64::decode(&sealed), &self.limits);
        Ok(())
    }

    fn send_content(
        &mut self,
        content: AgentContent<'_>,
        local_id: &str,
        nonce: Nonce,
    ) -> Result<(), SendError> {
        let plaintext = AgentMessage::new(content).to_json();
        self.send(&plaintext, local_id, nonce)
    }

    /// Reports what was used. The server keeps the last report, so that one waits at most.
    ///
    /// # Errors
    ///
    /// [`SendError::Ended`], or [`SendError::OutOfScope`].
    pub fn send_usage(&mut self, usage: &plaintext::Usage<'_>) -> Result<(), SendError> {
        self.name.check(Kind::Session)?;
        if self.is_closed() || self.ending.is_some() {
            return Err(SendError::Ended);
        }
        self.want_usage(usage);
        Ok(())
    }

    fn want_usage(&mut self, usage: &plaintext::Usage<'_>) {
        self.usage.wanted = Some(usage.report(&self.name.id).into_boxed_str());
        self.usage.tries = 0;
    }

    /// Says that the session is alive. It is dropped while there is no connection.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is kept.
    pub fn keep_alive(
        &mut self,
        thinking: bool,
        mode: &str,
        at: UnixTime,
    ) -> Result<(), SendError> {
        self.name.check(Kind::Session)?;
        let payload = events::session_alive(&self.name.id, at, thinking, mode);
        let payload = Raw::trusted(&payload);
        Ok(self.link.emit_volatile("session-alive", Some(payload))?)
    }

    /// Says that the machine is alive, as an [`Action::KeepAlive`](super::Action::KeepAlive)
    /// asks for. It is dropped while there is no connection.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is kept.
    pub fn machine_alive(&mut self, at: UnixTime) -> Result<(), SendError> {
        self.name.check(Kind::Machine)?;
        let payload = events::machine_alive(&self.name.id, at);
        let payload = Raw::trusted(&payload);
        Ok(self.link.emit_volatile("machine-alive", Some(payload))?)
    }

    /// Ends it: what waits is sent, the server is told that a session ends, and the client
    /// closes, all of it within [`Limits::end_timeout`](super::Limits::end_timeout). Nothing
    /// more is taken. Changes [`Client::poll_timeout`].
    pub fn end(&mut self, at: UnixTime, now: Instant) {
        if self.ending.is_none() && !self.is_closed() {
            self.ending = Some(Ending {
                deadline: now.after(self.limits.end_timeout()),
                payload: match self.name.kind {
                    Kind::Session => Some(events::session_end(&self.name.id, at).into_boxed_str()),
                    Kind::Machine => None,
                },
                sent: false,
            });
        }
    }

    /// Serves a method: it is registered on every connection.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when too many are served.
    pub fn register(&mut self, method: &str) -> Result<(), SendError> {
        if self.is_closed() {
            return Err(SendError::Ended);
        }
        let room = self.methods.insert(method, &self.limits);
        room.then_some(()).ok_or(SendError::Full)
    }

    /// Serves a method no longer.
    pub fn unregister(&mut self, method: &str) {
        if self.methods.remove(method) && self.link.is_open() {
            let payload = events::rpc_method(&self.name.id, method);
            // Without room the server keeps sending calls, which are refused.
            self.link
                .emit("rpc-unregister", Some(Raw::trusted(&payload)))
                .ok();
        }
    }

    /// Whether the server has confirmed that it sends calls of `method`.
    #[must_use]
    pub fn is_registered(&self, method: &str) -> bool {
        self.methods.is_confirmed(method)
    }

    /// Answers a call: `result` is one JSON value, or nothing at all. One that is longer than a
    /// frame may be is replaced by an error that the caller can show; whether it was sent as it
    /// is, is the answer.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the call still waits, unless it is unknown.
    pub fn answer_rpc(
        &mut self,
        owed: Owed,
        result: &str,
        nonce: Nonce,
    ) -> Result<bool, SendError> {
        let sealed = result.len().saturating_add(self.cipher.overhead());
        // Base64, the packet around it, and the longest id.
        let frame = sealed.div_ceil(3).saturating_mul(4).saturating_add(32);
        let fits = frame <= self.link.max_frame_bytes();
        let error;
        let plaintext = if fits {
            result
        } else {
            error = rpc::error(TOO_LONG_TO_ANSWER);
            &error
        };
        let sealed = self.cipher.seal_text(nonce, plaintext)?;
        let mut quoted = String::with_capacity(sealed.len().saturating_add(2));
        quoted.push('"');
        quoted.push_str(&sealed);
        quoted.push('"');
        self.link.answer(owed, Some(Raw::trusted(&quoted)))?;
        Ok(fits)
    }

    /// Answers a call that is not served.
    ///
    /// # Errors
    ///
    /// As [`Client::answer_rpc`].
    pub fn refuse_rpc(
        &mut self,
        owed: Owed,
        refusal: Refusal,
        nonce: Nonce,
    ) -> Result<bool, SendError> {
        self.answer_rpc(owed, &rpc::error(&refusal.text()), nonce)
    }
}

/// What follows by itself.
impl Client {
    /// Asks for the update that writes the title.
    pub(super) fn request_title(&mut self, now: Instant) {
        if let Some(title) = &mut self.title
            && title.update.is_none()
            && self.link.is_open()
        {
            title.update = self.metadata.versioned.request(now).ok();
        }
    }

    /// What an update of the client's own writes.
    pub(super) fn own_change(&mut self, merge: &Merge) -> Option<Change> {
        let title = self.title.as_mut()?;
        if merge.target != super::Target::Metadata || title.update != Some(merge.update) {
            return None;
        }
        let mut document = match self.metadata.versioned.value() {
            Value::Document(document) => document.clone(),
            Value::Null | Value::Unreadable => Document::default(),
        };
        title.stale = false;
        document.set_summary(&title.text, title.at);
        Some(Change::Write(document))
    }

    /// The outcome of an update of the metadata. Whether it is one of the title that is to be
    /// tried again, and nothing to tell.
    pub(super) fn keeps_title(&mut self, update: UpdateId, outcome: Outcome) -> bool {
        let Some(title) = &mut self.title else {
            return false;
        };
        if title.update != Some(update) {
            return false;
        }
        title.update = None;
        let outdated = title.stale && matches!(outcome, Outcome::Applied(_));
        let again = (outdated || may_succeed_later(outcome)) && !self.gone;
        if !again {
            self.title = None;
        }
        again
    }

    /// Whether the report of usage could not be sent at all.
    pub(super) const fn take_unreported(&mut self) -> bool {
        core::mem::replace(&mut self.usage.failed, false)
    }

    /// A connection that was lost says nothing about the server's will.
    pub(super) const fn forget_tries(&mut self) {
        self.usage.tries = 0;
    }

    /// Sends the report of usage, when there is one and a connection.
    pub(super) fn report_usage(&mut self, now: Instant) {
        if self.usage.asked.is_some() || !self.link.is_open() {
            return;
        }
        let Some(report) = self.usage.wanted.take() else {
            return;
        };
        let sent = self
            .link
            .emit_with_ack("usage-report", Some(Raw::trusted(&report)), now);
        match sent {
            Ok(asked) => self.usage.asked = Some((asked, report)),
            Err(EmitError::TooLong { .. } | EmitError::ReservedName) => self.usage.failed = true,
            Err(
                EmitError::Full
                | EmitError::NotConnected
                | EmitError::UnknownRequest
                | EmitError::Closed(_),
            ) => self.usage.wanted = Some(report),
        }
    }

    /// Whether the report waited for this acknowledgement; and the event, if it was refused.
    pub(super) fn answer_usage(
        &mut self,
        asked: Asked,
        argument: Option<Raw<'_>>,
    ) -> Option<Option<Event<'static>>> {
        self.usage.asked.take_if(|(other, _)| *other == asked)?;
        let success = argument.and_then(|raw| raw.get("success"));
        let refused = success.and_then(Raw::boolean) == Some(false);
        Some(refused.then_some(Event::UsageNotReported))
    }

    /// Whether the report waited for this acknowledgement, which does not come: it is sent
    /// again, unless there is a newer one.
    pub(super) fn lose_usage(
        &mut self,
        asked: Asked,
        why: AckFailure,
    ) -> Option<Option<Event<'static>>> {
        let (_, report) = self.usage.asked.take_if(|(other, _)| *other == asked)?;
        if why == AckFailure::TimedOut {
            self.usage.tries = self.usage.tries.saturating_add(1);
        }
        if self.usage.wanted.is_some() {
            return Some(None);
        }
        if self.usage.tries >= self.limits.max_registrations() {
            return Some(Some(Event::UsageNotReported));
        }
        self.usage.wanted = Some(report);
        Some(None)
    }

    /// Old servers: the messages go over the socket, and are stored when they are seen back
    /// (relay.md §9.1).
    pub(super) fn send_over_socket(&mut self, now: Instant) {
        if self.route != Route::Socket || !self.outcomes.is_empty() {
            return;
        }
        if !self.link.is_open() {
            if let Some(id) = self.outbox.posting() {
                self.outbox.handle_failed(id, PostFailure::Transient, now);
            }
            return;
        }
        if self.link.queued() > 0 || self.next_batch(now).is_none() {
            return;
        }
        let mut too_large = alloc::vec::Vec::new();
        for (local_id, content) in self.outbox.batch() {
            let payload = events::message(&self.name.id, content, Some(local_id));
            match self.link.emit("message", Some(Raw::trusted(&payload))) {
                Ok(()) => {}
                Err(EmitError::TooLong { .. }) => too_large.push(String::from(local_id)),
                // The rest is sent with the next batch: what is not seen back is sent again.
                Err(_) => break,
            }
        }
        for local_id in too_large {
            let dropped = self.outbox.handle_too_large(&local_id);
            dropped
                .into_iter()
                .for_each(|dropped| self.outcome(dropped));
        }
        self.confirming = None;
        self.cursor.handle_connected();
    }

    /// Tells the server that the session ends, after everything else. Of a machine the server
    /// hears nothing more.
    pub(super) fn end_session(&mut self) {
        let sent_all = self.is_flushed();
        if let Some(ending) = &mut self.ending
            && !ending.sent
            && sent_all
        {
            ending.sent = match &ending.payload {
                Some(payload) => {
                    let payload = Raw::trusted(payload);
                    self.link.emit("session-end", Some(payload)).is_ok()
                }
                None => true,
            };
        }
    }

    /// Whether the machine is to say that it is alive; then the next time is set.
    pub(super) fn is_alive_due(&mut self, now: Instant) -> bool {
        let due = self.alive.is_some_and(|due| now >= due);
        if due {
            self.alive = Some(now.after(self.limits.alive_interval()));
        }
        due
    }

    /// Whether everything was sent, or will not be.
    fn is_flushed(&self) -> bool {
        (self.outbox.is_empty() || self.outbox.stopped().is_some())
            && self.usage.wanted.is_none()
            && self.title.is_none()
            && self.metadata.versioned.is_settled()
            && self.state.versioned.is_settled()
    }

    /// Whether it has ended and the server was told.
    pub(super) fn is_finished(&self) -> bool {
        let told = self.ending.as_ref().is_some_and(|ending| ending.sent);
        told && self.link.queued() == 0
    }
}
