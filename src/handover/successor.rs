//! The new process: it claims what is offered, and goes on with what comes.

use std::{
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process,
    time::Duration,
};

use log::{debug, warn};
use resound::{ListeningSocket, ReleasedConnection, ReleasedSocket};

use super::{
    Channel, LoopHandle, Offered, Role, VERSION,
    channel::Parcel,
    message::Message,
    record::{ConnectionRecord, ListenerRecord},
};

/// How long the old process may take for its next message.
const AT_MOST: Duration = Duration::from_secs(60);

/// The new process, and what it is offered.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: Channel,
    offered: Vec<Offered>,
    /// Which groups have been claimed.
    claimed: Vec<usize>,
    targets: Vec<Target>,
}

/// The sockets of one group of an offer, with their indices in it.
#[derive(Debug, Clone)]
pub(crate) struct Claimed(pub(crate) Vec<(usize, Offered)>);

/// Where a socket that was claimed goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// The index in the offer.
    pub(crate) number: usize,
    /// The loop, and the place in it.
    pub(crate) handle: LoopHandle,
    pub(crate) index: usize,
    /// Whether it gets a copy: its loop has no socket of its own.
    pub(crate) is_copy: bool,
    /// Whether the connections of the old listener go on here.
    pub(crate) takes_connections: bool,
}

