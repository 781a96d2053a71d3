//! The command line: exit codes, mistakes, what is printed and what is not.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use hallway::cli::Exit;
use hallway_tests::files::dead_socket;
use hallway_tests::wire::{message, publish};
use hallway_tests::{FakeServer, Finished, Home};
use serde_json::{Value, json};

use crate::home;

/// Every verb.
const VERBS: [&str; 10] = [
    "demo",
    "serve",
    "run",
    "peers",
    "ping",
    "send",
    "inbox",
    "doctor",
    "completions",
    "man",
];

// Exit codes.

/// The rows `| <number> | <text> |` of the README, whatever else is in it.
#[test]
fn the_readme_lists_the_exit_codes() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let rows: Vec<(u8, String)> = readme
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.trim().strip_prefix('|')?.split('|').collect();
            let [code, text, ""] = cells[..] else {
                return None;
            };
            Some((code.trim().parse().ok()?, text.trim().to_owned()))
        })
        .collect();
    let table = Exit::TABLE.map(|(exit, text)| (exit.code(), text.to_owned()));
    assert_eq!(rows, table);
}

#[test]
fn the_help_lists_the_exit_codes() {
    let help = home().run(&["--help"]).expect(0).stdout;
    let words: Vec<_> = help.split_whitespace().collect();
    let help = words.join(" ");
    for (exit, text) in Exit::TABLE {
        // In the help without what stands in parentheses.
        let text = text.split(" (").next().unwrap();
        let listed = format!("{} {text}", exit.code());
        assert!(help.contains(&listed), "{listed} is not in {help}");
    }
}

#[test]
fn exit_0_is_done() {
    let home = home();
    let served = home.serve(&[]);
    for arguments in [
        &["ping", &served.path][..],
        &["send", &served.path, "x"],
        &["peers"],
        &["doctor"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["send", "--help"],
        &["--version"],
    ] {
        let finished = home.run(arguments).expect(0);
        assert_eq!(finished.stderr, "", "{arguments:?}");
        assert_ne!(finished.stdout, "", "{arguments:?}");
    }
}

#[test]
fn exit_1_is_failed() {
    let home = home();
    fs::write(home.socket("file"), "mine").unwrap();
    let failed = home
        .run(&["serve", "--socket", &home.socket("file")])
        .expect(1);
    assert!(
        failed.stderr.starts_with("error: socket is not a socket: "),
        "{}",
        failed.stderr
    );
    assert_eq!(fs::read(home.socket("file")).unwrap(), b"mine");
}

#[test]
fn exit_3_is_no_such_peer() {
    let home = home();
    for target in ["nobody", "0", "4294967295", ""] {
        let failed = home.run(&["send", target, "x"]).expect(3);
        assert_eq!(
            failed.stderr,
            format!(
                "error: no such peer: {target:?}; no live session goes by that name, id or pid; \
                 `hallway peers --all` shows who was there\n"
            )
        );
    }
}

#[test]
fn exit_4_is_refused() {
    let home = home();
    let mut served = home.serve(&[]);
    publish(&home.config(), &served.path, &"0".repeat(64));
    for arguments in [&["send", &served.path, "x"][..], &["ping", &served.path]] {
        let refused = home.run(arguments).expect(4);
        assert!(
            refused
                .stderr
                .starts_with("error: refused by the peer: \"unauthorized\"; "),
            "{}",
            refused.stderr
        );
        assert!(!refused.stderr.contains(&"0".repeat(64)));
    }
    served.kill();
    let (_, lines, _) = served.finish();
    assert_eq!(lines, Vec::<String>::new(), "nothing arrived");
}

#[test]
fn exit_5_is_timed_out() {
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, |mut wire| {
        wire.line();
        wire.expect_end();
    });
    let late = home.run(&["ping", &server.path, "--timeout", "50ms"]);
    assert_eq!(
        late.expect(5).stderr,
        format!(
            "error: no answer from peer at {}; it did not answer in time; it may be stuck\n",
            server.path
        )
    );
    server.join();
}

