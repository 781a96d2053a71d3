//! From the root to a directory, each component opened in the one before (local.md §5.8).

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;

use super::facts::{DirError, Kind, Role, io_error, require};
use super::{Dir, HANDLE, PRIVATE_DIR, facts_at, facts_of};

/// How many symbolic links a path may pass, as in the kernel.
const MAX_LINKS: usize = 40;
/// To pass through a directory its search permission is enough.
#[cfg(target_os = "linux")]
const PASS: OFlags = HANDLE.union(OFlags::PATH);
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = HANDLE;

/// Opens the directory at `path` from the root, each component in the one before, each checked
/// before the next one is looked up. With `create`, missing ones are made with mode 0700.
pub(super) fn walk(path: &Path, create: bool) -> Result<Dir, DirError> {
    if !path.is_absolute() {
        return Err(DirError::BadName {
            path: path.to_path_buf(),
        });
    }
    let mut seen = PathBuf::from("/");
    let mut at = pass(sys::CWD, OsStr::new("/"), &seen)?;
    let mut left = pending(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        seen.push(&name);
        let facts = match facts_at(&at, &*name) {
            Err(Errno::NOENT) if create => match sys::mkdirat(&at, &*name, PRIVATE_DIR) {
                Ok(()) | Err(Errno::EXIST) => facts_at(&at, &*name),
                Err(error) => return Err(io_error("create", &seen)(error)),
            },
            found => found,
        };
        let facts = facts.map_err(io_error("open", &seen))?;
        if facts.kind != Kind::Link {
            at = pass(&at, &name, &seen)?;
            continue;
        }
        // Between looking at a link and reading it, nobody but its owner and that of the
        // directory can replace it, and both have been checked.
        require(&facts, Role::Link, &seen)?;
        links += 1;
        if links > MAX_LINKS {
            return Err(DirError::TooManyLinks {
                path: path.to_path_buf(),
            });
        }
        let target = sys::readlinkat(&at, &*name, Vec::new()).map_err(io_error("read", &seen))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        left.extend(pending(&target));
        seen.pop();
        if target.is_absolute() {
            seen = PathBuf::from("/");
            at = pass(sys::CWD, OsStr::new("/"), &seen)?;
        }
    }
    // To be listed it is opened for reading, where that is allowed.
    let readable = sys::openat(&at, ".", HANDLE | OFlags::RDONLY, Mode::empty());
    Ok(Dir {
        fd: Arc::new(readable.unwrap_or(at)),
        path: path.to_path_buf(),
    })
}

/// Opens the directory `name` in `at` to pass through it, and checks it. Never follows a link.
fn pass(at: impl AsFd, name: &OsStr, seen: &Path) -> Result<OwnedFd, DirError> {
    let opened = sys::openat(&at, name, PASS, Mode::empty());
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Named by its flaw where it has one: no directory, or another user's.
            if let Ok(facts) = facts_at(&at, name) {
                require(&facts, Role::Ancestor, seen)?;
            }
            return Err(io_error("open", seen)(error));
        }
    };
    require(
        &facts_of(&opened).map_err(io_error("look at", seen))?,
        Role::Ancestor,
        seen,
    )?;
    Ok(opened)
}

/// The components of `path`, the first one last. `..` stays: in an open directory it is what
/// the kernel means by it.
fn pending(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Flaw;
    use super::super::testing::{OTHER, assert_untrusted, chmod, give_away, home, mkdir};
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    /// Covers: L5.8b
    #[test]
    fn every_directory_on_the_way_is_checked() {
        let (home, _) = home();
        let (above, below) = (home.path().join("above"), home.path().join("above/below"));
        mkdir(&below);
        for mode in [0o770, 0o702, 0o722] {
            chmod(&above, mode);
            assert_untrusted(Dir::open(&below), Role::Ancestor, Flaw::Mode(mode));
        }
        for mode in [0o1777, 0o755, 0o711] {
            chmod(&above, mode);
            Dir::open(&below).unwrap();
        }
        // `..` leads through it, too.
        chmod(&above, 0o777);
        let around = above.join("..");
        assert_untrusted(Dir::open(&around), Role::Ancestor, Flaw::Mode(0o777));
        chmod(&above, 0o700);
        if give_away(&above) {
            assert_untrusted(Dir::open(&below), Role::Ancestor, Flaw::Owner(OTHER));
        }
        fs::write(home.path().join("file"), "").unwrap();
        let file = Dir::open(&home.path().join("file/x"));
        assert_untrusted(file, Role::Ancestor, Flaw::Kind(Kind::File));
    }

    #[test]
    fn links_of_ours_are_followed_and_their_targets_checked() {
        let (home, _) = home();
        let path = |name: &str| home.path().join(name);
        mkdir(path("real/deep"));
        symlink("real", path("relative")).unwrap();
        symlink(path("relative/deep/.."), path("absolute")).unwrap();
        let expected = fs::metadata(path("real/deep")).unwrap().ino();
        for way in [
            "relative/deep",
            "absolute/deep",
            "absolute/../relative/deep",
        ] {
            assert_eq!(
                Dir::open(&path(way)).unwrap().facts().unwrap().identity.ino,
                expected
            );
        }
        chmod(&path("real"), 0o777);
        let broad = Dir::open(&path("absolute/deep"));
        assert_untrusted(broad, Role::Ancestor, Flaw::Mode(0o777));

        symlink("loop", path("loop")).unwrap();
        let looped = Dir::open(&path("loop/x"));
        assert!(
            matches!(looped, Err(DirError::TooManyLinks { .. })),
            "{looped:?}"
        );
        symlink("nowhere", path("dangling")).unwrap();
        assert!(Dir::open(&path("dangling")).unwrap_err().is_not_found());
        Dir::create(&path("dangling/x")).unwrap();
        assert!(path("nowhere/x").is_dir());
    }

    #[test]
    fn links_of_others_are_not_followed() {
        let (home, _) = home();
        let link = home.path().join("link");
        mkdir(home.path().join("real"));
        symlink("real", &link).unwrap();
        Dir::open(&link).unwrap();
        if give_away(&link) {
            assert_untrusted(Dir::open(&link), Role::Link, Flaw::Owner(OTHER));
        }
    }

    #[test]
    fn a_chain_of_forty_links_is_the_longest() {
        let (home, _) = home();
        mkdir(home.path().join("0"));
        for number in 1..=41 {
            symlink(
                format!("{}", number - 1),
                home.path().join(number.to_string()),
            )
            .unwrap();
        }
        Dir::open(&home.path().join("40")).unwrap();
        assert!(Dir::open(&home.path().join("41")).is_err());
    }
}
