//! The event loop: polls epoll through mio, and passes every event to the [`Dispatcher`].

mod ages;
mod calls;
pub(crate) mod config;
mod connection;
mod deadlines;
pub mod dispatcher;
pub(crate) mod events;
mod guard;
#[doc(hidden)]
pub mod inspect;
mod kernel;
pub(crate) mod limits;
pub mod net;
mod per_address;
mod round;
pub(crate) mod service;
mod wake_up;

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, event::Source, unix::SourceFd};

use self::{
    config::{Config, UdpConfig},
    dispatcher::{Dispatcher, Phase},
    events::Recorder,
    kernel::Kernel,
    limits::Limits,
    service::Lane,
    wake_up::WakeUp,
};
use crate::{
    Endpoint, Handle, Listener, Stats, Token,
    control::handle::{Commands, commands},
    protocol::{Output, Protocol},
    socket::{WITHOUT_EPOLL, datagrams::Datagrams},
};

/// The most events that one poll returns. A busy loop is cheap because it polls once for many events.
const EVENTS_PER_POLL: usize = 1024;

const WAKER: Token = Token::new(u32::MAX, 0);
const STOP_SOURCE: Token = Token::new(u32::MAX - 1, 0);

/// An event loop with its listeners and connections, which all speak a protocol of type `P`.
///
/// It runs in the thread that calls [`run`](Self::run), and starts no other. If listeners speak different protocols, use
/// `Box<dyn Protocol>` for `P`.
#[derive(Debug)]
pub struct Reactor<P> {
    poll: Poll,
    events: Events,
    dispatcher: Dispatcher<Kernel, P>,
    handle: Handle,
    commands: Commands,
    wake_up: Arc<WakeUp>,
    stop_source: Option<OwnedFd>,
    wake_sources: Vec<RawFd>,
    backlog: u32,
    share_ports: bool,
    busy_poll: Option<Duration>,
    measure_turns: bool,
}

impl<P: Protocol> Reactor<P> {
    /// A reactor with no listener yet.
    ///
    /// # Errors
    ///
    /// If the kernel creates no epoll instance or no eventfd: as `epoll_create1`(2), eventfd(2).
    pub fn new(config: Config) -> io::Result<Self> {
        let limits = Arc::new(Limits::new(&config));
        Self::sharing(config, limits)
    }

