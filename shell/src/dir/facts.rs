//! What is known of a directory entry, and what speaks against it: pure functions.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, Stat};

/// From when on what looks abandoned is not taken for something just being made.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A socket.
    Socket,
    /// A FIFO or a device.
    Special,
}

impl Kind {
    /// It in words, with an article.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a regular file",
            Self::Link => "a symbolic link",
            Self::Socket => "a socket",
            Self::Special => "a FIFO or a device",
        }
    }
}

/// Which inode an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
}

/// What the kernel says of an entry, as far as trust depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Its owner.
    pub uid: u32,
    /// Its permissions, with set-id and sticky bits.
    pub mode: u32,
    /// Its inode.
    pub identity: Identity,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed.
    pub modified: SystemTime,
}

/// What an entry is wanted as, which decides what is demanded of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The directory that a socket is in: real, private, ours.
    SocketParent,
    /// The directory of capability files: real, private, ours.
    CapabilityDirectory,
    /// A directory on the way, or one that is not secret: nobody but us and root changes it.
    Ancestor,
    /// A symbolic link on the way: made by us or root.
    Link,
    /// A file with secrets: regular, private, ours.
    PrivateFile,
    /// A file without secrets: regular, ours.
    OwnFile,
    /// A socket, alive or not: ours.
    Socket,
}

/// What speaks against an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It is something else.
    Kind(Kind),
    /// It belongs to this user.
    Owner(u32),
    /// These are its permissions, which let others in.
    Mode(u32),
}

/// Why an entry was not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// It must not be trusted.
    #[error("{}", refusal(*role, path, *flaw))]
    Untrusted {
        /// What it was wanted as.
        role: Role,
        /// Where it is.
        path: PathBuf,
        /// What speaks against it.
        flaw: Flaw,
    },
    /// The path passes more than 40 symbolic links.
    #[error(
        "path cannot be resolved: {path}; it passes too many symbolic links; give the real path"
    )]
    TooManyLinks {
        /// The path.
        path: PathBuf,
    },
    /// A path that is not absolute, or a name that is not one component.
    #[error(
        "not usable as a path: {path:?}; it is relative or no plain name; give an absolute path"
    )]
    BadName {
        /// The path or name.
        path: PathBuf,
    },
    /// A file is longer than its reader takes.
    #[error(
        "file is too large: {path}; it has {size} bytes, the limit is {limit}; remove it if nothing needs it"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file grew while it was read; its writer does not replace it atomically.
    #[error("file changed while it was read: {path}; its writer is at work; try again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {path}; {source}; check its permissions and the disk")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DirError {
    /// Whether the entry does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What speaks against an entry with these `facts` as `role`, seen by user `own`.
///
/// # Errors
///
/// The first [`Flaw`]: kind, then owner, then permissions.
pub fn check(facts: &Facts, role: Role, own: u32) -> Result<(), Flaw> {
    let (kind, root_too, forbidden) = match role {
        Role::SocketParent | Role::CapabilityDirectory => (Kind::Directory, false, 0o077),
        // In a sticky directory others cannot rename or remove what is ours or root's.
        Role::Ancestor if facts.mode & 0o1000 != 0 => (Kind::Directory, true, 0),
        Role::Ancestor => (Kind::Directory, true, 0o022),
        Role::Link => (Kind::Link, true, 0),
        Role::PrivateFile => (Kind::File, false, 0o077),
        Role::OwnFile => (Kind::File, false, 0),
        Role::Socket => (Kind::Socket, false, 0),
    };
    if facts.kind != kind {
        Err(Flaw::Kind(facts.kind))
    } else if facts.uid != own && !(root_too && facts.uid == 0) {
        Err(Flaw::Owner(facts.uid))
    } else if facts.mode & forbidden != 0 {
        Err(Flaw::Mode(facts.mode))
    } else {
        Ok(())
    }
}

