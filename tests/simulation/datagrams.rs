//! UDP in the simulation: sockets, sources that send to them, and what must hold for every answer.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use resound::{
    Token, UdpConfig,
    dispatcher::Dispatcher,
    net::{self, Readiness},
    protocol::Protocol,
};

use super::{
    choices::Choices,
    kernel::{Kernel, Ready, SharedKernel, Simulated},
};

const LOCAL_PORT: u16 = 7_000;

/// Datagrams on the way between a source and the server.
#[derive(Clone)]
struct Datagram {
    /// Its index in [`Datagrams::sent`], which the payload does not tell.
    number: usize,
    source: SocketAddr,
    payload: Vec<u8>,
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}, {} B", self.number, self.source, self.payload.len())
    }
}

/// What the server did with a datagram that it received.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Received(usize),
    Sent(SocketAddr, Vec<u8>),
    /// The kernel refused to send it.
    Failed(SocketAddr, Vec<u8>),
}

/// One UDP socket as the kernel has it.
pub(crate) struct Port {
    token: Option<Token>,
    queue: VecDeque<Datagram>,
    /// ICMP errors that the next calls report.
    errors: usize,
    /// How many datagrams can be sent before the network takes some.
    room: usize,
    blocked: bool,
    edge: bool,
    /// In per cent of the calls.
    send_errors: usize,
    /// Since the model last looked.
    calls: Vec<Call>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("token", &self.token)
            .field("queue", &self.queue.len())
            .field("errors, room", &(self.errors, self.room))
            .field("blocked, edge", &(self.blocked, self.edge))
            .finish_non_exhaustive()
    }
}

impl Port {
    pub(crate) fn token(&self) -> Token {
        self.token.expect("it is registered")
    }

    /// What a poll reports.
    pub(crate) fn event(&mut self) -> Option<(Token, Readiness)> {
        self.edge = false;
        let readable = !self.queue.is_empty() || self.errors > 0;
        let readiness = Readiness { readable, writable: !self.blocked, more_behind: false };
        self.token.map(|token| (token, readiness))
    }
}

impl Kernel {
    pub(crate) fn register_port(&mut self, index: usize, token: Token) {
        self.ports[index].token = Some(token);
        self.raise_port(index);
    }

    fn raise_port(&mut self, index: usize) {
        let port = &mut self.ports[index];
        if port.token.is_some() && !mem::replace(&mut port.edge, true) {
            self.ready.push_back(Ready::Port(index));
        }
    }

    /// The network takes what has been sent, so that there is room again.
    fn make_room(&mut self, index: usize, room: usize) {
        let port = &mut self.ports[index];
        port.room = room;
        if port.room > 0 && mem::take(&mut port.blocked) {
            self.raise_port(index);
        }
    }
}

/// The server's handle of a [`Port`].
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    kernel: SharedKernel,
    pub(crate) port: usize,
}

