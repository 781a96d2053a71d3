//! Bytes to frames: splits a stream on the byte 0x0A alone (local.md §3).
//!
//! ```text
//!                spare_mut + commit
//!   [ consumed | frames, oldest first | partial frame | spare ]
//!              start               scanned          end
//! ```
//!
//! The buffer starts empty, doubles while reads fill it, never grows beyond one longest frame
//! with its newline, and is given back by [`Framer::shrink`] when a burst is over. One large
//! buffer can serve many framers, lent to whichever reads ([`Framer::lend`]).

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::limits::Limits;
use crate::wipe::wipe;

/// The size of the buffer's first allocation, in bytes.
const INITIAL_BYTES: usize = 4_096;

/// A frame exceeded the limit. Sticky: the stream has no further frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameTooLong {
    /// The longest frame allowed, in bytes.
    pub limit: usize,
}

impl FrameTooLong {
    /// How many bytes of the frame had been seen when it was refused: one more than allowed,
    /// however they were cut into reads.
    #[must_use]
    pub const fn seen(self) -> usize {
        self.limit.saturating_add(1)
    }
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NDJSON frame exceeded {} bytes ({})",
            self.limit,
            self.seen()
        )
    }
}

impl core::error::Error for FrameTooLong {}

/// Splits a byte stream into newline-terminated frames of bounded length.
///
/// Whatever it held is wiped when its memory is given back: frames carry tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Framer {
    max_frame: usize,
    buffer: Vec<u8>,
    /// Where the oldest frame not yet returned begins.
    start: usize,
    /// Before here, from `start`, there is no newline.
    scanned: usize,
    /// Where the received bytes end.
    end: usize,
    /// More was received since the stream paused than the first buffer holds.
    busy: bool,
    too_long: bool,
}

