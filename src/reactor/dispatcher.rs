//! Everything behind the poll: accepting, dispatch, the run queue, deadlines, limits, draining.
//!
//! The dispatcher never polls and never blocks, and it uses the kernel only through [`Net`]. Its callers tell it which
//! token is ready for what, so that [`Reactor`](crate::Reactor) can drive it from epoll and a
//! test from a seeded simulation.
//!
//! No call does an amount of work that grows with the number of connections: what concerns all of them (a drain, an
//! idle timeout that they share) is done in slices, and [`wait`](Dispatcher::wait) is zero until it is finished.

use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    sync::Arc,
    time::Duration,
};

use log::{debug, info, warn};
use slab::Slab;

use self::{
    datagrams::DatagramEcho,
    drain::{Drain, Sweep},
};
use super::{
    ages::Ages,
    calls::Calls,
    config::Config,
    connection::{
        Connection, NextTurn, Outcome, Progress,
        shared::{Context, MOST_AT_ONCE, Shared},
    },
    deadlines::{Timers, Unit, Wait},
    events::{Event, Recorder},
    inspect::{self, Inspected, Inspection},
    limits::{Limits, LoopId},
    net::{Net, Readiness},
    round,
    service::{Accepting, Service},
};
use crate::{
    Excuse, Peer, Reason, Stats, Token,
    plural::and_more,
    protocol::{PerConnection, Protocol},
    throttle::Throttle,
};

mod accept;
mod control;
mod datagrams;
mod deadlines;
mod drain;
mod outbound;
mod settings;
mod transfer;

/// How many entries of the run queue get their turn between two polls.
const TURNS_PER_ROUND: usize = 256;

/// Where a reactor is between start and end: [`Reactor::turn`](crate::Reactor::turn) returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It accepts and serves.
    Running,
    /// It accepts nothing more, and finishes the open connections.
    #[non_exhaustive]
    Draining {
        /// What is left of the grace time ([`Config::grace`]). After it, the connections that are still open are closed.
        time_left: Duration,
    },
    /// No connection is left, and it accepts none.
    Stopped,
}

/// All connections of one loop, and how each event is handled.
#[derive(Debug)]
pub struct Dispatcher<N: Net, P> {
    net: N,
    config: Config,
    limits: Arc<Limits>,
    /// Which of the loops it is that wait for room in `limits`.
    own: Option<LoopId>,
    services: Vec<Service<N::Listener, P>>,
    datagrams: Vec<DatagramEcho<N::DatagramSocket>>,
    connections: Slab<Connection<N::Stream>>,
    opened: Ages,
    /// The generation of the next connection; never 0, which is for reserved tokens.
    generation: u32,
    /// The run queue: connections and listeners with more to do, for which no event will come, and connections with an
    /// event that move many bytes. Each is here at most once.
    run_queue: VecDeque<Token>,
    waits: Timers<Wait>,
    units: Timers<Unit>,
    /// Connections whose frame timed out while they were owed replies.
    excuses: HashMap<usize, Excuse>,
    calls: Calls,
    /// When schedules of output go on.
    sends: Calls,
    /// While a schedule goes on: when it was to do so.
    sent_at: Option<Duration>,
    /// The buffer of every read, except for the rest of a long frame.
    scratch: Box<[u8]>,
    shared: Shared,
    /// Peers' addresses, if the log or a limit needs them.
    peers: PerConnection<KnownPeer>,
    drain: Drain,
    /// While draining: what is being done to each connection in turn.
    sweep: Option<Sweep>,
    /// While draining: when connections that have not ended by themselves are ended.
    last_call: Option<Duration>,
    /// When [`trim_memory`](Self::trim_memory) is due; `None` while there is nothing to give back.
    next_trim: Option<Duration>,
    warnings: Warnings,
}

/// A peer, and whether it is counted in the limit per address.
#[derive(Debug, Clone, Copy)]
struct KnownPeer {
    peer: Peer,
    is_counted: bool,
}

/// When each cause for a warning may be logged again.
#[derive(Debug, Default)]
struct Warnings {
    full: Throttle,
    per_address: Throttle,
    paused: Throttle,
    shed: Throttle,
    unregistered: Throttle,
    memory: Throttle,
    refused: Throttle,
    unadopted: Throttle,
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// A dispatcher with no listener and no connection.
    pub fn new(net: N, config: Config) -> Self {
        let limits = Arc::new(Limits::new(&config));
        Self::sharing(net, config, limits)
    }

