//! The event loop: polls epoll through mio, and passes every event to the [`Dispatcher`].

mod ages;
mod calls;
pub(crate) mod config;
mod connection;
mod deadlines;
pub mod dispatcher;
mod guard;
#[doc(hidden)]
pub mod inspect;
mod kernel;
pub(crate) mod limits;
pub mod net;
mod per_address;
pub(crate) mod service;

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use log::debug;
use mio::{Events, Interest, Poll, Waker, event::Source, unix::SourceFd};

use self::{
    config::{Config, UdpConfig},
    dispatcher::{Dispatcher, Phase},
    kernel::Kernel,
    limits::Limits,
    service::Lane,
};
use crate::{
    Endpoint, Handle, Listener, Stats, Token,
    control::handle::{Commands, commands},
    protocol::{Output, Protocol},
    socket::datagrams::Datagrams,
};

/// The most events that one poll returns. A busy loop is cheap because it polls once for many events.
const EVENTS_PER_POLL: usize = 1024;

const WAKER: Token = Token::new(u32::MAX, 0);
const STOP_SOURCE: Token = Token::new(u32::MAX - 1, 0);

/// An event loop with its listeners and connections, all speaking some `P`.
///
/// One thread, which is the one that calls [`run`](Self::run). Use `Box<dyn Protocol>` for `P` where listeners
/// speak different protocols.
#[derive(Debug)]
pub struct Reactor<P> {
    poll: Poll,
    events: Events,
    dispatcher: Dispatcher<Kernel, P>,
    handle: Handle,
    commands: Commands,
    stop_source: Option<OwnedFd>,
    backlog: u32,
    share_ports: bool,
    measure_turns: bool,
}

impl<P: Protocol> Reactor<P> {
    /// A reactor with no listener yet.
    ///
    /// # Errors
    ///
    /// If the kernel gives it no epoll instance or no eventfd: as `epoll_create1`(2), eventfd(2).
    pub fn new(config: Config) -> io::Result<Self> {
        let limits = Arc::new(Limits::new(&config));
        Self::sharing(config, limits)
    }

