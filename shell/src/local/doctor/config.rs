//! The config home.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{self as sys, Access, AtFlags};

use super::mend::restrict;
use super::{Exam, Severity, reason};
use crate::dir::{Dir, DirError, Flaw, own_uid};

/// What others must not be able to do to the config home itself.
const FORBIDDEN: u32 = 0o022;

/// Examines the config home; it is returned if what is in it can be looked at.
pub(super) fn examine(exam: &mut Exam<'_>) -> Option<Dir> {
    let path = exam.home.config().to_owned();
    match Dir::open(&path) {
        Ok(dir) => {
            usable(exam, &dir);
            Some(dir)
        }
        Err(error) if error.is_not_found() => {
            missing(exam, &path);
            None
        }
        Err(error) => refused(exam, &path, &error),
    }
}

fn missing(exam: &mut Exam<'_>, path: &Path) {
    let shown = path.display();
    if std::fs::symlink_metadata(path).is_ok() {
        exam.add(
            Severity::Error,
            path.to_owned(),
            [
                format!("config home leads nowhere: {shown}"),
                "it is a symbolic link to what does not exist".to_owned(),
                "make what it leads to, or name another with CLAUDE_CONFIG_DIR".to_owned(),
            ],
        );
    } else {
        exam.add(
            Severity::Note,
            path.to_owned(),
            [
                format!("config home does not exist: {shown}"),
                "no session has used it yet".to_owned(),
                "`hallway serve` makes it, or check CLAUDE_CONFIG_DIR if there should be one"
                    .to_owned(),
            ],
        );
    }
}

/// What would keep a session from writing to it.
fn usable(exam: &mut Exam<'_>, dir: &Dir) {
    let path = dir.path().to_owned();
    let shown = path.display();
    if let Ok(facts) = dir.facts() {
        if facts.uid != own_uid() {
            exam.add(
                Severity::Error,
                path.clone(),
                [
                    format!("config home is another user's: {shown}"),
                    format!("it belongs to uid {}", facts.uid),
                    "name one of your own with CLAUDE_CONFIG_DIR".to_owned(),
                ],
            );
        } else if facts.mode & FORBIDDEN != 0 {
            // Only a sticky one comes this far.
            exam.add(
                Severity::Warning,
                path.clone(),
                [
                    format!("others can add to the config home: {shown}"),
                    format!(
                        "its mode is {:04o}, so that they can take names first",
                        facts.mode
                    ),
                    "name one of your own with CLAUDE_CONFIG_DIR".to_owned(),
                ],
            );
        }
    }
    if let Err(error) = sys::accessat(
        dir,
        ".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    ) {
        exam.add(
            Severity::Error,
            path.clone(),
            [
                format!("config home cannot be written: {shown}"),
                std::io::Error::from(error).to_string(),
                format!("run chmod u+wx {shown}, or mount it writable"),
            ],
        );
    }
    if let Ok(space) = sys::fstatvfs(dir)
        && (space.f_bavail == 0 || (space.f_files > 0 && space.f_favail == 0))
    {
        exam.add(
            Severity::Error,
            path.clone(),
            [
                format!("no space in the config home: {shown}"),
                "its file system is full, so that nothing can be published".to_owned(),
                "remove what is not needed there".to_owned(),
            ],
        );
    }
}

fn refused(exam: &mut Exam<'_>, path: &Path, error: &DirError) -> Option<Dir> {
    let at = match error {
        DirError::Untrusted { path, .. } | DirError::Io { path, .. } => path.as_path(),
        DirError::TooManyLinks { .. }
        | DirError::BadName { .. }
        | DirError::TooLarge { .. }
        | DirError::Changed { .. } => path,
    };
    let shown = at.display();
    let why = reason(error);
    if !is_same(path, at) {
        exam.add(
            Severity::Error,
            at.to_owned(),
            [
                format!("a directory above the config home is not safe: {shown}"),
                why,
                advice(
                    error,
                    at,
                    "name a config home elsewhere with CLAUDE_CONFIG_DIR",
                ),
            ],
        );
        return None;
    }
    let fixed = exam.fix && is_mode(error) && mend(at);
    exam.add_mended(
        Severity::Error,
        at.to_owned(),
        [
            format!("config home cannot be used: {shown}"),
            why,
            advice(error, at, "name another one with CLAUDE_CONFIG_DIR"),
        ],
        fixed,
    );
    let dir = fixed.then(|| Dir::open(path).ok()).flatten()?;
    usable(exam, &dir);
    Some(dir)
}

fn is_mode(error: &DirError) -> bool {
    matches!(
        error,
        DirError::Untrusted {
            flaw: Flaw::Mode(_),
            ..
        }
    )
}

fn advice(error: &DirError, at: &Path, otherwise: &str) -> String {
    if is_mode(error) {
        format!("run chmod go-w {}", at.display())
    } else {
        otherwise.to_owned()
    }
}

/// Takes from the directory `at`, whose every ancestor is safe, what others must not have.
fn mend(at: &Path) -> bool {
    let (Some(above), Some(name)) = (at.parent(), at.file_name().and_then(|name| name.to_str()))
    else {
        return false;
    };
    Dir::open(above).is_ok_and(|above| {
        let facts = above.look(name).ok().flatten();
        facts.is_some_and(|facts| restrict(&above, name, &facts, FORBIDDEN))
    })
}

/// Whether `path`, followed, is the entry `at`.
fn is_same(path: &Path, at: &Path) -> bool {
    match (std::fs::metadata(path), std::fs::symlink_metadata(at)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), _) => path == at,
    }
}