#[test]
fn exit_6_is_full() {
    let home = home();
    let served = home.serve(&["--hold", "--limit", "max_inbox_entries=1"]);
    home.run(&["send", &served.path, "x"]).expect(0);
    let full = home.run(&["send", &served.path, "y"]).expect(6);
    assert!(
        full.stderr.starts_with("error: inbox full; "),
        "{}",
        full.stderr
    );
    home.run(&["inbox"]).expect(0);
    // No id is used up by what was refused.
    assert_eq!(
        home.run(&["send", &served.path, "z"]).expect(0).stdout,
        "uds-2\n"
    );
}

#[test]
fn exit_7_is_unreachable() {
    let home = home();
    let dead = home.socket("dead");
    dead_socket(&dead);
    publish(&home.config(), &dead, "f00d");
    home.run(&["ping", &dead]).expect(7);
    let path = home.socket("gone");
    let failed = home.run(&["ping", &path]).expect(7);
    assert!(
        failed.stderr.contains("; ask `hallway peers` for sessions"),
        "{}",
        failed.stderr
    );
}

// Mistakes.

#[test]
fn exit_2_is_for_mistakes_and_says_what_to_do() {
    let home = home();
    for (arguments, words) in [
        (&["snd", "x"][..], "'send'"),
        (&["send"], "<TARGET>"),
        (&["ping"], "<TARGET>"),
        (&["run"], "<CMD>"),
        (
            &["serve", "--limit", "max_clients"],
            "use NAME=NUMBER with one of max_frame_bytes, ",
        ),
        (
            &["serve", "--limit", "max_client=7"],
            "use NAME=NUMBER with one of ",
        ),
        (
            &["serve", "--limit", "max_clients=0"],
            "max_clients must be between 1 and 65536",
        ),
        (
            &["serve", "--limit", "max_inbox_bytes=1000"],
            "max_frame_bytes must not exceed max_inbox_bytes",
        ),
        (
            &["ping", "x", "--timeout", "5h"],
            "use ms, s or m, such as 500ms",
        ),
        (
            &["ping", "x", "--timeout", "0"],
            "use a time between 1ms and 60m",
        ),
        (
            &["send", "x", "y", "--type", "ping"],
            "[possible values: text, notification, query]",
        ),
        (&["send", "x", "y", "z"], "unexpected argument 'z'"),
        (
            &["serve", "--hold", "--on-message", "cat"],
            "cannot be used with",
        ),
        (
            &["serve", "--name", "a\nb"],
            "it must not be empty or hold control characters",
        ),
        (&["inbox", "--peek", "--follow"], "cannot be used with"),
        (&["-q", "-v", "peers"], "cannot be used with"),
        (
            &["completions", "tcsh"],
            "[possible values: bash, elvish, fish, powershell, zsh]",
        ),
        (
            &["send", "uds:relative/path", "x"],
            "socket path is not absolute: ",
        ),
        (&["serve", "--socket", "/"], "socket path names no file: "),
        (
            &["run", "/no/such/program"],
            "does not start; No such file or directory",
        ),
    ] {
        let finished = home.run(arguments).expect(2);
        assert!(
            finished.stderr.starts_with("error: "),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(words),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    // Nothing at all is a question.
    let help = home.run(&[]).expect(2).stderr;
    assert!(help.contains("Usage: hallway"), "{help}");
}

#[test]
fn settings_of_the_environment_that_make_no_sense_are_mistakes() {
    let home = home();
    let run = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env(name, value);
        Finished::of(command, b"")
    };
    let failed = run("HALLWAY_LOG", "hallway=loud", &["peers"]).expect(2);
    assert!(
        failed
            .stderr
            .starts_with("error: HALLWAY_LOG cannot be read; "),
        "{}",
        failed.stderr
    );
    let mut command = home.command(&["peers"]);
    command.env_remove("CLAUDE_CONFIG_DIR").env_remove("HOME");
    assert_eq!(
        Finished::of(command, b"").expect(2).stderr,
        "error: no config home; neither CLAUDE_CONFIG_DIR nor HOME is set; use --config-dir\n"
    );
    // An empty variable is none, and the flag goes before both.
    run("CLAUDE_CONFIG_DIR", "", &["peers"]).expect(0);
    let elsewhere = home.root().join("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    let mut served = home.serve(&["--config-dir", elsewhere]);
    home.run(&["ping", &served.path]).expect(4);
    home.run(&["ping", &served.path, "--config-dir", elsewhere])
        .expect(0);
    served.kill();
}

#[test]
fn with_json_every_error_is_json() {
    let home = home();
    for (arguments, code, words) in [
        (
            &["send", "nobody", "x", "--json"][..],
            3,
            "no such peer: \"nobody\"; ",
        ),
        (
            &["--json", "ping", "/gone"],
            7,
            "No auth token found for peer at /gone; ",
        ),
        (
            &["send", "/s#token=x", "y", "--json"],
            2,
            "UDS target must not include",
        ),
        (&["--json", "snd"], 2, "unrecognized subcommand 'snd'"),
        (&["ping", "--json"], 2, "<TARGET>"),
        (
            &["serve", "--json", "--limit", "max_clients=0"],
            2,
            "the limits make no sense; ",
        ),
    ] {
        let failed = home.run(arguments).expect(code);
        assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
        let error: Value = serde_json::from_str(&failed.stderr).unwrap();
        assert_eq!(error["event"], json!("error"), "{error}");
        assert_eq!(error["code"], json!(code), "{error}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
        assert_eq!(error.as_object().unwrap().len(), 3, "{error}");
        assert_eq!(failed.stdout, "");
    }
    // What is after -- is the command's.
    let run = home.run(&["run", "--", "sh", "-c", "exit 9", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (9, ""));
    let mistaken = home
        .run(&["run", "--limit", "x", "--", "true", "--json"])
        .expect(2);
    assert!(
        mistaken.stderr.starts_with("error: "),
        "{}",
        mistaken.stderr
    );
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let home = home();
    let coloured = "\u{1b}[1;31merror:\u{1b}[0m no such peer";
    for (color, expected) in [
        ("auto", "error: no such peer"),
        ("never", "error: no such peer"),
        ("always", coloured),
    ] {
        let failed = home.run(&["ping", "nobody", "--color", color]).expect(3);
        assert!(failed.stderr.starts_with(expected), "{}", failed.stderr);
    }
}

// Targets.

/// Covers: L4.16, L4.17
#[test]
fn a_target_is_an_address_a_pid_an_id_a_prefix_or_a_name() {
    let home = home();
    let served = home.serve(&["--name", "api-worker", "--session-id", "c0ffee-1"]);
    let other = home.serve(&["--name", "web worker", "--session-id", "c0ffee-2"]);
    let (pid, uds) = (served.pid.to_string(), format!("uds:{}", served.path));
    for target in [&served.path, &uds, &pid, "c0ffee-1", "api-worker"] {
        let pong = home.run(&["ping", target, "--json"]).expect(0);
        assert_eq!(pong.json()[0]["address"], json!(uds), "{target}");
        assert_eq!(pong.json()[0]["pid"], json!(served.pid), "{target}");
    }
    let pong = home.run(&["ping", "web worker", "--json"]).expect(0);
    assert_eq!(pong.json()[0]["pid"], json!(other.pid));
    // Four characters of an id are enough, if there is only one.
    let third = home.serve(&["--session-id", "decafbad"]);
    let pong = home.run(&["ping", "deca", "--json"]).expect(0);
    assert_eq!(pong.json()[0]["pid"], json!(third.pid));
    home.run(&["ping", "dec"]).expect(3);
    home.run(&["ping", "DECA"]).expect(3);
    home.run(&["ping", "api-work"]).expect(3);
}

#[test]
fn an_ambiguous_target_is_refused_with_the_candidates() {
    let home = home();
    let one = home.serve(&["--name", "api-worker", "--session-id", "c0ffee-1"]);
    let two = home.serve(&["--name", "api-worker", "--session-id", "c0ffee-2"]);
    let mut pids = [one.pid, two.pid];
    pids.sort_unstable();
    for target in ["api-worker", "c0ffee"] {
        for verb in ["ping", "send"] {
            let failed = home.run_with_input(&[verb, target], b"x").expect(3);
            let id = |pid: u32| if pid == one.pid { 1 } else { 2 };
            let candidates =
                pids.map(|pid| format!("pid {pid} \"api-worker\" (c0ffee-{})", id(pid)));
            assert_eq!(
                failed.stderr,
                format!(
                    "error: {target:?} is ambiguous; it could be {}; give a pid or a full session id\n",
                    candidates.join(", ")
                )
            );
        }
    }
    // An exact match goes before a prefix.
    let three = home.serve(&["--name", "c0ffee", "--session-id", "x"]);
    let pong = home.run(&["ping", "c0ffee", "--json"]).expect(0);
    assert_eq!(pong.json()[0]["pid"], json!(three.pid));
}

#[test]
fn a_target_that_has_died_is_said_to_be_gone() {
    let home = home();
    let mut served = home.serve(&["--name", "api-worker", "--session-id", "c0ffee-1"]);
    served.kill();
    for target in ["api-worker", "c0ffee-1", "c0ff", &served.pid.to_string()] {
        let failed = home.run(&["send", target, "x"]).expect(3);
        assert_eq!(
            failed.stderr,
            format!(
                "error: no such peer: {target:?}; its session (pid {}) is gone; `hallway peers \
                 --all` shows who was there\n",
                served.pid
            )
        );
    }
    // A living one of that name goes before it.
    let heir = home.serve(&["--name", "api-worker"]);
    let pong = home.run(&["ping", "api-worker", "--json"]).expect(0);
    assert_eq!(pong.json()[0]["pid"], json!(heir.pid));
}

// Peers.

/// Covers: L4.18
#[test]
fn peers_are_listed_for_people_and_for_programs() {
    let home = home();
    let empty = home.run(&["peers"]).expect(0);
    assert_eq!(
        empty.stdout,
        "no live sessions; start one with `hallway serve` or `hallway run`\n"
    );
    assert_eq!(home.run(&["peers", "--json"]).expect(0).stdout, "");
    let served = home.serve(&["--name", "api-worker", "--session-id", "c0ffee-1"]);
    let text = home.run(&["peers"]).expect(0).stdout;
    let lines: Vec<Vec<_>> = text
        .lines()
        .map(|line| {
            let cells = line.split("  ").map(str::trim);
            cells.filter(|cell| !cell.is_empty()).collect()
        })
        .collect();
    assert_eq!(
        lines[0],
        [
            "NAME",
            "SESSION",
            "PID",
            "KIND",
            "AGE",
            "REACHABLE",
            "ADDRESS",
            "CWD"
        ]
    );
    let row = &lines[1];
    let (pid, cwd) = (served.pid.to_string(), std::env::current_dir().unwrap());
    let uds = format!("uds:{}", served.path);
    assert_eq!(row[..4], ["api-worker", "c0ffee-1", pid.as_str(), "daemon"]);
    assert!(row[4].ends_with('s'), "{row:?}");
    assert_eq!(row[5..], ["?", uds.as_str(), cwd.to_str().unwrap()]);
    let listed = home.run(&["peers", "--json"]).expect(0).json();
    let started = listed[0]["startedAt"].as_u64().unwrap();
    assert!(started <= hallway_tests::frame::wall_millis());
    assert_eq!(
        listed,
        [json!({
            "pid": served.pid, "name": "api-worker", "sessionId": "c0ffee-1", "kind": "daemon",
            "cwd": cwd, "startedAt": started, "address": uds, "live": true, "reachable": null,
        })]
    );
}

#[test]
fn a_probe_tells_who_answers() {
    let home = home();
    let served = home.serve(&["--name", "api-worker"]);
    let probed = home.run(&["peers", "--probe", "--json"]).expect(0).json();
    assert_eq!(probed.len(), 1);
    assert_eq!(probed[0]["reachable"], json!(true));
    assert!(probed[0]["ms"].as_f64().unwrap() > 0.0, "{}", probed[0]);
    let text = home.run(&["peers", "--probe"]).expect(0).stdout;
    let row = text.lines().nth(1).unwrap();
    let cells: Vec<_> = row.split("  ").filter(|cell| !cell.is_empty()).collect();
    assert!(cells[5].ends_with(" ms"), "{text}");
    // One whose process lives and that hangs up.
    let server = FakeServer::start(&home.config(), &home.socket("s"), 2, |mut wire| {
        wire.line();
    });
    record(
        &home,
        std::process::id(),
        json!({"messagingSocketPath": server.path}),
    );
    let probed = home.run(&["peers", "--probe", "--json"]).expect(0).json();
    assert_eq!(probed.len(), 1, "it is not to be reached: {probed:?}");
    assert_eq!(probed[0]["pid"], json!(served.pid));
    let probed = home.run(&["peers", "--probe", "--all", "--json"]).expect(0);
    let fake = probed
        .json()
        .into_iter()
        .find(|peer| peer["pid"] != json!(served.pid));
    let fake = fake.unwrap();
    assert_eq!(
        (&fake["live"], &fake["reachable"]),
        (&json!(true), &json!(false))
    );
    assert!(
        fake["why"]
            .as_str()
            .unwrap()
            .starts_with("ended before response"),
        "{fake}"
    );
    server.join();
}

/// Writes a record as another program would.
fn record(home: &Home, pid: u32, members: Value) {
    hallway_tests::files::mkdir(home.config().join("sessions"));
    let path = home.config().join(format!("sessions/{pid}.json"));
    fs::write(path, members.to_string()).unwrap();
}

/// Covers: L4.18
#[test]
fn all_shows_the_dead_and_why() {
    let home = home();
    let mut killed = home.serve(&["--name", "killed"]);
    let served = home.serve(&["--name", "live"]);
    killed.kill();
    record(&home, 2_000_000_001, json!({"name": "gone"}));
    record(
        &home,
        std::process::id(),
        json!({"messagingSocketPath": home.socket("none")}),
    );
    let listed = home.run(&["peers", "--json"]).expect(0).json();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["pid"], json!(served.pid));
    let all = home.run(&["peers", "--all", "--json"]).expect(0).json();
    let why = |pid: u32| {
        let found = all.iter().find(|peer| peer["pid"] == json!(pid)).unwrap();
        (
            found["live"].clone(),
            found["reachable"].clone(),
            found["why"].clone(),
        )
    };
    let absent = |why: &str| (json!(false), json!(false), json!(why));
    assert_eq!(all.len(), 4);
    assert_eq!(why(killed.pid), absent("its process has ended"));
    assert_eq!(why(2_000_000_001), absent("its process has ended"));
    assert_eq!(why(std::process::id()), absent("its socket is gone"));
    assert_eq!(why(served.pid), (json!(true), json!(null), json!(null)));
    let text = home.run(&["peers", "--all"]).expect(0).stdout;
    assert_eq!(
        text.matches("no: its process has ended").count(),
        2,
        "{text}"
    );
}

/// Covers: L4.18
#[test]
fn a_session_does_not_list_itself() {
    let home = home();
    let own = home.serve(&["--name", "own"]);
    let other = home.serve(&["--name", "other"]);
    let peers = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("CLAUDE_CODE_MESSAGING_SOCKET", &own.path);
        Finished::of(command, b"").expect(0).json()
    };
    for arguments in [&["peers", "--json"][..], &["peers", "--probe", "--json"]] {
        let listed = peers(arguments);
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0]["pid"], json!(other.pid));
    }
    let all = peers(&["peers", "--all", "--json"]);
    let itself = all
        .iter()
        .find(|peer| peer["pid"] == json!(own.pid))
        .unwrap();
    assert_eq!(itself["why"], json!("it is this session itself"));
}

