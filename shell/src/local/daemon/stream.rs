//! A client's socket.
//!
//! It wakes its task when there is something to read, and when there is room to write only
//! after there was none. Registered for both from the start, it would wake the daemon a second
//! time for each answer: when the client reads it.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Stream {
    /// None only while it is being registered anew, and for ever if that failed.
    socket: Option<AsyncFd<UnixStream>>,
    /// Whether it is registered for room to write, too.
    waits_for_room: bool,
}

impl Stream {
    /// A connection that was accepted, and does not block.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let socket = register(stream, Interest::READABLE)?;
        Ok(Self {
            socket: Some(socket),
            waits_for_room: false,
        })
    }

    /// Reads what there is room for in `bytes`, which is something; 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket()?;
        loop {
            let mut ready = ready!(socket.poll_read_ready(context))?;
            let Ok(read) = ready.try_io(|socket| socket.get_ref().read(bytes)) else {
                continue;
            };
            // There is no more: the next look need not ask the system. An end of input is
            // remembered all the same.
            if read.as_ref().is_ok_and(|n| *n > 0 && *n < bytes.len()) {
                ready.clear_ready();
            }
            return Poll::Ready(read);
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.waits_for_room {
            match self.socket()?.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room()?,
                written => return Poll::Ready(written),
            }
        }
        let socket = self.socket()?;
        loop {
            let mut ready = ready!(socket.poll_write_ready(context))?;
            if let Ok(written) = ready.try_io(|socket| socket.get_ref().write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    /// Ends the output; this does not wait.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        self.socket()?.get_ref().shutdown(Shutdown::Write)
    }

    fn socket(&self) -> io::Result<&AsyncFd<UnixStream>> {
        let socket = self.socket.as_ref();
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        if let Some(socket) = self.socket.take() {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.socket = Some(register(socket.into_inner(), both)?);
            self.waits_for_room = true;
        }
        Ok(())
    }
}

/// Registers a socket with the runtime.
#[expect(
    deprecated,
    reason = "what would replace it is unsafe, for descriptors that others may close; a socket of the standard library owns its own"
)]
pub(super) fn register<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_could_not_be_written_is_when_there_is_room() {
        let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let mut stream = Stream::new(near.into_std().unwrap()).unwrap();
        let mut idle = Context::from_waker(Waker::noop());
        let mut written = 0;
        while let Poll::Ready(result) = stream.poll_write(&mut idle, &[b'x'; 4_096]) {
            written += result.unwrap();
        }
        assert!(stream.waits_for_room && written > 0);
        // It is read from all the same.
        far.write_all(b"in").await.unwrap();
        let mut bytes = [0; 8];
        let read = poll_fn(|context| stream.poll_read(context, &mut bytes)).await;
        assert_eq!(read.unwrap(), 2);
        let reader = tokio::spawn(async move {
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            received.len()
        });
        for _ in 0..64 {
            let more = poll_fn(|context| stream.poll_write(context, &[b'y'; 65_536])).await;
            written += more.unwrap();
        }
        stream.shutdown().unwrap();
        assert_eq!(reader.await.unwrap(), written);
    }

    #[tokio::test]
    async fn an_end_behind_a_short_read_is_seen() {
        let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let mut stream = Stream::new(near.into_std().unwrap()).unwrap();
        far.write_all(b"last").await.unwrap();
        drop(far);
        let mut bytes = [0; 8];
        for expected in [4, 0] {
            let read = poll_fn(|context| stream.poll_read(context, &mut bytes)).await;
            assert_eq!(read.unwrap(), expected);
        }
    }
}
