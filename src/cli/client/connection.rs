//! The connection to the server, with TLS or without.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
    time::Duration,
};

use resound::listen::Address;

use crate::{
    cli::{
        Failure,
        socket::{Server, Socket},
    },
    common::{
        tls::{Connector, Stream},
        units::TimeLimit,
    },
};

#[derive(Debug)]
pub(super) enum Connection {
    Plain(Socket),
    Tls(Stream<Socket>),
}

impl Connection {
    /// Connects, and makes the handshake.
    pub(super) fn connect(
        address: &Address,
        timeout: Option<Duration>,
        connector: Option<Arc<Connector>>,
    ) -> Result<Self, Failure> {
        let socket = Socket::connect(address, timeout, Server::Echo)?;
        let Some(connector) = connector else { return Ok(Self::Plain(socket)) };
        let secured = socket.set_timeouts(timeout).and_then(|()| {
            let stream = Stream::connect(socket, connector)?;
            stream.socket().set_timeouts(None)?;
            Ok(stream)
        });
        secured.map(Self::Tls).map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                    "no answer to the TLS handshake within {}; does the server speak TLS there?",
                    TimeLimit(timeout)
                ),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    "the server ended the connection in the TLS handshake; its log gives the reason, perhaps that it \
                     speaks no TLS there"
                        .to_owned()
                }
                _ => error.to_string(),
            };
            Failure::Failed(format!("cannot connect to {address}: {cause}"))
        })
    }

    const fn socket(&self) -> &Socket {
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

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(timeout))
    }

    pub(super) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket().set_write_timeout(Some(timeout))
    }

    /// Sends FIN, behind `close_notify` where there is TLS: the server sees the end of the input.
    pub(super) fn finish(&self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.finish()?;
        }
        self.socket().finish()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
