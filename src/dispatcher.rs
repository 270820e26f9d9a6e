//! Everything behind the poll: accepting, dispatch, the run queue, deadlines, limits, draining.
//!
//! The dispatcher never polls, never blocks and never asks the kernel anything but through [`Net`]: it is driven
//! by calls that say which token is ready for what, so that [`Reactor`](crate::Reactor) can drive it from
//! epoll and a test from a seeded simulation.

use std::{collections::VecDeque, io, mem, net::SocketAddr, sync::Arc, time::Duration};

use log::{Level, debug, info, log_enabled, trace, warn};
use slab::Slab;

use crate::{
    Config, Peer, Stats, Token,
    connection::{Connection, Reason, SCRATCH, Shared, Turn},
    door::{self, Door, Remedy},
    inspect::{Accepting, Inspected, Inspection},
    net::{Net, Readiness},
    protocol::{Ending, Protocol},
    throttle::Throttle,
    timer::{Class, Timers},
};

mod outbound;

/// Connections accepted in one turn before the others get theirs.
const ACCEPTS_PER_TURN: usize = 64;

/// At the end, a full backlog of the largest usual size is still accepted: this many times as many.
const LAST_ACCEPT_BATCHES: usize = 64;

/// How often memory that nobody wanted for so long is given back.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Whether the dispatcher is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It accepts and serves.
    Running,
    /// It accepts no more, and finishes with those who are there until this time.
    Draining {
        /// In the terms of [`Net::now`].
        until: Duration,
    },
    /// No connection is left, and none will come.
    Stopped,
}

/// All connections of one loop, and what becomes of each event.
#[derive(Debug)]
pub struct Dispatcher<N: Net, P> {
    net: N,
    config: Config,
    doors: Vec<Door<N::Listener, P>>,
    connections: Slab<Connection<N::Stream>>,
    /// The generation of the next connection; never 0, which is for what is not a connection.
    generation: u32,
    /// Those with more to do that no event will tell of, each at most once.
    run_queue: VecDeque<Token>,
    timers: Timers,
    /// What every read goes into, unless it is the rest of a long frame.
    scratch: Box<[u8]>,
    shared: Shared,
    phase: Phase,
    /// When [`housekeeping`](Self::keep_house) is due; `None` while there is nothing to give back.
    housekeeping: Option<Duration>,
    warnings: Warnings,
}

/// When each cause for a warning may be logged again.
#[derive(Debug, Default)]
struct Warnings {
    full: Throttle,
    paused: Throttle,
    unregistered: Throttle,
    memory: Throttle,
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// A dispatcher with no listener and no connection.
    pub fn new(net: N, config: Config) -> Self {
        let timers = Timers::new(|class| match class {
            Class::Idle => config.idle_timeout,
            Class::Frame => config.frame_timeout,
            Class::Write => config.write_timeout,
            Class::Linger => Some(config.linger),
        });
        Self {
            net,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            shared: Shared::new(config.max_memory),
            config,
            doors: Vec::new(),
            connections: Slab::new(),
            generation: 1,
            run_queue: VecDeque::new(),
            timers,
            phase: Phase::Running,
            housekeeping: None,
            warnings: Warnings::default(),
        }
    }

    /// Accepts from `listener` and speaks `protocol` with whoever comes; `name` is for the log.
    ///
    /// # Errors
    ///
    /// As [`Net::listen`], or if there are 255 listeners and lanes already.
    pub fn listen(
        &mut self,
        mut listener: N::Listener,
        name: String,
        protocol: P,
    ) -> io::Result<()> {
        let index = self.next_door()?;
        self.net.listen(&mut listener, house_token(index.into()))?;
        self.doors.push(Door::new(Some(listener), protocol, name));
        Ok(())
    }

    fn next_door(&self) -> io::Result<u8> {
        let too_many = |_| io::Error::other("a reactor has at most 255 listeners and lanes");
        u8::try_from(self.doors.len()).map_err(too_many)
    }