impl Framer {
    /// A framer for frames of at most [`Limits::max_frame_bytes`].
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self {
            max_frame: limits.max_frame_bytes(),
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            end: 0,
            busy: false,
            too_long: false,
        }
    }

    /// The most memory that a framer holds, in bytes.
    pub(crate) const fn worst_case_bytes(limits: &Limits) -> usize {
        limits.max_frame_bytes().saturating_add(1)
    }

    /// Where the next bytes of the stream go. Empty while frames wait to be taken and there is
    /// no room behind them, and for ever after a frame was too long.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        if self.too_long {
            return &mut [];
        }
        if self.end == self.buffer.len() {
            self.make_room();
        } else if self.start == self.end {
            self.forget();
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes the first `n` bytes of [`Framer::spare_mut`] as received. More than it had are not
    /// counted.
    pub fn commit(&mut self, n: usize) {
        debug_assert!(n <= self.buffer.len().saturating_sub(self.end));
        if !self.too_long {
            self.end = self.end.saturating_add(n).min(self.buffer.len());
            self.busy |= self.end > INITIAL_BYTES;
        }
    }

    /// The next complete frame, without its newline; `None` until there is one.
    ///
    /// # Errors
    ///
    /// [`FrameTooLong`] once a frame has more bytes than allowed, whether or not its newline
    /// came; and ever after.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLong> {
        self.next_range()
            .map(|found| found.map(|range| self.frame(range)))
    }

    /// Where the next complete frame stands; valid until the next call with `&mut self`.
    pub(crate) fn next_range(&mut self) -> Result<Option<Range<usize>>, FrameTooLong> {
        let too_long = FrameTooLong {
            limit: self.max_frame,
        };
        if self.too_long {
            return Err(too_long);
        }
        let from = self.scanned.max(self.start);
        if from == self.end {
            return Ok(None);
        }
        let fresh = self.buffer.get(from..self.end).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', fresh) else {
            self.scanned = self.end;
            if self.end.saturating_sub(self.start) > self.max_frame {
                self.fail();
                return Err(too_long);
            }
            return Ok(None);
        };
        let newline = from.saturating_add(at);
        let begin = self.start;
        // The buffer has room for the longest frame and its newline, and for no more.
        debug_assert!(newline.saturating_sub(begin) <= self.max_frame);
        self.start = newline.saturating_add(1);
        self.scanned = self.start;
        Ok(Some(begin..newline))
    }

    /// The frame at a place that [`Framer::next_range`] returned.
    pub(crate) fn frame(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Whether bytes of a frame without its newline are waiting. Exact once
    /// [`Framer::next_frame`] returned `None`.
    #[must_use]
    pub const fn has_partial(&self) -> bool {
        self.start < self.end
    }

    /// Gives the memory back when nothing is waiting in it, it grew beyond its first size, and
    /// little was received since this was last called. To be called when the stream pauses: what
    /// a burst took is kept for the next one, and given back when there is none.
    pub fn shrink(&mut self) {
        let was_busy = core::mem::take(&mut self.busy);
        if !was_busy && self.start == self.end && self.buffer.len() > INITIAL_BYTES {
            self.discard();
        }
    }

    /// Whether it has no memory of its own, and would take some for the next bytes.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.buffer.capacity() == 0 && !self.too_long
    }

    /// Reads into `buffer` from now on, in place of memory of its own. What is larger than a
    /// framer's largest buffer is cut. Given back unused by one that [is not
    /// bare](Framer::is_bare).
    ///
    /// # Errors
    ///
    /// The buffer.
    pub fn lend(&mut self, mut buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        if !self.is_bare() {
            return Err(buffer);
        }
        buffer.truncate(self.max_frame.saturating_add(1));
        self.buffer = buffer;
        Ok(())
    }

    /// Gives the memory to be lent to another, not wiped, when nothing is waiting in it.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        if self.start < self.end || self.buffer.is_empty() {
            return None;
        }
        self.forget();
        self.busy = false;
        Some(core::mem::take(&mut self.buffer))
    }

    /// Begins anew, with the memory that it has.
    pub(crate) const fn restart(&mut self) {
        self.forget();
        self.too_long = false;
    }

    const fn forget(&mut self) {
        self.start = 0;
        self.scanned = 0;
        self.end = 0;
    }

    /// Forgets everything received and gives the memory back.
    pub fn discard(&mut self) {
        self.replace_buffer(Vec::new());
        self.forget();
    }

    fn fail(&mut self) {
        self.discard();
        self.too_long = true;
    }

    /// Doubles a buffer that reads have filled, up to its limit; there, moves what is waiting to
    /// the front. That is put off while whole frames wait, unless it frees half the buffer: a
    /// peer must not have much moved for each small frame.
    fn make_room(&mut self) {
        let most = self.max_frame.saturating_add(1);
        let length = self.buffer.len();
        if length < most {
            let size = length
                .saturating_mul(2)
                .clamp(INITIAL_BYTES.min(most), most);
            let mut grown = Vec::new();
            grown.reserve_exact(size);
            grown.extend_from_slice(self.waiting());
            grown.resize(size, 0);
            self.replace_buffer(grown);
        } else if self.scanned == self.end || self.start >= length / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            return;
        }
        self.scanned = self.scanned.saturating_sub(self.start);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn replace_buffer(&mut self, buffer: Vec<u8>) {
        wipe(&mut self.buffer);
        self.buffer = buffer;
    }
}

