//! A connected socket, accepted or outbound.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpStream, UnixStream},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::{Domain, SockRef, Socket as RawSocket, Type};

use super::{
    WITHOUT_EPOLL,
    endpoint::Endpoint,
    filter, inherited,
    peer::Peer,
    send_queue,
    tcp_info::{self, TcpInfo},
};

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
    /// (unix(7), `SCM_RIGHTS`), and not where mio polls with poll(2).
    fn short_read_is_last(&self) -> bool {
        true
    }

    /// Writes as `write` does, and lets no later bytes into the last segment of these, where the transport has segments.
    ///
    /// # Errors
    ///
    /// As send(2).
    fn write_segment(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    /// Whether the peer has sent FIN or RST, though there may be bytes to read before. For a connection that is not
    /// read; a stream that cannot tell need not implement it.
    fn peer_has_closed(&self) -> bool {
        false
    }

    /// The error that the connection has failed with, if no call has returned it yet. For a connection that is neither
    /// read nor written; a stream that cannot tell need not implement it.
    fn failure(&mut self) -> Option<io::Error> {
        None
    }

    /// Lets the kernel acknowledge at once what was read, for example with `TCP_QUICKACK` (tcp(7)). A stream without
    /// acknowledgements need not implement it.
    fn acknowledge(&mut self) {}

    /// How many of the bytes written the peer's kernel has not acknowledged. A stream without acknowledgements need not
    /// implement it.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(0)
    }

    /// Makes closing send RST instead of FIN, where the transport has it.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    fn reset_on_close(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Drops this share of the segments that arrive, in parts of a million, without acknowledging them.
    ///
    /// # Errors
    ///
    /// As setsockopt(2); `Unsupported` where there are no segments.
    fn lose(&mut self, share: u32) -> io::Result<()> {
        let _ = share;
        Err(ErrorKind::Unsupported.into())
    }

    /// The other end, if the kernel still knows it. A stream without addresses need not implement it.
    fn peer(&self) -> Option<Peer> {
        None
    }

    /// What the kernel knows of it as a TCP connection, if it is one and the feature `tcp-info` is on.
    fn tcp_info(&self) -> Option<TcpInfo> {
        None
    }

    /// The result of connecting; `WouldBlock` while it is in progress. A stream that is connected from the beginning need
    /// not implement it.
    ///
    /// # Errors
    ///
    /// As connect(2).
    fn connected(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A non-blocking socket that is connected, or soon will be.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Self::Tcp($socket) => $call,
            Self::Unix($socket) => $call,
        }
    };
}

impl Socket {
    /// Reports its readiness from now on under `token`: readable, writable, priority.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
        // An out-of-band byte ends a read, which is the last one with epoll only. Over poll(2) it would be reported again
        // after each `WouldBlock`.
        const ALL: Interest = if WITHOUT_EPOLL { BOTH } else { BOTH.add(Interest::PRIORITY) };
        either!(self, socket => socket.register(registry, token, ALL))
    }

    /// Stops reporting.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        either!(self, socket => socket.deregister(registry))
    }

    /// A connected socket that another loop or process had.
    pub(crate) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let socket = RawSocket::from(socket);
        socket.set_nonblocking(true)?;
        match (socket.domain()?, socket.r#type()?) {
            (Domain::IPV4 | Domain::IPV6, Type::STREAM) => {
                Ok(Self::Tcp(TcpStream::from_std(socket.into())))
            }
            (Domain::UNIX, Type::STREAM) => Ok(Self::Unix(UnixStream::from_std(socket.into()))),
            _ => Err(inherited::unsuitable(&socket, "a connected TCP or Unix stream socket")),
        }
    }

    /// Begins to connect to `endpoint`, from `from` if it is given, with a send buffer of this size if it is given; never
    /// blocks.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        from: Option<IpAddr>,
        send_buffer: Option<usize>,
    ) -> io::Result<Self> {
        let address = match endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                if let Some(size) = send_buffer {
                    SockRef::from(&stream).set_send_buffer_size(size)?;
                }
                return Ok(Self::Unix(stream));
            }
        };
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Written bytes are sent at once, without waiting for the acknowledgement of earlier ones.
        socket.set_tcp_nodelay(true)?;
        if let Some(size) = send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self::Tcp(TcpStream::from_std(socket.into()))),
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(socket) => socket.into(),
            Socket::Unix(socket) => socket.into(),
        }
    }
}

impl Read for Socket {
    /// The system call itself. The wrappers of libc are cancellation points (pthreads(7)): in a process with more than one
    /// thread each call costs some fifty instructions more.
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_io(|| {
            let (_, count) = recv(&*socket, buffer, RecvFlags::empty())?;
            Ok(count)
        }))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        either!(self, socket => socket.read_vectored(buffers))
    }
}

impl Write for Socket {
    /// The system call itself, as for reading; and without SIGPIPE (send(2)).
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_io(|| Ok(send(&*socket, bytes, SendFlags::NOSIGNAL)?)))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn shutdown_write(&mut self) -> io::Result<()> {
        either!(self, socket => socket.shutdown(Shutdown::Write))
    }

    fn short_read_is_last(&self) -> bool {
        matches!(self, Self::Tcp(_)) && !WITHOUT_EPOLL
    }

    fn write_segment(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // EOR: the kernel appends nothing to this segment while it waits to be sent.
        const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::EOR);
        either!(self, socket => socket.try_io(|| Ok(send(&*socket, bytes, FLAGS)?)))
    }

    fn peer_has_closed(&self) -> bool {
        let events = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut polled = either!(self, socket => [PollFd::new(socket, events)]);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(events)
    }

    fn failure(&mut self) -> Option<io::Error> {
        either!(self, socket => socket.take_error()).unwrap_or_else(Some)
    }

    fn acknowledge(&mut self) {
        // It fails only for a socket whose connection has ended, which the next read returns.
        if let Self::Tcp(stream) = self {
            let _ = SockRef::from(&*stream).set_tcp_quickack(true);
        }
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => send_queue::unacknowledged(stream),
            Self::Unix(_) => Ok(0),
        }
    }

    fn reset_on_close(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
            Self::Unix(_) => Ok(()),
        }
    }

    fn lose(&mut self, share: u32) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => filter::lose(stream, share),
            Self::Unix(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn peer(&self) -> Option<Peer> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(Peer::Tcp),
            Self::Unix(_) => Some(Peer::Unix),
        }
    }

    fn tcp_info(&self) -> Option<TcpInfo> {
        match self {
            Self::Tcp(stream) => tcp_info::read(stream),
            Self::Unix(_) => None,
        }
    }

    fn connected(&mut self) -> io::Result<()> {
        let error = either!(self, socket => socket.take_error())?;
        if let Some(error) = error {
            return Err(error);
        }
        match either!(self, socket => socket.peer_addr().map(drop)) {
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                Err(ErrorKind::WouldBlock.into())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{fd::OwnedFd, unix::net::UnixListener},
    };

    use super::*;

    #[test]
    fn a_send_buffer_is_twice_what_was_asked_for() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = std::env::temp_dir().join(format!("resound-sndbuf-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        for endpoint in [Endpoint::Tcp(tcp.local_addr().unwrap()), Endpoint::Unix(path.clone())] {
            let small = Socket::connect(&endpoint, None, Some(5_000)).unwrap();
            let small = SockRef::from(&OwnedFd::from(small)).send_buffer_size().unwrap();
            // socket(7): the kernel doubles it, for its own bookkeeping.
            assert_eq!(small, 10_000, "{endpoint:?}");
        }
        std::fs::remove_file(&path).unwrap();
        drop(unix);
    }
}
