//! Byte streams as clients send them: valid, almost valid and hostile; and how they are cut.

use hallway_core::Limits;
use hallway_core::limits::LimitsBuilder;

use super::frames::Rules;
use super::json::quote;
use super::source::Source;

const LONG_PATH: &str = "/a \"b\"/\u{e9}/ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp.sock";

/// Rules with bounds so small that inputs of a few lines reach them.
#[must_use]
pub fn rules(source: &mut Source<'_>) -> Rules {
    let token = source.pick(&["T", "0123456789abcdef", "\u{e9}\"\\\u{1f600}"]);
    // A few answers that name the long one fill the output.
    let path = source.pick(&["/s", LONG_PATH]);
    Rules {
        token: token.to_owned(),
        path: path.to_owned(),
        limits: limits(source),
    }
}

/// Bounds near the least that are allowed.
///
/// # Panics
///
/// When the core refuses them.
#[must_use]
pub fn limits(source: &mut Source<'_>) -> Limits {
    bounds(source).build().expect("limits within their ranges")
}

/// [`limits`] in the making.
#[must_use]
pub fn bounds(source: &mut Source<'_>) -> LimitsBuilder {
    let ms = std::time::Duration::from_millis;
    Limits::builder()
        .max_frame_bytes(512 + source.below(2) * 88)
        .max_frame_depth(128 + source.below(2))
        .max_inbox_entries(source.pick(&[1_000, 1, 2, 5]))
        .max_inbox_bytes(source.pick(&[1 << 20, 600, 700, 1_300]))
        .max_inbox_entries_per_peer(source.pick(&[1_000, 1, 3]))
        .max_inbox_bytes_per_peer(source.pick(&[1 << 20, 600, 1_000]))
        .max_clients(4)
        .max_clients_per_peer(source.pick(&[4, 2]))
        .max_unauthenticated_clients(source.pick(&[4, 2, 1]))
        .max_refused_clients(source.pick(&[2, 1]))
        .max_outbox_bytes(1_024 + source.below(300))
        .max_pending_sends(source.pick(&[256, 1, 2, 3]))
        .auth_timeout(ms(20))
        .idle_timeout(ms(source.pick(&[30, 20, 10])))
        .closing_timeout(ms(10))
        .send_timeout(ms(50))
        .ping_timeout(ms(source.pick(&[30, 50, 70])))
}

/// Bounds beyond the first size of every buffer, so that those grow and are given back.
///
/// # Panics
///
/// When the core refuses them.
#[must_use]
pub fn wide_limits() -> Limits {
    let bounds = Limits::builder().max_frame_bytes(9_000);
    let bounds = bounds.max_outbox_bytes(9_000).max_inbox_entries(50);
    bounds.build().expect("limits within their ranges")
}

/// `input` over and over, until it fills the buffers of [`wide_limits`].
#[must_use]
pub fn repeated(input: &[u8]) -> Vec<u8> {
    input.repeat(1 + 6_000 / input.len().max(300))
}

/// `input` after a blank line that is longer than the first size of a buffer.
#[must_use]
pub fn padded(input: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b' '; 4_200];
    bytes.push(b'\n');
    bytes.extend_from_slice(input);
    bytes
}

