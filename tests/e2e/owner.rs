//! Held messages: `hallway serve --hold`, `hallway inbox`, and the owner channel between them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use hallway_tests::files::{mode, names};
use hallway_tests::wire::{message, token_of};
use hallway_tests::{Home, Served, Wire};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home;

/// A daemon that holds the messages `data`.
fn holding(home: &Home, arguments: &[&str], data: &[&str]) -> Served {
    let served = home.serve(&[&["--hold"], arguments].concat());
    for data in data {
        home.run(&["send", &served.path, data]).expect(0);
    }
    served
}

/// The ids and data that `hallway inbox` with `arguments` shows.
#[track_caller]
fn inbox(home: &Home, arguments: &[&str]) -> Vec<(String, String)> {
    let shown = home
        .run(&[&["inbox", "--json"], arguments].concat())
        .expect(0);
    assert_eq!(shown.stderr, "");
    shown.json().iter().map(id_and_data).collect()
}

fn id_and_data(entry: &Value) -> (String, String) {
    assert_eq!(entry["event"], json!("message"), "{entry}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&entry["id"]), text(&entry["message"]["data"]))
}

fn entries(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(id, data): &(&str, &str)| ((*id).to_owned(), (*data).to_owned());
    expected.iter().map(own).collect()
}

/// A raw connection to the owner channel, and the token for it.
fn channel(home: &Home, served: &Served) -> (Wire, String) {
    let path = format!("{}.owner", served.path);
    (Wire::connect(&path), token_of(&home.config(), &path))
}

/// Asks on the owner channel and hears the answer.
#[track_caller]
fn ask(wire: &mut Wire, token: &str, question: &str, data: &Value) -> Value {
    wire.send(message(token, question, data));
    wire.line()
}

// Reading.

/// Covers: L3.30, L3.32
#[test]
fn what_is_held_is_drained_once_in_order() {
    let home = home();
    let served = holding(&home, &[], &["a", "b", "c"]);
    let all = entries(&[("uds-1", "a"), ("uds-2", "b"), ("uds-3", "c")]);
    assert_eq!(inbox(&home, &[]), all);
    assert_eq!(inbox(&home, &[]), []);
    // Ids go on where they were.
    home.run(&["send", &served.path, "d"]).expect(0);
    assert_eq!(inbox(&home, &[]), entries(&[("uds-4", "d")]));
    let (code, lines, errors) = served.stop();
    assert_eq!(code, 0);
    assert_eq!(lines, [r#"{"event":"stopped"}"#], "it prints none itself");
    assert_eq!(errors, "");
}

#[test]
fn a_peek_leaves_everything_where_it_is() {
    let home = home();
    let served = holding(&home, &[], &["a", "b"]);
    let all = entries(&[("uds-1", "a"), ("uds-2", "b")]);
    for _ in 0..3 {
        assert_eq!(inbox(&home, &["--peek"]), all);
    }
    let text = home.run(&["inbox", "--peek"]).expect(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].starts_with("uds-1 ") && lines[0].ends_with(", untrusted: a"),
        "{text}"
    );
    assert_eq!(inbox(&home, &[]), all);
    assert_eq!(inbox(&home, &["--peek"]), []);
    assert_eq!(served.stop().2, "");
}

#[test]
fn entries_are_shown_as_they_were_received() {
    let home = home();
    let served = holding(&home, &[], &[]);
    let token = served.token();
    let mut wire = served.wire();
    wire.send(format!(
        "{{\"type\":\"later\", \"data\":{{\"a\":[1e999,\"\\ud83d\"]}},\"meta\":{{\"x\":1,\"authToken\":\"{token}\"}}}}\n"
    ));
    assert_eq!(wire.line()["data"], json!("ok"));
    let shown = home.run(&["inbox", "--json"]).expect(0).stdout;
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id());
    let (head, message) = shown.trim_end().split_once(",\"message\":").unwrap();
    assert!(
        head.starts_with(r#"{"event":"message","id":"uds-1","receivedAt":"#),
        "{shown}"
    );
    assert!(
        head.ends_with(&format!(r#","peer":{{"uid":{uid},"pid":{pid}}}"#)),
        "{shown}"
    );
    assert_eq!(
        message,
        r#"{"type":"later", "data":{"a":[1e999,"\ud83d"]},"meta":{"x":1}}}"#
    );
    assert!(!shown.contains(&token));
}

/// What is as long as a frame may be arrives whole, although what the daemon says of it makes the
/// line longer.
#[test]
fn the_longest_message_can_be_held_and_read() {
    let home = home();
    let served = holding(&home, &[], &[]);
    let token = served.token();
    let frame = |data: &str| message(&token, "text", &json!(data));
    let room = 65_536 + 1 - frame("").len();
    let longest = "x".repeat(room);
    let mut wire = served.wire();
    for _ in 0..2 {
        wire.send(frame(&longest));
        assert_eq!(wire.line()["data"], json!("ok"));
    }
    let both = [("uds-1", longest.as_str()), ("uds-2", longest.as_str())];
    assert_eq!(inbox(&home, &[]), entries(&both));
}

#[test]
fn follow_shows_what_is_there_and_what_comes() {
    let home = home();
    let served = holding(&home, &[], &["a", "b"]);
    let mut follower = Served::spawn(
        home.command(&["inbox", "--follow", "--json"]),
        &home.config(),
    );
    let mut next = || id_and_data(&follower.next_line());
    assert_eq!(
        [next(), next()].to_vec(),
        entries(&[("uds-1", "a"), ("uds-2", "b")])
    );
    for (id, data) in [("uds-3", "c"), ("uds-4", "d")] {
        home.run(&["send", &served.path, data]).expect(0);
        assert_eq!(next(), (id.to_owned(), data.to_owned()));
    }
    follower.signal(Signal::INT);
    let (code, lines, errors) = follower.finish();
    assert_eq!((code, lines, errors.as_str()), (0, vec![], ""));
}

#[test]
fn a_follower_ends_with_its_daemon() {
    let home = home();
    let served = holding(&home, &[], &["a"]);
    let mut follower = Served::spawn(
        home.command(&["inbox", "--follow", "--json"]),
        &home.config(),
    );
    assert_eq!(id_and_data(&follower.next_line()).0, "uds-1");
    assert_eq!(served.stop().0, 0);
    let (code, lines, errors) = follower.finish();
    assert_eq!((code, lines), (1, vec![]));
    let why = "no answer from the daemon; ended before response; it may have ended";
    assert!(errors.contains(why), "{errors}");
}

#[test]
fn a_target_says_whose_inbox_is_meant() {
    let home = home();
    let one = holding(&home, &["--name", "one"], &["for one"]);
    let two = holding(&home, &["--name", "two"], &["for two"]);
    let unclear = home.run(&["inbox"]).expect(3);
    assert_eq!(
        unclear.stderr,
        "error: 2 held inboxes; it is not clear which is meant; say --of TARGET\n"
    );
    assert_eq!(
        inbox(&home, &["--of", "one"]),
        entries(&[("uds-1", "for one")])
    );
    // The session that the command runs in goes before all others.
    let mut command = home.command(&["inbox", "--json"]);
    command.env("CLAUDE_CODE_MESSAGING_SOCKET", &two.path);
    let shown = hallway_tests::Finished::of(command, b"").expect(0);
    assert_eq!(id_and_data(&shown.json()[0]).1, "for two");
    let address = format!("uds:{}", one.path);
    for target in [one.pid.to_string(), address] {
        assert_eq!(inbox(&home, &["--of", &target]), []);
    }
}

// Losing nothing.

/// An entry leaves the inbox when it was marked, and by nothing else.
#[test]
fn a_reader_that_dies_between_reading_and_marking_loses_nothing() {
    let home = home();
    let served = holding(&home, &[], &["a", "b", "c"]);
    let all = entries(&[("uds-1", "a"), ("uds-2", "b"), ("uds-3", "c")]);
    let (mut wire, token) = channel(&home, &served);
    assert_eq!(
        ask(&mut wire, &token, "consume", &json!({})),
        json!({"event": "attached"})
    );
    let first = ask(&mut wire, &token, "next", &json!({}));
    assert_eq!(id_and_data(&first), all[0]);
    drop(wire);
    assert_eq!(inbox(&home, &["--peek"]), all);
    // Marked are all up to the one that is named.
    let (mut wire, token) = channel(&home, &served);
    ask(&mut wire, &token, "consume", &json!({}));
    let second = ask(&mut wire, &token, "next", &json!({"after": "uds-1"}));
    assert_eq!(id_and_data(&second), all[1]);
    let marked = ask(&mut wire, &token, "processed", &json!({"id": "uds-2"}));
    assert_eq!(marked, json!({"event": "processed", "count": 2}));
    drop(wire);
    assert_eq!(inbox(&home, &[]), all[2..]);
}

/// The real reader, killed while it cannot print: what it has not shown is still there.
#[test]
fn a_killed_inbox_loses_nothing() {
    const HELD: usize = 8;
    let home = home();
    let served = holding(&home, &[], &[]);
    let token = served.token();
    let mut wire = served.wire();
    // Each nearly fills a pipe.
    for n in 0..HELD {
        wire.send(message(
            &token,
            "text",
            &json!(format!("{n}{}", "x".repeat(60_000))),
        ));
        assert_eq!(wire.line()["data"], json!("ok"));
    }
    let mut reader = home
        .command(&["inbox", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(reader.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    reader.kill().unwrap();
    reader.wait().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let number = |entry: &Value| {
        let (id, _) = id_and_data(entry);
        id.strip_prefix("uds-").unwrap().parse::<usize>().unwrap()
    };
    // What came out whole was shown; the last line may have been cut.
    let shown = (line + &rest)
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| number(&serde_json::from_str(line).unwrap()))
        .collect::<Vec<_>>();
    assert_eq!(shown, (1..=shown.len()).collect::<Vec<_>>());
    assert!(
        shown.len() < HELD,
        "it was killed in between: {}",
        shown.len()
    );
    let left: Vec<_> = home
        .run(&["inbox", "--json"])
        .expect(0)
        .json()
        .iter()
        .map(number)
        .collect();
    // At least once: from the last one shown, or from the one after it.
    let first = left[0];
    assert_eq!(left, (first..=HELD).collect::<Vec<_>>());
    assert!(first <= shown.len() + 1, "{first} is not after {shown:?}");
}

#[test]
fn output_that_cannot_be_written_marks_nothing() {
    let home = home();
    let served = holding(&home, &[], &["a", "b"]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["inbox"]);
    let status = command.stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        inbox(&home, &[]),
        entries(&[("uds-1", "a"), ("uds-2", "b")])
    );
    assert_eq!(served.stop().2, "");
}

#[test]
fn a_full_inbox_takes_more_as_soon_as_it_is_read() {
    let home = home();
    let served = holding(&home, &["--limit", "max_inbox_entries=2"], &["a", "b"]);
    home.run(&["send", &served.path, "c"]).expect(6);
    assert_eq!(inbox(&home, &["--peek"]).len(), 2);
    home.run(&["send", &served.path, "c"]).expect(6);
    assert_eq!(inbox(&home, &[]).len(), 2);
    home.run(&["send", &served.path, "c"]).expect(0);
    assert_eq!(inbox(&home, &[]), entries(&[("uds-3", "c")]));
}

// One consumer.

#[test]
fn a_second_consumer_is_refused_while_there_is_one() {
    let home = home();
    let served = holding(&home, &[], &["a"]);
    let mut first = Served::spawn(
        home.command(&["inbox", "--follow", "--json"]),
        &home.config(),
    );
    assert_eq!(id_and_data(&first.next_line()).0, "uds-1");
    for arguments in [&["inbox"][..], &["inbox", "--follow"]] {
        let second = home.run(arguments).expect(4);
        assert!(
            second
                .stderr
                .starts_with("error: refused by the daemon: \"another consumer is attached\"; "),
            "{}",
            second.stderr
        );
    }
    // Looking is allowed.
    assert_eq!(inbox(&home, &["--peek"]), []);
    first.kill();
    home.run(&["send", &served.path, "b"]).expect(0);
    assert_eq!(inbox(&home, &[]), entries(&[("uds-2", "b")]));
}

#[test]
fn only_the_consumer_may_mark() {
    let home = home();
    let served = holding(&home, &[], &["a"]);
    let (mut wire, token) = channel(&home, &served);
    let refused = ask(&mut wire, &token, "processed", &json!({"id": "uds-1"}));
    assert_eq!(
        (&refused["type"], &refused["data"]),
        (&json!("error"), &json!("not the consumer"))
    );
    // Nor may it wait for entries; it is told at once that there are none.
    let none = ask(
        &mut wire,
        &token,
        "next",
        &json!({"after": "uds-1", "wait": true}),
    );
    assert_eq!(none, json!({"event": "none"}));
    let nonsense = ask(&mut wire, &token, "text", &json!("hello"));
    assert_eq!(nonsense["type"], json!("error"));
    assert_eq!(inbox(&home, &[]), entries(&[("uds-1", "a")]));
}

// Who may.

#[test]
fn the_owner_channel_has_a_token_of_its_own() {
    let home = home();
    let served = holding(&home, &[], &["a"]);
    let owner_path = format!("{}.owner", served.path);
    let (token, owner_token) = (served.token(), token_of(&home.config(), &owner_path));
    assert_ne!(token, owner_token);
    assert_eq!(mode(&owner_path), 0o600);
    assert_eq!(mode(home.capability(&owner_path)), 0o600);
    // Who may send may not read.
    let mut wire = Wire::connect(&owner_path);
    wire.send(message(&token, "consume", &json!({})));
    wire.expect_refusal("unauthorized");
    // And the other way round.
    let mut wire = served.wire();
    wire.send(message(&owner_token, "text", &json!("hello")));
    wire.expect_refusal("unauthorized");
    assert_eq!(inbox(&home, &[]), entries(&[("uds-1", "a")]));
    // It is not announced as a session, and goes with the daemon.
    assert_eq!(home.run(&["peers", "--json"]).expect(0).json().len(), 1);
    assert_eq!(served.stop().0, 0);
    assert!(!fs::exists(&owner_path).unwrap());
    let left = names(home.config().join("messaging-capabilities"));
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn without_a_held_inbox_it_is_said_so() {
    let home = home();
    let nobody = home.run(&["inbox"]).expect(3);
    assert_eq!(
        nobody.stderr,
        "error: no held inbox; no live session keeps its messages; start `hallway serve --hold`\n"
    );
    let served = home.serve(&["--name", "printer"]);
    assert_eq!(home.run(&["inbox"]).expect(3).stderr, nobody.stderr);
    let printer = home.run(&["inbox", "--of", "printer"]).expect(7);
    assert!(
        printer.stderr.starts_with(&format!(
            "error: No auth token found for peer at {}.owner; ",
            served.path
        )),
        "{}",
        printer.stderr
    );
    assert!(
        printer.stderr.ends_with(
            "; only the inbox of a running `hallway serve --hold` or `hallway run` can be read\n"
        ),
        "{}",
        printer.stderr
    );
    home.run(&["inbox", "--of", "nobody"]).expect(3);
    home.run(&["inbox", "--of", "uds:/s#token=x"]).expect(2);
    // One that has died holds nothing.
    let mut held = holding(&home, &["--name", "held"], &["a"]);
    held.kill();
    assert_eq!(home.run(&["inbox"]).expect(3).stderr, nobody.stderr);
    let gone = home.run(&["inbox", "--of", "held"]).expect(3);
    assert!(gone.stderr.contains("is gone"), "{}", gone.stderr);
}

// The end.

#[test]
fn what_was_not_read_is_counted_at_the_stop() {
    let home = home();
    let served = holding(&home, &[], &["a", "b", "c"]);
    let (code, lines, errors) = served.stop();
    assert_eq!(
        (code, lines),
        (0, vec![r#"{"event":"stopped"}"#.to_owned()])
    );
    assert!(errors.contains(" WARN "), "{errors}");
    assert!(
        errors.contains("held messages were not read and are lost; read them with `hallway inbox`"),
        "{errors}"
    );
    assert!(errors.contains("count=3"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}
