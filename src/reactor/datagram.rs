//! The UDP socket: each datagram goes back to where it came from (RFC 862), unless that would start a storm.
//!
//! A UDP source address proves nothing. One forged datagram, said to come from another echo, would go to and
//! fro between the two for ever (CERT CA-1996-01, CVE-2024-2169). So three kinds of source get no answer:
//! privileged ports, where echo (7), quote of the day (17), character generator (19) and their like live; the
//! socket's own port, behind which another of its kind may sit; and whoever comes faster than the rate, which
//! is what a loop does: it dies with the first datagram dropped.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use log::{debug, trace, warn};
use mio::{Interest, Registry, net::UdpSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{Stats, Token, throttle::Throttle};

/// Datagrams answered in one turn before the others get theirs.
const PER_TURN: usize = 128;

/// The longest datagram there can be: a 16-bit length, of which UDP over IPv6 leaves 65,527 bytes.
const LONGEST: usize = 65_535;

/// What the kernel is asked to queue, in bytes; it grants what `net.core.rmem_max` allows. The default holds
/// three of the longest.
const QUEUE: usize = 4 << 20;

/// Sources told apart; those whose hash is the same share one allowance.
const SOURCES: usize = 4096;

/// How far ahead of its rate a source may come.
const BURST: Duration = Duration::from_secs(1);

/// A socket that sends back what it receives.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    port: u16,
    buffer: Box<[u8]>,
    /// The length of the datagram in `buffer`, and its sender, which the kernel had no room to send it to.
    owed: Option<(usize, SocketAddr)>,
    rate: Rate,
    warning: Throttle,
}

/// Whether a socket has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its next event.
    Wait,
    /// It has spent its budget.
    Again,
}

impl Datagrams {
    /// Binds `address`, and answers each source at most `rate` times a second; 0 is without limit.
    pub(crate) fn bind(address: SocketAddr, rate: u32, share_ports: bool) -> io::Result<Self> {
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
        Ok(Self {
            port: socket.local_addr()?.port(),
            socket,
            buffer: vec![0; LONGEST].into_boxed_slice(),
            owed: None,
            rate: Rate::new(rate),
            warning: Throttle::default(),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token.into(), Interest::READABLE | Interest::WRITABLE)
    }

    /// Answers what has come, until there is no more, the kernel takes no more, or the budget is spent.
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
                    match self.objection(source, now) {
                        None => self.owed = Some((length, source)),
                        Some(objection) => self.drop_one(source, objection, now, stats),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Wait,
                // What ICMP has to say of an earlier datagram (udp(7)); the next may be a good one.
                Err(error) => debug!("udp port {}: receive: {error}", self.port),
            }
        }
        Turn::Again
    }

    /// Sends back the datagram in the buffer; false if it has to wait.
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

    /// Why `source` gets no answer, if so.
    fn objection(&mut self, source: SocketAddr, now: Duration) -> Option<&'static str> {
        match source.port() {
            0..1024 => Some("a privileged source port, where another echo may be"),
            port if port == self.port => {
                Some("the source port is this one, as another echo's may be")
            }
            _ if !self.rate.allows(source, now) => Some("over the rate for one source"),
            _ => None,
        }
    }

    fn drop_one(&mut self, source: SocketAddr, objection: &str, now: Duration, stats: &Stats) {
        stats.datagrams_dropped.add(1);
        if let Some(more) = self.warning.admit(now) {
            warn!(
                "udp port {}: dropped a datagram from {source}: {objection} ({more} more)",
                self.port
            );
        }
    }
}

/// A limit of datagrams a second for each source, in bounded memory.
///
/// The generic cell rate algorithm (ITU-T I.371): of each source only the time is kept at which it would be
/// exactly on its rate again.
#[derive(Debug)]
struct Rate {
    /// Time from one datagram to the next; zero for no limit.
    interval: Duration,
    on_rate_at: Vec<Duration>,
    hasher: RandomState,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        let on_rate_at = if per_second == 0 { Vec::new() } else { vec![Duration::ZERO; SOURCES] };
        Self { interval, on_rate_at, hasher: RandomState::new() }
    }

    fn allows(&mut self, source: SocketAddr, now: Duration) -> bool {
        if self.interval.is_zero() {
            return true;
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let index = self.hasher.hash_one(source) as usize % SOURCES;
        let on_rate_at = self.on_rate_at[index].max(now);
        if on_rate_at > now + BURST {
            return false;
        }
        self.on_rate_at[index] = on_rate_at + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn source(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), port)
    }

    #[test]
    fn a_burst_of_a_second_passes_and_then_the_rate_does() {
        let mut rate = Rate::new(100);
        let mut allowed = |now| (0..1000).filter(|_| rate.allows(source(5000), now)).count();
        assert_eq!(allowed(Duration::ZERO), 101);
        assert_eq!(allowed(Duration::from_millis(500)), 50);
        assert_eq!(allowed(Duration::from_secs(60)), 101);
    }

    #[test]
    fn a_rate_of_zero_is_none() {
        let mut rate = Rate::new(0);
        assert!((0..100_000).all(|_| rate.allows(source(5000), Duration::ZERO)));
    }

    #[test]
    fn privileged_ports_and_its_own_get_no_answer() -> io::Result<()> {
        let mut datagrams = Datagrams::bind("127.0.0.1:0".parse().unwrap(), 0, false)?;
        let own = datagrams.port;
        for (port, dropped) in
            [(0, true), (7, true), (19, true), (1023, true), (own, true), (1024, false)]
        {
            let objection = datagrams.objection(source(port), Duration::ZERO);
            assert_eq!(objection.is_some(), dropped, "port {port}");
        }
        Ok(())
    }
}
