//! The limits of a reactor, each with its unit and its default.

use std::{sync::Arc, time::Duration};

use crate::protocol::fault::Faults;

/// Limits and timeouts of a reactor. Where a listener listens and what it speaks is an argument of
/// [`Reactor::listen`](crate::Reactor::listen).
///
/// Minor versions of this crate add fields. Write a configuration so that it still compiles then, with the defaults at
/// the end:
///
/// ```
/// use resound::Config;
///
/// let config = Config { max_connections: 1_000, ..Config::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connections open at once. Default 10,000.
    pub max_connections: usize,
    /// Connections open at once from one IP address, or one IPv6 network of 64 bits; more are refused.
    /// Default none. Behind a proxy all connections have the address of the proxy, unless the protocol reads the peer's
    /// address from a PROXY header ([`Proxied`](crate::protocol::proxy::Proxied)).
    pub max_connections_per_ip: Option<u32>,
    /// What happens to connections over the limit. Default [`Overload::Wait`].
    pub overload: Overload,
    /// The backlog of each listener: connections that wait to be accepted. The kernel limits it to
    /// `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
    /// Let other reactors of the same user listen on the same TCP and UDP ports (`SO_REUSEPORT`, socket(7)). The kernel
    /// gives each connection to one of them. Default false.
    pub share_ports: bool,
    /// Bytes of memory in the buffers of all connections together. Default 1 GiB. Over the limit, the connection that holds
    /// the most is ended (approximately: no other one holds more than twice as much). If no connection holds 64 KiB, the
    /// one that needs more memory is ended.
    pub max_memory: usize,
    /// Close a connection after this time with no partial frame and nothing left to send. Default none.
    pub idle_timeout: Option<Duration>,
    /// A frame must be complete within this time after its first byte, even if its bytes arrive steadily. If the time ends
    /// while replies wait to be sent, it starts once more when they are sent, because the server did not read meanwhile.
    /// Default 60 s.
    pub frame_timeout: Option<Duration>,
    /// A handshake before the first frame must be complete within this time after the connection was accepted or made: a PROXY
    /// header, a WebSocket handshake, the head of the first HTTP request. Default 10 s.
    pub handshake_timeout: Option<Duration>,
    /// While bytes wait to be sent, the kernel must accept some of them within this time, which means that the peer reads.
    /// An outbound connection must be established within this time. Default 60 s.
    pub write_timeout: Option<Duration>,
    /// Ask the peer of a TCP connection over which nothing has come for this time whether it is still there, three times, a
    /// third of this time apart (`SO_KEEPALIVE`, tcp(7)). A host that has vanished without FIN is noticed within twice
    /// this time. In whole seconds, from 1 to 32,767. Default 5 min.
    pub keepalive: Option<Duration>,
    /// Close a TCP connection whose peer has acknowledged nothing of what was sent for this time, or has not made room for
    /// it (`TCP_USER_TIMEOUT`, tcp(7)). Default none: the kernel gives up after about 15 minutes.
    pub user_timeout: Option<Duration>,
    /// The send buffer of each outbound connection, in bytes (`SO_SNDBUF`, socket(7)): what the kernel holds of it until the
    /// peer has acknowledged it. The kernel doubles it, and has limits of its own. Default none: it grows as needed.
    pub send_buffer: Option<usize>,
    /// How long a connection lingers after the server has ended it: the server discards what the peer still sends, because
    /// closing a socket with unread bytes sends RST, which can destroy the last replies. Default 2 s.
    pub linger: Duration,
    /// How long a stopping reactor waits for connections to finish. Default 10 s.
    pub grace: Duration,
    /// Before the loop sleeps, it polls without blocking for this long (busy polling). An event that comes meanwhile is
    /// handled without the time that the kernel needs to wake a thread. It costs up to this much CPU time for each
    /// wake-up, and a whole CPU while events come more often than that. Default none.
    pub busy_poll: Option<Duration>,
    /// Measure how long each turn takes ([`Stats::turn_durations`](crate::Stats::turn_durations)): the clock is read
    /// twice a turn. Default false.
    pub measure_turns: bool,
}

/// The limits of a UDP echo, which [`Reactor::listen_udp`](crate::Reactor::listen_udp) takes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UdpConfig {
    /// How many datagrams of each source (address and port) are answered in a second. More are dropped. In a
    /// burst, a source may use up the rate of one second at once. Default 10,000; 0 is no limit.
    pub rate: u32,
    /// Drop every [`LOOP_GUARD_PERIOD`](Self::LOOP_GUARD_PERIOD)th datagram of a source that never pauses for five minutes.
    /// This ends a loop with another UDP echo server, whatever its round-trip time. Default true. Without it, one forged
    /// datagram can make two echo servers send to each other for ever. Switch it off only to measure packet loss.
    pub loop_guard: bool,
    /// What it does wrong on purpose. Default nothing. Loops that serve one listener share it.
    pub faults: Option<Arc<Faults>>,
}

impl UdpConfig {
    /// One datagram in this many is what the loop guard drops. It is prime: if two sources share a slot, no short
    /// pattern of their datagrams lets one of the two lose none.
    pub const LOOP_GUARD_PERIOD: u32 = 1009;
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { rate: 10_000, loop_guard: true, faults: None }
    }
}

/// What happens to new connections when [`Config::max_connections`] are open, or when no descriptor is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overload {
    /// They wait in the backlog until another connection closes. Their peers are connected already, because the kernel
    /// completes the TCP handshake. If the backlog is full, the kernel ignores the connection attempt, and the peer's kernel
    /// repeats it.
    #[default]
    Wait,
    /// They are accepted and closed at once, so that their peers can connect to another server.
    Refuse,
}

impl Config {
    /// How many descriptors a reactor may have open besides its listeners and connections: two for its epoll instance, its
    /// waker, the reserve of [`Overload::Refuse`], and a connection that is accepted to be refused.
    pub const OWN_DESCRIPTORS: u64 = 5;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_ip: None,
            overload: Overload::Wait,
            backlog: 4096,
            share_ports: false,
            max_memory: 1 << 30,
            idle_timeout: None,
            frame_timeout: Some(Duration::from_secs(60)),
            handshake_timeout: Some(Duration::from_secs(10)),
            write_timeout: Some(Duration::from_secs(60)),
            keepalive: Some(Duration::from_secs(300)),
            user_timeout: None,
            send_buffer: None,
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            busy_poll: None,
            measure_turns: false,
        }
    }
}
