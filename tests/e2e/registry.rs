//! The registry as others leave it: stale, huge, strange, recycled, and by clocks that jump
//! (local.md §2, §5.11, §5.14).

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hallway_tests::files::{
    GONE, Idle, OTHER, age, dead_socket, give_away, is_root, mkdir, mkfifo,
};
use hallway_tests::wire::publish;
use hallway_tests::{FakeServer, Home, Served};
use serde_json::{Value, json};

use crate::home;

/// Far more than it takes, and far less than what waiting for somebody takes.
const PROMPT: Duration = Duration::from_secs(20);

fn path_of(home: &Home, pid: u32) -> PathBuf {
    home.config().join(format!("sessions/{pid}.json"))
}

fn write(home: &Home, pid: u32, content: impl AsRef<[u8]>) {
    mkdir(home.config().join("sessions"));
    fs::write(path_of(home, pid), content).unwrap();
}

/// Puts another record into the place of a daemon's, which it does not stand for.
fn change(home: &Home, served: &Served, change: impl FnOnce(&mut Value)) {
    let path = path_of(home, served.pid);
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::remove_file(&path).unwrap();
    write(home, served.pid, record.to_string());
}

fn listed(home: &Home) -> Vec<u32> {
    let peers = home.run(&["peers", "--json"]).expect(0).json();
    let pid = |peer: &Value| u32::try_from(peer["pid"].as_u64().unwrap()).unwrap();
    peers.iter().map(pid).collect()
}

/// Why the session of a process is not there.
fn absent(home: &Home, pid: u32) -> String {
    let all = home.run(&["peers", "--all", "--json"]).expect(0).json();
    let peer = all.iter().find(|peer| peer["pid"] == json!(pid)).unwrap();
    assert_eq!(
        (&peer["live"], &peer["reachable"]),
        (&json!(false), &json!(false))
    );
    peer["why"].as_str().unwrap().to_owned()
}

#[test]
fn a_thousand_stale_records_and_two_hundred_dead_sockets_are_in_nobodys_way() {
    const RECORDS: u32 = 1_000;
    const SOCKETS: u32 = 200;
    let home = home();
    let base = home.root().join("t/claude-code-socks");
    mkdir(&base);
    let stale = |n: u32| {
        json!({
            "pid": GONE + n, "sessionId": format!("stale-{n}"), "startedAt": 1, "kind": "daemon",
            "entrypoint": "hallway", "messagingSocketPath": format!("/gone/{n}"), "name": "twin",
        })
    };
    for n in 0..RECORDS {
        write(&home, GONE + n, stale(n).to_string());
        age(path_of(&home, GONE + n), 61);
    }
    let mut left = Vec::new();
    for n in 0..SOCKETS {
        let dir = base.join(format!("{}-{n:032x}", GONE + n));
        mkdir(&dir);
        let socket = dir.join("messaging.sock");
        dead_socket(&socket);
        publish(&home.config(), socket.to_str().unwrap(), "f00d");
        let capability = home.capability(socket.to_str().unwrap());
        age(&capability, 61);
        age(&dir, 61);
        left.extend([dir, capability]);
    }
    let began = Instant::now();
    let served = home.serve(&["--name", "twin"]);
    assert_eq!(listed(&home), [served.pid]);
    assert_eq!(home.run(&["send", "twin", "x"]).expect(0).stdout, "uds-1\n");
    home.run(&["ping", "stale-77"]).expect(3);
    let mended = home.run(&["doctor", "--fix", "--json"]).expect(0);
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    assert_eq!(mended.json().last().unwrap()["ok"], json!(true));
    // Whoever swept them, the start or the doctor: they are gone, and the living stay.
    assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
    let records = hallway_tests::files::names(home.config().join("sessions"));
    assert_eq!(records, [format!("{}.json", served.pid)]);
    home.run(&["ping", "twin"]).expect(0);
}

