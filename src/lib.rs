//! An event-driven echo server on mio.

// Not in tests, where a panic is the report.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod buffer;
pub mod config;
mod connection;
mod datagram;
pub mod dispatcher;
mod door;
pub mod frame;
#[doc(hidden)]
pub mod inspect;
pub mod listen;
pub mod listener;
pub mod net;
pub mod peer;
pub mod protocol;
mod reactor;
mod stats;
mod stream;
mod throttle;
mod timer;
mod token;

pub use config::Config;
pub use connection::Reason;
pub use door::Lane;
pub use listener::{Endpoint, Listener};
pub use peer::Peer;
pub use reactor::{Handle, Reactor};
pub use stats::{Counter, Stats};
pub use token::Token;
