//! What several subcommands share: quantities as people write them, host names, signals, and what a listener offers.

pub(crate) mod protocols;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod units;
