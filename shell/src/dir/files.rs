//! Files of a directory that is held open: reading, replacing, locking, removing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::facts::{DirError, Facts, Role, io_error, require};
use super::placed::{Placed, lock};
use super::{Dir, facts_of};

/// How many unfinished temporaries of one process may lie in a directory.
const MAX_TEMPORARIES: u32 = 64;

const TEMPORARY_PREFIX: &str = ".hallway-";
const TEMPORARY_SUFFIX: &str = ".tmp";
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Follows no link and never waits for the other end of a FIFO.
const SAFELY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// A file opened for reading, whose owner and permissions have been checked.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    facts: Facts,
    path: PathBuf,
}

impl OpenFile {
    /// What the kernel said of it when it was opened.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its content, at most `max` bytes; wiped on drop.
    ///
    /// # Errors
    ///
    /// [`DirError::TooLarge`], [`DirError::Changed`] or [`DirError::Io`].
    pub fn read(&self, max: usize) -> Result<Zeroizing<Vec<u8>>, DirError> {
        let size = usize::try_from(self.facts.size).unwrap_or(usize::MAX);
        if size > max {
            let (path, size) = (self.path.clone(), self.facts.size);
            return Err(DirError::TooLarge {
                path,
                size,
                limit: max,
            });
        }
        // Sized once: a buffer that grows would leave unwiped copies behind. The byte more
        // shows a file that grew.
        let mut content = Zeroizing::new(vec![0; size.saturating_add(1)]);
        let mut filled = 0;
        while let Some(space) = content.get_mut(filled..).filter(|space| !space.is_empty()) {
            match (&self.file).read(space) {
                Ok(read) => {
                    filled = filled.saturating_add(read);
                    // There was room for more: this is its end.
                    if read == 0 || filled == size {
                        content.truncate(filled);
                        return Ok(content);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", &self.path)(error)),
            }
        }
        Err(DirError::Changed {
            path: self.path.clone(),
        })
    }

    /// Whether no [`Placed`] of a living process stands for it. While `self` is kept, none
    /// comes to stand for it either; others may look, too.
    #[must_use]
    pub fn writer_is_gone(&self) -> bool {
        self.share() == Ok(())
    }

    /// Whether a [`Placed`] of a living process stands for it. Where files cannot be locked,
    /// neither this is known nor the opposite.
    #[must_use]
    pub fn writer_lives(&self) -> bool {
        self.share() == Err(Errno::WOULDBLOCK)
    }

    fn share(&self) -> Result<(), Errno> {
        sys::flock(&self.file, FlockOperation::NonBlockingLockShared)
    }
}

impl Dir {
    /// Opens the file `name` for reading and demands what `role` does. Follows no link and
    /// never waits for a FIFO's writer.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn open_file(&self, name: &str, role: Role) -> Result<OpenFile, DirError> {
        let path = self.entry(name)?;
        let (fd, facts) = self.open_checked(name, role, OFlags::RDONLY, &path)?;
        Ok(OpenFile {
            file: File::from(fd),
            facts,
            path,
        })
    }

    /// The content of the private file `name`, at most `max` bytes; wiped on drop.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn read_private(&self, name: &str, max: usize) -> Result<Zeroizing<Vec<u8>>, DirError> {
        self.open_file(name, Role::PrivateFile)?.read(max)
    }

