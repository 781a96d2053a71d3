//! What killed daemons left behind (local.md §5.11): removed when provably dead and ours.

use std::path::Path;
use std::time::Duration;

use hallway_core::local::record::Process;

use super::{Occupant, SOCKET_NAME, lock_name, probe};
use crate::dir::{Dir, DirError, Facts, OpenFile, Role, own_uid};
use crate::local::registry::Processes;
use crate::paths::{self, Environment};

/// How many entries of a base are looked at.
const MAX_SWEPT: usize = 1_000;
/// The sockets in the directory of a default socket: the daemon's and its owner channel's.
const SOCKETS: [&str; 2] = [SOCKET_NAME, "messaging.sock.owner"];
/// A process that started so much later than a directory was last changed did not make it,
/// unless the clock has been set by more than that.
const RECYCLED_AFTER: Duration = Duration::from_secs(3_600);

/// Evidence that nobody listens at a path. While it is kept, no daemon of ours starts to.
#[derive(Debug)]
pub struct Dead {
    _lock: Option<OpenFile>,
}

/// Sweeps every base of `env` that exists and is ours. Says how many directories it removed.
#[must_use]
pub fn sweep_bases(env: &Environment) -> usize {
    let mut removed = 0;
    for base in env.socket_bases().unwrap_or_default() {
        let opened = Dir::open_private(Path::new(&base), Role::SocketParent);
        match opened.and_then(|dir| sweep(&dir)) {
            Ok(count) => removed += count,
            Err(error) => tracing::debug!("not swept: {error}"),
        }
    }
    removed
}

/// Removes from `base` the directories `<pid>-<32 hex>` that are ours and in which nobody
/// listens, nobody holds the lock, and whose process is gone; at most 1,000 entries are looked
/// at. Says how many were removed.
///
/// # Errors
///
/// [`DirError`] when the base cannot be listed; what cannot be removed is left.
pub fn sweep(base: &Dir) -> Result<usize, DirError> {
    let processes = Processes::new();
    let mut removed = 0;
    for name in base.names()?.take(MAX_SWEPT) {
        let name = name?;
        let Some(pid) = pid_of(&name) else { continue };
        match sweep_one(base, &name, &processes, pid) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => tracing::debug!("not swept: {error}"),
        }
    }
    Ok(removed)
}

fn sweep_one(base: &Dir, name: &str, processes: &Processes, pid: u32) -> Result<bool, DirError> {
    // Asked before the lock is taken, not to leave traces at somebody alive; and after, since
    // only then the answer stays true.
    let Some((dir, facts)) = judge(base, name, processes, pid)? else {
        return Ok(false);
    };
    if !facts.is_abandoned() {
        return Ok(false);
    }
    let Some(lock) = dir.lock(&lock_name(SOCKET_NAME))? else {
        return Ok(false);
    };
    for socket in SOCKETS {
        match probe(&dir, socket)? {
            Occupant::Nothing => {}
            Occupant::Dead(identity) => {
                dir.remove_if(socket, identity)?;
            }
            Occupant::Live { .. } | Occupant::Unclear(_) => return Ok(false),
        }
    }
    drop(lock);
    base.remove_if(name, facts.identity)
}

/// The directories in `base` that [`sweep`] would remove, those among them that are still too
/// young for it, too. Changes nothing.
///
/// # Errors
///
/// [`DirError`] when the base cannot be listed.
pub fn left_behind(base: &Dir) -> Result<Vec<String>, DirError> {
    let processes = Processes::new();
    let mut found = Vec::new();
    for name in base.names()?.take(MAX_SWEPT) {
        let name = name?;
        if let Some(pid) = pid_of(&name)
            && let Ok(Some(_)) = judge(base, &name, &processes, pid)
        {
            found.push(name);
        }
    }
    Ok(found)
}

/// The directory `name` in `base`, if it is as a daemon makes it, the daemon is gone, and nobody
/// else uses it. Changes nothing.
fn judge(
    base: &Dir,
    name: &str,
    processes: &Processes,
    pid: u32,
) -> Result<Option<(Dir, Facts)>, DirError> {
    let dir = base.open_child(name, Role::SocketParent)?;
    let facts = dir.facts()?;
    if !maker_is_gone(&processes.facts(pid), &facts) {
        return Ok(None);
    }
    let lock = lock_name(SOCKET_NAME);
    for entry in dir.names()? {
        let entry = entry?;
        if !SOCKETS.contains(&entry.as_str()) && entry != lock {
            return Ok(None);
        }
    }
    for socket in SOCKETS {
        if !is_dead(&probe(&dir, socket)?) {
            return Ok(None);
        }
    }
    match dir.open_file(&lock, Role::OwnFile) {
        Ok(file) if !file.writer_is_gone() => Ok(None),
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(Some((dir, facts))),
    }
}