/// Covers: L2.23, L2.24
#[test]
fn files_that_are_no_records_are_skipped_with_their_reasons() {
    let home = home();
    let served = home.serve(&[]);
    let sessions = home.config().join("sessions");
    let at = |pid: u32| path_of(&home, pid);
    fs::File::create(at(GONE))
        .unwrap()
        .set_len(10_000_000)
        .unwrap();
    write(&home, GONE + 1, [0x7f, b'E', b'L', b'F', 0, 0xff]);
    mkdir(at(GONE + 2));
    mkfifo(at(GONE + 3));
    symlink(at(served.pid), at(GONE + 4)).unwrap();
    symlink("/dev/zero", at(GONE + 5)).unwrap();
    for (n, content) in ["", "null", "[]", "7", "{\"pid\":", "{} {}"]
        .iter()
        .enumerate()
    {
        write(&home, GONE + 10 + u32::try_from(n).unwrap(), content);
    }
    for name in ["x.json", "7.json.bak", ".json", "-7.json", "007.json"] {
        fs::write(sessions.join(name), "{}").unwrap();
    }
    let began = Instant::now();
    assert_eq!(listed(&home), [served.pid]);
    let file = "file is not a regular file: ";
    for (pid, why) in [
        (GONE, "file is too large: "),
        (GONE + 1, "registry record cannot be read: "),
        (GONE + 2, file),
        (GONE + 3, file),
        (GONE + 4, file),
        (GONE + 5, file),
        (GONE + 10, "registry record cannot be read: "),
        (GONE + 15, "registry record cannot be read: "),
    ] {
        let found = absent(&home, pid);
        assert!(found.starts_with(why), "{pid}: {found}");
    }
    let all = home.run(&["peers", "--all", "--json"]).expect(0).json();
    assert_eq!(all.len(), 13, "what is not named by a pid is not looked at");
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
}

// §5.14: the reference takes a recycled pid for a live session.
/// Covers: L5.14a
#[test]
fn s5_14_a_recycled_pid_is_not_the_session() {
    let home = home();
    let served = home.serve(&["--name", "api-worker"]);
    assert_eq!(listed(&home), [served.pid]);
    change(&home, &served, |record| {
        let start = record["processStart"].as_str().unwrap();
        let (boot, ticks) = start.split_once(':').unwrap();
        let earlier = ticks.parse::<u64>().unwrap() - 1;
        record["processStart"] = json!(format!("{boot}:{earlier}"));
    });
    assert_eq!(listed(&home), Vec::<u32>::new());
    assert_eq!(
        absent(&home, served.pid),
        "its process has ended; another has its pid"
    );
    let failed = home.run(&["send", "api-worker", "x"]).expect(3);
    let gone = format!("its session (pid {}) is gone", served.pid);
    assert!(failed.stderr.contains(&gone), "{}", failed.stderr);
    // Another boot is another process, whatever its ticks.
    change(&home, &served, |record| {
        record["processStart"] = json!("another-boot:1");
    });
    assert_eq!(listed(&home), Vec::<u32>::new());
}

// §5.14: the reference takes a process of another user (EPERM) for a dead one; a reader that
// took it for a live one would connect where only a stranger can answer.
/// Covers: L5.14b
#[test]
fn s5_14_a_process_of_another_user_is_told_from_a_dead_one() {
    let home = home();
    let idle = if is_root() {
        Some(Idle::of_another_user())
    } else {
        None
    };
    // As anybody but root, init is another user's.
    let pid = idle.as_ref().map_or(1, Idle::pid);
    write(
        &home,
        pid,
        json!({"name": "theirs", "messagingSocketPath": "/s"}).to_string(),
    );
    write(
        &home,
        GONE,
        json!({"name": "dead", "messagingSocketPath": "/s"}).to_string(),
    );
    assert_eq!(listed(&home), Vec::<u32>::new());
    assert_eq!(absent(&home, pid), "its pid is a process of another user");
    assert_eq!(absent(&home, GONE), "its process has ended");
    home.run(&["ping", "theirs"]).expect(3);
}

// The same, seen by a user who may not even signal it.
/// Covers: L5.14b
#[test]
fn s5_14_a_process_that_may_not_be_signalled_is_not_dead() {
    if !is_root() {
        return;
    }
    let home = home();
    let theirs = tempfile::Builder::new()
        .prefix("hw-")
        .tempdir_in("/tmp")
        .unwrap();
    mkdir(theirs.path().join("sessions"));
    let record = json!({"name": "roots", "messagingSocketPath": "/s"}).to_string();
    let path = theirs
        .path()
        .join(format!("sessions/{}.json", std::process::id()));
    fs::write(&path, record).unwrap();
    for path in [&theirs.path().join("sessions"), &path, theirs.path()] {
        give_away(path);
    }
    let mut command = home.command(&["peers", "--all", "--json"]);
    command
        .env("CLAUDE_CONFIG_DIR", theirs.path())
        .current_dir("/")
        .uid(OTHER)
        .gid(OTHER);
    match command.output() {
        Ok(output) => {
            let peer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(peer["why"], json!("its pid is a process of another user"));
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            eprintln!("skipped: another user cannot run the program");
        }
    }
}

/// Covers: L4.18
#[test]
fn a_zombie_is_no_session() {
    let home = home();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
    write(
        &home,
        child.id(),
        json!({"messagingSocketPath": "/s"}).to_string(),
    );
    assert_eq!(absent(&home, child.id()), "its process has ended");
    child.wait().unwrap();
}

