//! What a frame means, decided by a parser of its own: lexemes first, then a tree over them.
//! It shares nothing with the production parser, not even serde_json.

/// What the wire contract makes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// To be skipped.
    Blank,
    /// `invalid frame`.
    Invalid,
    /// JSON, but no object.
    NoObject,
    /// An object.
    Message {
        /// Whether its type is `ping`.
        is_ping: bool,
        /// The token that it presents.
        token: Option<String>,
        /// The text without the token.
        kept: String,
    },
}

pub(super) fn meaning(frame: &str) -> Meaning {
    let text = frame.trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Meaning::Blank;
    }
    let Some(lexemes) = lex(text) else {
        return Meaning::Invalid;
    };
    let mut parser = Parser {
        lexemes: &lexemes,
        at: 0,
    };
    let tree = parser.value();
    let Some(tree) = tree.filter(|_| parser.at == lexemes.len()) else {
        return Meaning::Invalid;
    };
    match (&tree.kind, text) {
        (_, "null") => Meaning::Invalid,
        (Kind::Object(members), _) => message(&lexemes, &tree, members),
        (Kind::Array | Kind::Scalar, _) => Meaning::NoObject,
    }
}

fn message(lexemes: &[Lexeme<'_>], tree: &Node, members: &[Member]) -> Meaning {
    let named = |members: &[Member], name: &str| -> Vec<usize> {
        let is = |member: &Member| text_of(lexemes, member.key).as_deref() == Some(name);
        let numbered = members.iter().enumerate();
        numbered
            .filter(|(_, member)| is(member))
            .map(|(at, _)| at)
            .collect()
    };
    let (types, metas) = (named(members, "type"), named(members, "meta"));
    if types.len() > 1 || metas.len() > 1 {
        return Meaning::Invalid;
    }
    let value = |at: &usize| members.get(*at).map(|member| &member.value);
    let kind = types.first().and_then(value);
    let kind = kind.and_then(|node| text_of(lexemes, node.first));
    let is_ping = kind.as_deref() == Some("ping");
    let mut cut = (0, 0);
    let mut token = None;
    if let Some(at) = metas.first()
        && let Some(Node {
            kind: Kind::Object(inner),
            ..
        }) = value(at)
    {
        let tokens = named(inner, "authToken");
        if tokens.len() > 1 {
            return Meaning::Invalid;
        }
        if let Some(place) = tokens.first() {
            let node = inner.get(*place).map(|member| &member.value);
            token = node.and_then(|node| text_of(lexemes, node.first));
            cut = if inner.len() == 1 {
                without(members, *at)
            } else {
                without(inner, *place)
            };
        }
    }
    let left = |at: usize| (tree.first..cut.0).contains(&at) || (cut.1..=tree.last).contains(&at);
    let numbered = lexemes.iter().enumerate();
    let kept = numbered
        .filter(|(at, _)| left(*at))
        .map(|(_, lexeme)| lexeme.text);
    Meaning::Message {
        is_ping,
        token,
        kept: kept.collect(),
    }
}

/// The lexemes, from the first to before the second, that go with member `at`: its own and
/// those up to the member before it, or for the first of several up to the one after it.
fn without(members: &[Member], at: usize) -> (usize, usize) {
    let Some(member) = members.get(at) else {
        return (0, 0);
    };
    let after = member.value.last + 1;
    let before = at.checked_sub(1).and_then(|at| members.get(at));
    match (before, members.get(at + 1)) {
        (Some(before), _) => (before.value.last + 1, after),
        (None, Some(next)) => (member.key, next.key),
        (None, None) => (member.key, after),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Space,
    Mark(char),
    Text,
    Scalar,
}

#[derive(Clone, Copy, Debug)]
struct Lexeme<'a> {
    token: Token,
    text: &'a str,
}

/// The lexemes of a text, spaces included; `None` when one is malformed.
fn lex(text: &str) -> Option<Vec<Lexeme<'_>>> {
    let mut lexemes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' | '\r' | '\n' => (Token::Space, 1),
            '{' | '}' | '[' | ']' | ':' | ',' => (Token::Mark(first), 1),
            '"' => (Token::Text, text_length(rest)?),
            _ => (Token::Scalar, scalar_length(rest)?),
        };
        let (head, tail) = rest.split_at(length);
        lexemes.push(Lexeme { token, text: head });
        rest = tail;
    }
    Some(lexemes)
}

