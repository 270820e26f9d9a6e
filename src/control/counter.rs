//! Counters and gauges with one writer and any number of readers. Writing and reading are cheap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and other threads can read.
///
/// Because only one thread writes, an increment is a plain load and a plain store, without a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The current value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    /// For gauges.
    pub(crate) fn subtract(&self, amount: u64) {
        self.set(self.value().wrapping_sub(amount));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}
