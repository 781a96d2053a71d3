//! The registry: records of the dead, sessions that cannot be reached, and clashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hallway_core::local::record::Liveness;

use super::mend::restrict;
use super::{Exam, MAX_ENTRIES, Severity, reason};
use crate::dir::{Dir, DirError, Flaw, Kind, Role};
use crate::local::capability::{self, CapabilityError};
use crate::local::registry::{self, DIRECTORY, ENTRYPOINT, Session, Skipped};
use crate::local::socket_dir::{Occupant, probe};
use crate::paths;

/// How many sessions of a clash are named.
const MAX_NAMED: usize = 8;

pub(super) fn examine(exam: &mut Exam<'_>, config: &Dir) {
    let Some(dir) = directory(exam, config) else {
        return;
    };
    let Ok(names) = dir.names() else { return };
    let mut seen = 0_usize;
    for name in names.take(MAX_ENTRIES).flatten() {
        seen = seen.saturating_add(1);
        if Dir::is_temporary(&name) {
            exam.temporary(&dir, &name);
        }
    }
    exam.looked_at(&dir, seen);
    let Ok(scanned) = registry::scan(config.path()) else {
        return;
    };
    let mut living = Vec::new();
    for scanned in scanned {
        match scanned.outcome {
            Err(skipped) => unreadable(exam, &dir, scanned.pid, &skipped),
            Ok(session) => match session.liveness {
                Liveness::Gone => dead(exam, &dir, &session, "its process has ended"),
                Liveness::Recycled => {
                    let why = "its process has ended, and another has its pid";
                    dead(exam, &dir, &session, why);
                }
                Liveness::Foreign => {
                    dead(exam, &dir, &session, "its pid is a process of another user");
                }
                Liveness::Live | Liveness::Doubtful => living.push(session),
            },
        }
    }
    for session in &living {
        reachable(exam, session);
    }
    clashes(exam, &living);
}

fn directory(exam: &mut Exam<'_>, config: &Dir) -> Option<Dir> {
    let facts = config.look(DIRECTORY).ok().flatten()?;
    let path = config.path().join(DIRECTORY);
    let shown = path.display();
    let opened = match Dir::open(&path) {
        Err(DirError::Untrusted {
            flaw: Flaw::Mode(mode),
            ..
        }) if facts.kind == Kind::Directory => {
            let fixed = exam.fix && restrict(config, DIRECTORY, &facts, 0o077);
            exam.add_mended(
                Severity::Error,
                path.clone(),
                [
                    format!("others can change the registry: {shown}"),
                    format!("its mode is {mode:04o}, and no reader believes it like that"),
                    format!("run chmod 700 {shown}"),
                ],
                fixed,
            );
            if !fixed {
                return None;
            }
            Dir::open(&path)
        }
        Ok(dir) if facts.kind == Kind::Directory && facts.mode & 0o077 != 0 => {
            let fixed = exam.fix && restrict(config, DIRECTORY, &facts, 0o077);
            exam.add_mended(
                Severity::Note,
                path.clone(),
                [
                    format!("others can read the registry: {shown}"),
                    format!("its mode is {:04o}, where 0700 is usual", facts.mode),
                    format!("run chmod 700 {shown}"),
                ],
                fixed,
            );
            Ok(dir)
        }
        opened => opened,
    };
    match opened {
        Ok(dir) => Some(dir),
        Err(error) => {
            exam.add(
                Severity::Error,
                path.clone(),
                [
                    format!("registry cannot be used: {shown}"),
                    reason(&error),
                    format!("move it away, and it is made anew: {shown}"),
                ],
            );
            None
        }
    }
}

fn record_path(dir: &Dir, pid: u32) -> PathBuf {
    dir.path().join(registry::file_name(pid))
}

fn unreadable(exam: &mut Exam<'_>, dir: &Dir, pid: u32, skipped: &Skipped) {
    let path = record_path(dir, pid);
    let why = match skipped {
        Skipped::File(error) => reason(error),
        Skipped::Content { source, .. } => source.to_string(),
    };
    exam.add(
        Severity::Warning,
        path.clone(),
        [
            format!("registry record cannot be read: {}", path.display()),
            why,
            format!("remove it if process {pid} is no session"),
        ],
    );
}

