//! How the handshakes of a listener ended, for the metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How many handshakes of a listener ended how. All loops that serve it count here: a handshake takes a hundred thousand
/// times as long as this.
#[derive(Debug, Default)]
pub struct Handshakes {
    full: AtomicU64,
    resumed: AtomicU64,
    /// There are no more of them than alerts have names.
    failed: Mutex<BTreeMap<Failure, u64>>,
}

/// How a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The server ended it with this alert.
    Sent(&'static str),
    /// The client did.
    Received(&'static str),
    /// Without an alert: not TLS, too slow, or the client went away.
    Silent,
}

impl Handshakes {
    /// Those in which keys were exchanged and the certificate was shown.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }

    /// Those that resumed a session.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Relaxed)
    }

    /// Those that failed, in each way in which any did.
    #[must_use]
    pub fn failed(&self) -> Vec<(Failure, u64)> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|(&failure, &count)| (failure, count)).collect()
    }

    pub(super) fn succeeded(&self, is_resumed: bool) {
        let counter = if is_resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn has_failed(&self, failure: Failure) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(failure).or_default() += 1;
    }
}
