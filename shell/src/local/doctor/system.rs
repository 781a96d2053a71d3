//! The process's own surroundings: its limits, and what it was told.

use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use super::sessions::{listens, no_token};
use super::{Exam, Severity};
use crate::local::capability;

/// Descriptors of a daemon that are no clients: its listeners, files, signals, the owner
/// channel's clients, and what its commands need.
const OTHER_DESCRIPTORS: u64 = 64;

pub(super) fn examine(exam: &mut Exam<'_>) {
    descriptors(exam, getrlimit(Resource::Nofile).current);
    core_dumps(exam, getrlimit(Resource::Core).current);
    attaching(exam, std::fs::read_to_string(PTRACE_SCOPE).ok().as_deref());
    own_session(exam);
}

/// Whether a daemon could serve as many clients as it admits. `None` is no limit.
pub(super) fn descriptors(exam: &mut Exam<'_>, allowed: Option<u64>) {
    let limits = exam.home.limits();
    let clients = limits
        .max_clients()
        .saturating_add(limits.max_refused_clients());
    let needed = u64::try_from(clients)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_DESCRIPTORS);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        exam.add(
            Severity::Warning,
            None,
            [
                format!(
                    "too few file descriptors for {} clients",
                    limits.max_clients()
                ),
                format!("a process may open {allowed}, a daemon may need {needed}"),
                format!("run ulimit -n {needed}, or serve with --limit max_clients=…"),
            ],
        );
    }
}

/// Hallway's processes write no core dumps; other programs' may hold tokens.
pub(super) fn core_dumps(exam: &mut Exam<'_>, allowed: Option<u64>) {
    if allowed != Some(0) {
        exam.add(
            Severity::Note,
            None,
            [
                "core dumps are on".to_owned(),
                "those of other programs' sessions may hold tokens, while hallway's processes write none"
                    .to_owned(),
                "run ulimit -c 0 before starting them".to_owned(),
            ],
        );
    }
}

const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Who may look into a session's memory.
pub(super) fn attaching(exam: &mut Exam<'_>, scope: Option<&str>) {
    let restricted = scope.is_some_and(|scope| scope.trim() != "0");
    if cfg!(target_os = "linux") && !restricted {
        exam.add(
            Severity::Note,
            PathBuf::from(PTRACE_SCOPE),
            [
                "any process of a user may attach to the others".to_owned(),
                "other programs' sessions hold tokens in memory, while hallway's let nobody attach"
                    .to_owned(),
                "run sysctl kernel.yama.ptrace_scope=1, where the kernel has it".to_owned(),
            ],
        );
    }
}

/// Whether `CLAUDE_CODE_MESSAGING_SOCKET`, if it is set, leads to somebody.
fn own_session(exam: &mut Exam<'_>) {
    let told = exam.home.environment().messaging_socket.as_deref();
    let Some(told) = told.filter(|path| !path.is_empty()) else {
        return;
    };
    let path = PathBuf::from(told);
    let listening = match told.to_str() {
        Some(text) => listens(text).and_then(|()| {
            capability::read(exam.home.config(), text)
                .map(drop)
                .map_err(|error| no_token(&error))
        }),
        None => Err("it is not UTF-8".to_owned()),
    };
    if let Err(why) = listening {
        exam.add(
            Severity::Warning,
            path.clone(),
            [
                format!(
                    "CLAUDE_CODE_MESSAGING_SOCKET leads nowhere: {}",
                    path.display()
                ),
                format!(
                    "{why}, but messages name it as their sender, and `hallway inbox` reads it"
                ),
                "unset it, or run this within a living session".to_owned(),
            ],
        );
    }
}
