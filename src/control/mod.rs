//! Commands into a running loop, and what a loop counts.

pub(crate) mod command;
pub(crate) mod counter;
pub(crate) mod handle;
pub(crate) mod histogram;
pub(crate) mod released;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod stats;