/// Evidence that nobody listens at the absolute `path` and that only we could; `None` when
/// there is none. A directory that does not exist counts if the one in which it is missing is
/// ours.
#[must_use]
pub fn provably_dead(path: &str) -> Option<Dead> {
    let (parent, name) = paths::split_socket_path(path).ok()?;
    let dir = match Dir::open_private(Path::new(parent), Role::SocketParent) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => {
            return provably_missing(Path::new(parent)).then_some(Dead { _lock: None });
        }
        Err(_) => return None,
    };
    let lock = lock_name(name);
    // Held, but left where it is: a directory that has just been changed is not swept.
    let lock = match dir.open_file(&lock, Role::OwnFile) {
        Ok(file) => file.writer_is_gone().then_some(Some(file))?,
        Err(error) if error.is_not_found() => None,
        Err(_) => return None,
    };
    is_dead(&probe(&dir, name).ok()?).then_some(Dead { _lock: lock })
}

/// Whether a directory is missing at or above `path`, in one that is ours. A dangling link
/// proves nothing: what it leads to may only be unmounted.
fn provably_missing(path: &Path) -> bool {
    let mut missing = path;
    while let (Some(above), Some(name)) = (missing.parent(), missing.file_name()) {
        match Dir::open(above) {
            Ok(dir) => {
                let ours = dir.facts().is_ok_and(|facts| facts.uid == own_uid());
                let absent = name.to_str().map(|name| dir.look(name));
                return ours && matches!(absent, Some(Ok(None)));
            }
            Err(error) if error.is_not_found() => missing = above,
            Err(_) => return false,
        }
    }
    false
}

fn is_dead(occupant: &Occupant) -> bool {
    match occupant {
        Occupant::Nothing | Occupant::Dead(_) => true,
        Occupant::Live { .. } | Occupant::Unclear(_) => false,
    }
}

/// Whether the process that made a directory with these `facts` cannot be this one.
fn maker_is_gone(process: &Process, facts: &Facts) -> bool {
    match process {
        Process::Gone => true,
        Process::Unknown => false,
        Process::Running { uid, .. } if *uid != facts.uid => true,
        Process::Running { started_at, .. } => {
            let changed = facts.modified.duration_since(std::time::UNIX_EPOCH);
            match (started_at, changed) {
                (Some(started), Ok(changed)) => {
                    Duration::from_millis(started.as_millis()) > changed + RECYCLED_AFTER
                }
                (Some(_) | None, _) => false,
            }
        }
    }
}

