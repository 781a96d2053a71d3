//! Frames to bytes: what waits to be written, bounded.

use alloc::vec::Vec;
use core::fmt;

use crate::limits::Limits;
use crate::wipe::wipe;

/// The frame does not fit; nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutboxFull;

impl fmt::Display for OutboxFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output queue is full")
    }
}

impl core::error::Error for OutboxFull {}

/// Memory above this is given back when the outbox runs empty, in bytes.
const KEPT_BYTES: usize = 8_192;

/// Bytes waiting to be written, oldest first. A write may take any prefix of
/// [`Outbox::pending`]; a write that was cancelled loses nothing.
///
/// What it held is wiped when its memory is given back: a client's frames carry the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outbox {
    max: usize,
    buffer: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// An outbox of at most `max` bytes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            max,
            buffer: Vec::new(),
            written: 0,
        }
    }

    /// The most memory that a server connection's outbox holds, in bytes, but for the room that
    /// its one error frame may take.
    pub(crate) const fn worst_case_bytes(limits: &Limits) -> usize {
        limits.max_outbox_bytes()
    }

    /// Adds `parts` as one run of bytes, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`OutboxFull`] when they do not fit; the outbox is unchanged.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<(), OutboxFull> {
        let length = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if length > self.room() {
            return Err(OutboxFull);
        }
        self.reserve(length);
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        Ok(())
    }

    /// How many bytes still fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.max.saturating_sub(self.len())
    }

    /// How many bytes are waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.buffer.len().saturating_sub(self.written)
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that is waiting.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.written..).unwrap_or_default()
    }

    /// Takes the first `n` bytes of [`Outbox::pending`] as written. More than it had are not
    /// counted.
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.written = self.written.saturating_add(n).min(self.buffer.len());
        if self.written == self.buffer.len() {
            self.written = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEPT_BYTES {
                self.discard();
            }
        }
    }

    /// Forgets all that is waiting.
    pub fn discard(&mut self) {
        wipe(&mut self.buffer);
        self.buffer = Vec::new();
        self.written = 0;
    }

    /// Makes room behind what is waiting: by moving it to the front where that frees at least
    /// half the buffer or where the buffer cannot grow, else by growing, never beyond `max`.
    fn reserve(&mut self, length: usize) {
        let capacity = self.buffer.capacity();
        if self.buffer.len().saturating_add(length) <= capacity {
            return;
        }
        let needed = self.len().saturating_add(length);
        if needed <= capacity && (self.written >= self.len() || capacity >= self.max) {
            self.buffer.drain(..self.written);
        } else {
            let size = capacity.saturating_mul(2).max(needed).min(self.max);
            let mut grown = Vec::new();
            grown.reserve_exact(size);
            grown.extend_from_slice(self.pending());
            wipe(&mut self.buffer);
            self.buffer = grown;
        }
        self.written = 0;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        wipe(&mut self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_whatever_the_writes() {
        for step in 1..=7 {
            let mut outbox = Outbox::new(64);
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            for round in 0..200_u8 {
                let part = [round; 5];
                if outbox.push(&[&part, b"\n"]).is_ok() {
                    expected.extend_from_slice(&part);
                    expected.push(b'\n');
                }
                let n = outbox.pending().len().min(step);
                got.extend_from_slice(&outbox.pending()[..n]);
                outbox.consume(n);
                assert!(outbox.buffer.capacity() <= 64);
            }
            got.extend_from_slice(outbox.pending());
            assert_eq!(got, expected, "step {step}");
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut outbox = Outbox::new(8);
        assert_eq!(outbox.push(&[b"12345", b"678"]), Ok(()));
        assert_eq!(outbox.room(), 0);
        let before = outbox.clone();
        assert_eq!(outbox.push(&[b"9"]), Err(OutboxFull));
        assert_eq!(outbox, before);
        outbox.consume(1);
        assert_eq!(outbox.push(&[b"99"]), Err(OutboxFull));
        assert_eq!(outbox.push(&[b"9"]), Ok(()));
        assert_eq!(outbox.pending(), b"23456789");
        assert_eq!(outbox.len(), 8);
        assert!(!outbox.is_empty());
        assert_eq!(alloc::format!("{OutboxFull}"), "the output queue is full");
    }

    #[test]
    fn memory_stays_bounded_and_is_given_back() {
        let mut outbox = Outbox::new(65_536);
        while outbox.push(&[&[b'x'; 100]]).is_ok() {
            assert!(outbox.buffer.capacity() <= 65_536);
        }
        assert!(outbox.room() < 100);
        outbox.consume(outbox.len());
        assert!(outbox.is_empty());
        assert!(outbox.buffer.capacity() <= KEPT_BYTES);
        outbox.push(&[b"y"]).unwrap();
        outbox.discard();
        assert_eq!(outbox.buffer.capacity(), 0);
        assert_eq!(outbox.pending(), b"");
    }

    /// An outbox that was given `first` bytes, of which `written` are gone, and then `more`.
    fn after(max: usize, first: usize, written: usize, more: usize) -> Outbox {
        let mut outbox = Outbox::new(max);
        outbox.push(&[&alloc::vec![b'a'; first]]).unwrap();
        outbox.consume(written);
        outbox.push(&[&alloc::vec![b'b'; more]]).unwrap();
        let mut expected = alloc::vec![b'a'; first - written];
        expected.resize(first - written + more, b'b');
        assert_eq!(outbox.pending(), expected);
        outbox
    }

    #[test]
    fn room_in_front_is_used_where_that_is_cheap_or_all_there_is() {
        for (max, first, written, more, capacity, why) in [
            (400, 100, 10, 0, 100, "nothing to make room for"),
            (400, 100, 60, 60, 100, "most was written: moved"),
            (400, 100, 50, 50, 100, "half was written: moved"),
            (400, 100, 49, 49, 200, "less was written: doubled"),
            (400, 100, 60, 61, 200, "it does not fit: doubled"),
            (400, 100, 60, 300, 340, "twice is not enough: as needed"),
            (150, 100, 60, 61, 150, "never beyond the bound"),
            (100, 100, 10, 10, 100, "at the bound: moved"),
        ] {
            let outbox = after(max, first, written, more);
            assert_eq!(outbox.buffer.capacity(), capacity, "{why}");
        }
    }

    #[test]
    fn an_empty_outbox_keeps_its_first_memory_and_no_more() {
        for (bytes, kept) in [(KEPT_BYTES, KEPT_BYTES), (KEPT_BYTES + 1, 0)] {
            let mut outbox = Outbox::new(65_536);
            outbox.push(&[&alloc::vec![b'x'; bytes]]).unwrap();
            outbox.consume(bytes);
            assert_eq!(outbox.buffer.capacity(), kept);
        }
    }
}
