//! The order of names: that of the reference's `localeCompare` in the root locale, for what
//! file names are mostly made of. Letters of other scripts are in the order of their code
//! points.

use std::cmp::Ordering;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// What is not a letter or a digit comes before them, in this order.
const MARKS: &str = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";

/// Compares by letters, then by accents, then by case.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    letters(one)
        .cmp(letters(other))
        .then_with(|| accents(one).cmp(accents(other)))
        .then_with(|| cases(one).cmp(cases(other)))
        .then_with(|| one.cmp(other))
}

fn letters(text: &str) -> impl Iterator<Item = (usize, char)> {
    let base = text.nfd().filter(|c| !is_combining_mark(*c));
    base.flat_map(char::to_lowercase).map(|c| {
        let rank = match MARKS.find(c) {
            _ if c.is_whitespace() => 0,
            Some(place) => place + 1,
            None if c.is_numeric() => MARKS.len() + 1,
            None if c.is_alphabetic() => MARKS.len() + 2,
            None => MARKS.len(),
        };
        (rank, c)
    })
}

/// For each letter its accents.
fn accents(text: &str) -> impl Iterator<Item = Option<char>> {
    text.nfd().map(|c| is_combining_mark(c).then_some(c))
}

/// Lower case comes first.
fn cases(text: &str) -> impl Iterator<Item = bool> {
    text.nfd()
        .filter(|c| !is_combining_mark(*c))
        .map(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_reference() {
        // As Node 22 sorts them by localeCompare.
        let sorted = [
            "_a", "-a", ".a", "1", "10", "2", "a", "A", "á", "a b", "a_b", "a-b", "a.b", "a@b",
            "a#b", "a+b", "a~b", "a$b", "a1", "ab", "abc", "Abc", "ábc", "abd", "b", "B", "e", "é",
            "f", "n", "ñ", "o", "resume", "Resume", "résumé", "Z", "ж",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (to, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&to), "{one} {other}");
            }
        }
    }
}
