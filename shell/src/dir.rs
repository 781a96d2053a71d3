//! Directories by handle: nothing is trusted by a path that was checked earlier.
//!
//! [`Dir`] walks from `/` one component at a time, each opened in the one before, and checks
//! every one (local.md §5.8): a directory on the way belongs to us or root and nobody else can
//! rename what is in it. Files are opened, read, replaced and removed through the handle. What
//! a check decides on is [`Facts`]; the checks themselves are pure functions.

mod facts;
mod files;
mod placed;
#[cfg(test)]
pub(crate) mod testing;
mod walk;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use rustix::io::Errno;

pub use facts::{ABANDONED_AFTER, DirError, Facts, Flaw, Identity, Kind, Role, check, own_uid};
use facts::{io_error, require};
pub use files::OpenFile;
pub use placed::Placed;
use walk::walk;

const PRIVATE_DIR: Mode = Mode::RWXU;
const HANDLE: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory, held open; clones share the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    /// How it was reached; for messages only.
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at the absolute `path`, checking every directory on the way and the
    /// last one as [`Role::Ancestor`]. Symbolic links are followed when we or root made them.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        walk(path, false)
    }

    /// The same, creating what is missing with mode 0700.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn create(path: &Path) -> Result<Self, DirError> {
        walk(path, true)
    }

    /// Opens the real directory at the absolute `path`, which must be private.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn open_private(path: &Path, role: Role) -> Result<Self, DirError> {
        match last_name(path)? {
            Some((parent, name)) => walk(parent, false)?.open_child(name, role),
            None => walk(path, false).and_then(|dir| dir.require(role).map(|()| dir)),
        }
    }

    /// The same, creating what is missing with mode 0700. What is returned beside it, if this
    /// call created the last component, removes it again on drop, unless something is in it.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn create_private(path: &Path, role: Role) -> Result<(Self, Option<Placed>), DirError> {
        match last_name(path)? {
            Some((parent, name)) => walk(parent, true)?.create_child(name, role),
            None => Ok((Self::open_private(path, role)?, None)),
        }
    }

    /// Opens the real directory `name` in this one, and demands what `role` does.
    ///
    /// # Errors
    ///
    /// [`DirError`]; also when it does not exist.
    pub fn open_child(&self, name: &str, role: Role) -> Result<Self, DirError> {
        let path = self.entry(name)?;
        match sys::openat(&*self.fd, name, HANDLE | OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => {
                let fd = Arc::new(fd);
                let child = Self { fd, path };
                child.require(role)?;
                Ok(child)
            }
            Err(error) => Err(self.not_opened(name, role, &path, error)),
        }
    }

    /// The same, creating it with mode 0700 when missing. What is returned beside it, if this
    /// call created it, removes it again on drop, unless something is in it.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn create_child(&self, name: &str, role: Role) -> Result<(Self, Option<Placed>), DirError> {
        let path = self.entry(name)?;
        match sys::mkdirat(&*self.fd, name, PRIVATE_DIR) {
            // Another process may make it at the same time; whoever did, it is checked.
            Err(Errno::EXIST) => Ok((self.open_child(name, role)?, None)),
            Err(error) => Err(io_error("create", &path)(error)),
            Ok(()) => {
                let placed = self.place(name)?;
                Ok((self.open_child(name, role)?, Some(placed)))
            }
        }
    }

    /// How it was reached, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Demands of the directory itself what `role` does.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn require(&self, role: Role) -> Result<(), DirError> {
        require(&self.facts()?, role, &self.path)
    }

    /// What the kernel says of the directory itself.
    ///
    /// # Errors
    ///
    /// [`DirError::Io`].
    pub fn facts(&self) -> Result<Facts, DirError> {
        facts_of(&*self.fd).map_err(io_error("look at", &self.path))
    }

    /// What the entry `name` is, without following it; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`DirError::BadName`] or [`DirError::Io`].
    pub fn look(&self, name: &str) -> Result<Option<Facts>, DirError> {
        let path = self.entry(name)?;
        match facts_at(&*self.fd, name) {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io_error("look at", &path)(error)),
        }
    }

    /// The same, demanding of an entry what `role` does.
    ///
    /// # Errors
    ///
    /// [`DirError`].
    pub fn look_as(&self, name: &str, role: Role) -> Result<Option<Facts>, DirError> {
        let found = self.look(name)?;
        if let Some(facts) = &found {
            require(facts, role, &self.path.join(name))?;
        }
        Ok(found)
    }

    /// The names in it that are UTF-8, in no order, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// [`DirError::Io`].
    pub fn names(&self) -> Result<impl Iterator<Item = Result<String, DirError>>, DirError> {
        let list = sys::Dir::read_from(&*self.fd).map_err(io_error("list", &self.path))?;
        Ok(list.filter_map(|entry| match entry {
            Ok(entry) => match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => None,
                Ok(name) => Some(Ok(name.to_owned())),
            },
            Err(error) => Some(Err(io_error("list", &self.path)(error))),
        }))
    }

    /// Removes the entry `name` if it is still the inode `identity`. Says whether it did.
    ///
    /// # Errors
    ///
    /// [`DirError`]; a directory that is not empty among them.
    pub fn remove_if(&self, name: &str, identity: Identity) -> Result<bool, DirError> {
        let flags = match self.look(name)? {
            Some(facts) if facts.identity == identity => match facts.kind {
                Kind::Directory => AtFlags::REMOVEDIR,
                Kind::File | Kind::Link | Kind::Socket | Kind::Special => AtFlags::empty(),
            },
            Some(_) | None => return Ok(false),
        };
        match sys::unlinkat(&*self.fd, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(io_error("remove", &self.path.join(name))(error)),
        }
    }

    /// Why `name` could not be opened: by its flaw where it has one, since a link, a socket or
    /// what we may not read is refused by the kernel before it can be checked.
    fn not_opened(&self, name: &str, role: Role, path: &Path, error: Errno) -> DirError {
        let flaw = facts_at(&*self.fd, name)
            .ok()
            .and_then(|facts| require(&facts, role, path).err());
        flaw.unwrap_or_else(|| io_error("open", path)(error))
    }

    /// Where the entry `name` is, for messages. One component only: a handle is no protection
    /// from a name that leads elsewhere.
    fn entry(&self, name: &str) -> Result<PathBuf, DirError> {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            let path = PathBuf::from(name);
            return Err(DirError::BadName { path });
        }
        Ok(self.path.join(name))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The directory that `path` is in and its own name, unless it ends in `..` or is the root.
