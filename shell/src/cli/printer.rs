//! Standard output without waiting for it on the daemon's one thread.
//!
//! A pipe, socket or terminal that takes no more must not keep the daemon from answering. Its
//! descriptor is shared with other programs and so stays blocking; it is written to only when
//! it has room for what is written. To wait for room, a thread is asked.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::termios::isatty;

use super::error::{Exit, Failed};

/// What a pipe takes at once when it is ready (POSIX guarantees 512, Linux 4,096).
const PIPE_BUF: usize = if cfg!(target_os = "linux") {
    4_096
} else {
    512
};

/// How long the thread waits at a time: it may be left behind when the daemon ends.
const WAIT: Duration = Duration::from_secs(1);

/// Prints all of `bytes`. Cancelled in between, some of it may have been printed.
pub(super) async fn print(bytes: &[u8]) -> Result<(), Failed> {
    write_all(bytes).await.map_err(|error| {
        let message = format!("standard output is gone; {error}; nothing more can be shown");
        Failed::new(Exit::Failed, message)
    })
}

/// Prints all of `bytes`, or says what the system says. Cancelled in between, some of it may
/// have been printed.
pub(super) async fn write_all(bytes: &[u8]) -> io::Result<()> {
    let may_wait = may_wait();
    let mut rest = bytes;
    while !rest.is_empty() {
        if may_wait && !is_writable(Duration::ZERO)? {
            let waited = tokio::task::spawn_blocking(|| is_writable(WAIT)).await;
            waited.map_err(io::Error::other)??;
            continue;
        }
        let most = if may_wait { PIPE_BUF } else { rest.len() };
        let chunk = rest.get(..rest.len().min(most)).unwrap_or_default();
        let written = match rustix::io::write(rustix::stdio::stdout(), chunk) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            // Somebody else made it non-blocking and filled it first.
            Err(Errno::INTR | Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Whether nobody can read it any more, as when the other end of a pipe is closed.
#[cfg(feature = "session")]
pub(super) fn is_gone() -> bool {
    let stdout = rustix::stdio::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let polled = poll(&mut descriptors, Some(&Timespec::default()));
    let [descriptor] = descriptors;
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    polled.is_ok() && descriptor.revents().intersects(gone)
}

/// Whether writing may have to wait: for a reader or a terminal, not for a disk or `/dev/null`.
fn may_wait() -> bool {
    static MAY_WAIT: OnceLock<bool> = OnceLock::new();
    *MAY_WAIT.get_or_init(|| {
        let stdout = rustix::stdio::stdout();
        let kind = fstat(stdout).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::RegularFile) => false,
            Ok(FileType::CharacterDevice) => isatty(stdout),
            Ok(_) | Err(_) => true,
        }
    })
}

/// Whether standard output has room, or an error to tell, within `patience`.
fn is_writable(patience: Duration) -> io::Result<bool> {
    let stdout = rustix::stdio::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut descriptors, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
