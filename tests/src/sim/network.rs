//! Sockets without a kernel: bytes arrive in order, late and in pieces, a full buffer takes no
//! more, and ends come after what was sent before.

use std::collections::VecDeque;

/// How one end stopped sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order.
    Finished,
    /// With bytes of the other left unread, or by a failure.
    Reset,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    Ended(End),
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    /// What is under way or waits to be read, and when it arrives.
    chunks: VecDeque<(u64, Vec<u8>)>,
    held: usize,
    capacity: usize,
    end: Option<End>,
    reader_gone: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            held: 0,
            capacity,
            end: None,
            reader_gone: false,
        }
    }

    /// Takes what fits, to arrive at `at` or after what was sent before; `None` when nobody
    /// will read it.
    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> Option<usize> {
        if self.reader_gone || self.end.is_some() {
            return None;
        }
        let n = bytes.len().min(self.capacity - self.held);
        if n > 0 {
            let at = self.chunks.back().map_or(at, |last| last.0.max(at));
            self.chunks.push_back((at, bytes[..n].to_vec()));
            self.held += n;
        }
        Some(n)
    }

    /// Reads what has arrived by `now`.
    pub(super) fn read(&mut self, into: &mut [u8], now: u64) -> Got {
        match self.chunks.front_mut() {
            Some((at, _)) if *at > now => Got::Nothing,
            Some((_, chunk)) => {
                let n = into.len().min(chunk.len());
                into[..n].copy_from_slice(&chunk[..n]);
                chunk.drain(..n);
                self.held -= n;
                if chunk.is_empty() {
                    self.chunks.pop_front();
                }
                Got::Bytes(n)
            }
            None => self.end.map_or(Got::Nothing, Got::Ended),
        }
    }

    /// When there is next something to be read, an end included.
    pub(super) fn arrival(&self) -> Option<u64> {
        let now = self.end.map(|_| 0);
        self.chunks.front().map(|chunk| chunk.0).or(now)
    }

    /// No more is sent.
    pub(super) fn finish(&mut self, how: End) {
        self.end.get_or_insert(how);
    }

    /// Whether more may be sent.
    pub(super) const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    fn abandon(&mut self) {
        self.chunks.clear();
        self.held = 0;
        self.reader_gone = true;
    }
}

/// One connection, as the network has it.
#[derive(Debug)]
pub(super) struct Link {
    /// From the client to the server.
    pub(super) up: Pipe,
    /// From the server to the client.
    pub(super) down: Pipe,
    /// Which actor is the client.
    pub(super) actor: usize,
    /// The client's process.
    pub(super) pid: u32,
}

impl Link {
    pub(super) fn new(actor: usize, pid: u32, capacity: usize) -> Self {
        Self {
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            actor,
            pid,
        }
    }

    /// The server closes its socket.
    pub(super) fn close_server(&mut self) {
        let unread = self.up.held > 0;
        self.down
            .finish(if unread { End::Reset } else { End::Finished });
        self.up.abandon();
    }

    /// The client closes its socket.
    pub(super) fn close_client(&mut self) {
        let unread = self.down.held > 0;
        self.up
            .finish(if unread { End::Reset } else { End::Finished });
        self.down.abandon();
    }

    /// The network fails: what is under way is lost.
    pub(super) fn cut(&mut self) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.abandon();
            pipe.finish(End::Reset);
        }
    }
}
