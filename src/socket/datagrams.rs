//! UDP sockets.

use std::{convert::Infallible, io, net::SocketAddr, os::fd::OwnedFd};

use log::debug;
use mio::{Interest, Registry, Token, net::UdpSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use self::batch::Batch;
use super::{WITHOUT_EPOLL, inherited};

mod batch;
#[cfg(feature = "udp-batch")]
mod many;

/// The size of the receive queue that the kernel is asked for, in bytes. It grants at most `net.core.rmem_max`. The
/// usual default holds three of the longest datagrams.
const QUEUE: usize = 4 << 20;

/// A bound UDP socket. No call blocks.
pub trait DatagramSocket {
    /// The port that it is bound to.
    fn local_port(&self) -> u16;

    /// Receives datagrams that wait, at least one, into the free slots of `batch`. `WouldBlock` if none waits.
    ///
    /// # Errors
    ///
    /// As recv(2): also an ICMP error about an earlier answer, after which the next call may succeed.
    fn receive(&mut self, batch: &mut Batch<'_>) -> io::Result<()>;

    /// Whether nothing waits after [`receive`](Self::receive) has left slots free, and the next datagram brings an event.
    /// It is not so where one call receives one datagram, nor where mio polls with poll(2). Even where it is so, an error
    /// may have ended the call before the last datagram. The event of such an error comes with
    /// [`more_behind`](crate::net::Readiness::more_behind).
    fn short_batch_is_last(&self) -> bool;

    /// Sends datagrams from the front of `batch`, each whole, at least one. Returns how many. `WouldBlock` if there is no
    /// room for the first one now.
    ///
    /// # Errors
    ///
    /// As send(2). It concerns the first one alone.
    fn send(&mut self, batch: &Batch<'_>) -> io::Result<usize>;
}

impl DatagramSocket for Infallible {
    fn local_port(&self) -> u16 {
        match *self {}
    }

    fn receive(&mut self, _batch: &mut Batch<'_>) -> io::Result<()> {
        match *self {}
    }

    fn short_batch_is_last(&self) -> bool {
        match *self {}
    }

    fn send(&mut self, _batch: &Batch<'_>) -> io::Result<usize> {
        match *self {}
    }
}

/// What a UDP socket waits for: it does not receive while it owes answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Datagrams.
    Datagrams,
    /// Room in the kernel to send.
    Room,
}

impl From<Awaited> for Interest {
    fn from(awaited: Awaited) -> Self {
        match awaited {
            Awaited::Datagrams => Self::READABLE,
            Awaited::Room => Self::WRITABLE,
        }
    }
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    #[cfg(feature = "udp-batch")]
    sender: many::Sender,
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
        Ok(Self {
            address: socket.local_addr()?,
            #[cfg(feature = "udp-batch")]
            sender: many::Sender::new(&socket),
            socket,
        })
    }

    /// Where it is bound, with the port that the kernel chose.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    /// Registers for datagrams alone. The kernel makes room again for each datagram that leaves, and each time it would
    /// wake a loop that has asked for room.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Awaited::Datagrams.into())
    }

    /// Registers for something else. If it is there already, an event comes.
    pub(crate) fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        awaited: Awaited,
    ) -> io::Result<()> {
        registry.reregister(&mut self.socket, token, awaited.into())
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

    #[cfg(feature = "udp-batch")]
    fn receive(&mut self, batch: &mut Batch<'_>) -> io::Result<()> {
        let Self { socket, address, .. } = self;
        socket.try_io(|| many::receive(&*socket, address.is_ipv4(), batch))
    }

    #[cfg(not(feature = "udp-batch"))]
    fn receive(&mut self, batch: &mut Batch<'_>) -> io::Result<()> {
        let Some(slot) = batch.free_slots().next() else { return Ok(()) };
        let (length, source) = self.socket.recv_from(slot)?;
        batch.enter(length, source);
        Ok(())
    }

    fn short_batch_is_last(&self) -> bool {
        cfg!(feature = "udp-batch") && !WITHOUT_EPOLL
    }

    #[cfg(feature = "udp-batch")]
    fn send(&mut self, batch: &Batch<'_>) -> io::Result<usize> {
        let Self { socket, sender, .. } = self;
        socket.try_io(|| sender.send(&*socket, batch))
    }

    #[cfg(not(feature = "udp-batch"))]
    fn send(&mut self, batch: &Batch<'_>) -> io::Result<usize> {
        let Some((to, payload)) = batch.iter().next() else { return Ok(0) };
        self.socket.send_to(payload, to).map(|_| 1)
    }
}
