//! An event-driven echo server on mio.

mod buffer;
pub mod config;
mod connection;
mod datagram;
pub mod dispatcher;
mod door;
pub mod frame;
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
