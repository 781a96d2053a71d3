//! `hallway session follow` at a terminal: a readable stream, a status line, and questions.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hallway_tests::session::SessionServer;
use hallway_tests::session::follower::command;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use crate::home;

/// A program at a terminal of its own, and all that it has written there.
struct Terminal {
    master: File,
    screen: String,
    child: Child,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.env("TERM", "xterm").spawn().unwrap();
        Self {
            master: File::from(master),
            screen: String::new(),
            child,
        }
    }

    /// Waits until the terminal has shown `text` behind what was seen before, and gives what
    /// came until then.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            assert!(
                Instant::now() < deadline,
                "no {text:?} in {:?}",
                self.screen
            );
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let mut ends = [PollFd::new(&self.master, PollFlags::IN)];
            if poll(&mut ends, Some(&second)).unwrap() == 0 {
                continue;
            }
            let mut bytes = [0; 4_096];
            let n = self.master.read(&mut bytes).unwrap();
            self.screen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.master, "{line}").unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let status = self.child.wait();
            assert!(status.is_ok(), "{status:?}");
        }
    }
}

fn asks(id: &str) -> String {
    json!({"type": "control_request", "request_id": id, "request": {
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"},
        "tool_use_id": "t1",
    }})
    .to_string()
}

#[test]
fn a_person_reads_answers_and_leaves() {
    let (home, server) = (home(), SessionServer::plain());
    let follow = command(&home, "follow", &server.base_url(), &["--profile", "fixed"]);
    let mut terminal = Terminal::start(follow);
    let mut connection = server.connection();
    let text = "red \u{1b}[31m and \u{202e} bidi";
    let said =
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    connection.send(&said.to_string());
    let shown = terminal.shows("bidi");
    assert!(
        shown.contains("assistant: red \\u{1b}[31m and \\u{202e}"),
        "{shown:?}"
    );
    assert!(!shown.contains("\u{1b}[31m"), "{shown:?}");

    for (id, typed, behavior, word) in [
        ("r1", "y", "allow", "updatedInput"),
        ("r2", "n not now", "deny", "not now"),
    ] {
        connection.send(&asks(id));
        terminal.shows("allow Bash?");
        terminal.types(typed);
        let answer = connection.next_json();
        let response = &answer["response"];
        assert_eq!(response["request_id"], id);
        assert_eq!(response["response"]["behavior"], behavior);
        assert!(answer.to_string().contains(word), "{answer}");
    }

    // The status line says what is tried, and when.
    connection.close(1011);
    terminal.shows("code 1011");
    terminal.shows("attempt 1");
    let mut connection = server.connection();
    // Ctrl-C of the terminal's user.
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(connection.await_close(), Some(1000));
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
}