    /// What the reactor has done so far; may be read by other threads.
    pub const fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// The world it acts in.
    pub const fn net(&self) -> &N {
        &self.net
    }

    /// The world it acts in.
    pub const fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// Whether it is to go on.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// How long a poll may block; `None` for as long as it likes.
    pub fn wait(&self) -> Option<Duration> {
        if !self.run_queue.is_empty() || self.phase == Phase::Stopped {
            return Some(Duration::ZERO);
        }
        self.next_deadline().map(|deadline| deadline.saturating_sub(self.net.now()))
    }

    fn next_deadline(&self) -> Option<Duration> {
        let doors = self.doors.iter().filter_map(|door| match door.state {
            door::State::Paused(until) => Some(until),
            _ => None,
        });
        let end = match self.phase {
            Phase::Draining { until } => Some(until),
            Phase::Running | Phase::Stopped => None,
        };
        doors.chain(self.timers.next()).chain(self.housekeeping).chain(end).min()
    }

    /// Something is ready. A token whose connection is gone is passed over.
    pub fn event(&mut self, token: Token, readiness: Readiness) {
        trace!("{token}: {readiness:?}");
        if let Some(index) = house_index(token) {
            if self.doors.get(index).is_some_and(|door| door.state == door::State::Open) {
                self.accept(index);
            }
            return;
        }
        let Some(connection) = self.connections.get(token.key()) else {
            return;
        };
        // One that is queued has its turn in this same round.
        if connection.generation() == token.generation() && !connection.queued {
            self.turn(token, readiness);
        }
    }

    /// Gives everyone on the run queue one turn.
    pub fn run_queued(&mut self) {
        for _ in 0..self.run_queue.len() {
            let Some(token) = self.run_queue.pop_front() else {
                return;
            };
            if let Some(index) = house_index(token) {
                self.doors[index].state = door::State::Open;
                self.accept(index);
            } else if let Some(connection) = self.connections.get_mut(token.key())
                && connection.generation() == token.generation()
            {
                connection.queued = false;
                self.turn(token, Readiness::ALL);
            }
        }
    }

    /// Everything that is held, for tests.
    #[doc(hidden)]
    pub fn inspect(&self) -> Inspection {
        let connections = self.connections.iter().map(|(key, connection)| {
            let token = connection.token(key);
            Inspected {
                entries: self.run_queue.iter().filter(|&&entry| entry == token).count(),
                deadline: self.timers.deadline(key),
                ..connection.inspect(token)
            }
        });
        let listeners = self.doors.iter().map(|door| match door.state {
            door::State::Open => Accepting::Event,
            door::State::Queued => Accepting::Turn,
            door::State::Full => Accepting::Room,
            door::State::Paused(until) => Accepting::Until(until),
        });
        Inspection {
            connections: connections.collect(),
            listeners: listeners.collect(),
            lent: self.shared.stock.pool.lent(),
            queued: self.run_queue.len(),
        }
    }

    fn turn(&mut self, token: Token, readiness: Readiness) {
        self.with(token, |connection, protocol, scratch, shared| {
            connection.turn(token, readiness, protocol, scratch, shared)
        });
    }

