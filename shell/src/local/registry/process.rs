//! What the system says of a process: whether it runs, whose it is, when it started.

use std::os::fd::OwnedFd;
use std::time::Duration;

use hallway_core::UnixTime;
use hallway_core::local::record::Process;
use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
#[cfg(target_os = "linux")]
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open},
};

/// The unit of start times in `/proc/<pid>/stat`: 100 a second in the kernel's interface on
/// every architecture that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;
/// More than the files below `/proc` that are read here are long, up to what is wanted: 38
/// fields of 20 digits and a name of 64 bytes.
const MAX_PROC_BYTES: usize = 1_024;
/// The user of a process whose user is hidden from us: not ours, and nobody's.
const HIDDEN_UID: u32 = u32::MAX;

/// What is the same for every process until the next boot.
#[derive(Clone, Debug)]
pub struct Processes {
    boot_id: Option<String>,
    boot_time: Option<Duration>,
}

impl Processes {
    /// Asks the system.
    #[must_use]
    pub fn new() -> Self {
        Self {
            boot_id: boot_id(),
            boot_time: boot_time(),
        }
    }

    /// What the system says of the process `pid`. A zombie is gone; so is a thread, which has
    /// a number of the same kind.
    #[must_use]
    pub fn facts(&self, pid: u32) -> Process {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Process::Gone;
        };
        match read_process(pid) {
            Ok((uid, stat)) => self.judge(uid, stat.bytes()),
            // It has ended since.
            Err(Errno::SRCH) => Process::Gone,
            // There is none, or /proc hides it: this knows of both.
            Err(_) => match test_kill_process(id) {
                Err(Errno::SRCH) => Process::Gone,
                Err(Errno::PERM) => Process::Running {
                    uid: HIDDEN_UID,
                    started_at: None,
                    start_id: None,
                },
                _ => Process::Unknown,
            },
        }
    }

    /// The same without when it started, which takes half the time.
    #[must_use]
    pub fn presence(&self, pid: u32) -> Process {
        running(pid).map_or_else(
            || self.facts(pid),
            |uid| Process::Running {
                uid,
                started_at: None,
                start_id: None,
            },
        )
    }

    /// What follows for a process of the user `uid` from its `/proc/<pid>/stat`.
    fn judge(&self, uid: u32, stat: &[u8]) -> Process {
        let Some(stat) = Stat::parse(stat) else {
            return Process::Unknown;
        };
        if stat.ended || stat.thread {
            return Process::Gone;
        }
        Process::Running {
            uid,
            started_at: self.started_at(stat.start_ticks),
            start_id: self.start_id(stat.start_ticks),
        }
    }

    fn started_at(&self, ticks: u64) -> Option<UnixTime> {
        let millis = ticks.checked_mul(1_000)?.checked_div(TICKS_PER_SECOND)?;
        let time = self.boot_time?.checked_add(Duration::from_millis(millis))?;
        UnixTime::from_millis(u64::try_from(time.as_millis()).ok()?)
    }

    fn start_id(&self, ticks: u64) -> Option<String> {
        self.boot_id.as_ref().map(|boot| format!("{boot}:{ticks}"))
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

/// The user of a process that certainly runs; `None` when that takes another look.
#[cfg(target_os = "linux")]
fn running(pid: u32) -> Option<u32> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    // Of a process alone: a thread is refused. While it is not reaped, the pid is its own.
    let handle = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let uid = sys::stat(format!("/proc/{pid}")).ok()?.st_uid;
    // It is readable once the process has ended, reaped or not.
    let mut ended = [PollFd::new(&handle, PollFlags::IN)];
    (poll(&mut ended, Some(&Timespec::default())) == Ok(0)).then_some(uid)
}

#[cfg(not(target_os = "linux"))]
const fn running(_: u32) -> Option<u32> {
    None
}

/// Whether there is a process of ours with this pid, or one that has just ended.
pub(super) fn may_run(pid: u32) -> bool {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| test_kill_process(id).is_ok())
}

/// What the system says of one process; for many, one [`Processes`] is cheaper.
#[must_use]
pub fn process_facts(pid: u32) -> Process {
    Processes::new().facts(pid)
}

/// What names the start of this process for ever, whatever becomes of the clock and of its
/// pid: `<boot id>:<start time in ticks>`, the `processStart` of a record of ours. `None` where
/// the system does not say.
#[must_use]
pub fn own_process_start() -> Option<String> {
    let stat = Stat::parse(Proc::open("/proc/self/stat").ok()?.bytes())?;
    Processes::new().start_id(stat.start_ticks)
}

/// What counts of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    /// Not a process: one of its threads.
    thread: bool,
    start_ticks: u64,
}

