//! What all threads of a run share: one clock, when sending begins, and when measuring begins and ends.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use crate::load::nanos::{Nanos, nanos};

/// Not set yet.
const NEVER: Nanos = Nanos::MAX;

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Connections are being opened, a barrier is waited for, or the warm-up goes on.
    Before,
    /// What happens now counts.
    Measuring,
    /// Nothing more is sent; what is in flight is waited for.
    After,
}

/// The run's clock. The main thread sets the times, the others go by them.
#[derive(Debug)]
pub(crate) struct Control {
    epoch: Instant,
    /// Nothing is sent earlier.
    go: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    /// Connections that are open, as long as they are being opened.
    open: AtomicUsize,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            go: AtomicU64::new(0),
            start: AtomicU64::new(NEVER),
            end: AtomicU64::new(NEVER),
            open: AtomicUsize::new(0),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        nanos(self.epoch.elapsed())
    }

    /// A thread whose connections are open waits until [`let_go`](Self::let_go) gives the time.
    pub(crate) fn hold_back(&self) {
        self.go.store(NEVER, Relaxed);
    }

    /// All threads may send from `go` on.
    pub(crate) fn let_go(&self, go: Nanos) {
        self.go.store(go, Relaxed);
    }

    /// From when on a thread whose connections are open may send; [`Nanos::MAX`] until that is known.
    pub(crate) fn go(&self) -> Nanos {
        self.go.load(Relaxed)
    }

    /// Measures from `start` to `end`.
    pub(crate) fn measure(&self, start: Nanos, end: Nanos) {
        self.end.store(end, Relaxed);
        self.start.store(start, Relaxed);
    }

    /// Ends it now, whether it has begun or not.
    pub(crate) fn end_now(&self) {
        let now = self.now();
        self.end.fetch_min(now, Relaxed);
        self.start.fetch_min(now, Relaxed);
    }

    /// From when on is measured; [`Nanos::MAX`] until that is known.
    pub(crate) fn start(&self) -> Nanos {
        self.start.load(Relaxed)
    }

    pub(crate) fn end(&self) -> Nanos {
        self.end.load(Relaxed)
    }

    pub(crate) fn phase(&self, now: Nanos) -> Phase {
        if now >= self.end() {
            Phase::After
        } else if now >= self.start() {
            Phase::Measuring
        } else {
            Phase::Before
        }
    }

    /// One thread has `now` connections open, after it had `before`.
    pub(crate) fn opened(&self, before: usize, now: usize) {
        // The sum wraps around and back.
        self.open.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    /// How many connections all threads have open, until measuring begins.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether something that was begun at `time` counts.
    pub(crate) fn counts(&self, time: Nanos) -> bool {
        self.phase(time) == Phase::Measuring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_within_and_after() {
        let control = Control::new();
        assert_eq!(control.phase(5), Phase::Before);
        control.measure(10, 20);
        for (time, phase) in
            [(9, Phase::Before), (10, Phase::Measuring), (19, Phase::Measuring), (20, Phase::After)]
        {
            assert_eq!(control.phase(time), phase, "{time}");
        }
        let control = Control::new();
        control.end_now();
        assert_eq!(control.phase(control.now()), Phase::After);
    }
}
