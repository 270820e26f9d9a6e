//! The limits of a reactor, each with its unit and its default.

use std::time::Duration;

/// Limits and timeouts. What a listener speaks and where is not here: that is given to
/// [`Reactor::listen`](crate::Reactor::listen).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connections open at once. Default 10,000.
    pub max_connections: usize,
    /// Connections open at once from one IP address, or one IPv6 network of 64 bits; more are refused.
    /// Default none. Behind a proxy all have the proxy's address, unless the protocol learns the peer's
    /// ([`Proxied`](crate::protocol::proxy::Proxied)).
    pub max_connections_per_ip: Option<u32>,
    /// What becomes of connections for which there is no room. Default [`Overload::Wait`].
    pub overload: Overload,
    /// Connections that each listener lets wait before they are accepted; the kernel clips it to
    /// `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
    /// Let other reactors of this user listen on the same TCP and UDP ports (`SO_REUSEPORT`, socket(7)): the
    /// kernel gives each connection to one of them. Default false.
    pub share_ports: bool,
    /// Bytes of memory that all connections' own buffers may have together. Default 1 GiB. Over it the connection that
    /// holds most is ended, to a factor of two; where none holds 64 KiB, the one that asks for more.
    pub max_memory: usize,
    /// Close a connection with nothing begun and nothing owed after this long. Default none.
    pub idle_timeout: Option<Duration>,
    /// A frame that has begun must be whole within this time, however steadily its bytes drip in. Where the time is up
    /// while the peer is owed replies, it starts once more when they have gone: meanwhile the server did not read.
    /// Default 60 s.
    pub frame_timeout: Option<Duration>,
    /// What comes before the first frame must be whole within this time from accepting: a PROXY header, a WebSocket
    /// handshake, the head of the first HTTP request. Default 10 s.
    pub handshake_timeout: Option<Duration>,
    /// A peer that is owed bytes must take some within this time, and one that is connected to must answer
    /// within it. Default 60 s.
    pub write_timeout: Option<Duration>,
    /// How long a connection that the server ended goes on reading and discarding, so that the kernel's
    /// RST does not overtake the last replies. Default 2 s.
    pub linger: Duration,
    /// How long a stopping reactor waits for connections to finish. Default 10 s.
    pub grace: Duration,
}

/// The limits of a UDP echo, which [`Reactor::listen_udp`](crate::Reactor::listen_udp) takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Datagrams a second that each source (address and port) gets answers to; more are dropped. A source may be ahead
    /// of its rate by one second. Default 10,000; 0 is no limit.
    pub rate: u32,
    /// Drop every [`LOOP_GUARD_PERIOD`](Self::LOOP_GUARD_PERIOD)th datagram of a source that does not pause for five
    /// minutes, so that a loop with another UDP echo ends, whatever its round-trip time. Default true. Without it, one
    /// forged datagram can make two echoes send to each other for ever: switch it off only to measure loss.
    pub loop_guard: bool,
}

impl UdpConfig {
    /// One datagram in this many is what the loop guard drops. It is prime: if two sources share a slot, no short
    /// pattern of their datagrams lets one of the two lose none.
    pub const LOOP_GUARD_PERIOD: u32 = 1009;
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { rate: 10_000, loop_guard: true }
    }
}

/// What becomes of connections for which there is no room, or no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overload {
    /// They wait in the backlog, and their peers with them, who know nothing of it. When that is full too,
    /// the kernel lets them try again.
    #[default]
    Wait,
    /// They are closed at once, so that their peers can go elsewhere.
    Refuse,
}

impl Config {
    /// Descriptors that a reactor may have open beside its listeners and connections: two of its epoll instance, its
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
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(10),
        }
    }
}
