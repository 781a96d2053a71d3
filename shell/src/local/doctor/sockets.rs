//! Where a default socket would be, and what dead daemons left there.

use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, Access, AtFlags};

use super::mend::restrict;
use super::{Exam, Severity, flaw_text, reason};
use crate::dir::{Dir, Flaw, Role, check, own_uid};
use crate::local::socket_dir;
use crate::paths::{self, MAX_SOCKET_PATH_BYTES};

/// What a daemon adds to a base at most: `/<pid>-<nonce>/messaging.sock.owner`, with the
/// longest pid there is on Linux.
const ADDED_BYTES: usize = "/4194304-".len() + 32 + "/messaging.sock.owner".len();

pub(super) fn examine(exam: &mut Exam<'_>) {
    let bases = match exam.home.environment().socket_bases() {
        Ok(bases) => bases,
        Err(error) => {
            exam.add(
                Severity::Error,
                None,
                [
                    "no directory for a default socket".to_owned(),
                    error.to_string(),
                    "set TMPDIR to a short absolute path".to_owned(),
                ],
            );
            return;
        }
    };
    // Each is looked at, not only the first that can be used.
    let usable = bases.iter().filter(|path| base(exam, path)).count();
    if usable == 0 {
        exam.add(
            Severity::Error,
            None,
            [
                "no directory for a default socket".to_owned(),
                format!("none of {} can be used", bases.join(", ")),
                "mend one of them, set TMPDIR, or choose a path with --socket".to_owned(),
            ],
        );
    }
}

/// Examines one base; whether a daemon could use it.
fn base(exam: &mut Exam<'_>, path: &str) -> bool {
    let Ok((above, name)) = paths::split_socket_path(path) else {
        return false;
    };
    let fits = fits(exam, path);
    let above = match Dir::open(Path::new(above)) {
        Ok(dir) => dir,
        Err(error) => {
            let path = PathBuf::from(above);
            // More than one base may be below it.
            if exam.findings.iter().any(|f| f.path.as_ref() == Some(&path)) {
                return false;
            }
            exam.add(
                Severity::Note,
                path,
                [
                    format!("no sockets can be below {above}"),
                    reason(&error),
                    "nothing, since another is used, or mend it, or set TMPDIR".to_owned(),
                ],
            );
            return false;
        }
    };
    let Ok(Some(facts)) = above.look(name) else {
        // It would be made.
        let access = Access::WRITE_OK | Access::EXEC_OK;
        return fits && sys::accessat(&above, ".", access, AtFlags::EACCESS).is_ok();
    };
    if let Err(flaw) = check(&facts, Role::SocketParent, own_uid()) {
        let mode = matches!(flaw, Flaw::Mode(_));
        let fixed = exam.fix && mode && restrict(&above, name, &facts, 0o077);
        let (severity, what, fix) = match flaw {
            // Usual on a machine that several people use.
            Flaw::Owner(_) => (
                Severity::Note,
                format!("another user has the socket directory {path}"),
                "another directory is used".to_owned(),
            ),
            Flaw::Mode(_) => (
                Severity::Warning,
                format!("socket directory is not private: {path}"),
                format!("run chmod 700 {path}"),
            ),
            Flaw::Kind(_) => (
                Severity::Warning,
                format!("socket directory is none: {path}"),
                "remove it".to_owned(),
            ),
        };
        let why = flaw_text(flaw);
        exam.add_mended(severity, PathBuf::from(path), [what, why, fix], fixed);
        if !fixed {
            return false;
        }
    }
    match above.open_child(name, Role::SocketParent) {
        Ok(dir) => {
            left_behind(exam, &dir);
            fits
        }
        Err(_) => false,
    }
}

fn fits(exam: &mut Exam<'_>, path: &str) -> bool {
    let length = path.len() + ADDED_BYTES;
    if length > MAX_SOCKET_PATH_BYTES {
        exam.add(
            Severity::Note,
            PathBuf::from(path),
            [
                format!("too long for default sockets: {path}"),
                format!(
                    "a socket there would have a path of {length} bytes, the limit is {MAX_SOCKET_PATH_BYTES}"
                ),
                "set TMPDIR to a shorter path for other programs, since hallway uses another directory"
                    .to_owned(),
            ],
        );
    }
    length <= MAX_SOCKET_PATH_BYTES
}

fn left_behind(exam: &mut Exam<'_>, base: &Dir) {
    let Ok(names) = socket_dir::left_behind(base) else {
        return;
    };
    for name in names {
        let path = base.path().join(&name);
        let old = base.look(&name).ok().flatten();
        let old = old.is_some_and(|facts| facts.is_abandoned());
        let what = format!("socket directory of a dead session: {}", path.display());
        let why = "its process has ended, and nobody listens there";
        exam.add_left_behind(old, path, what, why);
    }
}
