//! The plan of a run: the checked arguments of the command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use resound::Endpoint;

use super::{pace::Arrivals, traffic::Discipline};
use crate::{
    common::{tls::Connector, units::Size},
    load::{
        barrier::Barrier,
        wire::{protocol::Wire, size::Sizes, target::Target},
    },
};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: usize,
    pub(crate) depth: Option<u32>,
    pub(crate) sizes: Sizes,
    /// Frames a second, in an open loop.
    pub(crate) rate: Option<f64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) duration: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) churn: Option<u64>,
    pub(crate) connect_rate: Option<f64>,
    pub(crate) hold: usize,
    /// Source addresses to spread connections over; 1 leaves the choice to the kernel.
    pub(crate) sources: usize,
    pub(crate) threads: u32,
    /// Each thread has a table of descriptors of its own.
    pub(crate) own_tables: bool,
    pub(crate) timeout: Duration,
    /// `SO_SNDBUF` of each connection.
    pub(crate) send_buffer: Option<Size>,
    /// What is waited for between the last connect and the first frame.
    pub(crate) barrier: Barrier,
    /// How TLS is spoken, if it is.
    pub(crate) tls: Option<Arc<Connector>>,
    /// With TLS: no session is resumed.
    pub(crate) full_handshakes: bool,
}

/// Connections from one source address. It has many more ports, but other programs on the machine use some, and a port
/// that a program has bound cannot be used by another.
const PORTS: usize = 4_000;

/// With churn, a port stays in `TIME_WAIT` for a minute. This many addresses have three million ports.
const SOURCES_FOR_CHURN: usize = 128;

/// Bytes in flight on a connection in an open loop, unless `--depth` says how many frames.
const OPEN_LOOP_BYTES: usize = 1 << 20;
const OPEN_LOOP_FRAMES: usize = 1024;

/// Windows in a run, and the bounds of their length.
const WINDOWS: u32 = 20;
const SHORTEST_WINDOW: Duration = Duration::from_millis(20);
const LONGEST_WINDOW: Duration = Duration::from_secs(1);

impl Plan {
    pub(crate) const fn wire(&self) -> &Wire {
        self.target.wire()
    }

    pub(crate) fn window(&self) -> Duration {
        (self.duration / WINDOWS).clamp(SHORTEST_WINDOW, LONGEST_WINDOW)
    }

    /// How connections send, with frames of `mean` bytes.
    pub(crate) fn discipline(&self, mean: usize) -> Discipline {
        if self.rate.is_none() {
            return Discipline::Closed { depth: self.depth.unwrap_or(1) };
        }
        let most = (OPEN_LOOP_BYTES / mean.max(1)).clamp(1, OPEN_LOOP_FRAMES);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Discipline::Open { most: self.depth.unwrap_or(most) }
    }

    /// How many source addresses are needed; 1 where they cannot be chosen.
    pub(crate) fn sources_needed(
        endpoint: &Endpoint,
        wire: &Wire,
        connections: usize,
        churns: bool,
    ) -> usize {
        match endpoint {
            Endpoint::Tcp(address) if has_many_sources(address.ip()) && *wire != Wire::Udp => {
                if churns {
                    SOURCES_FOR_CHURN
                } else {
                    connections.div_ceil(PORTS).max(1)
                }
            }
            _ => 1,
        }
    }

    /// The source address of connection `number`; `None` lets the kernel choose.
    pub(crate) fn source(&self, number: usize) -> Option<IpAddr> {
        if self.sources <= 1 {
            return None;
        }
        let index = u32::try_from(number % self.sources).unwrap_or(0);
        Some(IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + index)))
    }

    /// The share of thread `thread` of `all`.
    pub(crate) fn part(&self, all: usize, thread: u32) -> usize {
        let threads = self.threads as usize;
        all / threads + usize::from((thread as usize) < all % threads)
    }
}

/// Whether a connection to `ip` can come from any of 16 million addresses, as in 127.0.0.0/8.
pub(crate) const fn has_many_sources(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_source_addresses_for_the_ports_it_takes() {
        let local = Endpoint::Tcp("127.0.0.1:1".parse().unwrap());
        let remote = Endpoint::Tcp("192.0.2.1:1".parse().unwrap());
        for (endpoint, connections, churns, sources) in [
            (&local, 100, false, 1),
            (&local, 4_001, false, 2),
            (&local, 100, true, 128),
            (&remote, 50_000, true, 1),
            (&Endpoint::Unix("/x".into()), 50_000, false, 1),
        ] {
            assert_eq!(Plan::sources_needed(endpoint, &Wire::Raw, connections, churns), sources);
        }
    }
}
