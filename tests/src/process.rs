//! `hallway` as a process.

use std::io::{BufRead as _, BufReader, PipeReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;

use rustix::event::PollFlags;
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, prlimit, waitid,
};
use serde_json::Value;

use crate::PATIENCE;
use crate::wire::{Wire, token_of, wait_for};

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code, or -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs `command` to its end with `input` on its standard input.
    ///
    /// # Panics
    ///
    /// When it does not start or does not end in time.
    #[must_use]
    pub fn of(mut command: Command, input: &[u8]) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("its input");
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // It may end without reading all.
            drop(stdin.write_all(&input));
        });
        let stdout = collect(child.stdout.take().expect("its output"));
        let stderr = collect(child.stderr.take().expect("its errors"));
        let status = wait(&mut child);
        feeder.join().expect("the feeder");
        Self {
            code: status.code().unwrap_or(-1),
            stdout: stdout.join().expect("its output"),
            stderr: stderr.join().expect("its errors"),
        }
    }

    /// Each line of its standard output as JSON.
    ///
    /// # Panics
    ///
    /// When a line is no JSON.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// Demands an exit code.
    ///
    /// # Panics
    ///
    /// When it is another; with all that was printed.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A `hallway serve --json` that listens. Killed when dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    config: PathBuf,
    /// The path of its socket.
    pub path: String,
    /// Its process.
    pub pid: u32,
}

impl Served {
    /// Starts `command` and waits for its `listening` line.
    ///
    /// # Panics
    ///
    /// When it does not listen in time; with what it printed.
    #[must_use]
    pub fn start(command: Command, config: &Path) -> Self {
        let mut served = Self::spawn(command, config);
        let listening = served.next_line();
        assert_eq!(
            listening.pointer("/event"),
            Some(&Value::from("listening")),
            "{listening}"
        );
        let address = listening
            .pointer("/address")
            .and_then(Value::as_str)
            .expect("an address");
        served.path = address
            .strip_prefix("uds:")
            .expect("a uds address")
            .to_owned();
        served
    }

    /// Starts `command` without waiting for anything.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn spawn(mut command: Command, config: &Path) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = Some(collect(child.stderr.take().expect("its errors")));
        let pid = child.id();
        Self {
            child,
            lines,
            errors,
            config: config.to_owned(),
            path: String::new(),
            pid,
        }
    }

    /// Starts `command`, which is to listen at `path`, and waits until it does. Nobody reads its
    /// output: that is for whoever has the returned end of the pipe.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_unread(mut command: Command, config: &Path, path: &str) -> (Self, PipeReader) {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer);
        let mut served = Self::spawn_silent(command, config);
        path.clone_into(&mut served.path);
        let mut byte = [0];
        while byte != *b"\n" {
            let ready = wait_for(&reader, PollFlags::IN, PATIENCE);
            assert!(ready, "no first line");
            reader.read_exact(&mut byte).expect("its first line");
        }
        (served, reader)
    }

    /// Starts `command`, whose output is for whoever gave it one.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn spawn_silent(mut command: Command, config: &Path) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Its copy of the output: the child's is to be the last.
        drop(command);
        let (_, lines) = channel();
        let errors = Some(collect(child.stderr.take().expect("its errors")));
        let pid = child.id();
        Self {
            child,
            lines,
            errors,
            config: config.to_owned(),
            path: String::new(),
            pid,
        }
    }

    /// The next line of its output, as it was written.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    #[track_caller]
    pub fn next_raw(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no further line of output"),
            Err(RecvTimeoutError::Disconnected) => panic!("the output ended; {}", self.stderr()),
        }
    }

    /// The next line of its output, as it was written, or `None` at its end.
    ///
    /// # Panics
    ///
    /// When neither comes in time.
    #[track_caller]
    pub fn try_raw(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => panic!("no further line of output"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next line of its output.
    ///
    /// # Panics
    ///
    /// When none comes in time, or it is no JSON.
    #[track_caller]
    pub fn next_line(&mut self) -> Value {
        let line = self.next_raw();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The `data` of the next message.
    ///
    /// # Panics
    ///
    /// When the next line is no message.
    #[track_caller]
    pub fn next_data(&mut self) -> Value {
        let entry = self.next_line();
        entry
            .pointer("/message/data")
            .unwrap_or_else(|| panic!("no message: {entry}"))
            .clone()
    }

    /// Writes one line to its standard input, which has to be a pipe.
    ///
    /// # Panics
    ///
    /// When it does not read any more.
    pub fn write_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).expect("it reads");
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Its token.
    ///
    /// # Panics
    ///
    /// When its capability cannot be read.
    #[must_use]
    pub fn token(&self) -> String {
        token_of(&self.config, &self.path)
    }

    /// A raw connection to it.
    ///
    /// # Panics
    ///
    /// When there is none to be had.
    #[must_use]
    pub fn wire(&self) -> Wire {
        Wire::connect(&self.path)
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("the process lives");
    }

    /// Stops it with SIGTERM and waits; its exit code, the lines it still printed, and its
    /// standard error.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn stop(mut self) -> (i32, Vec<String>, String) {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn finish(&mut self) -> (i32, Vec<String>, String) {
        let status = wait(&mut self.child);
        let lines = self.lines.iter().collect();
        (status.code().unwrap_or(-1), lines, self.stderr())
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub fn kill(&mut self) {
        self.child.kill().expect("a kill");
        wait(&mut self.child);
    }

    /// Stops it from running, and waits until it stands still.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let pid = WaitId::Pid(self.process());
        // The kernel tells the parent.
        let stopped = retry_on_intr(|| waitid(pid.clone(), WaitIdOptions::STOPPED));
        let status = stopped.expect("a child");
        assert!(status.is_some_and(|status| status.stopped()));
    }

    /// Lets it run again.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Lets it have at most `most` file descriptors from here on.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        prlimit(Some(self.process()), Resource::Nofile, limit).expect("the process lives");
    }

    fn process(&self) -> Pid {
        i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid")
    }

    /// Its resident memory, in bytes.
    ///
    /// # Panics
    ///
    /// When it is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it ever had, in bytes.
    ///
    /// # Panics
    ///
    /// When it is gone.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("its status");
        let line = status
            .lines()
            .find(|line| line.starts_with(what))
            .expect("its memory");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kib * 1_024
    }

    fn stderr(&mut self) -> String {
        self.errors
            .take()
            .map(|errors| errors.join().expect("its errors"))
            .unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of `child`, at most [`PATIENCE`].
#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let (done, ended) = channel();
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    // The child is waited for without being reaped, so that its pid stays its own.
    std::thread::spawn(move || {
        let ended = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        // Nobody listens any more when the wait was too long.
        done.send(ended).unwrap_or_default();
    });
    if ended.recv_timeout(PATIENCE).is_err() {
        drop(child.kill());
        drop(child.wait());
        panic!("the program did not end in time");
    }
    child.wait().expect("its status")
}
