//! `bash`, and how commands are run: in a process group of their own, for a bounded time, with
//! bounded outputs.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use command_fds::CommandFdExt as _;
use hallway_core::relay::rpc::Place;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::confine::Confinement;
use super::{Failure, Outcome, Shared, beneath, failed};
use crate::group::Group;

/// What no command is to see.
const SECRET_VARIABLES: [&str; 2] = ["HALLWAY_ACCESS_TOKEN", "CLAUDE_CODE_MESSAGING_SOCKET"];

/// How a command ended.
pub(super) struct Ended {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) how: How,
}

pub(super) enum How {
    Exited(ExitStatus),
    TimedOut,
    /// One of its outputs, the one of this name, was too long.
    TooMuch(&'static str),
}

pub(super) async fn bash(
    shared: &Shared,
    line: &str,
    directory: &Place,
    timeout: Duration,
) -> Outcome {
    let directory = self::directory(shared, directory)?;
    tracing::warn!(command = line, "the app runs a command");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]);
    let work = Work {
        command,
        directory,
        held: Vec::new(),
        confinement: None,
        timeout,
    };
    let ended = match work.run(shared).await {
        Ok(ended) => ended,
        Err(error) => {
            let error = error.to_string();
            return Ok(answer(String::new(), error.clone(), 1, error));
        }
    };
    let Ended {
        stdout,
        stderr,
        how,
    } = ended;
    Ok(match how {
        How::Exited(status) if status.success() => json!({
            "success": true, "stdout": stdout, "stderr": stderr, "exitCode": 0,
        }),
        How::Exited(status) => {
            // A command that a signal ended has no code.
            let code = status.code().unwrap_or(1);
            let error = format!("Command failed: {line}\n{stderr}");
            answer(stdout, stderr, code, error)
        }
        How::TimedOut => json!({
            "success": false, "stdout": stdout, "stderr": stderr, "exitCode": -1,
            "error": "Command timed out",
        }),
        How::TooMuch(name) => {
            let error = format!("{name} maxBuffer length exceeded");
            answer(stdout, stderr, 1, error)
        }
    })
}

/// An answer of `bash` to what went wrong: what was said of it stands for errors that it did
/// not print.
fn answer(stdout: String, stderr: String, code: i32, error: String) -> Value {
    let stderr = if stderr.is_empty() {
        error.clone()
    } else {
        stderr
    };
    json!({
        "success": false, "stdout": stdout, "stderr": stderr, "exitCode": code, "error": error,
    })
}

/// The directory that a request wants.
pub(super) fn directory(shared: &Shared, place: &Place) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    beneath::open(&shared.dir, place.below(), flags)
        .map_err(|error| Shared::told(error, "chdir", place))
}

/// A command that is to run.
pub(super) struct Work {
    pub(super) command: Command,
    /// Where.
    pub(super) directory: OwnedFd,
    /// What it has open from the beginning, under the numbers that these have here.
    pub(super) held: Vec<OwnedFd>,
    /// What it may open; anything that its user may if there is none.
    pub(super) confinement: Option<Confinement>,
    pub(super) timeout: Duration,
}

impl Work {
    fn start(self) -> std::io::Result<Child> {
        let mut command = self.command;
        for variable in SECRET_VARIABLES {
            command.env_remove(variable);
        }
        command
            .current_dir(by_handle(&self.directory)?)
            // Opened here: who is confined cannot.
            .stdin(File::open("/dev/null")?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.preserved_fds(self.held);
        match self.confinement {
            Some(confinement) => confinement.start(&mut command),
            None => command.spawn(),
        }
    }

    /// Runs it to its end. Dropping that kills all that was started.
    pub(super) async fn run(self, shared: &Shared) -> std::io::Result<Ended> {
        let timeout = self.timeout;
        let child = self.start()?;
        attend(child, timeout, shared).await
    }
}

async fn attend(mut child: Child, timeout: Duration, shared: &Shared) -> std::io::Result<Ended> {
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let max = shared.limits.max_output_bytes;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let how = {
        let work = async {
            let out = collect(out, &mut stdout, max);
            let err = collect(err, &mut stderr, max);
            let (mut out, mut err) = (std::pin::pin!(out), std::pin::pin!(err));
            let (mut out_ended, mut err_ended) = (false, false);
            while !(out_ended && err_ended) {
                tokio::select! {
                    whole = &mut out, if !out_ended => {
                        if !whole? {
                            return Ok(How::TooMuch("stdout"));
                        }
                        out_ended = true;
                    }
                    whole = &mut err, if !err_ended => {
                        if !whole? {
                            return Ok(How::TooMuch("stderr"));
                        }
                        err_ended = true;
                    }
                }
            }
            child.wait().await.map(How::Exited)
        };
        match tokio::time::timeout(timeout.min(shared.limits.max_time), work).await {
            Ok(how) => how?,
            Err(_) => How::TimedOut,
        }
    };
    if matches!(how, How::Exited(_)) {
        // Its group may be another's by then.
        group.let_live();
    } else {
        drop(group);
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended {
        stdout: text(stdout),
        stderr: text(stderr),
        how,
    })
}

/// Reads an output to its end, of which at most `max` bytes are kept. Says whether that is all.
async fn collect(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut Vec<u8>,
    max: usize,
) -> std::io::Result<bool> {
    let Some(mut from) = from else {
        return Ok(true);
    };
    loop {
        if from.read_buf(to).await? == 0 {
            return Ok(true);
        }
        if to.len() > max {
            to.truncate(max);
            return Ok(false);
        }
    }
}

/// A path to what is open that does not depend on its name, for this process and for one that
/// has it from this one.
pub(super) fn by_handle(fd: &OwnedFd) -> std::io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    return Ok(PathBuf::from(format!("/proc/self/./fd/{}", fd.as_raw_fd())));
    #[cfg(not(target_os = "linux"))]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let path = rustix::fs::getpath(fd)?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(
            path.into_bytes(),
        )))
    }
}

/// What a tool's end is in words; none when it is an end like any other.
pub(super) fn trouble(how: &How) -> Option<String> {
    match how {
        How::Exited(status) => status
            .signal()
            .map(|signal| format!("The command was killed by signal {signal}")),
        How::TimedOut => Some("Command timed out".to_owned()),
        How::TooMuch(name) => Some(format!("{name} maxBuffer length exceeded")),
    }
}

/// The failure of a program that does not start.
pub(super) fn not_started(program: &str, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        failed(format!("spawn {program} ENOENT"))
    } else {
        failed(format!("spawn {program}: {error}"))
    }
}
