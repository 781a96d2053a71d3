//! The model itself against the words of the contract: each row of the table in local.md §3,
//! as it stands there, with literal inputs and outputs.

use hallway_core::Limits;
use hallway_tests::model::conversation::{Ending, converse};
use hallway_tests::model::frames::{Rules, split};
use hallway_tests::model::json::{Json, decode, quote};

const OK: &str =
    r#"{"type":"response","data":"ok","ts":"2026-01-02T03:04:05.678Z","meta":{"id":"uds-1"}}"#;
const PONG: &str = r#"{"type":"pong","from":"/s","ts":"2026-01-02T03:04:05.678Z"}"#;

fn rules() -> Rules {
    Rules {
        token: "T".to_owned(),
        path: "/s".to_owned(),
        limits: Limits::DEFAULT,
    }
}

/// The replies to `input`, and what was kept.
fn told(input: &[u8]) -> (String, Vec<String>) {
    let told = converse(input, &rules(), 1, 0);
    let refused = matches!(told.ending, Ending::Refused(_));
    assert_eq!(told.replies.contains(r#""type":"error""#), refused);
    (told.replies, told.kept)
}

fn refusal(text: &str) -> String {
    format!(r#"{{"type":"error","data":"{text}","ts":"2026-01-02T03:04:05.678Z"}}"#) + "\n"
}

#[test]
fn accepted_frames() {
    let ping = br#"{"type":"ping","meta":{"authToken":"T"}}"#;
    let lines = [&ping[..], b"\r\n\n \t\r\n", ping, b"\n"].concat();
    assert_eq!(told(&lines), (format!("{PONG}\n{PONG}\n"), vec![]));
    for (frame, kept) in [
        (
            r#"{"type":"text","data":"x","meta":{"authToken":"T"}}"#,
            r#"{"type":"text","data":"x"}"#,
        ),
        (
            r#"{"meta":{"authToken":"T"}, "type":"new"}"#,
            r#"{"type":"new"}"#,
        ),
        (r#"{"meta":{"authToken":"T"}}"#, "{}"),
        (
            r#"{"a":1 , "meta" :{"authToken":"T" , "n":1}}"#,
            r#"{"a":1 , "meta" :{"n":1}}"#,
        ),
        (
            r#"{"meta":{"m":0, "authToken":"T", "n":1}}"#,
            r#"{"meta":{"m":0, "n":1}}"#,
        ),
        (
            r#"{"m\u0065ta":{"auth\u0054oken":"\u0054"},"data":"\ud83d"}"#,
            r#"{"data":"\ud83d"}"#,
        ),
        (
            r#"{"__proto__":1e999,"x":1,"x":2,"meta":{"authToken":"T"}}"#,
            r#"{"__proto__":1e999,"x":1,"x":2}"#,
        ),
    ] {
        let expected = (format!("{OK}\n"), vec![kept.to_owned()]);
        assert_eq!(told(format!("{frame}\n").as_bytes()), expected, "{frame}");
    }
}

#[test]
fn refused_frames() {
    let invalid: [&[u8]; 14] = [
        b"x",
        b"{",
        b"null",
        b" null ",
        b"\xef\xbb\xbf{}",
        b"\"\xff\"",
        b"\"\x01\"",
        b"{} {}",
        b"{\"a\":01}",
        b"{\"a\":1,}",
        b"[1,]",
        br#"{"type":1,"typ\u0065":2,"meta":{"authToken":"T"}}"#,
        br#"{"meta":{"authToken":"T"},"meta":{"authToken":"T"}}"#,
        br#"{"meta":{"authToken":"T","authToken":"T"}}"#,
    ];
    let unauthorized: [&[u8]; 13] = [
        b"1",
        b"-0.5e+7",
        b"\"T\"",
        b"true",
        b"[]",
        b"[null]",
        b"{}",
        br#"{"authToken":"T"}"#,
        br#"{"meta":{"authToken":""}}"#,
        br#"{"meta":{"authToken":"t"}}"#,
        br#"{"meta":{"authToken":["T"]}}"#,
        br#"{"meta":"T"}"#,
        br#"{"meta":{"authToken":"\ud83d"}}"#,
    ];
    for (frames, text) in [
        (&invalid[..], "invalid frame"),
        (&unauthorized[..], "unauthorized"),
    ] {
        for frame in frames {
            let lines = [frame, &b"\n{\"meta\":{\"authToken\":\"T\"}}\n"[..]].concat();
            let shown = String::from_utf8_lossy(frame);
            assert_eq!(told(&lines), (refusal(text), vec![]), "{shown}");
        }
    }
}

#[test]
fn long_frames() {
    let head = r#"{"meta":{"authToken":"T"},"data":""#;
    let of = |length: usize| format!("{head}{}\"}}", "x".repeat(length - head.len() - 2));
    assert_eq!(
        told(format!("{}\n", of(65_536)).as_bytes()).0,
        format!("{OK}\n")
    );
    let too_long = refusal("NDJSON frame exceeded 65536 bytes (65537)");
    assert_eq!(told(of(65_537).as_bytes()), (too_long.clone(), vec![]));
    assert_eq!(
        told(format!("{}\n{{}}\n", of(70_000)).as_bytes()),
        (too_long, vec![])
    );
    assert_eq!(split(b"ab\nabc\nabcd", 3).too_long, Some(10));
    assert_eq!(split(b"ab\r\n", 3).lines, [(&b"ab\r"[..], 4)]);
}

#[test]
fn deep_frames() {
    let of = |levels: usize| {
        let nested = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!("{{\"meta\":{{\"authToken\":\"T\"}},\"data\":{nested}}}\n")
    };
    assert_eq!(told(of(512).as_bytes()).0, format!("{OK}\n"));
    assert_eq!(told(of(513).as_bytes()).0, refusal("invalid frame"));
}

#[test]
fn a_full_inbox_ends_the_conversation_and_burns_no_id() {
    let mut rules = rules();
    rules.limits = Limits::builder()
        .max_inbox_entries(1)
        .build()
        .expect("limits");
    let line = "{\"meta\":{\"authToken\":\"T\"}}\n";
    let told = converse(line.repeat(3).as_bytes(), &rules, 1, 0);
    assert_eq!(told.replies, format!("{OK}\n{}", refusal("inbox full")));
    assert_eq!(told.kept, ["{}"]);
    let drained = converse(line.repeat(3).as_bytes(), &rules, 1, 1);
    assert_eq!((drained.kept.len(), drained.ending), (3, Ending::Finished));
    assert!(drained.replies.contains("uds-3"));
}

#[test]
fn json_is_read_as_rfc_8259_has_it() {
    for text in [
        "0",
        "-0",
        "1.5",
        "1E5",
        "1e-5",
        "1e999",
        "\"\"",
        r#""\u0000\ud83d\"\\\/\b\f\n\r\t""#,
        "[]",
        "[ 1 , [ ] ]",
        "{}",
        r#"{"":{"a":[{}]}}"#,
        "true",
        " null\n",
        "\"\u{7f}\u{2028}\"",
    ] {
        assert!(Json::read(text).is_some(), "{text}");
    }
    for text in [
        "",
        " ",
        "01",
        "+1",
        "-",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "'a'",
        "\"",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12"#,
        "\"\n\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "]",
        "[}",
        "{,}",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        "{} {}",
        "1 2",
        "nul",
        "truex",
        "\u{a0}1",
        "//1",
        "[1]//",
    ] {
        assert!(Json::read(text).is_none(), "{text}");
    }
}

#[test]
fn json_is_taken_apart_and_put_together() {
    let json = Json::read(r#" {"a" : [1, {"x":2}] , "\u0062":"c"} "#).expect("an object");
    let members = json.members().expect("its members");
    let pairs: Vec<_> = members
        .iter()
        .map(|member| (member.key, member.value))
        .collect();
    assert_eq!(
        pairs,
        [("\"a\"", "[1, {\"x\":2}]"), (r#""\u0062""#, "\"c\"")]
    );
    assert!(members[1].is("b") && json.depth == 3);
    assert_eq!(
        decode(r#""\ud83d\ude00\u00e9\/""#).as_deref(),
        Some("\u{1f600}\u{e9}/")
    );
    assert_eq!(decode(r#""\ude00\ud83d""#), None);
    assert_eq!(decode("1"), None);
    assert_eq!(
        quote("\u{8}\u{c}\n\r\t\u{1f}\u{7f}\"\\/é"),
        "\"\\b\\f\\n\\r\\t\\u001f\u{7f}\\\"\\\\/é\""
    );
}
