use hallway_core::{FrameTooLong, Framer};

use super::{FIELDS, footprint, plan};
use crate::model::frames::{Lines, split};
use crate::model::generate;
use crate::model::source::Source;

/// What a framer keeps when nothing waits in it and little came, in bytes.
const KEPT: usize = 4_096;

/// The framer returns the lines of the whole input, however it is cut and whenever frames are
/// taken, none late; a line that is too long is the last thing it says; it never holds more
/// than one longest frame with its newline.
///
/// # Panics
///
/// When it does not.
pub fn check_framer(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let rules = generate::rules(&mut plan);
    let mut input = if plan.once_in(3) {
        source.rest().to_vec()
    } else {
        generate::stream(&mut source, &rules)
    };
    let limits = if plan.once_in(16) {
        input = generate::repeated(&input);
        generate::wide_limits()
    } else {
        rules.limits
    };
    let limit = limits.max_frame_bytes();
    let mut run = Run {
        framer: Framer::new(&limits),
        expected: split(&input, limit),
        limit,
        fed: 0,
        known: 0,
        frames: 0,
        too_long: false,
    };
    // How much was fed when it was last given a pause with nothing waiting.
    let mut paused = 0;
    for cut in generate::cuts(&mut plan, input.len()) {
        let mut rest = &input[run.fed..(run.fed + cut).min(input.len())];
        while !rest.is_empty() && !run.too_long {
            rest = &rest[run.feed(rest)..];
            // Frames are taken at once, or one, or none as long as there is room.
            for _ in 0..plan.pick(&[usize::MAX, 1, 0]) {
                if !run.take() {
                    break;
                }
            }
            if plan.once_in(4) {
                run.framer.shrink();
                if !run.framer.has_partial() && !run.too_long {
                    // What a burst took may be kept for another one.
                    let was_quiet = run.fed - paused <= KEPT;
                    let kept = footprint(&run.framer) > KEPT + FIELDS;
                    assert!(!(kept && was_quiet), "memory is kept");
                    paused = run.fed;
                    if run.fed % 2 == 1 {
                        lend_again(&mut run.framer, limit);
                    }
                }
            }
            assert!(footprint(&run.framer) <= limit + 1 + FIELDS);
        }
    }
    while run.take() {}
    assert_eq!(run.frames, run.expected.lines.len());
    assert_eq!(run.too_long, run.expected.too_long.is_some());
    check_ended(run.framer, run.too_long);
}

struct Run<'a> {
    framer: Framer,
    expected: Lines<'a>,
    limit: usize,
    fed: usize,
    /// How many lines have their newline among what was fed.
    known: usize,
    /// How many frames were taken.
    frames: usize,
    too_long: bool,
}

impl Run<'_> {
    /// Feeds what there is room for, which is something as soon as no frame is left.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.framer.spare_mut().is_empty() {
            while self.take() {}
            if self.too_long {
                return 0;
            }
        }
        let waiting = self.fed - self.taken_bytes();
        let spare = self.framer.spare_mut();
        assert!(!spare.is_empty(), "neither room nor a frame");
        assert!(waiting + spare.len() <= self.limit + 1, "too much is held");
        let n = spare.len().min(bytes.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        self.framer.commit(n);
        self.fed += n;
        let fresh = self.expected.lines[self.known..].iter();
        self.known += fresh.take_while(|line| line.1 <= self.fed).count();
        n
    }

    /// Takes a frame, if there is one.
    fn take(&mut self) -> bool {
        match self.framer.next_frame() {
            Ok(Some(frame)) => {
                assert_eq!(frame, self.expected.lines[self.frames].0);
                self.frames += 1;
                return true;
            }
            Ok(None) => {
                assert_eq!(self.frames, self.known, "a frame is there and not returned");
                assert_eq!(self.framer.has_partial(), self.taken_bytes() < self.fed);
                let too_long = self.expected.too_long.is_some_and(|at| at < self.fed);
                assert!(!too_long, "refused too late");
            }
            Err(error) => {
                assert_eq!(error, FrameTooLong { limit: self.limit });
                let too_long = self.expected.too_long.is_some_and(|at| at < self.fed);
                assert!(too_long, "refused too early");
                self.too_long = true;
            }
        }
        false
    }

    fn taken_bytes(&self) -> usize {
        self.expected.lines[..self.frames]
            .last()
            .map_or(0, |line| line.1)
    }
}

/// What it reads into is lent elsewhere, and it is lent what another had frames in.
fn lend_again(framer: &mut Framer, limit: usize) {
    let before = footprint(framer);
    let taken = framer.reclaim().map_or(0, |buffer| buffer.len());
    assert!(framer.is_bare() && framer.reclaim().is_none());
    assert_eq!(footprint(framer) + taken, before);
    framer.lend(vec![b'\n'; limit + 10]).expect("it is bare");
    assert!(framer.lend(vec![b'\n'; 1]).is_err());
}

/// Terminal is terminal; and a framer that forgot is as good as new, unless it was terminal.
fn check_ended(mut framer: Framer, too_long: bool) {
    if too_long {
        let before = framer.clone();
        assert!(framer.spare_mut().is_empty());
        framer.commit(0);
        framer.shrink();
        assert!(framer.next_frame().is_err() && !framer.has_partial());
        framer.discard();
        assert_eq!(framer, before, "too long stays too long");
    } else {
        framer.discard();
        assert!(
            !framer.has_partial() && footprint(&framer) <= FIELDS,
            "memory is kept"
        );
        framer.spare_mut()[..2].copy_from_slice(b"a\n");
        framer.commit(2);
        assert_eq!(framer.next_frame(), Ok(Some(&b"a"[..])));
        assert_eq!(framer.next_frame(), Ok(None));
    }
}
