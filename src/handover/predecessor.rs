//! The old process: it offers what it has, and hands over what is wanted.

use std::{
    fmt,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use log::{debug, error, warn};
use resound::{
    ControlError, Listener, ReleasedConnection, ReleasedListener, ReleasedSocket,
    plural::connections,
};

use super::{
    Channel, LoopHandle, Offered, Role, VERSION,
    channel::Parcel,
    message::Message,
    record::{ConnectionRecord, ListenerRecord},
};
use crate::common::passing;

/// How long a loop may take to answer before the hand-over begins. Once it has begun, it waits for a loop that is busy.
const AT_MOST: Duration = Duration::from_secs(5);

/// How often the connections that stay are looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// The old process, and what it has.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// The loops, and behind them the admin port's.
    pub(crate) loops: Vec<LoopHandle>,
    pub(crate) offered: Vec<Offered>,
    /// The socket of `--handover`, whose descriptor is a copy.
    pub(crate) own: Option<ReleasedListener>,
    /// How long each answer of the new process may take.
    pub(crate) at_most: Duration,
}

/// What has been handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The new process.
    pub(crate) pid: u32,
    pub(crate) moved: usize,
    /// Connections that stay, because they cannot be described yet or are not wanted.
    pub(crate) staying: usize,
    /// The longest time in which no process served some connection.
    pub(crate) pause: Duration,
    /// Indices in the offer: connections of these listeners are wanted.
    wanted: Vec<usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, moved, staying, pause, .. } = self;
        write!(f, "replaced by process {pid}: {} handed over", connections(*moved))?;
        if *moved > 0 {
            write!(f, ", none paused for longer than {pause:.1?}")?;
        }
        match staying {
            0 => Ok(()),
            _ => write!(f, "; not handed over yet: {}", connections(*staying)),
        }
    }
}

/// The connections of one pass over all loops.
#[derive(Debug, Default)]
struct Passed {
    moved: usize,
    pause: Duration,
}

impl Predecessor {
    /// Hands over what the process at the other end wants. `announce` is called with that process, before it says that it is
    /// ready.
    ///
    /// # Errors
    ///
    /// Why it failed. All listeners are back in their loops then, and so are all connections that the new process had not
    /// taken.
    pub(crate) fn hand_over(
        &mut self,
        channel: &mut Channel,
        announce: impl FnOnce(u32),
    ) -> Result<Report, String> {
        self.check_loops()?;
        let pid = self.greet(channel)?;
        let (takes, wanted) = self.offer(channel)?;
        let listeners = self.release_listeners()?;
        let passed = match self.pass_all(channel, &listeners, &takes, &wanted) {
            Ok(passed) => passed,
            Err(why) => {
                self.take_back(listeners);
                return Err(why);
            }
        };
        announce(pid);
        // If it is gone by now, the listeners have gone with it.
        let _ = self.send(channel, &Message::Main, &[], &[]);
        close(listeners, &takes);
        let Passed { moved, pause } = passed;
        Ok(Report { pid, moved, staying: self.count_open(), pause, wanted })
    }

    /// Hands over the connections that stayed, each when it can be described. Returns when no connection is left.
    pub(crate) fn hand_over_rest(&self, channel: Channel, report: &Report) {
        let mut channel = Some(channel);
        while self.count_open() > 0 {
            thread::sleep(LOOK);
            let Some(open) = &mut channel else { continue };
            match self.pass_connections(open, &report.wanted) {
                Ok(Passed { moved: 0, .. }) => {}
                Ok(passed) => debug!("handed over {} more", passed.moved),
                Err(why) => {
                    warn!("the connections that are still here stay until they end: {why}");
                    channel = None;
                }
            }
        }
    }

    /// Connections in all loops. Those of the admin port are not waited for.
    fn count_open(&self) -> usize {
        let admin = self.offered.iter().find(|offered| offered.role == Role::Admin);
        let is_serving = |reactor: &usize| admin.is_none_or(|admin| admin.reactor != *reactor);
        let loops = self.loops.iter().enumerate().filter(|(reactor, _)| is_serving(reactor));
        let open = loops.map(|(_, handle)| {
            match handle.control().summary().and_then(|answer| answer.wait(AT_MOST)) {
                Ok(summary) => summary.open,
                Err(ControlError::Ended) => 0,
                // It is busy.
                Err(_) => 1,
            }
        });
        open.sum()
    }

    /// A loop that is stuck could neither release its connections nor take them back.
    fn check_loops(&self) -> Result<(), String> {
        for (index, handle) in self.loops.iter().enumerate() {
            match handle.control().summary().and_then(|answer| answer.wait(AT_MOST)) {
                Ok(summary) if summary.is_draining => {
                    return Err("this daemon is stopping".to_owned());
                }
                Ok(_) => {}
                Err(error) => return Err(format!("reactor {index}: {error}; try again later")),
            }
        }
        Ok(())
    }

