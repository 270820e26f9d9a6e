//! UDP echoes: each datagram goes back to its source (RFC 862), unless the [`Guard`] objects.

use std::{
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use log::{debug, warn};

use super::Dispatcher;
use crate::{
    Begun, ConnectionState, Counts, ReleasedListener, ReleasedSocket, Token, UdpConfig,
    control::stats::ListenerStats,
    protocol::{Protocol, fault::FaultyDatagrams},
    reactor::{
        events::Event,
        guard::{Guard, Objection},
        inspect::InspectedDatagrams,
        net::{DatagramSocket, Net, Readiness},
    },
    throttle::Throttle,
};

/// The key of the first UDP socket's reserved token (generation 0). Lower keys are the listeners'.
const FIRST_KEY: u32 = 1 << 16;

/// How many datagrams one turn receives. Then other sockets and connections get their turns.
const PER_TURN: usize = 128;

/// No datagram is longer: its length field has 16 bits.
const LONGEST: usize = 65_535;

/// A socket that sends back what it receives.
#[derive(Debug)]
pub(super) struct DatagramEcho<S> {
    /// `None` while the socket is not here: released, or not adopted yet.
    socket: Option<S>,
    stats: Arc<ListenerStats>,
    port: u16,
    buffer: Box<[u8]>,
    /// The length and the source of the datagram in `buffer`, while the kernel has no room to send it.
    owed: Option<(usize, SocketAddr)>,
    guard: Guard,
    /// What it does wrong on purpose, and what it owes because of that.
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
                    let owed = echo.owed.take();
                    let owed = owed.map(|(length, to)| (to, echo.buffer[..length].to_vec()));
                    let owed = owed.or_else(|| echo.faulty.as_mut()?.take());
                    let socket = ReleasedSocket::Datagrams { socket, owed };
                    released.push(ReleasedListener { index, socket });
                }
                Err(socket) => echo.socket = Some(socket),
            }
        }
        released
    }

    /// Puts a UDP socket into its place, with the datagram that it owes.
    pub(super) fn adopt_datagrams(
        &mut self,
        index: usize,
        mut socket: N::DatagramSocket,
        owed: Option<(SocketAddr, Vec<u8>)>,
    ) -> io::Result<()> {
        let echo = self.datagrams.get_mut(index).ok_or(ErrorKind::InvalidInput)?;
        self.net.register_datagrams(&mut socket, token(index))?;
        echo.socket = Some(socket);
        if let Some((to, payload)) = owed.filter(|(_, payload)| payload.len() <= LONGEST) {
            echo.buffer[..payload.len()].copy_from_slice(&payload);
            echo.owed = Some((payload.len(), to));
        }
        if !mem::replace(&mut echo.queued, true) {
            self.run_queue.push_back(token(index));
        }
        Ok(())
    }

    /// A UDP socket is ready. Room for datagrams is news only while one waits to be sent: each that leaves makes room again.
    pub(super) fn datagrams_ready(&mut self, index: usize, readiness: Readiness) {
        let Some(echo) = self.datagrams.get(index) else { return };
        let is_awaited = match echo.owed() {
            Some(_) => readiness.writable || readiness.more_behind,
            None => readiness.readable,
        };
        // One that is on the run queue has its turn in this same round.
        if is_awaited && !echo.queued {
            self.datagrams_turn(index);
        }
    }

    /// Gives a UDP socket its turn, and queues it for another one if there may be more to do.
    pub(super) fn datagrams_turn(&mut self, index: usize) {
        let now = self.net.now();
        let echo = &mut self.datagrams[index];
        let events = &self.shared.events;
        echo.queued = echo.turn(now, &|event| events.emit(token(index), || event)) == Turn::Again;
        events.emit(token(index), || echo.turn_ended());
        if echo.queued {
            self.run_queue.push_back(token(index));
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
            buffer: vec![0; LONGEST].into_boxed_slice(),
            owed: None,
            guard: Guard::new(port, config),
            faulty: config.faults.clone().map(FaultyDatagrams::new).map(Box::new),
            warning: Throttle::default(),
            queued: false,
        }
    }

    /// Receives and answers until no datagram is left, the kernel has no room to send, or the budget is spent.
    fn turn(&mut self, now: Duration, emit: &dyn Fn(Event)) -> Turn {
        for _ in 0..PER_TURN {
            if !self.send_owed(emit) {
                return Turn::Wait;
            }
            let Some(socket) = &mut self.socket else { return Turn::Wait };
            match socket.receive(&mut self.buffer) {
                Ok((length, source)) => {
                    emit(Event::Datagram {
                        source,
                        bytes: u32::try_from(length).unwrap_or(u32::MAX),
                    });
                    self.stats.counts.received.add(length as u64);
                    match self.guard.objection(source, now) {
                        None => match &mut self.faulty {
                            None => self.owed = Some((length, source)),
                            Some(faulty) => faulty.reply(&self.buffer[..length], source),
                        },
                        Some(objection) => {
                            emit(Event::DatagramDropped);
                            self.drop_one(source, objection, now);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Wait,
                // An ICMP error about an earlier answer (udp(7)). It does not concern the next datagram.
                Err(error) => debug!("udp port {}: receive: {error}", self.port),
            }
        }
        Turn::Again
    }

    /// Sends what is owed; false if the kernel has no room and the rest has to wait.
    fn send_owed(&mut self, emit: &dyn Fn(Event)) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let counts = &self.stats.counts;
        if let Some((length, to)) = self.owed {
            if !send(socket, &self.buffer[..length], to, counts, emit) {
                return false;
            }
            self.owed = None;
        }
        if let Some(faulty) = &mut self.faulty {
            while let Some((to, payload)) = faulty.next() {
                if !send(socket, payload, *to, counts, emit) {
                    return false;
                }
                faulty.take();
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

/// Sends `payload`; false if the kernel has no room and it has to wait.
fn send(
    socket: &mut impl DatagramSocket,
    payload: &[u8],
    to: SocketAddr,
    counts: &Counts,
    emit: &dyn Fn(Event),
) -> bool {
    let length = payload.len();
    match socket.send(payload, to) {
        Ok(()) => {
            emit(Event::DatagramSent { bytes: u32::try_from(length).unwrap_or(u32::MAX) });
            counts.frames.add(1);
            counts.sent.add(length as u64);
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
        Err(error) => {
            emit(Event::DatagramDropped);
            counts.datagrams_dropped.add(1);
            debug!("{to}: send {length} B: {error}");
        }
    }
    true
}

impl<S> DatagramEcho<S> {
    /// Bytes of the next datagram that waits to be sent.
    fn owed(&self) -> Option<usize> {
        let faulty = || self.faulty.as_ref()?.next().map(|(_, payload)| payload.len());
        self.owed.map(|(length, _)| length).or_else(faulty)
    }

    fn turn_ended(&self) -> Event {
        let owed = self.owed().map_or(0, |length| length as u64);
        Event::TurnEnded { state: ConnectionState::Open, begun: Begun::Nothing, held: 0, owed }
    }

    pub(super) fn inspect(&self) -> InspectedDatagrams {
        InspectedDatagrams { owed: self.owed().is_some(), queued: self.queued }
    }
}
