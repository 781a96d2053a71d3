//! Entries that this process put into a directory and removes again; locks among them.

use std::os::fd::{AsFd, OwnedFd};

#[cfg(target_os = "linux")]
use rustix::fs::Mode;
use rustix::fs::{self as sys, FlockOperation, OFlags};
use rustix::io::Errno;

use super::Dir;
use super::facts::{DirError, Facts, Identity, Role, io_error};
#[cfg(not(target_os = "linux"))]
use super::facts_at;
#[cfg(target_os = "linux")]
use super::facts_of;
use super::files::PRIVATE;

/// How often a lock file may be replaced under the one who waits for it.
const MAX_LOCK_ATTEMPTS: u32 = 16;

/// An entry that this process put into a directory. On drop it is removed, if it is still the
/// same inode.
#[derive(Debug)]
#[must_use = "dropping it removes the entry"]
pub struct Placed {
    dir: Dir,
    name: String,
    identity: Identity,
    kept: bool,
    /// Held open, the inode's number is not given to another one. Closed last: a lock on it
    /// outlives the name.
    pin: Option<OwnedFd>,
}

impl Placed {
    pub(super) fn new(dir: &Dir, name: &str, facts: &Facts, pin: Option<OwnedFd>) -> Self {
        Self {
            dir: dir.clone(),
            name: name.to_owned(),
            identity: facts.identity,
            kept: false,
            pin,
        }
    }

    /// Renames it to `name`, replacing what is there, and keeps it open by `pin`.
    pub(super) fn rename(&mut self, name: &str, pin: OwnedFd) -> Result<(), Errno> {
        sys::renameat(&self.dir, &*self.name, &self.dir, name)?;
        name.clone_into(&mut self.name);
        self.pin = Some(pin);
        Ok(())
    }

    /// Which inode it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Makes `note` the content of a locked file, in place of what is there.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn note(&self, note: &[u8]) -> Result<(), DirError> {
        let Some(fd) = &self.pin else { return Ok(()) };
        let written = sys::ftruncate(fd, 0).and_then(|()| rustix::io::pwrite(fd, note, 0));
        let path = self.dir.path().join(&self.name);
        written.map(drop).map_err(io_error("write", &path))
    }

    /// Leaves it where it is.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.dir.remove_if(&self.name, self.identity) {
            tracing::debug!("left behind: {error}");
        }
    }
}

impl Dir {
    /// Takes charge of the entry at `name`, which the caller has just put there. What it cannot
    /// take charge of, for want of descriptors say, is removed again.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn place(&self, name: &str) -> Result<Placed, DirError> {
        let placed = self.pin(name);
        if placed.is_err()
            && let Ok(Some(facts)) = self.look(name)
            && let Err(error) = self.remove_if(name, facts.identity)
        {
            tracing::warn!("{name:?} is left behind: {error}");
        }
        placed
    }

    fn pin(&self, name: &str) -> Result<Placed, DirError> {
        let path = self.entry(name)?;
        #[cfg(target_os = "linux")]
        let (pin, facts) = {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let pin = sys::openat(&*self.fd, name, flags, Mode::empty());
            let pin = pin.map_err(io_error("open", &path))?;
            let facts = facts_of(&pin);
            (Some(pin), facts)
        };
        #[cfg(not(target_os = "linux"))]
        let (pin, facts) = (None, facts_at(&*self.fd, name));
        let facts = facts.map_err(io_error("look at", &path))?;
        Ok(Placed::new(self, name, &facts, pin))
    }

    /// Takes the lock that the file `name` stands for, creating it with mode 0600 when missing;
    /// `None` when somebody else has it. The file is removed when the lock is dropped.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when the directory itself has been removed.
    pub fn lock(&self, name: &str) -> Result<Option<Placed>, DirError> {
        let path = self.entry(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        for _ in 0..MAX_LOCK_ATTEMPTS {
            let (fd, facts) = self.open_checked(name, Role::OwnFile, flags, &path)?;
            if !lock(&fd).map_err(io_error("lock", &path))? {
                return Ok(None);
            }
            // Whoever had it may have removed the file before letting go: then what we hold
            // is no longer what others will find.
            if self
                .look(name)?
                .is_some_and(|there| there.identity == facts.identity)
            {
                sys::fchmod(&fd, PRIVATE).map_err(io_error("lock", &path))?;
                return Ok(Some(Placed::new(self, name, &facts, Some(fd))));
            }
        }
        Ok(None)
    }
}

/// Whether the file's lock was free; if it was, it is ours now.
pub(super) fn lock(file: impl AsFd) -> Result<bool, Errno> {
    match sys::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{home, names};
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_placed_file_shows_that_its_writer_lives() {
        let (_home, dir) = home();
        let placed = dir.write_atomic("f", b"x").unwrap();
        let open = dir.open_file("f", Role::OwnFile).unwrap();
        assert!(open.writer_lives() && !open.writer_is_gone());
        placed.keep();
        assert!(open.writer_is_gone() && !open.writer_lives());
        let second = dir.open_file("f", Role::OwnFile).unwrap();
        assert!(second.writer_is_gone(), "others may look, too");
        assert!(dir.lock("f").unwrap().is_none(), "held while they look");
        drop((open, second));
        assert!(dir.lock("f").unwrap().is_some());
    }

    #[test]
    fn a_lock_is_held_by_one_and_removed_with_it() {
        let (home, dir) = home();
        let lock = dir.lock("l").unwrap().unwrap();
        assert!(dir.lock("l").unwrap().is_none());
        for note in ["a long note", "short"] {
            lock.note(note.as_bytes()).unwrap();
            assert_eq!(*dir.read_private("l", 99).unwrap(), note.as_bytes());
        }
        drop(lock);
        assert!(names(&dir).is_empty());
        fs::write(home.path().join("l"), "left by a killed one").unwrap();
        drop(dir.lock("l").unwrap().unwrap());
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn a_lock_excludes_even_while_its_file_comes_and_goes() {
        let (_home, dir) = home();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(lock) = dir.lock("l").unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                            taken.fetch_add(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 0);
        assert!(names(&dir).is_empty());
    }
}
