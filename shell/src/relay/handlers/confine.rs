//! What a tool may open, whatever its names lead to by then: rules of Landlock, which the kernel
//! asks at every opening, for the tool and all that it starts.
//!
//! A tool reads what it was given, and what is below it. It runs itself and what the system
//! installs, programs and libraries, which it may therefore read as well. It lists nothing else,
//! reads no other file of the system or of its user, writes nothing, connects nowhere over TCP and signals nobody
//! (the last two where the kernel is new enough).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::process::{Child, Command};

/// Where systems keep programs and libraries: what is there may be read and run by its name, so
/// that a tool finds its libraries, but not listed.
#[cfg(target_os = "linux")]
const INSTALLED: [&str; 15] = [
    "/bin",
    "/usr/bin",
    "/usr/local/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/nix/store",
    "/gnu/store",
    "/home/linuxbrew/.linuxbrew/Cellar",
];

/// Whether this system confines tools. Without that none is started.
pub(super) fn is_offered() -> bool {
    #[cfg(target_os = "linux")]
    return rules().is_ok();
    #[cfg(not(target_os = "linux"))]
    false
}

/// What one tool may open.
#[cfg(target_os = "linux")]
pub(super) struct Confinement(landlock::RulesetCreated);

#[cfg(target_os = "linux")]
fn rules() -> Result<landlock::RulesetCreated, landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, Scope,
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()
}

#[cfg(target_os = "linux")]
impl Confinement {
    /// `program` runs, and reads the files of `given` and what is below its directories.
    pub(super) fn new<'a>(
        program: &Path,
        given: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> io::Result<Self> {
        use landlock::{AccessFs, PathBeneath, PathFd, RulesetCreatedAttr as _, make_bitflags};
        use rustix::fs::{FileType, fstat};

        let run = make_bitflags!(AccessFs::{Execute | ReadFile});
        let mut rules = rules().map_err(io::Error::other)?;
        for path in INSTALLED.map(Path::new).into_iter().chain([program]) {
            // Not every system has each of them; without its program a tool does not start.
            let Ok(path) = PathFd::new(path) else {
                continue;
            };
            let rule = PathBeneath::new(path, run);
            rules = rules.add_rule(rule).map_err(io::Error::other)?;
        }
        for fd in given {
            let is_directory = FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory;
            let read = if is_directory {
                make_bitflags!(AccessFs::{ReadFile | ReadDir})
            } else {
                AccessFs::ReadFile.into()
            };
            let rule = PathBeneath::new(fd, read);
            rules = rules.add_rule(rule).map_err(io::Error::other)?;
        }
        Ok(Self(rules))
    }

    /// Starts `command`, which has what it needs open, so confined.
    pub(super) fn start(self, command: &mut Command) -> io::Result<Child> {
        let runtime = tokio::runtime::Handle::current();
        // A thread is confined for good, and what it starts is like it: this one ends.
        let confined = move || {
            let _runtime = runtime.enter();
            let status = self.0.restrict_self().map_err(io::Error::other)?;
            if status.ruleset == landlock::RulesetStatus::NotEnforced {
                return Err(io::Error::from(io::ErrorKind::Unsupported));
            }
            command.spawn()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("confined".to_owned());
            let thread = thread.spawn_scoped(scope, confined)?;
            let died = |_| Err(io::Error::other("the thread that starts it died"));
            thread.join().unwrap_or_else(died)
        })
    }
}

/// There is none.
#[cfg(not(target_os = "linux"))]
pub(super) enum Confinement {}

#[cfg(not(target_os = "linux"))]
impl Confinement {
    pub(super) fn new<'a>(
        _program: &Path,
        _given: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> io::Result<Self> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub(super) fn start(self, _command: &mut Command) -> io::Result<Child> {
        match self {}
    }
}
