//! local.md §5: what the reference's server gets wrong on the wire, point by point.

use std::time::Duration;

use hallway_tests::frame::{ok, pong, refusal};
use hallway_tests::wire::message;
use hallway_tests::{Served, Wire};
use serde_json::json;

use crate::home;

const MAX_INBOX_BYTES: usize = 2_097_152;

/// A client with a token that pings when it is asked to.
struct Beat<'a> {
    wire: Wire,
    token: &'a str,
    path: &'a str,
}

impl<'a> Beat<'a> {
    fn new(served: &'a Served, token: &'a str) -> Self {
        let path = &served.path;
        let wire = served.wire();
        let mut beat = Self { wire, token, path };
        beat.once();
        beat
    }

    /// A ping and its pong. The server has one thread: it has then also looked at what others
    /// had sent before.
    fn once(&mut self) {
        self.wire.ping(self.token, self.path);
    }
}

/// The reference decodes each read by itself: cut in a character, the text is corrupted and
/// acknowledged.
///
/// Covers: L5.1
#[test]
fn s5_01_utf8_cut_between_two_reads_arrives_whole() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let mut beat = Beat::new(&served, &token);
    let text = "é€😀\u{301}ß";
    let mut wire = served.wire();
    for byte in message(&token, "text", &json!(text)).as_bytes() {
        wire.send([*byte]);
        beat.once();
    }
    assert_eq!(wire.reply(), ok(1));
    drop(beat);
    assert_eq!(served.next_data(), json!(text));
}

/// The reference goes on with the frames that came in the same read.
///
/// Covers: L3.23, L5.2
#[test]
fn s5_02_frames_after_an_error_in_the_same_read_have_no_effect() {
    let home = home();
    let mut served = home.serve(&[]);
    let token = served.token();
    let line = |data: &str| message(&token, "text", &json!(data));
    let mut n = 0;
    for (bad, text) in [
        ("x\n", "invalid frame"),
        ("{}\n", "unauthorized"),
        ("{\"meta\":{\"authToken\":\"\"}}\n", "unauthorized"),
    ] {
        let mut wire = served.wire();
        let ping = message(&token, "ping", &json!(1));
        wire.send(format!(
            "{}{bad}{}{ping}{bad}",
            line("before"),
            line("after")
        ));
        n += 1;
        assert_eq!(wire.reply(), ok(n));
        wire.expect_refusal(text);
        assert_eq!(served.next_data(), json!("before"));
    }
    let mut wire = served.wire();
    wire.send(line("last"));
    assert_eq!(wire.reply(), ok(n + 1));
    assert_eq!(served.next_data(), json!("last"));
}

/// The reference answers into memory: a client that pings and does not read makes it grow by
/// hundreds of megabytes in seconds.
///
/// Covers: L5.3a, L5.3b
#[test]
fn s5_03_responses_have_back_pressure() {
    // What the kernel holds for one connection, both ways, and more than what the daemon does.
    const MOST: usize = 2 << 20;
    const CLIENTS: usize = 40;
    let home = home();
    let served = home.serve(&[]);
    let token = served.token();
    let mut beat = Beat::new(&served, &token);
    let ping = message(&token, "ping", &json!("x".repeat(40)));
    let before = served.resident_bytes();
    let mut clients: Vec<(Wire, usize)> = (0..CLIENTS)
        .map(|_| {
            let mut wire = served.wire();
            let sent = wire.send_until_stuck(&ping, MOST, || beat.once());
            (wire, sent)
        })
        .collect();
    // Each may hold a frame and as much of answers; twice that with the allocator's gaps.
    let grown = served.resident_bytes().saturating_sub(before);
    assert!(grown < CLIENTS as u64 * 2 * 2 * 65_536, "grew by {grown}");
    // Nothing is lost: once they read, each ping has its pong.
    let expected = pong(&served.path);
    for (wire, sent) in clients.iter_mut().take(3) {
        for _ in 0..*sent / ping.len() {
            assert_eq!(wire.reply(), expected);
        }
        wire.send(&ping[*sent % ping.len()..]);
        assert_eq!(wire.reply(), expected);
        wire.ping(&token, &served.path);
    }
}

/// The reference never closes a client that does not read its error: 128 of them, and nobody
/// else gets in.
///
/// Covers: L5.4
#[test]
fn s5_04_errors_that_nobody_reads_pin_no_place() {
    let home = home();
    let served = home.serve(&["--limit", "closing_timeout=300"]);
    let (token, path) = (served.token(), served.path.clone());
    // Without a token they never get at the places of others.
    let silent: Vec<Wire> = (0..128)
        .map(|_| {
            let mut wire = served.wire();
            wire.send("x\n");
            wire
        })
        .collect();
    served.wire().ping(&token, &path);
    // With one they hold every place, but only for the closing timeout.
    let erroneous: Vec<Wire> = (0..128)
        .map(|_| {
            let mut wire = served.wire();
            wire.ping(&token, &path);
            wire.send("x\n");
            wire
        })
        .collect();
    for wire in silent.iter().chain(&erroneous) {
        wire.expect_hangup();
    }
    served.wire().ping(&token, &path);
}