impl Stat {
    /// The second field is the command's name in parentheses, which may itself hold spaces and
    /// parentheses: fields count from the last closing one.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(text.get(end..)?).ok()?;
        // ")", then the third field, the state; the 22nd is the start time; the 38th the signal
        // that its end sends, which is -1 for threads alone.
        let mut fields = fields.split_ascii_whitespace().skip(1);
        let state = fields.next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let signal: i32 = fields.nth(15)?.parse().ok()?;
        Some(Self {
            ended: matches!(state, "Z" | "X" | "x"),
            thread: signal == -1,
            start_ticks,
        })
    }
}

/// The effective user, and the beginning of `stat`, of one process: while that is open and can
/// be read, the pid is of no later one, so the directory that was looked at in between is its
/// own. The directory is its user's even when the files in it are root's, as those of a process
/// that must not be dumped are, our own daemon for one. (`status` tells the user too, and
/// whether it is a thread; it takes longer than all of this.)
fn read_process(pid: u32) -> Result<(u32, Proc), Errno> {
    let path = format!("/proc/{pid}/stat");
    let stat = open_proc(&path)?;
    let uid = sys::stat(path.strip_suffix("/stat").unwrap_or(&path))?.st_uid;
    Ok((uid, Proc::read(&stat)?))
}

/// The beginning of a file of the kernel's, which it writes at once.
struct Proc {
    content: [u8; MAX_PROC_BYTES],
    length: usize,
}

impl Proc {
    fn open(path: &str) -> Result<Self, Errno> {
        Self::read(&open_proc(path)?)
    }

