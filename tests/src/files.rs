//! Files, directories and processes in the states that a test wants them in.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

/// A user that is neither us nor root.
pub const OTHER: u32 = 65_534;

/// A pid that no process has: above the kernel's largest.
pub const GONE: u32 = 2_000_000_000;

/// Whether the tests run as root, which alone can make files and processes of another user.
/// Says so when not: the caller skips a part.
#[must_use]
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("partly skipped: another user takes root");
    }
    root
}

/// Makes a private directory, and private ones above it where they are missing.
///
/// # Panics
///
/// When that fails.
pub fn mkdir(path: impl AsRef<Path>) {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).expect("a directory");
}

/// Sets permissions.
///
/// # Panics
///
/// When that fails.
#[track_caller]
pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// The permissions of the entry itself.
///
/// # Panics
///
/// When there is none.
#[must_use]
#[track_caller]
pub fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).expect("an entry").mode() & 0o7777
}

/// Gives the entry itself to [`OTHER`].
///
/// # Panics
///
/// When that fails: it takes root.
pub fn give_away(path: impl AsRef<Path>) {
    std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).expect("a new owner");
}

/// Sets the time of the last change back by `seconds`.
///
/// # Panics
///
/// When that fails.
pub fn age(path: impl AsRef<Path>, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::open(path).expect("an entry");
    file.set_modified(then).expect("its time");
}

/// Makes a FIFO.
///
/// # Panics
///
/// When that fails.
pub fn mkfifo(path: impl AsRef<Path>) {
    let made = Command::new("mkfifo").arg(path.as_ref()).status();
    assert!(made.expect("mkfifo").success());
}

/// Makes a socket at which nobody listens, and nobody ever did: a listener that is closed lives
/// on for a moment in children that other tests are just starting.
///
/// # Panics
///
/// When that fails.
pub fn dead_socket(path: impl AsRef<Path>) {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let address = SocketAddrUnix::new(path.as_ref()).expect("a short path");
    bind(&socket, &address).expect("a free path");
}

/// Listens at `path`, and lets only one client wait to be accepted.
///
/// # Panics
///
/// When that fails.
#[must_use]
pub fn narrow_listener(path: impl AsRef<Path>) -> UnixListener {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let address = SocketAddrUnix::new(path.as_ref()).expect("a short path");
    bind(&socket, &address).expect("a free path");
    listen(&socket, 0).expect("a listener");
    UnixListener::from(socket)
}

/// The names in a directory, sorted.
///
/// # Panics
///
/// When it cannot be listed.
#[must_use]
pub fn names(path: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(path).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A process that does nothing and lives until it is dropped.
#[derive(Debug)]
pub struct Idle(Child);

impl Idle {
    /// A process of this user.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::spawn(&mut Command::new("cat"))
    }

    /// A process of [`OTHER`].
    ///
    /// # Panics
    ///
    /// When it does not start: it takes root.
    #[must_use]
    pub fn of_another_user() -> Self {
        Self::spawn(Command::new("cat").uid(OTHER))
    }

    fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(piped.spawn().expect("a process"))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
