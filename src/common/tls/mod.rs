//! TLS, as far as subcommands share it. Without the feature `tls` a `+tls` is refused with the reason.

/// How the handshakes of a listener ended.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    pub(crate) failed: Vec<Failed>,
}

/// How many handshakes failed in the same way.
#[derive(Debug)]
pub(crate) struct Failed {
    /// `server`, `client`, or `none`.
    pub(crate) sender: &'static str,
    /// The alert that the sender has sent, or `none`.
    pub(crate) alert: &'static str,
    pub(crate) count: u64,
}

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod client;
mod link;
#[cfg(feature = "tls")]
mod listener;
#[cfg(feature = "tls")]
mod stream;
mod terms;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{
    Acceptor, Connector, KEYS, Stream, acceptor, announce, around, complete, connector, handshakes,
    put, watch,
};
#[cfg(feature = "tls")]
pub(crate) use client::{connector, explain};
pub(crate) use link::Link;
#[cfg(feature = "tls")]
pub(crate) use link::{CUT_OFF, unanswered};
#[cfg(feature = "tls")]
pub(crate) use listener::{KEYS, acceptor, announce, around, complete, handshakes, put, watch};
#[cfg(feature = "tls")]
pub(crate) use resound::protocol::tls::{Acceptor, Connector};
#[cfg(feature = "tls")]
pub(crate) use stream::Stream;
pub(crate) use terms::ClientTerms;
