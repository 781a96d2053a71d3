//! Peers that mean no good, machines without resources, and clocks that jump: the daemon goes
//! on serving everybody else.

use std::fs;
use std::io::{IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hallway_tests::frame::{ok, pong, refusal};
use hallway_tests::wire::{End, message};
use hallway_tests::{PATIENCE, Served, Wire};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{home, not_checked};

/// How many descriptors the daemon has open, if the kernel lets us see that. Soon after its
/// start some of them are its sweep's.
fn descriptors(served: &Served) -> Option<usize> {
    let dir = fs::read_dir(format!("/proc/{}/fd", served.pid)).ok()?;
    Some(dir.count())
}

#[test]
fn a_peer_that_connects_and_says_nothing_is_told_and_closed() {
    let home = home();
    let served = home.serve(&["--limit", "auth_timeout=200"]);
    let (token, path) = (served.token(), served.path.clone());
    let mut beat = served.wire();
    beat.ping(&token, &path);
    let before = Instant::now();
    let mut silent: Vec<Wire> = (0..30).map(|_| served.wire()).collect();
    for wire in &mut silent {
        beat.ping(&token, &path);
        wire.expect_refusal("authentication timeout");
    }
    assert!(before.elapsed() >= Duration::from_millis(200));
    beat.ping(&token, &path);
}

#[test]
fn a_peer_that_sends_a_byte_at_a_time_gets_no_more_time_than_others() {
    let home = home();
    let mut served = home.serve(&["--limit", "auth_timeout=250"]);
    let line = message(&served.token(), "text", &json!("x".repeat(60_000)));
    for stream in [line.as_str(), &" ".repeat(60_000), &"\n".repeat(60_000)] {
        let before = Instant::now();
        let mut wire = served.wire();
        let mut bytes = stream.bytes();
        // A byte whenever nothing has come for a moment.
        while wire.is_quiet_for(Duration::from_millis(2)) {
            wire.send([bytes.next().unwrap()]);
        }
        wire.expect_refusal("authentication timeout");
        assert!(before.elapsed() >= Duration::from_millis(250));
    }
    let mut wire = served.wire();
    wire.send(message(&served.token(), "text", &json!("on time")));
    assert_eq!(wire.reply(), ok(1));
    assert_eq!(served.next_data(), json!("on time"));
}

#[test]
fn a_peer_that_never_reads_and_goes_on_writing_is_cut_off() {
    let home = home();
    let served = home.serve(&["--limit", "closing_timeout=300"]);
    let (token, path) = (served.token(), served.path.clone());
    let mut beat = served.wire();
    beat.ping(&token, &path);
    let before = served.resident_bytes();
    for first in ["x\n", "{}\n", &"x".repeat(65_537)] {
        let start = Instant::now();
        let mut wire = served.wire();
        wire.send(first);
        let mut sent = 0;
        while wire.try_send([b'x'; 65_536]) {
            sent += 65_536;
            beat.ping(&token, &path);
        }
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert!(
            sent > 0,
            "what comes after an error is thrown away, not refused"
        );
        wire.expect_hangup();
        // What it would have read.
        let mut replies = 0;
        while wire.try_line().is_ok() {
            replies += 1;
        }
        assert_eq!(replies, 1);
    }
    let grown = served.resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown}");
}

/// Its socket is never found empty.
#[test]
fn a_refused_peer_that_leaves_no_pause_is_cut_off() {
    let home = home();
    let served = home.serve(&["--limit", "closing_timeout=300"]);
    let mut wire = served.wire();
    wire.send("x\n");
    let writers = [(); 3].map(|()| wire.stream().try_clone().unwrap());
    std::thread::scope(|scope| {
        for mut stream in writers {
            scope.spawn(move || while stream.write_all(&[b'x'; 65_536]).is_ok() {});
        }
    });
    wire.expect_hangup();
    let mut beat = served.wire();
    beat.ping(&served.token(), &served.path);
}

#[test]
fn a_peer_that_shuts_its_input_ends_its_own_connection_only() {
    let home = home();
    let served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let mut beat = served.wire();
    let mut deaf = served.wire();
    deaf.ping(&token, &path);
    deaf.stream().shutdown(Shutdown::Read).unwrap();
    deaf.try_send(message(&token, "ping", &json!(1)).repeat(1_000));
    beat.ping(&token, &path);
    deaf.expect_hangup();
    beat.ping(&token, &path);
    let (code, _, log) = served.stop();
    assert_eq!((code, log.as_str()), (0, ""));
}

