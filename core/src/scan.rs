//! One pass over a JSON text (RFC 8259): what stands where, and whether it is JSON at all.
//!
//! Nothing is decoded and nothing is copied. Nesting costs a bit a level, so that depth is the
//! caller's to bound.

use alloc::vec::Vec;

use crate::json;

/// Reads a text from its front. A method passes what it is named for, and gives `None` where
/// something else stands; the reader is of no use after that.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// The name of a member.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    text: &'a str,
    /// Where it begins in the text, with its quote.
    start: usize,
    /// Where it ends, behind its quote.
    end: usize,
    is_escaped: bool,
}

impl<'a> Key<'a> {
    /// Where it begins in the text.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// How it stands in the text, with its quotes.
    pub(crate) fn raw(&self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is `name`, however it is escaped.
    #[inline]
    pub(crate) fn is(&self, name: &str) -> bool {
        if self.is_escaped {
            return json::is(self.raw(), name);
        }
        let inner = self.start.saturating_add(1)..self.end.saturating_sub(1);
        self.text.as_bytes().get(inner) == Some(name.as_bytes())
    }
}

/// What a value begins with.
enum Lead {
    /// It was a scalar, and is passed.
    Scalar,
    /// The bracket, which is passed.
    Opens(Bracket),
}

#[derive(Clone, Copy, PartialEq)]
enum Bracket {
    Array,
    Object,
}

impl Bracket {
    const fn end(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How much of the text was passed.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What was passed since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The byte that comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes whitespace.
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.advance(1);
        }
    }

    /// Whether nothing but whitespace is left.
    pub(crate) fn is_done(&mut self) -> bool {
        self.space();
        self.peek().is_none()
    }

    /// Passes an object, and has `visit` pass the value of each member.
    pub(crate) fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, Key<'a>) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.eat(b'}') {
            return Some(());
        }
        loop {
            let key = self.key()?;
            self.colon()?;
            visit(self, key)?;
            self.space();
            if self.eat(b'}') {
                return Some(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// Passes a value, before which no whitespace stands. Gives how many levels of objects and
    /// arrays it nests: 0 for a scalar.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<usize> {
        match self.lead()? {
            Lead::Scalar => Some(0),
            Lead::Opens(bracket) => self.nested(bracket),
        }
    }

    /// Passes a value and gives its text.
    pub(crate) fn raw_value(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.value()?;
        Some(self.since(start))
    }

    /// Passes the rest of what `innermost` has opened.
    fn nested(&mut self, mut innermost: Bracket) -> Option<usize> {
        let mut outer = Brackets::default();
        let (mut depth, mut deepest) = (1_usize, 1_usize);
        let mut is_first = true;
        loop {
            self.space();
            if self.eat(innermost.end()) {
                match outer.pop() {
                    None => return Some(deepest),
                    Some(bracket) => innermost = bracket,
                }
                depth = depth.saturating_sub(1);
                is_first = false;
                continue;
            }
            if !is_first {
                self.expect(b',')?;
                self.space();
            }
            if innermost == Bracket::Object {
                self.string()?;
                self.colon()?;
            }
            is_first = false;
            if let Lead::Opens(bracket) = self.lead()? {
                outer.push(innermost);
                innermost = bracket;
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
                is_first = true;
            }
        }
    }

    fn key(&mut self) -> Option<Key<'a>> {
        let (text, start) = (self.text, self.at);
        let is_escaped = self.string()?;
        Some(Key {
            text,
            start,
            end: self.at,
            is_escaped,
        })
    }

    /// Passes a scalar or an opening bracket.
    #[inline]
    fn lead(&mut self) -> Option<Lead> {
        match self.peek()? {
            b'"' => {
                self.string()?;
            }
            b'{' => {
                self.advance(1);
                return Some(Lead::Opens(Bracket::Object));
            }
            b'[' => {
                self.advance(1);
                return Some(Lead::Opens(Bracket::Array));
            }
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(Lead::Scalar)
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.expect(b':')?;
        self.space();
        Some(())
    }

    /// Passes a string. Whether anything in it is escaped.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut is_escaped = false;
        loop {
            self.advance(plain(self.rest())?);
            if self.eat(b'"') {
                return Some(is_escaped);
            }
            self.expect(b'\\')?;
            self.escape()?;
            is_escaped = true;
        }
    }

    /// Passes what follows a backslash. A surrogate may be alone.
    fn escape(&mut self) -> Option<()> {
        let kind = self.peek()?;
        self.advance(1);
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.rest().first_chunk::<4>()?;
                self.advance(4);
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Some(())
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Option<()> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        self.advance(count);
        (count > 0).then_some(())
    }

    /// Passes `word`.
    #[inline]
    fn word(&mut self, word: &str) -> Option<()> {
        let is_next = self.rest().starts_with(word.as_bytes());
        if is_next {
            self.advance(word.len());
        }
        is_next.then_some(())
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// Passes `byte` if it comes next; whether it did.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.advance(1);
        }
        is_next
    }

    /// What was not passed.
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }
}

