//! Servers of length-prefixed frames. Those that parse nothing echo any bytes.

use super::{Library, Peer, Protocol, Source, c, c_with, go};

const FRAMES: &[Protocol] = &[Protocol::Frames];
const BYTES: &[Protocol] = &[Protocol::Frames, Protocol::Raw];

/// The echo that others pass on to.
pub const BARE: Peer = Peer::new("bare-c", "C epoll, no parsing", BYTES, c("bare")).quick();

pub static ALL: [Peer; 16] = [
    BARE,
    Peer::new("framed-c", "C epoll, whole frames", FRAMES, c("framed")).quick(),
    // The floor: without a wake-up, and without a process.
    Peer::new(
        "spin-c",
        "C epoll with a timeout of 0, no parsing, never sleeps",
        BYTES,
        Source::C { file: "bare", flags: &["-DTIMEOUT=0"], needs: Library::Libc },
    )
    .spins(),
    Peer::new("sockmap", "an echo inside the kernel: sockmap and BPF", BYTES, c("sockmap")),
    Peer::new("uring", "C io_uring, no parsing", BYTES, c_with("uring", "liburing.h", "uring")),
    Peer::new("libuv", "no parsing, tuned", BYTES, c_with("libuv", "uv.h", "uv")),
    Peer::new(
        "libevent",
        "bufferevent, whole frames",
        FRAMES,
        c_with("libevent", "event2/event.h", "event_core"),
    ),
    Peer::new(
        "threads",
        "Rust std, a thread per connection, no parsing",
        BYTES,
        Source::Rust("threads"),
    ),
    Peer::new("tokio-raw", "no parsing", BYTES, Source::Rust("tokio_raw")),
    Peer::new(
        "tokio-tuned",
        "LengthDelimitedCodec, feed all, flush once",
        FRAMES,
        Source::Rust("tokio_tuned"),
    ),
    Peer::new(
        "tokio-tutorial",
        "LengthDelimitedCodec, send per frame",
        FRAMES,
        Source::Rust("tokio_tutorial"),
    ),
    Peer::new("go-raw", "no parsing", BYTES, go("raw", &[])),
    Peer::new("go-tuned", "whole frames, bufio, flush once", FRAMES, go("framed", &["tuned"])),
    Peer::new(
        "go-tutorial",
        "whole frames, a write per frame",
        FRAMES,
        go("framed", &["tutorial"]),
    ),
    Peer::new("netty", "NIO, whole frames", FRAMES, Source::Netty),
    Peer::new(
        "uvloop",
        "Python on libuv, no parsing",
        BYTES,
        Source::Python { file: "uvloop_raw.py", modules: "uvloop" },
    ),
];