// Other programs write no start of their process; then the socket has to tell.
/// Covers: L2.21, L4.17
#[test]
fn a_session_of_another_program_is_found_by_its_record() {
    let home = home();
    let server = FakeServer::start(&home.config(), &home.socket("s"), 2, |mut wire| {
        let kind = wire.line()["type"].as_str().unwrap().to_owned();
        let answer = if kind == "ping" { "pong" } else { "response" };
        wire.send(format!("{{\"type\":\"{answer}\"}}\n"));
    });
    let pid = std::process::id();
    let record = json!({
        "pid": pid, "sessionId": "c0ffee", "cwd": "/", "startedAt": hallway_tests::frame::wall_millis(),
        "kind": "interactive", "entrypoint": "cli", "messagingSocketPath": server.path,
        "name": "theirs", "bridgeSessionId": null, "status": "busy", "later": {"a": [1]},
    });
    write(&home, pid, record.to_string());
    home.run(&["ping", "theirs"]).expect(0);
    home.run(&["send", "c0ffee", "x"]).expect(0);
    server.join();
    assert_eq!(listed(&home), [pid]);
}

// §2: unknown keys are kept: nobody but its writer touches a record.
/// Covers: L2.22
#[test]
fn records_of_other_programs_are_never_changed() {
    let home = home();
    let idle = Idle::start();
    let text =
        r#"{"later":{"a":[1e999,"\ud83d"]}, "pid":1,"status":null,"x":1,"x":2,"name":"theirs"}"#;
    for pid in [GONE, idle.pid()] {
        write(&home, pid, text);
        age(path_of(&home, pid), 3_600);
    }
    let served = home.serve(&["--name", "api-worker"]);
    home.run(&["peers", "--all", "--probe"]).expect(0);
    home.run(&["doctor", "--fix"]).expect(0);
    assert_eq!(served.stop().0, 0);
    for pid in [GONE, idle.pid()] {
        assert_eq!(fs::read_to_string(path_of(&home, pid)).unwrap(), text);
    }
}

/// Covers: L2.18, L2.19
#[test]
fn a_records_keys_have_their_order() {
    let home = home();
    let served = home.serve(&["--name", "api-worker", "--session-id", "c0ffee"]);
    let text = fs::read_to_string(path_of(&home, served.pid)).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let cwd = std::env::current_dir().unwrap();
    let (started, start) = (
        &record["startedAt"],
        record["processStart"].as_str().unwrap(),
    );
    assert_eq!(
        text,
        format!(
            concat!(
                r#"{{"pid":{},"sessionId":"c0ffee","cwd":"{}","startedAt":{},"kind":"daemon","#,
                r#""entrypoint":"hallway","messagingSocketPath":"{}","name":"api-worker","#,
                r#""processStart":"{}"}}"#
            ),
            served.pid,
            cwd.display(),
            started,
            served.path,
            start
        )
    );
}

// §5.14: who lives does not depend on a clock that may be set.
#[test]
fn a_clock_that_jumps_kills_nobody() {
    let home = home();
    let served = home.serve(&["--name", "api-worker"]);
    let now = hallway_tests::frame::wall_millis();
    let year = 365 * 24 * 3_600 * 1_000;
    for started in [
        json!(0),
        json!(now - 10 * year),
        json!(now + 10 * year),
        json!("soon"),
        json!(null),
    ] {
        change(&home, &served, |record| {
            record["startedAt"] = started.clone()
        });
        assert_eq!(listed(&home), [served.pid], "{started}");
        home.run(&["ping", "api-worker"]).expect(0);
        let text = home.run(&["peers"]).expect(0).stdout;
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    // And does not bring a recycled one to life.
    change(&home, &served, |record| {
        record["startedAt"] = json!(now);
        record["processStart"] = json!("another-boot:1");
    });
    assert_eq!(listed(&home), Vec::<u32>::new());
}

// Without a start of the process the clock can only acquit: one that seems too young for its
// record may have been written under another clock, and its socket decides.
#[test]
fn without_a_process_start_the_socket_decides() {
    let home = home();
    let served = home.serve(&["--name", "api-worker"]);
    for started in [0, hallway_tests::frame::wall_millis()] {
        change(&home, &served, |record| {
            record["startedAt"] = json!(started);
            record.as_object_mut().unwrap().remove("processStart");
        });
        assert_eq!(listed(&home), [served.pid]);
        home.run(&["ping", "api-worker"]).expect(0);
    }
    fs::remove_file(&served.path).unwrap();
    assert_eq!(absent(&home, served.pid), "its socket is gone");
}