// What others say, on a terminal.

/// Text that would clear the screen, set the title, hide and reorder, and fake a line.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}gnp\u{200b}\nerror: fake";

/// Demands that nothing in `text` could move a cursor or fool a reader.
#[track_caller]
fn assert_tame(text: &str) {
    let wild = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    };
    assert!(!text.contains(wild), "{text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("error: fake")),
        "{text:?}"
    );
}

#[test]
fn what_records_say_never_reaches_the_terminal_raw() {
    let home = home();
    let socket = home.socket("s");
    dead_socket(&socket);
    for pid in [std::process::id(), 2_000_000_001] {
        let members = json!({
            "name": EVIL, "sessionId": EVIL, "kind": EVIL, "cwd": EVIL, "entrypoint": EVIL,
            "messagingSocketPath": socket,
        });
        record(&home, pid, members);
    }
    record(
        &home,
        2_000_000_002,
        json!({"messagingSocketPath": format!("/{EVIL}")}),
    );
    for arguments in [
        &["peers"][..],
        &["peers", "--all"],
        &["peers", "--all", "--probe"],
        &["send", EVIL, "x"],
        &["send", "nobody", "x"],
        &["ping", &format!("/{EVIL}")],
        &["inbox", "--of", EVIL],
        &["doctor"],
    ] {
        let finished = home.run(arguments);
        assert_tame(&finished.stdout);
        assert_tame(&finished.stderr);
        assert_ne!(finished.stdout + &finished.stderr, "", "{arguments:?}");
    }
    let text = home.run(&["peers"]).expect(0).stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
    // For programs it is there, escaped as JSON has it.
    let listed = home.run(&["peers", "--json"]).expect(0).json();
    assert_eq!(listed[0]["name"], json!(EVIL));
}