/// The user that our files belong to.
#[must_use]
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl Facts {
    /// What `stat` says. The types of its numbers differ between platforms.
    #[allow(clippy::useless_conversion, reason = "not useless on every platform")]
    pub(super) fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            FileType::Socket => Kind::Socket,
            FileType::Fifo
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Special,
        };
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            kind,
            uid: stat.st_uid,
            mode: u32::from(Mode::from_raw_mode(stat.st_mode).as_raw_mode()),
            identity: Identity::of(stat),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: UNIX_EPOCH
                .checked_add(Duration::new(seconds, nanos))
                .unwrap_or(UNIX_EPOCH),
        }
    }

    /// Whether its content has been left alone for [`ABANDONED_AFTER`]. One with a time still
    /// to come is not.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let age = SystemTime::now().duration_since(self.modified);
        age.is_ok_and(|age| age >= ABANDONED_AFTER)
    }
}

impl Identity {
    #[allow(clippy::unnecessary_cast, reason = "not unnecessary on every platform")]
    fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
        }
    }
}

/// Demands of `facts` what `role` does, of an entry at `path`.
pub(super) fn require(facts: &Facts, role: Role, path: &Path) -> Result<(), DirError> {
    check(facts, role, own_uid()).map_err(|flaw| DirError::Untrusted {
        role,
        path: path.to_path_buf(),
        flaw,
    })
}

