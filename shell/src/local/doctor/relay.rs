//! The files of the relay's clients: whether each with secrets is private and ours.

use super::mend::restrict;
use super::{Exam, MAX_ENTRIES, Severity, flaw_text, reason};
use crate::dir::{Dir, Flaw, Role, check, own_uid};
use crate::relay::credentials::{SECRET_FILES, SESSION_KEYS};

/// What others must not be able to do to them.
const FORBIDDEN: u32 = 0o077;

pub(super) fn examine(exam: &mut Exam<'_>) {
    let Ok(path) = exam.home.environment().happy_home() else {
        return;
    };
    let dir = match Dir::open(&path) {
        Ok(dir) => dir,
        // Nobody is paired.
        Err(error) if error.is_not_found() => return,
        Err(error) => {
            let texts = [
                format!("relay directory cannot be used: {}", path.display()),
                reason(&error),
                "make it yours, and run chmod go-w, or name another with HAPPY_HOME_DIR".to_owned(),
            ];
            exam.add(Severity::Error, path, texts);
            return;
        }
    };
    for name in SECRET_FILES {
        entry(exam, &dir, name, Role::PrivateFile);
    }
    entry(exam, &dir, SESSION_KEYS, Role::CapabilityDirectory);
    let Ok(keys) = dir.open_child(SESSION_KEYS, Role::CapabilityDirectory) else {
        return;
    };
    let Ok(names) = keys.names() else { return };
    for (seen, name) in names.take(MAX_ENTRIES).flatten().enumerate() {
        if Dir::is_temporary(&name) {
            exam.temporary(&keys, &name);
        } else {
            entry(exam, &keys, &name, Role::PrivateFile);
        }
        if seen + 1 == MAX_ENTRIES {
            exam.looked_at(&keys, MAX_ENTRIES);
        }
    }
}

fn entry(exam: &mut Exam<'_>, dir: &Dir, name: &str, role: Role) {
    let Ok(Some(facts)) = dir.look(name) else {
        return;
    };
    let Err(flaw) = check(&facts, role, own_uid()) else {
        return;
    };
    let path = dir.path().join(name);
    let shown = path.display();
    let is_mode = matches!(flaw, Flaw::Mode(_));
    let fixed = exam.fix && is_mode && restrict(dir, name, &facts, FORBIDDEN);
    let mode = if role == Role::PrivateFile { 600 } else { 700 };
    let fix = if is_mode {
        format!("run chmod {mode} {shown}; if others use this machine, pair anew")
    } else {
        format!("move it away and pair anew: {shown}")
    };
    let what = format!("relay secrets are open to others: {shown}");
    exam.add_mended(
        Severity::Error,
        path.clone(),
        [what, flaw_text(flaw), fix],
        fixed,
    );
}
