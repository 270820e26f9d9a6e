//! What all loops share of one listener's faults: the plan, the count of connections, the counts of faults, the journal.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{KINDS, plan::Fault, plan::Plan};

/// The faults of one listener.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Arc<Plan>>,
    connections: AtomicU64,
    counts: [AtomicU64; KINDS.len()],
    journal: OnceLock<Journal>,
}

/// Told of every fault that happens. It is called from the loop and must not block.
pub struct Journal(pub Box<dyn Fn(&FaultEvent<'_>) + Send + Sync>);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// A fault that happens.
#[derive(Debug, Clone, Copy)]
pub struct FaultEvent<'f> {
    /// The ordinal of the connection at its listener, from 1.
    pub connection: u64,
    /// The ordinal of the frame on its connection, from 1; 0 for what concerns the whole connection.
    pub frame: u64,
    /// How many bytes the connection has sent before what the fault changes.
    pub byte: u64,
    /// Its index in the plan.
    pub index: usize,
    /// The fault.
    pub fault: &'f Fault,
}

impl Faults {
    /// The faults of a listener with this plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan: Mutex::new(Arc::new(plan)),
            connections: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; KINDS.len()],
            journal: OnceLock::new(),
        }
    }

    /// Tells `journal` of every fault from now on. The first journal stays.
    pub fn keep_journal(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan for the next connection.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.lock())
    }

    /// Sets the plan from the next connection on. Open connections keep theirs.
    pub fn set_plan(&self, plan: Plan) {
        *self.lock() = Arc::new(plan);
    }

    /// How often each of [`KINDS`] has happened, in their order.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Relaxed))
    }

    /// The plan for a connection that opens now, and its ordinal.
    pub(super) fn enter(&self) -> (Arc<Plan>, u64) {
        let plan = self.lock();
        // Under the lock, so that no connection gets an older plan than one with a lower ordinal.
        (Arc::clone(&plan), self.connections.fetch_add(1, Relaxed) + 1)
    }

    pub(super) fn tell(&self, event: &FaultEvent<'_>) {
        self.counts[event.fault.kind.index()].fetch_add(1, Relaxed);
        log::debug!(
            "fault {}: connection {}, frame {}, byte {}",
            event.fault,
            event.connection,
            event.frame,
            event.byte
        );
        if let Some(Journal(tell)) = self.journal.get() {
            tell(event);
        }
    }
}
