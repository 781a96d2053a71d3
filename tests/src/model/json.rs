//! JSON (RFC 8259) by a route of its own: a text becomes tokens, and each is held against the
//! grammar. Nothing is decoded before it is asked for.

/// A valid JSON text.
#[derive(Debug)]
pub struct Json<'a> {
    /// The value without the whitespace around it.
    pub text: &'a str,
    /// How many levels of objects and arrays it nests: 0 for a scalar.
    pub depth: usize,
    members: Vec<Member<'a>>,
}

/// One member of an object, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, with its quotes.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
    /// Where the name begins in the object's text.
    pub from: usize,
    /// Where the value ends in the object's text.
    pub to: usize,
}

impl Member<'_> {
    /// Whether its name, decoded, is `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        match unescaped(self.key) {
            Some(plain) => plain == name,
            None => decode(self.key).as_deref() == Some(name),
        }
    }
}

/// A bracket, a colon or a comma under its own byte, a string under `"`, any other scalar
/// under its first byte.
struct Token {
    kind: u8,
    from: usize,
    to: usize,
}

/// What the grammar allows next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    /// A comma, a closing bracket, or, outside all brackets, nothing.
    After,
}

impl<'a> Json<'a> {
    /// Reads a whole text as one JSON value.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        let is_object = text.starts_with('{');
        let (mut open, mut depth) = (Vec::new(), 0);
        let (mut key, mut value_from) = (0..0, 0);
        let mut members = Vec::new();
        let mut next = Next::Value;
        let mut at = 0;
        while let Some(token) = token(text.as_bytes(), at)? {
            at = token.to;
            if is_object && next == Next::Value && open.len() == 1 {
                value_from = token.from;
            }
            next = step(next, token.kind, &mut open)?;
            depth = depth.max(open.len());
            if next == Next::Colon && open.len() == 1 {
                key = token.from..token.to;
            }
            if is_object && next == Next::After && open.len() == 1 {
                members.push(Member {
                    key: &text[key.clone()],
                    value: &text[value_from..token.to],
                    from: key.start,
                    to: token.to,
                });
            }
        }
        (next == Next::After && open.is_empty()).then_some(Self {
            text,
            depth,
            members,
        })
    }

    /// Its members in order, if it is an object.
    #[must_use]
    pub fn members(&self) -> Option<&[Member<'a>]> {
        self.text.starts_with('{').then_some(&self.members)
    }
}

/// One step of the grammar; `open` holds the brackets that are open.
fn step(next: Next, kind: u8, open: &mut Vec<u8>) -> Option<Next> {
    Some(match (next, kind, open.last()) {
        (Next::Value | Next::ValueOrClose, b'{', _) => {
            open.push(kind);
            Next::KeyOrClose
        }
        (Next::Value | Next::ValueOrClose, b'[', _) => {
            open.push(kind);
            Next::ValueOrClose
        }
        (Next::ValueOrClose | Next::After, b']', Some(b'['))
        | (Next::KeyOrClose | Next::After, b'}', Some(b'{')) => {
            open.pop();
            Next::After
        }
        (_, b']' | b'}', _) => return None,
        (Next::After, b',', Some(b'[')) => Next::Value,
        (Next::After, b',', Some(b'{')) => Next::Key,
        (Next::Colon, b':', _) => Next::Value,
        (_, b',' | b':', _) => return None,
        (Next::Key | Next::KeyOrClose, b'"', _) => Next::Colon,
        (Next::Value | Next::ValueOrClose, _, _) => Next::After,
        _ => return None,
    })
}

/// The next token from `at`, if there is one; an error if what is there is none.
fn token(text: &[u8], at: usize) -> Option<Option<Token>> {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let from = at + text[at..].iter().take_while(is_space).count();
    let Some(&kind) = text.get(from) else {
        return Some(None);
    };
    let length = match kind {
        b'{' | b'}' | b'[' | b']' | b':' | b',' => 1,
        b'"' => string_length(&text[from..])?,
        _ => scalar_length(&text[from..])?,
    };
    let to = from + length;
    Some(Some(Token { kind, from, to }))
}

/// The length of the string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    let mut at = 1;
    loop {
        at += text[at..].iter().take_while(is_plain).count();
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match text.get(at + 1)? {
                b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                _ => return None,
            },
            _ => return None,
        };
    }
}

/// The length of the number, `true`, `false` or `null` that `text` begins with.
fn scalar_length(text: &[u8]) -> Option<usize> {
    let is_part = |b: &&u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    let length = text.iter().take_while(is_part).count();
    let word = &text[..length];
    (matches!(word, b"true" | b"false" | b"null") || is_number(word)).then_some(length)
}

fn is_number(word: &[u8]) -> bool {
    fn digits(text: &[u8]) -> usize {
        text.iter().take_while(|b| b.is_ascii_digit()).count()
    }
    let mut rest = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = match exponent {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            unsigned => unsigned,
        };
        return !unsigned.is_empty() && digits(unsigned) == unsigned.len();
    }
    rest.is_empty()
}

/// What is between the quotes of a string without an escape: its text as it is.
fn unescaped(raw: &str) -> Option<&str> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.as_bytes().contains(&b'\\')).then_some(inner)
}

/// The text of the valid JSON value `raw`; `None` when it is no string, or not Unicode. It is
/// put together in UTF-16, as JavaScript has it.
#[must_use]
pub fn decode(raw: &str) -> Option<String> {
    if let Some(plain) = unescaped(raw) {
        return Some(plain.to_owned());
    }
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    let mut units = Vec::new();
    let mut rest = inner.chars();
    while let Some(char) = rest.next() {
        let char = match (char, rest.as_str().chars().next()) {
            ('\\', Some('u')) => {
                units.push(u16::from_str_radix(&rest.as_str()[1..5], 16).ok()?);
                rest = rest.as_str()[5..].chars();
                continue;
            }
            ('\\', escaped) => {
                rest.next();
                match escaped? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                }
            }
            (plain, _) => plain,
        };
        units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

/// `text` as `JSON.stringify` writes it.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let is_plain = |byte| !matches!(byte, 0..0x20 | b'"' | b'\\');
    if text.bytes().all(is_plain) {
        out.push_str(text);
        out.push('"');
        return out;
    }
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

/// The value of the last member called `name`: the one that counts where duplicates are
/// allowed.
#[must_use]
pub fn last<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    let mut named = members.iter().filter(|member| member.is(name));
    named.next_back().map(|member| member.value)
}