impl Drop for Framer {
    fn drop(&mut self) {
        wipe(&mut self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 512;

    fn framer() -> Framer {
        Framer::new(&Limits::builder().max_frame_bytes(MAX).build().unwrap())
    }

    /// Feeds `bytes` in reads of at most `cut` bytes; the frames, and whether one was too long.
    fn run(framer: &mut Framer, bytes: &[u8], cut: usize) -> (Vec<Vec<u8>>, bool) {
        let mut frames = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = framer.spare_mut();
            let n = rest.len().min(cut).min(spare.len());
            assert!(n > 0, "no room for the next byte");
            spare[..n].copy_from_slice(&rest[..n]);
            framer.commit(n);
            rest = &rest[n..];
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(FrameTooLong { limit }) => {
                        assert_eq!(limit, MAX);
                        return (frames, true);
                    }
                }
            }
        }
        (frames, false)
    }

    /// Covers: L3.1
    #[test]
    fn splits_on_newlines_alone_however_cut() {
        let bytes = b"a\r\n\n{\"\xf0\x9f\x98\x80\"}\n\x00\n partial";
        for cut in 1..=bytes.len() {
            let mut framer = framer();
            let (frames, too_long) = run(&mut framer, bytes, cut);
            assert_eq!(
                frames,
                [&b"a\r"[..], b"", b"{\"\xf0\x9f\x98\x80\"}", b"\x00"],
                "cut {cut}"
            );
            assert!(!too_long);
            assert!(framer.has_partial());
        }
    }

    /// Covers: L1.1
    #[test]
    fn the_limit_counts_all_but_the_newline_however_cut() {
        for cut in [1, 7, 511, 512, 513, 600] {
            for (length, accepted) in [(511, true), (512, true), (513, false), (2_000, false)] {
                let mut bytes = alloc::vec![b'x'; length];
                let (frames, too_long) = run(&mut framer(), &bytes, cut);
                assert!(frames.is_empty());
                assert_eq!(too_long, !accepted, "{length} without newline, cut {cut}");
                bytes.push(b'\n');
                let (frames, too_long) = run(&mut framer(), &bytes, cut);
                assert_eq!(frames.len(), usize::from(accepted));
                assert_eq!(too_long, !accepted, "{length} with newline, cut {cut}");
            }
        }
    }

    #[test]
    fn frames_before_one_that_is_too_long_are_returned() {
        let mut bytes = b"one\ntwo\n".to_vec();
        bytes.extend_from_slice(&[b'x'; 600]);
        bytes.extend_from_slice(b"\nthree\n");
        for cut in [1, 100, 513, 1_000] {
            let (frames, too_long) = run(&mut framer(), &bytes, cut);
            assert_eq!(frames, [b"one", b"two"].map(|f| &f[..f.len()]));
            assert!(too_long, "cut {cut}");
        }
    }

    #[test]
    fn too_long_is_sticky_and_takes_nothing_more() {
        let mut framer = framer();
        assert!(run(&mut framer, &[b'x'; 513], 513).1);
        assert!(framer.spare_mut().is_empty());
        framer.commit(0);
        assert_eq!(framer.next_frame(), Err(FrameTooLong { limit: MAX }));
        assert!(!framer.has_partial());
        assert_eq!(
            alloc::format!("{}", FrameTooLong { limit: MAX }),
            "NDJSON frame exceeded 512 bytes (513)"
        );
    }

    #[test]
    fn the_buffer_grows_to_its_bound_and_shrinks_when_empty() {
        let limits = Limits::DEFAULT;
        let mut framer = Framer::new(&limits);
        assert_eq!(framer.buffer.capacity(), 0);
        assert_eq!(framer.spare_mut().len(), INITIAL_BYTES);
        let mut sizes = alloc::vec![];
        for _ in 0..65_536 {
            framer.spare_mut()[0] = b'x';
            framer.commit(1);
            assert_eq!(framer.next_frame(), Ok(None));
            if sizes.last() != Some(&framer.buffer.capacity()) {
                sizes.push(framer.buffer.capacity());
            }
        }
        assert_eq!(sizes, [4_096, 8_192, 16_384, 32_768, 65_536]);
        framer.shrink();
        assert!(framer.has_partial(), "shrinking lost bytes");
        framer.spare_mut()[0] = b'\n';
        framer.commit(1);
        assert_eq!(framer.buffer.capacity(), Framer::worst_case_bytes(&limits));
        assert_eq!(framer.next_frame().unwrap().unwrap().len(), 65_536);
        framer.shrink();
        assert_eq!(framer.spare_mut().len(), 65_537, "kept after a burst");
        framer.spare_mut()[..4_096].fill(b'\n');
        framer.commit(4_096);
        while framer.next_frame() != Ok(None) {}
        framer.shrink();
        assert_eq!(framer.buffer.capacity(), 0, "given back after a pause");
        assert_eq!(framer.spare_mut().len(), INITIAL_BYTES);
        framer.shrink();
        assert_eq!(framer.buffer.len(), INITIAL_BYTES, "the first size is kept");
    }

    #[test]
    fn a_lent_buffer_is_read_into_and_comes_back_when_nothing_waits() {
        let mut framer = framer();
        assert!(framer.is_bare());
        assert_eq!(framer.reclaim(), None);
        framer.lend(alloc::vec![0; 4 * MAX]).unwrap();
        assert!(!framer.is_bare());
        assert_eq!(framer.lend(alloc::vec![1]), Err(alloc::vec![1]));
        assert_eq!(framer.spare_mut().len(), MAX + 1, "no more than its own");
        framer.spare_mut()[..4].copy_from_slice(b"a\nbc");
        framer.commit(4);
        assert_eq!(framer.next_frame(), Ok(Some(&b"a"[..])));
        assert_eq!(framer.reclaim(), None, "a partial frame waits");
        framer.spare_mut()[0] = b'\n';
        framer.commit(1);
        assert_eq!(framer.next_frame(), Ok(Some(&b"bc"[..])));
        let buffer = framer.reclaim().unwrap();
        assert_eq!(buffer.len(), MAX + 1);
        assert_eq!(framer, self::framer());
        framer.lend(buffer).unwrap();
        assert_eq!(framer.next_frame(), Ok(None), "it holds nothing");
        framer.spare_mut().fill(b'x');
        framer.commit(MAX + 1);
        assert!(framer.next_frame().is_err());
        assert!(!framer.is_bare() && framer.reclaim().is_none());
        assert!(framer.lend(alloc::vec![0; 8]).is_err());
    }

    #[test]
    fn unread_frames_leave_no_room_until_half_of_them_are_taken() {
        let mut framer = framer();
        let spare = framer.spare_mut();
        assert_eq!(spare.len(), MAX + 1);
        spare.fill(b'\n');
        framer.commit(MAX + 1);
        for _ in 0..MAX / 2 {
            assert!(framer.spare_mut().is_empty());
            assert_eq!(framer.next_frame(), Ok(Some(&b""[..])));
        }
        assert_eq!(framer.spare_mut().len(), MAX / 2);
        for _ in 0..=MAX / 2 {
            assert_eq!(framer.next_frame(), Ok(Some(&b""[..])));
        }
        assert_eq!(framer.next_frame(), Ok(None));
        assert!(!framer.has_partial());
        assert_eq!(framer.spare_mut().len(), MAX + 1);
    }

    #[test]
    fn a_partial_frame_moves_to_the_front_of_a_full_buffer() {
        let mut framer = framer();
        let spare = framer.spare_mut();
        spare.fill(b'x');
        spare[0] = b'\n';
        framer.commit(MAX + 1);
        assert_eq!(framer.next_frame(), Ok(Some(&b""[..])));
        assert!(
            framer.spare_mut().is_empty(),
            "there may be whole frames behind"
        );
        assert_eq!(framer.next_frame(), Ok(None));
        assert_eq!(framer.spare_mut().len(), 1);
        framer.spare_mut()[0] = b'\n';
        framer.commit(1);
        assert_eq!(framer.next_frame(), Ok(Some(&[b'x'; MAX][..])));
    }

    #[test]
    fn a_busy_stream_has_a_larger_buffer() {
        let mut framer = Framer::new(&Limits::DEFAULT);
        for expected in [4_096, 8_192, 16_384, 32_768, 65_536, 65_537, 65_537] {
            let spare = framer.spare_mut();
            assert_eq!(spare.len(), expected);
            spare.fill(b'\n');
            framer.commit(expected);
            while framer.next_frame().unwrap().is_some() {}
        }
    }
}
