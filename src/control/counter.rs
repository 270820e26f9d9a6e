//! Counters and gauges: one writer, any number of readers, and cheap for both.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and others may read.
///
/// With a single writer a plain load and store make an increment; no locked instruction is needed.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
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
