//! The kernel behind mio: sockets and the monotonic clock.

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use mio::{Registry, event::Event};

use super::{
    config::{Config, Overload},
    net::{Awaited, Net, Readiness},
};
use crate::{
    Endpoint, Listener, ListeningSocket, Peer, Token,
    socket::{WITHOUT_EPOLL, datagrams::Datagrams, stream::Socket},
};

/// The kernel: sockets and the monotonic clock.
#[derive(Debug)]
pub(super) struct Kernel {
    registry: Registry,
    start: Instant,
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
    send_buffer: Option<usize>,
    /// With [`Overload::Refuse`](super::config::Overload::Refuse): a descriptor that is given up when there is none left.
    reserve: Option<File>,
}

impl Kernel {
    /// Sockets whose readiness is reported to `registry`.
    pub(super) fn new(registry: Registry, config: &Config) -> io::Result<Self> {
        let reserve = (config.overload == Overload::Refuse).then(open_reserve).transpose()?;
        let Config { keepalive, user_timeout, send_buffer, .. } = *config;
        let start = Instant::now();
        Ok(Self { registry, start, keepalive, user_timeout, send_buffer, reserve })
    }
}

/// What a poll said of one stream.
pub(super) fn readiness(event: &Event) -> Readiness {
    let last = event.is_read_closed() || event.is_error();
    // Over poll(2) this is the socket's last event. A write returns the error.
    let is_lost = WITHOUT_EPOLL && (event.is_error() || event.is_write_closed());
    Readiness {
        readable: event.is_readable() || event.is_priority() || last,
        writable: event.is_writable() || is_lost,
        more_behind: event.is_priority() || last,
    }
}

fn open_reserve() -> io::Result<File> {
    File::open("/dev/null")
}

impl Net for Kernel {
    type Listener = Listener;
    type Stream = Socket;
    type DatagramSocket = Datagrams;

    fn listen(&mut self, listener: &mut Listener, token: Token) -> io::Result<()> {
        listener.notice_vanished_peers(self.keepalive, self.user_timeout)?;
        listener.register(&self.registry, token.into())
    }

    fn unlisten(&mut self, listener: &mut Listener) {
        // Another process may have a copy of the descriptor, which would keep it registered.
        if let Err(error) = listener.deregister(&self.registry) {
            log::debug!("{}: deregister: {error}", listener.endpoint());
        }
    }

    fn is_inherited(&self, listener: &Listener) -> bool {
        listener.is_inherited()
    }

    fn accept(&mut self, listener: &Listener) -> io::Result<(Socket, Peer)> {
        listener.accept()
    }

    fn shed(&mut self, listener: &Listener) -> io::Result<()> {
        // Another thread may have taken it after the last time.
        drop(self.reserve.take().map_or_else(open_reserve, Ok)?);
        let accepted = listener.accept();
        let shed = accepted.map(drop);
        self.reserve = open_reserve().ok();
        shed
    }

    fn connect(&mut self, endpoint: &Endpoint, from: Option<IpAddr>) -> io::Result<Socket> {
        Socket::connect(endpoint, from, self.send_buffer)
    }

    fn local(&self, listener: &Listener, stream: &Socket) -> Option<SocketAddr> {
        listener.local(stream)
    }

    fn register(&mut self, stream: &mut Socket, token: Token) -> io::Result<()> {
        stream.register(&self.registry, token.into())
    }

    fn deregister(&mut self, stream: &mut Socket) {
        // The description of the socket may stay open in another process, which would keep it registered (epoll(7)).
        if let Err(error) = stream.deregister(&self.registry) {
            log::debug!("deregister: {error}");
        }
    }

    fn export(&self, stream: Socket) -> Result<OwnedFd, Socket> {
        Ok(stream.into())
    }

    fn import(&self, socket: OwnedFd) -> io::Result<Socket> {
        Socket::adopt(socket)
    }

    fn export_listener(&self, listener: Listener) -> Result<ListeningSocket, Listener> {
        Ok(listener.into())
    }

    fn import_listener(&self, socket: ListeningSocket) -> io::Result<Listener> {
        socket.try_into()
    }

    fn export_datagrams(&mut self, mut socket: Datagrams) -> Result<OwnedFd, Datagrams> {
        if let Err(error) = socket.deregister(&self.registry) {
            log::debug!("deregister: {error}");
        }
        Ok(socket.into())
    }

    fn import_datagrams(&self, socket: OwnedFd) -> io::Result<Datagrams> {
        Datagrams::inherit(socket)
    }

    fn register_datagrams(&mut self, socket: &mut Datagrams, token: Token) -> io::Result<()> {
        socket.register(&self.registry, token.into())
    }

    fn await_datagrams(
        &mut self,
        socket: &mut Datagrams,
        token: Token,
        awaited: Awaited,
    ) -> io::Result<()> {
        socket.reregister(&self.registry, token.into(), awaited)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