/// The same with the output full of answers, so that the error cannot even be written.
///
/// Covers: L5.4
#[test]
fn s5_04_clients_stuck_on_their_answers_are_dropped() {
    let home = home();
    let limits = ["max_clients=8", "idle_timeout=800", "closing_timeout=200"];
    let limits: Vec<&str> = limits.iter().flat_map(|limit| ["--limit", limit]).collect();
    let served = home.serve(&limits);
    let (token, path) = (served.token(), served.path.clone());
    let ping = message(&token, "ping", &json!(1));
    let mut beat = Beat::new(&served, &token);
    let stuck: Vec<Wire> = (0..7)
        .map(|_| {
            let mut wire = served.wire();
            wire.send_until_stuck(&ping, 2 << 20, || beat.once());
            wire
        })
        .collect();
    for wire in stuck {
        wire.expect_hangup();
    }
    for _ in 0..7 {
        served.wire().ping(&token, &path);
    }
}

/// The reference lets silent connections hold every place for the whole auth timeout.
///
/// Covers: L5.5a, L5.5b
#[test]
fn s5_05_silent_clients_have_a_quota_and_the_oldest_makes_room() {
    let home = home();
    let served = home.serve(&["--limit", "auth_timeout=60000"]);
    let (token, path) = (served.token(), served.path.clone());
    let mut beat = Beat::new(&served, &token);
    let mut silent = std::collections::VecDeque::new();
    for _ in 0..32 {
        silent.push_back(served.wire());
    }
    beat.once();
    assert!(silent.iter().all(|wire| wire.is_quiet_for(Duration::ZERO)));
    for _ in 0..200 {
        silent.push_back(served.wire());
        // Always the oldest, and told why.
        silent
            .pop_front()
            .unwrap()
            .expect_refusal("too many clients");
        beat.once();
        assert!(silent[0].is_quiet_for(Duration::ZERO));
    }
    // Who knows the token gets in, and out of the quota.
    let mut legitimate: Vec<Wire> = (0..40)
        .map(|_| {
            let mut wire = served.wire();
            wire.ping(&token, &path);
            wire
        })
        .collect();
    silent
        .pop_front()
        .unwrap()
        .expect_refusal("too many clients");
    for wire in silent.iter_mut().chain(&mut legitimate) {
        wire.ping(&token, &path);
    }
}

/// The reference lets them keep the last place of all, too.
///
/// Covers: L5.5b
#[test]
fn s5_05_a_silent_client_keeps_nobody_out_of_a_full_house() {
    let home = home();
    let served = home.serve(&["--limit", "max_clients=3"]);
    let (token, path) = (served.token(), served.path.clone());
    let mut first = Beat::new(&served, &token);
    let mut second = Beat::new(&served, &token);
    let mut silent = served.wire();
    first.once();
    let mut third = served.wire();
    third.ping(&token, &path);
    silent.expect_refusal("too many clients");
    served.wire().expect_refusal("too many clients");
    first.once();
    second.once();
    third.ping(&token, &path);
}

/// The reference counts a message as it would write it anew, so that short ones of 45 KB are
/// refused, and a refused one takes an id with it.
///
/// Covers: L5.12a, L5.12b
#[test]
fn s5_12_the_inbox_counts_the_bytes_it_keeps_and_ids_have_no_gaps() {
    let home = home();
    let served = home.serve(&["--hold"]);
    let token = served.token();
    // `1e20` is 21 digits to JavaScript.
    let numbers = vec!["1e20"; 9_000].join(",");
    let kept = format!(r#"{{"data":[{numbers}]}}"#);
    let line = format!(r#"{{"data":[{numbers}],"meta":{{"authToken":"{token}"}}}}"#) + "\n";
    let fit = MAX_INBOX_BYTES / kept.len();
    assert_eq!((kept.len(), fit), (45_010, 46));
    let mut wire = served.wire();
    for n in 1..=fit {
        wire.send(&line);
        assert_eq!(wire.reply(), ok(n));
    }
    for _ in 0..5 {
        assert_eq!(served.wire().send(&line).reply(), refusal("inbox full"));
    }
    let read = home.run(&["inbox", "--json"]).expect(0);
    assert_eq!(read.stdout.lines().count(), fit);
    assert!(
        read.stdout
            .lines()
            .all(|line| line.ends_with(&format!("{kept}}}")))
    );
    wire.send(&line);
    assert_eq!(wire.reply(), ok(fit + 1));
}
