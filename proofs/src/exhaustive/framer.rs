//! The [`Framer`] against `split` over the whole input.

use std::collections::{BTreeSet, HashSet};

use hallway_core::{FrameTooLong, Framer, Limits};

use super::{LIMIT, limits};

/// What the framer holds before the letters come, so that its limit and the end of its buffer
/// fall among them.
const PREFIXES: &[Prefix] = &[
    Prefix::partial(0),
    Prefix::partial(LIMIT),
    Prefix::partial(LIMIT - 1),
    Prefix::partial(LIMIT - 3),
    Prefix::frame(LIMIT - 2),
    Prefix::frame(LIMIT - 4),
];

#[derive(Clone, Copy)]
struct Prefix {
    bytes: usize,
    /// Whether it is a frame, taken already, or the beginning of one.
    ended: bool,
}

impl Prefix {
    const fn partial(bytes: usize) -> Self {
        Self {
            bytes,
            ended: false,
        }
    }

    const fn frame(bytes: usize) -> Self {
        Self { bytes, ended: true }
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![b'x'; self.bytes];
        bytes.extend(self.ended.then_some(b'\n'));
        bytes
    }
}

/// What a whole input means: its frames up to the first that is too long, whether there is
/// one, and whether a part of a frame is left.
fn split(input: &[u8]) -> (Vec<&[u8]>, bool, bool) {
    let mut pieces: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let long = pieces.iter().position(|piece| piece.len() > LIMIT);
    let rest = pieces.pop().unwrap_or_default();
    let too_long = long.is_some();
    pieces.truncate(long.unwrap_or(pieces.len()));
    (pieces, too_long, !too_long && !rest.is_empty())
}

/// What one read is, and what follows it.
#[derive(Clone, Copy)]
enum Read {
    /// It goes on.
    Goes,
    /// It ends, and nothing is taken.
    Ends,
    /// It ends, all frames are taken, and the memory is given back.
    Drained,
}

/// A framer that was fed an input, and how much of it came back.
#[derive(Clone, PartialEq)]
struct Run {
    framer: Framer,
    /// How many bytes of the present read wait for its end.
    held: usize,
    /// How many frames were returned.
    frames: usize,
    too_long: bool,
}

impl Run {
    fn put(&mut self, byte: u8, due: &[&[u8]]) {
        if self.too_long {
            return;
        }
        if self.framer.spare_mut().len() <= self.held {
            // The transport has to come back after the frames were taken.
            self.end(true, due);
        }
        let held = self.held;
        let slot = self.framer.spare_mut().get_mut(held);
        match slot {
            Some(slot) => *slot = byte,
            None => assert!(self.too_long, "no room for the next byte"),
        }
        self.held += usize::from(!self.too_long);
    }

    /// Ends the read; `due` are the frames of the whole input.
    fn end(&mut self, drain: bool, due: &[&[u8]]) {
        self.framer.commit(self.held);
        self.held = 0;
        while drain && !self.too_long {
            match self.framer.next_frame() {
                Ok(Some(frame)) => {
                    assert_eq!(Some(&frame), due.get(self.frames));
                    self.frames += 1;
                }
                Ok(None) => break,
                Err(FrameTooLong { limit }) => {
                    assert_eq!(limit, LIMIT);
                    self.too_long = true;
                }
            }
        }
        if drain {
            self.framer.shrink();
        }
    }
}

/// One input in every way to read it. Ways that leave the framer in the same state go on as one,
/// which loses none: whatever follows, it does the same.
struct Ways<'a> {
    /// All of it, but for a prefix that was a frame.
    input: Vec<u8>,
    reads: &'a [Read],
}

impl Ways<'_> {
    /// The run after a prefix, and the input with it.
    fn begin(&mut self, prefix: Prefix) -> Run {
        let mut run = Run {
            framer: Framer::new(&limits()),
            held: 0,
            frames: 0,
            too_long: false,
        };
        self.input = prefix.bytes();
        let (due, ..) = split(&self.input);
        for byte in &self.input {
            run.put(*byte, &due);
        }
        run.end(true, &due);
        if prefix.ended {
            self.input.clear();
            run.frames = 0;
        }
        run
    }

    /// Compares every run over the input and over all that `most` of `letters` more make of it.
    /// The number of ways.
    fn extend(&mut self, runs: &[(Run, u64)], letters: &[&str], most: usize) -> u64 {
        let mut count = self.compare(runs);
        if most > 0 {
            for letter in letters {
                let length = self.input.len();
                let mut next = runs.to_vec();
                for byte in letter.bytes() {
                    next = self.step(&next, byte);
                }
                count += self.extend(&next, letters, most - 1);
                self.input.truncate(length);
            }
        }
        count
    }

    /// The runs after one byte more.
    fn step(&mut self, runs: &[(Run, u64)], byte: u8) -> Vec<(Run, u64)> {
        self.input.push(byte);
        let (due, ..) = split(&self.input);
        let mut next: Vec<(Run, u64)> = Vec::new();
        for (run, ways) in runs {
            for read in self.reads {
                let mut run = run.clone();
                run.put(byte, &due);
                match read {
                    Read::Goes => {}
                    Read::Ends => run.end(false, &due),
                    Read::Drained => run.end(true, &due),
                }
                match next.iter_mut().find(|(other, _)| *other == run) {
                    Some((_, all)) => *all += ways,
                    None => next.push((run, *ways)),
                }
            }
        }
        next
    }

    fn compare(&self, runs: &[(Run, u64)]) -> u64 {
        let (due, too_long, partial) = split(&self.input);
        let input = String::from_utf8_lossy(&self.input);
        let mut count = 0;
        for (run, ways) in runs {
            let mut run = run.clone();
            run.end(true, &due);
            assert_eq!(run.frames, due.len(), "frames of {input:?}");
            assert_eq!(run.too_long, too_long, "{input:?}");
            assert_eq!(run.framer.has_partial(), partial, "{input:?}");
            count += ways;
        }
        count
    }
}

