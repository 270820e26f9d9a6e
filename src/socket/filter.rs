//! Losing segments on purpose: a socket filter (socket(7), `SO_ATTACH_FILTER`) drops them before TCP sees them, so that
//! the peer's kernel retransmits. It takes no privilege.

use std::{io, os::fd::AsFd};

use socket2::{Domain, SockFilter, SockRef, Socket, Type};

/// What loses everything, in parts of a million.
pub(crate) const ALL: u32 = 1_000_000;

/// From the kernel's `linux/bpf_common.h` and `linux/filter.h`: classic BPF.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_RANDOM`: 32 random bits.
const RANDOM: u32 = 0xFFFF_F000 + 56;

/// Drops this share of the segments that arrive at `socket`, in parts of a million.
///
/// # Errors
///
/// As setsockopt(2).
pub(super) fn lose(socket: &impl AsFd, share: u32) -> io::Result<()> {
    let drop_it = SockFilter::new(RETURN, 0, 0, 0);
    let socket = SockRef::from(socket);
    if share >= ALL {
        return socket.attach_filter(&[drop_it]);
    }
    let threshold = (u64::from(share) << 32) / u64::from(ALL);
    socket.attach_filter(&[
        SockFilter::new(LOAD_WORD, 0, 0, RANDOM),
        SockFilter::new(JUMP_IF_AT_LEAST, 1, 0, u32::try_from(threshold).unwrap_or(u32::MAX)),
        drop_it,
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Whether the kernel takes such filters.
///
/// # Errors
///
/// As setsockopt(2), where it does not.
pub(crate) fn check() -> io::Result<()> {
    lose(&Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?, ALL / 2)
}
