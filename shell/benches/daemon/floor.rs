//! The floor: the least that a line server on a Unix socket can do.
//!
//! One thread, one level-triggered epoll, one shared read buffer. For each LF that a read brings,
//! one fixed line is owed; all that one read earned goes out in one call, from a constant block,
//! so no reply is ever built or copied. Nothing is parsed, checked, stored or printed. A peer that
//! does not read its replies is not read from until it does, so the floor's memory is bounded as a
//! real server's must be.

use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};

use crate::lines::{Due, Repeated, count_newlines};

/// What the floor answers, as long as the daemon's own `ok`.
pub(crate) const REPLY: &str = "{\"type\":\"response\",\"data\":\"ok\",\"ts\":\"2026-01-02T03:04:05.678Z\",\"meta\":{\"id\":\"uds-1\"}}\n";

/// Marks the listener among the events; connections count from 0.
const LISTENER: u64 = u64::MAX;
const MAX_EVENTS: usize = 256;
const READ_BYTES: usize = 64 * 1024;

/// Serves until it is killed. Prints one line once it listens, so that its start is measured as
/// the daemon's is.
pub(crate) fn run(path: &Path) -> Result<()> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    listener.set_nonblocking(true)?;
    let mut floor = Floor::new(listener)?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"{\"event\":\"listening\"}\n")?;
    out.flush()?;
    let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                floor.accept()?
            } else {
                floor.serve(key)?
            }
        }
    }
}

struct Floor {
    listener: UnixListener,
    epoll: OwnedFd,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    replies: Repeated,
    buffer: Box<[MaybeUninit<u8>]>,
}

struct Peer {
    socket: OwnedFd,
    due: Due,
}

/// What a turn with one peer came to.
enum Turn {
    Reading,
    Blocked,
    Over,
}

impl Floor {
    fn new(listener: UnixListener) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            listener,
            epoll,
            peers: Vec::new(),
            free: Vec::new(),
            replies: Repeated::new(REPLY.as_bytes()),
            buffer: Box::new_uninit_slice(READ_BYTES),
        })
    }

    /// Takes one connection; the level-triggered listener reports again if more wait.
    fn accept(&mut self) -> Result<()> {
        let socket = match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(index as u64),
            EventFlags::IN,
        )?;
        if let Some(slot) = self.peers.get_mut(index) {
            *slot = Some(Peer {
                socket,
                due: Due::default(),
            });
        }
        Ok(())
    }

    fn serve(&mut self, key: u64) -> Result<()> {
        let index = key as usize;
        let Some(slot) = self.peers.get_mut(index) else {
            return Ok(());
        };
        let Some(peer) = slot else { return Ok(()) };
        let was_blocked = !peer.due.is_empty();
        let turn = peer.turn(&self.replies, &mut self.buffer);
        match (turn, was_blocked) {
            (Turn::Over, _) => {
                // Closing the only descriptor of the socket takes it out of the epoll.
                *slot = None;
                self.free.push(index);
            }
            (Turn::Blocked, false) => epoll::modify(
                &self.epoll,
                &peer.socket,
                EventData::new_u64(key),
                EventFlags::OUT,
            )?,
            (Turn::Reading, true) => epoll::modify(
                &self.epoll,
                &peer.socket,
                EventData::new_u64(key),
                EventFlags::IN,
            )?,
            (Turn::Blocked, true) | (Turn::Reading, false) => {}
        }
        Ok(())
    }
}

impl Peer {
    /// Reads once if nothing is due, then sends what is.
    fn turn(&mut self, replies: &Repeated, buffer: &mut [MaybeUninit<u8>]) -> Turn {
        if self.due.is_empty() {
            match recv(&self.socket, buffer, RecvFlags::empty()) {
                Ok((([], _), _)) => return Turn::Over,
                Ok(((read, _), _)) => replies.owe(&mut self.due, count_newlines(read)),
                Err(Errno::AGAIN | Errno::INTR) => return Turn::Reading,
                Err(_) => return Turn::Over,
            }
        }
        match replies.send(&self.socket, &mut self.due) {
            Ok(true) => Turn::Reading,
            Ok(false) => Turn::Blocked,
            Err(_) => Turn::Over,
        }
    }
}
