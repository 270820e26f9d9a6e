//! UDP echoes: each datagram goes back to its source (RFC 862), unless the [`Guard`] objects.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use log::{debug, warn};

use super::Dispatcher;
use crate::{
    Begun, ConnectionState, ReleasedListener, ReleasedSocket, Token, UdpConfig,
    control::stats::ListenerStats,
    protocol::{Protocol, fault::FaultyDatagrams},
    reactor::{
        connection::shared::{MOST_AT_ONCE, Shared},
        events::Event,
        guard::{Guard, Objection},
        inspect::InspectedDatagrams,
        net::{Awaited, Batch, DatagramSocket, Net, Readiness},
        round::{MANY_BYTES, Round},
    },
    throttle::Throttle,
};

/// The key of the first UDP socket's reserved token (generation 0). Lower keys are the listeners'.
const FIRST_KEY: u32 = 1 << 16;

/// How many steps one turn has. Then other sockets and connections get their turns. A datagram is a step.
const STEPS_PER_TURN: usize = 128;

/// Each this many bytes of a batch are another step.
const STEP: usize = 8 << 10;

/// The least room of a batch.
const LEAST_ROOM: usize = 2;

/// Each turn has its batch in the scratch of the loop.
const _: () = assert!(MOST_AT_ONCE >= Batch::MOST * Batch::LONGEST);

/// A socket that sends back what it receives.
#[derive(Debug)]
pub(super) struct DatagramEcho<S> {
    /// `None` while the socket is not here: released, or not adopted yet.
    socket: Option<S>,
    stats: Arc<ListenerStats>,
    port: u16,
    /// Answers that the kernel had no room to send, or that differ from what was received, each with where it goes. While
    /// there are some, nothing is received: so they are those of one batch, and at most three for each datagram of it.
    owed: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What the poll reports.
    awaited: Awaited,
    /// How many datagrams the next batch has room for: each slot has a cost, also if nothing comes into it. At least two,
    /// so that a lone datagram leaves one free.
    room: usize,
    guard: Guard,
    /// What it does wrong on purpose.
    faulty: Option<Box<FaultyDatagrams>>,
    warning: Throttle,
    /// Whether its token is on the run queue.
    queued: bool,
}