#[test]
fn what_messages_say_never_reaches_the_terminal_raw() {
    let home = home();
    let mut command = home.command(&["serve"]);
    command.args(["--socket", &home.socket("s")]);
    let mut served = hallway_tests::Served::spawn(command, &home.config());
    assert!(served.next_raw().starts_with("listening at uds:/"));
    served.path = home.socket("s");
    let token = served.token();
    let frame = json!({
        "type": EVIL, "data": EVIL, "from": EVIL, "ts": EVIL, "meta": {"authToken": token},
    });
    let mut wire = served.wire();
    wire.send(format!("{frame}\n"));
    assert_eq!(wire.line()["data"], json!("ok"));
    wire.send(message(&token, "text", &json!({"a": EVIL})));
    assert_eq!(wire.line()["data"], json!("ok"));
    let visible = "\\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{9b}31m\\r\\u{202e}gnp\\u{200b}";
    let first = served.next_raw();
    assert!(first.starts_with("uds-1 "), "{first}");
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id());
    let about = format!(
        " {visible}\\nerror: fake from pid {pid} (uid {uid}, says it is {visible}\\nerror: fake), \
         untrusted: {visible}"
    );
    assert!(first.ends_with(&about), "{first}");
    assert_eq!(served.next_raw(), "    | error: fake");
    let second = served.next_raw();
    assert!(second.starts_with("uds-2 "), "{second}");
    assert_tame(&second);
    let (code, rest, errors) = served.stop();
    assert_eq!((code, rest, errors.as_str()), (0, vec![], ""));
}

