//! Socket.IO v5 inside the messages of Engine.IO (relay.md §1.2).
//!
//! ```text
//!   <type>[<namespace>,][<acknowledgement id>][<json>]
//! ```
//!
//! Values stay raw JSON. Binary packets are refused: the relay sends none.

use alloc::string::String;
use core::fmt;

use super::raw::{Raw, Text, display};
use crate::json;

/// One packet and the namespace that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet<'a> {
    /// The namespace; [`Packet::ROOT`] when the packet names none.
    pub namespace: &'a str,
    /// What the packet says.
    pub body: Body<'a>,
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body<'a> {
    /// `0`: from the client its authentication, from the server its consent with the `sid`.
    Connect(Option<Raw<'a>>),
    /// `1`: the sender has left the namespace.
    Disconnect,
    /// `2`: an event, to be acknowledged when it has an id. The arguments are `None` when a peer
    /// sent nothing at all, not even the event's name.
    Event(Option<AckId<'a>>, Option<Args<'a>>),
    /// `3`: the acknowledgement of the event with that id.
    Ack(Option<AckId<'a>>, Option<Raw<'a>>),
    /// `4`: the server refuses; an object with a `message`, or a string.
    ConnectError(Option<Raw<'a>>),
}

/// The id of an event that is to be acknowledged, as its sender spells it. Ids are counted by
/// each sender for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckId<'a>(&'a str);

impl<'a> AckId<'a> {
    /// The id that `digits` spell; `None` when they are anything else.
    #[must_use]
    pub fn parse(digits: &'a str) -> Option<Self> {
        is_digits(digits).then_some(Self(digits))
    }

    /// The number; `None` when it does not fit, as no id of ours does.
    #[must_use]
    pub fn get(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// The digits, as they were sent.
    #[must_use]
    pub const fn digits(self) -> &'a str {
        self.0
    }
}

/// A non-empty array whose first element names an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Args<'a>(Raw<'a>);

impl<'a> Args<'a> {
    /// Takes an array; `None` unless it begins with a number, or a name that is not reserved.
    #[must_use]
    pub fn parse(array: Raw<'a>) -> Option<Self> {
        names_event(array).then_some(Self(array))
    }

    /// The array, the name included.
    #[must_use]
    pub const fn raw(self) -> Raw<'a> {
        self.0
    }

    /// The event's name; `None` when it is a number.
    #[must_use]
    pub fn name(self) -> Option<Text<'a>> {
        let [name] = self.0.elements()?;
        name?.text()
    }

    /// The event's first argument. No event of the relay has a second.
    #[must_use]
    pub fn argument(self) -> Option<Raw<'a>> {
        let [_, argument] = self.0.elements()?;
        argument
    }
}

/// What a peer may not send. It is fatal for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The first character is no packet type.
    UnknownType,
    /// The data is not JSON, or not what the type may carry.
    InvalidPayload,
    /// A binary packet does not say how many attachments follow it.
    IllegalAttachments,
    /// A binary packet, which the relay never sends.
    Binary,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownType => "unknown packet type",
            Self::InvalidPayload => "invalid payload",
            Self::IllegalAttachments => "illegal attachments",
            Self::Binary => "the relay sent binary data",
        })
    }
}

impl core::error::Error for Violation {}

/// The event may not be sent: its name is one of the reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservedName;

impl fmt::Display for ReservedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of the event is reserved")
    }
}

impl core::error::Error for ReservedName {}

/// Names that no event on the wire may have.
pub const RESERVED_NAMES: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

impl<'a> Packet<'a> {
    /// The namespace of all traffic with the relay.
    pub const ROOT: &'static str = "/";

    /// A packet for the root namespace.
    #[must_use]
    pub const fn root(body: Body<'a>) -> Self {
        Self {
            namespace: Self::ROOT,
            body,
        }
    }

    /// Reads the data of one engine message. It borrows all of its data.
    ///
    /// An empty text is a CONNECT without data, and a packet that ends before its data has none,
    /// as the reference has it.
    ///
    /// # Errors
    ///
    /// [`Violation`] when the text is no packet of text.
    pub fn decode(text: &'a str) -> Result<Self, Violation> {
        let mut chars = text.chars();
        let kind = chars.next().unwrap_or('0');
        let rest = chars.as_str();
        match kind {
            '0'..='4' => {}
            '5' | '6' => return Err(attachments(rest)),
            _ => return Err(Violation::UnknownType),
        }
        let (namespace, rest) = namespace(rest);
        let (id, rest) = ack_id(rest);
        let payload = match rest {
            "" => None,
            _ if rest.starts_with([' ', '\t', '\r', '\n']) => {
                return Err(Violation::InvalidPayload);
            }
            _ => Some(Raw::parse(rest).ok_or(Violation::InvalidPayload)?),
        };
        let body = body(kind, id, payload).ok_or(Violation::InvalidPayload)?;
        Ok(Self { namespace, body })
    }

