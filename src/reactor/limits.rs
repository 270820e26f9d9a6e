//! What several loops may use together: connections, connections from one address, bytes of memory.
//!
//! Loops that share a [`Limits`] touch its counters when a connection is accepted or closed, and when a loop needs
//! another megabyte of memory; never for a frame.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use super::{config::Config, per_address::PerAddress};
use crate::memory::Budget;

/// Limits that loops share: [`Reactor::sharing`](crate::Reactor::sharing).
#[derive(Debug)]
pub struct Limits {
    max_connections: AtomicUsize,
    open: AtomicUsize,
    /// Some loop has stopped accepting until a connection of any loop closes.
    is_awaited: AtomicBool,
    wakers: Mutex<Vec<Wake>>,
    /// [`NO_LIMIT`] if connections are not counted by address.
    max_connections_per_ip: AtomicU64,
    per_address: Mutex<PerAddress>,
    pub(crate) memory: Arc<Budget>,
}

const NO_LIMIT: u64 = u64::MAX;

/// One of the loops that share limits and wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoopId(usize);

/// Wakes the poll of a loop that waits for room.
struct Wake(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

impl Limits {
    /// The limits of a configuration: [`max_connections`](Config::max_connections),
    /// [`max_connections_per_ip`](Config::max_connections_per_ip) and [`max_memory`](Config::max_memory).
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            max_connections: AtomicUsize::new(config.max_connections),
            open: AtomicUsize::new(0),
            is_awaited: AtomicBool::new(false),
            wakers: Mutex::default(),
            max_connections_per_ip: AtomicU64::new(or_no_limit(config.max_connections_per_ip)),
            per_address: Mutex::default(),
            memory: Arc::new(Budget::new(config.max_memory)),
        }
    }

    /// Calls `wake` from now on whenever a connection of another loop closes while a loop waits for room. Returns which
    /// loop the caller is.
    pub(crate) fn on_room(&self, wake: impl Fn() + Send + Sync + 'static) -> LoopId {
        let mut wakers = self.wakers();
        wakers.push(Wake(Box::new(wake)));
        LoopId(wakers.len() - 1)
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Wake>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection, unless as many as allowed are open.
    pub(crate) fn enter(&self) -> bool {
        let most = self.max_connections.load(SeqCst);
        let add = |open| (open < most).then_some(open + 1);
        self.open.fetch_update(SeqCst, SeqCst, add).is_ok()
    }

    /// Counts one more connection, even if as many as allowed are open: it was open before.
    pub(crate) fn enter_over(&self) {
        self.open.fetch_add(1, SeqCst);
    }

    /// Counts one connection of `own` less, and wakes the other loops if one waits for room. `own` knows that there is
    /// room, without being woken.
    pub(crate) fn leave(&self, own: Option<LoopId>) {
        self.open.fetch_sub(1, SeqCst);
        self.wake_others(own);
    }

    /// Changes how many connections may be open at once. The caller looks itself whether there is room now.
    pub(crate) fn set_max_connections(&self, most: usize, own: Option<LoopId>) {
        self.max_connections.store(most, SeqCst);
        self.wake_others(own);
    }

    /// Wakes the other loops if one waits for room.
    fn wake_others(&self, own: Option<LoopId>) {
        if self.is_awaited.load(SeqCst) && self.is_awaited.swap(false, SeqCst) {
            let wakers = self.wakers();
            let others = (0..).zip(wakers.iter()).filter(|&(index, _)| own != Some(LoopId(index)));
            others.for_each(|(_, Wake(wake))| wake());
        }
    }

    /// Whether there is room for another connection.
    fn has_room(&self) -> bool {
        self.open.load(SeqCst) < self.max_connections.load(SeqCst)
    }

    /// Asks to be woken when there is room. Whether there is room already: another loop's connection may have closed
    /// just before.
    pub(crate) fn await_room(&self) -> bool {
        self.is_awaited.store(true, SeqCst);
        self.has_room()
    }

    /// Whether connections are counted by address.
    pub(crate) fn counts_addresses(&self) -> bool {
        self.max_connections_per_ip().is_some()
    }

    /// Changes how many connections an address may have.
    pub(crate) fn set_max_connections_per_ip(&self, most: Option<u32>) {
        self.max_connections_per_ip.store(or_no_limit(most), Relaxed);
    }

    /// Counts one more connection from `address`, unless as many as allowed are open.
    pub(crate) fn enter_from(&self, address: IpAddr) -> bool {
        let most = self.max_connections_per_ip().unwrap_or(u32::MAX);
        self.addresses().enter(address, most)
    }

    /// Counts one more connection from `address`, even if it has as many as allowed: it was open before.
    pub(crate) fn enter_over_from(&self, address: IpAddr) {
        self.addresses().enter(address, u32::MAX);
    }

    /// Counts one connection less from `address`.
    pub(crate) fn leave_from(&self, address: IpAddr) {
        self.addresses().leave(address);
    }

    /// Gives back memory that more addresses needed.
    pub(crate) fn trim(&self) {
        self.addresses().trim();
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, PerAddress> {
        self.per_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections may be open in all loops.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections.load(Relaxed)
    }

    /// How many connections one address may have open.
    #[must_use]
    pub fn max_connections_per_ip(&self) -> Option<u32> {
        u32::try_from(self.max_connections_per_ip.load(Relaxed)).ok()
    }

    /// How many bytes the buffers of all connections may have.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        self.memory.limit()
    }

    /// Connections that are open in all loops.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

fn or_no_limit(most: Option<u32>) -> u64 {
    most.map_or(NO_LIMIT, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop that shares `limits`, and how often it has been woken.
    fn join(limits: &Limits) -> (Option<LoopId>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let own = limits.on_room(move || {
            count.fetch_add(1, SeqCst);
        });
        (Some(own), woken)
    }

    #[test]
    fn room_that_another_loop_makes_wakes_the_one_that_waits() {
        let limits = Limits::new(&Config { max_connections: 1, ..Config::default() });
        let (one, woken) = join(&limits);
        let (other, _) = join(&limits);
        assert!(limits.enter());
        limits.leave(other);
        assert_eq!(woken.load(SeqCst), 0, "no loop waits");
        assert!(limits.enter());
        assert!(!limits.enter() && !limits.await_room());
        limits.leave(other);
        assert_eq!(woken.load(SeqCst), 1);
        assert!(limits.await_room(), "closed before it was awaited");
        assert!(limits.enter());
        limits.leave(one);
        assert_eq!(woken.load(SeqCst), 1, "it knows of its own connections");
    }
}