/// The error of having tried `doing` with `path`.
pub(super) fn io_error<E: Into<io::Error>>(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> DirError {
    move |error| DirError::Io {
        doing,
        path: path.to_path_buf(),
        source: error.into(),
    }
}

/// The words of an [`DirError::Untrusted`]; those of the reference where it has some.
fn refusal(role: Role, path: &Path, flaw: Flaw) -> String {
    let (noun, wanted) = match role {
        Role::SocketParent => ("socket parent", "a directory"),
        Role::CapabilityDirectory => ("capability directory", "a private directory"),
        Role::Ancestor => ("directory", "a directory"),
        Role::Link => ("symbolic link", "a symbolic link"),
        Role::PrivateFile | Role::OwnFile => ("file", "a regular file"),
        Role::Socket => ("socket", "a socket"),
    };
    let path = path.display();
    match flaw {
        Flaw::Kind(kind) => {
            let kind = kind.as_str();
            format!(
                "{noun} is not {wanted}: {path}; it is {kind}; move it away or choose another place"
            )
        }
        Flaw::Owner(uid) => format!(
            "{noun} owner does not match current user: {path}; it belongs to uid {uid}; \
             choose another place"
        ),
        Flaw::Mode(mode) => {
            let fix = match role {
                Role::Ancestor => format!("run chmod go-w {path}"),
                Role::PrivateFile => format!("run chmod 600 {path}"),
                // It may be anybody's choice, such as a directory of the system.
                Role::SocketParent => format!(
                    "choose a directory that is for nothing else, or run chmod 700 {path} if it is"
                ),
                Role::CapabilityDirectory | Role::Link | Role::OwnFile | Role::Socket => {
                    format!("run chmod 700 {path}")
                }
            };
            format!("{noun} permissions are too broad: {path}; its mode is {mode:04o}; {fix}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1_000;

    fn facts(kind: Kind, uid: u32, mode: u32) -> Facts {
        Facts {
            kind,
            uid,
            mode,
            identity: Identity { dev: 1, ino: 2 },
            size: 0,
            modified: UNIX_EPOCH,
        }
    }

    #[test]
    fn each_role_demands_its_kind() {
        use Kind::{Directory, File, Link, Socket, Special};
        for (role, wanted) in [
            (Role::SocketParent, Directory),
            (Role::CapabilityDirectory, Directory),
            (Role::Ancestor, Directory),
            (Role::Link, Link),
            (Role::PrivateFile, File),
            (Role::OwnFile, File),
            (Role::Socket, Socket),
        ] {
            for kind in [Directory, File, Link, Socket, Special] {
                let expected = if kind == wanted {
                    Ok(())
                } else {
                    Err(Flaw::Kind(kind))
                };
                assert_eq!(
                    check(&facts(kind, OWN, 0o700), role, OWN),
                    expected,
                    "{role:?}"
                );
            }
        }
    }

    #[test]
    fn only_on_the_way_root_is_as_good_as_we_are() {
        for (role, kind, root_too) in [
            (Role::SocketParent, Kind::Directory, false),
            (Role::CapabilityDirectory, Kind::Directory, false),
            (Role::Ancestor, Kind::Directory, true),
            (Role::Link, Kind::Link, true),
            (Role::PrivateFile, Kind::File, false),
            (Role::OwnFile, Kind::File, false),
            (Role::Socket, Kind::Socket, false),
        ] {
            let root = if root_too {
                Ok(())
            } else {
                Err(Flaw::Owner(0))
            };
            assert_eq!(check(&facts(kind, 0, 0o700), role, OWN), root, "{role:?}");
            let other = check(&facts(kind, 1_001, 0o1700), role, OWN);
            assert_eq!(other, Err(Flaw::Owner(1_001)), "{role:?}");
        }
    }

    #[test]
    fn every_permission_is_judged() {
        for mode in 0..=0o7777 {
            let private = mode & 0o077 == 0;
            let safe = mode & 0o022 == 0 || mode & 0o1000 != 0;
            for (role, kind, good) in [
                (Role::SocketParent, Kind::Directory, private),
                (Role::CapabilityDirectory, Kind::Directory, private),
                (Role::Ancestor, Kind::Directory, safe),
                (Role::PrivateFile, Kind::File, private),
                (Role::OwnFile, Kind::File, true),
                (Role::Link, Kind::Link, true),
                (Role::Socket, Kind::Socket, true),
            ] {
                let expected = if good { Ok(()) } else { Err(Flaw::Mode(mode)) };
                let judged = check(&facts(kind, OWN, mode), role, OWN);
                assert_eq!(judged, expected, "{role:?} {mode:o}");
            }
        }
    }

    /// Covers: L2.27, L2.28
    #[test]
    fn refusals_are_worded_as_other_programs_word_them() {
        for (role, flaw, expected) in [
            (
                Role::SocketParent,
                Flaw::Mode(0o755),
                "socket parent permissions are too broad: /x; its mode is 0755; choose a directory that is for nothing else, or run chmod 700 /x if it is",
            ),
            (
                Role::SocketParent,
                Flaw::Kind(Kind::File),
                "socket parent is not a directory: /x; it is a regular file; move it away or choose another place",
            ),
            (
                Role::SocketParent,
                Flaw::Owner(7),
                "socket parent owner does not match current user: /x; it belongs to uid 7; choose another place",
            ),
            (
                Role::CapabilityDirectory,
                Flaw::Kind(Kind::Link),
                "capability directory is not a private directory: /x; it is a symbolic link; move it away or choose another place",
            ),
            (
                Role::Ancestor,
                Flaw::Mode(0o777),
                "directory permissions are too broad: /x; its mode is 0777; run chmod go-w /x",
            ),
            (
                Role::PrivateFile,
                Flaw::Mode(0o644),
                "file permissions are too broad: /x; its mode is 0644; run chmod 600 /x",
            ),
        ] {
            let path = PathBuf::from("/x");
            assert_eq!(
                DirError::Untrusted { role, path, flaw }.to_string(),
                expected
            );
        }
    }

    #[test]
    fn abandoned_is_what_was_left_alone_for_a_minute() {
        let aged = |modified| Facts {
            modified,
            ..facts(Kind::File, OWN, 0o600)
        };
        let now = SystemTime::now();
        assert!(aged(now - ABANDONED_AFTER).is_abandoned());
        assert!(!aged(now - ABANDONED_AFTER + Duration::from_secs(5)).is_abandoned());
        assert!(!aged(now + Duration::from_secs(3_600)).is_abandoned());
    }
}
