//! Starting the two servers, ending them whatever happens, and reading what the kernel accounts to
//! them.

use std::fs;
use std::io::{BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const START_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The kernel shows times to user space in hundredths of a second, whatever its own tick.
const NANOS_PER_TICK: u64 = 10_000_000;
/// User and system time are each cut to a tick.
const TICK_DOUBT: u64 = 3;

/// The floor looks at no token; it is sent one of the same length.
pub(crate) const NO_TOKEN: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// What can be started.
#[derive(Clone)]
pub(crate) enum Program {
    /// This executable again, as the floor.
    Floor,
    /// The binary under test, serving.
    Daemon(PathBuf),
    /// The same, keeping its messages.
    Holder(PathBuf),
}

/// A server's processor time by two accounts, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// The sum over its living threads: exact, but loses a thread that ends.
    living: u64,
    /// The process's own account: complete, but in ticks.
    ticked: u64,
}

impl Cpu {
    /// The nanoseconds since `before`: exact ones unless they miss what the ticks saw.
    pub(crate) fn nanos_since(self, before: Self) -> u64 {
        let living = self.living.saturating_sub(before.living);
        let ticked = self.ticked.saturating_sub(before.ticked);
        let missed = ticked > living + TICK_DOUBT * NANOS_PER_TICK;
        if missed { ticked } else { living }
    }
}

/// A running server; dropping it stops it.
pub(crate) struct Server {
    child: Child,
    home: PathBuf,
    socket: PathBuf,
    pub(crate) token: String,
}

impl Server {
    /// Starts a server whose output is thrown away, and waits until it takes connections.
    pub(crate) fn start(program: &Program, keeper: &mut Keeper) -> Result<Self> {
        let mut server = Self::spawn(program, keeper, Stdio::null())?;
        keeper.watch(&server.child)?;
        let since = Instant::now();
        while !server.read_token(program) || UnixStream::connect(&server.socket).is_err() {
            ensure!(
                server.child.try_wait()?.is_none(),
                "the server ended while starting: {}",
                server.complaint()
            );
            ensure!(
                since.elapsed() < START_DEADLINE,
                "not ready within {START_DEADLINE:?}: {}",
                server.complaint()
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    /// Starts a server and stops it; returns the time from before the spawn to its line that it
    /// listens.
    pub(crate) fn time_to_listening(program: &Program, keeper: &mut Keeper) -> Result<Duration> {
        let since = Instant::now();
        let mut server = Self::spawn(program, keeper, Stdio::piped())?;
        let mut stdout = server
            .child
            .stdout
            .take()
            .context("no pipe to the server's output")?;
        let line = first_line(&mut stdout).with_context(|| server.complaint())?;
        let taken = since.elapsed();
        keeper.watch(&server.child)?;
        let line: Value = serde_json::from_slice(&line).context("its first line is not JSON")?;
        ensure!(
            line.get("event").and_then(Value::as_str) == Some("listening"),
            "its first line is {line}"
        );
        UnixStream::connect(&server.socket).context("it says that it listens, and does not")?;
        Ok(taken)
    }

    fn spawn(program: &Program, keeper: &mut Keeper, stdout: Stdio) -> Result<Self> {
        let home = keeper.new_home()?;
        let socket = home.join("s/messaging.sock");
        let mut command = match program {
            Program::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--floor").arg(&socket);
                command
            }
            Program::Daemon(path) | Program::Holder(path) => {
                let mut command = Command::new(path);
                command
                    .args(["serve", "--json", "--config-dir"])
                    .arg(home.join("config"))
                    .arg("--socket")
                    .arg(&socket);
                if matches!(program, Program::Holder(_)) {
                    command.arg("--hold");
                }
                command
            }
        };
        let complaints = fs::File::create(home.join("stderr"))?;
        command
            .env_clear()
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .current_dir(&home);
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(complaints)
            .spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self {
            child,
            home,
            socket,
            token: NO_TOKEN.to_owned(),
        })
    }

    /// The config home of a daemon.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("config")
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Pins every thread of the server to one core.
    pub(crate) fn pin(&self, core: usize) -> Result<()> {
        for task in self.tasks()? {
            match sched_setaffinity(Some(task), &only(core)) {
                // A thread that has ended since needs no core.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Time on a processor so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut living = 0;
        for task in self.tasks()? {
            let path = format!(
                "/proc/{}/task/{}/schedstat",
                self.child.id(),
                task.as_raw_nonzero()
            );
            let text = fs::read_to_string(path).unwrap_or_default();
            let nanos = text.split(' ').next().unwrap_or_default();
            living += nanos.parse::<u64>().unwrap_or(0);
        }
        let ticked = self.cpu_ticks()? * NANOS_PER_TICK;
        Ok(Cpu { living, ticked })
    }

    /// User and system time so far of all threads, those that have ended too.
    fn cpu_ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .context("the server is gone")?;
        // The name, in parentheses, may hold anything; after it come the state and then numbers.
        let (_, fields) = stat
            .rsplit_once(')')
            .context("a stat line of another form")?;
        let mut times = fields.split_ascii_whitespace().skip(11);
        let mut next = || {
            times
                .next()
                .and_then(|it| it.parse::<u64>().ok())
                .context("a stat line of another form")
        };
        Ok(next()? + next()?)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn tasks(&self) -> Result<Vec<Pid>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .context("the server is gone")?;
        tasks
            .map(|task| {
                let name = task?.file_name();
                let raw: i32 = name.to_string_lossy().parse()?;
                Pid::from_raw(raw).context("a thread of number 0")
            })
            .collect()
    }

    /// Reads the daemon's token as any peer would; `false` while there is none.
    fn read_token(&mut self, program: &Program) -> bool {
        match program {
            Program::Floor => true,
            Program::Daemon(_) | Program::Holder(_) => match token_of(&self.config(), &self.socket)
            {
                Some(token) => {
                    self.token = token;
                    true
                }
                None => false,
            },
        }
    }

    /// The last of what the server wrote on its standard error.
    fn complaint(&self) -> String {
        let text = fs::read(self.home.join("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().last().map_or_else(
            || "it wrote no error".to_owned(),
            |line| format!("its last error line: {line}"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
            if asked.is_err() || !ends_within(&mut self.child, STOP_DEADLINE) {
                eprintln!(
                    "warning: process {} did not end when asked; it was killed",
                    self.child.id()
                );
            }
        }
        end(&mut self.child);
    }
}

fn token_of(config: &Path, socket: &Path) -> Option<String> {
    let digest = Sha256::digest(socket.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = fs::read(config.join("messaging-capabilities").join(name + ".json")).ok()?;
    let capability: Value = serde_json::from_slice(&text).ok()?;
    (capability.get("socketPath")?.as_str()? == socket.to_str()?).then_some(())?;
    Some(capability.get("authToken")?.as_str()?.to_owned())
}

/// Reads up to the first LF, within the start deadline.
fn first_line(stdout: &mut ChildStdout) -> Result<Vec<u8>> {
    let deadline = Instant::now() + START_DEADLINE;
    let mut line = Vec::new();
    let mut chunk = [0_u8; 4096];
    while !line.contains(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left)?;
        let ready = poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&timeout))?;
        ensure!(ready > 0, "nothing said within {START_DEADLINE:?}");
        let read = stdout.read(&mut chunk)?;
        ensure!(read > 0, "it ended first");
        line.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(line.len());
    line.truncate(end);
    Ok(line)
}

/// Owns the temporary directory, and leaves nothing behind even if this process is killed.
///
/// It is this executable again, in a process group of its own so that the terminal's interrupt
/// does not reach it. It learns of each server on its standard input and, when that closes, kills
/// what still runs and removes the directory.
pub(crate) struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    directory: TempDir,
    homes: usize,
}

impl Keeper {
    pub(crate) fn start() -> Result<Self> {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new()
            .prefix("hallway-bench-")
            .permissions(private)
            .tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--keeper")
            .arg(directory.path())
            .process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the keeper")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no pipe from the keeper")?;
        Ok(Self {
            child,
            input,
            output,
            directory,
            homes: 0,
        })
    }

    /// Names a server to the keeper; it holds it when this returns.
    fn watch(&mut self, server: &Child) -> Result<()> {
        let mut input = self.input.as_ref().context("no pipe to the keeper")?;
        input
            .write_all(format!("{}\n", server.id()).as_bytes())
            .context("the keeper is gone")?;
        first_line(&mut self.output)
            .context("the keeper does not answer")
            .map(drop)
    }

    /// A fresh private home for one server.
    fn new_home(&mut self) -> Result<PathBuf> {
        self.homes += 1;
        let home = self.directory.path().join(self.homes.to_string());
        fs::create_dir_all(home.join("s"))?;
        for directory in [home.clone(), home.join("s")] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        }
        Ok(home)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.input.take());
        if !ends_within(&mut self.child, STOP_DEADLINE) {
            eprintln!("warning: the keeper did not end; it was killed");
        }
        end(&mut self.child);
    }
}

