//! A shell command together with all that it starts.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tracing::debug;

/// A command and all that it started: killed on drop, as a hanging shell's children hang on.
/// The command must lead a process group of its own, and not have been waited for.
pub(crate) struct Group(Option<Pid>);

impl Group {
    pub(crate) fn of(leader: &Child) -> Self {
        let pid = leader.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    pub(crate) fn let_live(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            debug!(%error, "the command could not be killed");
        }
    }
}
