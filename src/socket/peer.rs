//! The two ends of a connection: the peer, and the address at this end.

use std::{fmt, net::SocketAddr};

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Ends {
    /// The other end. Behind [`Proxied`](crate::protocol::proxy::Proxied), the client that the proxy forwards for.
    pub peer: Peer,
    /// The address at this end that the peer connected to. Behind [`Proxied`](crate::protocol::proxy::Proxied), the
    /// address at the proxy. `None` for a Unix socket, for an outbound connection, and if the kernel no longer knows the
    /// address (getsockname(2)).
    pub local: Option<SocketAddr>,
}

impl Ends {
    /// A connection from `peer` to `local`. The reactor makes these; tests of a protocol make their own.
    #[must_use]
    pub const fn new(peer: Peer, local: Option<SocketAddr>) -> Self {
        Self { peer, local }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A Unix-socket peer, which has no address worth showing.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}
