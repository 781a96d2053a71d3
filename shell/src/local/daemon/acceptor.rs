//! The listener's task: accepts, asks the kernel who it is, passes the gate, and starts a task
//! for each connection.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hallway_core::local::inbox::Peer;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, warn};

use super::connection::serve;
use super::desk::Desk;
use super::shared::{Order, Shared};

/// How long accepting pauses when the machine has no descriptor or memory to spare, unless one
/// of our connections ends before.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`; then ends every connection in good order. All the while it wakes those
/// whose deadlines have come.
pub(super) async fn accept(
    listener: AsyncFd<UnixListener>,
    shared: Arc<Shared>,
    desk: impl Fn() -> Desk,
    stop: watch::Receiver<bool>,
) {
    tokio::select! {
        () = admit_all(listener, &shared, desk, stop) => {}
        never = shared.alarm.ring() => match never {},
    }
}

async fn admit_all(
    listener: AsyncFd<UnixListener>,
    shared: &Arc<Shared>,
    desk: impl Fn() -> Desk,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut exhausted = false;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = tasks.join_next() => report(ended),
            accepted = listener.async_io(Interest::READABLE, take) => match accepted {
                Ok(stream) => {
                    exhausted = false;
                    admit(stream, shared, &desk, &mut tasks);
                }
                Err(error) if is_exhaustion(&error) => {
                    if !exhausted {
                        warn!(%error, "accepting pauses until descriptors or memory are free");
                    }
                    exhausted = true;
                    tokio::select! {
                        () = shared.released.notified() => {}
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
                // The connection was gone before it was accepted.
                Err(error) => debug!(%error, "accept failed"),
            },
        }
    }
    drop(listener);
    shared.order_all(Order::Stop);
    let patience = shared.limits.closing_timeout() + PAUSE;
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(patience, all_ended).await.is_err() {
        warn!("connections did not end in time and were cut");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the daemon is gone, which is a stop too.
    if let Err(error) = stop.wait_for(|stop| *stop).await {
        debug!(%error, "stopping");
    }
}

/// Accepts without waiting. The connection is registered by its own task, once and for what it
/// waits for.
#[cfg(target_os = "linux")]
fn take(listener: &UnixListener) -> io::Result<UnixStream> {
    use rustix::net::{SocketFlags, accept_with};
    let stream = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok(stream.into())
}

#[cfg(not(target_os = "linux"))]
fn take(listener: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Who is at the other end, by the kernel's account; a process of another pid namespace has the
/// number 0.
#[cfg(target_os = "linux")]
fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(stream)?;
    let pid = rustix::process::Pid::as_raw(Some(credentials.pid));
    Ok(Peer {
        uid: credentials.uid.as_raw(),
        pid: u32::try_from(pid).unwrap_or_default(),
    })
}

#[cfg(not(target_os = "linux"))]
fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    let stream = tokio::net::UnixStream::from_std(stream.try_clone()?)?;
    let credentials = stream.peer_cred()?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok(Peer {
        uid: credentials.uid(),
        pid: pid.unwrap_or_default(),
    })
}

fn admit(
    stream: UnixStream,
    shared: &Arc<Shared>,
    desk: &impl Fn() -> Desk,
    tasks: &mut JoinSet<()>,
) {
    let peer = match peer_of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            warn!(%error, "a connection without credentials was dropped");
            return;
        }
    };
    if peer.uid != shared.own_uid {
        shared.foreign.fetch_add(1, Ordering::Relaxed);
        warn!(
            uid = peer.uid,
            pid = peer.pid,
            "a connection of another user was dropped"
        );
        return;
    }
    let id = match shared.gate.admit(peer.pid) {
        Ok(admitted) => {
            if let Some(evicted) = admitted.evicted {
                let order = if evicted.may_linger {
                    Order::Evict
                } else {
                    Order::Drop
                };
                debug!(pid = peer.pid, "the oldest silent client makes room");
                shared.order(evicted.id, order);
            }
            admitted.id
        }
        Err(refused) => {
            debug!(pid = peer.pid, "too many clients");
            let Some(id) = refused.id else { return };
            tasks.spawn(serve(stream, peer, refused_ticket(shared, id), desk()));
            return;
        }
    };
    tasks.spawn(serve(stream, peer, shared.ticket(id), desk()));
}

/// The ticket of a client that is to be told at once that there is no place.
fn refused_ticket(shared: &Arc<Shared>, id: hallway_core::ClientId) -> super::shared::Ticket {
    let ticket = shared.ticket(id);
    shared.order(id, Order::Evict);
    ticket
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a bug ended a connection; please report it");
    }
}

/// Whether the machine, not the connection, is why accepting failed.
fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}