    fn read(file: &OwnedFd) -> Result<Self, Errno> {
        let mut content = [0; MAX_PROC_BYTES];
        loop {
            match rustix::io::read(file, &mut content) {
                Err(Errno::INTR) => {}
                read => return read.map(|length| Self { content, length }),
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.content.get(..self.length).unwrap_or_default()
    }
}

fn open_proc(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    sys::open(path, flags, Mode::empty())
}

fn boot_id() -> Option<String> {
    let text = Proc::open("/proc/sys/kernel/random/boot_id").ok()?;
    let text = std::str::from_utf8(text.bytes()).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// When the system was booted, by the wall clock as it is set: what `/proc/stat` calls
/// `btime`, in full precision and without the cost of that file.
fn boot_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        let of = |clock| Duration::try_from(clock_gettime(clock)).ok();
        of(ClockId::Realtime)?.checked_sub(of(ClockId::Boottime)?)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    const TAIL: &str = "1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 1 0 4711 99 1 2 3 4 5 6 7 8 9 10 11 12 13 14 17 rest";

    fn parsed(stat: &str) -> Option<(bool, u64)> {
        Stat::parse(stat.as_bytes()).map(|stat| (stat.ended, stat.start_ticks))
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        for name in ["sh", "a b", "a) R 9 (b", ")", "", "\u{e9})"] {
            assert_eq!(
                parsed(&format!("7 ({name}) S {TAIL}")),
                Some((false, 4_711)),
                "{name}"
            );
        }
        for (state, ended) in [
            ("R", false),
            ("D", false),
            ("T", false),
            ("Z", true),
            ("X", true),
        ] {
            assert_eq!(
                parsed(&format!("7 (x) {state} {TAIL}")),
                Some((ended, 4_711))
            );
        }
        let signal = |signal: &str| TAIL.replace(" 17 rest", signal);
        let thread = |tail: &str| {
            Stat::parse(format!("7 (x) S {tail}").as_bytes())
                .unwrap()
                .thread
        };
        assert!(thread(&signal(" -1 rest")));
        assert!(!thread(TAIL) && !thread(&signal(" 0 rest")));
        let cut = TAIL.split(" 4711").next().unwrap();
        for rubbish in [
            "",
            "7",
            "7 (x",
            "7 (x)",
            "7 (x) S",
            &format!("7 (x) S {cut}"),
            &format!("7 (x) S {}", signal("")),
            &format!("7 (x) S {}", signal(" x")),
        ] {
            assert_eq!(parsed(rubbish), None, "{rubbish}");
        }
        // A name need not be UTF-8.
        assert!(Stat::parse(&[b"7 (\xff) S ", TAIL.as_bytes()].concat()).is_some());
    }

    /// What the quick look says; it never contradicts the thorough one.
    fn presence(pid: u32) -> Process {
        let seen = Processes::new().presence(pid);
        match (&seen, process_facts(pid)) {
            (Process::Running { uid, .. }, Process::Running { uid: other, .. }) => {
                assert_eq!(*uid, other);
            }
            (seen, facts) => assert_eq!(*seen, facts),
        }
        seen
    }

    #[test]
    fn this_process_runs_and_is_ours() {
        let quick = Process::Running {
            uid: crate::dir::own_uid(),
            started_at: None,
            start_id: None,
        };
        assert_eq!(presence(std::process::id()), quick);
        assert!(may_run(std::process::id()));
        let Process::Running {
            uid,
            started_at,
            start_id,
        } = process_facts(std::process::id())
        else {
            panic!("not running");
        };
        assert_eq!(uid, crate::dir::own_uid());
        assert_eq!(start_id, own_process_start());
        let (boot, ticks) = start_id
            .as_deref()
            .and_then(|id| id.split_once(':'))
            .unwrap();
        assert_eq!(boot.len(), 36);
        assert!(ticks.parse::<u64>().unwrap() > 0);
        let age = std::time::SystemTime::now()
            .duration_since(
                std::time::UNIX_EPOCH + Duration::from_millis(started_at.unwrap().as_millis()),
            )
            .unwrap();
        assert!(age < Duration::from_secs(3_600), "{age:?}");
    }

    #[test]
    fn a_new_process_started_just_now_and_later_than_we_did() {
        let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        // Two that start within a tick are not told apart by it.
        let Process::Running {
            started_at: Some(own),
            ..
        } = process_facts(std::process::id())
        else {
            panic!("not running");
        };
        while now() < u128::from(own.as_millis()) + 50 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let before = now();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let facts = process_facts(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        let Process::Running {
            started_at: Some(started),
            start_id: Some(id),
            ..
        } = facts
        else {
            panic!("not running: {facts:?}");
        };
        let started = u128::from(started.as_millis());
        assert!(
            started + 50 >= before && started <= now() + 50,
            "{started} is not after {before}"
        );
        assert_ne!(Some(id), own_process_start());
        assert_eq!(process_facts(child.id()), Process::Gone);
    }

    #[test]
    fn zombies_threads_and_impossible_pids_are_gone() {
        let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        let mut end = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut end).unwrap();
        // It has closed its output; it ends within moments.
        for _ in 0..5_000 {
            if process_facts(child.id()) == Process::Gone {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(presence(child.id()), Process::Gone);
        let stat = Proc::open(&format!("/proc/{}/stat", child.id())).unwrap();
        assert!(
            Stat::parse(stat.bytes()).unwrap().ended,
            "it is still there, as a zombie"
        );
        assert!(may_run(child.id()), "this does not tell");
        child.wait().unwrap();
        assert!(!may_run(child.id()));

        let thread = || {
            rustix::thread::gettid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs()
        };
        let id = std::thread::scope(|scope| {
            scope
                .spawn(|| (thread(), presence(thread())))
                .join()
                .unwrap()
        });
        assert_ne!(id.0, std::process::id());
        assert_eq!(id.1, Process::Gone);
        for pid in [0, u32::MAX, 1 << 31, (1 << 31) - 1] {
            assert_eq!(presence(pid), Process::Gone, "{pid}");
            assert!(!may_run(pid), "{pid}");
        }
    }

    /// Covers: L5.14b
    #[test]
    fn a_process_of_another_user_is_theirs_and_not_gone() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "cat"]);
        if crate::dir::own_uid() != 0 {
            eprintln!("partly skipped: becoming another user takes root");
            let Process::Running { uid: 0, .. } = process_facts(1) else {
                panic!("init is not root's: {:?}", process_facts(1));
            };
            return;
        }
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let mut child = command.stdin(stdin).stdout(stdout).spawn().unwrap();
        // When it answers, it has changed its user.
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let facts = presence(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(
            matches!(facts, Process::Running { uid: 65_534, .. }),
            "{facts:?}"
        );
    }

    /// Its files below /proc are root's; its directory is not.
    #[test]
    fn a_process_that_must_not_be_dumped_is_its_users() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if crate::dir::own_uid() != 0 {
            eprintln!("skipped: becoming another user takes root");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&home, mode(0o755)).unwrap();
        // Who may run a program and not read it gets a process that must not be dumped.
        let program = home.path().join("cat");
        std::fs::copy("/bin/cat", &program).unwrap();
        std::fs::set_permissions(&program, mode(0o711)).unwrap();
        let mut child = Command::new("setpriv")
            // Through a shell: it is the second program that has lost root's capabilities.
            .args([
                "--reuid",
                "65534",
                "--clear-groups",
                "sh",
                "-c",
                "exec \"$0\"",
            ])
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let owner = std::fs::metadata(format!("/proc/{}/stat", child.id())).map(|file| file.uid());
        let facts = presence(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(owner.unwrap(), 0, "it may be dumped");
        assert!(
            matches!(facts, Process::Running { uid: 65_534, .. }),
            "{facts:?}"
        );
    }

    #[test]
    fn what_the_system_does_not_say_is_unknown() {
        let mute = Processes {
            boot_id: None,
            boot_time: None,
        };
        let facts = mute.facts(std::process::id());
        assert!(matches!(
            facts,
            Process::Running {
                started_at: None,
                start_id: None,
                ..
            }
        ));
        assert_eq!(mute.judge(0, b""), Process::Unknown);
        assert_eq!(mute.started_at(u64::MAX), None);
    }
}
