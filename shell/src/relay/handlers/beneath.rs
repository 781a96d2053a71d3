//! Opening what is below a directory's handle, and nothing else.

use std::os::fd::{AsFd, OwnedFd};

#[cfg(target_os = "linux")]
use rustix::fs::ResolveFlags;
use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;

/// Why nothing was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// A symbolic link is on the way, or at its end.
    Link,
    /// The system refused.
    System(Errno),
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        if error == Errno::LOOP {
            Self::Link
        } else {
            Self::System(error)
        }
    }
}

const SAFELY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens `path`, names joined by `/` without `.` and `..`, below `dir`; empty for `dir` itself.
pub(super) fn open(dir: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    let path = if path.is_empty() { "." } else { path };
    #[cfg(target_os = "linux")]
    {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match sys::openat2(&dir, path, flags | SAFELY, Mode::empty(), resolve) {
            // A kernel or a sandbox without it.
            Err(Errno::NOSYS | Errno::PERM) => {}
            opened => return Ok(opened?),
        }
    }
    walk(dir, path, flags)
}

/// The same, one name at a time.
fn walk(dir: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    let (parents, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at: Option<OwnedFd> = None;
    for name in parents.split('/').filter(|name| !name.is_empty()) {
        let here = at.as_ref().map_or(dir.as_fd(), AsFd::as_fd);
        let pass = OFlags::RDONLY | OFlags::DIRECTORY | SAFELY;
        let opened = sys::openat(here, name, pass, Mode::empty()).map_err(|error| {
            // A link is no directory, and that is what the kernel says.
            let is_link =
                sys::statat(here, name, sys::AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                    sys::FileType::from_raw_mode(stat.st_mode) == sys::FileType::Symlink
                });
            if is_link { Error::Link } else { error.into() }
        });
        at = Some(opened?);
    }
    let here = at.as_ref().map_or(dir.as_fd(), AsFd::as_fd);
    let flags = flags | SAFELY;
    sys::openat(here, last, flags, Mode::empty()).map_err(|error| {
        let is_link = sys::statat(here, last, sys::AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| sys::FileType::from_raw_mode(stat.st_mode) == sys::FileType::Symlink);
        if is_link { Error::Link } else { error.into() }
    })
}

/// An error as the reference's platform words it.
pub(super) fn words(error: Errno, call: &str, path: &str) -> String {
    let (name, text) = match error {
        Errno::NOENT => ("ENOENT", "no such file or directory"),
        Errno::ACCESS => ("EACCES", "permission denied"),
        Errno::PERM => ("EPERM", "operation not permitted"),
        Errno::NOTDIR => ("ENOTDIR", "not a directory"),
        Errno::ISDIR => ("EISDIR", "illegal operation on a directory"),
        Errno::EXIST => ("EEXIST", "file already exists"),
        Errno::NAMETOOLONG => ("ENAMETOOLONG", "name too long"),
        Errno::NOSPC => ("ENOSPC", "no space left on device"),
        Errno::ROFS => ("EROFS", "read-only file system"),
        Errno::MFILE => ("EMFILE", "too many open files"),
        Errno::IO => ("EIO", "i/o error"),
        _ => return format!("{}, {call} '{path}'", std::io::Error::from(error)),
    };
    format!("{name}: {text}, {call} '{path}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Covers: R9.10a
    #[test]
    fn only_what_is_below_without_links_is_opened_either_way() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("w/a/b")).unwrap();
        fs::write(at("w/a/b/f"), "x").unwrap();
        fs::write(at("secret"), "x").unwrap();
        symlink("a", at("w/in")).unwrap();
        symlink("..", at("w/out")).unwrap();
        symlink("../secret", at("w/a/leak")).unwrap();
        let dir = fs::File::open(at("w")).unwrap();
        let both = |path: &str| {
            let (one, other) = (
                open(&dir, path, OFlags::RDONLY).map(drop),
                walk(
                    &dir,
                    if path.is_empty() { "." } else { path },
                    OFlags::RDONLY,
                )
                .map(drop),
            );
            assert_eq!(one, other, "{path}");
            one
        };
        for path in ["", "a", "a/b", "a/b/f"] {
            assert_eq!(both(path), Ok(()), "{path}");
        }
        for path in ["in", "in/b", "in/b/f", "out", "out/secret", "a/leak"] {
            assert_eq!(both(path), Err(Error::Link), "{path}");
        }
        for (path, error) in [
            ("none", Errno::NOENT),
            ("a/none/f", Errno::NOENT),
            ("a/b/f/g", Errno::NOTDIR),
        ] {
            assert_eq!(both(path), Err(Error::System(error)), "{path}");
        }
    }
}