    /// The content of the file `name` of ours, at most `max` bytes, even if others may read it.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn read_regular(&self, name: &str, max: usize) -> Result<Zeroizing<Vec<u8>>, DirError> {
        self.open_file(name, Role::OwnFile)?.read(max)
    }

    /// Puts a file with mode 0600 and this content at `name`, replacing what is there at once:
    /// it is written beside and renamed. After a failure the old content stands and no
    /// temporary is left. It is not synced: what lives no longer than its process need not
    /// survive the machine.
    ///
    /// The file is removed when the returned [`Placed`] is dropped. Until then it is locked,
    /// which tells a sweeper in any namespace that its writer lives.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn write_atomic(&self, name: &str, content: &[u8]) -> Result<Placed, DirError> {
        self.write_beside(name, content, false)
    }

    /// The same for a file that stays, and survives the machine: it and its name are synced.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn write_durable(&self, name: &str, content: &[u8]) -> Result<(), DirError> {
        self.write_beside(name, content, true)?.keep();
        let synced = sys::fsync(&*self.fd);
        // A file system that does not sync directories has no more to give.
        match synced {
            Ok(()) | Err(Errno::INVAL | Errno::BADF) => Ok(()),
            Err(error) => Err(io_error("sync", &self.path)(error)),
        }
    }

    fn write_beside(&self, name: &str, content: &[u8], sync: bool) -> Result<Placed, DirError> {
        let path = self.entry(name)?;
        let (mut file, mut temporary) = self.temporary()?;
        // The umask may have taken permissions away.
        let written = sys::fchmod(&file, PRIVATE)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(content))
            .and_then(|()| if sync { file.sync_all() } else { Ok(()) });
        written.map_err(io_error("write", &path))?;
        // A file system without locks: its files are never taken for abandoned either.
        if let Err(error) = lock(&file) {
            tracing::debug!("not locked: {}; {error}", path.display());
        }
        let renamed = temporary.rename(name, file.into());
        renamed.map_err(io_error("replace", &path))?;
        Ok(temporary)
    }

    /// Makes the empty file `name` with mode 0600; `None` when there is one. The file is removed
    /// when the returned [`Placed`] is dropped.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn create_new(&self, name: &str) -> Result<Option<Placed>, DirError> {
        let path = self.entry(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFELY;
        match sys::openat(&*self.fd, name, flags, PRIVATE) {
            Ok(fd) => {
                let facts = facts_of(&fd).map_err(io_error("look at", &path))?;
                Ok(Some(Placed::new(self, name, &facts, Some(fd))))
            }
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(io_error("create", &path)(error)),
        }
    }

    /// Removes temporaries of writers that were killed, looking at no more than `max` entries.
    /// Says how many.
    ///
    /// # Errors
    ///
    /// [`DirError::Io`] when the directory cannot be listed.
    pub fn sweep_temporaries(&self, max: usize) -> Result<usize, DirError> {
        let mut removed = 0;
        for name in self.names()?.take(max) {
            let name = name?;
            if !Self::is_temporary(&name) {
                continue;
            }
            // What cannot be opened or removed is left for `hallway doctor` to show.
            if let Ok(file) = self.open_file(&name, Role::OwnFile)
                && file.facts.is_abandoned()
                && file.writer_is_gone()
                && self
                    .remove_if(&name, file.facts.identity)
                    .is_ok_and(|gone| gone)
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether `name` is one of a file that is being written.
    pub(crate) fn is_temporary(name: &str) -> bool {
        name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
    }

    /// An empty file of a new name.
    fn temporary(&self) -> Result<(File, Placed), DirError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFELY;
        for number in 0..MAX_TEMPORARIES {
            let pid = std::process::id();
            let name = format!("{TEMPORARY_PREFIX}{pid}-{number}{TEMPORARY_SUFFIX}");
            let path = self.entry(&name)?;
            match sys::openat(&*self.fd, &*name, flags, PRIVATE) {
                Ok(fd) => {
                    let facts = facts_of(&fd).map_err(io_error("look at", &path))?;
                    return Ok((File::from(fd), Placed::new(self, &name, &facts, None)));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(io_error("create", &path)(error)),
            }
        }
        Err(io_error("create a temporary in", &self.path)(Errno::EXIST))
    }

    pub(super) fn open_checked(
        &self,
        name: &str,
        role: Role,
        flags: OFlags,
        path: &Path,
    ) -> Result<(OwnedFd, Facts), DirError> {
        let fd = sys::openat(&*self.fd, name, flags | SAFELY, PRIVATE)
            .map_err(|error| self.not_opened(name, role, path, error))?;
        let facts = facts_of(&fd).map_err(io_error("look at", path))?;
        require(&facts, role, path)?;
        Ok((fd, facts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{home, mkdir, mkfifo, names};
    use super::super::{Flaw, Kind};
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    #[track_caller]
    fn flaw<T: std::fmt::Debug>(result: Result<T, DirError>) -> Flaw {
        match result {
            Err(DirError::Untrusted { flaw, .. }) => flaw,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The directory to work in, in a process that [`rerun`] started.
    fn child_dir() -> Option<Dir> {
        let path = std::env::var_os("HALLWAY_TEST_DIR")?;
        Some(Dir::open(Path::new(&path)).unwrap())
    }

    /// Runs the test `name` again, in a process that a shell has first prepared by `setup`.
    fn rerun(name: &str, setup: &str, dir: &Path) {
        let output = Command::new("sh")
            .args(["-c", &format!("{setup}; exec \"$0\" --exact \"$1\"")])
            .arg(std::env::current_exe().unwrap())
            .arg(format!(
                "{}::{name}",
                module_path!().split_once("::").unwrap().1
            ))
            .env("HALLWAY_TEST_DIR", dir)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
    }

    /// Covers: L2.11, L5.15
    #[test]
    fn writing_replaces_at_once_and_leaves_nothing_beside() {
        let (home, dir) = home();
        let first = dir.write_atomic("f", b"one").unwrap();
        let before = fs::metadata(home.path().join("f")).unwrap();
        assert_eq!(before.mode() & 0o7777, 0o600);
        assert_eq!(first.identity().ino, before.ino());
        let second = dir.write_atomic("f", b"two").unwrap();
        assert_eq!(**dir.read_private("f", 3).unwrap(), *b"two");
        assert_eq!(names(&dir), ["f"]);
        assert_ne!(second.identity(), first.identity());
        drop(first);
        assert_eq!(names(&dir), ["f"], "another one has taken its place");
        drop(second);
        assert!(names(&dir).is_empty());
        dir.write_atomic("kept", b"").unwrap().keep();
        assert_eq!(names(&dir), ["kept"]);
    }

    #[test]
    fn a_link_at_the_name_is_replaced_and_not_followed() {
        let (home, dir) = home();
        fs::write(home.path().join("victim"), "old").unwrap();
        symlink("victim", home.path().join("f")).unwrap();
        dir.write_atomic("f", b"new").unwrap().keep();
        assert_eq!(fs::read(home.path().join("victim")).unwrap(), b"old");
        assert_eq!(**dir.read_private("f", 9).unwrap(), *b"new");
    }

    /// Covers: L2.12
    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_beside() {
        if let Some(dir) = child_dir() {
            let refused = dir.write_atomic("f", b"new").unwrap_err();
            assert!(
                matches!(refused, DirError::Io { doing: "write", .. }),
                "{refused:?}"
            );
            assert_eq!(names(&dir), ["f"]);
            return;
        }
        let (home, dir) = home();
        fs::write(home.path().join("f"), "old").unwrap();
        // A full disk, as it looks to a process that may write no byte.
        let test = "a_failed_write_leaves_the_old_content_and_nothing_beside";
        rerun(test, "trap '' XFSZ; ulimit -f 0", home.path());
        assert_eq!(fs::read(home.path().join("f")).unwrap(), b"old");
        mkdir(home.path().join("d"));
        let refused = dir.write_atomic("d", b"new").unwrap_err();
        assert!(
            matches!(
                refused,
                DirError::Io {
                    doing: "replace",
                    ..
                }
            ),
            "{refused:?}"
        );
        assert_eq!(names(&dir), ["d", "f"]);
    }

    #[test]
    fn modes_do_not_depend_on_the_umask() {
        if let Some(dir) = child_dir() {
            dir.write_atomic("f", b"x").unwrap().keep();
            dir.lock("l").unwrap().unwrap().keep();
            return;
        }
        let (home, _) = home();
        rerun("modes_do_not_depend_on_the_umask", "umask 777", home.path());
        for name in ["f", "l"] {
            let made = fs::metadata(home.path().join(name)).unwrap();
            assert_eq!(made.mode() & 0o7777, 0o600, "{name}");
        }
    }

    #[test]
    fn private_reads_demand_a_private_file_and_never_wait() {
        let (home, dir) = home();
        let path = home.path().join("f");
        fs::write(&path, "secret").unwrap();
        for mode in [0o640, 0o604, 0o610, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(flaw(dir.read_private("f", 99)), Flaw::Mode(mode));
            assert_eq!(**dir.read_regular("f", 99).unwrap(), *b"secret");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(**dir.read_private("f", 6).unwrap(), *b"secret");
        mkfifo(home.path().join("fifo"));
        mkdir(home.path().join("dir"));
        symlink("f", home.path().join("link")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap());
        for (name, kind) in [
            ("fifo", Kind::Special),
            ("dir", Kind::Directory),
            ("link", Kind::Link),
            ("socket", Kind::Socket),
        ] {
            assert_eq!(flaw(dir.read_private(name, 99)), Flaw::Kind(kind));
            assert_eq!(flaw(dir.read_regular(name, 99)), Flaw::Kind(kind));
            assert_eq!(flaw(dir.lock(name)), Flaw::Kind(kind));
        }
        assert!(dir.read_private("none", 9).unwrap_err().is_not_found());
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            assert_eq!(flaw(dir.read_private("f", 99)), Flaw::Owner(65_534));
            assert_eq!(flaw(dir.read_regular("f", 99)), Flaw::Owner(65_534));
        } else {
            eprintln!("skipped: giving files away takes root");
        }
    }

    #[test]
    fn reads_are_bounded_and_notice_growth() {
        let (home, dir) = home();
        fs::write(home.path().join("f"), [b'x'; 100]).unwrap();
        assert_eq!(dir.read_regular("f", 100).unwrap().len(), 100);
        let large = dir.read_regular("f", 99);
        assert!(matches!(
            large,
            Err(DirError::TooLarge {
                size: 100,
                limit: 99,
                ..
            })
        ));
        let open = dir.open_file("f", Role::OwnFile).unwrap();
        fs::write(home.path().join("f"), [b'x'; 101]).unwrap();
        let changed = open.read(1_000);
        assert!(
            matches!(changed, Err(DirError::Changed { .. })),
            "{changed:?}"
        );
        let open = dir.open_file("f", Role::OwnFile).unwrap();
        fs::write(home.path().join("f"), "cut").unwrap();
        assert_eq!(**open.read(1_000).unwrap(), *b"cut");
    }

    #[test]
    fn where_files_cannot_be_locked_nothing_is_known_of_writers() {
        let (home, dir) = home();
        fs::write(home.path().join("f"), "").unwrap();
        let mut open = dir.open_file("f", Role::OwnFile).unwrap();
        // A handle that is no open file refuses as such a file system does.
        let handle = OFlags::PATH | OFlags::CLOEXEC;
        let handle = sys::openat(&*dir.fd, "f", handle, Mode::empty()).unwrap();
        open.file = File::from(handle);
        assert!(!open.writer_lives() && !open.writer_is_gone());
    }

    #[test]
    fn temporaries_of_killed_writers_are_swept_and_no_others() {
        let (home, dir) = home();
        let old = SystemTime::now() - Duration::from_secs(61);
        for (name, modified) in [
            (".hallway-1-0.tmp", old),
            (".hallway-2-0.tmp", old),
            (".hallway-3-0.tmp", SystemTime::now()),
            ("other.tmp", old),
        ] {
            let file = fs::File::create(home.path().join(name)).unwrap();
            file.set_modified(modified).unwrap();
        }
        let _busy = dir.lock(".hallway-2-0.tmp").unwrap().unwrap();
        assert_eq!(dir.sweep_temporaries(0).unwrap(), 0);
        assert_eq!(dir.sweep_temporaries(100).unwrap(), 1);
        assert_eq!(
            names(&dir),
            [".hallway-2-0.tmp", ".hallway-3-0.tmp", "other.tmp"]
        );
    }

    #[test]
    fn temporaries_in_the_way_are_passed_by_up_to_a_bound() {
        let (home, dir) = home();
        let name = |n: u32| {
            home.path()
                .join(format!(".hallway-{}-{n}.tmp", std::process::id()))
        };
        for number in 0..MAX_TEMPORARIES - 1 {
            fs::write(name(number), "theirs").unwrap();
        }
        dir.write_atomic("f", b"x").unwrap().keep();
        fs::write(name(MAX_TEMPORARIES - 1), "theirs").unwrap();
        assert!(dir.write_atomic("f", b"y").is_err());
        assert_eq!(**dir.read_private("f", 9).unwrap(), *b"x");
        assert_eq!(fs::read(name(0)).unwrap(), b"theirs");
    }
}
