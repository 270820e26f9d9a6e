//! UDP sockets.

use std::{convert::Infallible, io, net::SocketAddr, os::fd::OwnedFd};

use log::debug;
use mio::{Interest, Registry, Token, net::UdpSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::inherited;

/// The size of the receive queue that the kernel is asked for, in bytes. It grants at most `net.core.rmem_max`. The
/// usual default holds three of the longest datagrams.
const QUEUE: usize = 4 << 20;

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

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Datagrams {
    /// Binds `address`; `share_ports` sets `SO_REUSEPORT`.
    pub(crate) fn bind(address: SocketAddr, share_ports: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_port(share_ports)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        enlarge_queue(&socket);
        socket.bind(&SockAddr::from(address))?;
        Self::new(socket)
    }

    /// Takes over a bound socket that another process passed. `O_NONBLOCK` and a larger receive queue are set.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with a text that says what the socket is, unless it is a UDP socket.
    pub(crate) fn inherit(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = Socket::from(socket.into());
        let is_ip = [Domain::IPV4, Domain::IPV6].contains(&socket.domain()?);
        let is_udp = is_ip && socket.protocol()? == Some(Protocol::UDP);
        if !is_udp || socket.r#type()? != Type::DGRAM {
            return Err(inherited::unsuitable(&socket, "a UDP socket"));
        }
        socket.set_nonblocking(true)?;
        enlarge_queue(&socket);
        Self::new(socket)
    }

    fn new(socket: Socket) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket.into());
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// Where it is bound, with the port that the kernel chose.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }
}

impl From<Datagrams> for OwnedFd {
    fn from(datagrams: Datagrams) -> Self {
        datagrams.socket.into()
    }
}

fn enlarge_queue(socket: &Socket) {
    if let Err(error) = socket.set_recv_buffer_size(QUEUE) {
        debug!("a UDP socket: SO_RCVBUF: {error}");
    }
}

impl DatagramSocket for Datagrams {
    fn local_port(&self) -> u16 {
        self.address.port()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer)
    }

    fn send(&mut self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(payload, to).map(drop)
    }
}