/// The brackets around the innermost one that is open, a bit each.
#[derive(Default)]
struct Brackets {
    /// 64 of them each, the outermost first.
    full: Vec<u64>,
    /// The last `count` of them, the innermost in the lowest bit.
    last: u64,
    count: u32,
}

impl Brackets {
    fn push(&mut self, bracket: Bracket) {
        if self.count == u64::BITS {
            self.full.push(self.last);
            self.count = 0;
        }
        self.last = self.last << 1 | u64::from(bracket == Bracket::Object);
        self.count = self.count.saturating_add(1);
    }

    fn pop(&mut self) -> Option<Bracket> {
        if self.count == 0 {
            self.last = self.full.pop()?;
            self.count = u64::BITS;
        }
        let bracket = if self.last & 1 == 1 {
            Bracket::Object
        } else {
            Bracket::Array
        };
        self.last >>= 1;
        self.count = self.count.saturating_sub(1);
        Some(bracket)
    }
}

/// How many bytes there are before the first quote; `None` when there is none.
#[inline]
pub(crate) fn quote(bytes: &[u8]) -> Option<usize> {
    // Most names end in their first word.
    if let Some(word) = bytes.first_chunk::<WORD>() {
        let marks = quotes(u64::from_le_bytes(*word)) & HIGHEST;
        if marks != 0 {
            return Some(first(marks));
        }
    }
    memchr::memchr(b'"', bytes)
}

/// Whether there is neither a backslash nor a control character.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    memchr::memchr(b'\\', bytes).is_none() && least(bytes) >= b' '
}

/// The least of them, without a branch, so that the compiler makes vector code of it.
fn least(bytes: &[u8]) -> u8 {
    bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte))
}

/// How many bytes there are before the first quote or backslash, or before a control character,
/// which must be escaped and may give `None` as well. `None` when there is no end.
fn plain(bytes: &[u8]) -> Option<usize> {
    // Most names end in their first word.
    if let Some(end) = end_in_word(bytes) {
        return Some(end);
    }
    let (near, far) = bytes.split_at_checked(NEAR).unwrap_or((bytes, &[]));
    let mut rest = near;
    while let Some((block, behind)) = rest.split_first_chunk::<BLOCK>() {
        // Without a branch, so that the compiler makes vector code of it.
        if block
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
        {
            break;
        }
        rest = behind;
    }
    while let Some((word, behind)) = rest.split_first_chunk::<WORD>() {
        if let Some(end) = end_in_word(word) {
            return Some(near.len().saturating_sub(rest.len()).saturating_add(end));
        }
        rest = behind;
    }
    let end = rest.iter().position(|byte| is_special(*byte));
    let end = end.map(|end| near.len().saturating_sub(rest.len()).saturating_add(end));
    end.or_else(|| plain_far(far).map(|end| near.len().saturating_add(end)))
}

/// The same by a search, which a long text is worth.
fn plain_far(bytes: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'"', b'\\', bytes)?;
    let least = least(bytes.get(..end)?);
    (least >= b' ').then_some(end)
}

/// Where the first special byte is, if it is in the first word.
fn end_in_word(bytes: &[u8]) -> Option<usize> {
    let marks = specials(u64::from_le_bytes(*bytes.first_chunk::<WORD>()?));
    (marks != 0).then(|| first(marks))
}

/// Whether a string cannot go on with this byte as it stands.
///
/// Of the ways to say it, the one that takes the fewest instructions on a vector.
fn is_special(byte: u8) -> bool {
    const LAST_CONTROL: u8 = 0x1f;
    let least = (byte ^ b'"').min(byte ^ b'\\');
    least.min(byte.saturating_sub(LAST_CONTROL)) == 0
}

