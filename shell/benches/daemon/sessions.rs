//! Registered sessions: processes that live, each with a record of its own.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hallway::core::local::record::{Process, Record};
use hallway::local::registry::{self, Processes};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};

use crate::process::Server;

/// The processes that stand for sessions end by themselves after so many seconds.
const SESSION_SECONDS: &str = "300";
/// A server has registered itself by then.
const REGISTERED: Duration = Duration::from_secs(10);

/// Whose sessions they are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// As a daemon of hallway registers itself: it stands for its record as long as it lives.
    Ours,
    /// As another program does.
    Others,
}

/// Registered processes, all with the socket of one server; this one holds the locks of their
/// records where they would. Dropping it ends them.
pub(crate) struct Sessions {
    children: Vec<Child>,
    locked: Vec<File>,
}

impl Sessions {
    pub(crate) fn start(count: usize, kind: Kind, server: &Server) -> Result<Self> {
        let directory = server.config().join("sessions");
        let since = Instant::now();
        // The server's own record comes after it listens.
        while fs::read_dir(&directory).map_or(0, Iterator::count) == 0 {
            ensure!(since.elapsed() < REGISTERED, "the server is not registered");
            std::thread::sleep(Duration::from_millis(1));
        }
        // It takes one file for each.
        let files = getrlimit(Resource::Nofile).maximum;
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files,
                maximum: files,
            },
        )?;
        let mut sessions = Self {
            children: Vec::with_capacity(count),
            locked: Vec::new(),
        };
        let processes = Processes::new();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        for number in 0..count {
            let group = sessions.children.first().map_or(0, Child::id);
            let child = Command::new("sleep")
                .arg(SESSION_SECONDS)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(i32::try_from(group)?)
                .spawn()
                .context("cannot start a process to register")?;
            let pid = child.id();
            sessions.children.push(child);
            let mut record = Record::new(pid);
            record.set_text(
                "sessionId",
                &format!("00000000-0000-4000-8000-{number:012}"),
            );
            record.set_text("cwd", "/home/somebody/project");
            record.set_number("startedAt", u64::try_from(now.as_millis())?);
            record.set_text("kind", "interactive");
            let entrypoint = match kind {
                Kind::Ours => registry::ENTRYPOINT,
                Kind::Others => "cli",
            };
            record.set_text("entrypoint", entrypoint);
            let socket = server.socket().to_str().context("the path is no text")?;
            record.set_text("messagingSocketPath", socket);
            record.set_text("name", &format!("worker-{number}"));
            let path = directory.join(format!("{pid}.json"));
            if let Process::Running {
                start_id: Some(start),
                ..
            } = processes.facts(pid)
                && matches!(kind, Kind::Ours)
            {
                record.set_text("processStart", &start);
            }
            let mut file = File::create(path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(record.print().as_bytes())?;
            if let Kind::Ours = kind {
                file.lock()?;
                sessions.locked.push(file);
            }
        }
        Ok(sessions)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(first) = self.children.first()
            && kill_process_group(Pid::from_child(first), Signal::KILL).is_err()
        {
            eprintln!("warning: the registered processes end in {SESSION_SECONDS} s");
            return;
        }
        for child in &mut self.children {
            if child.wait().is_err() {
                eprintln!("warning: process {} could not be waited for", child.id());
            }
        }
    }
}
