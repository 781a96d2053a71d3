//! Who takes the messages: standard output, at its own pace, or a command for each.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hallway_tests::Served;
use hallway_tests::frame::{ok, refusal};
use hallway_tests::wire::{message, wait_for};
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde_json::{Value, json};

use crate::home;

#[test]
fn output_that_nobody_reads_fills_the_inbox_and_nothing_else() {
    let home = home();
    let socket = home.socket("s");
    let command = home.command(&["serve", "--json", "--socket", &socket]);
    let (mut served, output) = Served::start_unread(command, &home.config(), &socket);
    let token = served.token();
    let (mut beat, mut wire) = (served.wire(), served.wire());
    let data = "x".repeat(300);
    let mut acknowledged = 0;
    loop {
        wire.send(message(&token, "text", &json!([acknowledged + 1, data])));
        let reply = wire.reply();
        if reply != ok(acknowledged + 1) {
            assert_eq!(reply, refusal("inbox full"));
            break;
        }
        acknowledged += 1;
        beat.ping(&token, &socket);
    }
    // The inbox, and what the pipe has taken of it.
    assert!((1_000..1_500).contains(&acknowledged), "{acknowledged}");
    for _ in 0..50 {
        let mut refused = served.wire();
        refused.send(message(&token, "text", &json!("refused")));
        assert_eq!(refused.reply(), refusal("inbox full"));
        beat.ping(&token, &socket);
    }
    // Read, it has each exactly once, and takes more.
    let mut lines = BufReader::new(output).lines().map(Result::unwrap);
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    for n in 1..=acknowledged {
        let entry = next();
        assert_eq!(entry["id"], json!(format!("uds-{n}")));
        assert_eq!(entry["message"]["data"], json!([n, data]));
    }
    beat.send(message(&token, "text", &json!("more")));
    assert_eq!(beat.reply(), ok(acknowledged + 1));
    assert_eq!(next()["message"]["data"], json!("more"));
    served.signal(Signal::TERM);
    assert_eq!(next(), json!({"event": "stopped"}));
    let (code, _, log) = served.finish();
    assert_eq!((code, log.as_str()), (0, ""));
}

#[test]
fn output_that_is_read_late_gets_the_last_messages_of_a_stopped_daemon() {
    let home = home();
    let socket = home.socket("s");
    let command = home.command(&["serve", "--json", "--socket", &socket]);
    let (mut served, output) = Served::start_unread(command, &home.config(), &socket);
    let token = served.token();
    let mut wire = served.wire();
    for n in 1..=500 {
        wire.send(message(&token, "text", &json!([n, "x".repeat(300)])));
        assert_eq!(wire.reply(), ok(n));
    }
    served.signal(Signal::TERM);
    wire.expect_end();
    // Nobody gets in who would not be answered.
    UnixStream::connect(&socket).unwrap_err();
    let lines: Vec<String> = BufReader::new(output).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 501);
    for (n, line) in (1..=500).zip(&lines) {
        assert!(
            line.starts_with(&format!(r#"{{"event":"message","id":"uds-{n}","#)),
            "{line}"
        );
    }
    let (code, _, log) = served.finish();
    assert_eq!((code, log.as_str()), (0, ""));
}

#[test]
fn the_command_gets_each_entry_in_order() {
    let home = home();
    let got = home.root().join("got");
    // It says when it is done, and how it was called.
    let command = r#"cat > "$HOME/one" && cat "$HOME/one" >> "$HOME/got" && echo >> "$HOME/got" && printf '{"socket":"%s"}\n' "$CLAUDE_CODE_MESSAGING_SOCKET""#;
    let mut served = home.serve(&["--on-message", command]);
    let token = served.token();
    let mut wire = served.wire();
    let large = "x".repeat(60_000);
    let data = |n: usize| if n == 7 { json!([n, large]) } else { json!(n) };
    for n in 1..=20 {
        wire.send(message(&token, "text", &data(n)));
        assert_eq!(wire.reply(), ok(n));
    }
    for _ in 1..=20 {
        let socket = served.path.clone();
        assert_eq!(served.next_line(), json!({"socket": socket}));
    }
    let got = fs::read_to_string(got).unwrap();
    let entries: Vec<Value> = got
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), 20);
    for (n, entry) in (1..=20).zip(&entries) {
        assert_eq!(entry["event"], "message");
        assert_eq!(entry["id"], json!(format!("uds-{n}")));
        assert_eq!(entry["peer"]["pid"], json!(std::process::id()));
        assert_eq!(entry["message"]["data"], data(n));
    }
}

#[test]
fn a_command_that_fails_does_not_stop_the_daemon() {
    let home = home();
    for command in [
        "echo 1; exit 7",
        "echo 1; kill -9 $$",
        // It does not read its entry, which is larger than a pipe.
        "exec 0<&-; echo 1",
    ] {
        let mut served = home.serve(&["--on-message", command]);
        let token = served.token();
        let mut wire = served.wire();
        for n in 1..=3 {
            wire.send(message(&token, "text", &json!("x".repeat(65_000))));
            assert_eq!(wire.reply(), ok(n));
            assert_eq!(served.next_line(), json!(1), "{command}");
        }
        wire.ping(&token, &served.path);
        assert_eq!(served.stop().0, 0, "{command}");
    }
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let home = home();
    let arguments = [
        "--on-message",
        // A shell that waits for a child, and a child of another; both hold its output.
        "sleep 1000 & echo $!; (sleep 1000 & echo $!); echo $$; wait",
        "--on-message-timeout",
        "300ms",
    ];
    let mut served = home.serve(&arguments);
    let token = served.token();
    let mut wire = served.wire();
    let mut running = Vec::new();
    for n in 1..=2 {
        wire.send(message(&token, "text", &json!(n)));
        assert_eq!(wire.reply(), ok(n));
        for _ in 0..3 {
            let pid = served.next_line().as_i64().unwrap();
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            running.push(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        }
        wire.ping(&token, &served.path);
    }
    for process in &running {
        let ended = wait_for(process, PollFlags::IN, Duration::from_secs(10));
        assert!(ended, "a process of the command lives on");
    }
    let (code, _, log) = served.stop();
    assert_eq!(code, 0, "{log}");
    assert_eq!(
        log.matches("it took longer than 300ms and was killed")
            .count(),
        2,
        "{log}"
    );
}

#[test]
fn messages_that_wait_for_the_command_are_dealt_with_after_a_stop() {
    let home = home();
    // The first one waits for the test.
    let gate = home.root().join("gate");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &gate,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut served = home.serve(&["--on-message", r#"cat; echo; read line < "$HOME/gate""#]);
    let token = served.token();
    let mut wire = served.wire();
    for n in 1..=5 {
        wire.send(message(&token, "text", &json!(n)));
        assert_eq!(wire.reply(), ok(n));
    }
    assert_eq!(served.next_data(), json!(1));
    served.signal(Signal::TERM);
    wire.expect_end();
    for n in 2..=5 {
        fs::write(&gate, "go\n").unwrap();
        assert_eq!(served.next_data(), json!(n));
    }
    fs::write(&gate, "go\n").unwrap();
    let (code, lines, log) = served.finish();
    assert_eq!((code, log.as_str()), (0, ""));
    assert_eq!(lines, [r#"{"event":"stopped"}"#]);
}
