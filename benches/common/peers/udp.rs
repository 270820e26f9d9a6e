//! Servers of datagrams.

use super::{Library, Peer, Protocol, Source, c};

const UDP: &[Protocol] = &[Protocol::Udp];

pub static ALL: [Peer; 2] = [
    Peer::new("udp-c", "C, recvmmsg and sendmmsg", UDP, c("udp")).quick(),
    Peer::new(
        "udp-epoll-c",
        "the same, waiting in epoll_wait",
        UDP,
        Source::C { file: "udp", flags: &["-DEPOLL"], needs: Library::Libc },
    ),
];
