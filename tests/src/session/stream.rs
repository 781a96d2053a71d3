//! A connection of a server, with TLS or without.

use std::io::{Error, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Takes the TLS handshake, if there is to be one.
    pub(super) fn secure(mut socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let Some(config) = tls else {
            return Ok(Self::Plain(socket));
        };
        let mut tls = ServerConnection::new(config).map_err(Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, socket))))
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.sock,
        }
    }

    /// Says that nothing more is sent and reads what still comes, so that what was sent arrives:
    /// a socket that is closed with something unread resets the connection.
    pub(super) fn finish(mut self) {
        if let Self::Tls(tls) = &mut self {
            tls.conn.send_close_notify();
            drop(tls.flush());
        }
        let socket = self.socket();
        drop(socket.shutdown(Shutdown::Write));
        drop(socket.set_read_timeout(Some(Duration::from_secs(10))));
        drop(std::io::copy(&mut &*socket, &mut std::io::sink()));
    }

    /// Ends it with a reset.
    pub(super) fn reset(self) {
        reset(self.socket());
    }
}

/// Lets `socket` end with a reset when it is dropped.
pub(super) fn reset(socket: &TcpStream) {
    set_socket_linger(socket, Some(Duration::ZERO)).expect("an option of the socket");
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