impl Successor {
    /// Asks the process at the other end of `stream` for what it has.
    ///
    /// # Errors
    ///
    /// Why it has nothing to offer.
    pub(crate) fn greet(stream: UnixStream) -> Result<Self, String> {
        let mut channel = Channel::new(stream);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Message::Hello { version: VERSION, pid: process::id(), program };
        channel.send(&hello, &[], &[], AT_MOST).map_err(|error| explain(&error))?;
        match channel.receive(AT_MOST).map_err(|error| explain(&error))?.message {
            Message::Offer { listeners: offered } => {
                Ok(Self { channel, offered, claimed: Vec::new(), targets: Vec::new() })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Claims the sockets that the old process has for an address: those for which the same was `asked`, and else those
    /// that are `bound` there. Several groups may be named by one `fd:NAME`.
    pub(crate) fn claim(&mut self, role: Role, asked: &str, bound: &str) -> Vec<Claimed> {
        let mut found = self.find(|offered| offered.role == role && offered.asked == asked);
        if !asked.starts_with("fd:") {
            found.truncate(1);
        }
        if found.is_empty() {
            found = self.find(|offered| offered.role == role && offered.bound == bound);
            found.truncate(1);
        }
        self.claimed.extend(&found);
        let group = |group: &usize| {
            let all = self.offered.iter().cloned().enumerate();
            Claimed(all.filter(|(_, offered)| offered.group == *group).collect())
        };
        found.iter().map(group).collect()
    }

    /// The groups of sockets like this that have not been claimed.
    fn find(&self, is_it: impl Fn(&Offered) -> bool) -> Vec<usize> {
        let mut groups: Vec<usize> = self
            .offered
            .iter()
            .filter(|offered| is_it(offered))
            .map(|offered| offered.group)
            .collect();
        groups.dedup();
        groups.retain(|group| !self.claimed.contains(group));
        groups
    }

    /// A socket that was claimed goes here.
    pub(crate) fn place(&mut self, target: Target) {
        self.targets.push(target);
    }

    /// Tells the old process why this one gives up.
    pub(crate) fn fail(&mut self, why: &str) {
        let _ = self.channel.send(&Message::Failed { why: why.to_owned() }, &[], &[], AT_MOST);
    }

    /// All loops run: takes what was claimed, and all connections that the old process can describe. Returns when this
    /// process is the daemon. `own` gets the socket for successors that was claimed, if it was.
    ///
    /// # Errors
    ///
    /// Why the old process goes on instead. This one must end then, without dropping a listener: that would remove the
    /// files of Unix sockets.
    pub(crate) fn take_over(
        &mut self,
        own: Option<usize>,
    ) -> Result<Option<ListeningSocket>, String> {
        let mut takes: Vec<usize> = self
            .targets
            .iter()
            .filter(|target| !target.is_copy)
            .map(|target| target.number)
            .collect();
        takes.extend(own);
        let wanted = self.targets.iter().filter(|target| target.takes_connections);
        let connections = wanted.map(|target| target.number).collect();
        self.send(&Message::Ready { takes, connections })?;
        let mut own_socket = None;
        loop {
            let Parcel { message, bytes, descriptors } = self.receive()?;
            match message {
                Message::Listeners { listeners, more } => {
                    let mut bytes = &bytes[..];
                    for (record, socket) in listeners.iter().zip(descriptors) {
                        if Some(record.listener) == own {
                            own_socket = listening(record, socket);
                        } else {
                            self.adopt_listener(record, socket, &mut bytes)?;
                        }
                    }
                    if !more {
                        self.send(&Message::Serving)?;
                    }
                }
                Message::Connections { connections } => {
                    self.take_connections(connections, &bytes, descriptors)?;
                }
                Message::Done => self.send(&Message::Confirmed)?,
                Message::Main => return Ok(own_socket),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Takes the connections that the old process could not describe before, until that ends.
    pub(crate) fn take_rest(mut self) {
        loop {
            let parcel = match self.channel.receive(Duration::from_secs(3600)) {
                Ok(parcel) => parcel,
                Err(error) if error.kind() == ErrorKind::TimedOut => continue,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return debug!("the process that was replaced has closed the hand-over");
                }
                Err(error) => return warn!("the hand-over ends: {}", explain(&error)),
            };
            let taken = match parcel.message {
                Message::Connections { connections } => {
                    self.take_connections(connections, &parcel.bytes, parcel.descriptors)
                }
                other => Err(unexpected(&other)),
            };
            if let Err(why) = taken {
                return warn!("the hand-over ends: {why}");
            }
        }
    }

    fn adopt_listener(
        &self,
        record: &ListenerRecord,
        socket: OwnedFd,
        bytes: &mut &[u8],
    ) -> Result<(), String> {
        let Some(offered) = self.offered.get(record.listener) else { return Err(nonsense()) };
        let cannot = |error: &dyn std::fmt::Display| {
            format!("the new process cannot take over {}: {error}", offered.bound)
        };
        let targets = self.targets.iter().filter(|target| target.number == record.listener);
        for target in targets {
            let copy = socket.try_clone().map_err(|error| cannot(&error))?;
            let is_datagrams = offered.role == Role::Datagrams;
            let listener =
                record.listener(is_datagrams, copy, target.index, bytes).ok_or_else(nonsense)?;
            target.handle.adopt_listener(listener, AT_MOST).map_err(|error| cannot(&error))?;
        }
        Ok(())
    }

    /// Receives connections, and puts them into their loops once they are this process's.
    fn take_connections(
        &mut self,
        records: Vec<ConnectionRecord>,
        mut bytes: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let all = records.len();
        let mut refused: Vec<usize> = (descriptors.len()..all).collect();
        // Each with its index in the message.
        let mut by_target: Vec<(Vec<usize>, Vec<ReleasedConnection>)> =
            self.targets.iter().map(|_| Default::default()).collect();
        for (number, (record, socket)) in records.into_iter().zip(descriptors).enumerate() {
            let is_it =
                |target: &Target| target.number == record.listener && target.takes_connections;
            let target = self.targets.iter().position(is_it).ok_or_else(nonsense)?;
            let index = self.targets[target].index;
            let connection = record.connection(socket, index, &mut bytes).ok_or_else(nonsense)?;
            by_target[target].0.push(number);
            by_target[target].1.push(connection);
        }
        let mut held = Vec::new();
        for (target, (numbers, mut connections)) in self.targets.iter().zip(by_target) {
            if connections.is_empty() {
                continue;
            }
            let of_target = target.handle.hold(&mut connections);
            held.push((target, of_target.map_err(|error| loop_failed(&error))?));
            // They are still the old process's, which hears of it and keeps them.
            refused.extend(&numbers[numbers.len() - connections.len()..]);
        }
        let count = all - refused.len();
        send(&mut self.channel, &Message::Received { refused })?;
        match receive(&mut self.channel)?.message {
            Message::Yours => {}
            other => return Err(unexpected(&other)),
        }
        for (target, connections) in held {
            target.handle.adopt(connections, AT_MOST).map_err(|error| loop_failed(&error))?;
        }
        self.send(&Message::Adopted { count })
    }

    fn send(&mut self, message: &Message) -> Result<(), String> {
        send(&mut self.channel, message)
    }

    fn receive(&mut self) -> Result<Parcel, String> {
        receive(&mut self.channel)
    }
}

fn send(channel: &mut Channel, message: &Message) -> Result<(), String> {
    channel.send(message, &[], &[], AT_MOST).map_err(|error| explain(&error))
}

fn receive(channel: &mut Channel) -> Result<Parcel, String> {
    channel.receive(AT_MOST).map_err(|error| explain(&error))
}

fn loop_failed(error: &io::Error) -> String {
    format!("a loop of the new process: {error}")
}

/// The socket for successors.
fn listening(record: &ListenerRecord, socket: OwnedFd) -> Option<ListeningSocket> {
    match record.listener(false, socket, 0, &mut &[][..])?.socket {
        ReleasedSocket::Listening(socket) => Some(socket),
        ReleasedSocket::Datagrams { .. } => None,
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!("the old process did not answer within {AT_MOST:?}")
        }
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            "the old process has closed the hand-over; its log says why".to_owned()
        }
        _ => format!("talking to the old process failed: {error}"),
    }
}

fn nonsense() -> String {
    "what the old process sent makes no sense; restart the daemon instead".to_owned()
}

fn unexpected(message: &Message) -> String {
    match message {
        Message::Failed { why } | Message::Refused { why } => why.clone(),
        other => format!("the old process sent {:?} when something else was due", other.name()),
    }
}
