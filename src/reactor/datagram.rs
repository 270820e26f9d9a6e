//! The UDP echo: each datagram goes back to its source (RFC 862), unless the [`Guard`] objects.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use log::{debug, trace, warn};
use mio::{Interest, Registry, net::UdpSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::guard::{Guard, Objection};
use crate::{Stats, Token, UdpConfig, throttle::Throttle};

/// Datagrams received in one turn before other sockets and connections get theirs.
const PER_TURN: usize = 128;

/// No datagram is longer: its length field has 16 bits.
const LONGEST: usize = 65_535;

/// The size of the receive queue that the kernel is asked for, in bytes. It grants at most `net.core.rmem_max`. The
/// usual default holds three of the longest datagrams.
const QUEUE: usize = 4 << 20;

/// A socket that sends back what it receives.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    port: u16,
    buffer: Box<[u8]>,
    /// The length and the source of the datagram in `buffer`, while the kernel has no room to send it.
    owed: Option<(usize, SocketAddr)>,
    guard: Guard,
    warning: Throttle,
}

/// Whether a socket has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its next event.
    Wait,
    /// It has spent its budget: there may be more to receive.
    Again,
}

impl Datagrams {
    /// Binds `address`; `share_ports` sets `SO_REUSEPORT`.
    pub(crate) fn bind(
        address: SocketAddr,
        config: &UdpConfig,
        share_ports: bool,
    ) -> io::Result<Self> {
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
        let port = socket.local_addr()?.port();
        Ok(Self {
            socket,
            port,
            buffer: vec![0; LONGEST].into_boxed_slice(),
            owed: None,
            guard: Guard::new(port, config),
            warning: Throttle::default(),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token.into(), Interest::READABLE | Interest::WRITABLE)
    }

    /// Receives and answers until no datagram is left, the kernel has no room to send, or the budget is spent.
    pub(crate) fn turn(&mut self, now: Duration, stats: &Stats) -> Turn {
        for _ in 0..PER_TURN {
            if let Some((length, source)) = self.owed.take()
                && !self.answer(length, source, stats)
            {
                return Turn::Wait;
            }
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, source)) => {
                    trace!("{source}: datagram of {length} B");
                    stats.received.add(length as u64);
                    match self.guard.objection(source, now) {
                        None => self.owed = Some((length, source)),
                        Some(objection) => self.drop_one(source, objection, now, stats),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Wait,
                // An ICMP error about an earlier answer (udp(7)). It does not concern the next datagram.
                Err(error) => debug!("udp port {}: receive: {error}", self.port),
            }
        }
        Turn::Again
    }

    /// Sends the datagram in the buffer to `source`; false if the kernel has no room and it has to wait.
    fn answer(&mut self, length: usize, source: SocketAddr, stats: &Stats) -> bool {
        match self.socket.send_to(&self.buffer[..length], source) {
            Ok(_) => {
                stats.frames.add(1);
                stats.sent.add(length as u64);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.owed = Some((length, source));
                return false;
            }
            Err(error) => {
                stats.datagrams_dropped.add(1);
                debug!("{source}: send {length} B: {error}");
            }
        }
        true
    }

    fn drop_one(&mut self, source: SocketAddr, why: Objection, now: Duration, stats: &Stats) {
        stats.datagrams_dropped.add(1);
        if matches!(why, Objection::Loop { .. }) {
            stats.loop_guard_drops.add(1);
        }
        // A client that sends for hours loses many datagrams to the loop guard: one warning is enough.
        if why == (Objection::Loop { first: false }) {
            return debug!("udp port {}: dropped a datagram from {source}: {why}", self.port);
        }
        if let Some(more) = self.warning.admit(now) {
            warn!("udp port {}: dropped a datagram from {source}: {why} ({more} more)", self.port);
        }
    }
}
