//! A client's connection: moves bytes between a socket and its [`Exchange`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hallway_core::Instant;
use hallway_core::local::exchange::{Exchange, Outcome};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;

use crate::clock;

/// An [`Exchange`] over a Unix socket.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: UnixStream,
    pub(crate) exchange: Exchange,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    output_broken: bool,
}

impl Transport {
    pub(crate) fn new(stream: UnixStream, exchange: Exchange) -> Self {
        Self {
            stream,
            exchange,
            sleep: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            armed: None,
            output_broken: false,
        }
    }

    /// Reads and writes until there is an outcome; `None` when nothing is unanswered.
    /// Cancelling loses nothing.
    pub(crate) async fn next_outcome(&mut self) -> Option<Outcome> {
        poll_fn(|context| self.poll_outcome(context)).await
    }

    fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            if let Some(outcome) = self.exchange.poll_outcome() {
                return Poll::Ready(Some(outcome));
            }
            if self.exchange.unanswered() == 0 {
                return Poll::Ready(None);
            }
            let mut moved = self.write(context);
            moved |= self.read(context);
            moved |= self.tick(context);
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.exchange.pending().is_empty() {
            if self.output_broken {
                self.exchange.handle_output_broken();
                break;
            }
            match Pin::new(&mut self.stream).poll_write(context, self.exchange.pending()) {
                Poll::Ready(Ok(n)) => self.exchange.handle_output(n),
                Poll::Ready(Err(_)) => self.output_broken = true,
                Poll::Pending => break,
            }
            moved = true;
        }
        moved
    }

    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let spare = self.exchange.spare_mut();
        if spare.is_empty() {
            return false;
        }
        let mut buffer = ReadBuf::new(spare);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.exchange.handle_end_of_input(),
                n => self.exchange.handle_input(n),
            },
            // Closed with our bytes unread: all that the server said has been read before.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.exchange.handle_end_of_input();
            }
            Poll::Ready(Err(_)) => self.exchange.handle_broken(),
            Poll::Pending => return false,
        }
        true
    }

    fn tick(&mut self, context: &mut Context<'_>) -> bool {
        let due = self.exchange.poll_timeout();
        if due != self.armed {
            self.armed = due;
            if let Some(due) = due {
                self.sleep.as_mut().reset(clock::timer(due));
            }
        }
        if self.armed.is_none() || self.sleep.as_mut().poll(context).is_pending() {
            return false;
        }
        self.exchange.handle_timeout(clock::now());
        self.armed = None;
        true
    }
}
