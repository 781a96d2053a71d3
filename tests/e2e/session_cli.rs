//! `hallway session` as a program: lines, exit codes, standard input, memory, and what must never
//! be printed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use hallway_tests::session::certificates::{Authority, Kind};
use hallway_tests::session::connection::{TEXT, frame};
use hallway_tests::session::follower::{ORGANIZATION, SESSION, SESSION_IN_PATH, TOKEN, command};
use hallway_tests::session::{Follower, HttpProxy, Request, SessionServer};
use hallway_tests::{Finished, Home, Served};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home;

/// With this seed the first four delays of the default profile are less than 0.3 s together.
const SHORT_DELAYS: &str = "51384";

fn permission(id: &str) -> String {
    json!({"type": "control_request", "request_id": id, "request": {
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"},
        "tool_use_id": "t1",
    }})
    .to_string()
}

fn follow(server: &SessionServer, home: &Home) -> Follower {
    Follower::start(home, &server.base_url(), &[])
}

/// Runs `verb` to its end while `serve` does the server's part.
#[track_caller]
fn once(
    verb: &str,
    arguments: &[&str],
    input: &[u8],
    serve: impl FnOnce(&SessionServer),
) -> Finished {
    let (home, server) = (home(), SessionServer::plain());
    let command = command(&home, verb, &server.base_url(), arguments);
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| Finished::of(command, input));
        serve(&server);
        finished.join().unwrap()
    })
}

#[test]
fn what_the_server_says_is_printed_a_line_each() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = follow(&server, &home);
    let mut connection = server.connection();
    assert_eq!(follower.line(), json!({"event": "connected"}));
    for text in [
        r#"{"type":"assistant","message":{"content":"\u0007\ud800"},"n":1e999}"#,
        r#"{ "type": "never heard of", "type": "x" }"#,
    ] {
        connection.send(text);
        assert_eq!(follower.0.next_raw(), text);
    }
    connection.send("{\r\n\"type\":\n\"x\"}\n");
    assert_eq!(follower.0.next_raw(), r#"{  "type": "x"} "#);
    connection.send("7");
    let ignored = json!({"event": "ignored", "why": "not a JSON object", "total": 1});
    assert_eq!(follower.line(), ignored);
    follower.0.signal(Signal::TERM);
    assert_eq!(connection.await_close(), Some(1000));
    let finished = follower.finish(0);
    let closed = json!({"event": "closed", "reason": "closed", "unsent": 0});
    assert_eq!(finished.json(), [closed]);
    assert_eq!(finished.stderr, "");
}

/// Covers: S3.14, S3.15
#[test]
fn a_reconnect_is_announced_with_its_time() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = Follower::start(&home, &server.base_url(), &["--seed", SHORT_DELAYS]);
    let connection = server.connection();
    follower.event("connected");
    connection.close(1012);
    let event = follower.event("reconnecting");
    assert_eq!(event["attempt"], 1);
    assert_eq!(event["cause"], "the connection was closed (code 1012)");
    let delay = event["delayMs"].as_u64().unwrap();
    assert!(delay <= 1_000, "{event}");
    let at = event["retryAt"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.len() == 24, "{event}");
    let _connection = server.connection();
    follower.event("connected");
    // Asked for, it takes half a second and spends nothing.
    follower.tell(r#"{"reconnect":true}"#);
    let event = follower.event("reconnecting");
    assert_eq!(
        (&event["attempt"], &event["delayMs"]),
        (&json!(0), &json!(500))
    );
    let _connection = server.connection();
    follower.event("connected");
    assert_eq!(server.dials(), 3);
}