#[test]
fn a_storm_of_connections_leaves_nothing_behind() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let mut beat = served.wire();
    beat.ping(&token, &path);
    let before = descriptors(&served);
    let line = message(&token, "text", &json!("x"));
    for n in 0..1_500 {
        let mut wire = served.wire();
        match n % 5 {
            0 => {}
            1 => drop(wire.send("x\n")),
            2 => drop(wire.send(&line[..10])),
            3 => drop(wire.half_close()),
            _ => drop(wire.send("\n\n")),
        }
    }
    // It may have left some of them waiting: they come before the next one.
    let mut last = served.wire();
    last.send(&line);
    assert_eq!(last.reply(), ok(1));
    assert_eq!(served.next_data(), json!("x"));
    drop(last);
    let start = Instant::now();
    while descriptors(&served) > before {
        assert!(start.elapsed() < PATIENCE, "descriptors leak");
        beat.ping(&token, &path);
    }
}

#[test]
fn descriptors_that_a_peer_sends_along_are_not_kept() {
    let home = home();
    let served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let mut wire = served.wire();
    wire.ping(&token, &path);
    let before = descriptors(&served);
    let gift = fs::File::open("/dev/null").unwrap();
    let gifts = [gift.as_fd(); 16];
    let ping = message(&token, "ping", &json!(1));
    for _ in 0..20 {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&gifts)));
        let bytes = [IoSlice::new(ping.as_bytes())];
        let sent = sendmsg(wire.stream(), &bytes, &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(ping.len()));
        assert_eq!(wire.reply(), pong(&path));
    }
    assert!(descriptors(&served) <= before);
}

#[test]
fn a_byte_out_of_band_confuses_nobody() {
    let home = home();
    let served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let (mut wire, mut beat) = (served.wire(), served.wire());
    if send(wire.stream(), b"\n", SendFlags::OOB).is_err() {
        // Older kernels have none on these sockets.
        return beat
            .ping(&token, &path)
            .send("\n")
            .half_close()
            .expect_end();
    }
    beat.ping(&token, &path);
    wire.ping(&token, &path);
    assert_eq!(send(wire.stream(), b"\n", SendFlags::OOB), Ok(1));
    wire.half_close();
    wire.expect_end();
    beat.ping(&token, &path);
}

#[test]
fn without_descriptors_accepting_pauses_and_then_goes_on() {
    // Of these the daemon needs some for itself.
    const DESCRIPTORS: usize = 40;
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let ping = message(&token, "ping", &json!(1));
    let mut beat = served.wire();
    beat.ping(&token, &path);
    served.limit_descriptors(DESCRIPTORS as u64);
    let mut waiting: Vec<Wire> = (0..2 * DESCRIPTORS)
        .map(|_| {
            let mut wire = served.wire();
            wire.send(&ping);
            wire
        })
        .collect();
    // Those who are in are served.
    for _ in 0..20 {
        beat.ping(&token, &path);
        beat.send(message(&token, "text", &json!("meanwhile")));
        assert_eq!(beat.line()["data"], "ok");
        assert_eq!(served.next_data(), json!("meanwhile"));
    }
    let is_answered = |wire: &&Wire| !wire.is_quiet_for(Duration::ZERO);
    let answered = waiting.iter().filter(is_answered).count();
    assert!((1..DESCRIPTORS).contains(&answered), "{answered}");
    // Those who are not are not turned away: each that leaves lets the next one in.
    for mut wire in waiting.drain(..) {
        assert_eq!(wire.reply(), pong(&path));
    }
    served.wire().ping(&token, &path);
    let (code, _, log) = served.stop();
    assert_eq!(code, 0);
    assert!(
        log.contains("accepting pauses until descriptors or memory are free"),
        "{log}"
    );
}

#[test]
fn without_descriptors_it_stops_in_good_order_all_the_same() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let mut clients = vec![served.wire()];
    clients[0].ping(&token, &path);
    served.limit_descriptors(16);
    clients.extend((0..20).map(|_| served.wire()));
    for _ in 0..3 {
        clients[0].ping(&token, &path);
    }
    clients[0].send(message(&token, "text", &json!("the last")));
    assert_eq!(clients[0].reply(), ok(1));
    served.signal(Signal::TERM);
    let (code, lines, _) = served.finish();
    assert_eq!((code, lines.len()), (0, 2), "{lines:?}");
    assert!(!Path::new(&path).exists() && !home.capability(&path).exists());
}

