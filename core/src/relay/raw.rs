//! JSON values as they stand in a text. Nothing is lost on the way through: lone surrogate
//! escapes, numbers beyond any type, member order and unknown members stay as they were.

mod number;

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use serde_core::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::json::{self, Member};

pub use number::Number;

/// One valid JSON value, as its text without whitespace around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// `null`.
    pub const NULL: Raw<'static> = Raw("null");
    /// `{}`.
    pub const EMPTY_OBJECT: Raw<'static> = Raw("{}");

    /// Reads `text` as one JSON value; `None` when it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let raw = serde_json::from_str::<&'a RawValue>(text).ok()?;
        Some(Self(raw.get()))
    }

    /// Takes text that this crate wrote or has parsed.
    pub(crate) const fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether it is a number.
    #[must_use]
    pub fn is_number(self) -> bool {
        self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// The string that it is.
    #[must_use]
    pub fn text(self) -> Option<Text<'a>> {
        self.0
            .starts_with('"')
            .then_some(Text(Cow::Borrowed(self.0)))
    }

    /// The boolean that it is.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The whole number from 0 to `u64::MAX` that it is, however it is spelled: `10`, `1e1` and
    /// `10.0` are one number, as in JavaScript.
    #[must_use]
    pub fn unsigned(self) -> Option<u64> {
        match self.number()? {
            Number::Whole(value) => Some(value),
            Number::Negative | Number::Fraction | Number::Beyond => None,
        }
    }

    /// What kind of number it is; `None` when it is none.
    #[must_use]
    pub fn number(self) -> Option<Number> {
        self.is_number().then(|| Number::read(self.0))
    }

    /// The member called `name` of the object that it is; of several the last.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Raw<'a>> {
        let [value] = self.pick([name])?;
        value
    }

    /// The members called `names`, in one pass; of several with one name the last. `None` when
    /// it is no object.
    #[must_use]
    pub fn pick<const N: usize>(self, names: [&str; N]) -> Option<[Option<Raw<'a>>; N]> {
        let mut found = [None; N];
        self.each_member(|member| {
            for (name, slot) in names.iter().zip(found.iter_mut()) {
                if json::is(member.key, name) {
                    *slot = Some(Raw(member.value));
                }
            }
        })?;
        Some(found)
    }

    /// Calls `visit` with each element of the array that it is, in order, while `visit` returns
    /// `true`. `None` when it is no array.
    pub fn each_element(self, mut visit: impl FnMut(Raw<'a>) -> bool) -> Option<()> {
        if !self.is_array() {
            return None;
        }
        let mut stopped = false;
        let mut reader = Deserializer::from_str(self.0);
        let walked = reader.deserialize_seq(Walk {
            visit: |raw| {
                stopped = !visit(raw);
                !stopped
            },
        });
        (walked.is_ok() || stopped).then_some(())
    }

    /// The elements at the places from 0 to `N - 1` of the array that it is. `None` when it is
    /// no array.
    #[must_use]
    pub fn elements<const N: usize>(self) -> Option<[Option<Raw<'a>>; N]> {
        let mut found = [None; N];
        let mut slots = found.iter_mut();
        self.each_element(|element| {
            let slot = slots.next();
            let taken = slot.is_some();
            if let Some(slot) = slot {
                *slot = Some(element);
            }
            taken
        })?;
        Some(found)
    }

    /// Calls `visit` with each member of the object that it is. `None` when it is no object.
    pub(crate) fn each_member(self, mut visit: impl FnMut(Member<'a>)) -> Option<()> {
        let walked = json::members(self.0, |member| {
            visit(member);
            true
        });
        walked.ok()
    }
}

/// A string, as its JSON text with the quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Quotes `text`.
    #[must_use]
    pub fn new(text: &str) -> Text<'static> {
        Text(Cow::Owned(json::quoted(text)))
    }

    /// The JSON text.
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        Raw(&self.0)
    }

    /// The string itself; `None` when it is not Unicode (a lone surrogate).
    #[must_use]
    pub fn to_unicode(&self) -> Option<Cow<'_, str>> {
        json::string(&self.0)
    }

    /// The string itself, each lone surrogate replaced by U+FFFD.
    #[must_use]
    pub fn to_lossy(&self) -> Cow<'_, str> {
        match json::string(&self.0) {
            Some(text) => text,
            None => Cow::Owned(lossy(&self.0)),
        }
    }

    /// Whether it is `text`, however it is escaped.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        json::is(&self.0, text)
    }

    /// The same without a borrow.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl From<&str> for Text<'static> {
    fn from(text: &str) -> Self {
        Text::new(text)
    }
}

/// An object in the making, as text.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) const fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn member(&mut self, name: &str, value: &(impl ToJson + ?Sized)) -> &mut Self {
        self.member_raw(&json::quoted(name), value)
    }

    /// Adds a member whose name is JSON text already.
    pub(crate) fn member_raw(&mut self, key: &str, value: &(impl ToJson + ?Sized)) -> &mut Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(key);
        self.0.push(':');
        value.append(&mut self.0);
        self
    }

    pub(crate) fn finish(&mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        core::mem::take(&mut self.0)
    }
}

/// What has a JSON text.
pub(crate) trait ToJson {
    fn append(&self, out: &mut String);
}