    /// As [`new`](Self::new), with limits that other loops share.
    pub fn sharing(net: N, config: Config, limits: Arc<Limits>) -> Self {
        Self {
            net,
            scratch: vec![0; MOST_AT_ONCE].into_boxed_slice(),
            shared: Shared::new(Arc::clone(&limits)),
            waits: Timers::new(|wait| match wait {
                Wait::Idle => config.idle_timeout,
                Wait::Write => config.write_timeout,
                Wait::Linger => Some(config.linger),
            }),
            units: Timers::new(|unit| match unit {
                Unit::Handshake => config.handshake_timeout,
                Unit::Frame => config.frame_timeout,
            }),
            excuses: HashMap::new(),
            calls: Calls::default(),
            sends: Calls::default(),
            sent_at: None,
            config,
            limits,
            own: None,
            services: Vec::new(),
            datagrams: Vec::new(),
            connections: Slab::new(),
            opened: Ages::default(),
            generation: 1,
            run_queue: VecDeque::new(),
            peers: PerConnection::new(),
            drain: Drain::NotBegun,
            sweep: None,
            last_call: None,
            next_trim: None,
            warnings: Warnings::default(),
        }
    }

    /// Calls `wake`, from another thread, when a loop that shares the limits has made room for another connection while this
    /// one waits for room. Then [`woken`](Self::woken) must be called.
    pub(super) fn wake_for_room(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        self.own = Some(self.limits.on_room(wake));
    }

