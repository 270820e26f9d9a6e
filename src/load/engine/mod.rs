//! The threads that load a server: when connections are opened, and when they send.

pub(crate) mod carrier;
pub(crate) mod opening;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod refusal;
#[cfg(feature = "tls")]
mod secured;
pub(crate) mod timer;
pub(crate) mod traffic;
pub(crate) mod udp;
pub(crate) mod worker;