    /// Appends the packet, as the data of one engine message.
    pub fn write(&self, out: &mut String) {
        let (kind, id, payload) = match self.body {
            Body::Connect(data) => ('0', None, data),
            Body::Disconnect => ('1', None, None),
            Body::Event(id, args) => ('2', id, args.map(Args::raw)),
            Body::Ack(id, args) => ('3', id, args),
            Body::ConnectError(data) => ('4', None, data),
        };
        out.reserve(
            payload
                .map_or(0, |raw| raw.as_str().len())
                .saturating_add(24),
        );
        out.push(kind);
        if self.namespace != Self::ROOT {
            out.push_str(self.namespace);
            out.push(',');
        }
        if let Some(id) = id {
            out.push_str(id.digits());
        }
        if let Some(raw) = payload {
            out.push_str(raw.as_str());
        }
    }

    /// The packet as the data of one engine message.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Appends an event in the root namespace, as the data of one engine message.
///
/// # Errors
///
/// [`ReservedName`]; nothing was appended.
pub fn write_event(
    out: &mut String,
    id: Option<u64>,
    name: &str,
    argument: Option<Raw<'_>>,
) -> Result<(), ReservedName> {
    if RESERVED_NAMES.contains(&name) {
        return Err(ReservedName);
    }
    let length = argument.map_or(0, |raw| raw.as_str().len());
    out.reserve(length.saturating_add(name.len()).saturating_add(32));
    out.push('2');
    if let Some(id) = id {
        display(&id, out);
    }
    out.push('[');
    out.push_str(&json::quoted(name));
    if let Some(raw) = argument {
        out.push(',');
        out.push_str(raw.as_str());
    }
    out.push(']');
    Ok(())
}

/// Appends the acknowledgement of the server's event `id`, as the data of one engine message.
pub fn write_ack(out: &mut String, id: AckId<'_>, argument: Option<Raw<'_>>) {
    let argument = argument.map_or("", Raw::as_str);
    out.reserve(argument.len().saturating_add(32));
    out.push('3');
    out.push_str(id.digits());
    out.push('[');
    out.push_str(argument);
    out.push(']');
}

/// What is wrong with a binary packet: at least that it is one.
fn attachments(rest: &str) -> Violation {
    match rest.split_once('-') {
        Some((count, _)) if is_digits(count) => Violation::Binary,
        Some(_) | None => Violation::IllegalAttachments,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A namespace begins with `/` and ends before a comma or with the text.
fn namespace(rest: &str) -> (&str, &str) {
    if rest.starts_with('/') {
        rest.split_once(',').unwrap_or((rest, ""))
    } else {
        (Packet::ROOT, rest)
    }
}

fn ack_id(rest: &str) -> (Option<AckId<'_>>, &str) {
    let end = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match rest.split_at_checked(end) {
        Some((digits, rest)) if !digits.is_empty() => (Some(AckId(digits)), rest),
        Some(_) | None => (None, rest),
    }
}

/// The body that the type, the id and the data make; `None` when they do not go together.
fn body<'a>(kind: char, id: Option<AckId<'a>>, payload: Option<Raw<'a>>) -> Option<Body<'a>> {
    let allowed = |is: fn(Raw<'a>) -> bool| payload.is_none_or(is);
    match kind {
        '0' => allowed(Raw::is_object).then_some(Body::Connect(payload)),
        '1' => payload.is_none().then_some(Body::Disconnect),
        '2' => match payload {
            None => Some(Body::Event(id, None)),
            Some(raw) => Args::parse(raw).map(|args| Body::Event(id, Some(args))),
        },
        '3' => allowed(Raw::is_array).then_some(Body::Ack(id, payload)),
        _ => allowed(|raw| raw.is_object() || raw.text().is_some())
            .then_some(Body::ConnectError(payload)),
    }
}

/// Whether the array begins with a number or with a string that is not reserved.
fn names_event(raw: Raw<'_>) -> bool {
    let Some([Some(first)]) = raw.elements() else {
        return false;
    };
    match first.text() {
        Some(name) => !RESERVED_NAMES.iter().any(|reserved| name.is(reserved)),
        None => first.is_number(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn decoded(text: &str) -> Packet<'_> {
        Packet::decode(text).unwrap_or_else(|violation| panic!("{text}: {violation}"))
    }

    /// Covers: R1.15
    #[test]
    fn events_keep_their_values_raw() {
        let packet = decoded(r#"213["update",{"a":"\ud800","b":1e999},{}]"#);
        let Body::Event(Some(id), Some(args)) = packet.body else {
            panic!("{packet:?}")
        };
        assert_eq!((id.get(), id.digits()), (Some(13), "13"));
        assert!(args.name().unwrap().is("update"));
        assert_eq!(
            args.argument().unwrap().as_str(),
            r#"{"a":"\ud800","b":1e999}"#
        );
        assert_eq!(args.raw().elements::<4>().unwrap()[3], None);
    }

    #[test]
    fn ids_and_namespaces_are_read_as_far_as_they_go() {
        let packet = decoded("2/a/b,007[1]");
        assert_eq!(packet.namespace, "/a/b");
        let Body::Event(Some(id), Some(args)) = packet.body else {
            panic!("{packet:?}")
        };
        assert_eq!(id.get(), Some(7));
        assert_eq!((args.name(), args.argument()), (None, None));
        assert_eq!(packet.encode(), "2/a/b,007[1]");
        let huge = "9".repeat(400);
        let text = format!("3{huge}[]");
        let Body::Ack(Some(id), Some(_)) = decoded(&text).body else {
            panic!()
        };
        assert_eq!(id.get(), None);
        assert_eq!(decoded("37").body, Body::Ack(Some(AckId("7")), None));
        assert_eq!(
            decoded("3[]").body,
            Body::Ack(None, Some(Raw::trusted("[]")))
        );
    }

    /// Covers: R1.19
    #[test]
    fn names_of_the_library_are_refused_both_ways_however_escaped() {
        for name in RESERVED_NAMES {
            let text = format!(r#"2["{name}"]"#);
            assert_eq!(Packet::decode(&text), Err(Violation::InvalidPayload));
            let mut out = String::new();
            assert_eq!(write_event(&mut out, None, name, None), Err(ReservedName));
            assert_eq!(out, "");
        }
        assert_eq!(
            Packet::decode(r#"2["c\u006fnnect"]"#),
            Err(Violation::InvalidPayload)
        );
        assert!(format!("{ReservedName}").contains("reserved"));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (text, violation) in [
            ("x", Violation::UnknownType),
            ("7", Violation::UnknownType),
            (" ", Violation::UnknownType),
            ("2 [\"a\"]", Violation::InvalidPayload),
            ("2[\"a\"]x", Violation::InvalidPayload),
            ("2[null]", Violation::InvalidPayload),
            ("2[[1]]", Violation::InvalidPayload),
            ("2\"a\"", Violation::InvalidPayload),
            ("0null", Violation::InvalidPayload),
            ("0\"a\"", Violation::InvalidPayload),
            ("1{}", Violation::InvalidPayload),
            ("3\"a\"", Violation::InvalidPayload),
            ("4[]", Violation::InvalidPayload),
            ("4 1", Violation::InvalidPayload),
            ("5", Violation::IllegalAttachments),
            ("5-[]", Violation::IllegalAttachments),
            ("50-[\"a\"]", Violation::Binary),
            ("61-0[]", Violation::Binary),
        ] {
            assert_eq!(Packet::decode(text), Err(violation), "{text}");
            assert!(!format!("{violation}").is_empty());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = String::new();
        write_event(&mut out, Some(u64::MAX), "a\"b", Some(Raw::NULL)).unwrap();
        assert_eq!(out, r#"218446744073709551615["a\"b",null]"#);
        let Body::Event(Some(id), Some(args)) = decoded(&out).body else {
            panic!()
        };
        assert_eq!(id.get(), Some(u64::MAX));
        assert!(args.name().unwrap().is("a\"b"));
        let mut ack = String::new();
        write_ack(&mut ack, id, Some(Raw::EMPTY_OBJECT));
        assert_eq!(ack, "318446744073709551615[{}]");
        ack.clear();
        write_ack(&mut ack, id, None);
        assert_eq!(decoded(&ack).encode(), ack);
        assert_eq!(decoded("1"), Packet::root(Body::Disconnect));
        for text in ["0", "1", "2", "4\"no\"", "4{}", "0{}", "20[\"e\"]"] {
            assert_eq!(decoded(text).encode(), text);
        }
    }
}
