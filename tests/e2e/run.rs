//! `hallway run`: a command with an inbox of its own.

use std::fs;

use hallway_tests::files::{mkfifo, names};
use hallway_tests::{Finished, Served};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home;

/// The program under test, as a command that `hallway run` starts calls it.
const HALLWAY: &str = env!("CARGO_BIN_EXE_hallway");

/// Covers: L2.25, L2.26
#[test]
fn the_command_gets_its_address_and_its_peers_find_it() {
    let home = home();
    let script = r#"echo "$CLAUDE_CODE_MESSAGING_SOCKET"; "$0" peers --json --all; env"#;
    let finished = home
        .run(&[
            "run",
            "--name",
            "api-worker",
            "--",
            "sh",
            "-c",
            script,
            HALLWAY,
        ])
        .expect(0);
    assert_eq!(finished.stderr, "");
    let mut lines = finished.stdout.lines();
    let path = lines.next().unwrap();
    let base = home.root().join("t/claude-code-socks");
    assert!(path.starts_with(base.to_str().unwrap()), "{path}");
    let own: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(own["name"], json!("api-worker"));
    assert_eq!(own["kind"], json!("interactive"));
    assert_eq!(own["address"], json!(format!("uds:{path}")));
    assert_eq!(own["why"], json!("it is this session itself"));
    // The token is nowhere in its environment.
    let told = lines.find(|line| line.starts_with("CLAUDE_CODE_MESSAGING_SOCKET="));
    assert_eq!(
        told,
        Some(format!("CLAUDE_CODE_MESSAGING_SOCKET={path}").as_str())
    );
    let hex = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let secrets: Vec<_> = finished
        .stdout
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| hex(word))
        .collect();
    assert_eq!(secrets, Vec::<&str>::new());
    // All of it is gone.
    assert!(!fs::exists(path).unwrap());
    for dir in [
        "c/sessions",
        "c/messaging-capabilities",
        "t/claude-code-socks",
    ] {
        assert_eq!(names(home.root().join(dir)), Vec::<String>::new());
    }
}

#[test]
fn the_commands_exit_code_is_ours() {
    let home = home();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        let finished = home.run(&["run", "--", "sh", "-c", script]).expect(code);
        assert_eq!(
            (finished.stdout.as_str(), finished.stderr.as_str()),
            ("", "")
        );
    }
}

#[test]
fn its_input_output_and_umask_are_the_commands_own() {
    let home = home();
    let script = "cat; echo to stderr >&2; umask";
    let finished = home
        .run_with_input(&["run", "--", "sh", "-c", script], b"from stdin\n")
        .expect(0);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask"]);
    let umask = Finished::of(command, b"").expect(0);
    assert_eq!(finished.stdout, format!("from stdin\n{}", umask.stdout));
    assert_eq!(finished.stderr, "to stderr\n");
}

#[test]
fn signals_are_passed_on() {
    let home = home();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let script = format!(
            "trap 'echo got {name}; exit 7' {name}; echo ready; while read line; do :; done"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = home.command(&["run", "--", "sh", "-c", &script]);
        command.stdin(reader);
        let mut run = Served::spawn(command, &home.config());
        assert_eq!(run.next_raw(), "ready");
        run.signal(signal);
        let (code, lines, errors) = run.finish();
        assert_eq!(
            (code, lines, errors.as_str()),
            (7, vec![format!("got {name}")], "")
        );
        drop(writer);
    }
}

/// Covers: L2.25
#[test]
fn the_command_reads_its_own_messages() {
    let home = home();
    let script = r#"
        "$0" send "uds:$CLAUDE_CODE_MESSAGING_SOCKET" "to myself" &&
        "$0" inbox --peek --json && "$0" inbox --json && "$0" inbox"#;
    let finished = home
        .run(&["run", "--", "sh", "-c", script, HALLWAY])
        .expect(0);
    let lines: Vec<_> = finished.stdout.lines().collect();
    let [id, peeked, read] = lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!((id, peeked), ("uds-1", read));
    let entry: Value = serde_json::from_str(read).unwrap();
    assert_eq!(entry["message"]["data"], json!("to myself"));
    assert_eq!(finished.stderr, "", "nothing is left unread");
}

#[test]
fn messages_that_the_command_never_read_are_counted() {
    let home = home();
    let script = r#""$0" send "$CLAUDE_CODE_MESSAGING_SOCKET" x"#;
    let finished = home
        .run(&["run", "--", "sh", "-c", script, HALLWAY])
        .expect(0);
    assert!(
        finished
            .stderr
            .contains("held messages were not read and are lost"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("count=1"), "{}", finished.stderr);
}

#[test]
fn a_command_for_messages_gets_each_as_json() {
    let home = home();
    let fifo = home.root().join("fifo");
    mkfifo(&fifo);
    let script = r#"
        "$0" send "$CLAUDE_CODE_MESSAGING_SOCKET" one && cat fifo &&
        "$0" send "$CLAUDE_CODE_MESSAGING_SOCKET" two && cat fifo"#;
    let mut command = home.command(&[
        "run",
        "--on-message",
        "cat > fifo; echo \"$CLAUDE_CODE_MESSAGING_SOCKET\" > socket",
        "--",
        "sh",
        "-c",
        script,
        HALLWAY,
    ]);
    command.current_dir(home.root());
    let finished = Finished::of(command, b"").expect(0);
    let lines: Vec<_> = finished.stdout.split_inclusive('\n').collect();
    assert_eq!(lines[0], "uds-1\n");
    let text = lines[1..].concat();
    let (first, second) = text.split_once("uds-2\n").unwrap();
    for (text, data) in [(first, "one"), (second, "two")] {
        let entry: Value = serde_json::from_str(text).unwrap();
        assert_eq!(entry["event"], json!("message"));
        assert_eq!(entry["message"]["data"], json!(data));
    }
    let socket = fs::read_to_string(home.root().join("socket")).unwrap();
    assert!(socket.ends_with("/messaging.sock\n"), "{socket}");
}

#[test]
fn nothing_runs_when_there_can_be_no_inbox() {
    let home = home();
    fs::write(home.config().join("messaging-capabilities"), "").unwrap();
    let failed = home.run(&["run", "--", "sh", "-c", "echo ran"]).expect(1);
    assert_eq!(failed.stdout, "");
    assert!(
        failed
            .stderr
            .starts_with("error: capability directory is not a private directory: "),
        "{}",
        failed.stderr
    );
}
