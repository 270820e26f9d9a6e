//! The kernel's sockets: endpoints, listeners, streams, datagrams.

pub(crate) mod datagrams;
pub(crate) mod endpoint;
mod inherited;
pub mod listen;
pub(crate) mod listener;
pub(crate) mod peer;
pub(crate) mod stream;
pub(crate) mod tcp_info;
