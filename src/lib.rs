//! An event-driven echo server on mio.

pub mod config;
pub mod frame;
pub mod listen;
pub mod peer;
pub mod protocol;
mod token;

pub use config::Config;
pub use peer::Peer;
pub use token::Token;

/// The reactor.
#[derive(Debug)]
pub struct Reactor;
