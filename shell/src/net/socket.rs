//! A WebSocket over a stream, for the one task that holds it.
//!
//! The library's protocol is driven directly: its asynchronous wrapper also serves tasks that
//! read and write apart, for which it registers two wakers with each message.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::{Error, Result};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

/// The client's end of a WebSocket.
pub(crate) struct Socket<S> {
    stream: S,
    /// What was read of the stream before it was a WebSocket.
    part: Vec<u8>,
    protocol: WebSocketContext,
    /// How many more times the stream may be read; none: without bound.
    reads: Option<usize>,
    /// The stream would have been read more often than it may be.
    is_held_back: bool,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket whose handshake was made; `part` was read behind it.
    pub(crate) fn new(stream: S, part: Vec<u8>, config: WebSocketConfig) -> Self {
        // Given the part, the library would allocate for each message no more than its length,
        // and so read messages one by one.
        Self {
            stream,
            part,
            protocol: WebSocketContext::new(Role::Client, Some(config)),
            reads: None,
            is_held_back: false,
            ended: false,
        }
    }

    pub(crate) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Has the stream read at most so many times more; none: without bound. What is kept of one
    /// read until after the next costs the library a buffer.
    pub(crate) const fn limit_reads(&mut self, most: Option<usize>) {
        self.reads = most;
        self.is_held_back = false;
    }

    /// Whether there is no message only because the stream may not be read. Nobody is woken
    /// then.
    pub(crate) const fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// The next message; after an error nothing comes. Pings are answered on the way.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut stream = Ready::new(&mut self.stream, &mut self.part, context);
        stream.reads = self.reads;
        let read = unless_blocked(self.protocol.read(&mut stream));
        (self.reads, self.is_held_back) = (stream.reads, stream.is_held_back);
        let read = ready!(read);
        self.ended = read.is_err();
        Poll::Ready(match read {
            Err(Error::AlreadyClosed | Error::ConnectionClosed) => None,
            Ok(_) | Err(_) => Some(read),
        })
    }

    /// Takes a message to be written; [`Socket::poll_flush`] does it.
    pub(crate) fn start_send(&mut self, message: Message) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = Ready::new(&mut self.stream, &mut self.part, &mut context);
        // What could not be written at once is kept.
        match unless_blocked(self.protocol.write(&mut stream, message)) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Writes what is to be written.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut stream = Ready::new(&mut self.stream, &mut self.part, context);
        match ready!(unless_blocked(self.protocol.flush(&mut stream))) {
            Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

fn unless_blocked<T>(result: Result<T>) -> Poll<Result<T>> {
    match result {
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// What a stream can do at once. When it cannot, the task of the context is woken.
struct Ready<'a, 'b, S> {
    stream: Pin<&'a mut S>,
    part: &'a mut Vec<u8>,
    context: &'a mut Context<'b>,
    reads: Option<usize>,
    is_held_back: bool,
}

impl<'a, 'b, S: Unpin> Ready<'a, 'b, S> {
    fn new(stream: &'a mut S, part: &'a mut Vec<u8>, context: &'a mut Context<'b>) -> Self {
        Self {
            stream: Pin::new(stream),
            part,
            context,
            reads: None,
            is_held_back: false,
        }
    }
}

fn at_once<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead> Read for Ready<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !self.part.is_empty() {
            let count = self.part.as_slice().read(bytes)?;
            self.part.drain(..count);
            return Ok(count);
        }
        if let Some(reads) = &mut self.reads {
            self.is_held_back = *reads == 0;
            if self.is_held_back {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *reads -= 1;
        }
        let mut buffer = ReadBuf::new(bytes);
        at_once(self.stream.as_mut().poll_read(self.context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<S: AsyncWrite> Write for Ready<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(self.stream.as_mut().poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(self.stream.as_mut().poll_flush(self.context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::upgrade::config;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn the_stream_is_read_as_often_as_it_may_be() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut socket = Socket::new(near, Vec::new(), config(1_000, 1_000));
        far.write_all(b"\x81\x02{}\x81\x02[").await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        socket.limit_reads(Some(1));
        assert!(socket.poll_read(&mut context).is_ready());
        assert!(!socket.is_held_back());
        far.write_all(b"]").await.unwrap();
        for _ in 0..2 {
            assert!(socket.poll_read(&mut context).is_pending());
            assert!(socket.is_held_back());
        }
        socket.limit_reads(Some(2));
        assert!(!socket.is_held_back());
        assert!(socket.poll_read(&mut context).is_ready());
        assert!(socket.poll_read(&mut context).is_pending());
        assert!(!socket.is_held_back(), "there is nothing to read");
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first_however_much_it_is() {
        let frames = b"\x81\x02{}\x81\x02[]";
        for cut in 0..=frames.len() {
            let (near, mut far) = tokio::io::duplex(64);
            let (part, rest) = frames.split_at(cut);
            let mut socket = Socket::new(near, part.to_vec(), config(1_000, 1_000));
            far.write_all(rest).await.unwrap();
            drop(far);
            for expected in ["{}", "[]"] {
                let read = poll_fn(|context| socket.poll_read(context)).await;
                assert_eq!(read.unwrap().unwrap(), Message::text(expected), "{cut}");
            }
            let end = poll_fn(|context| socket.poll_read(context)).await;
            assert!(matches!(end, Some(Err(Error::Protocol(_)))), "{end:?}");
            assert!(poll_fn(|context| socket.poll_read(context)).await.is_none());
        }
    }
}
