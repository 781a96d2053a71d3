//! Signals, for the verbs that go on until they are told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::{Exit, Failed};

/// Listens for a signal; from then on it does not end the process by itself.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, Failed> {
    signal(kind).map_err(|error| {
        let message = format!("signals cannot be handled; {error}; check the limits of this user");
        Failed::new(Exit::Failed, message)
    })
}

/// SIGTERM or SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self, Failed> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
