//! What the tests of directories and of what lives in them share.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Dir, DirError, Flaw, Role};

/// A private directory of its own for a test.
pub(crate) fn home() -> (tempfile::TempDir, Dir) {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let dir = Dir::open(home.path()).unwrap();
    (home, dir)
}

/// The names in `dir`, sorted.
pub(crate) fn names(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> = dir.names().unwrap().map(Result::unwrap).collect();
    names.sort();
    names
}

/// A user that is neither us nor root.
pub(crate) const OTHER: u32 = 65_534;

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives `path` to another user; only root can.
pub(crate) fn give_away(path: &Path) -> bool {
    let given = std::os::unix::fs::lchown(path, Some(OTHER), None).is_ok();
    if !given {
        eprintln!("skipped: giving files away takes root");
    }
    given
}

#[track_caller]
pub(crate) fn assert_untrusted<T: std::fmt::Debug>(
    result: Result<T, DirError>,
    role: Role,
    flaw: Flaw,
) {
    match result {
        Err(DirError::Untrusted {
            role: r, flaw: f, ..
        }) => assert_eq!((r, f), (role, flaw)),
        other => panic!("not refused as {role:?} for {flaw:?}: {other:?}"),
    }
}

/// Sets the time of the last change of the entry at `path` back by `seconds`.
pub(crate) fn age(path: &Path, seconds: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

/// Makes a private directory and what is missing above it, whatever the umask.
pub(crate) fn mkdir(path: impl AsRef<Path>) {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).unwrap();
}

/// Makes a FIFO.
pub(crate) fn mkfifo(path: impl AsRef<Path>) {
    let made = std::process::Command::new("mkfifo")
        .arg(path.as_ref())
        .status();
    assert!(made.unwrap().success());
}
