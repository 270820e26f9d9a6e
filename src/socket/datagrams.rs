//! UDP sockets.

use std::{io, net::SocketAddr};

use log::debug;
use mio::{Interest, Registry, net::UdpSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Token;

/// The size of the receive queue that the kernel is asked for, in bytes. It grants at most `net.core.rmem_max`. The
/// usual default holds three of the longest datagrams.
const QUEUE: usize = 4 << 20;

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
        if let Err(error) = socket.set_recv_buffer_size(QUEUE) {
            debug!("{address}: SO_RCVBUF: {error}");
        }
        socket.bind(&SockAddr::from(address))?;
        let socket = UdpSocket::from_std(socket.into());
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// Where it is bound, with the port that the kernel chose.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token.into(), Interest::READABLE | Interest::WRITABLE)
    }
}
