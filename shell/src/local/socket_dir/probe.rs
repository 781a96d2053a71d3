//! Who listens at a name: found out by connecting.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};

use crate::dir::{Dir, DirError, Identity, Role};

/// What is at the name of a socket.
#[derive(Debug)]
pub enum Occupant {
    /// No entry.
    Nothing,
    /// A socket of ours on which nobody listens.
    Dead(Identity),
    /// A socket of ours on which somebody listens.
    Live {
        /// The process that listens, if the kernel says.
        pid: Option<u32>,
    },
    /// A socket of ours, and no telling.
    Unclear(io::Error),
}

/// What is at `name` in `dir`. Never waits.
///
/// # Errors
///
/// [`DirError::Untrusted`] when it is no socket or not ours; [`DirError`] when it cannot be
/// looked at.
pub fn probe(dir: &Dir, name: &str) -> Result<Occupant, DirError> {
    let Some(facts) = dir.look_as(name, Role::Socket)? else {
        return Ok(Occupant::Nothing);
    };
    Ok(match connect(dir, name) {
        Ok(socket) => Occupant::Live {
            pid: listener_pid(&socket),
        },
        // Its queue is full, or it has not got round to us: it is there.
        Err(Errno::AGAIN | Errno::INPROGRESS) => Occupant::Live { pid: None },
        Err(Errno::CONNREFUSED) => Occupant::Dead(facts.identity),
        Err(Errno::NOENT) if dir.look(name)?.is_none() => Occupant::Nothing,
        Err(error) => Occupant::Unclear(error.into()),
    })
}

/// A stream socket that neither blocks nor is inherited.
pub(super) fn new_socket() -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::SocketFlags;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

fn connect(dir: &Dir, name: &str) -> Result<OwnedFd, Errno> {
    let socket = new_socket()?;
    let full = dir.path().join(name);
    // Through the handle where the system can; a long name may leave no room for that.
    let address = if cfg!(target_os = "linux") {
        let handle = dir.as_fd().as_raw_fd();
        let through = SocketAddrUnix::new(format!("/proc/self/fd/{handle}/{name}"));
        through.or_else(|_| SocketAddrUnix::new(&full))
    } else {
        SocketAddrUnix::new(&full)
    };
    net::connect(&socket, &address?)?;
    Ok(socket)
}

/// The process that called `listen`. One in another pid namespace has none.
#[cfg(target_os = "linux")]
fn listener_pid(socket: &OwnedFd) -> Option<u32> {
    let peer = net::sockopt::socket_peercred(socket).ok()?;
    let pid = rustix::process::Pid::as_raw(Some(peer.pid));
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}

#[cfg(not(target_os = "linux"))]
fn listener_pid(_socket: &OwnedFd) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::testing::{give_away, home};
    use crate::dir::{Flaw, Kind};
    use std::fs;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn tells_the_living_from_the_dead() {
        let (home, dir) = home();
        let path = home.path().join("s");
        let found = || probe(&dir, "s").unwrap();
        assert!(matches!(found(), Occupant::Nothing));
        let listener = UnixListener::bind(&path).unwrap();
        let us = Some(std::process::id());
        assert!(matches!(found(), Occupant::Live { pid } if pid == us));
        drop(listener);
        let there = dir.look("s").unwrap().unwrap().identity;
        assert!(matches!(found(), Occupant::Dead(identity) if identity == there));
    }

    #[test]
    fn a_full_queue_is_somebody() {
        let (home, dir) = home();
        let socket = new_socket().unwrap();
        let address = SocketAddrUnix::new(home.path().join("s")).unwrap();
        net::bind(&socket, &address).unwrap();
        assert!(
            matches!(probe(&dir, "s").unwrap(), Occupant::Dead(_)),
            "it does not listen yet"
        );
        net::listen(&socket, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(client) = connect(&dir, "s") {
            waiting.push(client);
            assert!(waiting.len() < 10);
        }
        assert!(matches!(
            probe(&dir, "s").unwrap(),
            Occupant::Live { pid: None }
        ));
    }

    #[test]
    fn what_is_no_socket_of_ours_is_refused() {
        let (home, dir) = home();
        fs::write(home.path().join("f"), "").unwrap();
        let kind = Flaw::Kind(Kind::File);
        let refused = probe(&dir, "f").unwrap_err();
        assert!(
            matches!(refused, DirError::Untrusted { flaw, .. } if flaw == kind),
            "{refused}"
        );
        let _datagram = UnixDatagram::bind(home.path().join("d")).unwrap();
        assert!(matches!(probe(&dir, "d").unwrap(), Occupant::Unclear(_)));
        drop(UnixListener::bind(home.path().join("s")).unwrap());
        if give_away(&home.path().join("s")) {
            let refused = probe(&dir, "s").unwrap_err();
            assert!(matches!(
                refused,
                DirError::Untrusted {
                    flaw: Flaw::Owner(_),
                    ..
                }
            ));
        }
    }

    #[test]
    fn a_name_too_long_for_the_handle_is_reached_by_its_path() {
        let (_, dir) = home();
        let long = "s".repeat(100);
        assert!(matches!(probe(&dir, &long).unwrap(), Occupant::Nothing));
        let dir = Dir::open(std::path::Path::new("/")).unwrap();
        assert_eq!(connect(&dir, &long).unwrap_err(), Errno::NOENT);
        assert_eq!(
            connect(&dir, &"s".repeat(120)).unwrap_err(),
            Errno::NAMETOOLONG
        );
    }
}