fn last_name(path: &Path) -> Result<Option<(&Path, &str)>, DirError> {
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => match name.to_str() {
            Some(name) => Ok(Some((parent, name))),
            None => Err(DirError::BadName {
                path: path.to_path_buf(),
            }),
        },
        _ => Ok(None),
    }
}

fn facts_of(fd: impl AsFd) -> Result<Facts, Errno> {
    sys::fstat(fd).map(|stat| Facts::of(&stat))
}

fn facts_at(at: impl AsFd, name: impl rustix::path::Arg) -> Result<Facts, Errno> {
    sys::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Facts::of(&stat))
}

#[cfg(test)]
mod tests {
    use super::testing::{OTHER, assert_untrusted, chmod, give_away, home, mkdir};
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    #[test]
    fn opens_what_is_ours_and_says_when_it_is_not_there() {
        let (home, _) = home();
        mkdir(home.path().join("a/b"));
        let dir = Dir::open(&home.path().join("a/./b/../b")).unwrap();
        let expected = fs::metadata(home.path().join("a/b")).unwrap();
        let identity = dir.facts().unwrap().identity;
        assert_eq!(
            (identity.dev, identity.ino),
            (expected.dev(), expected.ino())
        );
        assert!(
            Dir::open(&home.path().join("a/c"))
                .unwrap_err()
                .is_not_found()
        );
        assert!(
            Dir::open(&home.path().join("c/.."))
                .unwrap_err()
                .is_not_found()
        );
        let relative = Dir::open(Path::new("a/b"));
        assert!(
            matches!(relative, Err(DirError::BadName { .. })),
            "{relative:?}"
        );
        Dir::open(Path::new("/")).unwrap();
    }

