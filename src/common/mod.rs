//! Shared by several subcommands: quantities as people write them, servers' addresses, host names, signals, listeners'
//! protocols, TLS, plans of faults, text of others, the last warnings, waiting, threads' tables of descriptors, and how
//! descriptors move between them and between processes.

pub(crate) mod descriptor_table;
pub(crate) mod passing;
pub(crate) mod place;
pub(crate) mod plans;
pub(crate) mod printable;
pub(crate) mod protocols;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod table_thread;
pub(crate) mod tls;
pub(crate) mod units;
pub(crate) mod wait;
pub(crate) mod warnings;
