//! TLS, as far as subcommands share it. Without the feature `tls` a `+tls` is refused with the reason.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod listener;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Acceptor, KEYS, acceptor, announce, complete, put, watch};
#[cfg(feature = "tls")]
pub(crate) use listener::{KEYS, acceptor, announce, complete, put, watch};
#[cfg(feature = "tls")]
pub(crate) use resound::protocol::tls::Acceptor;
