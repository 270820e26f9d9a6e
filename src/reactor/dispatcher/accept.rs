//! Accepting: in bounded batches, within the limits, and on a timer where the kernel has run out of something.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use log::{Level, debug, log_enabled, warn};

use super::{ACCEPTS_PER_TURN, Dispatcher, house_token};
use crate::{
    Peer, Reason, Token,
    plural::connections,
    protocol::Protocol,
    reactor::config::Overload,
    reactor::connection::Connection,
    reactor::listening::{self, Door, Remedy},
    reactor::net::Net,
};

/// How accepting goes on after an attempt.
enum Attempt {
    /// With the next.
    Next,
    /// Not in this turn: why, the listener's state says.
    Stop,
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Takes as many connections as wait, up to a turn's worth; then the listener queues for another turn.
    pub(super) fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.doors[index].listener.is_none() {
                return;
            }
            let attempt = if self.connections.len() < self.config.max_connections {
                self.accept_one(index)
            } else {
                self.accept_over_limit(index)
            };
            match attempt {
                Attempt::Next => {}
                Attempt::Stop => return,
            }
        }
        self.doors[index].state = listening::State::Queued;
        self.run_queue.push_back(house_token(index));
    }

    fn accept_one(&mut self, index: usize) -> Attempt {
        let Some(listener) = &self.doors[index].listener else {
            return Attempt::Stop;
        };
        match self.net.accept(listener) {
            Ok((stream, peer)) => {
                let local = self.net.local(listener, &stream);
                self.admit(index, stream, &peer, local);
                Attempt::Next
            }
            Err(error) => self.accept_failed(index, &error),
        }
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) -> Attempt {
        let name = &self.doors[index].name;
        match Remedy::of(error) {
            Remedy::AwaitEvent => Attempt::Stop,
            Remedy::TakeNext => {
                debug!("{name}: accept: {error}");
                Attempt::Next
            }
            Remedy::Pause(pause) => {
                let refuses = self.config.overload == Overload::Refuse;
                if refuses && listening::is_out_of_descriptors(error) {
                    self.shed(index, error, pause)
                } else {
                    self.pause(index, error, pause)
                }
            }
        }
    }

    /// Stops accepting for a while.
    fn pause(&mut self, index: usize, error: &io::Error, pause: Duration) -> Attempt {
        let now = self.net.now();
        let door = &mut self.doors[index];
        door.state = listening::State::Paused(now + pause);
        self.shared.stats.accept_pauses.add(1);
        if let Some(more) = self.warnings.paused.admit(now) {
            let name = &door.name;
            warn!("{name}: accept: {error}; trying again every {pause:?} ({more} more)");
        }
        Attempt::Stop
    }

    /// Closes the next connection that waits, for which there is no descriptor.
    fn shed(&mut self, index: usize, error: &io::Error, pause: Duration) -> Attempt {
        let Door { listener: Some(listener), name, .. } = &self.doors[index] else {
            return Attempt::Stop;
        };
        match self.net.shed(listener) {
            Ok(()) => {
                self.shared.stats.refused.add(1);
                if let Some(more) = self.warnings.shed.admit(self.net.now()) {
                    warn!("{name}: accept: {error}; refused a connection ({more} more)");
                }
                Attempt::Next
            }
            // Out of descriptors, accept(2) does not even look whether somebody waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Attempt::Stop,
            Err(_) => self.pause(index, error, pause),
        }
    }

    fn accept_over_limit(&mut self, index: usize) -> Attempt {
        let door = &mut self.doors[index];
        let (name, limit) = (&door.name, connections(self.config.max_connections));
        match (self.config.overload, &door.listener) {
            (Overload::Refuse, Some(listener)) => match self.net.accept(listener) {
                Ok((stream, peer)) => {
                    drop(stream);
                    self.shared.stats.refused.add(1);
                    if let Some(more) = self.warnings.full.admit(self.net.now()) {
                        warn!(
                            "{name}: refused {peer}: {limit} open, as many as allowed ({more} more)"
                        );
                    }
                    Attempt::Next
                }
                Err(error) => self.accept_failed(index, &error),
            },
            (Overload::Wait | Overload::Refuse, _) => {
                door.state = listening::State::Full;
                self.shared.stats.accept_waits.add(1);
                if let Some(more) = self.warnings.full.admit(self.net.now()) {
                    warn!("{name}: {limit} open, as many as allowed; others wait ({more} more)");
                }
                Attempt::Stop
            }
        }
    }

    fn admit(&mut self, index: usize, stream: N::Stream, peer: &Peer, local: Option<SocketAddr>) {
        let Ok(counted) = self.crowd.enter(peer) else {
            self.shared.stats.refused.add(1);
            if let Some(more) = self.warnings.crowded.admit(self.net.now()) {
                let name = &self.doors[index].name;
                warn!(
                    "{name}: refused {peer}: as many connections as allowed are open from that address ({more} more)"
                );
            }
            return;
        };
        let entry = self.connections.vacant_entry();
        let (Ok(key), Ok(door)) = (u32::try_from(entry.key()), u8::try_from(index)) else {
            return;
        };
        let token = Token::new(key, self.generation);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let kept_peer = log_enabled!(Level::Debug).then_some(*peer);
        let mut connection = Connection::new(stream, token.generation(), door, kept_peer);
        if let Err(error) = self.net.register(connection.stream_mut(), token) {
            self.crowd.leave(counted);
            self.shared.stats.count_closed(Reason::Unregistered);
            if let Some(more) = self.warnings.unregistered.admit(self.net.now()) {
                let name = &self.doors[index].name;
                warn!("{name}: closed the connection from {peer}: register: {error} ({more} more)");
            }
            return;
        }
        connection.count_as(counted);
        debug!("{token}: opened: {peer} to {}", self.doors[index].name);
        entry.insert(connection);
        self.shared.stats.opened.add(1);
        self.shared.stats.open.set(self.connections.len() as u64);
        self.with(token, |connection, protocol, _, shared| {
            if let Some(local) = local {
                protocol.arrived(token, local);
            }
            connection.open(token, peer, protocol, shared)
        });
    }

    /// There is room for one more.
    pub(super) fn reopen_full_doors(&mut self) {
        for (index, door) in self.doors.iter_mut().enumerate() {
            if door.state == listening::State::Full {
                door.state = listening::State::Queued;
                self.run_queue.push_back(house_token(index));
            }
        }
    }
}