/// A stream of lines, until `source` ends it: mostly good ones, or any.
#[must_use]
pub fn stream(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let mut bytes = Vec::new();
    let is_good = !source.once_in(3);
    while !source.is_empty() && !source.once_in(24) {
        if is_good && !source.once_in(16) {
            bytes.extend_from_slice(&good_line(source, rules));
        } else {
            bytes.extend_from_slice(&line(source, rules));
        }
        if !source.once_in(60) {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A line that a server takes; without its newline.
fn good_line(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    match source.below(8) {
        0..2 => message(source, rules, r#""type":"text""#, true),
        2..4 => {
            let ping = format!(r#""ty\u0070e":{}"#, spelled(source, "ping"));
            message(source, rules, &ping, true)
        }
        4..6 => {
            let other = value(source, 4);
            message(source, rules, &other, false)
        }
        6 => source.pick(&["", " ", "\r", "\t \r"]).as_bytes().to_vec(),
        _ => long(source, rules, &[300, rules.limits.max_frame_bytes()]),
    }
}

/// Any line of a client: good, almost good, or hostile; without its newline.
#[must_use]
pub fn line(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let limit = rules.limits.max_frame_bytes();
    match source.below(16) {
        0..4 => good_line(source, rules),
        4 => long(source, rules, &[limit, limit - 1, limit + 1, 2 * limit]),
        5 => nested(source, rules),
        6 | 7 => almost(source, rules),
        8 => value(source, 5).into_bytes(),
        9 | 10 => odd_token(source, rules),
        11 => twice(source, rules),
        12 => (0..source.below(40)).map(|_| source.byte()).collect(),
        _ => source.pick(&HOSTILE).to_vec(),
    }
}

/// Lines that parsers were seen to disagree on.
const HOSTILE: [&[u8]; 22] = [
    b"null",
    b" null \r",
    b"\x0b",
    b" \x0c\r",
    b"\xc2\xa0",
    b"\xef\xbb\xbf{}",
    b"\x0b{\"meta\":{\"authToken\":\"T\"}}",
    b"{\"meta\":{\"authToken\":\"T\"}}\xc2\xa0",
    b"{\"meta\":{\"authToken\":\"T\"}}\x00",
    b"{\"meta\":{\"authToken\":\"T\"}} {}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\xff\"}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\xed\xa0\xbd\"}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\x1f\"}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\t\"}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\x7f\"}",
    b"{\"meta\":{\"authToken\":\"T\"},}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":01}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":.5}",
    b"{\"meta\":{\"authToken\":\"T\"},\"a\":\"\\x\"}",
    b"{\"meta\":{\"authToken\":\"T\"},'a':1}",
    b"[1,2",
    b"NaN",
];

fn space(source: &mut Source<'_>) -> &'static str {
    source.pick(&["", "", "", "", " ", "\t", " \r "])
}

/// `text` as a JSON string, plainly or with nothing but escapes.
fn spelled(source: &mut Source<'_>, text: &str) -> String {
    if source.once_in(4) {
        let escapes = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        return format!("\"{}\"", escapes.collect::<String>());
    }
    quote(text)
}

/// An object that presents the token, around `first`: a whole member, or else a value.
fn message(source: &mut Source<'_>, rules: &Rules, first: &str, is_member: bool) -> Vec<u8> {
    let token = spelled(source, &rules.token);
    let key = source.pick(&["meta", "m\\u0065ta"]);
    let token_key = source.pick(&["authToken", "auth\\u0054oken"]);
    let (a, b, c) = (space(source), space(source), space(source));
    let secret = format!(r#""{token_key}"{a}:{b}{token}"#);
    let meta = match source.below(6) {
        0 => format!(r#""n":1,{secret}"#),
        1 => format!(r#"{secret}{c},{a}"n":[1]"#),
        2 => format!(r#""m":{{}}{a},{secret}{b},"n":"\ud83d""#),
        _ => secret,
    };
    let meta = format!(r#""{key}"{b}:{c}{{{a}{meta}{c}}}"#);
    let first = if is_member {
        first.to_owned()
    } else {
        let name = source.pick(&["data", "x", "__proto__", "\\ud83d", "type", "ty\\u0070e"]);
        format!(r#""{name}"{a}:{first}"#)
    };
    let text = match source.below(4) {
        0 => format!("{a}{{{meta}{b}}}{c}"),
        1 => format!("{{{meta}{a},{b}{first}{c}}}{a}"),
        2 => format!("{{{first},{a}{meta}{b},{c}\"data\":{}}}", value(source, 3)),
        _ => format!("{{{first}{c},{meta}}}"),
    };
    text.into_bytes()
}

/// Any JSON value.
fn value(source: &mut Source<'_>, levels: usize) -> String {
    let choices = if levels == 0 { 6 } else { 8 };
    let (a, b) = (space(source), space(source));
    match source.below(choices) {
        0 => quote(source.pick(&["x", "", "ping", "\u{e9}\u{1f600}", "\u{0}\u{1f}\u{7f}\"\\"])),
        1 => source
            .pick(&[
                "0",
                "-0",
                "1e999",
                "-1.50E+3",
                "123456789012345678901234567890",
            ])
            .to_owned(),
        2 => source.pick(&["true", "false", "null"]).to_owned(),
        3 => source
            .pick(&[
                r#""\ud83d""#,
                r#""\ud83d\ude00""#,
                r#""\u0000\/\b""#,
                r#""p\u0069ng""#,
            ])
            .to_owned(),
        4 => "{}".to_owned(),
        5 => "[]".to_owned(),
        6 => {
            let items: Vec<_> = (0..1 + source.below(3))
                .map(|_| value(source, levels - 1))
                .collect();
            format!("[{a}{}{b}]", items.join(","))
        }
        _ => {
            let members: Vec<_> = (0..1 + source.below(3))
                .map(|_| {
                    format!(
                        r#""{}"{a}:{b}{}"#,
                        source.pick(&["a", "a", "meta", "authToken", "type"]),
                        value(source, levels - 1)
                    )
                })
                .collect();
            format!("{{{}{a}}}", members.join(","))
        }
    }
}

/// A message of one of these lengths.
fn long(source: &mut Source<'_>, rules: &Rules, lengths: &[usize]) -> Vec<u8> {
    let length = source.pick(lengths);
    let token = quote(&rules.token);
    let mut line = format!(r#"{{"meta":{{"authToken":{token}}},"data":""#).into_bytes();
    line.resize(length - 2, b'x');
    line.extend_from_slice(b"\"}");
    line
}

/// A message nested as deep as is allowed, or one level more.
fn nested(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let levels = rules.limits.max_frame_depth() - 1 + source.below(3);
    let (open, close) = source.pick(&[("[", "]"), (r#"{"a":"#, "}")]);
    let nested = format!("{}1{}", open.repeat(levels - 1), close.repeat(levels - 1));
    let token = quote(&rules.token);
    match source.below(3) {
        0 => format!(r#"{{"data":{nested},"meta":{{"authToken":{token}}}}}"#),
        1 => format!(r#"{{"meta":{{"authToken":{token},"x":{nested}}}}}"#),
        _ => format!("[{nested}]"),
    }
    .into_bytes()
}

/// A good message with one byte changed, removed or added.
fn almost(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let mut line = message(source, rules, r#""type":"text""#, true);
    let at = source.below(line.len());
    match source.below(4) {
        0 => line[at] ^= 1 << source.below(8),
        1 => drop(line.remove(at)),
        2 => line.insert(at, source.pick(b"{}[]\",:\\ \r\t0-.e\0\x80x")),
        _ => line.truncate(at),
    }
    line
}

/// An object whose token is wrong, or stands in the wrong place.
fn odd_token(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let mut longer = rules.token.clone();
    longer.push('x');
    let mut shorter = rules.token.clone();
    shorter.pop();
    let wrong = match source.below(7) {
        0 => r#""""#.to_owned(),
        1 => quote(&longer),
        2 => quote(&shorter),
        3 => quote(&rules.token.replace(['T', 'f'], "U")),
        4 => r#""\ud83d""#.to_owned(),
        5 => format!("[{}]", quote(&rules.token)),
        _ => value(source, 2),
    };
    match source.below(5) {
        0 => format!(r#"{{"authToken":{}}}"#, quote(&rules.token)),
        1 => format!(r#"{{"meta":{}}}"#, value(source, 2)),
        2 => "{}".to_owned(),
        _ => format!(r#"{{"type":"ping","meta":{{"authToken":{wrong}}}}}"#),
    }
    .into_bytes()
}

/// A message with a member twice: one that is interpreted, or one that is not.
fn twice(source: &mut Source<'_>, rules: &Rules) -> Vec<u8> {
    let secret = format!(r#""authToken":{}"#, quote(&rules.token));
    match source.below(6) {
        0 => format!(r#"{{"type":"ping","typ\u0065":"ping","meta":{{{secret}}}}}"#),
        1 => format!(r#"{{"meta":{{{secret}}},"meta":{{{secret}}}}}"#),
        2 => format!(r#"{{"meta":{{{secret},"auth\u0054oken":"x"}}}}"#),
        3 => format!(r#"{{"meta":null,"meta":{{{secret}}}}}"#),
        _ => format!(r#"{{"a":1,"a":2,"meta":{{"n":1,{secret},"n":2}}}}"#),
    }
    .into_bytes()
}

/// Short reads come so many bytes long.
const BURST: usize = 100;

/// The lengths of the reads in which `length` bytes arrive. Those of a few bytes are a burst
/// somewhere among long ones.
#[must_use]
pub fn cuts(source: &mut Source<'_>, length: usize) -> Vec<usize> {
    let most = source.pick(&[usize::MAX, 1, 2, 7, 40, 513, 2_000]);
    let burst = match length.checked_sub(BURST) {
        Some(last) if most < 40 => {
            let from = source.below(last + 1);
            from..from + BURST
        }
        _ => 0..length,
    };
    let mut cuts = Vec::with_capacity(16);
    let mut at = 0;
    while at < length {
        let (end, most) = match at {
            _ if at < burst.start => (burst.start, 2_000),
            _ if at < burst.end => (burst.end, most),
            _ => (length, 2_000),
        };
        let n = most.min(end - at);
        let cut = if n > 1 && most < usize::MAX {
            1 + source.below(n)
        } else {
            n
        };
        cuts.push(cut);
        at += cut;
    }
    cuts
}
