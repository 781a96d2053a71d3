//! The daemon's place to listen: one owned value that takes a path, listens on it, and gives
//! it back (local.md §2, §5.6 to §5.10).
//!
//! ```text
//! private directory, by handle ── lock ── look ──┬─ nothing ──────────────┬─ bind ─ listen
//!                                                ├─ ours, nobody listens ─┘  (removed first)
//!                                                └─ anything else: refused, untouched
//! ```
//!
//! Whoever holds `<name>.lock` may bind, replace and remove what is at `<name>`. It is held
//! until the [`SocketSlot`] is dropped, and the kernel lets it go when the process is killed.

mod probe;
mod sweep;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;
use rustix::fs::{self as sys, AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix, SocketType, sockopt};

use crate::dir::{Dir, DirError, Placed, Role};
use crate::paths::{self, Environment, PathError};
pub use probe::{Occupant, probe};
pub use sweep::{Dead, left_behind, provably_dead, sweep, sweep_bases};

/// The name of a default socket.
const SOCKET_NAME: &str = "messaging.sock";
/// How many connections may wait to be accepted; the kernel may allow fewer.
const BACKLOG: i32 = 1_024;
/// How often a directory that another process removes is made again.
const MAX_ATTEMPTS: u32 = 16;
/// A sweeper holds a lock for moments; a daemon that starts waits for it this often, this long.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why there is no place to listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The path cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The directory, or what is in it, cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// No directory for a default socket.
    #[error(
        "no directory for the socket; {}; choose a path with --socket",
        list(tried)
    )]
    NoBase {
        /// Why each candidate was refused, the best one first.
        tried: Vec<SocketError>,
    },
    /// Somebody listens there, or is about to.
    #[error("socket is in use by a live peer: {path}; {}; stop it or choose another with --socket", holder(*.pid))]
    InUse {
        /// The path.
        path: String,
        /// The process that listens, if the kernel says.
        pid: Option<u32>,
    },
    /// There is a socket, and no telling whether anybody listens on it.
    #[error(
        "socket cannot be asked whether anybody listens: {path}; {source}; remove it if nobody does"
    )]
    Unclear {
        /// The path.
        path: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// What the service manager passed is not what was expected.
    #[error(
        "passed socket cannot be used: {path:?}; {reason}; let the unit have ListenStream= and an absolute path"
    )]
    NotAdoptable {
        /// Its path, or nothing.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system refused.
    #[error("cannot {doing} socket {path}; {source}; check the directory and the disk")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("no random bytes; {source}; check /dev/urandom and getrandom(2)")]
    Entropy {
        /// Why not.
        source: io::Error,
    },
}

/// A path to listen on, locked. On drop it removes its sockets (only the inodes that it bound),
/// then the lock, then the directory if it made it.
#[derive(Debug)]
pub struct SocketSlot {
    path: String,
    name: String,
    dir: Dir,
    // Dropped in this order.
    owner: Option<Placed>,
    socket: Option<Placed>,
    _lock: Placed,
    _created: Option<Placed>,
}

impl SocketSlot {
    /// Takes the path `socket`, or a new one below the first usable of
    /// [`Environment::socket_bases`], for the process `pid`. What is there is removed when it
    /// is a socket of ours on which nobody listens.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; nothing that was there has been changed then.
    pub fn acquire(
        env: &Environment,
        socket: Option<&Path>,
        pid: u32,
    ) -> Result<Self, SocketError> {
        match socket {
            Some(given) => Self::explicit(env.socket_path(given)?),
            None => Self::below_a_base(env, pid),
        }
    }

    /// Takes charge of a socket that a service manager already listens on. It stays when the
    /// slot is dropped; the owner channel beside it does not.
    ///
    /// # Errors
    ///
    /// [`SocketError`].
    pub fn adopt(listener: UnixListener) -> Result<(Self, UnixListener), SocketError> {
        let address = listener.local_addr().map_err(failed("look at", ""))?;
        let path = address
            .as_pathname()
            .and_then(Path::to_str)
            .unwrap_or_default();
        let refused = |reason| SocketError::NotAdoptable {
            path: path.to_owned(),
            reason,
        };
        paths::check_socket_path(path)?;
        let kind = sockopt::socket_type(&listener).map_err(failed("look at", path))?;
        if kind != SocketType::STREAM || !listens(&listener).map_err(failed("look at", path))? {
            return Err(refused("it is no listening stream socket"));
        }
        let (parent, name) = paths::split_socket_path(path)?;
        let dir = Dir::open_private(Path::new(parent), Role::SocketParent)?;
        // No probe: a connection would only come back to us.
        let lock = dir.lock(&lock_name(name))?;
        let lock = lock.ok_or_else(|| SocketError::InUse {
            path: path.to_owned(),
            pid: None,
        })?;
        make_private(&dir, name, path)?;
        listener
            .set_nonblocking(true)
            .map_err(failed("prepare", path))?;
        Ok((
            Self::new(path.to_owned(), name.to_owned(), dir, lock, None),
            listener,
        ))
    }

