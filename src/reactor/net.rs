//! What the reactor needs of the world: the kernel behind mio, or a simulation in its place.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{Endpoint, Peer, Token};

/// Sockets and the time.
pub trait Net {
    /// Where connections come from.
    type Listener;
    /// One connection's bytes.
    type Stream: Stream;
    /// A UDP socket; [`Infallible`] in a world without any.
    type DatagramSocket: DatagramSocket;

    /// Reports from now on under `token`, edge-triggered, that connections wait at `listener`.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    fn listen(&mut self, listener: &mut Self::Listener, token: Token) -> io::Result<()>;

    /// Takes the next waiting connection; `WouldBlock` when there is none. Never blocks.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// At which address of ours `stream`, from `listener`, has come in, if it has one.
    fn local(&self, listener: &Self::Listener, stream: &Self::Stream) -> Option<SocketAddr> {
        let _ = (listener, stream);
        None
    }

    /// Reports `stream`'s readiness from now on under `token`, edge-triggered: readable, writable, priority.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Reports the readiness of `socket` from now on under `token`, edge-triggered: readable, writable. A world without
    /// UDP sockets need not implement it: `Unsupported`.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    fn register_datagrams(
        &mut self,
        socket: &mut Self::DatagramSocket,
        token: Token,
    ) -> io::Result<()> {
        let _ = (socket, token);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes the next waiting connection at once, although there is no descriptor left: one that is held in
    /// reserve makes room for it. Never blocks. Worlds without a reserve need not implement it: `Unsupported`.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn shed(&mut self, listener: &Self::Listener) -> io::Result<()> {
        let _ = listener;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins to connect to `endpoint`, from the address `from` where that matters. Never blocks; how it went
    /// [`Stream::connected`] tells once the stream is writable.
    ///
    /// # Errors
    ///
    /// As socket(2), bind(2) and connect(2); `WouldBlock` while a Unix socket's backlog is full. Worlds out of
    /// which nothing connects need not implement it: `Unsupported`.
    fn connect(&mut self, endpoint: &Endpoint, from: Option<IpAddr>) -> io::Result<Self::Stream> {
        let _ = (endpoint, from);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
}

/// A non-blocking stream of bytes in both directions.
pub trait Stream: Read + Write {
    /// Sends FIN behind the bytes written so far.
    ///
    /// # Errors
    ///
    /// As shutdown(2).
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Whether a read that returns fewer bytes than asked for has left none behind, and the next ones bring an event.
    /// Not so on a Unix socket, where a read also ends before and behind bytes that a descriptor was sent along with
    /// (unix(7), `SCM_RIGHTS`).
    fn short_read_is_last(&self) -> bool {
        true
    }

    /// How connecting went; `WouldBlock` while it goes on. A stream that was there from the beginning need
    /// not implement it.
    ///
    /// # Errors
    ///
    /// As connect(2).
    fn connected(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A bound UDP socket. No call blocks.
pub trait DatagramSocket {
    /// The port that it is bound to.
    fn local_port(&self) -> u16;

    /// Receives one datagram into `buffer`. Returns its length and its source; `WouldBlock` if there is none.
    ///
    /// # Errors
    ///
    /// As recv(2): also an ICMP error about an earlier answer, after which the next call may succeed.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram whole; `WouldBlock` if there is no room for it now.
    ///
    /// # Errors
    ///
    /// As send(2).
    fn send(&mut self, payload: &[u8], to: SocketAddr) -> io::Result<()>;
}

impl DatagramSocket for Infallible {
    fn local_port(&self) -> u16 {
        match *self {}
    }

    fn receive(&mut self, _buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match *self {}
    }

    fn send(&mut self, _payload: &[u8], _to: SocketAddr) -> io::Result<()> {
        match *self {}
    }
}

/// What a poll said of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There may be bytes, EOF or an error to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// A read that returns less than asked for may have more behind it: the peer's FIN, or bytes after an
    /// out-of-band one. Both end a read early, and the edge that told of them will not come again.
    pub more_behind: bool,
}

impl Readiness {
    /// For a turn that no event asked for: read until `WouldBlock`, whatever comes.
    pub const ALL: Self = Self { readable: true, writable: true, more_behind: true };
}

impl From<&mio::event::Event> for Readiness {
    fn from(event: &mio::event::Event) -> Self {
        let last = event.is_read_closed() || event.is_error();
        Self {
            readable: event.is_readable() || event.is_priority() || last,
            writable: event.is_writable(),
            more_behind: event.is_priority() || last,
        }
    }
}
