//! A client's connection, with TLS or without.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    sync::Arc,
};

use socket2::Socket;

use crate::common::tls::{Connector, Stream};

#[derive(Debug)]
pub(super) enum Link {
    Plain(Socket),
    Tls(Stream<Socket>),
}

impl Link {
    /// Makes the handshake on `socket`, whose timeouts bound each wait.
    pub(super) fn secured(socket: Socket, connector: &Arc<Connector>) -> Result<Self, String> {
        let secured = Stream::connect(socket, Arc::clone(connector));
        secured.map(Self::Tls).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                "no answer to the TLS handshake; does the server speak TLS there?".to_owned()
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                "the server ended the connection in the TLS handshake; its log gives the reason, perhaps that it speaks no \
                 TLS there"
                    .to_owned()
            }
            _ => error.to_string(),
        })
    }

    pub(super) const fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket().try_clone()?;
        Ok(match self {
            Self::Plain(_) => Self::Plain(socket),
            Self::Tls(stream) => Self::Tls(stream.with(socket)),
        })
    }

    /// Sends what the last write has left, as far as there is room now.
    pub(super) fn send_rest(&self) {
        if let Self::Tls(stream) = self {
            stream.flush_now(|non_blocking| self.socket().set_nonblocking(non_blocking).is_ok());
        }
    }

    /// Sends FIN, behind `close_notify` where there is TLS.
    pub(super) fn finish(&self) -> io::Result<()> {
        let said = match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.finish(),
        };
        self.socket().shutdown(Shutdown::Write).and(said)
    }
}

impl Read for &Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => { socket }.read(buffer),
            Link::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => { socket }.write(bytes),
            Link::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Plain(_) => Ok(()),
            Link::Tls(stream) => stream.flush(),
        }
    }
}
