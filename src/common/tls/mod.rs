//! TLS, as far as subcommands share it. Without the feature `tls` a `+tls` is refused with the reason.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod listener;
#[cfg(feature = "tls")]
mod stream;
mod terms;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{
    Acceptor, Connector, KEYS, Stream, acceptor, announce, complete, connector, put, watch,
};
#[cfg(feature = "tls")]
pub(crate) use client::connector;
#[cfg(feature = "tls")]
pub(crate) use listener::{KEYS, acceptor, announce, complete, put, watch};
#[cfg(feature = "tls")]
pub(crate) use resound::protocol::tls::{Acceptor, Connector};
#[cfg(feature = "tls")]
pub(crate) use stream::Stream;
pub(crate) use terms::ClientTerms;