    /// As [`new`](Self::new), with limits that it shares with other reactors: they hold for all of them together.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn sharing(config: Config, limits: Arc<Limits>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let kernel = Kernel::new(registry, &config)?;
        let Config { backlog, share_ports, measure_turns, .. } = config;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER.into())?);
        let wake = move || {
            if let Err(error) = waker.wake() {
                debug!("wake: {error}");
            }
        };
        let mut dispatcher = Dispatcher::sharing(kernel, config, limits);
        dispatcher.wake_for_room(wake.clone());
        let (handle, commands) = commands(wake);
        Ok(Self {
            handle,
            commands,
            stop_source: None,
            events: Events::with_capacity(EVENTS_PER_POLL),
            backlog,
            share_ports,
            measure_turns,
            dispatcher,
            poll,
        })
    }

    /// Listens on `endpoint` and speaks `protocol` on its connections. Returns the bound endpoint, with the port that the
    /// kernel chose if `endpoint` has port 0.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn listen(&mut self, endpoint: impl Into<Endpoint>, protocol: P) -> io::Result<Endpoint> {
        let listener = Listener::bind(&endpoint.into(), self.backlog, self.share_ports)?;
        self.adopt(listener, protocol)
    }

    /// As [`listen`](Self::listen), from a socket that is listening already: bound elsewhere, or
    /// [inherited](Listener::inherit). Several reactors may adopt copies of one socket; each connection is accepted by one
    /// of them.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2), or if there are 255 listeners already.
    pub fn adopt(&mut self, listener: Listener, protocol: P) -> io::Result<Endpoint> {
        let endpoint = listener.endpoint();
        self.dispatcher.listen(listener, endpoint.to_string(), protocol)?;
        Ok(endpoint)
    }

    /// Closes the listener at `endpoint`, as [`listen`](Self::listen) returned it: its connections go on, and those in
    /// its backlog are reset. Returns whether there was one.
    pub fn close_listener(&mut self, endpoint: &Endpoint) -> bool {
        self.dispatcher.close_listener(&endpoint.to_string())
    }

    /// What connections at the listener at `endpoint` speak, as [`listen`](Self::listen) returned it.
    pub fn protocol_at(&mut self, endpoint: &Endpoint) -> Option<&mut P> {
        self.dispatcher.protocol_at(&endpoint.to_string())
    }

    /// Speaks `protocol` on outbound connections: [`connect`](Self::connect) opens them.
    ///
    /// # Errors
    ///
    /// If there are 255 listeners and lanes already.
    pub fn outbound(&mut self, protocol: P) -> io::Result<Lane> {
        self.dispatcher.outbound(protocol)
    }

    /// Begins to connect to `endpoint`, without blocking, from the address `from` where that matters: a million
    /// connections to one port do not all fit one source address.
    ///
    /// The lane's protocol is told by [`Protocol::opened`] once the connection is there, or by
    /// [`Protocol::closed`] and the [`Reason`](crate::Reason) that it never will be. An answer must come within
    /// [`Config::write_timeout`].
    ///
    /// # Errors
    ///
    /// As socket(2), bind(2) and connect(2): `AddrNotAvailable` when no port is left; `WouldBlock` while a Unix
    /// socket's backlog is full; `ConnectionRefused`, which may also come later as
    /// [`Reason::ConnectRefused`](crate::Reason::ConnectRefused). Also if [`Config::max_connections`] are
    /// open, or the reactor is stopping.
    pub fn connect(
        &mut self,
        lane: Lane,
        endpoint: &Endpoint,
        from: Option<IpAddr>,
    ) -> io::Result<Token> {
        self.dispatcher.connect(lane, endpoint, from)
    }

    /// What the connections of `lane` speak.
    pub fn protocol_mut(&mut self, lane: Lane) -> &mut P {
        self.dispatcher.protocol_mut(lane)
    }

    /// Sends on a connection what `speak` puts into the output, behind all that is owed there. Returns how many bytes
    /// are then owed; `None`, and `speak` is not called, where the connection is not open (any more, or yet).
    ///
    /// A caller that speaks faster than the peer reads stops when much is owed, and goes on when the protocol is told
    /// that it has gone ([`Output::call_when_sent`]). What it sends regardless is held, up to
    /// [`Config::max_memory`]; then the connection that holds most is ended.
    pub fn speak(
        &mut self,
        token: Token,
        speak: impl FnOnce(&mut P, &mut Output),
    ) -> Option<usize> {
        self.dispatcher.speak(token, speak)
    }

    /// How many bytes the peer of a connection has not taken yet. `None` where there is no such connection.
    #[must_use]
    pub fn owed(&self, token: Token) -> Option<usize> {
        self.dispatcher.owed(token)
    }

    /// Closes a connection at once; what it owes is lost. Returns whether it was there. A protocol ends one in order by
    /// [`Next::Finish`](crate::protocol::Next::Finish).
    pub fn close(&mut self, token: Token) -> bool {
        self.dispatcher.close(token)
    }

    /// Echoes datagrams on `address` within the limits of `config`. Returns the bound address, with the port that the
    /// kernel chose if `address` has port 0.
    ///
    /// Sources with a port below 1024, or with the same port number as this socket, get no answer: another echo may be
    /// there, and the two would answer each other for ever. [`UdpConfig::loop_guard`] ends all other loops.
    ///
    /// # Errors
    ///
    /// As bind(2) and `epoll_ctl`(2).
    pub fn listen_udp(
        &mut self,
        address: SocketAddr,
        config: &UdpConfig,
    ) -> io::Result<SocketAddr> {
        let socket = Datagrams::bind(address, self.share_ports)?;
        self.echo_datagrams(socket, config)
    }

    /// As [`listen_udp`](Self::listen_udp), from a socket that another process has bound and passed.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with a text that says what the socket is, unless it is a UDP socket. As `epoll_ctl`(2).
    pub fn adopt_udp(
        &mut self,
        socket: impl Into<OwnedFd>,
        config: &UdpConfig,
    ) -> io::Result<SocketAddr> {
        let socket = Datagrams::inherit(socket)?;
        self.echo_datagrams(socket, config)
    }

    fn echo_datagrams(&mut self, socket: Datagrams, config: &UdpConfig) -> io::Result<SocketAddr> {
        let bound = socket.address();
        self.dispatcher.echo_datagrams(socket, format!("udp://{bound}"), config)?;
        Ok(bound)
    }

    /// Stops as [`Handle::stop`] does once there is something to read from `source`, or its other end is closed.
    ///
    /// A signal handler may do little more than write a byte to a descriptor (signal-safety(7)). The poll watches the
    /// other end of it.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    pub fn stop_on(&mut self, source: impl Into<OwnedFd>) -> io::Result<()> {
        let source = source.into();
        let descriptor = source.as_raw_fd();
        let registry = self.poll.registry();
        SourceFd(&descriptor).register(registry, STOP_SOURCE.into(), Interest::READABLE)?;
        self.stop_source = Some(source);
        Ok(())
    }

    /// Lets [`turn`](Self::turn) return once there is something new to read from `source` (edge-triggered), for example
    /// from a timer that is finer than a poll's milliseconds. The caller reads it, and keeps it open.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    pub fn wake_on(&self, source: &impl AsFd) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        SourceFd(&descriptor).register(self.poll.registry(), WAKER.into(), Interest::READABLE)
    }

    /// A handle with which other threads control it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Its counters. Other threads may keep and read them.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(self.dispatcher.stats())
    }

    /// Serves until it is stopped, and then until all connections are closed or the [grace time](Config::grace) is over.
    ///
    /// # Errors
    ///
    /// As `epoll_wait`(2), which fails only if other code closed its descriptor. An error of a peer or of accept(2) never
    /// ends the loop.
    ///
    /// # Panics
    ///
    /// If a protocol or a handler panics. The panic unwinds out of this call, because one protocol serves all connections
    /// of its listener and may be left in an inconsistent state. Drop the reactor then: that closes its connections
    /// without sending what they owe.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn(None)? != Phase::Stopped {}
        Ok(())
    }

    /// Polls once, for at most the time `at_most` (`None` is no limit), and serves what is ready. For callers that have
    /// work of their own between two polls.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, at_most: Option<Duration>) -> io::Result<Phase> {
        let wait = self.dispatcher.wait().into_iter().chain(at_most).min();
        match self.poll.poll(&mut self.events, wait) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        let start = self.measure_turns.then(Instant::now);
        let mut is_woken = false;
        self.dispatcher.stats().turns.add(1);
        for event in &self.events {
            match Token::from(event.token()) {
                WAKER => is_woken = true,
                STOP_SOURCE => self.commands.request_stop(),
                token => self.dispatcher.event(token, kernel::readiness(event)),
            }
        }
        if is_woken {
            self.dispatcher.woken();
            self.dispatcher.execute(&self.commands);
        }
        if self.commands.is_stop_requested() {
            self.dispatcher.stop();
        }
        self.dispatcher.run_queued();
        self.dispatcher.expire();
        if let Some(start) = start {
            let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.dispatcher.stats().turn_durations.record(nanoseconds);
        }
        Ok(self.dispatcher.phase())
    }
}
