//! What may change while a loop runs.

use std::time::Duration;

/// A setting of a running loop, and its new value. Each is the field of [`Config`](crate::Config) of that name; the fields
/// that are not here cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// For all reactors that share their limits. A lower limit closes no connection: no more are accepted until fewer are
    /// open. With a higher limit accepting goes on at once.
    MaxConnections(usize),
    /// For all reactors that share their limits. A lower limit closes no connection. Where there was no limit before, only
    /// connections that are accepted from now on are counted.
    MaxConnectionsPerIp(Option<u32>),
    /// For all reactors that share their limits. A lower limit ends no connection before one needs more memory.
    MaxMemory(usize),
    /// For the connections that wait now, too: counted from when they began to wait, or from now if there was no limit.
    IdleTimeout(Option<Duration>),
    /// As [`IdleTimeout`](Self::IdleTimeout), for the frames that have begun.
    FrameTimeout(Option<Duration>),
    /// As [`IdleTimeout`](Self::IdleTimeout), for the handshakes that have begun.
    HandshakeTimeout(Option<Duration>),
    /// As [`IdleTimeout`](Self::IdleTimeout), for the peers that are owed bytes.
    WriteTimeout(Option<Duration>),
    /// For a stop that has not begun.
    Grace(Duration),
}

/// The settings that may change, as they are. Each is the field of [`Config`](crate::Config) of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "Config has the same fields")]
pub struct Settings {
    pub max_connections: usize,
    pub max_connections_per_ip: Option<u32>,
    pub max_memory: usize,
    pub idle_timeout: Option<Duration>,
    pub frame_timeout: Option<Duration>,
    pub handshake_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    pub grace: Duration,
}
