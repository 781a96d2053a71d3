use std::iter::repeat;

use hallway_core::local::capability::{self, CapabilityError};
use hallway_core::local::exchange::Data;
use hallway_core::local::input::{Input, InputError};
use hallway_core::local::record::{Record, RecordError};
use hallway_core::{Token, UnixTime};

use super::plan;
use crate::model::json::{Json, Member, decode, last, quote};
use crate::model::source::Source;

/// The members of a whole text that is one JSON object.
fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let json = std::str::from_utf8(bytes).ok().and_then(Json::read)?;
    json.members().map(<[_]>::to_vec)
}

/// Arbitrary bytes, or an object of members with these names; at times as long as is allowed,
/// or a byte more.
fn object(source: &mut Source<'_>, names: &[&str], texts: &[&str], longest: usize) -> Vec<u8> {
    const ODD: [&str; 8] = [
        "7",
        "null",
        r#""\ud83d""#,
        "[1, {}]",
        "1767323045678",
        "1e999",
        r#"{"a":[1]}"#,
        "-1",
    ];
    let mut plan = plan(source);
    if plan.once_in(2) {
        return source.rest().to_vec();
    }
    let mut text = String::from("{");
    while !source.is_empty() {
        if text.len() > 1 {
            text.push(',');
        }
        let (key, space) = (quote(source.pick(names)), source.pick(&["", " ", "\n"]));
        text.extend([key.as_str(), space, ":"]);
        match source.below(4) {
            0 => text.push_str(source.pick(&ODD)),
            1 => text.push_str(&source.below(1 << 20).to_string()),
            _ => text.push_str(&quote(source.pick(texts))),
        }
        text.push_str(space);
    }
    if plan.once_in(64) && longest > text.len() {
        let padding = longest - text.len() - plan.below(2);
        text.push_str(&" ".repeat(padding));
    }
    let mut bytes = (text + "}").into_bytes();
    if plan.once_in(6) {
        let at = plan.below(bytes.len());
        bytes[at] ^= 1 << plan.below(8);
    }
    bytes
}

/// A registry entry is read as it is written: every member, in order, byte for byte; of
/// duplicates the last counts; what is set is read back (local.md §2).
///
/// # Panics
///
/// When it is not.
pub fn check_record(bytes: &[u8]) {
    const NAMES: [&str; 9] = [
        "pid",
        "sessionId",
        "cwd",
        "startedAt",
        "kind",
        "entrypoint",
        "messagingSocketPath",
        "name",
        "processStart",
    ];
    let mut source = Source::Bytes(bytes);
    let texts = ["/s", "bg", "\u{e9}\"", "1", "\"a\""];
    let text = object(&mut source, &NAMES, &texts, Record::MAX_BYTES);
    let expected = members(&text).filter(|_| text.len() <= Record::MAX_BYTES);
    let parsed = Record::parse(7, &text);
    let (Some(expected), Ok(mut record)) = (&expected, parsed.clone()) else {
        assert!(expected.is_none(), "{}", String::from_utf8_lossy(&text));
        let too_long = text.len() > Record::MAX_BYTES;
        let error = if too_long {
            RecordError::TooLong
        } else {
            RecordError::NotAnObject
        };
        assert_eq!(parsed, Err(error));
        return;
    };
    assert_eq!(record.pid(), 7, "the file's name counts");
    let mut printed = String::with_capacity(text.len());
    for (member, before) in expected.iter().zip(["{"].into_iter().chain(repeat(","))) {
        printed.extend([before, member.key, ":", member.value]);
    }
    printed.push_str(if printed.is_empty() { "{}" } else { "}" });
    assert_eq!(record.print(), printed);
    let raw = NAMES.map(|name| last(expected, name));
    for (name, raw) in NAMES.into_iter().zip(raw) {
        assert_eq!(record.raw(name), raw, "{name}");
    }
    let read = |record: &Record| {
        [
            record.session_id(),
            record.cwd(),
            record.kind(),
            record.entrypoint(),
            record.socket_path(),
            record.name(),
            record.process_start(),
        ]
        .map(|text| text.map(String::from))
    };
    let of_text = [1, 2, 4, 5, 6, 7, 8];
    let texts = of_text.map(|at| raw[at].and_then(decode));
    assert_eq!(read(&record), texts);
    let is_integer = |raw: &&str| raw.bytes().all(|byte| byte.is_ascii_digit());
    let started = raw[3].filter(is_integer).and_then(|raw| raw.parse().ok());
    assert_eq!(record.started_at(), started.and_then(UnixTime::from_millis));

    // One member is set, and no other changes.
    let (changed, value) = (text.len() % NAMES.len(), "\u{e9}\"\n");
    record.set_text(NAMES[changed], value);
    assert_eq!(record.raw(NAMES[changed]), Some(quote(value).as_str()));
    let mut expected = texts;
    for (text, at) in expected.iter_mut().zip(of_text) {
        if at == changed {
            *text = Some(value.to_owned());
        }
    }
    assert_eq!(read(&record), expected);
    assert_eq!(Record::parse(7, record.print().as_bytes()), Ok(record));
}

