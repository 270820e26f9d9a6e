//! Shared by several subcommands: quantities as people write them, servers' addresses, host names, signals, listeners'
//! protocols, TLS, plans of faults, text of others, the last warnings, and waiting.

pub(crate) mod place;
pub(crate) mod plans;
pub(crate) mod printable;
pub(crate) mod protocols;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod tls;
pub(crate) mod units;
pub(crate) mod wait;
pub(crate) mod warnings;