#[test]
fn held_messages_are_shown_as_tame() {
    let home = home();
    let served = home.serve(&["--hold"]);
    home.run(&["send", &served.path, EVIL]).expect(0);
    for arguments in [&["inbox", "--peek"][..], &["inbox"]] {
        let shown = home.run(arguments).expect(0).stdout;
        assert!(
            shown.starts_with("uds-1 ") && shown.ends_with("\n    | error: fake\n"),
            "{shown}"
        );
        assert_tame(&shown);
    }
}

// Output that cannot be written.

/// Verbs that print, each with a real peer.
fn printing(path: &str) -> Vec<Vec<&str>> {
    let mut all = vec![
        vec!["peers"],
        vec!["peers", "--json"],
        vec!["ping", path],
        vec!["send", path, "x"],
        vec!["send", path, "x", "--json"],
        vec!["doctor"],
        vec!["doctor", "--json"],
        vec!["man"],
        vec!["demo"],
    ];
    all.extend(["bash", "zsh", "fish"].map(|shell| vec!["completions", shell]));
    all
}

/// Runs `command` with `stdout` in place of its standard output.
fn run_into(mut command: Command, stdout: impl Into<Stdio>) -> (i32, String) {
    let output = command.stdout(stdout).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap_or(-1), errors)
}