/// A capability file yields its token exactly when it is one object that speaks of this very
/// socket and has a usable one; what is printed is read back (local.md §2).
///
/// # Panics
///
/// When it is not so.
pub fn check_capability(bytes: &[u8]) {
    const PATH: &str = "/tmp/\"a\"\u{e9}/s";
    let mut source = Source::Bytes(bytes);
    let long = "x".repeat(1_025);
    let values = [
        PATH,
        "T",
        "",
        "0123456789abcdef",
        "\u{1f600}\\",
        long.as_str(),
        "/tmp",
    ];
    let names = ["socketPath", "authToken", "more"];
    let text = object(&mut source, &names, &values, capability::MAX_BYTES);
    let found = members(&text);
    let path = found
        .as_ref()
        .and_then(|all| last(all, "socketPath"))
        .and_then(decode);
    let token = found
        .as_ref()
        .and_then(|all| last(all, "authToken"))
        .and_then(decode);
    let expected = match (
        found.is_some() && text.len() <= capability::MAX_BYTES,
        path,
        token,
    ) {
        (false, ..) => Err(CapabilityError::NotAnObject),
        (_, Some(path), Some(token)) if path == PATH && (1..=1_024).contains(&token.len()) => {
            Ok(token)
        }
        (_, Some(path), _) if path == PATH => Err(CapabilityError::NoToken),
        _ => Err(CapabilityError::OtherSocket),
    };
    let parsed = capability::parse(&text, PATH);
    let exposed = parsed.as_ref().map(|token| token.expose().to_owned());
    assert_eq!(
        exposed.map_err(|error| *error),
        expected,
        "{}",
        String::from_utf8_lossy(&text)
    );
    if let Ok(token) = expected {
        let printed = capability::print(PATH, &Token::parse(&token).expect("a token"));
        let (path, secret) = (quote(PATH), quote(&token));
        assert_eq!(
            *printed,
            format!(r#"{{"socketPath":{path},"authToken":{secret}}}"#)
        );
        let read = capability::parse(printed.as_bytes(), PATH).expect("its own text");
        assert!(read.verify(&token));
        assert!(!read.verify(&format!("{token}x")) && !read.verify(""));
    }
}

/// A line that a user pipes in is sent exactly when it is one object with a `data`, at most a
/// `type` that is a string, and nothing else.
///
/// # Panics
///
/// When it is not so.
pub fn check_input(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let names = ["data", "type", "ty\u{70}e", "to"];
    let text = object(&mut source, &names, &["text", "\u{1f600}"], 0);
    let Ok(line) = std::str::from_utf8(&text) else {
        return;
    };
    let parsed = Input::parse(line);
    let Some(found) = members(&text) else {
        // Which of the two is said depends on what the reader meets first.
        let refused = matches!(parsed, Err(InputError::NotAnObject | InputError::Member));
        assert!(refused, "{line}: {parsed:?}");
        return;
    };
    let count = |name| found.iter().filter(|member| member.is(name)).count();
    let (kinds, data) = (count("type"), last(&found, "data"));
    let kind = match last(&found, "type") {
        None => Some("text".to_owned()),
        Some(raw) => decode(raw),
    };
    let only_these = found.len() == kinds + count("data") && kinds <= 1 && count("data") <= 1;
    match (only_these, kind, data) {
        (false, ..) => assert_eq!(parsed, Err(InputError::Member), "{line}"),
        (_, None, _) => assert_eq!(parsed, Err(InputError::Type), "{line}"),
        (_, _, None) => assert_eq!(parsed, Err(InputError::NoData), "{line}"),
        (_, Some(kind), Some(data)) => {
            let input = parsed.expect("a line to send");
            let draft = input.draft();
            assert_eq!((draft.kind, draft.from), (kind.as_str(), None));
            assert_eq!(draft.data, Data::Json(data));
        }
    }
}
