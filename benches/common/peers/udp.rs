//! Servers of datagrams.

use super::{Peer, Protocol, c};

pub static ALL: [Peer; 1] =
    [Peer::new("udp-c", "C, recvmmsg and sendmmsg", &[Protocol::Udp], c("udp")).quick()];
