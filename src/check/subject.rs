//! A server that was started by us, so that its processes can be watched, limited and signalled.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Rlimit, Signal};

use crate::{
    common::{place::Place, wait::wait},
    load::server::{Server, descriptors, procfs::Usage, sockets, stop::Stop},
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
    /// be [restored](descriptors::restore).
    pub(super) fn limit_descriptors(&self, more: u64) -> Vec<(u32, Rlimit)> {
        descriptors::limit(&self.processes(), more)
    }
}

/// Waits until the kernel has passed on all that was sent from the TCP port `port`. Returns whether that came about.
pub(super) fn await_delivery(port: u16, timeout: Duration) -> bool {
    wait(timeout, || sockets::tcp().iter().all(|socket| socket.local != port || socket.unsent == 0))
}
