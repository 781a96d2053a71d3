//! The umask: private for what this process makes, as it was given for what it starts.

use std::io;
use std::sync::OnceLock;

use rustix::fs::Mode;
use tokio::process::{Child, Command};

const PRIVATE: Mode = Mode::RWXG.union(Mode::RWXO);

static GIVEN: OnceLock<Mode> = OnceLock::new();

/// Makes private whatever this process creates. To be called before there is a second thread.
pub(super) fn make_private() {
    let given = rustix::process::umask(PRIVATE);
    GIVEN.get_or_init(|| given);
}

/// Starts a command of the user's, which creates its files as it would without us.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let given = GIVEN.get().copied().unwrap_or(PRIVATE);
    // The daemon is on this one thread: nothing is created meanwhile.
    let own = rustix::process::umask(given);
    let child = command.spawn();
    rustix::process::umask(own);
    child
}