    /// Accepts from `listener` and speaks `protocol` on its connections; `name` is for the log.
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
        let index = self.next_service()?;
        self.net.listen(&mut listener, listener_token(index.into()))?;
        self.add_service(Some(listener), name, protocol);
        Ok(())
    }

    /// Keeps a place for a listener that is adopted later, and speaks `protocol` on its connections. Returns its index.
    ///
    /// # Errors
    ///
    /// If there are 255 listeners and lanes already.
    pub fn reserve(&mut self, name: String, protocol: P) -> io::Result<usize> {
        let index = self.next_service()?;
        self.add_service(None, name, protocol);
        Ok(index.into())
    }

    /// Adds a service as [`next_service`](Self::next_service).
    fn add_service(&mut self, listener: Option<N::Listener>, name: String, protocol: P) {
        let stats = self.shared.stats.add_listener(name);
        self.shared.events.name(listener_token(self.services.len()), &stats);
        self.services.push(Service::new(listener, protocol, stats));
    }

    /// Keeps the events of this loop in `recorder`, from now on.
    pub fn record(&mut self, recorder: Arc<Recorder>) {
        self.shared.events.record(recorder);
        self.shared.news.any = self.shared.events.refresh();
    }

    /// Closes the listener of that name, and accepts nothing there any more. Returns whether there was one.
    pub fn close_listener(&mut self, name: &str) -> bool {
        let is_it = |service: &&mut Service<_, _>| service.name() == name;
        let listening = self.services.iter_mut().filter(|service| service.listener.is_some());
        let Some(service) = listening.into_iter().find(is_it) else { return false };
        service.close_listener(&mut self.net);
        true
    }

    /// What the listener of that name speaks.
    pub fn protocol_at(&mut self, name: &str) -> Option<&mut P> {
        let service = self.services.iter_mut().find(|service| service.name() == name)?;
        Some(&mut service.protocol)
    }

    fn next_service(&self) -> io::Result<u8> {
        let too_many = |_| io::Error::other("a reactor has at most 255 listeners and lanes");
        u8::try_from(self.services.len()).map_err(too_many)
    }

    /// What the reactor has done so far; may be read by other threads.
    pub const fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// The sockets and the clock that it uses.
    pub const fn net(&self) -> &N {
        &self.net
    }

    /// The sockets and the clock that it uses.
    pub const fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// Where it is between start and end.
    pub fn phase(&self) -> Phase {
        match self.drain {
            Drain::NotBegun => Phase::Running,
            Drain::Until(end) => Phase::Draining { time_left: end.saturating_sub(self.net.now()) },
            Drain::Finished => Phase::Stopped,
        }
    }

    /// How long a poll may block; `None` is without end.
    pub fn wait(&self) -> Option<Duration> {
        let is_busy = !self.run_queue.is_empty() || self.sweep.is_some();
        if is_busy || self.drain == Drain::Finished {
            return Some(Duration::ZERO);
        }
        self.next_deadline().map(|deadline| deadline.saturating_sub(self.net.now()))
    }

    /// The poll has returned this many events, which [`event`](Self::event) is told next.
    pub fn polled(&mut self, events: impl FnOnce() -> usize) {
        self.shared.round.begin();
        if self.shared.events.refresh() {
            self.tell_of_poll(events());
        }
    }

    #[cold]
    fn tell_of_poll(&mut self, events: usize) {
        self.shared.news.any = true;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (open, queued) = (number(self.connections.len()), number(self.run_queue.len()));
        let polled = Event::Polled { events: number(events), open, queued };
        self.shared.events.tell(Token::new(0, 0), polled);
    }

    /// Handles an event. A token whose connection is gone is ignored.
    pub fn event(&mut self, token: Token, readiness: Readiness) {
        self.shared.events.emit(token, || Event::Ready(readiness));
        if let Some(index) = reserved_key(token) {
            if let Some(index) = datagrams::index(index) {
                return self.datagrams_ready(index, readiness);
            }
            let service = self.services.get(index);
            if service.is_some_and(|service| service.accepting == Accepting::OnEvent) {
                self.accept(index);
            }
            return;
        }
        let Some(connection) = self.connections.get(token.key()) else {
            return;
        };
        if connection.generation() == token.generation() {
            match connection.next_turn {
                NextTurn::Event => self.turn(token, readiness),
                _ => self.queue(token, readiness.more_behind),
            }
        }
    }

    #[cold]
    fn queue(&mut self, token: Token, more_behind: bool) {
        self.connections[token.key()].queue_in(&mut self.run_queue, token, more_behind);
    }

    /// Gives the first entries of the run queue one turn each: one at least, and then until the round is spent; but while a
    /// drain empties backlogs, whose batches are counted in rounds, each listener in the queue has its turn.
    pub fn run_queued(&mut self) {
        let is_emptying_backlogs = matches!(self.sweep, Some(Sweep::Backlog { .. }));
        for turn in 0..self.run_queue.len().min(TURNS_PER_ROUND) {
            if turn > 0 && self.shared.round.is_spent() && !is_emptying_backlogs {
                return;
            }
            let Some(token) = self.run_queue.pop_front() else {
                return;
            };
            if let Some(index) = reserved_key(token) {
                self.shared.events.emit(token, || Event::Resumed);
                if let Some(index) = datagrams::index(index) {
                    self.datagrams_turn(index, Readiness::ALL);
                } else {
                    self.services[index].accepting = Accepting::OnEvent;
                    self.accept(index);
                }
            } else if let Some(connection) = self.connections.get_mut(token.key())
                && connection.generation() == token.generation()
                && let NextTurn::Queue { more_behind } = connection.next_turn
            {
                connection.next_turn = NextTurn::Event;
                self.shared.events.emit(token, || Event::Resumed);
                self.turn(token, Readiness { more_behind, ..Readiness::ALL });
            }
        }
    }

    /// Gives a connection its turn, and handles the outcome.
    fn turn(&mut self, token: Token, readiness: Readiness) {
        // `visit` does the same, but a closure of this size is not inlined, which costs a frame some 25 instructions.
        let (connection, scratch, mut cx) = self.lend(token);
        let before = connection.progress();
        let outcome = connection.turn(readiness, scratch, &mut cx);
        self.conclude(token, before, outcome);
    }

    /// Calls `act` on a connection, and handles the outcome.
    fn visit(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Connection<N::Stream>, &mut [u8], &mut Context<'_, P>) -> Outcome,
    ) {
        let (connection, scratch, mut cx) = self.lend(token);
        let before = connection.progress();
        let outcome = act(connection, scratch, &mut cx);
        self.conclude(token, before, outcome);
    }

    /// A connection, and what it uses in its turn.
    #[inline(always)]
    fn lend(&mut self, token: Token) -> (&mut Connection<N::Stream>, &mut [u8], Context<'_, P>) {
        let connection = &mut self.connections[token.key()];
        let Service { protocol, stats, .. } = &mut self.services[usize::from(connection.service)];
        let cx = Context { token, protocol, counts: &stats.counts, shared: &mut self.shared };
        (connection, &mut self.scratch, cx)
    }

    /// Handles the outcome of what a connection has done since `before`.
    #[inline(always)]
    fn conclude(&mut self, token: Token, before: Progress, outcome: Outcome) {
        let key = token.key();
        let connection = &mut self.connections[key];
        match outcome {
            Outcome::Wait => {}
            Outcome::Again { more_behind } => {
                self.shared.round.spend(round::TURN);
                connection.queue_in(&mut self.run_queue, token, more_behind);
            }
            Outcome::Connecting => return self.finish_connecting(token),
            Outcome::Closed(reason) => {
                self.hear_news(token);
                return self.close_unless_called(token, reason, &before);
            }
        }
        let (wait, wait_restarts) = connection.waits_for(before);
        let (unit, unit_restarts) = connection.receives(before);
        self.set_wait(key, wait, wait_restarts);
        self.set_unit(token, unit, unit_restarts);
        self.shared.show_lent();
        if self.next_trim.is_none() && self.shared.keeps_any() {
            self.schedule_trim();
        }
        self.hear_news(token);
        if self.shared.pool.is_over() {
            self.enforce_memory_limit(token);
        }
    }

    /// Removes a connection that has come to its end. It stays if only the peer has ended it and its protocol is still to
    /// be called: what the protocol sends then goes to a peer that may be reading. Its deadline for being idle runs.
    fn close_unless_called(&mut self, token: Token, reason: Reason, before: &Progress) {
        let connection = &self.connections[token.key()];
        if !connection.is_half_closed() || !self.calls.awaits(token) {
            return self.remove(token, reason);
        }
        let (wait, restarts) = connection.waits_for(*before);
        self.set_wait(token.key(), wait, restarts);
        self.set_unit(token, None, false);
        self.shared.show_lent();
    }

    /// Handles the news of `token`'s turn. There is nearly always none.
    #[inline(always)]
    fn hear_news(&mut self, token: Token) {
        if self.shared.news.any {
            self.hear_all_news(token);
        }
    }

    #[cold]
    fn hear_all_news(&mut self, token: Token) {
        let news = mem::take(&mut self.shared.news);
        if self.shared.events.is_on() {
            self.shared.news.any = true;
            let turn_ended = self.connections[token.key()].turn_ended();
            self.shared.events.tell(token, turn_ended);
        }
        if let Some(refusal) = news.refused {
            // Each refusal is a peer's mistake: a line at debug, and at most one line a second at info.
            match self.warnings.refused.admit(self.net.now()) {
                Some(more) => info!("{token}: refused: {refusal}{}", and_more(more)),
                None => debug!("{token}: refused: {refusal}"),
            }
        }
        if news.cut_short
            && let Some(connection) = self.connections.get(token.key())
        {
            self.services[usize::from(connection.service)].stats.counts.truncated.add(1);
        }
        if let Some(delay) = news.call_after {
            self.calls.set(token, self.net.now().saturating_add(delay));
        }
        if let Some(delay) = news.send_after {
            let from = self.sent_at.take().unwrap_or_else(|| self.net.now());
            self.sends.set(token, from.saturating_add(delay));
        }
        if let Some(introduced) = news.introduced {
            self.introduce(token, introduced);
        }
    }

    /// Ends the connections that hold the most until all together are within the limit. If no connection holds much,
    /// `token` is ended, whose turn exceeded the limit.
    #[cold]
    fn enforce_memory_limit(&mut self, token: Token) {
        while self.shared.pool.is_over() {
            let victim = self.shared.holders.largest().unwrap_or(token);
            let is_there = self.connections.get(victim.key());
            if is_there.is_none_or(|connection| connection.generation() != victim.generation()) {
                break;
            }
            let held = self.connections[victim.key()].inspect(victim).capacity;
            if held == 0 {
                break;
            }
            if let Some(more) = self.warnings.memory.admit(self.net.now()) {
                let limit = self.config.max_memory;
                warn!(
                    "{victim}: ended, as it holds {held} bytes: all connections together hold more than \
                     --max-memory, {limit} bytes{}",
                    and_more(more)
                );
            }
            let connection = &mut self.connections[victim.key()];
            let Service { protocol, stats, .. } =
                &mut self.services[usize::from(connection.service)];
            let (counts, shared) = (&stats.counts, &mut self.shared);
            connection.end_for_memory(&mut Context { token: victim, protocol, counts, shared });
            // FIN and the rest of its end follow in its next turn.
            connection.queue_in(&mut self.run_queue, victim, true);
        }
        self.shared.show_lent();
    }

    fn remove(&mut self, token: Token, reason: Reason) {
        self.part_from(token, reason, |connection, shared| connection.close(token, shared));
        self.stop_if_done();
    }

    /// Takes a connection out of the slab and out of all counts. `end` closes it, or takes it apart.
    fn part_from<T>(
        &mut self,
        token: Token,
        reason: Reason,
        end: impl FnOnce(Connection<N::Stream>, &mut Shared) -> T,
    ) -> T {
        let key = token.key();
        self.waits.disarm(key);
        self.units.disarm(key);
        self.excuses.remove(&key);
        self.calls.cancel(token);
        self.sends.cancel(token);
        let connection = self.connections.remove(key);
        let Service { protocol, stats, .. } = &mut self.services[usize::from(connection.service)];
        protocol.closed(token, reason);
        stats.counts.count_closed(reason);
        stats.counts.open.subtract(1);
        if reason != Reason::Released {
            stats.connection_durations.record(self.opened.age(key, self.net.now()));
        }
        let known = self.peers.remove(token);
        let closed = connection.closed(reason, known.map(|known| known.peer));
        if let Some(KnownPeer { peer: Peer::Tcp(address), is_counted: true }) = known {
            self.limits.leave_from(address.ip());
        }
        let ended = end(connection, &mut self.shared);
        self.shared.events.tell(token, closed);
        self.limits.leave(self.own);
        self.shared.show_lent();
        if self.next_trim.is_none() {
            self.schedule_trim();
        }
        self.reopen_full_listeners();
        ended
    }

    fn find(&self, token: Token) -> Option<&Connection<N::Stream>> {
        let connection = self.connections.get(token.key())?;
        (connection.generation() == token.generation()).then_some(connection)
    }

    /// The whole state, for tests.
    #[doc(hidden)]
    pub fn inspect(&self) -> Inspection {
        let connections = self.connections.iter().map(|(key, connection)| {
            let token = connection.token(key);
            Inspected {
                entries: self.run_queue.iter().filter(|&&entry| entry == token).count(),
                deadline: self.waits.deadline(key),
                unit_deadline: self.units.deadline(key),
                ..connection.inspect(token)
            }
        });
        let listeners = self.services.iter().map(|service| match service.accepting {
            Accepting::OnEvent => inspect::Accepting::Event,
            Accepting::Queued => inspect::Accepting::Turn,
            Accepting::Full => inspect::Accepting::Room,
            Accepting::Paused(until) => inspect::Accepting::Until(until),
        });
        Inspection {
            connections: connections.collect(),
            listeners: listeners.collect(),
            datagrams: self.datagrams.iter().map(DatagramEcho::inspect).collect(),
            lent: self.shared.pool.lent(),
            queued: self.run_queue.len(),
        }
    }
}

/// Returns the share of this loop's connections to limits that other loops may use too.
impl<N: Net, P> Drop for Dispatcher<N, P> {
    fn drop(&mut self) {
        for (key, connection) in &self.connections {
            self.limits.leave(self.own);
            if let Some(KnownPeer { peer: Peer::Tcp(address), is_counted: true }) =
                self.peers.get(connection.token(key))
            {
                self.limits.leave_from(address.ip());
            }
        }
    }
}

/// The token of the `index`th listener.
fn listener_token(index: usize) -> Token {
    Token::new(u32::try_from(index).unwrap_or(u32::MAX), 0)
}

/// The key of a reserved token, which names a listener or a UDP socket; `None` for a connection's token.
fn reserved_key(token: Token) -> Option<usize> {
    (token.generation() == 0).then_some(token.key())
}
