//! local.md §3, "Server behaviour on input": a test for each row, in the order of the table.

use std::time::{Duration, Instant};

use hallway_tests::frame::{ok, pong, refusal};
use hallway_tests::wire::message;
use hallway_tests::{Served, Wire};
use serde_json::json;

use crate::home;

/// The most bytes of a frame without its newline.
const MAX_FRAME: usize = 65_536;

/// Demands of each of `inputs` that a server answers it with `text` alone and closes, and that a
/// message and a ping sent with it in one write have no effect.
#[track_caller]
fn expect_refused(text: &str, inputs: &[&[u8]]) {
    let home = home();
    let mut served = home.serve(&[]);
    for input in inputs {
        is_refused(&served, text, input);
    }
    nothing_took_effect(&mut served);
}

#[track_caller]
fn is_refused(served: &Served, text: &str, input: &[u8]) {
    let token = served.token();
    let mut bytes = input.to_vec();
    bytes.push(b'\n');
    bytes.extend_from_slice(message(&token, "text", &json!("too late")).as_bytes());
    bytes.extend_from_slice(message(&token, "ping", &json!(null)).as_bytes());
    let mut wire = served.wire();
    wire.send(&bytes);
    let shown = String::from_utf8_lossy(input);
    let shown: String = shown.chars().take(100).collect();
    assert_eq!(wire.reply(), refusal(text), "{shown}");
    wire.expect_end();
}

/// No message before this one was enqueued, and none took an id.
#[track_caller]
fn nothing_took_effect(served: &mut Served) {
    let token = served.token();
    let mut wire = served.wire();
    wire.send(message(&token, "text", &json!("the first")));
    assert_eq!(wire.reply(), ok(1));
    assert_eq!(served.next_data(), json!("the first"));
}

