//! `hallway send --json`: many messages pipelined over one connection, each with its outcome.

use hallway_tests::{FakeServer, Finished, Home};
use serde_json::{Value, json};

use crate::home;

/// The longest frame, without its newline.
const MAX_FRAME: usize = 65_536;

/// The lines of a pipelined send to a real daemon, and its outcome.
fn pipeline(home: &Home, target: &str, input: impl AsRef<[u8]>) -> Finished {
    home.run_with_input(&["send", target, "--json"], input.as_ref())
}

/// Covers: L3.27, L5.12b
#[test]
fn ten_thousand_lines_arrive_in_order_with_gapless_ids() {
    const LINES: u64 = 10_000;
    let home = home();
    // However slowly this test reads.
    let mut served = home.serve(&[
        "--limit",
        "max_inbox_entries=10000",
        "--limit",
        "max_inbox_entries_per_peer=10000",
    ]);
    let lines: String = (1..=LINES).map(|n| format!("{{\"data\":{n}}}\n")).collect();
    let finished = pipeline(&home, &served.path, lines).expect(0);
    assert_eq!(finished.stderr, "");
    let outcomes = finished.json();
    assert_eq!(outcomes.len(), 10_000);
    for (n, outcome) in (1..=LINES).zip(&outcomes) {
        let expected = json!({"event": "sent", "line": n, "id": format!("uds-{n}")});
        assert_eq!(*outcome, expected);
    }
    for n in 1..=LINES {
        let entry = served.next_line();
        assert_eq!(entry["id"], json!(format!("uds-{n}")));
        assert_eq!(entry["message"]["data"], json!(n));
    }
}

#[test]
fn any_json_is_sent_as_it_was_written() {
    let home = home();
    let mut served = home.serve(&[]);
    let data = [
        r#"{"__proto__":1,"a":[1e999,-0,123456789012345678901234567890]}"#,
        r#""\ud83d cut""#,
        "null",
        " [ 1 ,\t2 ] ",
    ];
    let lines: String = data
        .iter()
        .map(|data| format!("{{\"type\":\"qu\\u0065ry\",\"data\":{data}}}\r\n"))
        .collect();
    pipeline(&home, &served.path, lines).expect(0);
    for data in data {
        let entry = served.next_raw();
        let expected = format!(r#"{{"type":"query","data":{},"ts":""#, data.trim());
        assert!(entry.contains(&expected), "{entry}");
    }
}

#[test]
fn a_server_that_refuses_in_the_middle_leaves_no_line_in_doubt_but_those_behind() {
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, |mut wire| {
        // All have been written when the answers come.
        for n in 1..=5 {
            assert_eq!(wire.line()["data"], json!(n));
        }
        for n in 1..=2 {
            wire.send(format!(
                "{{\"type\":\"response\",\"data\":\"ok\",\"meta\":{{\"id\":\"uds-{n}\"}}}}\n"
            ));
        }
        wire.send("{\"type\":\"error\",\"data\":\"invalid frame\"}\n");
    });
    let lines: String = (1..=5).map(|n| format!("{{\"data\":{n}}}\n")).collect();
    let finished = pipeline(&home, &server.path, lines).expect(4);
    server.join();
    let refused = "refused by the peer: \"invalid frame\"; the message was not taken";
    let doubtful = "ended before response; it is not known whether the message was taken; look \
                    before you send it again";
    assert_eq!(
        finished.json(),
        [
            json!({"event": "sent", "line": 1, "id": "uds-1"}),
            json!({"event": "sent", "line": 2, "id": "uds-2"}),
            json!({"event": "failed", "line": 3, "code": 4, "message": refused, "taken": false}),
            json!({"event": "failed", "line": 4, "code": 1, "message": doubtful, "taken": null}),
            json!({"event": "failed", "line": 5, "code": 1, "message": doubtful, "taken": null}),
        ]
    );
    let error: Value = serde_json::from_str(&finished.stderr).unwrap();
    assert_eq!(
        (&error["event"], &error["code"]),
        (&json!("error"), &json!(4))
    );
    let summary = format!("2 messages were sent, 3 failed; the first: {refused}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with(&summary), "{message}");
}

#[test]
fn lines_that_were_not_sent_are_told_apart_from_those_in_doubt() {
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, |mut wire| {
        // It hears the first line, and ends.
        assert_eq!(wire.line()["data"].as_str().unwrap().len(), 60_000);
        wire.send("{\"type\":\"error\",\"data\":\"no\"}\n");
    });
    let line = format!("{{\"data\":\"{}\"}}\n", "x".repeat(60_000));
    let finished = pipeline(&home, &server.path, line.repeat(100)).expect(4);
    server.join();
    let outcomes = finished.json();
    assert_eq!(
        (
            &outcomes[0]["line"],
            &outcomes[0]["code"],
            &outcomes[0]["taken"]
        ),
        (&json!(1), &json!(4), &json!(false))
    );
    // Whatever was under way has one outcome, in order; the rest was not even read.
    for (n, outcome) in (1..).zip(&outcomes) {
        assert_eq!(
            (&outcome["event"], &outcome["line"]),
            (&json!("failed"), &json!(n))
        );
    }
    assert!(outcomes.len() < 100);
    let error: Value = serde_json::from_str(&finished.stderr).unwrap();
    let words = format!("; nothing after line {} was sent", outcomes.len());
    assert!(
        error["message"].as_str().unwrap().ends_with(&words),
        "{error}"
    );
}

