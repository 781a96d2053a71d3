//! Two parts of the core alone, without a socket: the framer, and the one pass over a frame's
//! JSON.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hallway_core::local::Message;
use hallway_core::{Framer, Limits};

/// Frames between two looks at the clock.
const BATCH: usize = 180;

/// Bytes a second through the framer, in GB/s.
///
/// The framer's own buffer is filled once and committed again and again: a shell reads straight
/// into it, so bringing the bytes there is no part of the framer. That the bytes are still there
/// is checked by counting the frames.
pub(crate) fn framer(line: &[u8], span: Duration) -> Result<f64> {
    let batch = line.repeat(BATCH);
    let mut framer = Framer::new(&Limits::DEFAULT);
    fill(&mut framer, &batch)?;
    ensure!(
        frames(&mut framer)? == BATCH,
        "the framer returned another number of frames"
    );
    gigabytes(line, span, || {
        ensure!(
            framer.spare_mut().len() >= batch.len(),
            "the framer's buffer shrank"
        );
        framer.commit(batch.len());
        ensure!(
            frames(&mut framer)? == BATCH,
            "the framer returned another number of frames"
        );
        Ok(())
    })
}

/// Bytes a second through `Message::parse`, in GB/s.
pub(crate) fn parse(line: &[u8], span: Duration) -> Result<f64> {
    let frame = line.strip_suffix(b"\n").context("a frame without its LF")?;
    gigabytes(line, span, || {
        for _ in 0..BATCH {
            black_box(Message::parse(black_box(frame), &Limits::DEFAULT)?);
        }
        Ok(())
    })
}

/// Gives the framer the whole batch before any frame is taken, so that its buffer grows to hold
/// it.
fn fill(framer: &mut Framer, batch: &[u8]) -> Result<()> {
    let mut rest = batch;
    while !rest.is_empty() {
        let spare = framer.spare_mut();
        let (now, later) = rest.split_at(rest.len().min(spare.len()));
        ensure!(!now.is_empty(), "the framer has no room for {BATCH} frames");
        spare.split_at_mut(now.len()).0.copy_from_slice(now);
        framer.commit(now.len());
        rest = later;
    }
    Ok(())
}

/// Takes every complete frame there is, and counts them.
fn frames(framer: &mut Framer) -> Result<usize> {
    let mut count = 0;
    while let Some(frame) = framer.next_frame()? {
        black_box(frame);
        count += 1;
    }
    Ok(count)
}

/// Runs `batch`, of [`BATCH`] lines, for `span`.
fn gigabytes(line: &[u8], span: Duration, mut batch: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut lines = 0_usize;
    loop {
        batch()?;
        lines += BATCH;
        let elapsed = start.elapsed();
        if elapsed >= span {
            return Ok((lines * line.len()) as f64 / elapsed.as_secs_f64() / 1e9);
        }
    }
}