#[test]
fn output_to_a_closed_pipe_fails_without_a_panic() {
    let home = home();
    let served = home.serve(&[]);
    for arguments in printing(&served.path) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, errors) = run_into(home.command(&arguments), writer);
        assert_eq!(code, 1, "{arguments:?}: {errors}");
        assert!(
            errors.contains("standard output is gone; Broken pipe"),
            "{arguments:?}: {errors}"
        );
        assert!(!errors.contains("panicked"), "{errors}");
    }
    for arguments in [&["--help"][..], &["--version"], &["send", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, errors) = run_into(home.command(arguments), writer);
        assert_eq!(
            (code, errors.contains("panicked")),
            (1, false),
            "{arguments:?}: {errors}"
        );
    }
}

#[test]
fn output_to_a_full_disk_fails_without_a_panic() {
    let home = home();
    let served = home.serve(&[]);
    for arguments in printing(&served.path) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, errors) = run_into(home.command(&arguments), full);
        assert_eq!(code, 1, "{arguments:?}: {errors}");
        assert!(
            errors.contains("standard output is gone; No space left on device"),
            "{arguments:?}: {errors}"
        );
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn a_daemon_that_cannot_print_ends_and_leaves_nothing() {
    let home = home();
    let socket = home.socket("s");
    for (arguments, words) in [
        (&["serve"][..], "error: standard output is gone; "),
        (&["serve", "--json"], "{\"code\":1,"),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = home.command(arguments);
        command.args(["--socket", &socket]);
        let (code, errors) = run_into(command, writer);
        assert_eq!(code, 1, "{errors}");
        assert!(errors.starts_with(words), "{errors}");
        assert!(!fs::exists(&socket).unwrap());
        for dir in ["sessions", "messaging-capabilities"] {
            let left = hallway_tests::files::names(home.config().join(dir));
            assert_eq!(left, Vec::<String>::new());
        }
    }
}

