//! A timer of the system that is waited for as a socket is.
//!
//! A deadline of the runtime's own is a timeout of each of its waits for sockets, which costs
//! the kernel a microsecond each time, and stands still while the machine is suspended.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use hallway_core::Instant;
#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
#[cfg(target_os = "linux")]
use tokio::io::Interest;
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;

use crate::clock;

/// One deadline, of the clock that [`clock::now`] reads.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Timer(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer of this runtime that is not set.
    #[expect(
        deprecated,
        reason = "what would replace it is unsafe, for descriptors that others may close; this one owns its own"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Fires at `due`, in place of when it was set for before.
    pub(super) fn set(&self, due: Instant) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: clock::timespec(due),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Waits until it fires. Cancelling loses nothing.
    pub(super) async fn fired(&self) -> io::Result<()> {
        let take = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut [0; size_of::<u64>()])?);
        self.0.async_io(Interest::READABLE, take).await.map(drop)
    }
}

/// One deadline, of the clock that [`clock::now`] reads.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Timer(tokio::sync::watch::Sender<Option<Instant>>);

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer of this runtime that is not set.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(tokio::sync::watch::Sender::default()))
    }

    /// Fires at `due`, in place of when it was set for before.
    pub(super) fn set(&self, due: Instant) -> io::Result<()> {
        self.0.send_replace(Some(due));
        Ok(())
    }

    /// Waits until it fires. Cancelling loses nothing.
    pub(super) async fn fired(&self) -> io::Result<()> {
        let mut set = self.0.subscribe();
        let fired = loop {
            let due = *set.borrow_and_update();
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(clock::timer(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => break due,
                changed = set.changed() => changed.map_err(io::Error::other)?,
            }
        };
        // One that it was set for meanwhile stays.
        self.0
            .send_if_modified(|set| *set == fired && set.take().is_some());
        Ok(())
    }
}
