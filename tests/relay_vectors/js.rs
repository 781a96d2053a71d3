//! JSON as JavaScript has it: strings are UTF-16 and may hold lone surrogates, numbers are
//! doubles, objects have no order. Every value keeps its text, for what must be raw.

/// A value and its text.
#[derive(Clone, Debug)]
pub(crate) struct Js {
    pub(crate) raw: String,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(Vec<u16>),
    List(Vec<Js>),
    Object(Vec<(String, Js)>),
}

impl PartialEq for Js {
    fn eq(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|member| b.contains(member))
            }
            _ => false,
        }
    }
}

impl Js {
    /// Reads a whole text.
    pub(crate) fn read(text: &str) -> Self {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value();
        reader.blank();
        assert_eq!(reader.at, text.len(), "more than one value: {text:.80}");
        value
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Js> {
        let members = self.members();
        members.iter().find(|(key, _)| key == name).map(|(_, v)| v)
    }

    /// The member called `name`, which must be there.
    pub(crate) fn at(&self, name: &str) -> &Js {
        self.get(name)
            .unwrap_or_else(|| panic!("no {name} in {:.200}", self.raw))
    }

    pub(crate) fn members(&self) -> &[(String, Js)] {
        match &self.value {
            Value::Object(members) => members,
            _ => panic!("no object: {:.200}", self.raw),
        }
    }

    /// The elements, of which there must be some.
    pub(crate) fn rows(&self) -> &[Js] {
        let rows = self.list();
        assert!(!rows.is_empty(), "a section without rows checks nothing");
        rows
    }

    pub(crate) fn list(&self) -> &[Js] {
        match &self.value {
            Value::List(list) => list,
            _ => panic!("no list: {:.200}", self.raw),
        }
    }

    pub(crate) fn str(&self) -> String {
        match &self.value {
            Value::Text(units) => String::from_utf16(units).expect("Unicode"),
            _ => panic!("no string: {:.200}", self.raw),
        }
    }

    pub(crate) fn number(&self) -> f64 {
        match self.value {
            Value::Number(number) => number,
            _ => panic!("no number: {:.200}", self.raw),
        }
    }

    pub(crate) fn bool(&self) -> bool {
        match self.value {
            Value::Bool(bool) => bool,
            _ => panic!("no boolean: {:.200}", self.raw),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn hex(&self) -> Vec<u8> {
        let digits = self.str();
        assert_eq!(digits.len() % 2, 0, "{digits}");
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex"))
            .collect()
    }

    /// 32 bytes, 24, 64…
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        self.hex().try_into().expect("the length of the field")
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.text[self.at..].starts_with(word);
        if taken {
            self.at += word.len();
        }
        taken
    }

    fn expect(&mut self, word: &str) {
        assert!(self.take(word), "no {word} at {}", self.at);
    }

    fn value(&mut self) -> Js {
        self.blank();
        let from = self.at;
        let value = match self.peek().expect("a value") {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => Value::Text(self.string()),
            b't' => {
                self.expect("true");
                Value::Bool(true)
            }
            b'f' => {
                self.expect("false");
                Value::Bool(false)
            }
            b'n' => {
                self.expect("null");
                Value::Null
            }
            _ => self.number(),
        };
        let raw = self.text[from..self.at].to_owned();
        Js { raw, value }
    }

    fn object(&mut self) -> Value {
        self.expect("{");
        let mut members: Vec<(String, Js)> = Vec::new();
        self.blank();
        if self.take("}") {
            return Value::Object(members);
        }
        loop {
            self.blank();
            let key = String::from_utf16_lossy(&self.string());
            self.blank();
            self.expect(":");
            let value = self.value();
            members.retain(|(known, _)| *known != key);
            members.push((key, value));
            self.blank();
            if self.take("}") {
                return Value::Object(members);
            }
            self.expect(",");
        }
    }

    fn array(&mut self) -> Value {
        self.expect("[");
        let mut elements = Vec::new();
        self.blank();
        if self.take("]") {
            return Value::List(elements);
        }
        loop {
            elements.push(self.value());
            self.blank();
            if self.take("]") {
                return Value::List(elements);
            }
            self.expect(",");
        }
    }

    fn string(&mut self) -> Vec<u16> {
        self.expect("\"");
        let mut units = Vec::new();
        loop {
            let char = self.text[self.at..]
                .chars()
                .next()
                .expect("a closing quote");
            self.at += char.len_utf8();
            match char {
                '"' => return units,
                '\\' => units.push(self.escape()),
                _ => units.extend_from_slice(char.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> u16 {
        let kind = self.peek().expect("an escape");
        self.at += 1;
        match kind {
            b'u' => {
                self.at += 4;
                u16::from_str_radix(&self.text[self.at - 4..self.at], 16).expect("hex")
            }
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            other => u16::from(other),
        }
    }

    fn number(&mut self) -> Value {
        let rest = &self.text[self.at..];
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        Value::Number(rest[..length].parse().expect("a number"))
    }
}
