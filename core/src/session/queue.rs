//! The two bounded queues of a subscription.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::event::SendError;
use super::limits::Limits;

/// Frames that wait to be sent, first in, first out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frames {
    frames: VecDeque<Box<str>>,
    bytes: usize,
}

impl Frames {
    pub(super) fn push(&mut self, frame: &str, limits: &Limits) -> Result<(), SendError> {
        let limit = limits.max_outbox_bytes();
        if frame.len() > limit {
            let bytes = frame.len();
            return Err(SendError::TooLong { bytes, limit });
        }
        let bytes = self.bytes.saturating_add(frame.len());
        if self.frames.len() >= limits.max_outbox_frames() || bytes > limit {
            return Err(SendError::Full);
        }
        self.bytes = bytes;
        self.frames.push_back(frame.into());
        Ok(())
    }

    pub(super) fn front(&self) -> Option<&str> {
        self.frames.front().map(|frame| &**frame)
    }

    pub(super) fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

/// A request of the server that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    id: Box<str>,
    /// The input that an answer may leave as it is; raw JSON.
    input: Box<str>,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.id.len().saturating_add(self.input.len())
    }
}

/// The requests that wait for answers, oldest first, and those of an earlier connection that
/// the caller has not been told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    waiting: VecDeque<Pending>,
    dropped: VecDeque<Pending>,
    bytes: usize,
}

impl Requests {
    /// Whether it was taken. An id that already waits, or that an earlier connection left, is
    /// asked anew.
    pub(super) fn insert(&mut self, id: &str, input: &str, limits: &Limits) -> bool {
        self.remove(id);
        if let Some(at) = self.dropped.iter().position(|entry| *entry.id == *id) {
            self.release(at, true);
        }
        let entry = Pending {
            id: id.into(),
            input: input.into(),
        };
        let count = self.waiting.len().saturating_add(self.dropped.len());
        let bytes = self.bytes.saturating_add(entry.bytes());
        if count >= limits.max_pending_requests() || bytes > limits.max_pending_bytes() {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back(entry);
        true
    }

    /// The input of the request `id`, if it waits.
    pub(super) fn input(&self, id: &str) -> Option<&str> {
        let mut waiting = self.waiting.iter();
        waiting
            .find(|entry| *entry.id == *id)
            .map(|entry| &*entry.input)
    }

    /// Whether it waited.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let at = self.waiting.iter().position(|entry| *entry.id == *id);
        at.is_some_and(|at| self.release(at, false).is_some())
    }

    /// All that wait came over a connection that is gone.
    pub(super) fn drop_all(&mut self) {
        self.dropped.append(&mut self.waiting);
    }

    /// The next one that was dropped.
    pub(super) fn next_dropped(&mut self) -> Option<Box<str>> {
        self.release(0, true).map(|entry| entry.id)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn release(&mut self, at: usize, dropped: bool) -> Option<Pending> {
        let queue = if dropped {
            &mut self.dropped
        } else {
            &mut self.waiting
        };
        let entry = queue.remove(at)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_no_more_than_is_accounted_for() {
        assert!(size_of::<Pending>() <= super::super::limits::ENTRY_BYTES);
        assert!(size_of::<Box<str>>() <= super::super::limits::ENTRY_BYTES);
    }
}
