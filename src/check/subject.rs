//! A server that was started by us, so that its processes can be watched, limited and signalled.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::{
    common::place::Place,
    load::server::{Server, procfs::Usage, stop::Stop},
};

/// The command of a server, and the server while it runs.
#[derive(Debug)]
pub(crate) struct Subject {
    command: String,
    place: Place,
    /// Whether the user gave the address.
    given: bool,
    stop: Stop,
    running: Option<Server>,
    /// It was told to end, or it failed a case, so it is of no use for another one.
    is_spent: bool,
}

/// How long a server's use of the CPU is watched before it is judged, and how often its threads are looked at meanwhile.
const WINDOW: Duration = Duration::from_millis(300);
const LOOKS: u32 = 20;

/// How long a server that has lost its connections may take to end.
const SOON: Duration = Duration::from_millis(500);

/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Subject {
    pub(crate) fn new(command: &str, place: &Place, given: bool, stop: &Stop) -> Self {
        let (command, place, stop) = (command.to_owned(), place.clone(), stop.clone());
        Self { command, place, given, stop, running: None, is_spent: false }
    }

    /// Starts the server if none runs that is of use, and returns where it listens.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub(crate) fn place(&mut self) -> Result<Place, String> {
        if self.is_spent || self.end().is_some() {
            (self.running, self.is_spent) = (None, false);
        }
        if self.running.is_none() {
            let server = Server::start(&self.command, &self.place, self.given, &self.stop)?;
            self.running = Some(server);
        }
        Ok(self.running.as_ref().map_or_else(|| self.place.clone(), |server| server.place.clone()))
    }

    /// How the server has ended, if it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.running.as_ref()?.ended()
    }

    /// Says that the server failed a case: the next one gets another server, so that one mistake is not found many times.
    /// Returns how the server has ended, if it has by now or soon: its connections end before its process does.
    pub(super) fn failed(&mut self) -> Option<String> {
        self.is_spent = true;
        wait(SOON, || self.end().is_some());
        self.end()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.is_spent |= signal == Signal::TERM;
        if let Some(server) = &self.running {
            server.signal(signal);
        }
    }

    /// Waits until no process of the server is left; returns whether that came about.
    pub(super) fn await_end(&self, timeout: Duration) -> bool {
        wait(timeout, || self.processes().is_empty())
    }

    fn processes(&self) -> Vec<u32> {
        self.running.as_ref().map_or_else(Vec::new, Server::processes)
    }

    fn usage(&self) -> Usage {
        self.running.as_ref().and_then(Server::usage).unwrap_or_default()
    }

    /// Memory of the server's own, in bytes.
    pub(super) fn anonymous_memory(&self) -> u64 {
        self.usage().anonymous
    }

    /// Waits for a time in which the server rests: it hardly uses the CPU, and no thread of it is ready to run all the time.
    /// If there is none, returns the share of one CPU that it used last.
    ///
    /// On a busy machine a thread that never sleeps gets little of a CPU, but it is always ready to run.
    pub(super) fn await_rest(&self, timeout: Duration) -> Result<(), f64> {
        let deadline = Instant::now() + timeout;
        loop {
            let (before, start) = (self.usage(), Instant::now());
            let mut restless: Option<BTreeSet<u32>> = None;
            for _ in 0..LOOKS {
                thread::sleep(WINDOW / LOOKS);
                let ready = self.running.as_ref().map_or_else(BTreeSet::new, Server::runnable);
                restless = Some(restless.map_or_else(|| ready.clone(), |before| &before & &ready));
            }
            let cpu = self.usage().cpu.saturating_sub(before.cpu);
            let share = cpu.as_secs_f64() / start.elapsed().as_secs_f64();
            if share < 0.2 && restless.is_none_or(|threads| threads.is_empty()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(share);
            }
        }
    }

    /// Leaves each of the server's processes room for `more` descriptors than it has now. Returns the limits before, to
    /// be [restored](Self::restore).
    pub(super) fn limit_descriptors(&self, more: u64) -> Vec<(u32, Rlimit)> {
        let limit = |process: u32| {
            let pid = Pid::from_raw(process.cast_signed())?;
            let current = Some(limit_with_room(process, more)?);
            // To lower and raise the soft limit needs no privilege as long as the hard one stays.
            let limit = Rlimit { current, maximum: hard_limit(process)? };
            Some((process, prlimit(Some(pid), Resource::Nofile, limit).ok()?))
        };
        self.processes().into_iter().filter_map(limit).collect()
    }

    pub(super) fn restore(&self, limits: &[(u32, Rlimit)]) {
        for (process, limit) in limits {
            // It fails where the process has ended.
            let pid = Pid::from_raw(process.cast_signed());
            let _ = prlimit(pid, Resource::Nofile, *limit);
        }
    }
}

/// A process's hard limit of descriptors; `Some(None)` is no limit.
fn hard_limit(process: u32) -> Option<Option<u64>> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    Some(line.split_whitespace().nth(4)?.parse().ok())
}

/// The limit under which a process can open just `more` descriptors: it is not on their count but on the highest number,
/// and a new descriptor has the lowest number that is free.
fn limit_with_room(process: u32, more: u64) -> Option<u64> {
    let open = fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")).ok()?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(with_room(&numbers.collect(), more))
}

fn with_room(open: &BTreeSet<u64>, more: u64) -> u64 {
    let mut free = (0..).filter(|number| !open.contains(number));
    free.nth(usize::try_from(more).unwrap_or(usize::MAX)).unwrap_or(u64::MAX)
}

/// Waits until `condition` holds, for `timeout` at most; returns whether it does.
pub(super) fn wait(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
}

/// Waits until the kernel has passed on all that was sent from the TCP port `port`: until the send queue in `/proc/net/tcp`
/// is empty. Returns whether that came about.
pub(super) fn await_delivery(port: u16, timeout: Duration) -> bool {
    let local = format!(":{port:04X}");
    wait(timeout, || {
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().all(|table| {
            let table = fs::read_to_string(table).unwrap_or_default();
            table.lines().all(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let is_it = fields.next().is_some_and(|address| address.ends_with(&local));
                // `tx_queue:rx_queue`, behind the remote address and the state.
                !is_it || fields.nth(2).is_some_and(|queues| queues.starts_with("00000000:"))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_leaves_room_for_as_many_as_asked_for() {
        for (open, more, limit) in [
            (&[0, 1, 2][..], 0, 3),
            (&[0, 1, 2], 2, 5),
            (&[0, 1, 2, 4], 2, 6),
            (&[0, 1, 2, 100], 2, 5),
        ] {
            assert_eq!(with_room(&open.iter().copied().collect(), more), limit, "{open:?}");
        }
    }
}
