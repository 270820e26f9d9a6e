//! What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`).

use std::time::Duration;

/// What the kernel knows of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The round-trip time, smoothed (RFC 6298), in microseconds' precision.
    pub round_trip: Duration,
    /// Segments that were sent again since the connection was opened.
    pub retransmissions: u32,
    /// Bytes that the server has written and the kernel has not sent yet: the peer's window or the congestion window is
    /// full.
    pub unsent: u32,
}

#[cfg(all(feature = "tcp-info", target_os = "linux"))]
mod option {
    use nix::{libc, sys::socket::sockopt::GetStruct};

    /// `struct tcp_info` (linux/tcp.h) up to `tcpi_min_rtt`, as 32-bit words. All of it is there since Linux 4.6; newer
    /// kernels have more behind it, and give as much as is asked for.
    pub(super) type Words = [u32; 38];

    pub(super) const RTT: usize = 17;
    pub(super) const TOTAL_RETRANS: usize = 25;
    pub(super) const NOTSENT_BYTES: usize = 36;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Info;

    // The macro of nix for options that it does not have. Words may have any value, so whatever the kernel writes there
    // is valid.
    nix::getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, Words, GetStruct<Words>);
}

/// Asks the kernel about a TCP socket; `None` where it does not say.
#[cfg(all(feature = "tcp-info", target_os = "linux"))]
pub(super) fn read(socket: &impl std::os::fd::AsFd) -> Option<TcpInfo> {
    let words = nix::sys::socket::getsockopt(socket, option::Info).ok()?;
    Some(TcpInfo {
        round_trip: Duration::from_micros(words[option::RTT].into()),
        retransmissions: words[option::TOTAL_RETRANS],
        unsent: words[option::NOTSENT_BYTES],
    })
}

/// Without the feature `tcp-info` nobody is asked.
#[cfg(not(all(feature = "tcp-info", target_os = "linux")))]
pub(super) fn read<S>(_: &S) -> Option<TcpInfo> {
    None
}