/// Bytes that are looked at together: two vectors of the smallest kind.
const BLOCK: usize = 32;

/// How far it is looked before a search is faster.
const NEAR: usize = 8 * BLOCK;

const WORD: usize = 8;

const ONES: u64 = u64::from_le_bytes([1; WORD]);

const HIGHEST: u64 = u64::from_le_bytes([0x80; WORD]);

/// The highest bit of each byte of the word that is a quote, a backslash or a control character.
/// Above the lowest such byte there may be bits of others.
const fn specials(word: u64) -> u64 {
    let backslash = less(word ^ u64::from_le_bytes([b'\\'; WORD]), ONES);
    let control = less(word, u64::from_le_bytes([b' '; WORD]));
    (quotes(word) | backslash | control) & HIGHEST
}

/// The same for quotes alone, with other bits that are not the highest.
const fn quotes(word: u64) -> u64 {
    less(word ^ u64::from_le_bytes([b'"'; WORD]), ONES)
}

/// Marks the bytes that are less than those of `than`, which none with its highest bit set is.
const fn less(word: u64, than: u64) -> u64 {
    word.wrapping_sub(than) & !word
}

/// Which byte of a word the lowest mark is in.
fn first(marks: u64) -> usize {
    usize::try_from(marks.trailing_zeros() / u8::BITS).unwrap_or(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a look at one byte after the other gives.
    fn slow(bytes: &[u8]) -> Option<usize> {
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
        let end = bytes.iter().position(is_end)?;
        bytes[..end].iter().all(|byte| *byte >= 0x20).then_some(end)
    }

    /// `plain` of a text may point at a control character, which then is no end.
    fn end(bytes: &[u8]) -> Option<usize> {
        plain(bytes).filter(|at| matches!(bytes[*at], b'"' | b'\\'))
    }

    #[test]
    fn plain_text_ends_at_its_first_end() {
        for length in (0..100).chain(NEAR - 1..NEAR + 2) {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = alloc::vec![b'x'; length];
                    text[at] = byte;
                    assert_eq!(end(&text), slow(&text), "{byte} at {at} of {length}");
                    text[length - 1] = b'"';
                    assert_eq!(end(&text), slow(&text), "{byte} at {at} of {length}");
                }
            }
        }
    }

    /// A borrow in the arithmetic of a word must not mark a byte before the first special one.
    #[test]
    fn the_first_of_two_special_bytes_counts() {
        const SPECIAL: [u8; 8] = [0, 0x1f, b'"', b'\\', b' ', b'[', 0x80, 0xff];
        for length in [15, 16, 17, 64, 65, 79, 81, 100, 130, NEAR + 11] {
            for first in length.saturating_sub(130)..length {
                for second in first..length {
                    for one in SPECIAL {
                        for other in [0, b'"', b'\\'] {
                            let mut text = [b'x'; NEAR + 20];
                            text[second] = other;
                            text[first] = one;
                            let text = &text[..length];
                            assert_eq!(end(text), slow(text), "{text:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_quote_is_found_and_what_is_not_plain() {
        for length in [1, 7, 8, 9, 40, 100] {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = alloc::vec![b'x'; length];
                    text[at] = byte;
                    let is_plain = byte >= 0x20 && byte != b'\\';
                    assert_eq!(
                        super::is_plain(&text),
                        is_plain,
                        "{byte} at {at} of {length}"
                    );
                    for last in [b'x', b'"'] {
                        text[length - 1] = last;
                        let first = text.iter().position(|byte| *byte == b'"');
                        assert_eq!(quote(&text), first, "{byte} at {at} of {length}");
                    }
                }
            }
        }
        assert!(is_plain(b"") && quote(b"").is_none());
    }

    #[test]
    fn brackets_come_back_in_order() {
        let is_object = |n: u32| n.is_multiple_of(3) || n % 7 == 1;
        let mut brackets = Brackets::default();
        let nth = |n| {
            if is_object(n) {
                Bracket::Object
            } else {
                Bracket::Array
            }
        };
        for _ in 0..2 {
            for n in 0..1_000 {
                brackets.push(nth(n));
            }
            for n in (0..1_000).rev() {
                assert!(brackets.pop() == Some(nth(n)), "{n}");
            }
            assert!(brackets.pop().is_none());
        }
    }
}