#[test]
fn a_start_without_descriptors_fails_with_words_and_leaves_nothing() {
    let home = home();
    let socket = home.socket("s");
    let (mut started, mut failed) = (0, 0);
    // With fewer the program is not even loaded.
    for most in (4..40).rev() {
        let plain = home.command(&["serve", "--json", "--hold", "--socket", &socket]);
        let mut command = Command::new("/bin/sh");
        let script = format!(r#"ulimit -n {most}; exec "$0" "$@""#);
        command.arg("-c").arg(script);
        let mut served = Served::spawn(behind(command, &plain), &home.config());
        if served.try_raw().is_some() {
            served.signal(Signal::TERM);
        }
        let (code, lines, log) = served.finish();
        if code == 0 {
            started += 1;
        } else {
            failed += 1;
            assert_eq!((code, lines.len()), (1, 0), "{most}: {log}");
            let last = log.lines().last().unwrap_or_default();
            let error: Value = serde_json::from_str(last).unwrap_or_default();
            assert_eq!(error["event"], "error", "{most}: {log}");
        }
        for left in ["", ".lock", ".owner"].map(|end| format!("{socket}{end}")) {
            assert!(!Path::new(&left).exists(), "{most}: {left} is left; {log}");
        }
        let capabilities = fs::read_dir(home.config().join("messaging-capabilities"));
        assert!(
            capabilities.is_ok_and(|dir| dir.count() == 0),
            "{most}: {log}"
        );
        let records = fs::read_dir(home.config().join("sessions"));
        assert!(records.is_ok_and(|dir| dir.count() == 0), "{most}: {log}");
    }
    assert!(
        started > 0 && failed > 0,
        "{started} started, {failed} failed"
    );
}

/// `command` as the way to call `hallway` as `plain` does.
fn behind(mut command: Command, plain: &Command) -> Command {
    command.arg(plain.get_program()).args(plain.get_args());
    command.env_clear().stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

#[test]
fn a_clock_that_jumps_ahead_ends_the_silent_and_misleads_nobody() {
    let home = home();
    let limits = ["--limit", "auth_timeout=300", "--limit", "idle_timeout=400"];
    let mut served = home.serve(&limits);
    let (token, path) = (served.token(), served.path.clone());
    let (mut silent, mut idle, mut late) = (served.wire(), served.wire(), served.wire());
    idle.ping(&token, &path);
    // As in a suspended machine: nothing runs, and then it is later.
    served.freeze();
    late.send(message(&token, "text", &json!("while it stood still")));
    std::thread::sleep(Duration::from_millis(600));
    served.thaw();
    silent.expect_refusal("authentication timeout");
    idle.expect_refusal("idle timeout");
    // Whether that came in time is the kernel's to say. What its sender is told is true.
    let reply = late.reply();
    let accepted = usize::from(reply != refusal("authentication timeout"));
    if accepted == 1 {
        assert_eq!(reply, ok(1));
        assert_eq!(served.next_data(), json!("while it stood still"));
    }
    // Deadlines that begin after the jump are as long as ever.
    let start = Instant::now();
    let (mut silent, mut next) = (served.wire(), served.wire());
    next.send(message(&token, "text", &json!("next")));
    assert_eq!(next.reply(), ok(accepted + 1));
    assert_eq!(served.next_data(), json!("next"));
    silent.expect_refusal("authentication timeout");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_clock_far_from_its_origin_is_a_clock() {
    let home = home();
    let plain = home.command(&["serve", "--json", "--limit", "auth_timeout=100"]);
    // A machine that has been up for 140 years, in a time namespace of its own: more seconds than
    // 32 bits hold, and as many as the kernel allows.
    let namespace = || {
        let far = (140_u64 * 365 * 86_400).to_string();
        let mut command = Command::new("unshare");
        command.args(["--time", "--fork", "--kill-child"]);
        command.args(["--boottime", &far, "--monotonic", &far]);
        command
    };
    let tried = namespace().arg("true").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return not_checked("a clock far from its origin, in a time namespace");
    }
    let command = behind(namespace(), &plain);
    let served = Served::start(command, &home.config());
    let (token, path) = (served.token(), served.path.clone());
    let (mut wire, mut silent) = (served.wire(), served.wire());
    wire.ping(&token, &path);
    silent.expect_refusal("authentication timeout");
    wire.send(message(&token, "text", &json!("x")));
    assert_eq!(wire.reply(), ok(1));
    wire.send("x\n");
    assert_eq!(wire.reply(), refusal("invalid frame"));
    assert_eq!(wire.try_line(), Err(End::Closed));
}