/// Whether a socket has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It waits for its next event.
    Wait,
    /// It has spent its budget: there may be more to receive.
    Again,
}

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Echoes the datagrams that `socket` receives, within the limits of `config`; `name` is for the counters.
    ///
    /// # Errors
    ///
    /// As [`Net::register_datagrams`].
    pub fn echo_datagrams(
        &mut self,
        mut socket: N::DatagramSocket,
        name: String,
        config: &UdpConfig,
    ) -> io::Result<()> {
        let too_many = || io::Error::other("too many UDP sockets");
        let index = u32::try_from(self.datagrams.len()).ok();
        let key = index.and_then(|index| FIRST_KEY.checked_add(index)).ok_or_else(too_many)?;
        self.net.register_datagrams(&mut socket, Token::new(key, 0))?;
        let port = socket.local_port();
        let stats = self.shared.stats.add_listener(name);
        self.shared.events.name(token(self.datagrams.len()), &stats);
        self.datagrams.push(DatagramEcho::new(Some(socket), port, stats, config));
        Ok(())
    }

    /// Keeps a place for a UDP socket at `port` that is adopted later. Returns its index.
    pub fn reserve_datagrams(&mut self, name: String, port: u16, config: &UdpConfig) -> usize {
        let stats = self.shared.stats.add_listener(name);
        self.shared.events.name(token(self.datagrams.len()), &stats);
        self.datagrams.push(DatagramEcho::new(None, port, stats, config));
        self.datagrams.len() - 1
    }

    /// Releases all UDP sockets.
    pub(super) fn release_datagrams(&mut self) -> Vec<ReleasedListener> {
        let mut released = Vec::new();
        for (index, echo) in self.datagrams.iter_mut().enumerate() {
            let Some(socket) = echo.socket.take() else { continue };
            match self.net.export_datagrams(socket) {
                Ok(socket) => {
                    let owed = mem::take(&mut echo.owed);
                    let socket = ReleasedSocket::Datagrams { socket, owed };
                    released.push(ReleasedListener { index, socket });
                }
                Err(socket) => echo.socket = Some(socket),
            }
        }
        released
    }

    /// Puts a UDP socket into its place, with the datagrams that it owes.
    pub(super) fn adopt_datagrams(
        &mut self,
        index: usize,
        mut socket: N::DatagramSocket,
        owed: VecDeque<(SocketAddr, Vec<u8>)>,
    ) -> io::Result<()> {
        let echo = self.datagrams.get_mut(index).ok_or(ErrorKind::InvalidInput)?;
        self.net.register_datagrams(&mut socket, token(index))?;
        echo.socket = Some(socket);
        echo.awaited = Awaited::Datagrams;
        echo.owed = owed;
        echo.owed.retain(|(_, payload)| payload.len() <= Batch::LONGEST);
        if !mem::replace(&mut echo.queued, true) {
            self.run_queue.push_back(token(index));
        }
        Ok(())
    }

    /// A UDP socket is ready.
    pub(super) fn datagrams_ready(&mut self, index: usize, readiness: Readiness) {
        // One that is on the run queue has its turn in this same round.
        if self.datagrams.get(index).is_some_and(|echo| !echo.queued) {
            self.datagrams_turn(index, readiness);
        }
    }

    /// Gives a UDP socket its turn, and queues it for another one if there may be more to do.
    pub(super) fn datagrams_turn(&mut self, index: usize, readiness: Readiness) {
        let now = self.net.now();
        let echo = &mut self.datagrams[index];
        let Shared { events, round, .. } = &mut self.shared;
        let emit = |event| events.emit(token(index), || event);
        let mut batch = Batch::new(&mut self.scratch);
        echo.queued = echo.turn(readiness, &mut batch, now, round, &emit) == Turn::Again;
        events.emit(token(index), || echo.turn_ended());
        if echo.queued {
            self.run_queue.push_back(token(index));
        }
        self.await_datagrams(index);
    }

    /// Asks the poll for room while answers are owed, and for datagrams otherwise.
    fn await_datagrams(&mut self, index: usize) {
        let echo = &mut self.datagrams[index];
        let awaited = if echo.owed.is_empty() { Awaited::Datagrams } else { Awaited::Room };
        let Some(socket) = echo.socket.as_mut().filter(|_| awaited != echo.awaited) else { return };
        match self.net.await_datagrams(socket, token(index), awaited) {
            Ok(()) => echo.awaited = awaited,
            // Its next event tries again.
            Err(error) => warn!("udp port {}: the poll does not report it: {error}", echo.port),
        }
    }

    /// Gives each UDP socket a turn in the next round, for the datagrams in its queue.
    pub(super) fn queue_datagrams(&mut self) {
        for (index, echo) in self.datagrams.iter_mut().enumerate() {
            if !mem::replace(&mut echo.queued, true) {
                self.run_queue.push_back(token(index));
            }
        }
    }

    /// Whether a UDP socket may have datagrams in its queue that can be answered now.
    pub(super) fn is_answering_datagrams(&self) -> bool {
        self.datagrams.iter().any(|echo| echo.queued)
    }
}

/// The room for the next batch. It grows at once and shrinks slowly, because many datagrams in few calls cost the least.
fn fitting(room: usize, batch: &Batch<'_>) -> usize {
    if batch.is_full() {
        (2 * room).min(Batch::MOST)
    } else if batch.len() + 1 < room {
        (room - 1).max(LEAST_ROOM)
    } else {
        room
    }
}

/// The token of the `index`th UDP socket.
fn token(index: usize) -> Token {
    Token::new(FIRST_KEY + u32::try_from(index).unwrap_or(0), 0)
}

/// Which UDP socket the reserved token with this key names; `None` if it names a listener.
pub(super) const fn index(key: usize) -> Option<usize> {
    key.checked_sub(FIRST_KEY as usize)
}

impl<S: DatagramSocket> DatagramEcho<S> {
    fn new(socket: Option<S>, port: u16, stats: Arc<ListenerStats>, config: &UdpConfig) -> Self {
        Self {
            socket,
            stats,
            port,
            owed: VecDeque::new(),
            awaited: Awaited::Datagrams,
            room: LEAST_ROOM,
            guard: Guard::new(port, config),
            faulty: config.faults.clone().map(FaultyDatagrams::new).map(Box::new),
            warning: Throttle::default(),
            queued: false,
        }
    }