/// Covers: S2.13, S2.15
#[test]
fn requests_are_answered_from_standard_input() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = follow(&server, &home);
    let mut connection = server.connection();
    follower.event("connected");
    for id in ["r1", "r2", "r3"] {
        connection.send(&permission(id));
        assert_eq!(follower.0.next_raw(), permission(id));
        let request = json!({"event": "request", "requestId": id, "subtype": "can_use_tool"});
        assert_eq!(follower.line(), request);
    }
    follower.tell(r#"{"answer":"r2","behavior":"deny","message":"no"}"#);
    assert_eq!(
        connection.next_json(),
        json!({"type": "control_response", "response": {"subtype": "success",
            "request_id": "r2", "response": {"behavior": "deny", "message": "no"}}})
    );
    follower.tell(r#"{"answer":"r1","behavior":"allow"}"#);
    let allowed = connection.next_json();
    let input = &allowed["response"]["response"]["updatedInput"];
    assert_eq!(*input, json!({"command": "ls"}));
    follower.tell(r#"{"answer":"r3","behavior":"allow","updatedInput":{"command":"pwd"}}"#);
    let allowed = connection.next_json();
    let input = &allowed["response"]["response"]["updatedInput"];
    assert_eq!(*input, json!({"command": "pwd"}));

    let error = "no request of this id waits for an answer";
    for id in ["r1", "never"] {
        follower.tell(&format!(r#"{{"answer":"{id}","behavior":"allow"}}"#));
        let expected = json!({"event": "answer-error", "answer": id, "error": error});
        assert_eq!(follower.line(), expected);
    }
    follower.tell(r#"{"request":{"subtype":"interrupt"},"requestId":"mine"}"#);
    let sent = json!({"event": "sent", "requestId": "mine"});
    assert_eq!(follower.line(), sent);
    assert_eq!(
        connection.next_json(),
        json!({"type": "control_request", "request_id": "mine",
            "request": {"subtype": "interrupt"}})
    );
    // Without an id it gets one of its own.
    follower.tell(r#"{"request":{"subtype":"set_model","model":"m"}}"#);
    let sent = follower.event("sent");
    let request = connection.next_json();
    assert_eq!(request["request_id"], sent["requestId"]);
    assert_eq!(request["request_id"].as_str().unwrap().len(), 36);
    // The end of the input is not the end.
    follower.0.close_input();
    connection.send(&permission("r4"));
    assert_eq!(follower.0.next_raw(), permission("r4"));
    follower.event("request");
}

#[test]
fn lines_that_say_nothing_end_nothing() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = follow(&server, &home);
    let mut connection = server.connection();
    follower.event("connected");
    connection.send(&permission("r1"));
    follower.line();
    follower.event("request");
    for line in [
        "yes",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"answer":"r1"}"#,
        r#"{"answer":"r1","behavior":"maybe"}"#,
        r#"{"answer":"r1","behavior":"allow","updatedInput":}"#,
        r#"{"answer":1,"behavior":"allow"}"#,
        r#"{"request":7}"#,
        r#"{"request":{}}"#,
        r#"{"reconnect":false}"#,
    ] {
        follower.tell(line);
        let event = follower.event("input-error");
        assert!(event["error"].is_string(), "{line}: {event}");
    }
    // Nothing of it was sent, and the request still waits.
    follower.tell(r#"{"answer":"r1","error":"cannot"}"#);
    assert_eq!(connection.next_json()["response"]["error"], "cannot");
}

/// Covers: S3.7
#[test]
fn what_a_reconnect_drops_is_said() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = follow(&server, &home);
    let mut connection = server.connection();
    follower.event("connected");
    for id in ["r1", "r2"] {
        connection.send(&permission(id));
        follower.line();
        follower.event("request");
    }
    connection.send(r#"{"type":"control_cancel_request","request_id":"r2"}"#);
    follower.line();
    let cancelled = json!({"event": "request-cancelled", "requestId": "r2", "by": "server"});
    assert_eq!(follower.line(), cancelled);
    connection.send(r#"{"type":"control_request","request_id":"r9","request":{"subtype":"foo"}}"#);
    follower.line();
    assert_eq!(
        follower.line(),
        json!({"event": "request-refused", "requestId": "r9", "subtype": "foo", "answered": true})
    );
    drop(connection);
    follower.event("reconnecting");
    let _connection = server.connection();
    follower.event("connected");
    let cancelled = json!({"event": "request-cancelled", "requestId": "r1", "by": "reconnect"});
    assert_eq!(follower.line(), cancelled);
}

#[test]
fn exit_codes_of_follow() {
    let refused = |status: u16, code: i32| {
        let serve = |server: &SessionServer| server.request().refuse(status, &[], "no");
        let finished = once("follow", &[], b"", serve).expect(code);
        let closed = finished.json();
        assert_eq!(closed[0]["event"], "closed", "status {status}");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    };
    refused(401, 4);
    refused(403, 4);
    refused(400, 4);
    refused(302, 4);
    let serve = |server: &SessionServer| {
        server.connection().close(4003);
    };
    once("follow", &[], b"", serve).expect(4);
}

#[test]
fn a_server_that_is_not_trusted_ends_it() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let mut server = SessionServer::tls(authority.sign(Kind::Server, "localhost").server());
    let base = server.base_url();
    server.each(|_, accepted| assert!(accepted.request().is_err()));
    let finished = Finished::of(command(&home, "follow", &base, &[]), b"").expect(7);
    assert!(
        finished.stderr.contains("not trusted"),
        "{}",
        finished.stderr
    );
    let finished = Finished::of(command(&home, "send", &base, &["x"]), b"").expect(7);
    assert!(
        finished.stderr.contains("not trusted"),
        "{}",
        finished.stderr
    );
}

/// Covers: S1.7
#[test]
fn tls_and_a_client_certificate_by_their_options() {
    let (home, authority) = (home(), Authority::new("of the test"));
    let server = authority.sign(Kind::Server, "localhost");
    let server = SessionServer::tls(server.server_for(&authority));
    let path = home.root().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let (certificate, key) = authority.sign(Kind::Client, "me").write(home.root(), "me");
    let [ca, certificate, key] = [&path, &certificate, &key].map(|path| path.to_str().unwrap());
    let mut arguments = vec![
        "--ca-file",
        ca,
        "--client-cert",
        certificate,
        "--client-key",
        key,
    ];
    let mut follower = Follower::start(&home, &server.base_url(), &arguments);
    let _connection = server.connection();
    follower.event("connected");
    arguments.push("hello");
    let command = command(&home, "send", &server.base_url(), &arguments);
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| Finished::of(command, b""));
        server.request().refuse(200, &[], "{}");
        finished.join().unwrap().expect(0);
    });
}

#[test]
fn usage_is_explained() {
    let home = home();
    let run = |change: &dyn Fn(&mut Command), base: &str, more: &[&str], words: &str| {
        let mut command = command(&home, "follow", base, more);
        change(&mut command);
        let finished = Finished::of(command, b"").expect(2);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
        assert!(!finished.stderr.contains(TOKEN), "{}", finished.stderr);
        assert_eq!(finished.stdout, "");
    };
    let local = "http://127.0.0.1:1";
    let none = |command: &mut Command| {
        command.env_remove("HALLWAY_ACCESS_TOKEN");
    };
    run(&none, local, &[], "--token-file");
    run(&|_| (), local, &["--token-file", "x"], "more than one");
    run(&|_| (), local, &["--token-command", "x"], "more than one");
    let broken = format!("{TOKEN}\r\nX: y");
    let set = |command: &mut Command| {
        command.env("HALLWAY_ACCESS_TOKEN", &broken);
    };
    run(&set, local, &[], "HALLWAY_ACCESS_TOKEN");
    for base in [
        "ftp://x",
        "nonsense",
        "http://",
        "https://u:p@x",
        "https://x?y",
        "",
    ] {
        run(&|_| (), base, &[], "");
    }
    run(&|_| (), "http://example.org", &[], "--allow-insecure");
    run(
        &|_| (),
        "http://127.0.0.1.example.org",
        &[],
        "--allow-insecure",
    );
    run(
        &|_| (),
        local,
        &["--limit", "no_such_limit=1"],
        "no_such_limit",
    );
    run(
        &|_| (),
        local,
        &["--limit", "ping_interval=0"],
        "ping_interval",
    );
    run(
        &|_| (),
        "https://localhost:1",
        &["--ca-file", "/nonexistent"],
        "/nonexistent",
    );
    let proxy = |command: &mut Command| {
        command.env("HTTP_PROXY", "gopher://pass@x");
    };
    run(&proxy, local, &[], "HTTP_PROXY");
}

/// Covers: S2.3
#[test]
fn what_is_ignored_is_logged() {
    let (home, server) = (home(), SessionServer::plain());
    let mut follower = Follower::start(&home, &server.base_url(), &["-v"]);
    let mut connection = server.connection();
    follower.event("connected");
    for total in 1..=2 {
        connection.send("7");
        assert_eq!(follower.event("ignored")["total"], total);
    }
    follower.0.signal(Signal::TERM);
    connection.await_close();
    let logged = follower.finish(0).stderr;
    let logged = logged.lines().filter(|line| line.contains("was ignored"));
    assert_eq!(logged.count(), 2);
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let (home, server) = (home(), SessionServer::plain());
    let mut child = command(&home, "follow", &server.base_url(), &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut connection = server.connection();
    drop(child.stdout.take());
    // It hears of that with the next line that it prints.
    let mut sends = 0;
    while connection
        .send_frame(0x80 | TEXT, br#"{"type":"x"}"#)
        .is_ok()
        && sends < 1_000_000
    {
        sends += 1;
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The body of a message of the user.
fn posted(request: &Request) -> Value {
    assert_eq!(request.method, "POST");
    let target = format!("/v1/sessions/{SESSION_IN_PATH}/events");
    assert_eq!(request.target, target);
    let bearer = format!("Bearer {TOKEN}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "ccr-byoc-2025-07-29"),
        ("x-organization-uuid", ORGANIZATION),
        ("content-type", "application/json"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    serde_json::from_slice(&request.body).unwrap()
}

/// Covers: S2.16, S2.17, S2.18
#[test]
fn send_posts_a_message_of_the_user() {
    let text = "- \"hi\"\n\u{1f600}\u{0}";
    for status in [200, 201] {
        let mut body = Value::Null;
        let finished = once("send", &["--json"], text.as_bytes(), |server| {
            let request = server.request();
            body = posted(&request);
            request.refuse(status, &[], "{}");
        });
        let event = finished.expect(0).json().remove(0);
        let id = event["id"].as_str().unwrap().to_owned();
        assert_eq!(
            body,
            json!({"events": [{"uuid": id, "session_id": SESSION, "type": "user",
                "parent_tool_use_id": null,
                "message": {"role": "user", "content": text}}]})
        );
    }
    let finished = once("send", &["as an argument"], b"", |server| {
        let request = server.request();
        let content = &posted(&request)["events"][0]["message"]["content"];
        assert_eq!(content, "as an argument");
        request.refuse(200, &[], "");
    });
    assert_eq!(finished.expect(0).stdout.trim().len(), 36);
}

#[test]
fn exit_codes_of_send() {
    for (status, code) in [
        (401, 4),
        (403, 4),
        (404, 3),
        (400, 1),
        (429, 1),
        (500, 1),
        (301, 1),
    ] {
        let serve = |server: &SessionServer| server.request().refuse(status, &[], "no");
        let finished = once("send", &["x"], b"", serve).expect(code);
        assert_eq!(finished.stdout, "");
        assert!(
            finished.stderr.contains(&status.to_string()),
            "{}",
            finished.stderr
        );
    }
    let finished = once("send", &["x"], b"", |server| server.request().reset()).expect(1);
    assert!(
        finished.stderr.contains("may have been taken"),
        "{}",
        finished.stderr
    );
    let finished = once("send", &["x"], b"", |server| server.request().say("")).expect(1);
    assert!(
        finished.stderr.contains("may have been taken"),
        "{}",
        finished.stderr
    );
    // A server that says nothing.
    let (sender, ended) = channel::<()>();
    let finished = once("send", &["--timeout", "300ms", "x"], b"", |server| {
        let request = server.request();
        std::thread::spawn(move || {
            // Held until the command has ended.
            ended.recv().unwrap_or_default();
            drop(request);
        });
    });
    drop(sender);
    let finished = finished.expect(5);
    assert!(
        finished.stderr.contains("may have been taken"),
        "{}",
        finished.stderr
    );
    let nobody = SessionServer::plain().base_url();
    let home = home();
    let finished = Finished::of(command(&home, "send", &nobody, &["x"]), b"").expect(7);
    assert!(
        finished.stderr.contains("nothing was sent"),
        "{}",
        finished.stderr
    );
    Finished::of(command(&home, "send", &nobody, &[]), &[0xff]).expect(2);
}

/// Whether a text is spelled as a random UUID.
fn is_uuid(text: &str) -> bool {
    let is_spelled = text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'4',
        _ => byte.is_ascii_hexdigit(),
    });
    text.len() == 36 && is_spelled
}

/// Covers: S2.9
#[test]
fn interrupt_waits_for_the_answer() {
    let ids = &Mutex::new(BTreeSet::new());
    let answer = |answer: fn(&str) -> Value| {
        move |server: &SessionServer| {
            let mut connection = server.connection();
            connection.send(r#"{"type":"assistant"}"#);
            let request = connection.next_json();
            assert_eq!(request["request"], json!({"subtype": "interrupt"}));
            let id = request["request_id"].as_str().unwrap().to_owned();
            assert!(is_uuid(&id), "{id}");
            ids.lock().unwrap().insert(id);
            // A question for permission is for whoever is there to answer it.
            connection.send(&permission("r1"));
            let other = json!({"type": "control_response", "response": {
                "subtype": "error", "request_id": "another", "error": "not ours"}});
            connection.send(&other.to_string());
            connection.send(&answer(request["request_id"].as_str().unwrap()).to_string());
            assert_eq!(connection.await_close(), Some(1000), "nothing else is sent");
        }
    };
    let success = answer(
        |id| json!({"type": "control_response", "response": {"subtype": "success", "request_id": id}}),
    );
    once("interrupt", &[], b"", success).expect(0);
    let error = answer(|id| {
        json!({"type": "control_response", "response": {
            "subtype": "error", "request_id": id, "error": "nothing to stop"}})
    });
    let finished = once("interrupt", &[], b"", error).expect(1);
    assert!(
        finished.stderr.contains("nothing to stop"),
        "{}",
        finished.stderr
    );
    assert_eq!(ids.lock().unwrap().len(), 2, "a fresh id each");
    once("interrupt", &["--timeout", "300ms"], b"", |server| {
        let mut connection = server.connection();
        connection.next_json();
        assert_eq!(connection.await_close(), Some(1000));
    })
    .expect(5);
    once("interrupt", &["--timeout", "300ms"], b"", |server| {
        server.request().refuse(503, &[("Retry-After", "100")], "");
    })
    .expect(5);
    let unauthorized = |server: &SessionServer| {
        server.connection().close(4003);
    };
    once("interrupt", &[], b"", unauthorized).expect(4);
}

/// Covers: S1.6
#[test]
fn the_environment_names_the_proxy() {
    let (home, server) = (home(), SessionServer::plain());
    let proxy = HttpProxy::new(server.address(), Some(("me", "pa55-w0rd")));
    let base = "http://session.invalid";
    let through = |verb, credentials, more: &[&str]| {
        let mut command = command(&home, verb, base, more);
        command.env("http_proxy", proxy.url(credentials));
        command
    };
    let insecure = ["--allow-insecure"];
    let mut follower = Follower::of(
        &home,
        through("follow", Some(("me", "pa55-w0rd")), &insecure),
    );
    let _connection = server.connection();
    follower.event("connected");
    for arguments in [&insecure[..], &["--allow-insecure", "-vv"]] {
        let wrong = through("follow", Some(("me", "wr0ng-w0rd")), arguments);
        let finished = Finished::of(wrong, b"").expect(4);
        let printed = finished.stdout + &finished.stderr;
        assert!(printed.contains("proxy"), "{printed}");
        assert!(!printed.contains("wr0ng-w0rd"), "{printed}");
    }
    assert_eq!(proxy.asked(), ["session.invalid:80"; 3]);
}

/// All that processes of this test show of themselves: arguments and output, at every level of
/// logging, whatever happens. The environment is left out where it is the token's place.
#[test]
fn the_token_is_nowhere_to_be_seen() {
    let home = home();
    let file = home.root().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let file = file.to_str().unwrap();
    let by_command = format!("cat {file}");
    for source in [
        None,
        Some(["--token-file", file]),
        Some(["--token-command", &by_command]),
    ] {
        let server = SessionServer::plain();
        let start = |verb: &str, more: &[&str]| {
            let mut arguments = vec!["-vv"];
            if verb == "follow" {
                arguments.extend(["--seed", SHORT_DELAYS]);
            }
            arguments.extend(source.into_iter().flatten());
            arguments.extend(more);
            let mut command = command(&home, verb, &server.base_url(), &arguments);
            if source.is_some() {
                command.env_remove("HALLWAY_ACCESS_TOKEN");
            }
            Follower::of(&home, command)
        };
        let unseen = |finished: &Finished| {
            let printed = format!("{}{}", finished.stdout, finished.stderr);
            assert!(
                printed.contains("dial") || printed.contains("refused"),
                "{printed}"
            );
            assert!(!printed.contains(TOKEN), "{printed}");
        };
        let mut follower = start("follow", &[]);
        let request = server.request();
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(request.header("authorization"), Some(&*bearer));
        for facts in ["cmdline", "environ", "comm"] {
            let path = format!("/proc/{}/{facts}", follower.0.pid);
            let bytes = std::fs::read(path).unwrap();
            let is_its_place = facts == "environ" && source.is_none();
            let is_seen = String::from_utf8_lossy(&bytes).contains(TOKEN);
            assert_eq!(is_seen, is_its_place, "{facts}");
        }
        let mut connection = request.accept();
        follower.event("connected");
        connection.send(&permission("r1"));
        follower.line();
        follower.event("request");
        follower.tell(r#"{"answer":"r1","behavior":"allow"}"#);
        connection.next_json();
        connection.send_raw(&[0xff; 20]).unwrap();
        follower.event("reconnecting");
        server.request().refuse(503, &[], "");
        follower.event("reconnecting");
        server.request().say("no HTTP\r\n\r\n");
        follower.event("reconnecting");
        server.request().refuse(401, &[], "");
        unseen(&follower.finish(4));
        let sender = start("send", &["text"]);
        server.request().refuse(401, &[], "");
        unseen(&sender.finish(4));
        let asking = start("interrupt", &[]);
        server.request().refuse(403, &[], "");
        unseen(&asking.finish(4));
    }
}

/// 30 MB in 100,000 messages, to a program whose output nobody reads for a while: the server is
/// slowed down, nothing is lost or out of order, and memory stays bounded.
#[test]
fn a_burst_to_a_slow_reader() {
    const MESSAGES: usize = 100_000;
    let (home, server) = (home(), SessionServer::plain());
    let mut command = command(&home, "follow", &server.base_url(), &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let follower = Served::spawn_silent(command, &home.config());
    let connection = server.connection();
    let mut lines = BufReader::new(reader).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"event":"connected"}"#);
    let before = follower.peak_bytes();

    let padding = "x".repeat(270);
    let message = |n: usize| format!(r#"{{"type":"x","n":{n},"padding":"{padding}"}}"#);
    let (blocked, is_blocked) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut blocked = Some(blocked);
            connection.write_timeout(Duration::from_millis(300));
            for from in (0..MESSAGES).step_by(100) {
                let frames: Vec<_> = (from..from + 100)
                    .flat_map(|n| frame(0x80 | TEXT, message(n).as_bytes()))
                    .collect();
                let mut rest = frames.as_slice();
                while !rest.is_empty() {
                    match connection.socket().write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::WouldBlock);
                            if let Some(blocked) = blocked.take() {
                                blocked.send(from).unwrap();
                            }
                        }
                    }
                }
            }
            connection.close(1000);
        });
        // Its sender is dropped with the last message, had that been swallowed.
        let at = is_blocked.recv().expect("the server is slowed down");
        assert!(at < MESSAGES * 3 / 4, "{at} messages went nowhere");
        for n in 0..MESSAGES {
            let line = lines.next().unwrap().unwrap();
            assert!(line == message(n), "{n}: {line}");
        }
    });
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("reconnecting"), "{line}");
    let more = follower.peak_bytes() - before;
    println!("{MESSAGES} messages took {more} bytes more");
    assert!(more < 4 << 20, "{more} bytes more");
    drop(home);
}
