use super::*;
use alloc::format;

fn parse(text: &str) -> Result<(Kind, Option<String>, String), MessageError> {
    Message::parse(text.as_bytes(), &Limits::DEFAULT).map(|message| {
        let mut token = None;
        message.presents(|text| {
            token = Some(String::from(text));
            true
        });
        assert_eq!(message.kept().len(), message.kept().to_text().len());
        assert!(!message.kept().is_empty());
        (
            message.kind(),
            token,
            String::from(message.kept().to_text()),
        )
    })
}

#[track_caller]
fn kept(text: &str) -> String {
    let (_, token, kept) = parse(text).unwrap();
    assert_eq!(token.as_deref(), Some("T"), "{text}");
    kept
}

#[test]
fn the_token_goes_and_all_else_stays() {
    for (frame, expected) in [
        (
            r#"{"type":"text","data":"x","meta":{"authToken":"T"}}"#,
            r#"{"type":"text","data":"x"}"#,
        ),
        (r#"{"meta":{"authToken":"T"},"data":1}"#, r#"{"data":1}"#),
        (r#"{"meta":{"authToken":"T"}}"#, "{}"),
        (
            r#"{"a":1,"meta":{"authToken":"T"},"b":2}"#,
            r#"{"a":1,"b":2}"#,
        ),
        (r#"{"meta":{"authToken":"T","n":1}}"#, r#"{"meta":{"n":1}}"#),
        (r#"{"meta":{"n":1,"authToken":"T"}}"#, r#"{"meta":{"n":1}}"#),
        (
            r#"{"meta":{"m":0,"authToken":"T","n":1}}"#,
            r#"{"meta":{"m":0,"n":1}}"#,
        ),
        (
            " { \"a\" : 1 , \"meta\" : { \"authToken\" : \"T\" , \"n\" : 1 } } \r",
            "{ \"a\" : 1 , \"meta\" : { \"n\" : 1 } }",
        ),
        (
            "{ \"a\" : 1 , \"meta\" : { \"authToken\" : \"T\" } , \"b\" : 2 }",
            "{ \"a\" : 1 , \"b\" : 2 }",
        ),
        (
            "{ \"meta\" : { \"authToken\" : \"T\" } , \"b\" : 2 }",
            "{ \"b\" : 2 }",
        ),
        ("{ \"meta\" : { \"authToken\" : \"T\" } }", "{  }"),
    ] {
        assert_eq!(kept(frame), expected);
        assert!(json::is_value(expected));
    }
}

#[test]
fn what_javascript_peers_produce_survives() {
    for data in [
        r#""\ud83d""#,
        "1e999",
        "123456789012345678901234567890",
        "-0",
        r#"{"__proto__":{"a":[]}}"#,
        "[1, 2]",
        r#""\u0000\/""#,
        "\"\u{2028}\u{1f600}\"",
        "null",
    ] {
        let frame =
            format!(r#"{{"data":{data},"__proto__":1,"\ud83d":2,"meta":{{"authToken":"T"}}}}"#);
        let expected = format!(r#"{{"data":{data},"__proto__":1,"\ud83d":2}}"#);
        assert_eq!(kept(&frame), expected);
    }
}

#[test]
fn escaped_names_and_tokens_mean_what_they_say() {
    assert_eq!(
        kept(r#"{"m\u0065ta":{"auth\u0054oken":"\u0054"},"a":1}"#),
        r#"{"a":1}"#
    );
    assert_eq!(parse(r#"{"t\u0079pe":"p\u0069ng"}"#).unwrap().0, Kind::Ping);
    assert_eq!(parse(r#"{"type":"pingg"}"#).unwrap().0, Kind::Other);
    assert_eq!(parse(r#"{"type":["ping"]}"#).unwrap().0, Kind::Other);
}

#[test]
fn without_a_string_token_none_is_presented_and_all_stays() {
    for frame in [
        "{}",
        r#"{"meta":null}"#,
        r#"{"meta":"authToken"}"#,
        r#"{"meta":[]}"#,
        r#"{"meta":{}}"#,
        r#"{"authToken":"T"}"#,
        r#"{"data":{"meta":{"authToken":"T"}}}"#,
        r#"{"meta":{"meta":{"authToken":"T"}}}"#,
    ] {
        let (_, token, kept) = parse(frame).unwrap();
        assert_eq!((token, kept.as_str()), (None, frame));
    }
    for frame in [
        r#"{"meta":{"authToken":7}}"#,
        r#"{"meta":{"authToken":null}}"#,
        r#"{"meta":{"authToken":"\ud83d"}}"#,
        r#"{"meta":{"authToken":["T"]}}"#,
    ] {
        assert_eq!(parse(frame).unwrap().1, None, "{frame}");
    }
}

/// Covers: L3.38
#[test]
fn duplicates_of_interpreted_members_are_invalid() {
    for frame in [
        r#"{"type":"text","type":"ping"}"#,
        r#"{"type":"text","typ\u0065":"text"}"#,
        r#"{"meta":{},"meta":{}}"#,
        r#"{"meta":null,"m\u0065ta":{}}"#,
        r#"{"meta":{"authToken":"T","authToken":"T"}}"#,
        r#"{"meta":{"authToken":"T","auth\u0054oken":"T"}}"#,
    ] {
        assert_eq!(parse(frame), Err(MessageError::Invalid), "{frame}");
    }
    let others = r#"{"a":1,"a":2,"meta":{"n":1,"n":2,"authToken":"T"}}"#;
    assert_eq!(kept(others), r#"{"a":1,"a":2,"meta":{"n":1,"n":2}}"#);
}

#[test]
fn what_is_no_object() {
    for frame in ["1", "-1.5e3", "\"ping\"", "true", "[]", " [{}] \r"] {
        assert_eq!(parse(frame), Err(MessageError::NotAnObject), "{frame}");
    }
    for frame in [
        "null",
        " null ",
        "nul",
        "[1",
        "{",
        "{\"a\":1}}",
        "{\"a\":1} {}",
        "\u{feff}{}",
        "'a'",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\t\"}",
        "\u{a0}{}",
        "NaN",
        "{\"a\":}",
    ] {
        assert_eq!(parse(frame), Err(MessageError::Invalid), "{frame}");
    }
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"\xc3",
        b"{\"a\":\"\xed\xa0\xbd\"}",
    ] {
        let parsed = Message::parse(bytes, &Limits::DEFAULT);
        assert_eq!(parsed, Err(MessageError::Invalid));
    }
    for other in ["\u{b}", "\u{c}", "\u{85}", "\u{a0}", "\u{2028}"] {
        for frame in [format!("{other}{{}}"), format!("{{}}{other}")] {
            let parsed = Message::parse(frame.as_bytes(), &Limits::DEFAULT);
            assert_eq!(parsed, Err(MessageError::Invalid), "{frame:?}");
        }
    }
    assert!(format!("{}", MessageError::Invalid).contains("not valid JSON"));
    assert!(format!("{}", MessageError::NotAnObject).contains("not a JSON object"));
}

/// Covers: L3.35
#[test]
fn nesting_is_bounded() {
    let limits = Limits::builder().max_frame_depth(128).build().unwrap();
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for member in ["data", "type", "meta"] {
        for (levels, accepted) in [(127, true), (128, false), (20_000, false)] {
            let frame = format!(r#"{{"{member}":{}}}"#, nested(levels));
            let parsed = Message::parse(frame.as_bytes(), &limits);
            assert_eq!(parsed.is_ok(), accepted, "{member} {levels}");
        }
    }
    for (levels, accepted) in [(126, true), (127, false)] {
        let frame = format!(r#"{{"meta":{{"a":{}}}}}"#, nested(levels));
        let parsed = Message::parse(frame.as_bytes(), &limits);
        assert_eq!(parsed.is_ok(), accepted, "within meta {levels}");
    }
    for (levels, error) in [
        (128, MessageError::NotAnObject),
        (129, MessageError::Invalid),
    ] {
        let frame = nested(levels);
        assert_eq!(Message::parse(frame.as_bytes(), &limits), Err(error));
    }
    // A frame as clients write it nests two levels.
    let usual = r#"{"a":"","meta":{"authToken":"T"}}"#;
    for levels in 0..4 {
        assert_eq!(Message::read(usual, levels).is_some(), levels >= 2);
    }
}

/// Covers: L3.7
#[test]
fn blank_is_json_whitespace_only() {
    assert!(is_blank(b"") && is_blank(b" \t\r"));
    assert!(!is_blank(b"\x0b") && !is_blank(b"\xc2\xa0") && !is_blank(b"{}"));
}

#[test]
fn only_what_keeps_no_byte_is_empty() {
    for (head, tail, empty) in [("", "", true), ("{", "", false), ("", "}", false)] {
        let kept = Kept { head, tail };
        assert_eq!(kept.is_empty(), empty);
        assert_eq!(kept.len(), kept.to_text().len());
    }
}

/// Covers: L2.26
#[test]
fn debug_does_not_print_the_token() {
    let frame = br#"{"a":1,"meta":{"authToken":"secret"}}"#;
    let shown = format!("{:?}", Message::parse(frame, &Limits::DEFAULT).unwrap());
    assert!(
        shown.contains("redacted") && shown.contains("\"a\":1"),
        "{shown}"
    );
    assert!(!shown.contains("secret"));
}