    #[test]
    fn private_directories_are_made_private_and_demanded_private() {
        let (home, _) = home();
        let path = home.path().join("a/b");
        let role = Role::SocketParent;
        let (dir, made) = Dir::create_private(&path, role).unwrap();
        for made in [home.path().join("a"), path.clone()] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
        }
        assert!(
            Dir::create_private(&path, role).unwrap().1.is_none(),
            "it was there"
        );
        Dir::open_private(&path.join("."), role).unwrap();
        for mode in [0o710, 0o701, 0o740, 0o777] {
            chmod(&path, mode);
            assert_untrusted(Dir::open_private(&path, role), role, Flaw::Mode(mode));
            assert_untrusted(Dir::create_private(&path, role), role, Flaw::Mode(mode));
            assert_untrusted(dir.require(role), role, Flaw::Mode(mode));
        }
        chmod(&path, 0o700);
        symlink("b", home.path().join("a/link")).unwrap();
        let link = Dir::open_private(&home.path().join("a/link"), role);
        assert_untrusted(link, role, Flaw::Kind(Kind::Link));
        assert_untrusted(
            Dir::open_private(Path::new("/"), role),
            role,
            if own_uid() == 0 {
                Flaw::Mode(fs::metadata("/").unwrap().mode() & 0o7777)
            } else {
                Flaw::Owner(0)
            },
        );
        drop(made);
        assert!(!path.exists(), "what was made is removed");
        assert!(home.path().join("a").exists(), "what is above is not");
    }

    #[test]
    fn a_private_directory_of_another_user_is_named_as_such() {
        let (home, _) = home();
        let path = home.path().join("theirs");
        mkdir(&path);
        chmod(&path, 0o700);
        if give_away(&path) {
            let role = Role::CapabilityDirectory;
            assert_untrusted(Dir::open_private(&path, role), role, Flaw::Owner(OTHER));
            assert_untrusted(Dir::create_private(&path, role), role, Flaw::Owner(OTHER));
            chown(&path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn of_many_who_make_a_directory_one_made_it() {
        let (_home, dir) = home();
        for round in 0..50 {
            let name = round.to_string();
            let made = std::thread::scope(|scope| {
                let maker = || dir.create_child(&name, Role::SocketParent).unwrap().1;
                let makers: Vec<_> = (0..4).map(|_| scope.spawn(maker)).collect();
                let made = makers.into_iter().filter_map(|maker| maker.join().unwrap());
                made.map(Placed::keep).count()
            });
            assert_eq!(made, 1);
        }
    }

    #[test]
    fn entries_are_listed_looked_at_and_removed_by_identity() {
        let (home, dir) = home();
        fs::write(home.path().join("file"), "abc").unwrap();
        mkdir(home.path().join("dir"));
        symlink("file", home.path().join("link")).unwrap();
        let mut names: Vec<String> = dir.names().unwrap().map(Result::unwrap).collect();
        names.sort();
        assert_eq!(names, ["dir", "file", "link"]);
        let kind = |name: &str| dir.look(name).unwrap().map(|facts| facts.kind);
        assert_eq!(kind("file"), Some(Kind::File));
        assert_eq!(kind("link"), Some(Kind::Link));
        assert_eq!(kind("none"), None);

        let identity = |name: &str| dir.look(name).unwrap().unwrap().identity;
        let (file, sub) = (identity("file"), identity("dir"));
        assert!(!dir.remove_if("file", sub).unwrap());
        assert!(!dir.remove_if("none", file).unwrap());
        assert!(home.path().join("file").exists());
        assert!(dir.remove_if("file", file).unwrap());
        fs::write(home.path().join("dir/x"), "").unwrap();
        assert!(dir.remove_if("dir", sub).is_err(), "it is not empty");
        fs::remove_file(home.path().join("dir/x")).unwrap();
        assert!(dir.remove_if("dir", sub).unwrap());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (home, dir) = home();
        let other = Identity { dev: 0, ino: 0 };
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            for error in [
                dir.look(name).unwrap_err(),
                dir.open_child(name, Role::Ancestor).unwrap_err(),
                dir.create_child(name, Role::Ancestor).unwrap_err(),
                dir.remove_if(name, other).unwrap_err(),
                dir.read_private(name, 1).unwrap_err(),
                dir.write_atomic(name, b"").unwrap_err(),
                dir.lock(name).unwrap_err(),
                dir.place(name).unwrap_err(),
            ] {
                assert!(
                    matches!(error, DirError::BadName { .. }),
                    "{name:?}: {error}"
                );
            }
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