/// Every string of at most `most` of `letters`, behind every prefix, in every way to cut it
/// into reads; with `idle`, also in every way to leave frames untaken between reads.
pub fn every_cut(letters: &[&str], most: usize, idle: bool) -> u64 {
    let reads: &[Read] = if idle {
        &[Read::Goes, Read::Ends, Read::Drained]
    } else {
        &[Read::Goes, Read::Drained]
    };
    let mut ways = Ways {
        input: Vec::new(),
        reads,
    };
    let all = PREFIXES.iter().map(|prefix| {
        let run = ways.begin(*prefix);
        ways.extend(&[(run, 1)], letters, most)
    });
    all.sum()
}

/// Every state that a framer can be in after reads of any number, each of any `most_read`
/// bytes of a newline and another letter, with all frames taken after each read: so every
/// input of any length over the two, cut into such reads. Returns the number of reads compared.
///
/// A state is the room that is left and the length of the frame begun; framers that agree on
/// both differ only in bytes of frames that were taken.
pub fn every_state(most_read: usize) -> u64 {
    let mut reads = BTreeSet::new();
    super::every(&["a", "\n"], most_read, |read| {
        reads.insert(read.to_owned());
    });
    reads.remove("");
    let mut seen = HashSet::new();
    let mut open = vec![(Framer::new(&limits()), 0)];
    let mut count = 0;
    while let Some((framer, begun)) = open.pop() {
        for read in &reads {
            count += 1;
            let next = follow(framer.clone(), begun, read.as_bytes());
            if let Some((mut framer, begun)) = next
                && seen.insert((framer.spare_mut().len(), begun))
            {
                open.push((framer, begun));
            }
        }
    }
    count
}

/// The framer and the length of the frame begun after one more read; `None` once a frame is
/// too long.
fn follow(mut framer: Framer, begun: usize, read: &[u8]) -> Option<(Framer, usize)> {
    let mut due: Vec<usize> = Vec::new();
    let mut length = begun;
    for byte in read {
        if *byte == b'\n' {
            due.push(length);
            length = 0;
        } else {
            length += 1;
        }
    }
    due.push(length);
    let too_long = due.iter().position(|length| *length > LIMIT);
    let rest = due.pop().unwrap_or_default();

    let mut left = read;
    let mut frames = Vec::new();
    let mut failed = false;
    while !left.is_empty() && !failed {
        let spare = framer.spare_mut();
        let n = spare.len().min(left.len());
        assert!(n > 0, "no room after {begun} bytes");
        spare
            .iter_mut()
            .zip(left)
            .for_each(|(to, from)| *to = *from);
        framer.commit(n);
        left = left.get(n..).unwrap_or_default();
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => frames.push(frame.len()),
                Ok(None) => break,
                Err(FrameTooLong { .. }) => {
                    failed = true;
                    break;
                }
            }
        }
    }
    assert_eq!(failed, too_long.is_some(), "after {begun} bytes, {read:?}");
    due.truncate(too_long.unwrap_or(due.len()));
    assert_eq!(frames, due, "after {begun} bytes, {read:?}");
    if failed {
        return None;
    }
    assert_eq!(framer.has_partial(), rest > 0);
    Some((framer, rest))
}

/// The growth of the buffer: reads of sizes around its steps, up to a limit of two of them,
/// for `most` reads. Returns the number of inputs.
pub fn every_growth(most: usize) -> u64 {
    let limit = 8_192;
    let limits = Limits::builder().max_frame_bytes(limit).build();
    let limits = limits.expect("the limits are within their ranges");
    let sizes = [1, 1_000, 4_095, 4_096, 4_097];
    let mut runs = vec![(Framer::new(&limits), Vec::new(), 0_usize)];
    let mut count = 0;
    for _ in 0..most {
        let mut next = Vec::new();
        for (framer, input, taken) in runs {
            for size in sizes {
                for ended in [false, true] {
                    let mut read = vec![b'a'; size - usize::from(ended)];
                    read.extend(ended.then_some(b'\n'));
                    let input = [input.as_slice(), &read].concat();
                    count += 1;
                    let run = grow(framer.clone(), &read, &input, taken, limit);
                    next.extend(run.map(|(framer, taken)| (framer, input, taken)));
                }
            }
        }
        runs = next;
    }
    count
}

fn grow(
    mut framer: Framer,
    read: &[u8],
    input: &[u8],
    taken: usize,
    limit: usize,
) -> Option<(Framer, usize)> {
    let mut taken = taken;
    let mut left = read;
    let ends = |byte: &u8| *byte == b'\n';
    let pieces: Vec<&[u8]> = input.split(ends).collect();
    loop {
        match framer.next_frame() {
            Ok(Some(frame)) => {
                assert_eq!(Some(&frame), pieces.get(taken));
                taken += 1;
                continue;
            }
            Ok(None) => {}
            Err(FrameTooLong { .. }) => {
                assert!(pieces.iter().any(|piece| piece.len() > limit));
                return None;
            }
        }
        if left.is_empty() {
            break;
        }
        let spare = framer.spare_mut();
        let n = spare.len().min(left.len());
        assert!(n > 0 && spare.len() <= limit + 1, "room {}", spare.len());
        spare
            .iter_mut()
            .zip(left)
            .for_each(|(to, from)| *to = *from);
        framer.commit(n);
        left = left.get(n..).unwrap_or_default();
    }
    assert_eq!(taken + 1, pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() <= limit));
    framer.shrink();
    Some((framer, taken))
}
