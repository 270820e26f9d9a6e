//! What the reactor needs from outside: the kernel behind mio, or a simulation in its place.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

pub use crate::socket::{
    datagrams::{Awaited, Batch, DatagramSocket},
    stream::Stream,
};
use crate::{Endpoint, ListeningSocket, Peer, Token};

/// Sockets and the time.
pub trait Net {
    /// Where connections come from.
    type Listener;
    /// One connection's bytes.
    type Stream: Stream;
    /// A UDP socket; [`Infallible`](std::convert::Infallible) if there are none.
    type DatagramSocket: DatagramSocket;

    /// Reports from now on under `token`, edge-triggered, that connections wait at `listener`.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    fn listen(&mut self, listener: &mut Self::Listener, token: Token) -> io::Result<()>;

    /// Stops reporting on `listener`, which is about to be closed. In most implementations closing it is enough.
    fn unlisten(&mut self, listener: &mut Self::Listener) {
        let _ = listener;
    }

    /// Whether another process has `listener` open too and serves its queue when this one no longer does. A reactor that
    /// stops leaves the connections in that queue alone; it accepts those of all other listeners first.
    fn is_inherited(&self, listener: &Self::Listener) -> bool {
        let _ = listener;
        false
    }

    /// Takes the next waiting connection; `WouldBlock` when there is none. Never blocks.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// The local address of `stream`, which `listener` has accepted, if it has one.
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

    /// Stops reporting on `stream`, with which another loop goes on. Without that it need not be implemented.
    fn deregister(&mut self, stream: &mut Self::Stream) {
        let _ = stream;
    }

    /// The descriptor of `stream`, for another loop or process. Gives it back where streams have no descriptors.
    ///
    /// # Errors
    ///
    /// The stream.
    fn export(&self, stream: Self::Stream) -> Result<OwnedFd, Self::Stream> {
        Err(stream)
    }

    /// The stream of that descriptor, which another loop or process had.
    ///
    /// # Errors
    ///
    /// As fcntl(2) and getsockopt(2); `Unsupported` where streams have no descriptors.
    fn import(&self, socket: OwnedFd) -> io::Result<Self::Stream> {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`export`](Self::export), for a listener.
    ///
    /// # Errors
    ///
    /// The listener.
    fn export_listener(&self, listener: Self::Listener) -> Result<ListeningSocket, Self::Listener> {
        Err(listener)
    }

    /// As [`import`](Self::import), for a listener.
    ///
    /// # Errors
    ///
    /// As [`import`](Self::import).
    fn import_listener(&self, socket: ListeningSocket) -> io::Result<Self::Listener> {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`export`](Self::export), for a UDP socket, on which it also stops reporting.
    ///
    /// # Errors
    ///
    /// The socket.
    fn export_datagrams(
        &mut self,
        socket: Self::DatagramSocket,
    ) -> Result<OwnedFd, Self::DatagramSocket> {
        Err(socket)
    }

    /// As [`import`](Self::import), for a UDP socket.
    ///
    /// # Errors
    ///
    /// As [`import`](Self::import).
    fn import_datagrams(&self, socket: OwnedFd) -> io::Result<Self::DatagramSocket> {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reports from now on under `token`, edge-triggered, that datagrams wait at `socket`. Without UDP sockets it need not
    /// be implemented: `Unsupported`.
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

    /// Reports from now on what is `awaited`, in place of what was reported before. If it is there already, an event comes.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2). Without UDP sockets it need not be implemented: `Unsupported`.
    fn await_datagrams(
        &mut self,
        socket: &mut Self::DatagramSocket,
        token: Token,
        awaited: Awaited,
    ) -> io::Result<()> {
        let _ = (socket, token, awaited);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes the next waiting connection at once, although no descriptor is left: one that is held in reserve is given
    /// up for it. Never blocks. Without a reserve it need not be implemented: `Unsupported`.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn shed(&mut self, listener: &Self::Listener) -> io::Result<()> {
        let _ = listener;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins to connect to `endpoint`, from the address `from` where that matters. Never blocks.
    /// [`Stream::connected`] returns the result once the stream is writable.
    ///
    /// # Errors
    ///
    /// As socket(2), bind(2) and connect(2); `WouldBlock` while a Unix socket's backlog is full. Without
    /// outbound connections it need not be implemented: `Unsupported`.
    fn connect(&mut self, endpoint: &Endpoint, from: Option<IpAddr>) -> io::Result<Self::Stream> {
        let _ = (endpoint, from);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
}

/// What a poll said of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There may be bytes, EOF or an error to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// A read that returns less than asked for may have more behind it: the peer's FIN, or bytes after an
    /// out-of-band one. Both end a read early, and no further edge reports them.
    pub more_behind: bool,
}

impl Readiness {
    /// For a turn without an event: read until `WouldBlock`.
    pub const ALL: Self = Self { readable: true, writable: true, more_behind: true };
}
