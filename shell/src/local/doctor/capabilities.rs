//! The capability files: whether each is private, ours, and speaks of a socket that lives.

use std::path::PathBuf;

use hallway_core::local::capability as text;

use super::mend::restrict;
use super::{Exam, MAX_ENTRIES, Severity, flaw_text, reason};
use crate::dir::{Dir, Facts, Flaw, Role, check, own_uid};
use crate::local::capability::{self, DIRECTORY};
use crate::local::socket_dir::provably_dead;

/// What others must not be able to do to the directory and the files.
const FORBIDDEN: u32 = 0o077;

pub(super) fn examine(exam: &mut Exam<'_>, config: &Dir) {
    let Some(dir) = directory(exam, config) else {
        return;
    };
    let Ok(names) = dir.names() else { return };
    let (mut seen, mut strange) = (0_usize, Vec::new());
    for name in names.take(MAX_ENTRIES).flatten() {
        seen = seen.saturating_add(1);
        if capability::is_file_name(&name) {
            file(exam, &dir, &name);
        } else if Dir::is_temporary(&name) {
            exam.temporary(&dir, &name);
        } else {
            strange.push(name);
        }
    }
    if let Some(first) = strange.first() {
        exam.add(
            Severity::Note,
            dir.path().join(first),
            [
                format!(
                    "{} entries of the capability directory are no capabilities: {first} is one",
                    strange.len()
                ),
                "hallway did not make them".to_owned(),
                "remove them if nothing needs them".to_owned(),
            ],
        );
    }
    exam.looked_at(&dir, seen);
}

fn directory(exam: &mut Exam<'_>, config: &Dir) -> Option<Dir> {
    let facts = config.look(DIRECTORY).ok().flatten()?;
    let path = config.path().join(DIRECTORY);
    let shown = path.display();
    if let Err(flaw) = check(&facts, Role::CapabilityDirectory, own_uid()) {
        let mode = matches!(flaw, Flaw::Mode(_));
        let fixed = exam.fix && mode && restrict(config, DIRECTORY, &facts, FORBIDDEN);
        let fix = if mode {
            format!("run chmod 700 {shown}")
        } else {
            format!("move it away, and it is made anew: {shown}")
        };
        exam.add_mended(
            Severity::Error,
            path.clone(),
            [
                format!("capability directory is not private: {shown}"),
                format!(
                    "{}, and no program of the dialect uses it like that",
                    flaw_text(flaw)
                ),
                fix,
            ],
            fixed,
        );
        if !fixed {
            return None;
        }
    }
    match config.open_child(DIRECTORY, Role::CapabilityDirectory) {
        Ok(dir) => Some(dir),
        Err(error) => {
            exam.add(
                Severity::Error,
                path.clone(),
                [
                    format!("capability directory cannot be used: {shown}"),
                    reason(&error),
                    format!("run chmod 700 {shown}"),
                ],
            );
            None
        }
    }
}

fn file(exam: &mut Exam<'_>, dir: &Dir, name: &str) {
    // Withdrawn since the directory was listed.
    let Some(facts) = dir.look(name).ok().flatten() else {
        return;
    };
    let path = dir.path().join(name);
    if let Err(flaw) = check(&facts, Role::PrivateFile, own_uid()) {
        let shown = path.display();
        if let Flaw::Mode(_) = flaw {
            let fixed = exam.fix && restrict(dir, name, &facts, FORBIDDEN);
            exam.add_mended(
                Severity::Error,
                path.clone(),
                [
                    format!("others can read a token: {shown}"),
                    flaw_text(flaw),
                    format!("run chmod 600 {shown}, and restart its session: the token is known"),
                ],
                fixed,
            );
            if !fixed {
                return;
            }
        } else {
            exam.add(
                Severity::Warning,
                path.clone(),
                [
                    format!("capability file is not believed: {shown}"),
                    flaw_text(flaw),
                    "remove it".to_owned(),
                ],
            );
            return;
        }
    }
    content(exam, dir, name, &facts, path);
}

fn content(exam: &mut Exam<'_>, dir: &Dir, name: &str, facts: &Facts, path: PathBuf) {
    let opened = dir.open_file(name, Role::PrivateFile);
    let read = opened.and_then(|file| Ok((file.read(text::MAX_BYTES)?, file)));
    let (content, file) = match read {
        Ok(read) => read,
        Err(error) if error.is_not_found() => return,
        Err(error) => return unusable(exam, path, reason(&error)),
    };
    if content.is_empty() {
        let what = format!("capability file is empty: {}", path.display());
        exam.add_left_behind(facts.is_abandoned(), path, what, "its writer was killed");
        return;
    }
    let Some(socket) = capability::socket_path(&content) else {
        return unusable(exam, path, "it names no socket".to_owned());
    };
    if capability::file_name(&socket) != name {
        return unusable(
            exam,
            path,
            "its name is not the hash of its socket".to_owned(),
        );
    }
    if let Err(error) = text::parse(&content, &socket) {
        return unusable(exam, path, error.to_string());
    }
    // A daemon in another namespace holds its file's lock, whatever is seen of its socket.
    if !file.writer_is_gone() {
        return;
    }
    let what = format!("capability file of a dead socket: {}", path.display());
    if provably_dead(&socket).is_some() {
        let why = format!("nobody listens at {socket}");
        exam.add_left_behind(facts.is_abandoned(), path, what, &why);
    } else if super::is_missing(std::path::Path::new(&socket)) {
        exam.add(
            Severity::Note,
            path,
            [
                what,
                format!("{socket} is not there, in a directory that is not ours to judge"),
                "remove it if its session is gone".to_owned(),
            ],
        );
    }
}

fn unusable(exam: &mut Exam<'_>, path: PathBuf, why: String) {
    let what = format!("capability file is none: {}", path.display());
    let fix = "remove it, and restart its session if that lives";
    exam.add(Severity::Warning, path, [what, why, fix.to_owned()]);
}
