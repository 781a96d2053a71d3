//! Under a service manager: readiness, watchdog, and sockets that it passes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use hallway_tests::frame::pong;
use hallway_tests::wire::{message, wait_for};
use hallway_tests::{Finished, Home, PATIENCE, Served, Wire};
use rustix::event::PollFlags;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home;

/// The manager's end of the notifications.
fn manager(home: &Home) -> (UnixDatagram, String) {
    let path = home.socket("notify");
    (UnixDatagram::bind(&path).unwrap(), path)
}

#[track_caller]
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4_096];
    assert!(
        wait_for(manager, PollFlags::IN, PATIENCE),
        "no notification"
    );
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec())
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn readiness_is_told_when_it_can_be_reached_and_stopping_when_it_stops() {
    let home = home();
    let (manager, path) = manager(&home);
    let socket = home.socket("s");
    let mut command = home.command(&["serve", "--json", "--socket", &socket]);
    command.env("NOTIFY_SOCKET", &path);
    let mut served = Served::spawn(command, &home.config());
    assert_eq!(told(&manager), "READY=1");
    served.path.clone_from(&socket);
    served.wire().ping(&served.token(), &socket);
    assert_eq!(served.next_line()["event"], "listening");
    served.signal(Signal::TERM);
    assert_eq!(told(&manager), "STOPPING=1");
    let (code, _, log) = served.finish();
    assert_eq!((code, log.as_str()), (0, ""));
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err(), "nothing else was told");
}

#[test]
fn the_watchdog_is_fed_until_the_stop_and_only_if_it_is_ours() {
    let home = home();
    let (manager, path) = manager(&home);
    let serve = |pid: Option<&str>| {
        let mut command = home.command(&["serve", "--json", "--limit", "auth_timeout=200"]);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "40000");
        if let Some(pid) = pid {
            command.env("WATCHDOG_PID", pid);
        }
        Served::start(command, &home.config())
    };
    let served = serve(None);
    assert_eq!(told(&manager), "READY=1");
    for _ in 0..8 {
        assert_eq!(told(&manager), "WATCHDOG=1");
    }
    assert_eq!(served.stop().0, 0);
    while told(&manager) != "STOPPING=1" {}
    // Another process's: none is due, however long it takes.
    let served = serve(Some("1"));
    served.wire().expect_refusal("authentication timeout");
    assert_eq!(served.stop().0, 0);
    assert_eq!([told(&manager), told(&manager)], ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_manager_that_is_gone_is_no_reason_to_stop() {
    let home = home();
    for address in ["/nonexistent", "relative", "@hallway-nobody", "vsock:1"] {
        let mut command = home.command(&["serve", "--json"]);
        command
            .env("NOTIFY_SOCKET", address)
            .env("WATCHDOG_USEC", "nonsense");
        let served = Served::start(command, &home.config());
        served.wire().ping(&served.token(), &served.path);
        assert_eq!(served.stop().0, 0, "{address}");
    }
}

/// `hallway serve` with `passed` as its descriptor 3, and with these words on how many there are
/// and whose they are.
fn activated(home: &Home, passed: impl Into<OwnedFd>, words: &str, arguments: &[&str]) -> Command {
    let plain = home.command(&["serve", "--json"]);
    let mut command = Command::new("/bin/sh");
    let script = format!(r#"export {words}; exec "$0" "$@" 3<&0 0</dev/null"#);
    command
        .arg("-c")
        .arg(script)
        .arg(plain.get_program())
        .args(plain.get_args());
    command.args(arguments).env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command.stdin(Stdio::from(passed.into()));
    command
}

const OURS: &str = "LISTEN_FDS=1 LISTEN_PID=$$";

#[test]
fn a_passed_socket_is_served_and_stays_when_the_daemon_stops() {
    let home = home();
    let path = home.socket("s");
    let listener = UnixListener::bind(&path).unwrap();
    // As a manager might leave it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        // Somebody who came before the daemon waits for it.
        let mut early = Wire::connect(&path);
        let passed = listener.try_clone().unwrap();
        let command = activated(&home, passed, OURS, &[]);
        let mut served = Served::start(command, &home.config());
        assert_eq!(served.path, path);
        let token = served.token();
        early.send(message(&token, "ping", &json!(1)));
        assert_eq!(early.reply(), pong(&path));
        early.send(message(&token, "text", &json!("x")));
        assert_eq!(early.line()["meta"]["id"], "uds-1");
        assert_eq!(served.next_data(), json!("x"));
        let facts = std::fs::metadata(&path).unwrap();
        assert_eq!((facts.mode() & 0o777, facts.ino()), (0o600, inode));
        let (code, _, log) = served.stop();
        assert_eq!((code, log.as_str()), (0, ""));
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        assert!(!home.capability(&path).exists());
        assert!(!Path::new(&format!("{path}.lock")).exists());
        tokens.push(token);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 2, "each start has a token of its own");
}

#[test]
fn a_passed_socket_is_not_passed_on() {
    let home = home();
    let listener = UnixListener::bind(home.socket("s")).unwrap();
    let inode = std::fs::metadata("/proc/self/fd/0").map(|facts| facts.ino());
    assert!(inode.is_ok());
    let command = "readlink /proc/self/fd/3 || echo none; env; echo end";
    let command = activated(&home, listener, OURS, &["--on-message", command]);
    let mut served = Served::start(command, &home.config());
    let mut wire = served.wire();
    wire.send(message(&served.token(), "text", &json!("x")));
    assert_eq!(wire.line()["data"], "ok");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "end") {
        lines.push(served.next_raw());
    }
    assert_eq!(lines[0], "none", "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.starts_with("LISTEN_")),
        "{lines:?}"
    );
}

#[test]
fn what_is_passed_and_is_no_listening_socket_is_refused() {
    let home = home();
    let refused = |passed: OwnedFd, words: &str, code: i32, why: &str| {
        let mut command = activated(&home, passed, words, &[]);
        // The descriptor is in the place of standard input.
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(command);
        let output = child.wait_with_output().unwrap();
        let finished = Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
        .expect(code);
        let error: Value = serde_json::from_str(&finished.stderr).unwrap();
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
    };
    let file = File::open("/dev/null").unwrap();
    refused(
        file.into(),
        OURS,
        2,
        "passed socket cannot be used; fd 3 is not a socket",
    );
    let (stream, _other) = UnixStream::pair().unwrap();
    refused(
        stream.into(),
        OURS,
        2,
        "passed socket cannot be used; it has no path",
    );
    let datagram = UnixDatagram::bind(home.socket("d")).unwrap();
    refused(datagram.into(), OURS, 2, "not a valid unix stream socket");
    let listener = UnixListener::bind(home.socket("s")).unwrap();
    refused(
        listener.into(),
        "LISTEN_FDS=2 LISTEN_PID=$$",
        2,
        "2 were passed",
    );
    // Not bound where others could find it.
    let listener = UnixListener::bind(home.socket("gone")).unwrap();
    std::fs::remove_file(home.socket("gone")).unwrap();
    refused(listener.into(), OURS, 1, "No such file or directory");
}

#[test]
fn what_is_passed_to_another_process_is_left_alone() {
    let home = home();
    let path = home.socket("s");
    let listener = UnixListener::bind(&path).unwrap();
    let command = activated(&home, listener, "LISTEN_FDS=1 LISTEN_PID=1", &[]);
    let served = Served::start(command, &home.config());
    assert_ne!(served.path, path);
    served.wire().ping(&served.token(), &served.path);
}
