//! An open connection, as the task of a subscription holds it.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tracing::debug;
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::Message;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};

use super::socket;
use super::stream::Stream;

/// How long the last words to a server may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The close code of a server that gives none (RFC 6455 §7.1.5).
const NO_CODE: u16 = 1_005;

pub(crate) type Socket = socket::Socket<Stream>;

/// What has come.
pub(crate) enum Received {
    Text(Utf8Bytes),
    Binary,
    /// A ping or a pong; the library answers pings.
    Sign,
    /// A message longer than it may be.
    TooLong,
    /// The connection is gone.
    Closed {
        /// The close code, unless it broke.
        code: Option<u16>,
        /// What the server or the system said of it.
        detail: Option<String>,
    },
}

/// A connection of the machine's epoch `E`.
pub(crate) struct Link<E> {
    pub(crate) epoch: E,
    socket: Socket,
    /// How many bytes were read when that was last looked at.
    heard: u64,
    /// What was sent to us may not all have been read.
    pub(crate) unread: bool,
    /// A ping is to be written.
    #[cfg(feature = "session")]
    pub(crate) ping: bool,
    /// A frame of the outbox is being written.
    writing: bool,
    /// Nothing can be written any more; what was sent to us can still be read.
    mute: bool,
}

impl<E> Link<E> {
    pub(crate) const fn new(epoch: E, socket: Socket) -> Self {
        Self {
            epoch,
            socket,
            heard: 0,
            unread: true,
            #[cfg(feature = "session")]
            ping: false,
            writing: false,
            mute: false,
        }
    }

    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        let Poll::Ready(next) = self.socket.poll_read(context) else {
            self.unread = self.socket.is_held_back();
            return Poll::Pending;
        };
        let broken = |detail| Received::Closed { code: None, detail };
        Poll::Ready(match next {
            Some(Ok(Message::Text(text))) => Received::Text(text),
            Some(Ok(Message::Binary(_))) => Received::Binary,
            Some(Ok(Message::Close(frame))) => closed(frame),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Sign,
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => Received::TooLong,
            Some(Err(error)) => broken(Some(error.to_string())),
            None => broken(None),
        })
    }

    /// Has what was sent to us read once, and not again before this is called again.
    #[cfg(feature = "session")]
    pub(crate) const fn allow_a_read(&mut self) {
        self.socket.limit_reads(Some(1));
    }

    /// Whether there may be more, which was not read because it was not allowed. Nobody is
    /// woken for it.
    #[cfg(feature = "session")]
    pub(crate) const fn is_held_back(&self) -> bool {
        self.socket.is_held_back()
    }

    /// Whether any bytes have come since this was last asked.
    pub(crate) fn has_heard(&mut self) -> bool {
        let before = self.heard;
        self.heard = self.read_bytes();
        self.heard != before
    }

    /// How many bytes have come.
    pub(crate) const fn read_bytes(&self) -> u64 {
        self.socket.stream().read_bytes()
    }

    /// Whether a frame of the outbox was written just now; pending as long as it, or anything
    /// else, is under way.
    pub(crate) fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.mute {
            return Poll::Pending;
        }
        match self.socket.poll_flush(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(std::mem::take(&mut self.writing)),
            Poll::Ready(Err(error)) => {
                self.fall_mute(&error);
                Poll::Pending
            }
        }
    }

    /// Writes the ping that is due, if one is.
    #[cfg(feature = "session")]
    pub(crate) fn write_ping(&mut self) -> bool {
        let due = std::mem::take(&mut self.ping);
        if due {
            self.start(Message::Ping(Vec::new().into()));
        }
        due
    }

    /// Writes a frame of the outbox; [`Link::poll_written`] says when it is out.
    pub(crate) fn write_frame(&mut self, frame: &str) {
        self.writing = true;
        self.start(Message::Text(frame.into()));
    }

    fn start(&mut self, message: Message) {
        if let Err(error) = self.socket.start_send(message) {
            self.fall_mute(&error);
        }
    }

    fn fall_mute(&mut self, error: &Error) {
        debug!(%error, "nothing more can be written");
        self.mute = true;
    }

    /// Lets go of the connection. The server is told why if that can be at once.
    pub(crate) fn drop_with(mut self, code: CloseCode) {
        let told = self.socket.start_send(close(code));
        let flushed = self.flush_at_once();
        debug!(?told, ?flushed, "hung up");
    }

    /// Lets go of a connection that the server has closed. It hears the answer if it can.
    pub(crate) fn drop_closed(mut self) {
        let flushed = self.flush_at_once();
        debug!(?flushed, "connection lost");
    }

    fn flush_at_once(&mut self) -> Poll<Result<(), Error>> {
        let mut context = Context::from_waker(Waker::noop());
        self.socket.poll_flush(&mut context)
    }

    /// Tells the server that we leave and waits a little for its answer.
    pub(crate) async fn leave(mut self) {
        let leave = async {
            let socket = &mut self.socket;
            socket.limit_reads(None);
            let mut told = socket.start_send(close(CloseCode::Normal));
            if told.is_ok() {
                told = poll_fn(|context| socket.poll_flush(context)).await;
            }
            while told.is_ok()
                && matches!(
                    poll_fn(|context| socket.poll_read(context)).await,
                    Some(Ok(_))
                )
            {}
        };
        if tokio::time::timeout(LAST_WORDS, leave).await.is_err() {
            debug!("the server did not answer the close");
        }
    }
}

fn close(code: CloseCode) -> Message {
    let reason = "".into();
    Message::Close(Some(CloseFrame { code, reason }))
}

fn closed(frame: Option<CloseFrame>) -> Received {
    let said = frame.as_ref().filter(|frame| !frame.reason.is_empty());
    let detail = said.map(|frame| format!("the server says {:?}", frame.reason.as_str()));
    Received::Closed {
        code: Some(frame.map_or(NO_CODE, |frame| frame.code.into())),
        detail,
    }
}
