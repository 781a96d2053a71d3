//! local.md §4, and what §5 says of clients: `hallway send` and `hallway ping` at servers that
//! follow no rule but the test's.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use hallway_tests::files::{OTHER, chmod, dead_socket, give_away, is_root, mkdir, narrow_listener};
use hallway_tests::frame::untimed;
use hallway_tests::wire::{capability_path, publish, token_of};
use hallway_tests::{FakeServer, Finished, PATIENCE, Wire};
use serde_json::{Value, json};

use crate::home;

/// The longest frame, without its newline.
const MAX_FRAME: usize = 65_536;

const OK: &str = r#"{"type":"response","data":"ok","ts":"T","meta":{"id":"uds-7"}}"#;

/// Runs `hallway VERB ADDRESS more…` against a server that serves one client by `serve`.
#[track_caller]
fn meet(verb: &str, more: &[&str], serve: impl Fn(Wire) + Send + 'static) -> Finished {
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, serve);
    let address = format!("uds:{}", server.path);
    let finished = home.run(&[&[verb, &address], more].concat());
    server.join();
    finished
}

/// Sends "hello" to a server that answers with `bytes` and closes.
#[track_caller]
fn send_and_hear(bytes: impl AsRef<[u8]>) -> Finished {
    let bytes = bytes.as_ref().to_vec();
    meet("send", &["hello"], move |mut wire| {
        wire.line();
        wire.try_send(&bytes);
    })
}

/// The same, with a server that waits for the client to end.
#[track_caller]
fn send_and_stay(bytes: impl AsRef<[u8]>) -> Finished {
    let bytes = bytes.as_ref().to_vec();
    meet("send", &["hello"], move |mut wire| {
        wire.line();
        wire.send(&bytes);
        assert_eq!(wire.rest().0, Vec::<Value>::new());
    })
}

fn ok_line() -> String {
    format!("{OK}\n")
}

// §4: what is sent.