impl net::DatagramSocket for DatagramSocket {
    fn local_port(&self) -> u16 {
        LOCAL_PORT
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls += 1;
        let port = &mut kernel.ports[self.port];
        if port.errors > 0 {
            port.errors -= 1;
            let errno =
                kernel.choices.one_of(&[libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EINTR]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        let datagram = port.queue.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let length = datagram.payload.len();
        buffer[..length].copy_from_slice(&datagram.payload);
        port.calls.push(Call::Received(datagram.number));
        Ok((length, datagram.source))
    }

    fn send(&mut self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls += 1;
        let port = &mut kernel.ports[self.port];
        if port.room == 0 {
            port.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if kernel.choices.chance(port.send_errors) {
            let errno = kernel.choices.one_of(&[libc::EHOSTUNREACH, libc::EPERM, libc::ENOBUFS]);
            port.calls.push(Call::Failed(to, payload.to_vec()));
            return Err(io::Error::from_raw_os_error(errno));
        }
        port.room -= 1;
        port.calls.push(Call::Sent(to, payload.to_vec()));
        Ok(())
    }
}

/// How sources behave, and so what the server's guard may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Many sources, some of which get no answer because of their port. Neither rate limit nor loop guard.
    Many,
    /// One source and the loop guard. There is one only because the slots of several may be the same or not, which is
    /// random, and a run is a function of its seed.
    LoopGuard,
    /// One source and a rate limit.
    Rate(u32),
}

/// What one socket should have done so far.
#[derive(Debug)]
struct Model {
    kind: Kind,
    /// Datagrams sent to it, until they have been answered or dropped.
    sent: VecDeque<Datagram>,
    /// The number of the first in `sent`.
    first: usize,
    /// Received, and neither answered nor dropped as far as the model knows.
    unanswered: Option<Datagram>,
    answered: u64,
    /// Because of its port.
    objected: u64,
    /// By the rate limit or the loop guard.
    limited: u64,
    failed: u64,
    /// Received from sources that the rate limit and the loop guard count.
    counted: u64,
    last: Duration,
    paused: bool,
}

/// The UDP sockets of a run, and what they should do.
pub(crate) struct Datagrams {
    models: Vec<Model>,
    begun: Duration,
}

impl Datagrams {
    pub(crate) fn new<P: Protocol>(
        kernel: &SharedKernel,
        dispatcher: &mut Dispatcher<Simulated, P>,
    ) -> Self {
        let begun = kernel.borrow().now;
        let models = [Kind::Many, Kind::LoopGuard, Kind::Rate(10)].map(|kind| {
            let send_errors = kernel.borrow_mut().choices.one_of(&[0, 0, 5]);
            let mut config = UdpConfig::default();
            config.loop_guard = kind == Kind::LoopGuard;
            config.rate = if let Kind::Rate(rate) = kind { rate } else { 0 };
            let port = kernel.borrow().ports.len();
            kernel.borrow_mut().ports.push(Port {
                token: None,
                queue: VecDeque::new(),
                errors: 0,
                room: 10,
                blocked: false,
                edge: false,
                send_errors,
                calls: Vec::new(),
            });
            let socket = DatagramSocket { kernel: Rc::clone(kernel), port };
            dispatcher.echo_datagrams(socket, "udp".to_owned(), &config).unwrap();
            Model {
                kind,
                sent: VecDeque::new(),
                first: 0,
                unanswered: None,
                answered: 0,
                objected: 0,
                limited: 0,
                failed: 0,
                counted: 0,
                last: begun,
                paused: false,
            }
        });
        Self { models: models.into(), begun }
    }

    /// Sources send, errors arrive, and the network takes some of what was sent.
    pub(crate) fn misbehave(&mut self, kernel: &SharedKernel) {
        let kernel = &mut *kernel.borrow_mut();
        for (index, model) in self.models.iter_mut().enumerate() {
            if kernel.choices.chance(30) {
                // Sometimes more than one turn's worth.
                for _ in 0..kernel.choices.length(300) {
                    let datagram = model.next(&mut kernel.choices);
                    model.sent.push_back(datagram.clone());
                    kernel.ports[index].queue.push_back(datagram);
                }
                kernel.raise_port(index);
            }
            if kernel.choices.chance(5) {
                kernel.ports[index].errors += kernel.choices.length(3);
                kernel.raise_port(index);
            }
            if kernel.choices.chance(50) {
                let room = kernel.choices.length(200);
                kernel.make_room(index, room);
            }
        }
    }

    /// The network takes everything from now on.
    pub(crate) fn settle(&mut self, kernel: &SharedKernel) {
        for index in 0..self.models.len() {
            kernel.borrow_mut().make_room(index, usize::MAX);
        }
    }

    /// Checks what the server has done since the last time.
    pub(crate) fn check<P: Protocol>(
        &mut self,
        kernel: &SharedKernel,
        dispatcher: &Dispatcher<Simulated, P>,
    ) {
        let kernel = &mut *kernel.borrow_mut();
        let inspection = dispatcher.inspect();
        for (index, model) in self.models.iter_mut().enumerate() {
            let port = &mut kernel.ports[index];
            for call in mem::take(&mut port.calls) {
                model.take(call, kernel.now);
            }
            let inspected = inspection.datagrams[index];
            if !inspected.owed {
                model.give_up();
            }
            assert_eq!(inspected.owed, model.unanswered.is_some(), "{model:?}");
            let is_woken = inspected.queued
                || port.edge
                || if inspected.owed { port.blocked } else { port.queue.is_empty() };
            assert!(is_woken, "a UDP socket that nothing wakes: {inspected:?}, {port:?}");
            model.check_limits(kernel.now - self.begun);
        }
        let stats = dispatcher.stats().total();
        let sum = |count: fn(&Model) -> u64| self.models.iter().map(count).sum::<u64>();
        let dropped = sum(|model| model.objected + model.limited + model.failed);
        assert_eq!(stats.datagrams_dropped.value(), dropped, "datagrams dropped");
        let by_guard: u64 = self
            .models
            .iter()
            .filter(|model| model.kind == Kind::LoopGuard)
            .map(|model| model.limited)
            .sum();
        assert_eq!(stats.loop_guard_drops.value(), by_guard, "dropped by the loop guard");
    }

    /// Whether nothing is left to receive or to answer.
    pub(crate) fn is_done(&self, kernel: &SharedKernel) -> bool {
        let kernel = kernel.borrow();
        self.models
            .iter()
            .zip(&kernel.ports)
            .all(|(model, port)| port.queue.is_empty() && model.unanswered.is_none())
    }
}

impl Model {
    /// The next datagram that a source sends.
    fn next(&mut self, choices: &mut Choices) -> Datagram {
        let number = self.first + self.sent.len();
        let port = match self.kind {
            Kind::Many => choices.one_of(&[0, 7, 1023, LOCAL_PORT, 1024, 5_000, 65_535]),
            Kind::LoopGuard | Kind::Rate(_) => 5_000,
        };
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port);
        let is_long = choices.chance(1);
        let length = choices.length(if is_long { 65_507 } else { 100 });
        let payload = number.to_le_bytes().iter().copied().cycle().take(length).collect();
        Datagram { number, source, payload }
    }

    fn is_objectionable(&self, source: SocketAddr) -> bool {
        source.port() < 1024 || source.port() == LOCAL_PORT
    }

    /// Follows one call of the server.
    fn take(&mut self, call: Call, now: Duration) {
        match call {
            Call::Received(number) => {
                // The one before has been dropped: an answer comes before the next call to receive.
                self.give_up();
                assert_eq!(number, self.first, "received out of order");
                let datagram = self.sent.pop_front().expect("it was sent");
                self.first += 1;
                if !self.is_objectionable(datagram.source) {
                    self.counted += 1;
                    self.paused |= now - self.last >= Duration::from_secs(300);
                    self.last = now;
                }
                self.unanswered = Some(datagram);
            }
            Call::Sent(to, payload) => {
                self.close(to, &payload);
                self.answered += 1;
            }
            Call::Failed(to, payload) => {
                self.close(to, &payload);
                self.failed += 1;
            }
        }
    }

    /// The datagram that was received last is answered: to its source, byte for byte, and once.
    fn close(&mut self, to: SocketAddr, payload: &[u8]) {
        let datagram = self.unanswered.take().expect("an answer to nothing, or a second one");
        assert!(!self.is_objectionable(to), "an answer to {to}");
        assert_eq!(datagram.source, to, "{datagram:?}");
        assert!(datagram.payload == payload, "{datagram:?}: {} other bytes", payload.len());
    }

    /// The datagram that was received last got no answer, and never will.
    fn give_up(&mut self) {
        let Some(datagram) = self.unanswered.take() else { return };
        if self.is_objectionable(datagram.source) {
            self.objected += 1;
        } else {
            self.limited += 1;
        }
    }

    /// The rate limit and the loop guard drop no more than they have to, and no fewer.
    fn check_limits(&self, elapsed: Duration) {
        match self.kind {
            Kind::Many => assert_eq!(self.limited, 0, "{self:?}"),
            Kind::LoopGuard => {
                let due = self.counted / u64::from(UdpConfig::LOOP_GUARD_PERIOD);
                assert!(self.limited <= due && (self.paused || self.limited == due), "{self:?}");
            }
            Kind::Rate(rate) => {
                // The burst is one second's worth.
                let most = 1.0 + f64::from(rate) * (1.0 + elapsed.as_secs_f64());
                let passed = (self.counted - self.limited) as f64;
                assert!(passed <= most + 1.0, "{passed} of at most {most}: {self:?}");
                assert!(self.limited == 0 || passed >= f64::from(rate), "{self:?}");
            }
        }
    }
}