    /// Receives and answers until no datagram is left, the kernel has no room to send, or the budget is spent.
    ///
    /// A call that leaves slots of the batch free is the last one if no error can have ended it early. An error that was
    /// there when the poll returned is told by `readiness`, and a later one brings an event of its own.
    fn turn(
        &mut self,
        readiness: Readiness,
        batch: &mut Batch<'_>,
        now: Duration,
        round: &mut Round,
        emit: &dyn Fn(Event),
    ) -> Turn {
        if !self.send_owed(batch, emit) {
            return Turn::Wait;
        }
        let mut steps_left = STEPS_PER_TURN;
        while steps_left > 0 {
            let Some(socket) = &mut self.socket else { return Turn::Wait };
            batch.clear(steps_left.min(self.room));
            match socket.receive(batch) {
                Ok(()) => {
                    let short_is_last = !readiness.more_behind && socket.short_batch_is_last();
                    let is_last = short_is_last && !batch.is_full();
                    self.room = fitting(self.room, batch);
                    let bytes = batch.bytes();
                    if bytes >= MANY_BYTES {
                        round.spend(bytes);
                    }
                    steps_left = steps_left.saturating_sub(batch.len() + bytes / STEP);
                    self.judge(batch, now, emit);
                    if !self.send(batch, emit) {
                        self.owed.extend(batch.iter().map(|(to, payload)| (to, payload.to_vec())));
                        return Turn::Wait;
                    }
                    if !self.send_owed(batch, emit) || is_last {
                        return Turn::Wait;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Wait,
                // An ICMP error about an earlier answer (udp(7)). It does not concern the next datagram.
                Err(error) => {
                    steps_left -= 1;
                    debug!("udp port {}: receive: {error}", self.port);
                }
            }
        }
        Turn::Again
    }

    /// Removes from `batch` what gets no answer, and what gets another one than itself, which is owed then.
    fn judge(&mut self, batch: &mut Batch<'_>, now: Duration, emit: &dyn Fn(Event)) {
        batch.retain(|source, payload| {
            let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            emit(Event::Datagram { source, bytes });
            self.stats.counts.received.add(payload.len() as u64);
            if let Some(objection) = self.guard.objection(source, now) {
                emit(Event::DatagramDropped);
                self.drop_one(source, objection, now);
                return false;
            }
            let Some(faulty) = &mut self.faulty else { return true };
            faulty.reply(payload, source, &mut self.owed);
            // A fault can make it longer than a datagram can be.
            while self.owed.back().is_some_and(|(_, payload)| payload.len() > Batch::LONGEST) {
                emit(Event::DatagramDropped);
                self.stats.counts.datagrams_dropped.add(1);
                self.owed.pop_back();
            }
            false
        });
    }

    /// Sends what is owed; false if the kernel has no room and the rest has to wait. Uses `batch`.
    fn send_owed(&mut self, batch: &mut Batch<'_>, emit: &dyn Fn(Event)) -> bool {
        while !self.owed.is_empty() {
            batch.clear(Batch::MOST);
            for (to, payload) in self.owed.iter().take(Batch::MOST) {
                batch.push(*to, payload);
            }
            let loaded = batch.len();
            let all_sent = self.send(batch, emit);
            self.owed.drain(..loaded - batch.len());
            if !all_sent {
                return false;
            }
        }
        true
    }

    /// Sends `batch`, and removes from it what was sent or cannot be sent at all. False if the kernel has no room and the
    /// rest has to wait.
    fn send(&mut self, batch: &mut Batch<'_>, emit: &dyn Fn(Event)) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let counts = &self.stats.counts;
        while !batch.is_empty() {
            match socket.send(batch) {
                Ok(sent) => {
                    for (_, payload) in batch.iter().take(sent) {
                        let length = payload.len();
                        emit(Event::DatagramSent {
                            bytes: u32::try_from(length).unwrap_or(u32::MAX),
                        });
                        counts.sent.add(length as u64);
                    }
                    counts.frames.add(sent as u64);
                    batch.skip(sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => {
                    emit(Event::DatagramDropped);
                    counts.datagrams_dropped.add(1);
                    if let Some((to, payload)) = batch.iter().next() {
                        debug!("{to}: send {} B: {error}", payload.len());
                    }
                    batch.skip(1);
                }
            }
        }
        true
    }

    fn drop_one(&mut self, source: SocketAddr, why: Objection, now: Duration) {
        self.stats.counts.datagrams_dropped.add(1);
        if matches!(why, Objection::Loop { .. }) {
            self.stats.counts.loop_guard_drops.add(1);
        }
        // A client that sends for hours loses many datagrams to the loop guard: one warning is enough.
        if why == (Objection::Loop { first: false }) {
            return debug!("udp port {}: dropped a datagram from {source}: {why}", self.port);
        }
        if let Some(more) = self.warning.admit(now) {
            warn!("udp port {}: dropped a datagram from {source}: {why} ({more} more)", self.port);
        }
    }
}

impl<S> DatagramEcho<S> {
    fn turn_ended(&self) -> Event {
        let owed = self.owed.iter().map(|(_, payload)| payload.len() as u64).sum();
        Event::TurnEnded { state: ConnectionState::Open, begun: Begun::Nothing, held: 0, owed }
    }

    pub(super) fn inspect(&self) -> InspectedDatagrams {
        InspectedDatagrams { owed: self.owed.len(), queued: self.queued }
    }
}
