//! A server under measurement: a process of its own, which is watched, paused and limited.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use resound::Endpoint;
use rustix::process::Signal;

use crate::{
    common::place::Place,
    load::server::{
        Server, descriptors,
        procfs::{self, Usage},
        sockets::{self, Tcp},
        stop::Stop,
    },
};

/// A running server.
#[derive(Debug)]
pub(crate) struct Stage {
    server: Server,
    address: SocketAddr,
    /// How many descriptors this process may open, and the server as well.
    pub(super) descriptors: u64,
    stop: Stop,
}

/// How long to wait for a server to rest, or to answer. A right server needs none of it, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is seen twice in a row at this distance stays as it is.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: usize = 3;

/// What does not change while a server has nothing to do.
#[derive(Debug, PartialEq, Eq)]
struct State {
    context_switches: u64,
    sockets: Vec<Tcp>,
}

impl Stage {
    /// Runs `command` in a shell; `{port}` in it is a free port, or else it says `listening on PROTOCOL://ADDRESS`.
    ///
    /// # Errors
    ///
    /// Text, as [`Server::start`].
    pub(crate) fn start(
        command: &str,
        protocol: &str,
        descriptors: u64,
        stop: &Stop,
    ) -> Result<Self, String> {
        let place: Place = protocol.parse()?;
        let server = Server::start(command, &place, false, stop)?;
        let Endpoint::Tcp(address) = server.place.endpoint()? else {
            return Err(format!("{} is no TCP address", server.place));
        };
        Ok(Self { server, address, descriptors, stop: stop.clone() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its processes have used so far.
    pub(super) fn usage(&self) -> Usage {
        self.server.usage().unwrap_or_default()
    }

    /// Whether a thread of it runs, or wants to.
    pub(super) fn wants_to_run(&self) -> bool {
        !self.server.runnable().is_empty()
    }

    /// Until when a wait that begins now may last.
    pub(super) fn deadline() -> Instant {
        Instant::now() + PATIENCE
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_asked_for()
    }

    /// Waits until the server waits, and nothing is on its way to it or from it.
    ///
    /// # Errors
    ///
    /// Text, if that does not come about.
    pub(super) fn await_rest(&self) -> Result<(), String> {
        let deadline = Self::deadline();
        while !self.is_at_rest() {
            self.check(deadline, "the server never rests")?;
        }
        Ok(())
    }

    /// Fails behind the deadline, and after Ctrl-C.
    pub(super) fn check(&self, deadline: Instant, what: &str) -> Result<(), String> {
        if self.is_stopped() {
            return Err("stopped".to_owned());
        }
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(format!("{what} ({} s were waited)", PATIENCE.as_secs()))
    }

    /// Whether the server waits, and nothing is on its way to it or from it: no thread of it wants to run, and in several
    /// looks nothing has changed. Then nothing happens any more until a client does something.
    pub(super) fn is_at_rest(&self) -> bool {
        let processes = self.server.processes();
        let mut before = None;
        for _ in 0..LOOKS {
            if before.is_some() {
                thread::sleep(LOOK);
            }
            let now = self.state(&processes);
            let is_busy = now.is_moving() || !procfs::runnable(&processes).is_empty();
            if is_busy || before.is_some_and(|before| before != now) {
                return false;
            }
            before = Some(now);
        }
        true
    }

    fn state(&self, processes: &[u32]) -> State {
        let port = self.address.port();
        let mut sockets = sockets::tcp();
        sockets.retain(|socket| socket.local == port || socket.remote == port);
        State {
            context_switches: procfs::usage_of(processes)
                .map_or(0, |(_, usage)| usage.context_switches),
            sockets,
        }
    }

    /// Bytes of the client with that port that the server's kernel holds and the server has not read.
    pub(super) fn unread(&self, client: u16) -> u64 {
        let port = self.address.port();
        let is_it = |socket: &&Tcp| (socket.local, socket.remote) == (port, client);
        sockets::tcp().iter().find(is_it).map_or(0, |socket| socket.unread)
    }

    /// Stops the server while `what` is done, so that to the server all of it happens at once.
    pub(super) fn while_paused<T>(
        &self,
        what: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        self.await_rest()?;
        self.server.signal(Signal::STOP);
        // The signal wakes its threads, which stop a moment later: until then epoll_wait(2) still returns what comes.
        let (deadline, processes) = (Self::deadline(), self.server.processes());
        while !procfs::are_stopped(&processes) {
            self.check(deadline, "the server does not stop at SIGSTOP")?;
        }
        let result = what();
        self.server.signal(Signal::CONT);
        result
    }

    /// Runs `what` while the server can open only so many descriptors more.
    pub(super) fn with_few_descriptors<T>(
        &self,
        more: u64,
        what: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let limits = descriptors::limit(&self.server.processes(), more);
        if limits.is_empty() {
            return Err("the limit of the server's descriptors cannot be changed here".to_owned());
        }
        let result = what();
        descriptors::restore(&limits);
        result
    }
}

impl State {
    /// Whether bytes are between two sockets: one has sent them, and they do not wait in the other one.
    fn is_moving(&self) -> bool {
        self.sockets.iter().any(|sender| {
            let receiver = self
                .sockets
                .iter()
                .find(|other| (other.local, other.remote) == (sender.remote, sender.local));
            sender.unsent > 0 && receiver.is_some_and(|receiver| receiver.unread == 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_move_unless_the_receiver_lets_them_wait() {
        let socket = |local, remote, unsent, unread| Tcp { local, remote, unsent, unread };
        let is_moving =
            |sockets: &[Tcp]| State { context_switches: 0, sockets: sockets.to_vec() }.is_moving();
        assert!(!is_moving(&[socket(1, 2, 0, 0), socket(2, 1, 0, 7)]));
        assert!(is_moving(&[socket(1, 2, 9, 0), socket(2, 1, 0, 0)]));
        assert!(!is_moving(&[socket(1, 2, 9, 0), socket(2, 1, 0, 7)]));
        // The other end is gone.
        assert!(!is_moving(&[socket(1, 2, 9, 0)]));
    }
}