    /// Listens on the path. The listener does not block; the inode is private from its first
    /// moment.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; also while a listener of an earlier call is open.
    pub fn bind(&mut self) -> Result<UnixListener, SocketError> {
        let (listener, placed) = listen(&self.dir, &self.name, &self.path)?;
        self.socket = Some(placed);
        Ok(listener)
    }

    /// Listens on [`SocketSlot::owner_path`], by the same rules.
    ///
    /// # Errors
    ///
    /// As [`SocketSlot::bind`]; also when that path would be too long.
    pub fn bind_owner(&mut self) -> Result<UnixListener, SocketError> {
        let path = self.owner_path()?;
        let (_, name) = paths::split_socket_path(&path)?;
        let (listener, placed) = listen(&self.dir, name, &path)?;
        self.owner = Some(placed);
        Ok(listener)
    }

    /// The one spelling of the path: to advertise, to hash, to connect to.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The owner channel's path, in the same directory.
    ///
    /// # Errors
    ///
    /// [`PathError::TooLong`]: an explicit path may leave no room for the longer name.
    pub fn owner_path(&self) -> Result<String, PathError> {
        paths::owner_path(&self.path)
    }

    fn explicit(path: String) -> Result<Self, SocketError> {
        let (parent, name) = paths::split_socket_path(&path)?;
        let (parent, name) = (Path::new(parent), name.to_owned());
        retry(|| {
            let (dir, created) = Dir::create_private(parent, Role::SocketParent)?;
            Self::locked(path.clone(), name.clone(), dir, created)
        })
    }

    fn below_a_base(env: &Environment, pid: u32) -> Result<Self, SocketError> {
        let mut tried = Vec::new();
        for base in env.socket_bases()? {
            match retry(|| Self::below(&base, pid)) {
                Ok(slot) => return Ok(slot),
                Err(error) => tried.push(error),
            }
        }
        Err(SocketError::NoBase { tried })
    }

    fn below(base: &str, pid: u32) -> Result<Self, SocketError> {
        let name = format!("{pid}-{}", nonce()?);
        let path = format!("{base}/{name}/{SOCKET_NAME}");
        paths::owner_path(&path)?;
        let (above, base_name) = paths::split_socket_path(base)?;
        let above = Dir::open(Path::new(above))?;
        let (base, new) = above.create_child(base_name, Role::SocketParent)?;
        if let Some(new) = new {
            new.keep();
        }
        let (dir, created) = base.create_child(&name, Role::SocketParent)?;
        Self::locked(path, SOCKET_NAME.to_owned(), dir, created)
    }

    /// Locks the name in `dir` and makes sure that nothing is there.
    fn locked(
        path: String,
        name: String,
        dir: Dir,
        created: Option<Placed>,
    ) -> Result<Self, SocketError> {
        let lock = take_lock(&dir, &name, &path)?;
        let slot = Self::new(path, name, dir, lock, created);
        vacate(&slot.dir, &slot.name, &slot.path)?;
        // A predecessor may have had an owner channel, and this one may not want any.
        if let Ok(owner) = slot.owner_path()
            && let Ok((_, name)) = paths::split_socket_path(&owner)
            && let Err(error) = vacate(&slot.dir, name, &owner)
        {
            tracing::debug!("left as it is: {error}");
        }
        Ok(slot)
    }

    fn new(path: String, name: String, dir: Dir, lock: Placed, created: Option<Placed>) -> Self {
        Self {
            path,
            name,
            dir,
            owner: None,
            socket: None,
            _lock: lock,
            _created: created,
        }
    }
}