    fn greet(&self, channel: &mut Channel) -> Result<u32, String> {
        let (version, pid, program) = match self.receive(channel)?.message {
            Message::Hello { version, pid, program } => (version, pid, program),
            other => return Err(unexpected(&other)),
        };
        if version == VERSION {
            debug!("process {pid}, resound {program}, asks for the listeners and connections");
            return Ok(pid);
        }
        let why = format!(
            "process {pid} (resound {program}) speaks version {version} of the hand-over, and this process (resound {}) \
             version {VERSION}: restart the daemon instead, which ends its connections in order",
            env!("CARGO_PKG_VERSION")
        );
        let _ = self.send(channel, &Message::Refused { why: why.clone() }, &[], &[]);
        Err(why)
    }

    /// Returns the indices of the listeners that are wanted, and of those whose connections are.
    fn offer(&self, channel: &mut Channel) -> Result<(Vec<usize>, Vec<usize>), String> {
        let listeners = self.offered.clone();
        self.send(channel, &Message::Offer { listeners }, &[], &[])?;
        match self.receive(channel)?.message {
            Message::Ready { takes, connections } => Ok((takes, connections)),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes all listeners out of their loops, each with its index in the offer.
    fn release_listeners(&mut self) -> Result<Vec<(usize, ReleasedListener)>, String> {
        let mut listeners = Vec::new();
        for (reactor, handle) in self.loops.iter().enumerate() {
            match handle.release_listeners() {
                Ok(released) => {
                    let known = released.into_iter().map(|one| (self.number(reactor, &one), one));
                    listeners.extend(known);
                }
                Err(error) => {
                    self.take_back(listeners);
                    return Err(format!("reactor {reactor}: {error}"));
                }
            }
        }
        let own = self.offered.iter().position(|offered| offered.role == Role::Handover);
        listeners.extend(own.into_iter().zip(self.own.take()));
        Ok(listeners)
    }

    /// The index in the offer of what a loop has released.
    fn number(&self, reactor: usize, released: &ReleasedListener) -> usize {
        let is_datagrams = matches!(released.socket, ReleasedSocket::Datagrams { .. });
        let is_it = |offered: &Offered| {
            offered.role != Role::Handover
                && (offered.role == Role::Datagrams) == is_datagrams
                && (offered.reactor, offered.index) == (reactor, released.index)
        };
        self.offered.iter().position(is_it).unwrap_or(usize::MAX)
    }

    /// Puts all listeners back into their loops.
    fn take_back(&mut self, listeners: Vec<(usize, ReleasedListener)>) {
        for (number, listener) in listeners {
            let Some(offered) = self.offered.get(number) else { continue };
            if offered.role == Role::Handover {
                self.own = Some(listener);
                continue;
            }
            let handle = &self.loops[offered.reactor];
            if let Err(error) = handle.adopt_listener(listener, Duration::MAX) {
                error!("{} is closed: it could not be taken back: {error}", offered.bound);
            }
        }
    }

    fn pass_all(
        &self,
        channel: &mut Channel,
        listeners: &[(usize, ReleasedListener)],
        takes: &[usize],
        wanted: &[usize],
    ) -> Result<Passed, String> {
        self.pass_listeners(channel, listeners, takes)?;
        let passed = self.pass_connections(channel, wanted)?;
        self.send(channel, &Message::Done, &[], &[])?;
        match self.receive(channel)?.message {
            Message::Confirmed => Ok(passed),
            other => Err(unexpected(&other)),
        }
    }

    fn pass_listeners(
        &self,
        channel: &mut Channel,
        listeners: &[(usize, ReleasedListener)],
        takes: &[usize],
    ) -> Result<(), String> {
        let taken: Vec<_> = listeners.iter().filter(|(number, _)| takes.contains(number)).collect();
        let mut left = &taken[..];
        loop {
            let (chunk, rest) = left.split_at(left.len().min(passing::MOST));
            left = rest;
            let mut bytes = Vec::new();
            let (listeners, descriptors): (Vec<_>, Vec<_>) = chunk
                .iter()
                .map(|(number, listener)| ListenerRecord::new(*number, listener, &mut bytes))
                .unzip();
            let message = Message::Listeners { listeners, more: !left.is_empty() };
            self.send(channel, &message, &bytes, &descriptors)?;
            if left.is_empty() {
                break;
            }
        }
        match self.receive(channel)?.message {
            Message::Serving => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Hands over all connections of the listeners that are `wanted` and can be described, in slices.
    fn pass_connections(&self, channel: &mut Channel, wanted: &[usize]) -> Result<Passed, String> {
        let mut passed = Passed::default();
        for (reactor, handle) in self.loops.iter().enumerate() {
            let of_loop =
                wanted.iter().filter_map(|&number| Some((number, self.offered.get(number)?)));
            let of_loop = of_loop.filter(|(_, offered)| offered.reactor == reactor);
            let numbers: Vec<(usize, usize)> =
                of_loop.map(|(number, offered)| (offered.index, number)).collect();
            if numbers.is_empty() {
                continue;
            }
            let indices: Vec<usize> = numbers.iter().map(|&(index, _)| index).collect();
            let mut from = Some(0);
            while let Some(slot) = from {
                let start = Instant::now();
                let page = handle
                    .release_connections(slot, &indices)
                    .map_err(|error| format!("reactor {reactor}: {error}"))?;
                from = page.next;
                if page.connections.is_empty() {
                    continue;
                }
                passed.moved += self.pass_page(channel, handle, &numbers, page.connections)?;
                passed.pause = passed.pause.max(start.elapsed());
            }
        }
        Ok(passed)
    }

    /// Hands over connections of one loop, and returns how many. Until they are the new process's, an error gives them back
    /// to the loop.
    fn pass_page(
        &self,
        channel: &mut Channel,
        handle: &LoopHandle,
        numbers: &[(usize, usize)],
        mut connections: Vec<ReleasedConnection>,
    ) -> Result<usize, String> {
        let asked = self.ask_to_take(channel, numbers, &connections);
        let refused = asked.as_ref().map_or(&[][..], Vec::as_slice);
        let mut index = 0;
        let mut back: Vec<_> = connections
            .extract_if(.., |_| {
                index += 1;
                asked.is_err() || refused.contains(&(index - 1))
            })
            .collect();
        let given = match asked {
            Ok(_) => self.send(channel, &Message::Yours, &[], &[]),
            Err(why) => Err(why),
        };
        if given.is_err() {
            back.append(&mut connections);
        }
        if let Err(error) = give_back(handle, &mut back) {
            error!("connections are closed: they could not be taken back: {error}");
        }
        given?;
        // They are the new process's: whether it has read from them is not known any more.
        drop(connections);
        match self.receive(channel)?.message {
            Message::Adopted { count } => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends connections. Returns the indices of those that did not come.
    fn ask_to_take(
        &self,
        channel: &mut Channel,
        numbers: &[(usize, usize)],
        connections: &[ReleasedConnection],
    ) -> Result<Vec<usize>, String> {
        let mut bytes = Vec::new();
        let number = |listener: usize| {
            let known = numbers.iter().find(|(index, _)| *index == listener);
            known.map_or(usize::MAX, |&(_, number)| number)
        };
        let records = connections
            .iter()
            .map(|one| ConnectionRecord::new(number(one.listener), one, &mut bytes))
            .collect();
        let descriptors: Vec<BorrowedFd<'_>> =
            connections.iter().map(|one| one.socket.as_fd()).collect();
        let message = Message::Connections { connections: records };
        self.send(channel, &message, &bytes, &descriptors)?;
        match self.receive(channel)?.message {
            Message::Received { refused } => Ok(refused),
            other => Err(unexpected(&other)),
        }
    }

    fn send(
        &self,
        channel: &mut Channel,
        message: &Message,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        channel
            .send(message, bytes, descriptors, self.at_most)
            .map_err(|error| self.explain(&error))
    }

    fn receive(&self, channel: &mut Channel) -> Result<Parcel, String> {
        channel.receive(self.at_most).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                let at_most = self.at_most;
                format!(
                    "the new process did not answer within {at_most:?}; allow more with --replace-timeout"
                )
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                "the new process ended before it was ready".to_owned()
            }
            _ => format!("talking to the new process failed: {error}"),
        }
    }
}

/// Closes the copies of the listeners. Those that the new process has not taken are closed for good.
fn close(listeners: Vec<(usize, ReleasedListener)>, takes: &[usize]) {
    for (number, ReleasedListener { socket, .. }) in listeners {
        if let ReleasedSocket::Listening(socket) = socket
            && !takes.contains(&number)
        {
            // This removes the file of a Unix socket, too.
            drop(Listener::try_from(socket));
        }
    }
}

/// Gives connections back to the loop that has released them.
fn give_back(handle: &LoopHandle, connections: &mut Vec<ReleasedConnection>) -> io::Result<()> {
    if !connections.is_empty() {
        handle.adopt(handle.hold(connections)?, Duration::MAX)?;
    }
    match connections.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other("no descriptor is left in the table of their loop")),
    }
}

fn unexpected(message: &Message) -> String {
    match message {
        Message::Failed { why } | Message::Refused { why } => why.clone(),
        other => format!("the new process sent {:?} when something else was due", other.name()),
    }
}
