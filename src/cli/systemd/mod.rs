//! What systemd, or another service manager with its protocol, and the daemon tell each other: sockets that are passed at
//! the start, how the daemon is, and that its loops still turn.

pub(super) mod notify;
pub(crate) mod sockets;
pub(super) mod watchdog;