#[test]
fn errors_that_cannot_be_written_still_have_their_exit_code() {
    let home = home();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["ping", "nobody"]);
    command.stdout(Stdio::null()).stderr(full);
    assert_eq!(command.status().unwrap().code(), Some(3));
}

// Generated texts.

#[test]
fn completions_are_scripts_that_know_every_verb() {
    let home = home();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).expect(0).stdout;
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} knows no {verb}");
        }
        assert!(script.contains("on-message"), "{shell} knows no options");
        // Checked where there is such a shell.
        let mut check = Command::new(shell);
        check.arg("-n");
        if shell == "fish" {
            check = Command::new("fish");
            check.arg("--no-execute");
        }
        let path = home.root().join(shell);
        fs::write(&path, &script).unwrap();
        match check.arg(&path).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {checked:?}"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                assert_ne!(shell, "bash", "the one that is always there");
                eprintln!("{shell} is not checked: {error}");
            }
        }
    }
}

#[test]
fn bash_completes_verbs_and_options() {
    let home = home();
    let script = home.root().join("script");
    fs::write(&script, home.run(&["completions", "bash"]).expect(0).stdout).unwrap();
    let complete = |words: &[&str]| {
        let count = words.len() - 1;
        let program = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={count}; _hallway hallway '{}' ''; echo \
             \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words[count],
        );
        let output = Command::new("bash")
            .args(["-c", &program])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["hallway", "doc"]), "doctor");
    assert_eq!(complete(&["hallway", "peers", "--pr"]), "--probe");
    assert_eq!(complete(&["hallway", "inbox", "--f"]), "--follow");
}

#[test]
fn the_manual_page_is_troff_and_mentions_every_verb() {
    let home = home();
    let page = home.run(&["man"]).expect(0).stdout;
    assert!(page.starts_with(".ie "), "{}", &page[..40]);
    assert!(page.contains("\n.TH hallway 1"), "it has no title");
    for verb in VERBS {
        let section = format!(".SH \"HALLWAY {}\"", verb.to_uppercase());
        assert!(page.contains(&section), "{section} is missing");
    }
    for text in [
        "Exit codes: 0 done",
        "\\-\\-on\\-message",
        "CLAUDE_CONFIG_DIR",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    let path = home.root().join("hallway.1");
    fs::write(&path, &page).unwrap();
    match Command::new("groff")
        .args(["-man", "-Tutf8", "-ww"])
        .arg(&path)
        .output()
    {
        Ok(rendered) => {
            assert!(rendered.status.success(), "{rendered:?}");
            assert_eq!(String::from_utf8_lossy(&rendered.stderr), "");
            let text = String::from_utf8_lossy(&rendered.stdout).into_owned();
            assert!(text.contains("hallway"), "{text}");
        }
        Err(error) => eprintln!("it is not rendered: {error}"),
    }
}

#[test]
fn every_verb_has_its_help() {
    let home = home();
    let help = home.run(&["--help"]).expect(0).stdout;
    for verb in VERBS {
        assert!(
            help.contains(&format!("\n  {verb} ")),
            "{verb} is not in {help}"
        );
        let own = home.run(&[verb, "--help"]).expect(0).stdout;
        assert!(own.contains(&format!("Usage: hallway {verb}")), "{own}");
        assert!(own.contains("--json"), "{own}");
    }
}
