//! Shared by several subcommands: quantities as people write them, host names, signals, and listeners' protocols.

pub(crate) mod protocols;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod units;