#[test]
fn bad_lines_fail_alone_and_in_their_places() {
    let home = home();
    let mut served = home.serve(&[]);
    let lines = concat!(
        "{\"data\":\"a\"}\n",
        "nonsense\n",
        "\n",
        "{\"data\":\"b\",\"to\":\"x\"}\n",
        "{\"type\":7,\"data\":\"b\"}\n",
        "{\"type\":\"text\"}\n",
        "{\"data\":1,\"data\":2}\n",
        "[\"data\"]\n",
        "{\"data\":\"c\"}\n",
    );
    let finished = pipeline(&home, &served.path, lines).expect(2);
    let outcomes: Vec<_> = finished
        .json()
        .iter()
        .map(|outcome| {
            let of = |name: &str| outcome.get(name).cloned().unwrap_or_default();
            (of("line"), of("event"), of("code"), of("taken"), of("id"))
        })
        .collect();
    let bad = |line: u64| {
        (
            json!(line),
            json!("failed"),
            json!(2),
            json!(false),
            json!(null),
        )
    };
    let sent = |line: u64, id: &str| {
        (
            json!(line),
            json!("sent"),
            json!(null),
            json!(null),
            json!(id),
        )
    };
    assert_eq!(
        outcomes,
        [
            sent(1, "uds-1"),
            bad(2),
            bad(4),
            bad(5),
            bad(6),
            bad(7),
            bad(8),
            sent(9, "uds-2"),
        ]
    );
    let messages: Vec<_> = finished
        .json()
        .iter()
        .filter_map(|outcome| outcome["message"].as_str().map(str::to_owned))
        .collect();
    for (message, why) in messages.iter().zip([
        "line 2 is no message; the line is not one JSON object; ",
        "line 4 is no message; it has another member than one type and one data; ",
        "line 5 is no message; its type is not a string; ",
        "line 6 is no message; it has no data; ",
        "line 7 is no message; it has another member than one type and one data; ",
        "line 8 is no message; the line is not one JSON object; ",
    ]) {
        assert!(message.starts_with(why), "{message}");
    }
    assert_eq!(messages.len(), 6);
    assert_eq!(served.next_data(), json!("a"));
    assert_eq!(served.next_data(), json!("c"));
    let (code, rest, _) = served.stop();
    assert_eq!((code, rest), (0, vec![r#"{"event":"stopped"}"#.to_owned()]));
}

#[test]
fn a_line_that_is_no_text_fails_alone() {
    let home = home();
    let mut served = home.serve(&[]);
    let lines = b"{\"data\":\"a\"}\n{\"data\":\"\xff\"}\n{\"data\":\"b\"}\n";
    let finished = pipeline(&home, &served.path, lines).expect(2);
    let outcomes = finished.json();
    assert_eq!(outcomes.len(), 3);
    assert_eq!(outcomes[0]["id"], json!("uds-1"));
    assert_eq!(
        (
            &outcomes[1]["line"],
            &outcomes[1]["code"],
            &outcomes[1]["taken"]
        ),
        (&json!(2), &json!(2), &json!(false))
    );
    assert_eq!(outcomes[2]["id"], json!("uds-2"));
    assert_eq!(served.next_data(), json!("a"));
    assert_eq!(served.next_data(), json!("b"));
}

#[test]
fn a_line_that_is_too_long_ends_the_batch_after_what_came_before() {
    let home = home();
    let mut served = home.serve(&[]);
    let lines = format!(
        "{{\"data\":\"a\"}}\n{{\"data\":\"b\"}}\n{{\"data\":\"{}\"}}\n{{\"data\":\"c\"}}\n",
        "x".repeat(MAX_FRAME)
    );
    let finished = pipeline(&home, &served.path, lines).expect(2);
    let outcomes = finished.json();
    assert_eq!(
        outcomes[..2],
        [
            json!({"event": "sent", "line": 1, "id": "uds-1"}),
            json!({"event": "sent", "line": 2, "id": "uds-2"}),
        ]
    );
    assert_eq!(outcomes.len(), 3, "what follows is not read");
    assert_eq!(
        (
            &outcomes[2]["line"],
            &outcomes[2]["code"],
            &outcomes[2]["taken"]
        ),
        (&json!(3), &json!(2), &json!(false))
    );
    assert!(
        outcomes[2]["message"]
            .as_str()
            .unwrap()
            .starts_with("line 3 is too long; "),
        "{}",
        outcomes[2]
    );
    let error: Value = serde_json::from_str(&finished.stderr).unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.ends_with("; nothing after line 3 was sent"),
        "{message}"
    );
    assert_eq!(served.next_data(), json!("a"));
    assert_eq!(served.next_data(), json!("b"));
    let (_, rest, _) = served.stop();
    assert_eq!(rest, [r#"{"event":"stopped"}"#]);
}

#[test]
fn a_line_that_fits_but_whose_frame_does_not_fails_alone() {
    let home = home();
    let mut served = home.serve(&[]);
    let lines = format!(
        "{{\"data\":\"{}\"}}\n{{\"data\":\"b\"}}\n",
        "x".repeat(MAX_FRAME - 20)
    );
    let finished = pipeline(&home, &served.path, lines).expect(2);
    let outcomes = finished.json();
    assert_eq!(
        (
            &outcomes[0]["line"],
            &outcomes[0]["code"],
            &outcomes[0]["taken"]
        ),
        (&json!(1), &json!(2), &json!(false))
    );
    assert_eq!(
        outcomes[1],
        json!({"event": "sent", "line": 2, "id": "uds-1"})
    );
    assert_eq!(served.next_data(), json!("b"));
}

#[test]
fn nothing_to_send_is_nothing_sent() {
    let home = home();
    let served = home.serve(&[]);
    for input in ["", "\n", " \r\n\t\n\n"] {
        let finished = pipeline(&home, &served.path, input).expect(0);
        assert_eq!(
            (finished.stdout.as_str(), finished.stderr.as_str()),
            ("", "")
        );
    }
    let (_, rest, _) = served.stop();
    assert_eq!(rest, [r#"{"event":"stopped"}"#]);
}

#[test]
fn the_last_line_may_lack_its_newline() {
    let home = home();
    let mut served = home.serve(&[]);
    let finished = pipeline(&home, &served.path, "{\"data\":\"a\"}\n{\"data\":\"b\"}").expect(0);
    assert_eq!(finished.json().len(), 2);
    assert_eq!(served.next_data(), json!("a"));
    assert_eq!(served.next_data(), json!("b"));
}
