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

/// Whether mio polls with poll(2) instead of epoll. mio builds its edges itself then: after an event it reports no other one
/// of the same kind before a call on the socket has returned `WouldBlock`.
pub(crate) const WITHOUT_EPOLL: bool = cfg!(mio_unsupported_force_poll_poll);
