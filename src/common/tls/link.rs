//! A client's blocking connection, with TLS or without.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    sync::Arc,
};

use socket2::Socket;

use super::{Connector, Stream};

/// Where a handshake gets no answer, or the connection ends in it, clients say the same.
pub(crate) const CUT_OFF: &str = "the server ended the connection in the TLS handshake; its log gives the reason, perhaps \
                                  that it speaks no TLS there";

/// `within` says how long the client has waited, as in ` within 5s`.
pub(crate) fn unanswered(within: impl fmt::Display) -> String {
    format!("no answer to the TLS handshake{within}; does the server speak TLS there?")
}

/// One thread may read from it while another one writes to a copy.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(Socket),
    Tls(Stream),
}

impl Link {
    /// Makes the handshake on `socket`, whose timeouts bound each wait. An error is for the user; `within` is as for
    /// [`unanswered`].
    pub(crate) fn secured(
        socket: Socket,
        connector: Arc<Connector>,
        within: impl fmt::Display,
    ) -> Result<Self, String> {
        Stream::connect(socket, connector).map(Self::Tls).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => unanswered(within),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                CUT_OFF.to_owned()
            }
            _ => error.to_string(),
        })
    }

    pub(crate) const fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket().try_clone()?;
        Ok(match self {
            Self::Plain(_) => Self::Plain(socket),
            Self::Tls(stream) => Self::Tls(stream.with(socket)),
        })
    }

    /// Sends what the last write has left, as far as there is room now.
    pub(crate) fn send_rest(&self) {
        if let Self::Tls(stream) = self {
            stream.flush_now();
        }
    }

    /// Sends FIN, behind `close_notify` where there is TLS: the server sees the end of the input.
    pub(crate) fn finish(&self) -> io::Result<()> {
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
