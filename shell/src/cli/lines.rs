//! Standard input, line by line.

use hallway_core::local::message::is_blank;
use hallway_core::{FrameTooLong, Framer, Limits};
use tokio::io::AsyncReadExt as _;

use super::error::{Exit, Failed};

/// The lines of standard input, none longer than a frame may be.
pub(super) struct Lines {
    stdin: tokio::io::Stdin,
    framer: Framer,
    number: u64,
    pub(super) ended: bool,
    /// Whether it ended before its end.
    pub(super) cut: bool,
}

impl Lines {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            stdin: tokio::io::stdin(),
            framer: Framer::new(limits),
            number: 0,
            ended: false,
            cut: false,
        }
    }

    /// The number of the next line that is not blank, and its text, or why it has none; `None`
    /// at the end. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<(u64, Result<String, Failed>)> {
        loop {
            match self.framer.next_frame() {
                Ok(Some(frame)) => {
                    self.number += 1;
                    if !is_blank(frame) {
                        let text = std::str::from_utf8(frame).map(str::to_owned);
                        let number = self.number;
                        return Some((number, text.map_err(|_| not_utf8(number))));
                    }
                    continue;
                }
                Ok(None) if self.ended => return None,
                Ok(None) => {}
                // Where the next line begins is not known.
                Err(error) => return Some(self.end_with(|number| too_long(number, error))),
            }
            match self.stdin.read(self.framer.spare_mut()).await {
                Ok(0) => {
                    self.ended = true;
                    // The last line may lack its newline.
                    if let Some(byte) = self.framer.spare_mut().first_mut() {
                        *byte = b'\n';
                        self.framer.commit(1);
                    }
                }
                Ok(read) => self.framer.commit(read),
                Err(error) => return Some(self.end_with(|_| unreadable(error))),
            }
        }
    }

    /// Fails the next line, after which there is none.
    fn end_with(&mut self, why: impl FnOnce(u64) -> Failed) -> (u64, Result<String, Failed>) {
        (self.ended, self.cut) = (true, true);
        self.number += 1;
        (self.number, Err(why(self.number)))
    }
}

fn too_long(number: u64, error: FrameTooLong) -> Failed {
    Failed::new(
        Exit::Usage,
        format!(
            "line {number} is too long; a frame may have {} bytes; send a path to a file instead",
            error.limit
        ),
    )
}

fn not_utf8(number: u64) -> Failed {
    Failed::new(
        Exit::Usage,
        format!("line {number} is not UTF-8; JSON cannot carry it; escape it"),
    )
}

pub(super) fn unreadable(error: std::io::Error) -> Failed {
    Failed::new(
        Exit::Failed,
        format!("standard input cannot be read; {error}; give the text as an argument"),
    )
}