/// Repeats what fails because another process removes its empty directory meanwhile.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, SocketError>) -> Result<T, SocketError> {
    let mut left = MAX_ATTEMPTS;
    loop {
        left -= 1;
        match attempt() {
            Err(SocketError::Dir(error)) if error.is_not_found() && left > 0 => {}
            outcome => return outcome,
        }
    }
}

/// The lock of the socket `name`.
fn take_lock(dir: &Dir, name: &str, path: &str) -> Result<Placed, SocketError> {
    for _ in 0..LOCK_TRIES {
        if let Some(lock) = dir.lock(&lock_name(name))? {
            return Ok(lock);
        }
        if let Occupant::Live { pid } = probe(dir, name)? {
            return Err(SocketError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(SocketError::InUse {
        path: path.to_owned(),
        pid: None,
    })
}

fn lock_name(name: &str) -> String {
    format!("{name}.lock")
}

/// Makes sure that nothing is at `name`: removes a socket of ours on which nobody listens, and
/// refuses anything else. The caller holds the lock.
fn vacate(dir: &Dir, name: &str, path: &str) -> Result<(), SocketError> {
    match probe(dir, name)? {
        Occupant::Nothing => Ok(()),
        Occupant::Dead(identity) => Ok(dir.remove_if(name, identity).map(|_| ())?),
        Occupant::Live { pid } => Err(SocketError::InUse {
            path: path.to_owned(),
            pid,
        }),
        Occupant::Unclear(source) => Err(SocketError::Unclear {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Listens at `path`, which is `name` in `dir`. The caller holds the lock.
fn listen(dir: &Dir, name: &str, path: &str) -> Result<(UnixListener, Placed), SocketError> {
    vacate(dir, name, path)?;
    let socket = bound(path)?;
    // Bound by its path, which others see; found by the handle, or it is not where we looked.
    let placed = dir.place(name)?;
    make_private(dir, name, path)?;
    net::listen(&socket, BACKLOG).map_err(failed("listen on", path))?;
    Ok((UnixListener::from(socket), placed))
}

/// A socket bound to `path`, not listening yet.
fn bound(path: &str) -> Result<OwnedFd, SocketError> {
    let socket = probe::new_socket().map_err(failed("create", path))?;
    // Linux gives the inode the socket's own mode, less the umask: it is never broader.
    if let Err(error) = sys::fchmod(&socket, PRIVATE) {
        tracing::debug!("the socket's mode is set after it is bound: {error}");
    }
    let address = SocketAddrUnix::new(path).map_err(failed("bind", path))?;
    net::bind(&socket, &address).map_err(failed("bind", path))?;
    Ok(socket)
}

/// Demands that `name` is a socket of ours and makes it private.
fn make_private(dir: &Dir, name: &str, path: &str) -> Result<(), SocketError> {
    let is_private = || match dir.look_as(name, Role::Socket)? {
        Some(facts) => Ok(facts.mode & 0o777 == 0o600),
        None => Err(failed("protect", path)(Errno::NOENT)),
    };
    if is_private()? {
        return Ok(());
    }
    // The directory is private and the name is locked: nobody makes a link of it meanwhile.
    sys::chmodat(dir, name, PRIVATE, AtFlags::empty()).map_err(failed("protect", path))?;
    if is_private()? {
        Ok(())
    } else {
        Err(failed("protect", path)(Errno::PERM))
    }
}

#[cfg(target_os = "linux")]
fn listens(listener: &UnixListener) -> Result<bool, Errno> {
    sockopt::socket_acceptconn(listener)
}

/// Not every system says; those have no service manager that passes sockets this way.
#[cfg(not(target_os = "linux"))]
fn listens(_listener: &UnixListener) -> Result<bool, Errno> {
    Ok(true)
}

/// 32 hex characters from the operating system.
fn nonce() -> Result<String, SocketError> {
    let mut bytes = [0; 16];
    let filled = SysRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| SocketError::Entropy {
        source: io::Error::other(error),
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn list(tried: &[SocketError]) -> String {
    let texts: Vec<String> = tried.iter().map(ToString::to_string).collect();
    texts.join(" | ")
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "its lock is held".to_owned(),
        |pid| format!("process {pid} listens there"),
    )
}

fn failed<E: Into<io::Error>>(doing: &'static str, path: &str) -> impl FnOnce(E) -> SocketError {
    move |error| SocketError::Io {
        doing,
        path: path.to_owned(),
        source: error.into(),
    }
}
