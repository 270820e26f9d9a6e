//! An event-driven echo server on mio: length-prefixed frames in, the same bytes back, for very many connections
//! on one thread; and the parts to build a framed server of your own.
//!
//! ```text
//!                    ┌──────────────────────────────────────────────────────────────┐
//!  epoll ─▶ Reactor ─┤ connection ── read ──▶ Protocol ── how much is complete ──┐  │
//!             polls  │    ▲                                                      │  │
//!                    │    └────── written from where the bytes are ◀─────────────┘  │
//!                    └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! A [`Reactor`] owns the listeners and the connections, polls, and gives each connection its turn. A connection reads,
//! shows the bytes to its listener's [`Protocol`](protocol::Protocol), and sends the answer: for an echo the same bytes,
//! without copying them. A connection keeps only what is not a whole frame yet, and what the kernel has not taken yet; an
//! idle connection owns no buffer.
//!
//! | to | see |
//! |---|---|
//! | run an echo | [`Reactor::listen`] with [`protocol::Frames`] or [`protocol::Raw`] |
//! | answer frames with frames of your own | [`protocol::Handler`], [`protocol::Framed`] |
//! | speak something that is not frames | [`protocol::Protocol`] |
//! | pack and unpack frames in any dialect, without sockets | [`frame`] |
//! | set limits and timeouts | [`Config`], [`UdpConfig`] |
//! | share limits among several reactors | [`Limits`], [`Reactor::sharing`] |
//! | control it from another thread: count, list, close, send, stop | [`Handle`] |
//! | move connections and listeners to another loop or process | [`Handle::release_connections`], [`Handle::adopt_connections`] |
//! | stop on a signal | [`Reactor::stop_on`] |
//! | watch what it does | [`Reactor::stats`], and the `log` crate's levels |
//! | record what it does, event by event | [`Recorder`], [`Reactor::record`] |
//! | connect outwards, and send without being asked | [`Reactor::outbound`], [`Reactor::connect`], [`Reactor::speak`] |
//! | send much without holding much | [`protocol::Output::call_when_sent`] |
//!
//! An echo server on a port that the kernel chooses, and one frame through it:
//!
//! ```
//! use std::{
//!     io::{Read, Write},
//!     net::TcpStream,
//!     thread,
//! };
//!
//! use resound::{Config, Reactor, protocol::Frames};
//!
//! let mut reactor = Reactor::new(Config::default())?;
//! let address = reactor.listen(([127, 0, 0, 1], 0), Frames::default())?;
//! let handle = reactor.handle();
//! let server = thread::spawn(move || reactor.run());
//!
//! let mut stream = TcpStream::connect(address.to_string())?;
//! stream.write_all(b"\x05\0\0\0hello")?;
//! let mut echo = [0; 9];
//! stream.read_exact(&mut echo)?;
//! assert_eq!(&echo, b"\x05\0\0\0hello");
//!
//! drop(stream);
//! handle.stop();
//! server.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `cli`, on by default, builds the `resound` command. `default-features = false` gives the library alone. `tls`, on by default,
//! is [TLS around a protocol](protocol::tls). `tcp-info` lets
//! [`Handle::look_up`] tell round-trip times, retransmissions and unsent bytes ([`TcpInfo`]); `cli` has it.

// Not in tests, where a panic is the report.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!(
    "resound needs a 64-bit Unix: a token packs two 32-bit numbers into what epoll carries"
);

mod control;
pub mod frame;
mod memory;
#[doc(hidden)]
pub mod plural;
pub mod protocol;
mod random;
mod reactor;
mod reason;
mod socket;
mod throttle;
mod token;

pub use control::{
    command::{
        Accepting, Answer, ConnectionInfo, ControlError, ListenerInfo, Page, Summary, WaitsFor,
    },
    counter::Counter,
    handle::{Commands, Handle, commands},
    histogram::Histogram,
    released::{Record, ReleasedConnection, ReleasedListener, ReleasedPage, ReleasedSocket},
    settings::{Change, Settings},
    state::{Begun, ConnectionState, Excuse},
    stats::{Counts, ListenerStats, Stats},
};
pub use reactor::{
    Reactor,
    config::{Config, Overload, UdpConfig},
    dispatcher::Phase,
    events::{Deadline, Doing, Event, Recorded, Recorder},
    limits::Limits,
    service::Lane,
};
// For tests that drive the loop without a kernel.
#[doc(hidden)]
pub use reactor::{dispatcher, inspect, net};
pub use reason::Reason;
pub use socket::{
    endpoint::{Endpoint, ParseEndpointError},
    listen,
    listener::{Listener, ListeningSocket},
    peer::{Ends, Peer},
    tcp_info::TcpInfo,
    unserved::Unserved,
};
pub use token::Token;

/// The examples of the README are tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
