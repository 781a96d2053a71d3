//! Everything up to a stated bound, against oracles that were written from the wire contract
//! and take the slow way.
//!
//! Each proof panics at the first case that differs and returns how many cases it compared.

pub mod cuts;
pub mod edges;
pub mod framer;
pub mod message;
mod oracle;
pub mod scan;

use hallway_core::Limits;

/// The least frame limit there is, in bytes.
const LIMIT: usize = 512;

/// The letters of the wire contract's framing and JSON: what ends a line, opens, closes,
/// quotes, escapes and separates, one letter, one digit, and one character of two bytes.
pub const LETTERS: &[&str] = &["{", "}", "\"", "\\", "\n", ":", ",", "a", "0", "é"];

fn limits() -> Limits {
    let limits = Limits::builder().max_frame_bytes(LIMIT).build();
    limits.expect("the limits are within their ranges")
}

/// Calls `visit` with every string of at most `most` of `letters`, the empty one included, and
/// says how many those are.
fn every(letters: &[&str], most: usize, mut visit: impl FnMut(&str)) -> u64 {
    fn extend(
        letters: &[&str],
        left: usize,
        text: &mut String,
        visit: &mut dyn FnMut(&str),
    ) -> u64 {
        visit(text);
        let mut count = 1;
        if left > 0 {
            for letter in letters {
                let length = text.len();
                text.push_str(letter);
                count += extend(letters, left - 1, text, visit);
                text.truncate(length);
            }
        }
        count
    }
    extend(letters, most, &mut String::new(), &mut visit)
}