    /// Lets `act` act on a connection, and does what its turn came to.
    fn with(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Connection<N::Stream>, &mut P, &mut [u8], &mut Shared) -> Turn,
    ) {
        let key = token.key();
        let connection = &mut self.connections[key];
        let before = connection.progress();
        let protocol = &mut self.doors[usize::from(connection.door)].protocol;
        match act(connection, protocol, &mut self.scratch, &mut self.shared) {
            Turn::Wait => {}
            Turn::Again => {
                if !mem::replace(&mut connection.queued, true) {
                    self.run_queue.push_back(token);
                }
            }
            Turn::Gone(reason) => return self.remove(token, reason),
        }
        self.shared.stats.buffered.set(self.shared.stock.pool.lent() as u64);
        let (class, restarts) = connection.waits_for(before);
        if !self.timers.is_settled(key, class) || (restarts && self.timers.limits(class)) {
            self.timers.arm(key, class, self.net.now());
        }
        if self.housekeeping.is_none() && self.shared.keeps_any() {
            self.housekeeping = Some(self.net.now() + HOUSEKEEPING);
        }
        if mem::take(&mut self.shared.over_memory)
            && let Some(more) = self.warnings.memory.admit(self.net.now())
        {
            let limit = self.config.max_memory;
            warn!(
                "{token}: ended: all buffers together are at the limit of {limit} bytes ({more} more)"
            );
        }
    }

    fn remove(&mut self, token: Token, reason: Reason) {
        self.timers.disarm(token.key());
        let connection = self.connections.remove(token.key());
        let door = &mut self.doors[usize::from(connection.door)];
        door.protocol.closed(token, reason);
        let stats = &self.shared.stats;
        stats.count_closed(reason);
        stats.open.set(self.connections.len() as u64);
        debug!("{token}: closed {}: {connection}", reason.as_str());
        connection.close(&mut self.shared);
        self.shared.stats.buffered.set(self.shared.stock.pool.lent() as u64);
        if self.housekeeping.is_none() {
            self.housekeeping = Some(self.net.now() + HOUSEKEEPING);
        }
        self.reopen_full_doors();
        self.stop_if_done();
    }

    fn reopen_full_doors(&mut self) {
        for (index, door) in self.doors.iter_mut().enumerate() {
            if door.state == door::State::Full {
                door.state = door::State::Queued;
                self.run_queue.push_back(house_token(index));
            }
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let door = &mut self.doors[index];
            let Some(listener) = &door.listener else {
                return;
            };
            if self.connections.len() >= self.config.max_connections {
                door.state = door::State::Full;
                self.shared.stats.accept_waits.add(1);
                if let Some(more) = self.warnings.full.admit(self.net.now()) {
                    let (name, limit) = (&door.name, self.config.max_connections);
                    warn!(
                        "{name}: {limit} connections are open, as many as allowed; others wait ({more} more)"
                    );
                }
                return;
            }
            match self.net.accept(listener) {
                Ok((stream, peer)) => {
                    let local = self.net.local(listener, &stream);
                    self.admit(index, stream, &peer, local);
                }
                Err(error) => match Remedy::of(&error) {
                    Remedy::AwaitEvent => return,
                    Remedy::TakeNext => debug!("{}: accept: {error}", door.name),
                    Remedy::Pause(pause) => {
                        let now = self.net.now();
                        door.state = door::State::Paused(now + pause);
                        self.shared.stats.accept_pauses.add(1);
                        if let Some(more) = self.warnings.paused.admit(now) {
                            let name = &door.name;
                            warn!(
                                "{name}: accept: {error}; trying again every {pause:?} ({more} more)"
                            );
                        }
                        return;
                    }
                },
            }
        }
        self.doors[index].state = door::State::Queued;
        self.run_queue.push_back(house_token(index));
    }

    fn admit(&mut self, index: usize, stream: N::Stream, peer: &Peer, local: Option<SocketAddr>) {
        let entry = self.connections.vacant_entry();
        let Ok(key) = u32::try_from(entry.key()) else {
            return;
        };
        let token = Token::new(key, self.generation);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let kept_peer = log_enabled!(Level::Debug).then_some(*peer);
        let Ok(door) = u8::try_from(index) else {
            return;
        };
        let mut connection = Connection::new(stream, token.generation(), door, kept_peer);
        if let Err(error) = self.net.register(connection.stream_mut(), token) {
            self.shared.stats.count_closed(Reason::Unregistered);
            if let Some(more) = self.warnings.unregistered.admit(self.net.now()) {
                let name = &self.doors[index].name;
                warn!("{name}: closed the connection from {peer}: register: {error} ({more} more)");
            }
            return;
        }
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

    /// Does what time demands: deadlines, paused listeners, housekeeping, the end of the grace time.
    pub fn expire(&mut self) {
        let Some(deadline) = self.next_deadline() else {
            return;
        };
        let now = self.net.now();
        if now < deadline {
            return;
        }
        while let Some((key, class)) = self.timers.expire(now) {
            self.time_out(key, class);
        }
        for index in 0..self.doors.len() {
            if matches!(self.doors[index].state, door::State::Paused(until) if until <= now) {
                self.doors[index].state = door::State::Open;
                self.accept(index);
            }
        }
        if self.housekeeping.is_some_and(|due| due <= now) {
            self.keep_house(now);
        }
        if matches!(self.phase, Phase::Draining { until } if until <= now) {
            self.cut_off();
        }
    }

    fn time_out(&mut self, key: usize, class: Class) {
        let connection = &self.connections[key];
        let token = connection.token(key);
        debug!("{token}: {class:?} timeout");
        if class == Class::Linger {
            let reason = connection.ended_for().unwrap_or(Reason::Lost);
            return self.remove(token, reason);
        }
        self.with(token, |connection, protocol, scratch, shared| {
            // What it waits for may be in the kernel already, and its event behind others.
            let before = connection.progress();
            let turn = connection.turn(token, Readiness::ALL, protocol, scratch, shared);
            if matches!(turn, Turn::Gone(_)) || connection.waits_for(before) != (class, false) {
                return turn;
            }
            if connection.is_connecting() {
                return Turn::Gone(Reason::ConnectTimeout);
            }
            let finished = match class {
                Class::Idle => {
                    connection.finish(Reason::Idle, Ending::Idle, token, protocol, shared)
                }
                Class::Frame => connection.finish(
                    Reason::SlowFrame,
                    Ending::Unfinished,
                    token,
                    protocol,
                    shared,
                ),
                Class::Write | Class::Linger => Err(Reason::SlowReader),
            };
            if let Err(reason) = finished {
                connection.abandon(reason, shared);
            }
            connection.turn(token, Readiness::ALL, protocol, scratch, shared)
        });
    }

    /// Gives back what memory has not been wanted for a while.
    fn keep_house(&mut self, now: Duration) {
        self.shared.trim();
        self.timers.trim();
        if self.connections.len() < self.connections.capacity() / 4 {
            self.connections.shrink_to_fit();
        }
        self.run_queue.shrink_to(self.connections.len());
        self.housekeeping = self.shared.keeps_any().then_some(now + HOUSEKEEPING);
    }

    /// Stops accepting and finishes with everyone: whole frames that have come are answered, then the
    /// connection is closed. Those not finished after the grace time are cut off.
    pub fn stop(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        info!("stopping: {} connections to finish with", self.connections.len());
        for index in 0..self.doors.len() {
            // Closing a listener resets those in its backlog, who have been told that they are connected.
            for _ in 0..LAST_ACCEPT_BATCHES {
                self.accept(index);
                if self.doors[index].state != door::State::Queued {
                    break;
                }
            }
            self.doors[index].listener = None;
        }
        self.phase = Phase::Draining { until: self.net.now() + self.config.grace };
        self.shared.draining = true;
        for (key, connection) in &mut self.connections {
            if !mem::replace(&mut connection.queued, true) {
                self.run_queue.push_back(connection.token(key));
            }
        }
        self.stop_if_done();
    }

    fn cut_off(&mut self) {
        let tokens: Vec<Token> = self.connections.iter().map(|(key, c)| c.token(key)).collect();
        warn!("the grace time is over: {} connections are cut off", tokens.len());
        for token in tokens {
            self.remove(token, Reason::CutOff);
        }
    }

    fn stop_if_done(&mut self) {
        if self.phase != Phase::Running && self.connections.is_empty() {
            self.phase = Phase::Stopped;
        }
    }
}

/// The token of the `index`th listener.
fn house_token(index: usize) -> Token {
    Token::new(u32::try_from(index).unwrap_or(u32::MAX), 0)
}

/// Which listener `token` is of; `None` for a connection's.
fn house_index(token: Token) -> Option<usize> {
    (token.generation() == 0).then_some(token.key())
}