fn text_length(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at + 1),
            '\\' => match chars.next()?.1 {
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {}
                'u' => {
                    for _ in 0..4 {
                        chars.next().filter(|(_, c)| c.is_ascii_hexdigit())?;
                    }
                }
                _ => return None,
            },
            c if c < ' ' => return None,
            _ => {}
        }
    }
    None
}

fn scalar_length(rest: &str) -> Option<usize> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let (word, _) = rest.split_at(end.unwrap_or(rest.len()));
    (["true", "false", "null"].contains(&word) || is_number(word)).then_some(word.len())
}

fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            (mantissa, Some(exponent))
        }
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let canonical = whole == "0" || !whole.starts_with('0');
    digits(whole) && canonical && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

/// The text of the string lexeme `at`; `None` when it is no string, or no Unicode.
fn text_of(lexemes: &[Lexeme<'_>], at: usize) -> Option<String> {
    let lexeme = lexemes
        .get(at)
        .filter(|lexeme| lexeme.token == Token::Text)?;
    let mut units: Vec<u16> = Vec::new();
    let inner = lexeme.text.strip_prefix('"')?.strip_suffix('"')?;
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next()? {
                'u' => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).ok()?);
                    continue;
                }
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            plain => plain,
        };
        units.extend(c.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16(&units).ok()
}

/// A value, from its first lexeme to its last.
#[derive(Debug)]
struct Node {
    first: usize,
    last: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Object(Vec<Member>),
    Array,
    Scalar,
}

#[derive(Debug)]
struct Member {
    key: usize,
    value: Node,
}

struct Parser<'a> {
    lexemes: &'a [Lexeme<'a>],
    at: usize,
}

impl Parser<'_> {
    /// The next lexeme that is no space, and its place.
    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let at = self.at;
            let token = self.lexemes.get(at)?.token;
            self.at += 1;
            if token != Token::Space {
                return Some((at, token));
            }
        }
    }

    fn value(&mut self) -> Option<Node> {
        let (first, token) = self.next()?;
        let kind = match token {
            Token::Text | Token::Scalar => Kind::Scalar,
            Token::Mark('{') => Kind::Object(self.members()?),
            Token::Mark('[') => {
                self.elements()?;
                Kind::Array
            }
            Token::Mark(_) | Token::Space => return None,
        };
        let last = self.at - 1;
        Some(Node { first, last, kind })
    }

    fn members(&mut self) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        loop {
            match self.next()? {
                (_, Token::Mark('}')) if members.is_empty() => return Some(members),
                (key, Token::Text) => {
                    self.next()
                        .filter(|(_, token)| *token == Token::Mark(':'))?;
                    let value = self.value()?;
                    members.push(Member { key, value });
                }
                _ => return None,
            }
            match self.next()?.1 {
                Token::Mark(',') => {}
                Token::Mark('}') => return Some(members),
                Token::Mark(_) | Token::Space | Token::Text | Token::Scalar => return None,
            }
        }
    }

    fn elements(&mut self) -> Option<()> {
        let start = self.at;
        if self.next()?.1 == Token::Mark(']') {
            return Some(());
        }
        self.at = start;
        loop {
            self.value()?;
            match self.next()?.1 {
                Token::Mark(',') => {}
                Token::Mark(']') => return Some(()),
                Token::Mark(_) | Token::Space | Token::Text | Token::Scalar => return None,
            }
        }
    }
}
