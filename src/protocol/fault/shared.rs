//! What all loops share of one listener's faults: the plan, the count of connections, the counts of faults, the journal.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    KINDS,
    kind::Kind,
    plan::{Fault, Hit, Plan, PlanError},
    units::Units,
};
use crate::socket::filter;

/// The faults of one listener.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Arc<Plan>>,
    connections: AtomicU64,
    /// Datagrams, and their bytes, for listeners without connections.
    datagrams: [AtomicU64; 2],
    counts: [AtomicU64; KINDS.len()],
    journal: OnceLock<Journal>,
    /// What the listener's replies consist of, once it serves.
    units: OnceLock<Units>,
}

/// Told of every connection that opens, in their order, and of every fault that happens. It is called from the loop and must not block.
pub struct Journal(pub Box<dyn Fn(&FaultEvent<'_>) + Send + Sync>);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// What a journal is told.
#[derive(Debug, Clone, Copy)]
pub enum FaultEvent<'f> {
    /// A connection has opened, with or without faults.
    Opened {
        /// Its ordinal at its listener, from 1.
        connection: u64,
    },
    /// A fault happens.
    Happens {
        /// The ordinal of the connection at its listener, from 1; 0 for datagrams and for the whole listener.
        connection: u64,
        /// The ordinal of the frame on its connection, from 1; 0 for what concerns the whole connection.
        frame: u64,
        /// How many bytes the connection sends before what the fault changes.
        byte: u64,
        /// The part of the plan, or what the client has chosen.
        fault: &'f Fault,
        /// What happens: as in the plan, and a delay as it was drawn.
        kind: &'f Kind,
        /// Where its other random numbers begin.
        draw: Option<u64>,
    },
}

impl Faults {
    /// The faults of a listener with this plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan: Mutex::new(Arc::new(plan)),
            connections: AtomicU64::new(0),
            datagrams: [const { AtomicU64::new(0) }; 2],
            counts: [const { AtomicU64::new(0) }; KINDS.len()],
            journal: OnceLock::new(),
            units: OnceLock::new(),
        }
    }

    /// Tells `journal` of everything from now on. The first journal stays.
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

    /// Sets the plan from the next connection on, in all loops. Open connections keep theirs.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the listener cannot have one of the faults. Then the plan stays as it was.
    pub fn set_plan(&self, plan: Plan) -> Result<(), PlanError> {
        let Some(units) = self.units.get() else {
            let why = "nobody can connect to this listener; its fault is decided at the start";
            return Err(PlanError(why.to_owned()));
        };
        check(&plan, *units)?;
        *self.lock() = Arc::new(plan);
        Ok(())
    }

    /// A loop is about to serve the listener, whose replies consist of `units`.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the listener cannot have one of the faults.
    pub fn serve(&self, units: Units) -> Result<(), PlanError> {
        let _ = self.units.set(units);
        check(&self.plan(), units)
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// How often each of [`KINDS`] has happened, in their order.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Relaxed))
    }

    /// The plan for a connection that opens now, and its ordinal.
    pub(super) fn enter(&self) -> (Arc<Plan>, u64) {
        let plan = self.lock();
        // Under the lock, so that no connection gets an older plan than one with a lower ordinal.
        let connection = self.connections.fetch_add(1, Relaxed) + 1;
        self.record(&FaultEvent::Opened { connection });
        (Arc::clone(&plan), connection)
    }

    /// The plan for a datagram of `length` bytes, and its place in it: connection 0, its ordinal, and the bytes before.
    pub(super) fn enter_datagram(&self, length: usize) -> (Arc<Plan>, Hit) {
        let plan = self.lock();
        let [datagrams, bytes] = &self.datagrams;
        let frame = datagrams.fetch_add(1, Relaxed) + 1;
        let before = bytes.fetch_add(length as u64, Relaxed);
        (Arc::clone(&plan), Hit { connection: 0, frame, before })
    }

    /// Tells of the fault of the whole listener, if its plan has one, when the listener begins.
    pub fn begin_listener(&self) {
        let plan = self.plan();
        let of_listener = plan.faults().iter().filter(|fault| fault.kind.is_of_listener());
        for fault in of_listener {
            let kind = &fault.kind;
            let (connection, frame, byte, draw) = (0, 0, 0, None);
            self.tell(&FaultEvent::Happens { connection, frame, byte, fault, kind, draw });
        }
    }

    /// Counts, logs and records a fault.
    pub(super) fn tell(&self, event: &FaultEvent<'_>) {
        if let FaultEvent::Happens { connection, frame, byte, fault, kind, .. } = event {
            self.counts[kind.index()].fetch_add(1, Relaxed);
            log::debug!("fault {fault}: connection {connection}, frame {frame}, byte {byte}");
        }
        self.record(event);
    }

    fn record(&self, event: &FaultEvent<'_>) {
        if let Some(Journal(tell)) = self.journal.get() {
            tell(event);
        }
    }
}

/// Checks that a listener whose replies consist of `units` can have `plan` on this machine.
fn check(plan: &Plan, units: Units) -> Result<(), PlanError> {
    plan.check(units)?;
    if plan.needs_filter() {
        filter::check().map_err(|error| {
            PlanError(format!(
                "fault=blackhole and fault=loss need a socket filter, and the kernel refuses it: {error}"
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_set_only_where_its_faults_can_happen() {
        let plan = |text: &str| text.parse::<Plan>().unwrap();
        let faults = Faults::new(plan("none"));
        faults.serve(Units::Lines).unwrap();
        faults.set_plan(plan("drop@2")).unwrap();
        for text in ["length=+1", "refuse"] {
            assert!(faults.set_plan(plan(text)).is_err(), "{text}");
        }
        assert_eq!(faults.plan().to_string(), "drop@2");
        // Nobody serves this one.
        assert!(Faults::new(plan("refuse")).set_plan(plan("drop")).is_err());
    }
}
