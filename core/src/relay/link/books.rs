//! What waits on a link: frames to be written, and acknowledgements both ways.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::event::{AckFailure, Asked, EmitError, Event, Ignored, Owed};
use crate::relay::limits::Limits;
use crate::relay::socketio::AckId;
use crate::time::Instant;

/// One frame that waits to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Frame {
    /// The authentication, which is kept elsewhere.
    Join,
    /// The answer to the engine's ping.
    Pong(Box<str>),
    /// Our `ping`.
    Probe(Box<str>),
    /// An event, or an acknowledgement.
    Packet(Box<str>),
    /// An event that is worth nothing later.
    Volatile(Box<str>),
}

/// Frames that wait to be written, first in, first out. The join, one pong and one probe have
/// room of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frames {
    frames: VecDeque<Frame>,
    packets: usize,
    bytes: usize,
}

impl Frames {
    /// Takes a packet: a frame of this kind.
    pub(super) fn push(
        &mut self,
        text: Box<str>,
        kind: fn(Box<str>) -> Frame,
        limits: &Limits,
    ) -> Result<(), EmitError> {
        let bytes = self.bytes.saturating_add(text.len());
        if self.packets >= limits.max_queued_frames() || bytes > limits.max_queued_bytes() {
            return Err(EmitError::Full);
        }
        self.bytes = bytes;
        self.packets = self.packets.saturating_add(1);
        self.frames.push_back(kind(text));
        Ok(())
    }

    /// Takes a frame that has room of its own, unless one of its kind waits.
    pub(super) fn push_own(&mut self, frame: Frame) {
        let kind = core::mem::discriminant(&frame);
        let waits = |other: &Frame| core::mem::discriminant(other) == kind;
        if !self.frames.iter().any(waits) {
            self.frames.push_back(frame);
        }
    }

    pub(super) fn has_volatile(&self) -> bool {
        let volatile = |frame: &Frame| matches!(frame, Frame::Volatile(_));
        self.frames.iter().any(volatile)
    }

    pub(super) fn has_probe(&self) -> bool {
        let probe = |frame: &Frame| matches!(frame, Frame::Probe(_));
        self.frames.iter().any(probe)
    }

    pub(super) fn front(&self) -> Option<&Frame> {
        self.frames.front()
    }

    pub(super) fn pop(&mut self) {
        if let Some(Frame::Packet(text) | Frame::Volatile(text)) = self.frames.pop_front() {
            self.packets = self.packets.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(text.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

/// An event of the server's that waits for our acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owing {
    digits: Box<str>,
    deadline: Instant,
}

/// An acknowledgement that nobody waits for any more, and that the caller was not told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lost {
    Asked(Asked, AckFailure),
    Owed(Owed, AckFailure),
}

/// The acknowledgements that are waited for, both ways. Ids are never used again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acks {
    asked: BTreeMap<u64, Instant>,
    owed: BTreeMap<u64, Owing>,
    lost: VecDeque<Lost>,
    lost_asked: usize,
    next_asked: u64,
    next_owed: u64,
}

/// The longest id of the server's that is believed: the longest 64-bit number.
const MAX_DIGITS: usize = 20;

impl Acks {
    /// The id that the next event of ours has.
    pub(super) const fn next_id(&self) -> u64 {
        self.next_asked
    }

    /// The id was used.
    pub(super) const fn take_id(&mut self) {
        self.next_asked = self.next_asked.saturating_add(1);
    }

    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.asked.len().saturating_add(self.lost_asked) < limits.max_pending_acks()
    }

    pub(super) fn ask(&mut self, id: u64, deadline: Instant) {
        self.asked.insert(id, deadline);
    }

    /// Whether an event of ours waited for it.
    pub(super) fn acked(&mut self, id: u64) -> Option<Asked> {
        self.asked.remove(&id).map(|_| Asked(id))
    }

    /// The server wants an acknowledgement.
    pub(super) fn owe(
        &mut self,
        id: AckId<'_>,
        now: Instant,
        limits: &Limits,
    ) -> Result<Owed, Ignored> {
        let digits = id.digits();
        let waits = |owing: &Owing| *owing.digits == *digits;
        if digits.len() > MAX_DIGITS || self.owed.values().any(waits) {
            return Err(Ignored::BadId);
        }
        let lost = self.lost.len().saturating_sub(self.lost_asked);
        if self.owed.len().saturating_add(lost) >= limits.max_owed_acks() {
            return Err(Ignored::Flooded);
        }
        let owed = self.next_owed;
        self.next_owed = owed.saturating_add(1);
        let deadline = now.after(limits.answer_timeout());
        let digits = Box::from(digits);
        self.owed.insert(owed, Owing { digits, deadline });
        Ok(Owed(owed))
    }

    /// The server's id of what is to be acknowledged.
    pub(super) fn digits(&self, owed: Owed) -> Option<AckId<'_>> {
        AckId::parse(&self.owed.get(&owed.0)?.digits)
    }

    pub(super) fn answered(&mut self, owed: Owed) {
        self.owed.remove(&owed.0);
    }

    /// The first deadline of all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asked = self.asked.values().copied().min();
        let owed = self.owed.values().map(|owing| owing.deadline).min();
        asked.into_iter().chain(owed).min()
    }

    /// What has waited for too long is lost.
    pub(super) fn expire(&mut self, now: Instant) {
        self.lose(AckFailure::TimedOut, |deadline| now >= deadline);
    }

    /// The connection is gone: everything is lost.
    pub(super) fn disconnect(&mut self) {
        self.lose(AckFailure::Disconnected, |_| true);
    }

    fn lose(&mut self, why: AckFailure, over: impl Fn(Instant) -> bool) {
        let Self {
            asked,
            owed,
            lost,
            lost_asked,
            ..
        } = self;
        asked.retain(|id, deadline| {
            if over(*deadline) {
                lost.push_back(Lost::Asked(Asked(*id), why));
                *lost_asked = lost_asked.saturating_add(1);
                return false;
            }
            true
        });
        owed.retain(|id, owing| {
            let is_over = over(owing.deadline);
            if is_over {
                lost.push_back(Lost::Owed(Owed(*id), why));
            }
            !is_over
        });
    }

    /// The next that is lost.
    pub(super) fn next_lost(&mut self) -> Option<Event<'static>> {
        Some(match self.lost.pop_front()? {
            Lost::Asked(asked, why) => {
                self.lost_asked = self.lost_asked.saturating_sub(1);
                Event::AckLost { asked, why }
            }
            Lost::Owed(owed, why) => Event::OwedLost { owed, why },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::limits::ENTRY_BYTES;

    #[test]
    fn an_entry_takes_no_more_than_is_accounted_for() {
        assert!(size_of::<Frame>() <= ENTRY_BYTES);
        assert!(size_of::<(u64, Owing)>() + MAX_DIGITS + size_of::<Lost>() <= ENTRY_BYTES);
    }
}
