//! The load generator.
//!
//! The load is a protocol of the library on outbound connections, in the same reactor as a server's. A run sends the
//! frames of [`wire`] from the threads of [`engine`], compares what comes back ([`check`]), and measures
//! ([`statistics`]); the results are a [`report`].

pub(crate) mod barrier;
pub(crate) mod check;
pub(crate) mod engine;
pub(crate) mod nanos;
pub(crate) mod ramp;
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod statistics;
pub(crate) mod units;
pub(crate) mod wire;