fn framed(token: &str, data: &str) -> String {
    format!(r#"{{"data":"{data}","meta":{{"authToken":"{token}"}}}}"#)
}

/// A message of exactly `bytes` bytes.
fn message_of(token: &str, bytes: usize) -> String {
    let frame = framed(token, &"x".repeat(bytes - framed(token, "").len()));
    assert_eq!(frame.len(), bytes);
    frame
}

/// A line whose message keeps exactly `bytes` bytes.
fn message_keeping(token: &str, bytes: usize) -> String {
    let data = "x".repeat(bytes - r#"{"data":""}"#.len());
    format!("{}\n", framed(token, &data))
}

/// Covers: L3.7
#[test]
fn row_blank_lines_are_skipped() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let mut wire = served.wire();
    wire.send("\n\n \t \r\n\r\n\t\n");
    wire.send(message(&token, "text", &json!(1)));
    wire.send(" \n\r\n");
    wire.send(message(&token, "text", &json!(2)));
    wire.send("\n").half_close();
    assert_eq!([wire.reply(), wire.reply()], [ok(1), ok(2)]);
    wire.expect_end();
    assert_eq!([served.next_data(), served.next_data()], [1, 2]);
}

/// Covers: L3.8
#[test]
fn row_a_carriage_return_before_the_newline_is_fine() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let mut wire = served.wire();
    let frame = format!(r#"{{"data":1,"meta":{{"authToken":"{token}"}}}}"#);
    wire.send(format!("{frame}\r\n \t{frame}\r\r \r\n"));
    assert_eq!([wire.reply(), wire.reply()], [ok(1), ok(2)]);
    for _ in 0..2 {
        let line = served.next_raw();
        assert!(line.ends_with(r#","message":{"data":1}}"#), "{line}");
    }
}

/// Covers: L3.9, L3.23
#[test]
fn row_what_is_not_json_is_an_invalid_frame() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let good = message(&token, "text", &json!("x"));
    let good = good.trim_end();
    let mut inputs: Vec<String> = [
        "x",
        "{",
        "}",
        "{}}",
        "{}{}",
        "[1,]",
        "[",
        "nul",
        "nulll",
        "NaN",
        "-",
        "01",
        "1.",
        "+1",
        "\"",
        "'x'",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":1} // comment",
        "\u{a0}{}",
        "\u{0}",
        "\u{c}{}",
    ]
    .map(str::to_owned)
    .to_vec();
    // The token alone opens nothing.
    inputs.push(format!("{good}x"));
    inputs.push(format!("{good}{good}"));
    inputs.push(format!("{good} null"));
    inputs.push(format!("[{good}"));
    inputs.push(good.trim_end_matches('}').to_owned());
    for input in &inputs {
        is_refused(&served, "invalid frame", input.as_bytes());
    }
    nothing_took_effect(&mut served);
}

/// Covers: L3.10
#[test]
fn row_a_raw_control_character_in_a_string_is_an_invalid_frame() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let with = |c: char, place: &str| {
        let frame = format!(r#"{{"da_ta":"_","meta":{{"authToken":"{token}"}}}}"#);
        match place {
            "key" => frame.replacen('_', &c.to_string(), 1),
            _ => frame.replacen(r#""_""#, &format!("\"{c}\""), 1),
        }
    };
    for c in (0_u8..0x20).map(char::from).filter(|c| *c != '\n') {
        for place in ["key", "value"] {
            is_refused(&served, "invalid frame", with(c, place).as_bytes());
        }
    }
    nothing_took_effect(&mut served);
    // DEL is none to JSON.
    let mut wire = served.wire();
    wire.send(with('\u{7f}', "value")).send("\n");
    assert_eq!(wire.reply(), ok(2));
}

/// Covers: L3.11
#[test]
fn row_invalid_utf8_is_an_invalid_frame() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    for bad in [
        &b"\xff"[..],
        b"\x80",
        b"\xc3",
        b"\xc0\x80",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\x98",
    ] {
        let mut input = br#"{"data":""#.to_vec();
        input.extend_from_slice(bad);
        input.extend_from_slice(format!(r#"","meta":{{"authToken":"{token}"}}}}"#).as_bytes());
        is_refused(&served, "invalid frame", &input);
        is_refused(&served, "invalid frame", bad);
    }
    nothing_took_effect(&mut served);
}

/// Covers: L3.12
#[test]
fn row_a_byte_order_mark_is_an_invalid_frame() {
    let home = home();
    let mut served = home.serve(&[]);
    let good = message(&served.token(), "text", &json!("x"));
    let marked = format!("\u{feff}{}", good.trim_end());
    is_refused(&served, "invalid frame", marked.as_bytes());
    is_refused(&served, "invalid frame", "\u{feff}".as_bytes());
    nothing_took_effect(&mut served);
}

/// Covers: L3.13
#[test]
fn row_null_is_an_invalid_frame() {
    expect_refused("invalid frame", &[b"null", b" null ", b"null\r"]);
}

/// Covers: L3.14
#[test]
fn row_json_that_is_no_object_is_unauthorized() {
    let home = home();
    let mut served = home.serve(&[]);
    let good = message(&served.token(), "text", &json!("x"));
    let array = format!("[{}]", good.trim_end());
    for input in [
        "0", "-1.5e3", "1e999", "\"x\"", "\"\"", "true", "false", "[]", "[1]", "[[]]", "[null]",
        " 7 ", &array,
    ] {
        is_refused(&served, "unauthorized", input.as_bytes());
    }
    nothing_took_effect(&mut served);
}

/// Covers: L3.5, L3.15
#[test]
fn row_a_token_missing_empty_no_string_or_wrong_is_unauthorized() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let mut flipped = token.clone();
    let last = if flipped.pop() == Some('0') { '1' } else { '0' };
    flipped.push(last);
    for meta in [
        json!(null),
        json!({}),
        json!([]),
        json!([token]),
        json!(token),
        json!({"authtoken": token}),
        json!({"authToken ": token}),
        json!({"authToken": null}),
        json!({"authToken": ""}),
        json!({"authToken": 0}),
        json!({"authToken": true}),
        json!({"authToken": [token]}),
        json!({"authToken": {"authToken": token}}),
        json!({"meta": {"authToken": token}}),
        json!({"authToken": flipped}),
        json!({"authToken": token[1..]}),
        json!({"authToken": token[..63]}),
        json!({"authToken": format!("{token}0")}),
        json!({"authToken": format!(" {token}")}),
        json!({"authToken": format!("{token}\0")}),
        json!({"authToken": token.to_uppercase() + "x"}),
        json!({"authToken": "0".repeat(64)}),
        json!({"authToken": token.repeat(2)}),
    ] {
        let input = json!({"type": "text", "data": "x", "meta": meta}).to_string();
        is_refused(&served, "unauthorized", input.as_bytes());
    }
    let lone = format!(r#"{{"meta":{{"authToken":"{}\ud83d"}}}}"#, &token[..63]);
    let elsewhere = json!({"type": "text", "authToken": token}).to_string();
    let ping = json!({"type": "ping"}).to_string();
    for input in ["{}", &lone, &elsewhere, &ping] {
        is_refused(&served, "unauthorized", input.as_bytes());
    }
    nothing_took_effect(&mut served);
}

/// Covers: L1.1, L3.16
#[test]
fn row_a_frame_of_exactly_65536_bytes_is_accepted() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let mut wire = served.wire();
    let longest = message_of(&token, MAX_FRAME);
    // The newline is not counted; a carriage return is.
    let with_return = format!("{}\r", message_of(&token, MAX_FRAME - 1));
    let padded = message_of(&token, 1_000) + &" ".repeat(MAX_FRAME - 1_000);
    for (n, frame) in [&longest, &with_return, &padded].into_iter().enumerate() {
        assert_eq!(frame.len(), MAX_FRAME);
        wire.send(frame).send("\n");
        assert_eq!(wire.reply(), ok(n + 1));
        let data = served.next_data();
        let kept = data.as_str().unwrap();
        assert_eq!(
            kept.bytes().filter(|byte| *byte == b'x').count(),
            kept.len()
        );
    }
    // Pipelined, and cut anywhere.
    let two = format!("{longest}\n{longest}\n");
    for part in two.as_bytes().chunks(10_007) {
        wire.send(part);
    }
    assert_eq!([wire.reply(), wire.reply()], [ok(4), ok(5)]);
    // Without its newline it is no frame yet, and never becomes one.
    wire.send(&longest).half_close();
    wire.expect_end();
}

/// Covers: L1.1, L3.17
#[test]
fn row_a_longer_frame_is_refused_with_or_without_its_newline() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let text = "NDJSON frame exceeded 65536 bytes (65537)";
    let longer = message_of(&token, MAX_FRAME + 1);
    for frame in [
        longer.clone(),
        format!("{}\r", message_of(&token, MAX_FRAME)),
        " ".repeat(MAX_FRAME + 1),
        message_of(&token, 3 * MAX_FRAME),
    ] {
        is_refused(&served, text, frame.as_bytes());
    }
    // No newline ever comes, and the connection stays open.
    let mut wire = served.wire();
    for part in longer.as_bytes().chunks(10_007) {
        wire.send(part);
    }
    wire.expect_refusal(text);
    let mut ended = served.wire();
    ended.send(&longer).half_close();
    ended.expect_refusal(text);
    nothing_took_effect(&mut served);
    // What came before it counts.
    let mut wire = served.wire();
    wire.ping(&token, &served.path);
    wire.send(message(&token, "text", &json!("before")));
    wire.send(longer).send("\n");
    assert_eq!(wire.reply(), ok(2));
    wire.expect_refusal(text);
    assert_eq!(served.next_data(), json!("before"));
}

/// Covers: L1.2, L3.18
#[test]
fn row_inbox_full_by_count() {
    let home = home();
    let served = home.serve(&["--hold"]);
    let token = served.token();
    let mut wire = served.wire();
    let line = message(&token, "text", &json!("x"));
    wire.send(line.repeat(1_000));
    for n in 1..=1_000 {
        assert_eq!(wire.reply(), ok(n));
    }
    wire.ping(&token, &served.path);
    wire.send(format!(
        "{line}{line}{}",
        message(&token, "ping", &json!(1))
    ));
    wire.expect_refusal("inbox full");
    assert_eq!(served.wire().send(&line).reply(), refusal("inbox full"));
    // Read, it takes messages again, and no id was used up.
    let read = home.run(&["inbox", "--json"]).expect(0);
    assert_eq!(read.stdout.lines().count(), 1_000);
    assert_eq!(served.wire().send(&line).reply(), ok(1_001));
}

/// Covers: L1.3, L3.18
#[test]
fn row_inbox_full_by_bytes() {
    let home = home();
    let served = home.serve(&["--hold"]);
    let token = served.token();
    let mut wire = served.wire();
    for n in 1..=32 {
        wire.send(message_keeping(&token, 65_000));
        assert_eq!(wire.reply(), ok(n));
    }
    let left = 2_097_152 - 32 * 65_000;
    let mut over = served.wire();
    over.send(message_keeping(&token, left + 1));
    over.expect_refusal("inbox full");
    wire.send(message_keeping(&token, left));
    assert_eq!(wire.reply(), ok(33));
    wire.send(format!(r#"{{"meta":{{"authToken":"{token}"}}}}"#))
        .send("\n");
    wire.expect_refusal("inbox full");
}

/// Covers: L3.19
#[test]
fn row_no_authorised_frame_in_time_is_an_authentication_timeout() {
    let patience = Duration::from_millis(300);
    let home = home();
    let mut served = home.serve(&["--limit", "auth_timeout=300"]);
    let line = message(&served.token(), "text", &json!("x"));
    let partial = line.trim_end();
    // Blank and partial frames do not count.
    for sent in ["", "\n\n \r\n", partial, "{"] {
        let before = Instant::now();
        let mut wire = served.wire();
        wire.send(sent);
        wire.expect_refusal("authentication timeout");
        assert!(before.elapsed() >= patience, "{sent}");
    }
    nothing_took_effect(&mut served);
}

/// Covers: L3.20
#[test]
fn row_without_activity_it_is_an_idle_timeout() {
    let patience = Duration::from_millis(1_000);
    let home = home();
    let served = home.serve(&["--limit", "idle_timeout=1000"]);
    let (token, path) = (served.token(), served.path.clone());
    let mut active = served.wire();
    active.ping(&token, &path);
    let before = Instant::now();
    let mut idle = served.wire();
    idle.ping(&token, &path);
    // A byte in either direction is activity, also one that is no frame.
    while idle.is_quiet_for(Duration::from_millis(50)) {
        active.send(" ");
    }
    idle.expect_refusal("idle timeout");
    assert!(before.elapsed() >= patience);
    active.send("\n").ping(&token, &path);
    // Not authorised yet, but idle already.
    let before = Instant::now();
    served.wire().expect_refusal("idle timeout");
    assert!(before.elapsed() >= patience);
    // Its first deadlines moved away while it was active; the last one does not.
    active.expect_refusal("idle timeout");
}

/// Covers: L1.4, L3.21
#[test]
fn row_the_129th_client_is_told_too_many_clients() {
    let home = home();
    let served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let client = || {
        let mut wire = served.wire();
        wire.ping(&token, &path);
        wire
    };
    let mut clients: Vec<Wire> = (0..128).map(|_| client()).collect();
    // Also one that knows the token, and as often as it tries.
    for _ in 0..20 {
        let mut wire = served.wire();
        assert!(wire.try_send(message(&token, "text", &json!("x"))));
        wire.expect_refusal("too many clients");
        drop(wire);
        clients[0].ping(&token, &path).ping(&token, &path);
    }
    // A place that is given back is a place.
    clients.pop();
    clients[0].ping(&token, &path).ping(&token, &path);
    clients.push(client());
    served.wire().expect_refusal("too many clients");
    for wire in &mut clients {
        wire.send(message(&token, "ping", &json!(1)));
        assert_eq!(wire.reply(), pong(&path));
    }
}

/// Covers: L3.4, L3.22
#[test]
fn the_error_frame_is_exact_and_ends_with_one_newline() {
    let home = home();
    let served = home.serve(&[]);
    let mut wire = served.wire();
    wire.send("x\n");
    let line = wire.try_line().unwrap();
    let (head, tail) = (r#"{"type":"error","data":"invalid frame","ts":""#, r#"Z"}"#);
    assert!(line.starts_with(head) && line.ends_with(tail), "{line}");
    assert_eq!(line.len(), head.len() + 23 + tail.len());
    wire.expect_end();
}
