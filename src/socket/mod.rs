//! The kernel's sockets: endpoints, listeners, streams, datagrams.

pub(crate) mod datagrams;
pub(crate) mod endpoint;
pub(crate) mod filter;
mod inherited;
pub mod listen;
pub(crate) mod listener;
pub(crate) mod peer;
mod send_queue;
pub(crate) mod stream;
pub(crate) mod tcp_info;
pub(crate) mod unserved;