/// Covers: L3.2, L3.5, L4.1, L4.2
#[test]
fn s4_the_members_of_a_frame_have_their_order() {
    let sent = |arguments: &[&str], from: Option<&str>| {
        let home = home();
        let (sender, lines) = channel();
        let server = FakeServer::start(&home.config(), &home.socket("s"), 1, move |mut wire| {
            sender.send(wire.try_line().unwrap()).unwrap();
            wire.send(r#"{"type":"pong"}"#).send("\n").send(ok_line());
        });
        let mut command = home.command(&[&[arguments[0], &server.path], &arguments[1..]].concat());
        if let Some(from) = from {
            command.env("CLAUDE_CODE_MESSAGING_SOCKET", from);
        }
        let finished = Finished::of(command, b"from standard input").expect(0);
        server.join();
        assert_eq!(finished.stderr, "");
        untimed(&lines.recv_timeout(PATIENCE).unwrap())
    };
    assert_eq!(
        sent(&["send", "schema \"landed\"\n\u{1f389}"], None),
        r#"{"type":"text","data":"schema \"landed\"\n🎉","ts":"T","meta":{"authToken":"f00d"}}"#
    );
    assert_eq!(
        sent(&["send", "x", "--type", "query"], Some("/own socket")),
        r#"{"type":"query","data":"x","ts":"T","from":"/own socket","meta":{"authToken":"f00d"}}"#
    );
    assert_eq!(
        sent(&["send", "--type", "notification"], Some("")),
        concat!(
            r#"{"type":"notification","data":"from standard input","ts":"T","#,
            r#""meta":{"authToken":"f00d"}}"#
        )
    );
    assert_eq!(
        sent(&["ping"], None),
        r#"{"type":"ping","ts":"T","meta":{"authToken":"f00d"}}"#
    );
}

// §4: what is heard.

/// Covers: L4.3
#[test]
fn s4_the_first_response_decides() {
    let later = r#"{"type":"response","data":"ok","meta":{"id":"uds-8"}}"#;
    let sent = send_and_hear(format!("{OK}\n{later}\nnull\n")).expect(0);
    assert_eq!(
        (sent.stdout.as_str(), sent.stderr.as_str()),
        ("uds-7\n", "")
    );
    // The id is the server's to give.
    let sent = send_and_hear("{\"type\":\"response\"}\n").expect(0);
    assert_eq!(sent.stdout, "sent\n");
}

/// Covers: L4.11
#[test]
fn s4_unknown_frames_and_blank_lines_are_skipped() {
    let noise = concat!(
        "\n \t\r\n{}\n{\"type\":\"later\",\"data\":\"ok\"}\n{\"type\":7}\n{\"data\":\"response\"}\n",
        "{\"type\":\"text\",\"data\":\"{\\\"type\\\":\\\"response\\\"}\"}\n",
        "{\"type\":\"ping\"}\n",
    );
    let sent = send_and_hear(format!("{noise}{OK}\r\n")).expect(0);
    assert_eq!(sent.stdout, "uds-7\n");
    let pinged = meet("ping", &[], move |mut wire| {
        wire.line();
        wire.send(noise).send("{\"type\":\"pong\"}\n");
    });
    assert_eq!(pinged.expect(0).stderr, "");
}

/// Covers: L4.10
#[test]
fn s4_a_pong_counts_for_a_ping_only() {
    let sent = send_and_hear(format!("{{\"type\":\"pong\"}}\n{OK}\n")).expect(0);
    assert_eq!(sent.stdout, "uds-7\n");
    let sent = send_and_hear("{\"type\":\"pong\"}\n").expect(1);
    assert!(
        sent.stderr.starts_with("error: ended before response; "),
        "{}",
        sent.stderr
    );
}

/// Covers: L4.4
#[test]
fn s4_an_error_is_told_in_the_peers_words_made_visible() {
    let words = r#"{"type":"error","data":"no\u001b]0;x\u0007 \u202egnp\nerror: fake"}"#;
    let refused = send_and_hear(format!("{words}\n")).expect(4);
    assert_eq!(refused.stdout, "");
    assert_eq!(
        refused.stderr,
        "error: refused by the peer: \"no\\u{1b}]0;x\\u{7} \\u{202e}gnp\\nerror: fake\"; the \
         message was not taken\n"
    );
}

/// Covers: L4.4
#[test]
fn s4_an_error_for_a_ping_is_a_refusal() {
    let refused = meet("ping", &[], |mut wire| {
        wire.line();
        wire.send("{\"type\":\"error\",\"data\":\"unauthorized\"}\n");
    });
    let refused = refused.expect(4);
    assert!(
        refused.stderr.contains("\"unauthorized\""),
        "{}",
        refused.stderr
    );
}

#[test]
fn s4_an_error_without_words_is_one_too() {
    for data in ["", r#","data":7"#, r#","data":null"#] {
        let refused = send_and_hear(format!("{{\"type\":\"error\"{data}}}\n")).expect(4);
        assert!(
            refused
                .stderr
                .starts_with("error: refused by the peer: \"\"; "),
            "{}",
            refused.stderr
        );
    }
}

/// Covers: L4.4
#[test]
fn s4_a_full_inbox_has_an_exit_code_of_its_own() {
    let full = send_and_hear("{\"type\":\"error\",\"data\":\"inbox full\"}\n").expect(6);
    assert!(
        full.stderr
            .starts_with("error: inbox full; the peer holds as much as it may"),
        "{}",
        full.stderr
    );
}

/// Covers: L4.5
#[test]
fn s4_what_is_not_json_is_an_invalid_response() {
    for bytes in [
        &b"nonsense\n"[..],
        b"{\"type\":\"response\"\n",
        b"{\"type\":\"response\"} x\n",
        b"{\"type\":\"response\",\"data\":\"\xff\"}\n",
        b"\xef\xbb\xbf{\"type\":\"response\"}\n",
    ] {
        let failed = send_and_stay(bytes).expect(1);
        assert!(
            failed
                .stderr
                .starts_with("error: invalid response; it is not known whether"),
            "{}",
            failed.stderr
        );
    }
}

/// Covers: L4.6, L4.8, L4.15
#[test]
fn s4_an_end_without_an_answer_is_told() {
    let failed = send_and_hear("").expect(1);
    assert_eq!(
        failed.stderr,
        "error: ended before response; it is not known whether the message was taken; look \
         before you send it again\n"
    );
    // A line that never ends is no answer.
    let failed = send_and_hear(OK).expect(1);
    assert!(
        failed.stderr.starts_with("error: ended before response; "),
        "{}",
        failed.stderr
    );
    let pinged = meet("ping", &[], |mut wire| {
        wire.line();
    });
    assert!(
        pinged
            .expect(7)
            .stderr
            .contains("; ended before response; "),
        "a peer that hangs up is not alive"
    );
    // With the request unread, the kernel reports a reset.
    let failed = meet("send", &["hello"], |wire| {
        assert!(!wire.is_quiet_for(PATIENCE));
    });
    assert!(
        failed
            .expect(1)
            .stderr
            .starts_with("error: ended before response; "),
        "a reset is an end"
    );
}

/// Covers: L1.1, L4.7
#[test]
fn s4_a_response_may_be_as_long_as_a_frame_and_no_longer() {
    let padded = |length: usize| {
        let room = length - r#"{"type":"response","x":""}"#.len();
        format!(r#"{{"type":"response","x":"{}"}}"#, "x".repeat(room))
    };
    assert_eq!(padded(MAX_FRAME).len(), MAX_FRAME);
    let sent = send_and_hear(padded(MAX_FRAME) + "\n").expect(0);
    assert_eq!(sent.stdout, "sent\n");
    for (bytes, shape) in [
        (padded(MAX_FRAME + 1) + "\n", "a line"),
        ("x".repeat(MAX_FRAME + 1), "the beginning of a line"),
    ] {
        let failed = send_and_stay(bytes).expect(1);
        assert!(
            failed.stderr.starts_with("error: response too long; "),
            "{shape}: {}",
            failed.stderr
        );
    }
}

/// Covers: L4.9, L4.15
#[test]
fn s4_a_silent_server_is_given_up_at_the_deadline() {
    for (verb, more, words) in [
        ("send", &["hello"][..], "error: timed out; it is not known"),
        ("ping", &[], "error: no answer from peer at /"),
    ] {
        let began = Instant::now();
        let arguments = [more, &["--timeout", "200ms"]].concat();
        let finished = meet(verb, &arguments, |mut wire| {
            wire.line();
            wire.expect_end();
        });
        assert!(began.elapsed() >= Duration::from_millis(200), "{verb}");
        assert_eq!(finished.code, 5, "{verb}");
        assert!(finished.stderr.starts_with(words), "{}", finished.stderr);
    }
}

// §4: who is reached at all.

/// Covers: L4.12
#[test]
fn s4_an_inline_token_is_refused_in_the_references_words() {
    let home = home();
    for target in ["uds:/s#token=5ec4e7", "/s#token=5ec4e7"] {
        for verb in ["send", "ping"] {
            let refused = home.run_with_input(&[verb, target], b"x").expect(2);
            assert!(
                refused.stderr.starts_with(
                    "error: UDS target must not include an inline auth token; use the ListPeers \
                     address; "
                ),
                "{}",
                refused.stderr
            );
            assert!(!refused.stderr.contains("5ec4e7"), "the token is not shown");
        }
    }
}

/// Covers: L4.13
#[test]
fn s4_without_a_capability_nothing_is_dialled() {
    let home = home();
    let path = home.socket("s");
    let refused = home.run(&["send", &path, "hello"]).expect(7);
    assert!(
        refused
            .stderr
            .starts_with(&format!("error: No auth token found for peer at {path}; ")),
        "{}",
        refused.stderr
    );
    // With somebody there it is a matter of trust.
    let listener = UnixListener::bind(&path).unwrap();
    mkdir(home.config().join("messaging-capabilities"));
    let refused = home.run(&["send", &path, "hello"]).expect(4);
    assert!(
        refused
            .stderr
            .starts_with(&format!("error: No auth token found for peer at {path}; ")),
        "{}",
        refused.stderr
    );
    assert_untouched(&listener);
}

/// Demands that nobody has connected.
#[track_caller]
fn assert_untouched(listener: &UnixListener) {
    listener.set_nonblocking(true).unwrap();
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

/// Covers: L4.14
#[test]
fn s4_a_connection_that_fails_says_why() {
    let home = home();
    let (gone, dead) = (home.socket("gone"), home.socket("dead"));
    dead_socket(&dead);
    for (path, cause) in [
        (&gone, "No such file or directory"),
        (&dead, "Connection refused"),
    ] {
        publish(&home.config(), path, "f00d");
        for verb in ["send", "ping"] {
            let failed = home.run_with_input(&[verb, path], b"x").expect(7);
            assert!(
                failed.stderr.starts_with(&format!(
                    "error: Failed to connect to peer at {path}: {cause}"
                )),
                "{}",
                failed.stderr
            );
        }
    }
}

#[test]
fn s4_a_server_whose_queue_is_full_is_waited_for() {
    let home = home();
    let path = home.socket("s");
    publish(&home.config(), &path, "f00d");
    let listener = narrow_listener(&path);
    let first = Wire::connect(&path);
    let late = home.run(&["ping", &path, "--timeout", "200ms"]).expect(5);
    assert!(
        late.stderr.starts_with(&format!(
            "error: Failed to connect to peer at {path}: timed out after 200 ms; "
        )),
        "{}",
        late.stderr
    );
    // It accepts while the client waits: as soon as that has tried.
    let server = std::thread::spawn(move || {
        let (_first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        let mut wire = Wire::over(second);
        wire.line();
        wire.send("{\"type\":\"pong\"}\n");
    });
    home.run(&["ping", &path]).expect(0);
    server.join().unwrap();
    drop(first);
}

// §5.9: the reference lets the platform cut a path that is too long, and reaches another socket
// or none.
/// Covers: L5.9
#[test]
fn s5_9_a_path_that_is_too_long_is_refused_before_anything_is_touched() {
    let home = home();
    let path_of = |length: usize| {
        let dir = home.socket("");
        format!("{dir}{}", "s".repeat(length - dir.len()))
    };
    let server = FakeServer::start(&home.config(), &path_of(107), 1, |mut wire| {
        wire.line();
        wire.send("{\"type\":\"pong\"}\n");
    });
    home.run(&["ping", &server.path]).expect(0);
    server.join();
    for length in [108, 109] {
        let path = path_of(length);
        publish(&home.config(), &path, "f00d");
        let refused = home.run(&["ping", &path]).expect(2);
        assert!(
            refused.stderr.contains(&format!(
                "socket path is too long: {path}; it has {length} bytes, the limit is 107; "
            )),
            "{}",
            refused.stderr
        );
    }
}

// §5.13: a response frame `null` crashes the reference's client (it reads a member of null).
/// Covers: L5.13a
#[test]
fn s5_13_a_null_response_fails_cleanly() {
    for frame in [
        "null",
        "7",
        "true",
        "\"response\"",
        "[]",
        "[{\"type\":\"response\"}]",
    ] {
        let failed = send_and_stay(format!("{frame}\n")).expect(1);
        assert_eq!(
            failed.stderr,
            "error: invalid response; it is not known whether the message was taken; look \
             before you send it again\n",
            "{frame}"
        );
        let pinged = meet("ping", &[], move |mut wire| {
            wire.line();
            wire.send(frame).send("\n").expect_end();
        });
        assert!(pinged.expect(7).stderr.contains("; invalid response; "));
    }
}

// §5.13: the reference's timeout is one of inactivity: a frame every few seconds keeps it
// waiting for ever.
/// Covers: L5.13b
#[test]
fn s5_13_a_drip_of_frames_does_not_extend_the_deadline() {
    for (verb, more) in [
        ("send", &["hello", "--timeout", "300ms"][..]),
        ("ping", &["--timeout", "300ms"]),
    ] {
        let began = Instant::now();
        let finished = meet(verb, more, |mut wire| {
            wire.line();
            // A frame ten times before the deadline, and on until the client hangs up.
            while wire.is_quiet_for(Duration::from_millis(30)) {
                wire.try_send("{\"type\":\"notification\",\"data\":\"wait\"}\n");
            }
        });
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
}

// The same with frames that never pause: the deadline comes though there is always something to
// read.
/// Covers: L5.13b
#[test]
fn s5_13_a_flood_of_frames_does_not_extend_the_deadline() {
    let finished = meet("send", &["hello", "--timeout", "300ms"], |mut wire| {
        wire.line();
        let flood = "{\"type\":\"notification\",\"data\":\"wait\"}\n".repeat(1_000);
        while wire.try_send(&flood) {}
    });
    assert_eq!(finished.code, 5, "{}", finished.stderr);
}

// §5.13: the reference looks for the text `pong` in what it reads.
/// Covers: L4.15, L5.13c
#[test]
fn s5_13_pong_is_not_found_as_a_substring() {
    for line in [
        r#"{"type":"response","data":"pong"}"#,
        r#"{"type":"text","data":"{\"type\":\"pong\"}"}"#,
        r#"{"data":{"type":"pong"},"type":"text"}"#,
        r#"{"type":"pong "}"#,
        r#"{"type":["pong"]}"#,
        r#"{"Type":"pong"}"#,
    ] {
        let pinged = meet("ping", &[], move |mut wire| {
            wire.line();
            wire.send(line).send("\n");
        });
        let pinged = pinged.expect(7);
        assert!(
            pinged.stderr.contains("; ended before response; "),
            "{line}: {}",
            pinged.stderr
        );
    }
    // What it is spelled like does not matter either.
    let pinged = meet("ping", &[], |mut wire| {
        wire.line();
        wire.send("{\"x\":1,\"t\\u0079pe\":\"pon\\u0067\"}\n");
    });
    assert_eq!(pinged.expect(0).stderr, "");
}

// §5.16: the reference believes a capability file whatever its owner and mode.
/// Covers: L5.16
#[test]
fn s5_16_only_a_private_capability_of_ours_is_believed() {
    let home = home();
    let path = home.socket("s");
    let listener = UnixListener::bind(&path).unwrap();
    publish(&home.config(), &path, "f00d");
    let file = capability_path(&home.config(), &path);
    let dir = file.parent().unwrap();
    let refused = |why: &str| {
        let refused = home.run(&["send", &path, "hello"]).expect(4);
        let begin = format!("error: No auth token found for peer at {path}; {why}");
        assert!(refused.stderr.starts_with(&begin), "{}", refused.stderr);
        assert!(!refused.stderr.contains("f00d"), "{}", refused.stderr);
    };
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        chmod(&file, mode);
        refused("file permissions are too broad: ");
    }
    chmod(&file, 0o600);
    for mode in [0o710, 0o750, 0o701, 0o777] {
        chmod(dir, mode);
        refused("capability directory permissions are too broad: ");
    }
    chmod(dir, 0o700);
    fs::rename(&file, dir.join("real")).unwrap();
    std::os::unix::fs::symlink("real", &file).unwrap();
    refused("file is not a regular file: ");
    fs::remove_file(&file).unwrap();
    hallway_tests::files::mkfifo(&file);
    refused("file is not a regular file: ");
    fs::remove_file(&file).unwrap();
    fs::rename(dir.join("real"), &file).unwrap();
    if is_root() {
        give_away(&file);
        refused("file owner does not match current user: ");
        fs::remove_file(&file).unwrap();
        give_away(dir);
        refused("capability directory owner does not match current user: ");
        std::os::unix::fs::chown(dir, Some(0), Some(0)).unwrap();
        publish(&home.config(), &path, "f00d");
    }
    let moved = home.config().join("moved");
    fs::rename(dir, &moved).unwrap();
    std::os::unix::fs::symlink("moved", dir).unwrap();
    refused("capability directory is not a private directory: ");
    fs::remove_file(dir).unwrap();
    fs::write(dir, "").unwrap();
    refused("capability directory is not a private directory: ");
    assert_untouched(&listener);
}

/// Covers: L2.13
#[test]
fn s5_16_a_capability_must_speak_of_this_socket_and_have_a_token() {
    let home = home();
    let path = home.socket("s");
    let listener = UnixListener::bind(&path).unwrap();
    publish(&home.config(), &path, "f00d");
    let file = capability_path(&home.config(), &path);
    for content in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!(r#"{{"socketPath":"{path}"#),
        json!({"socketPath": path}).to_string(),
        json!({"socketPath": path, "authToken": ""}).to_string(),
        json!({"socketPath": path, "authToken": 7}).to_string(),
        json!({"socketPath": format!("{path}x"), "authToken": "f00d"}).to_string(),
        json!({"authToken": "f00d"}).to_string(),
        json!({"socketPath": path, "authToken": "f".repeat(8_192)}).to_string(),
    ] {
        fs::write(&file, &content).unwrap();
        let refused = home.run(&["send", &path, "hello"]).expect(4);
        assert!(
            refused
                .stderr
                .starts_with(&format!("error: No auth token found for peer at {path}; ")),
            "{content}: {}",
            refused.stderr
        );
    }
    assert_untouched(&listener);
}

// §5.17: the reference never asks who listens: whoever has the path gets the token.
/// Covers: L5.17b
#[test]
fn s5_17_a_server_of_another_user_gets_no_byte() {
    if !is_root() {
        return;
    }
    for verb in ["send", "ping"] {
        let home = home();
        let path = home.socket("s");
        publish(&home.config(), &path, "f00d");
        let listener = listener_of_another_user(&path);
        let refused = home.run_with_input(&[verb, &path], b"hello").expect(4);
        assert_eq!(
            refused.stderr,
            format!(
                "error: peer at {path} belongs to user {OTHER}; nothing was sent; do not use \
                 this address\n"
            )
        );
        let (mut client, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        assert_eq!(client.read_to_end(&mut bytes).unwrap(), 0, "{bytes:?}");
    }
}

/// A listener that the kernel takes for one of [`OTHER`]'s: what counts is who called `listen`.
fn listener_of_another_user(path: &str) -> UnixListener {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    let listening = std::thread::spawn(move || {
        // Of this thread alone, which ends here.
        let other = rustix::process::Uid::from_raw(OTHER);
        rustix::thread::set_thread_res_uid(other, other, other).unwrap();
        listen(&socket, 8).unwrap();
        socket
    });
    UnixListener::from(listening.join().unwrap())
}

// §5.18: without a token for the target the reference sends the sender's own.
/// Covers: L5.18
#[test]
fn s5_18_the_own_token_never_leaves() {
    let home = home();
    let own = home.serve(&[]);
    let token = token_of(&home.config(), &own.path);
    let as_own_session = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("CLAUDE_CODE_MESSAGING_SOCKET", &own.path);
        Finished::of(command, b"")
    };
    // No token for the target: nothing is sent at all.
    let stranger = home.socket("stranger");
    let listener = UnixListener::bind(&stranger).unwrap();
    let refused = as_own_session(&["send", &stranger, "hello"]).expect(4);
    assert!(!refused.stderr.contains(&token));
    assert_untouched(&listener);
    // A token for it: that one is sent.
    let (sender, received) = channel();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, move |mut wire| {
        let line = wire.try_line().unwrap();
        wire.send(ok_line());
        assert_eq!(wire.rest().0, Vec::<Value>::new(), "nothing more is sent");
        sender.send(line).unwrap();
    });
    let sent = as_own_session(&["send", &server.path, "hello"]).expect(0);
    server.join();
    let line = received.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains(r#""meta":{"authToken":"f00d"}}"#), "{line}");
    assert!(
        line.contains(&format!(r#""from":"{}""#, own.path)),
        "{line}"
    );
    for text in [&line, &sent.stdout, &sent.stderr] {
        assert!(!text.contains(&token), "{text}");
    }
}

// §3 and §4: a server that refuses may close before it has read everything; what it said counts.
#[test]
fn s4_a_server_that_says_why_and_closes_unread_is_heard() {
    let words = "{\"type\":\"error\",\"data\":\"too many clients\"}\n";
    // Before the client says anything.
    let refused = meet("send", &["hello"], move |mut wire| {
        wire.try_send(words);
    });
    assert!(
        refused.expect(4).stderr.contains("\"too many clients\""),
        "said before the request was read"
    );
    // With more on the way than the socket holds, so that the client's writes fail.
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 1, move |mut wire| {
        wire.try_send(words);
    });
    let line = format!("{{\"data\":\"{}\"}}\n", "x".repeat(60_000));
    let refused = home.run_with_input(
        &["send", &server.path, "--json"],
        line.repeat(10).as_bytes(),
    );
    server.join();
    let refused = refused.expect(4);
    let first = &refused.json()[0];
    assert_eq!(first["line"], json!(1));
    assert_eq!(
        (&first["code"], &first["taken"]),
        (&json!(4), &json!(false))
    );
    assert!(
        first["message"]
            .as_str()
            .unwrap()
            .contains("\"too many clients\""),
        "{first}"
    );
}

// The message itself.

#[test]
fn a_message_that_is_too_long_is_refused_before_it_is_sent() {
    let home = home();
    let mut served = home.serve(&[]);
    let long = "x".repeat(MAX_FRAME);
    let refused = home
        .run_with_input(&["send", &served.path], long.as_bytes())
        .expect(2);
    assert!(
        refused
            .stderr
            .starts_with("error: not sent: the message takes 65"),
        "{}",
        refused.stderr
    );
    let longer = "x".repeat(MAX_FRAME + 1);
    let refused = home
        .run_with_input(&["send", &served.path], longer.as_bytes())
        .expect(2);
    assert!(
        refused
            .stderr
            .starts_with("error: the message is too long; "),
        "{}",
        refused.stderr
    );
    let refused = home
        .run_with_input(&["send", &served.path], b"\xff")
        .expect(2);
    assert!(
        refused
            .stderr
            .starts_with("error: the message is not UTF-8; "),
        "{}",
        refused.stderr
    );
    home.run(&["send", &served.path, ""]).expect(0);
    assert_eq!(served.next_data(), json!(""), "only the empty one arrived");
}
