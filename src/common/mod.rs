//! Shared by several subcommands: quantities as people write them, servers' addresses, host names, signals, listeners'
//! protocols, text of others, and the last warnings.

pub(crate) mod place;
pub(crate) mod printable;
pub(crate) mod protocols;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod units;
pub(crate) mod warnings;