impl ToJson for Raw<'_> {
    fn append(&self, out: &mut String) {
        out.push_str(self.0);
    }
}

impl ToJson for Text<'_> {
    fn append(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

impl ToJson for str {
    fn append(&self, out: &mut String) {
        out.push_str(&json::quoted(self));
    }
}

impl ToJson for bool {
    fn append(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl ToJson for u64 {
    fn append(&self, out: &mut String) {
        display(self, out);
    }
}

/// Writes a number: to memory, which cannot fail.
pub(crate) fn display(value: &impl fmt::Display, out: &mut String) {
    let written = fmt::Write::write_fmt(out, format_args!("{value}"));
    debug_assert!(written.is_ok());
}

struct Walk<F> {
    visit: F,
}

impl<'a, F: FnMut(Raw<'a>) -> bool> Visitor<'a> for Walk<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&'a RawValue>()? {
            if !(self.visit)(Raw(element.get())) {
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// The text of a raw JSON string whose escapes are valid, with U+FFFD for lone surrogates.
fn lossy(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    // Each escape of a surrogate is decoded with what follows it, or replaced alone.
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let units = if escape.starts_with("\\u") { 6 } else { 2 };
        let (one, after) = escape.split_at_checked(units).unwrap_or((escape, ""));
        let pair = escape.split_at_checked(12);
        if let Some(text) = unescape(one) {
            out.push_str(&text);
            rest = after;
        } else if let Some((text, after)) =
            pair.and_then(|(two, after)| unescape(two).map(|text| (text, after)))
        {
            out.push_str(&text);
            rest = after;
        } else {
            out.push(char::REPLACEMENT_CHARACTER);
            rest = after;
        }
    }
    out.push_str(rest);
    let trimmed = out
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    String::from(trimmed.unwrap_or_default())
}

fn unescape(escapes: &str) -> Option<String> {
    serde_json::from_str(&alloc::format!("\"{escapes}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn members_are_picked_in_one_pass_and_the_last_counts() {
        let raw = Raw::parse(r#" {"a":1,"b":"\ud800","a":[1e999],"\u0063":{}} "#).unwrap();
        let [a, b, c, d] = raw.pick(["a", "b", "c", "d"]).unwrap();
        assert_eq!(a.unwrap().as_str(), "[1e999]");
        assert_eq!(b.unwrap().as_str(), r#""\ud800""#);
        assert!(c.unwrap().is_object());
        assert_eq!(d, None);
        assert_eq!(raw.get("a"), a);
        assert_eq!(Raw::parse("[1]").unwrap().pick(["a"]), None);
        assert_eq!(Raw::parse("[1"), None);
        assert_eq!(Raw::parse(""), None);
    }

    #[test]
    fn elements_come_in_order() {
        let raw = Raw::parse(r#"["a", {"b":[2]} ,3]"#).unwrap();
        let mut seen = Vec::new();
        raw.each_element(|element| {
            seen.push(element.as_str());
            true
        })
        .unwrap();
        assert_eq!(seen, [r#""a""#, r#"{"b":[2]}"#, "3"]);
        assert_eq!(raw.elements::<1>().unwrap()[0].unwrap().as_str(), "\"a\"");
        assert_eq!(raw.elements::<4>().unwrap()[3], None);
        assert_eq!(Raw::parse("[]").unwrap().elements::<1>(), Some([None]));
        assert_eq!(Raw::parse("{}").unwrap().elements::<1>(), None);
    }

    /// Covers: R4.3
    #[test]
    fn lone_surrogates_survive_and_are_shown_as_replaced() {
        for (raw, shown) in [
            (r#""a\ud800b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00\ud83d""#, "\u{1f600}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\\u\"""#, "\u{fffd}\\u\""),
            (r#""\ud800\n""#, "\u{fffd}\n"),
            (r#""\ud800é\u00e9""#, "\u{fffd}éé"),
        ] {
            let text = Raw::parse(raw).unwrap().text().unwrap();
            assert_eq!(text.to_unicode(), None);
            assert_eq!(text.to_lossy(), shown, "{raw}");
            assert_eq!(text.raw().as_str(), raw);
            assert_eq!(text.clone().into_owned(), text);
        }
        let plain = Text::new("a\"\u{1f600}");
        assert!(plain.is("a\"\u{1f600}") && !plain.is("a"));
        assert_eq!(plain.to_lossy(), plain.to_unicode().unwrap());
    }

    #[test]
    fn objects_are_written_as_javascript_does() {
        let mut object = Object::new();
        object.member("a", "x\n").member("b", &true).member("c", &7);
        assert_eq!(object.finish(), r#"{"a":"x\n","b":true,"c":7}"#);
        assert_eq!(Object::new().finish(), "{}");
        let kinds = ["null", "[1]", "-1", "false"].map(|text| Raw::parse(text).unwrap());
        assert!(kinds[0].is_null() && kinds[1].is_array() && kinds[2].is_number());
        assert_eq!(kinds[3].boolean(), Some(false));
        assert_eq!(kinds[2].boolean(), None);
        assert_eq!(Raw::EMPTY_OBJECT.get("a"), None);
        assert!(Raw::NULL.is_null());
    }
}
