//! The daemon's end, in good order and not, and two that begin at once. What was told to a
//! sender is true whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hallway_tests::frame::pong;
use hallway_tests::wire::message;
use hallway_tests::{Served, Wire};
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home;

/// The numbers and the data of the messages among a daemon's lines.
fn printed(lines: &[String]) -> Vec<(String, Value)> {
    let entries = lines.iter().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry
    });
    entries
        .filter(|entry| entry["event"] == "message")
        .map(|entry| {
            let id = entry["id"].as_str().unwrap().to_owned();
            (id, entry["message"]["data"].clone())
        })
        .collect()
}

/// The ids that a client was told, in order, up to whatever ended it.
fn told(wire: &mut Wire) -> Vec<String> {
    let (lines, _end) = wire.rest();
    lines
        .iter()
        .filter(|line| line["type"] == "response")
        .map(|line| line["meta"]["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The ids from 1, in order, each once.
#[track_caller]
fn has_no_gaps(printed: &[(String, Value)]) {
    for (at, (id, _)) in printed.iter().enumerate() {
        assert_eq!(*id, format!("uds-{}", at + 1));
    }
}

#[test]
fn messages_received_before_a_stop_are_answered_and_printed() {
    let home = home();
    let served = home.serve(&[]);
    let token = served.token();
    let mut wire = served.wire();
    wire.ping(&token, &served.path);
    let lines: String = (0..300)
        .map(|n| message(&token, "text", &json!(n)))
        .collect();
    // It finds both when it looks: the messages and the signal.
    served.freeze();
    wire.send(lines);
    served.signal(Signal::TERM);
    served.thaw();
    let told = told(&mut wire);
    let (code, lines, log) = {
        let mut served = served;
        served.finish()
    };
    assert_eq!((code, log.as_str()), (0, ""));
    let printed = printed(&lines);
    has_no_gaps(&printed);
    let ids: Vec<_> = printed.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(told, ids);
    assert!(!told.is_empty());
    for (at, (_, data)) in printed.iter().enumerate() {
        assert_eq!(*data, json!(at));
    }
    assert_eq!(lines.last().unwrap(), r#"{"event":"stopped"}"#);
}

#[test]
fn a_stop_in_a_flood_makes_no_answer_a_lie() {
    const CLIENTS: usize = 4;
    // None is refused, however slowly they are printed.
    let limits = [
        "max_inbox_entries=1000000",
        "max_inbox_entries_per_peer=1000000",
        "max_inbox_bytes=1073741824",
        "max_inbox_bytes_per_peer=1073741824",
    ];
    let limits: Vec<&str> = limits.iter().flat_map(|limit| ["--limit", limit]).collect();
    for moment in [1, 40, 400, 1_500] {
        let home = home();
        let mut served = home.serve(&limits);
        let token = served.token();
        let answers = AtomicUsize::new(0);
        let (told, lines) = std::thread::scope(|scope| {
            let (token, answers) = (&token, &answers);
            let wires: Vec<_> = (0..CLIENTS).map(|_| served.wire()).collect();
            let clients: Vec<_> = wires
                .into_iter()
                .enumerate()
                .map(|(client, mut wire)| {
                    scope.spawn(move || {
                        let mut writer = Wire::over(wire.stream().try_clone().unwrap());
                        let writing = scope.spawn(move || {
                            for n in 0.. {
                                let line = message(token, "text", &json!([client, n]));
                                if !writer.try_send(line) {
                                    break;
                                }
                            }
                        });
                        let mut ids = Vec::new();
                        while let Ok(line) = wire.try_line() {
                            let line: Value = serde_json::from_str(&line).unwrap();
                            assert_eq!(line["data"], "ok", "{line}");
                            ids.push(line["meta"]["id"].as_str().unwrap().to_owned());
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        drop(wire);
                        writing.join().unwrap();
                        ids
                    })
                })
                .collect();
            while answers.load(Ordering::Relaxed) < moment {
                std::thread::yield_now();
            }
            served.signal(Signal::TERM);
            let (code, lines, log) = served.finish();
            assert_eq!((code, log.as_str()), (0, ""));
            let told: Vec<_> = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect();
            (told, lines)
        });
        let printed = printed(&lines);
        has_no_gaps(&printed);
        let by_id: BTreeMap<_, _> = printed.iter().map(|(id, data)| (id, data)).collect();
        let mut count = 0;
        for (client, ids) in told.iter().enumerate() {
            // Answers keep the order of the messages, so that the nth is for the nth.
            for (n, id) in ids.iter().enumerate() {
                assert_eq!(by_id.get(id), Some(&&json!([client, n])), "{id}");
                count += 1;
            }
        }
        assert!(count >= moment);
    }
}

#[test]
fn what_a_slow_reader_had_sent_is_still_answered_after_a_stop() {
    let home = home();
    let mut served = home.serve(&[]);
    let (token, path) = (served.token(), served.path.clone());
    let (mut beat, mut slow) = (served.wire(), served.wire());
    let ping = message(&token, "ping", &json!(1));
    slow.send_until_stuck(&ping, 2 << 20, || {
        beat.ping(&token, &path);
    });
    let on_its_way = ioctl_fionread(slow.stream()).unwrap();
    served.signal(Signal::TERM);
    let (pongs, _end) = slow.rest();
    assert!(pongs.iter().all(|line| line["type"] == "pong"));
    // More than was on its way or in the daemon's output: what waited for room in that, too.
    let length = pong(&path).len() - "T".len() + "2026-01-02T03:04:05.678Z\n".len();
    let (answered, out) = (
        pongs.len() * length,
        usize::try_from(on_its_way).unwrap() + 65_536,
    );
    assert!(
        answered > out + 65_536 / 4,
        "{answered} bytes, {out} of them were out"
    );
    let (code, lines, log) = served.finish();
    assert_eq!((code, lines.len(), log.as_str()), (0, 1, ""));
}

#[test]
fn clients_that_do_not_read_do_not_hold_up_a_stop() {
    let home = home();
    let served = home.serve(&["--limit", "closing_timeout=200"]);
    let token = served.token();
    let (mut beat, mut stuck, silent) = (served.wire(), served.wire(), served.wire());
    let ping = message(&token, "ping", &json!(1));
    let path = served.path.clone();
    stuck.send_until_stuck(&ping, 2 << 20, || {
        beat.ping(&token, &path);
    });
    let (code, lines, _) = served.stop();
    assert_eq!((code, lines.len()), (0, 1));
    stuck.expect_hangup();
    silent.expect_hangup();
}

#[test]
fn a_daemon_that_was_killed_at_any_moment_does_not_block_the_next() {
    let home = home();
    let socket = home.socket("s");
    let arguments = ["serve", "--json", "--hold", "--socket", &socket];
    // A number that looks like any other (Knuth's multiplier).
    let mut seed = 0x9e37_79b9_u32;
    for round in 0..24 {
        seed = seed.wrapping_mul(2_654_435_761).wrapping_add(round);
        let mut served = Served::spawn(home.command(&arguments), &home.config());
        // There is no event at the moments that are looked for.
        std::thread::sleep(Duration::from_micros(u64::from(seed >> 16) % 12_000));
        served.kill();
        let served = Served::start(home.command(&arguments), &home.config());
        assert_eq!(served.path, socket);
        let token = served.token();
        served.wire().ping(&token, &socket);
        if round % 2 == 0 {
            assert_eq!(served.stop().0, 0);
            for path in [
                &socket,
                &format!("{socket}.lock"),
                &format!("{socket}.owner"),
            ] {
                assert!(!Path::new(path).exists(), "{path}");
            }
            assert!(!home.capability(&socket).exists());
        }
        // Else it is killed too, while it listens.
    }
    // What is left are records of the dead, which nobody takes for sessions.
    let listed = home.run(&["peers", "--json"]).expect(0);
    assert_eq!(listed.stdout, "");
}

/// Covers: L5.6a
#[test]
fn of_two_that_start_at_once_one_wins_and_the_other_does_no_harm() {
    let home = home();
    let socket = home.socket("s");
    let arguments = ["serve", "--json", "--socket", &socket];
    for round in 0..50 {
        let spawn = || Served::spawn(home.command(&arguments), &home.config());
        let (one, two) = (spawn(), spawn());
        let (mut winner, mut loser) = {
            // Whoever ends is the loser: the other one serves until it is told to stop.
            let ended = first_to_end(&one, &two);
            if ended == one.pid {
                (two, one)
            } else {
                (one, two)
            }
        };
        let (code, lines, log) = loser.finish();
        assert_eq!(
            (code, lines),
            (1, Vec::<String>::new()),
            "round {round}: {log}"
        );
        let expected = format!("socket is in use by a live peer: {socket}; ");
        assert!(log.contains(&expected), "{log}");
        let listening = winner.next_line();
        assert_eq!(listening["pid"], json!(winner.pid));
        winner.path.clone_from(&socket);
        winner.wire().ping(&winner.token(), &socket);
        let record = home.config().join(format!("sessions/{}.json", winner.pid));
        assert!(record.exists() && Path::new(&format!("{socket}.lock")).exists());
        let (code, _, log) = winner.stop();
        assert_eq!((code, log.as_str()), (0, ""));
        assert_eq!(
            fs::read_dir(home.config().join("sessions"))
                .unwrap()
                .count(),
            0
        );
        assert!(!Path::new(&socket).exists() && !home.capability(&socket).exists());
    }
}

/// Waits until one of them has ended; its pid.
fn first_to_end(one: &Served, two: &Served) -> u32 {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::retry_on_intr;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let [first, second] = [one, two].map(|served| {
        let pid = Pid::from_raw(i32::try_from(served.pid).unwrap()).unwrap();
        pidfd_open(pid, PidfdFlags::empty()).unwrap()
    });
    let mut ends = [&first, &second].map(|end| PollFd::new(end, PollFlags::IN));
    let patience = Timespec::try_from(hallway_tests::PATIENCE).unwrap();
    let ready = retry_on_intr(|| poll(&mut ends, Some(&patience)));
    assert!(ready.unwrap() > 0, "both go on");
    if ends[0].revents().contains(PollFlags::IN) {
        one.pid
    } else {
        two.pid
    }
}
