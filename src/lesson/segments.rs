//! How many segments with data have come, as the kernel counts them (tcp(7), `TCP_INFO`).

use std::os::fd::AsFd;

use nix::{libc, sys::socket::sockopt::GetStruct};

/// `struct tcp_info` (linux/tcp.h) up to `tcpi_data_segs_in`, as 32-bit words; since Linux 4.6.
type Words = [u32; 39];

const DATA_SEGS_IN: usize = 38;

#[derive(Debug, Clone, Copy)]
struct Info;

// The macro of nix for options that it does not have. Words may have any value, so whatever the kernel writes there is valid.
nix::getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, Words, GetStruct<Words>);

/// Segments with data that have come on this connection; one that came twice counts twice.
///
/// # Errors
///
/// Text, where the kernel does not say.
pub(super) fn data_segments(socket: &impl AsFd) -> Result<u64, String> {
    let words = nix::sys::socket::getsockopt(socket, Info);
    let words = words.map_err(|error| format!("the kernel does not count segments: {error}"))?;
    Ok(words[DATA_SEGS_IN].into())
}