fn dead(exam: &mut Exam<'_>, dir: &Dir, session: &Session, why: &str) {
    let pid = session.record.pid();
    let path = record_path(dir, pid);
    let what = format!("registry record of a dead session: {}", path.display());
    let entrypoint = session.record.entrypoint();
    if entrypoint.as_deref() != Some(ENTRYPOINT) {
        let whose = entrypoint.map_or_else(
            || "another program".to_owned(),
            |name| format!("another program ({name:?})"),
        );
        exam.add(
            Severity::Note,
            path,
            [
                what,
                format!("{why}, and it is of {whose}, which is to remove it"),
                "remove it if it disturbs".to_owned(),
            ],
        );
        return;
    }
    // Withdrawn since the registry was read.
    let Ok(file) = dir.open_file(&registry::file_name(pid), Role::OwnFile) else {
        return;
    };
    if file.writer_is_gone() {
        let old = file.facts().is_abandoned();
        exam.add_left_behind(old, path, what, why);
    } else {
        let why = format!("{why}, as seen from here, but its writer lives");
        let fix = "nothing, if it runs in a container; it removes the record itself";
        exam.add(Severity::Note, path, [what, why, fix.to_owned()]);
    }
}

/// Whether messages reach a session that seems to live.
fn reachable(exam: &mut Exam<'_>, session: &Session) {
    let Some(path) = session.record.socket_path() else {
        return;
    };
    let pid = session.record.pid();
    // What may not even be a session is only noted.
    let severity = match session.liveness {
        Liveness::Live => Severity::Error,
        Liveness::Doubtful | Liveness::Recycled | Liveness::Gone | Liveness::Foreign => {
            Severity::Note
        }
    };
    let restart = format!("restart session {pid}");
    if let Err(why) = listens(&path) {
        let what = format!("session {pid} cannot be reached at {path}");
        exam.add(severity, PathBuf::from(&*path), [what, why, restart]);
        return;
    }
    let config = exam.home.config();
    if let Err(error) = capability::read(config, &path) {
        let file = config
            .join(capability::DIRECTORY)
            .join(capability::file_name(&path));
        let what = format!("session {pid} cannot be written to");
        exam.add(severity, file, [what, no_token(&error), restart]);
    }
}

/// Why there is no token for a socket.
pub(super) fn no_token(error: &CapabilityError) -> String {
    match error {
        CapabilityError::Dir(_) if error.is_not_found() => {
            "it has no capability file, so that nobody has its token".to_owned()
        }
        CapabilityError::Dir(error) => {
            format!("its capability file is not believed: {}", reason(error))
        }
        CapabilityError::Content { source, .. } => source.to_string(),
    }
}

/// Whether somebody listens at the absolute `path`; else why that cannot be said.
pub(super) fn listens(path: &str) -> Result<(), String> {
    let (parent, name) = paths::check_socket_path(path)
        .and_then(|()| paths::split_socket_path(path))
        .map_err(|error| error.to_string().replace("; ", ", "))?;
    let gone = || "its socket is gone".to_owned();
    let dir = match Dir::open_private(Path::new(parent), Role::SocketParent) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => return Err(gone()),
        Err(error) => return Err(format!("{parent} is not private: {}", reason(&error))),
    };
    match probe(&dir, name) {
        Ok(Occupant::Live { .. }) => Ok(()),
        Ok(Occupant::Nothing) => Err(gone()),
        Ok(Occupant::Dead(_)) => Err("nobody listens there".to_owned()),
        Ok(Occupant::Unclear(error)) => Err(format!("it cannot be asked: {error}")),
        Err(error) => Err(reason(&error)),
    }
}

/// Names, ids and sockets that more than one living session claims.
fn clashes(exam: &mut Exam<'_>, living: &[Session]) {
    let (mut names, mut ids, mut sockets) = (Claims::new(), Claims::new(), Claims::new());
    for Session { record, .. } in living {
        for (claims, text) in [
            (&mut names, record.name()),
            (&mut ids, record.session_id()),
            (&mut sockets, record.socket_path()),
        ] {
            if let Some(text) = text {
                claims.entry(text.into()).or_default().push(record.pid());
            }
        }
    }
    let by_name = "say which by its pid or session id, or start one under another name";
    let by_id = "say which by its pid or name";
    clash(exam, Severity::Warning, "name", &names, by_name);
    clash(exam, Severity::Warning, "session id", &ids, by_id);
    clash(
        exam,
        Severity::Error,
        "socket",
        &sockets,
        "restart all but one, since only one can listen there",
    );
}

type Claims = BTreeMap<String, Vec<u32>>;

fn clash(exam: &mut Exam<'_>, severity: Severity, noun: &str, claims: &Claims, fix: &str) {
    for (text, pids) in claims.iter().filter(|(_, pids)| pids.len() > 1) {
        let named: Vec<_> = pids.iter().take(MAX_NAMED).map(u32::to_string).collect();
        let more = if pids.len() > MAX_NAMED {
            " and more"
        } else {
            ""
        };
        exam.add(
            severity,
            None,
            [
                format!("{} living sessions have the {noun} {text:?}", pids.len()),
                format!("they are the processes {}{more}", named.join(", ")),
                fix.to_owned(),
            ],
        );
    }
}
