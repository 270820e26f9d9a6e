//! Everything behind the poll: accepting, dispatch, the run queue, deadlines, limits, draining.
//!
//! The dispatcher never polls, never blocks and never asks the kernel anything but through [`Net`]: it is driven
//! by calls that say which token is ready for what, so that [`Reactor`](crate::Reactor) can drive it from
//! epoll and a test from a seeded simulation.

use std::{collections::VecDeque, io, mem, sync::Arc, time::Duration};

use log::{debug, info, trace, warn};
use slab::Slab;

use crate::{
    Config, Reason, Stats, Token,
    protocol::{Ending, Protocol},
    reactor::connection::{Connection, SCRATCH, Shared, Turn},
    reactor::deadlines::{Class, Timers},
    reactor::inspect::{Accepting, Inspected, Inspection},
    reactor::listening::{self, Door},
    reactor::net::{Net, Readiness},
    reactor::per_address::Crowd,
    throttle::Throttle,
};

mod accept;
mod drain;
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
    crowd: Crowd,
    phase: Phase,
    /// While draining: when those who do not come to an end by themselves are ended.
    last_call: Option<Duration>,
    /// When [`housekeeping`](Self::keep_house) is due; `None` while there is nothing to give back.
    housekeeping: Option<Duration>,
    warnings: Warnings,
}

/// When each cause for a warning may be logged again.
#[derive(Debug, Default)]
struct Warnings {
    full: Throttle,
    crowded: Throttle,
    paused: Throttle,
    shed: Throttle,
    unregistered: Throttle,
    memory: Throttle,
    refused: Throttle,
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
            crowd: Crowd::new(config.max_connections_per_ip),
            config,
            doors: Vec::new(),
            connections: Slab::new(),
            generation: 1,
            run_queue: VecDeque::new(),
            timers,
            phase: Phase::Running,
            last_call: None,
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
            listening::State::Paused(until) => Some(until),
            _ => None,
        });
        let end = match self.phase {
            Phase::Draining { until } => Some(until),
            Phase::Running | Phase::Stopped => None,
        };
        doors
            .chain(self.timers.next())
            .chain(self.housekeeping)
            .chain(self.last_call)
            .chain(end)
            .min()
    }

    /// Something is ready. A token whose connection is gone is passed over.
    pub fn event(&mut self, token: Token, readiness: Readiness) {
        trace!("{token}: {readiness:?}");
        if let Some(index) = house_index(token) {
            if self.doors.get(index).is_some_and(|door| door.state == listening::State::Open) {
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
                self.doors[index].state = listening::State::Open;
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
            listening::State::Open => Accepting::Event,
            listening::State::Queued => Accepting::Turn,
            listening::State::Full => Accepting::Room,
            listening::State::Paused(until) => Accepting::Until(until),
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
            Turn::Gone(reason) => {
                self.report(token);
                return self.remove(token, reason);
            }
        }
        self.shared.stats.buffered.set(self.shared.stock.pool.lent() as u64);
        let (class, restarts) = connection.waits_for(before);
        if !self.timers.is_settled(key, class) || (restarts && self.timers.limits(class)) {
            self.timers.arm(key, class, self.net.now());
        }
        if self.housekeeping.is_none() && self.shared.keeps_any() {
            self.housekeeping = Some(self.net.now() + HOUSEKEEPING);
        }
        self.report(token);
    }

    /// Logs what the turn of `token` came to that may come in a flood.
    #[inline(always)]
    fn report(&mut self, token: Token) {
        if self.shared.refused.is_some() || self.shared.over_memory {
            self.report_trouble(token);
        }
    }

    #[cold]
    fn report_trouble(&mut self, token: Token) {
        if let Some(refusal) = self.shared.refused.take() {
            // Each is a peer's mistake and a line at debug; at info one a second tells that there are some.
            match self.warnings.refused.admit(self.net.now()) {
                Some(more) => info!("{token}: refused: {refusal} ({more} more)"),
                None => debug!("{token}: refused: {refusal}"),
            }
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
        let counted = connection.close(&mut self.shared);
        self.crowd.leave(counted);
        self.shared.stats.buffered.set(self.shared.stock.pool.lent() as u64);
        if self.housekeeping.is_none() {
            self.housekeeping = Some(self.net.now() + HOUSEKEEPING);
        }
        self.reopen_full_doors();
        self.stop_if_done();
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
            if matches!(self.doors[index].state, listening::State::Paused(until) if until <= now) {
                self.doors[index].state = listening::State::Open;
                self.accept(index);
            }
        }
        if self.housekeeping.is_some_and(|due| due <= now) {
            self.keep_house(now);
        }
        if self.last_call.is_some_and(|due| due <= now) {
            self.call_last();
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
            match class {
                Class::Idle => {
                    connection.end(Reason::Idle, Ending::Idle, token, protocol, shared);
                }
                Class::Frame => {
                    let (reason, ending) = (Reason::SlowFrame, Ending::Unfinished);
                    connection.end(reason, ending, token, protocol, shared);
                }
                Class::Write | Class::Linger => connection.abandon(Reason::SlowReader, shared),
            }
            connection.turn(token, Readiness::ALL, protocol, scratch, shared)
        });
    }

    /// Gives back what memory has not been wanted for a while.
    fn keep_house(&mut self, now: Duration) {
        self.shared.trim();
        self.timers.trim();
        self.crowd.trim();
        if self.connections.len() < self.connections.capacity() / 4 {
            self.connections.shrink_to_fit();
        }
        self.run_queue.shrink_to(self.connections.len());
        self.housekeeping = self.shared.keeps_any().then_some(now + HOUSEKEEPING);
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
