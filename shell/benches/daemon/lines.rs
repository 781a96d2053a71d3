//! One line sent many times over without copying it, and counting lines in what came back.
//!
//! The floor's replies and the load generator's frames are both one constant line, so what a
//! socket is owed is a number of bytes and a place inside the line.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// At least this many bytes go out in one call when so many are due.
const BLOCK_BYTES: usize = 128 * 1024;

/// How many bytes of LF-counting one narrow counter can take: a multiple of a vector, and below
/// 256.
const COUNT_BYTES: usize = 224;

/// One LF-terminated line, laid out many times in a row.
pub(crate) struct Repeated {
    block: Vec<u8>,
    line: usize,
}

/// What one socket is still owed of a [`Repeated`] line.
#[derive(Default)]
pub(crate) struct Due {
    bytes: usize,
    /// Where in the line the next byte is.
    phase: usize,
}

impl Repeated {
    /// Lays out `line`, which includes its LF.
    pub(crate) fn new(line: &[u8]) -> Self {
        let copies = BLOCK_BYTES.div_ceil(line.len().max(1));
        Self {
            block: line.repeat(copies),
            line: line.len().max(1),
        }
    }

    /// Adds `lines` whole lines to what is due.
    pub(crate) fn owe(&self, due: &mut Due, lines: usize) {
        due.bytes = due.bytes.saturating_add(lines.saturating_mul(self.line));
    }

    /// Sends as much of what is due as the socket takes without waiting; `true` when nothing is
    /// due any more.
    pub(crate) fn send(&self, socket: impl AsFd, due: &mut Due) -> Result<bool, Errno> {
        while due.bytes > 0 {
            let end = self.block.len().min(due.phase + due.bytes);
            let part = self.block.get(due.phase..end).unwrap_or_default();
            match send(&socket, part, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    due.bytes = due.bytes.saturating_sub(sent);
                    due.phase = (due.phase + sent) % self.line;
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }
}

impl Due {
    /// Whether nothing is due.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// Counts the LFs in `bytes`, in narrow counters so that the compiler makes vector code of it.
pub(crate) fn count_newlines(bytes: &[u8]) -> usize {
    bytes
        .chunks(COUNT_BYTES)
        .map(|part| usize::from(part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>()))
        .sum()
}