/// The keeper's whole life.
pub(crate) fn keep(directory: &Path) -> Result<()> {
    let mut servers: Vec<OwnedFd> = Vec::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let pid = Pid::from_raw(line?.parse()?).context("a process of number 0")?;
        // The bench reaps a server only after this answer, so the number cannot have passed to
        // another process.
        servers.push(pidfd_open(pid, PidfdFlags::empty())?);
        out.write_all(b"held\n")?;
        out.flush()?;
    }
    for server in &servers {
        // One that has ended already cannot be signalled, and need not be.
        pidfd_send_signal(server, Signal::KILL).unwrap_or_default();
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn ends_within(child: &mut Child, span: Duration) -> bool {
    let since = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if since.elapsed() >= span {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}

/// Kills and reaps; does nothing to a child already reaped.
fn end(child: &mut Child) {
    if child.kill().is_err() || child.wait().is_err() {
        eprintln!("warning: process {} could not be ended", child.id());
    }
}

/// Which cores the client and the servers run on.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) client: usize,
    pub(crate) server: usize,
}

impl Cores {
    /// The first and the last core that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let client = usable.next().context("no core to run on")?;
        Ok(Self {
            client,
            server: usable.next_back().unwrap_or(client),
        })
    }

    /// Whether there is a core for each.
    pub(crate) fn apart(self) -> bool {
        self.client != self.server
    }

    /// Pins the load generator beside the server, or away from it if there is a second core.
    pub(crate) fn pin_client(self, beside: bool) -> Result<()> {
        Ok(sched_setaffinity(
            None,
            &only(if beside { self.server } else { self.client }),
        )?)
    }
}

/// How long this thread has waited for its core while it wanted to run, in nanoseconds.
pub(crate) fn waited_nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split(' ').nth(1).unwrap_or_default();
    waited.parse().unwrap_or(0)
}

fn only(core: usize) -> CpuSet {
    let mut cores = CpuSet::new();
    cores.set(core);
    cores
}
