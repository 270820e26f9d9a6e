//! What the kernel gives: endpoints, listeners, streams.

pub mod listen;
pub(crate) mod listener;
pub(crate) mod peer;
pub(crate) mod stream;
