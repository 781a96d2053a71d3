//! local.md §3, "Accepted frames" and "Inbox entry": what is answered, and what is delivered.

use std::process::Stdio;

use hallway_tests::frame::{ok, pong, wall_millis};
use hallway_tests::wire::message;
use rustix::io::ioctl_fionread;
use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::home;

/// The entry's line `line` up to its message, which is returned.
#[track_caller]
fn delivered(line: &str, n: usize, pid: u32) -> &str {
    let uid = geteuid().as_raw();
    let rest = line
        .strip_prefix(&format!(
            r#"{{"event":"message","id":"uds-{n}","receivedAt":"#
        ))
        .unwrap_or_else(|| panic!("{line}"));
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix(&format!(
        r#","peer":{{"uid":{uid},"pid":{pid}}},"message":"#
    ))
    .and_then(|rest| rest.strip_suffix('}'))
    .unwrap_or_else(|| panic!("{line}"))
}

/// Sends each frame and demands that exactly the text beside it is delivered. In a frame `@`
/// stands for the member with the token.
#[track_caller]
fn expect_delivered(cases: &[(&str, &str)]) {
    let home = home();
    let mut served = home.serve(&[]);
    let member = format!(r#""authToken":"{}""#, served.token());
    let mut wire = served.wire();
    for (n, (frame, expected)) in cases.iter().enumerate() {
        wire.send(frame.replace('@', &member)).send("\n");
        assert_eq!(wire.reply(), ok(n + 1), "{frame}");
        let line = served.next_raw();
        assert_eq!(delivered(&line, n + 1, std::process::id()), *expected);
    }
}

/// Covers: L3.24
#[test]
fn a_ping_is_answered_by_a_pong_and_not_enqueued() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let mut wire = served.wire();
    wire.ping(&token, &path);
    // With data and other members, and with the type spelled otherwise.
    for ping in [
        r#"{"type":"ping","data":{"a":[]},"from":"/x","meta":{@,"n":1}}"#,
        r#"{"meta":{@},"\u0074ype":"pin\u0067"}"#,
    ] {
        wire.send(ping.replace('@', &format!(r#""authToken":"{token}""#)));
        wire.send("\n");
        assert_eq!(wire.reply(), pong(&path));
    }
    wire.send(message(&token, "text", &json!("the first")));
    assert_eq!(wire.reply(), ok(1));
    assert_eq!(served.next_data(), json!("the first"));
}

/// Covers: L3.24
#[test]
fn the_pong_names_the_own_path_as_json() {
    let home = home();
    let served = home.serve(&["--socket", &home.socket("a\"b\\c é")]);
    assert_eq!(served.path, home.socket("a\"b\\c é"));
    let escaped = served.path.replace('\\', "\\\\").replace('"', "\\\"");
    let mut wire = served.wire();
    wire.send(message(&served.token(), "ping", &json!(1)));
    assert_eq!(wire.reply(), pong(&escaped));
}

/// Covers: L3.3, L3.25, L3.26
#[test]
fn every_other_type_is_enqueued_and_ids_have_no_gaps_over_connections() {
    let home = home();
    let mut served = home.serve(&[]);
    let member = format!(r#""authToken":"{}""#, served.token());
    let kinds = [
        r#""text""#,
        r#""notification""#,
        r#""query""#,
        r#""response""#,
        r#""error""#,
        r#""pong""#,
        r#""Ping""#,
        r#""ping ""#,
        r#""""#,
        r#""of the future""#,
        "null",
        "7",
        r#"["ping"]"#,
        r#"{"type":"ping"}"#,
    ];
    for (n, kind) in kinds.iter().enumerate() {
        let mut wire = served.wire();
        wire.send(format!("{{\"type\":{kind},\"meta\":{{{member}}}}}\n"));
        assert_eq!(wire.reply(), ok(n + 1), "{kind}");
        let line = served.next_raw();
        let expected = format!(r#"{{"type":{kind}}}"#);
        assert_eq!(delivered(&line, n + 1, std::process::id()), expected);
    }
}

/// Covers: L3.1, L3.27
#[test]
fn replies_keep_the_order_of_the_frames_however_they_are_cut() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let (mut input, mut expected, mut sent) = (String::new(), Vec::new(), 0);
    for round in 0..400 {
        if round % 3 == 1 {
            input.push_str(&message(&token, "ping", &json!(round)));
            expected.push(pong(&path));
        } else {
            sent += 1;
            input.push_str(&message(&token, "text", &json!(sent)));
            expected.push(ok(sent));
        }
    }
    let mut wire = served.wire();
    for part in input.as_bytes().chunks(997) {
        wire.send(part);
    }
    for reply in expected {
        assert_eq!(wire.reply(), reply);
    }
    for n in 1..=sent {
        assert_eq!(served.next_data(), json!(n));
    }
}

/// Covers: L3.5, L3.28
#[test]
fn the_first_authorised_frame_of_any_type_ends_the_wait_for_it() {
    let home = home();
    let served = home.serve(&["--limit", "auth_timeout=150"]);
    let (token, path) = (served.token(), served.path.clone());
    let (mut pinging, mut sending) = (served.wire(), served.wire());
    pinging.ping(&token, &path);
    sending.send(message(&token, "text", &json!("x")));
    assert_eq!(sending.reply(), ok(1));
    // These came later, so the time of those is over too.
    for _ in 0..2 {
        served.wire().expect_refusal("authentication timeout");
        pinging.ping(&token, &path);
        sending.ping(&token, &path);
    }
    // Each frame is checked all the same.
    pinging.send("{}\n").expect_refusal("unauthorized");
}

/// Covers: L3.29
#[test]
fn a_half_close_is_honoured() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let line = message(&token, "text", &json!("x"));
    let mut wire = served.wire();
    // The last one is not complete.
    wire.send(line.repeat(200))
        .send(message(&token, "ping", &json!(1)))
        .send(line.trim_end())
        .half_close();
    for n in 1..=200 {
        assert_eq!(wire.reply(), ok(n));
    }
    assert_eq!(wire.reply(), pong(&path));
    wire.expect_end();
    served.wire().half_close().expect_end();
    // Nothing else was enqueued.
    let mut next = served.wire();
    next.send(message(&token, "text", &json!("next")));
    assert_eq!(next.reply(), ok(201));
    for _ in 0..200 {
        assert_eq!(served.next_data(), json!("x"));
    }
    assert_eq!(served.next_data(), json!("next"));
}

/// Covers: L3.29
#[test]
fn a_half_close_of_one_who_reads_later_is_honoured() {
    let home = home();
    let served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let (mut beat, mut stuck, mut wire) = (served.wire(), served.wire(), served.wire());
    let ping = message(&token, "ping", &json!(1));
    let expected = pong(&path);
    // How many pongs are on their way when the daemon can write no more.
    stuck.send_until_stuck(&ping, 2 << 20, || {
        beat.ping(&token, &path);
    });
    let length = expected.len() - "T".len() + "2026-01-02T03:04:05.678Z\n".len();
    let out = usize::try_from(ioctl_fionread(stuck.stream()).unwrap()).unwrap() + 65_536;
    // So many more wait to be answered when it sees the end.
    let pings = out / length + 200;
    wire.send(ping.repeat(pings)).half_close();
    for _ in 0..5 {
        beat.ping(&token, &path);
    }
    for _ in 0..pings {
        assert_eq!(wire.reply(), expected);
    }
    wire.expect_end();
}

/// Covers: L3.30, L5.20
#[test]
fn the_entry_tells_when_it_came_and_the_kernels_account_of_who_sent_it() {
    let home = home();
    let mut served = home.serve(&[]);
    let before = wall_millis();
    // Another process than this one, and one that claims to be somebody else.
    let mut command = home.command(&["send", &served.path, "schema landed", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let line = served.next_raw();
    let entry: Value = serde_json::from_str(&line).unwrap();
    let text = delivered(&line, 1, pid);
    assert!(
        text.starts_with(r#"{"type":"text","data":"schema landed""#),
        "{text}"
    );
    let received = entry["receivedAt"].as_u64().unwrap();
    assert!((before..=wall_millis()).contains(&received), "{received}");
    let token = served.token();
    let lie = json!({"data": 1, "from": "/x", "peer": {"uid": 7, "pid": 7}, "id": "uds-9",
        "receivedAt": 1, "meta": {"authToken": token}});
    served.wire().send(format!("{lie}\n")).half_close().line();
    let line = served.next_raw();
    let told = r#"{"data":1,"from":"/x","id":"uds-9","peer":{"pid":7,"uid":7},"receivedAt":1}"#;
    let told: Value = serde_json::from_str(told).unwrap();
    let text = delivered(&line, 2, std::process::id());
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), told);
}

/// Covers: L3.31
#[test]
fn the_entry_is_the_message_without_its_token_byte_for_byte() {
    expect_delivered(&[
        (
            r#"{"type":"text","data":"x","from":"/s","ts":"2026-01-02T03:04:05.678Z","meta":{@}}"#,
            r#"{"type":"text","data":"x","from":"/s","ts":"2026-01-02T03:04:05.678Z"}"#,
        ),
        (r#"{"meta":{@}}"#, "{}"),
        (r#"{"meta":{@},"b":2}"#, r#"{"b":2}"#),
        (r#"{"a":1,"meta":{@},"b":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"meta":{@,"id":"7"}}"#, r#"{"meta":{"id":"7"}}"#),
        (r#"{"meta":{"id":"7",@}}"#, r#"{"meta":{"id":"7"}}"#),
        (
            r#"{"meta":{"a":1,@,"b":{}},"c":3}"#,
            r#"{"meta":{"a":1,"b":{}},"c":3}"#,
        ),
        // Spaces stay where they are; around the object they are not part of it.
        (
            "  { \"a\" : 1 ,\t\"meta\" : { @ } , \"b\" : 2 }\t ",
            r#"{ "a" : 1 , "b" : 2 }"#,
        ),
    ]);
}

/// Covers: L3.33, L3.34, L3.35, L3.36, L3.37
#[test]
fn what_javascript_writes_survives() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        r#""data":"\ud83d""#.to_owned(),
        r#""data":"\udc00\ud800 \ud83d\ude00 \u0000\u001f\/\b""#.to_owned(),
        r#""data":"raw é 😀 "#.to_owned() + "\u{2028}\u{2029}\u{7f}\u{202e}\"",
        r#""data":[1e999,-0,-0.0,1E+2,123456789012345678901234567890,0.1000000000000000055511151231257827]"#
            .to_owned(),
        format!(r#""data":{}"#, "9".repeat(5_000)),
        r#""data":{"__proto__":{"a":1},"constructor":null},"__proto__":{"toString":1}"#.to_owned(),
        r#""data":{"type":"ping","meta":{"authToken":"mine"}}"#.to_owned(),
        r#""data":0"#.to_owned(),
        r#""data":null"#.to_owned(),
        r#""nothing":true"#.to_owned(),
        r#""":"","\u0000":1," ":2"#.to_owned(),
        // A duplicate of what is not interpreted is the reader's to judge.
        r#""data":1,"data":2,"x":{"type":1,"type":2}"#.to_owned(),
        // Itself included, 512 levels.
        format!(r#""data":{}"#, deep(511)),
    ];
    let frames: Vec<String> = cases
        .iter()
        .map(|members| format!(r#"{{{members},"meta":{{@}}}}"#))
        .collect();
    let kept: Vec<String> = cases
        .iter()
        .map(|members| format!("{{{members}}}"))
        .collect();
    let pairs: Vec<(&str, &str)> = frames
        .iter()
        .map(String::as_str)
        .zip(kept.iter().map(String::as_str))
        .collect();
    expect_delivered(&pairs);
    let home = home();
    let served = home.serve(&[]);
    let token = served.token();
    for too_deep in [
        format!(
            r#"{{"data":{},"meta":{{"authToken":"{token}"}}}}"#,
            deep(512)
        ),
        format!(r#"{{"meta":{{"authToken":"{token}","x":{}}}}}"#, deep(511)),
        format!(
            r#"{{"data":{},"meta":{{"authToken":"{token}"}}}}"#,
            deep(30_000)
        ),
        deep(513),
    ] {
        served
            .wire()
            .send(too_deep + "\n")
            .expect_refusal("invalid frame");
    }
}

/// Covers: L3.15, L3.31, L5.18
#[test]
fn a_token_is_recognised_however_it_is_escaped_and_never_delivered() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let escaped: String = token
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let mut wire = served.wire();
    for (n, frame) in [
        format!(r#"{{"data":1,"meta":{{"authToken":"{escaped}"}}}}"#),
        format!(r#"{{"data":1,"\u006deta":{{"a\u0075thToken":"{token}"}}}}"#),
    ]
    .iter()
    .enumerate()
    {
        wire.send(frame).send("\n");
        assert_eq!(wire.reply(), ok(n + 1), "{frame}");
        let line = served.next_raw();
        assert_eq!(delivered(&line, n + 1, std::process::id()), r#"{"data":1}"#);
    }
}

/// Covers: L3.38
#[test]
fn a_duplicate_of_an_interpreted_member_is_an_invalid_frame() {
    let home = home();
    let mut served = home.serve(&[]);
    let member = format!(r#""authToken":"{}""#, served.token());
    for frame in [
        r#"{"type":"text","type":"text","meta":{@}}"#,
        r#"{"type":"text","data":1,"\u0074ype":"ping","meta":{@}}"#,
        r#"{"meta":{@},"meta":{@}}"#,
        r#"{"meta":{@},"data":1,"meta":{}}"#,
        r#"{"meta":{},"met\u0061":{@}}"#,
        r#"{"meta":null,"meta":{@}}"#,
        r#"{"meta":{@,@}}"#,
        r#"{"meta":{@,"authToken":"x"}}"#,
        r#"{"meta":{"authToken":"x",@}}"#,
        r#"{"meta":{@,"auth\u0054oken":null}}"#,
        // Also from those who know no token.
        r#"{"type":1,"type":1}"#,
        r#"{"meta":1,"meta":1}"#,
        r#"{"meta":{"authToken":1,"authToken":1}}"#,
    ] {
        let frame = frame.replace('@', &member);
        served
            .wire()
            .send(frame + "\n")
            .expect_refusal("invalid frame");
    }
    let good = format!("{{\"data\":\"first\",\"meta\":{{{member}}}}}\n");
    assert_eq!(served.wire().send(good).reply(), ok(1));
    assert_eq!(served.next_data(), json!("first"));
}
