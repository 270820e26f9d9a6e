//! Servers of lines.

use super::{Library, Peer, Protocol, Source};

pub static ALL: [Peer; 1] = [Peer::new(
    "lines-c",
    "C epoll, memchr, whole lines",
    &[Protocol::Lines],
    Source::C { file: "framed", flags: &["-DLINES"], needs: Library::Libc },
)
.quick()];
