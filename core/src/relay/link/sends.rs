//! What is sent over a connection. Nothing is kept for the next one.

use alloc::boxed::Box;
use alloc::string::String;

use super::Link;
use super::State;
use super::books::Frame;
use super::event::{Asked, EmitError, Owed, Status};
use crate::relay::raw::Raw;
use crate::relay::socketio;
use crate::time::Instant;

impl Link {
    /// Sends an event.
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit(&mut self, name: &str, argument: Option<Raw<'_>>) -> Result<(), EmitError> {
        let frame = self.frame(None, name, argument)?;
        self.push(frame, Frame::Packet)
    }

    /// Sends an event that is worth nothing later: it is refused, too, while another one waits
    /// to be written (relay.md §9.6).
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit_volatile(
        &mut self,
        name: &str,
        argument: Option<Raw<'_>>,
    ) -> Result<(), EmitError> {
        let frame = self.frame(None, name, argument)?;
        if self.frames.has_volatile() {
            return Err(EmitError::Full);
        }
        self.push(frame, Frame::Volatile)
    }

    /// Sends an event that the server is to acknowledge within
    /// [`Limits::ack_timeout`](crate::relay::limits::Limits::ack_timeout). Changes
    /// [`Link::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`EmitError`]; nothing is sent or kept.
    pub fn emit_with_ack(
        &mut self,
        name: &str,
        argument: Option<Raw<'_>>,
        now: Instant,
    ) -> Result<Asked, EmitError> {
        let id = self.acks.next_id();
        let frame = self.frame(Some(id), name, argument)?;
        if !self.acks.has_room(&self.limits) {
            return Err(EmitError::Full);
        }
        self.push(frame, Frame::Packet)?;
        self.acks.take_id();
        self.acks.ask(id, now.after(self.limits.ack_timeout()));
        Ok(Asked(id))
    }

    /// Acknowledges an event of the server's, once. Changes [`Link::poll_timeout`].
    ///
    /// # Errors
    ///
    /// [`EmitError`]; it still waits for its acknowledgement when that was too long, or when
    /// there was no room.
    pub fn answer(&mut self, owed: Owed, argument: Option<Raw<'_>>) -> Result<(), EmitError> {
        let id = self.acks.digits(owed).ok_or(EmitError::UnknownRequest)?;
        let mut frame = String::from("4");
        socketio::write_ack(&mut frame, id, argument);
        self.check_length(frame.len())?;
        self.push(frame.into_boxed_str(), Frame::Packet)?;
        self.acks.answered(owed);
        Ok(())
    }

    /// The longest frame that is taken at present.
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        let own = self.limits.max_frame_bytes();
        if let State::Open { engine, .. } = self.state {
            engine.max_payload.min(own)
        } else {
            own
        }
    }

    /// Whether there is room for another event that is to be acknowledged.
    #[must_use]
    pub fn has_room_for_ack(&self) -> bool {
        self.acks.has_room(&self.limits)
    }

    fn frame(
        &self,
        id: Option<u64>,
        name: &str,
        argument: Option<Raw<'_>>,
    ) -> Result<Box<str>, EmitError> {
        match self.status() {
            Status::Open => {}
            Status::Closed(reason) => return Err(EmitError::Closed(reason)),
            Status::Idle | Status::Connecting | Status::Waiting(_) => {
                return Err(EmitError::NotConnected);
            }
        }
        // A payload that is too long is not copied first.
        self.check_length(argument.map_or(0, |raw| raw.as_str().len()))?;
        let mut frame = String::from("4");
        socketio::write_event(&mut frame, id, name, argument)
            .map_err(|_| EmitError::ReservedName)?;
        self.check_length(frame.len())?;
        Ok(frame.into_boxed_str())
    }

    fn check_length(&self, bytes: usize) -> Result<(), EmitError> {
        let limit = self.max_frame_bytes();
        if bytes > limit {
            return Err(EmitError::TooLong { bytes, limit });
        }
        Ok(())
    }

    fn push(&mut self, text: Box<str>, kind: fn(Box<str>) -> Frame) -> Result<(), EmitError> {
        self.frames.push(text, kind, &self.limits)
    }
}