/// The pid in the name of a default socket's directory: `<pid>-<32 hex>`.
fn pid_of(name: &str) -> Option<u32> {
    let (pid, nonce) = name.split_once('-')?;
    let hex = nonce
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex && nonce.len() == 32)
        .then(|| crate::local::registry::canonical_pid(pid))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::testing::{age, chmod, home, mkdir, names};
    use std::fs;
    use std::os::unix::net::UnixListener;

    /// A pid that no process has: above the kernel's largest.
    const GONE: u32 = 2_000_000_000;

    /// Makes what a daemon of process `pid` leaves when it is killed, a minute ago.
    fn leave(base: &tempfile::TempDir, pid: u32, number: u32) -> std::path::PathBuf {
        let dir = base.path().join(format!("{pid}-{number:032x}"));
        mkdir(&dir);
        chmod(&dir, 0o700);
        for socket in [SOCKET_NAME, "messaging.sock.owner"] {
            drop(UnixListener::bind(dir.join(socket)).unwrap());
        }
        fs::write(dir.join("messaging.sock.lock"), "").unwrap();
        age(&dir, 61);
        dir
    }

    /// Covers: L5.11
    #[test]
    fn what_is_dead_and_ours_is_swept() {
        let (home, base) = home();
        leave(&home, GONE, 1);
        // One that another program left: no lock, no owner channel.
        let bare = leave(&home, GONE, 2);
        fs::remove_file(bare.join("messaging.sock.lock")).unwrap();
        fs::remove_file(bare.join("messaging.sock.owner")).unwrap();
        age(&bare, 61);
        // Killed before it listened.
        let empty = home.path().join(format!("{GONE}-{:032x}", 3));
        mkdir(&empty);
        chmod(&empty, 0o700);
        age(&empty, 61);
        // A pid that another process has got since.
        let recycled = leave(&home, std::process::id(), 4);
        age(&recycled, 400_000_000);
        assert_eq!(sweep(&base).unwrap(), 4);
        assert!(names(&base).is_empty());
    }

    /// Covers: L5.11
    #[test]
    fn what_may_live_stays() {
        let (home, base) = home();
        let young = leave(&home, GONE, 1);
        age(&young, 30);
        let live = leave(&home, GONE, 2);
        fs::remove_file(live.join(SOCKET_NAME)).unwrap();
        let _listener = UnixListener::bind(live.join(SOCKET_NAME)).unwrap();
        age(&live, 61);
        let owned = leave(&home, GONE, 3);
        fs::remove_file(owned.join("messaging.sock.owner")).unwrap();
        let _owner = UnixListener::bind(owned.join("messaging.sock.owner")).unwrap();
        age(&owned, 61);
        let locked = Dir::open(&leave(&home, GONE, 4)).unwrap();
        let _lock = locked.lock("messaging.sock.lock").unwrap().unwrap();
        age(locked.path(), 61);
        leave(&home, std::process::id(), 5);
        let more = leave(&home, GONE, 6);
        fs::write(more.join("notes.txt"), "not ours to lose").unwrap();
        age(&more, 61);
        let broad = leave(&home, GONE, 7);
        chmod(&broad, 0o750);
        let occupied = leave(&home, GONE, 8);
        fs::remove_file(occupied.join(SOCKET_NAME)).unwrap();
        fs::write(occupied.join(SOCKET_NAME), "a file").unwrap();
        age(&occupied, 61);
        let tree = || {
            names(&base)
                .into_iter()
                .map(|name| (inside(&base, &name), name))
        };
        let left: Vec<_> = tree().collect();
        assert_eq!(sweep(&base).unwrap(), 0);
        assert_eq!(tree().collect::<Vec<_>>(), left);
        assert_eq!(left.len(), 8);
    }

    fn inside(base: &Dir, name: &str) -> Vec<String> {
        names(&base.open_child(name, Role::Ancestor).unwrap())
    }

    #[test]
    fn only_directories_of_the_default_layout_are_looked_at() {
        let hex = "0123456789abcdef0123456789abcdef";
        assert_eq!(pid_of(&format!("7-{hex}")), Some(7));
        for name in [
            hex.to_owned(),
            format!("07-{hex}"),
            format!("-{hex}"),
            format!("0-{hex}"),
            format!("7-{}", hex.to_uppercase()),
            format!("7-{hex}0"),
            format!("7-{}", &hex[1..]),
            format!("7-{hex}.bak"),
        ] {
            assert_eq!(pid_of(&name), None, "{name}");
        }
    }

    #[test]
    fn a_maker_is_gone_when_the_process_is_another_one() {
        let (_, dir) = home();
        let facts = dir.facts().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let running = |uid, after: u64| Process::Running {
            uid,
            started_at: hallway_core::UnixTime::from_millis(u64::try_from(now).unwrap() + after),
            start_id: None,
        };
        let gone = |process| maker_is_gone(&process, &facts);
        assert!(gone(Process::Gone));
        assert!(!gone(Process::Unknown));
        assert!(gone(running(facts.uid + 1, 0)));
        assert!(!gone(running(facts.uid, 0)));
        assert!(
            !gone(running(facts.uid, 3_599_000)),
            "the clock may have been set a little"
        );
        assert!(gone(running(facts.uid, 3_601_000)));
        let mute = Process::Running {
            uid: facts.uid,
            started_at: None,
            start_id: None,
        };
        assert!(!gone(mute));
    }

    #[test]
    fn every_base_of_ours_is_swept() {
        let (home, _) = home();
        let mut env = Environment::bare(crate::dir::own_uid());
        env.tmpdir = Some(home.path().into());
        env.xdg_runtime_dir = Some(home.path().join("run").into());
        let bases = env.socket_bases().unwrap();
        for (number, base) in bases.iter().enumerate().take(2) {
            mkdir(base);
            chmod(Path::new(base), if number == 0 { 0o755 } else { 0o700 });
            let dir = Path::new(base).join(format!("{GONE}-{number:032x}"));
            mkdir(&dir);
            chmod(&dir, 0o700);
            age(&dir, 61);
        }
        assert_eq!(sweep_bases(&env), 1, "the first is too broad");
        assert_eq!(fs::read_dir(&bases[0]).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&bases[1]).unwrap().count(), 0);
    }
}