    /// As [`new`](Self::new), with limits that hold for this and other reactors together.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn sharing(config: Config, limits: Arc<Limits>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let kernel = Kernel::new(registry, &config)?;
        let Config { backlog, share_ports, busy_poll, measure_turns, .. } = config;
        let wake_up = Arc::new(WakeUp::new(poll.registry(), WAKER.into())?);
        let waker = Arc::clone(&wake_up);
        let wake = move || waker.wake();
        let mut dispatcher = Dispatcher::sharing(kernel, config, limits);
        dispatcher.wake_for_room(wake.clone());
        let (handle, commands) = commands(wake);
        Ok(Self {
            handle,
            commands,
            wake_up,
            stop_source: None,
            wake_sources: Vec::new(),
            events: Events::with_capacity(EVENTS_PER_POLL),
            backlog,
            share_ports,
            busy_poll,
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

    /// Keeps a place for a listener that [`Handle::adopt_listener`] puts there later, perhaps while the reactor runs, and
    /// speaks `protocol` on its connections. `endpoint` is where it will be bound. Returns the index of the place.
    ///
    /// # Errors
    ///
    /// If there are 255 listeners already.
    pub fn reserve(&mut self, endpoint: &Endpoint, protocol: P) -> io::Result<usize> {
        self.dispatcher.reserve(endpoint.to_string(), protocol)
    }

    /// As [`reserve`](Self::reserve), for a UDP socket that will be bound to `address`.
    pub fn reserve_udp(&mut self, address: SocketAddr, config: &UdpConfig) -> usize {
        self.dispatcher.reserve_datagrams(format!("udp://{address}"), address.port(), config)
    }

    /// Closes the listener at `endpoint`, as returned by [`listen`](Self::listen). Its connections stay open; those in its
    /// backlog are reset. Returns whether there was such a listener.
    pub fn close_listener(&mut self, endpoint: &Endpoint) -> bool {
        self.dispatcher.close_listener(&endpoint.to_string())
    }

    /// The protocol of the listener at `endpoint`, as returned by [`listen`](Self::listen).
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

    /// Begins to connect to `endpoint`, without blocking. `from` is the source address, if it matters: one source address
    /// has ports for at most 65,535 connections to the same endpoint.
    ///
    /// When the connection is open, [`Protocol::opened`] of the lane's protocol is called. If connecting fails,
    /// [`Protocol::closed`] is called with the [`Reason`](crate::Reason). The server must answer within
    /// [`Config::write_timeout`].
    ///
    /// # Errors
    ///
    /// As socket(2), bind(2) and connect(2): `AddrNotAvailable` if no port is left, `WouldBlock` if the backlog of a Unix
    /// socket is full, `ConnectionRefused` (a refusal may also come later, as
    /// [`Reason::ConnectRefused`](crate::Reason::ConnectRefused)). Also if [`Config::max_connections`] are open, or the
    /// reactor is stopping.
    pub fn connect(
        &mut self,
        lane: Lane,
        endpoint: &Endpoint,
        from: Option<IpAddr>,
    ) -> io::Result<Token> {
        self.dispatcher.connect(lane, endpoint, from)
    }

    /// The protocol of the connections of `lane`.
    pub fn protocol_mut(&mut self, lane: Lane) -> &mut P {
        self.dispatcher.protocol_mut(lane)
    }

    /// Sends the bytes that `speak` appends to the output on a connection, after the bytes that still wait to be sent there.
    /// Returns how many bytes wait then. Returns `None`, and does not call `speak`, if the connection is not open: it is
    /// closed, closing, or not connected yet. If the peer has sent FIN, it is open while its protocol is to be called
    /// ([`Output::call_after`]); the peer may still be reading.
    ///
    /// A caller that sends faster than the peer reads should stop when many bytes wait, and continue when the protocol is
    /// called because they are sent ([`Output::call_when_sent`]). Bytes sent regardless are held, up to
    /// [`Config::max_memory`]. Then the connection that holds the most is ended.
    pub fn speak(
        &mut self,
        token: Token,
        speak: impl FnOnce(&mut P, &mut Output),
    ) -> Option<usize> {
        self.dispatcher.speak(token, speak)
    }

    /// How many bytes wait to be sent on a connection, because the kernel has not accepted them yet. `None` if there is no
    /// such connection.
    #[must_use]
    pub fn owed(&self, token: Token) -> Option<usize> {
        self.dispatcher.owed(token)
    }

    /// Closes a connection at once. Bytes that wait to be sent are lost. Returns whether there was such a connection. To
    /// end a connection in order, a protocol returns [`Next::Finish`](crate::protocol::Next::Finish).
    pub fn close(&mut self, token: Token) -> bool {
        self.dispatcher.close(token)
    }

    /// Echoes datagrams on `address` within the limits of `config`. Returns the bound address, with the port that the
    /// kernel chose if `address` has port 0.
    ///
    /// Sources with a port below 1024, or with the same port number as this socket, get no answer: another echo server may
    /// use that port, and the two would answer each other for ever. [`UdpConfig::loop_guard`] ends all other loops.
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

    /// Stops, as [`Handle::stop`] does, when `source` is readable or its other end is closed.
    ///
    /// This is for signal handlers, which may do little more than write a byte to a descriptor (signal-safety(7)): `source`
    /// is the other end of that pipe or socket.
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

    /// Lets [`turn`](Self::turn) return when `source` becomes readable (edge-triggered): for example a timer that is more
    /// precise than the milliseconds of a poll. The caller reads from `source`, and keeps it open.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl`(2).
    pub fn wake_on(&mut self, source: &impl AsFd) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        SourceFd(&descriptor).register(self.poll.registry(), WAKER.into(), Interest::READABLE)?;
        self.wake_sources.push(descriptor);
        Ok(())
    }

    /// mio does not see the caller read from a source, so with poll(2) it would report the source once only.
    fn await_wake_sources(&self) -> io::Result<()> {
        let registry = self.poll.registry();
        self.wake_sources.iter().try_for_each(|descriptor| {
            SourceFd(descriptor).reregister(registry, WAKER.into(), Interest::READABLE)
        })
    }

    /// A handle that controls the reactor from other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Keeps the events of this reactor in `recorder`, from now on. Other threads can read them while it runs.
    pub fn record(&mut self, recorder: Arc<Recorder>) {
        self.dispatcher.record(recorder);
    }

    /// The counters of this reactor. Other threads can read them while it runs.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(self.dispatcher.stats())
    }

    /// Serves until the reactor is stopped, and then until all connections are closed or the [grace time](Config::grace)
    /// is over.
    ///
    /// # Errors
    ///
    /// As `epoll_wait`(2), which fails only if other code has closed its descriptor. Errors of peers and of accept(2) never
    /// end the loop.
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

    /// Polls once, for at most `at_most` (`None` is no limit), and handles the events. For callers that do work of their own
    /// between two polls, and call this in a loop until it returns [`Phase::Stopped`].
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, at_most: Option<Duration>) -> io::Result<Phase> {
        let mut is_woken = self.wake_up.take();
        let at_most = if is_woken { Some(Duration::ZERO) } else { at_most };
        let has_events = match self.busy_poll {
            Some(time) => self.poll_busily(at_most.map_or(time, |most| most.min(time)))?,
            None => false,
        };
        if !has_events {
            let wait = self.dispatcher.wait().into_iter().chain(at_most).min();
            self.poll_once(wait)?;
        }
        let start = self.measure_turns.then(Instant::now);
        self.dispatcher.stats().turns.add(1);
        self.dispatcher.polled(|| self.events.iter().count());
        for event in &self.events {
            match Token::from(event.token()) {
                WAKER => is_woken = true,
                STOP_SOURCE => self.commands.request_stop(),
                token => self.dispatcher.event(token, kernel::readiness(event)),
            }
        }
        if is_woken {
            if WITHOUT_EPOLL {
                self.await_wake_sources()?;
            }
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

    fn poll_once(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            polled => polled?,
        }
        Ok(())
    }

    /// Polls without blocking until there are events, the dispatcher has something to do, or `time` is over. Returns whether
    /// there are events.
    ///
    /// The dispatcher is not told of the polls before, so its rule that a loop which polls without blocking has something
    /// to do holds here, too.
    fn poll_busily(&mut self, time: Duration) -> io::Result<bool> {
        let start = Instant::now();
        while self.dispatcher.wait() != Some(Duration::ZERO) {
            self.poll_once(Some(Duration::ZERO))?;
            if !self.events.is_empty() {
                return Ok(true);
            }
            if start.elapsed() >= time {
                break;
            }
        }
        Ok(false)
    }
}
