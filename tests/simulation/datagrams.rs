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
    net::{self, Awaited, Batch, Readiness},
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

/// What the server did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    /// It received these in one call.
    Received(Vec<usize>),
    Sent(SocketAddr, Vec<u8>),
    /// The kernel refused to send it.
    Failed(SocketAddr, Vec<u8>),
}

/// One UDP socket as the kernel has it.
pub(crate) struct Port {
    token: Option<Token>,
    awaited: Awaited,
    /// Whether one call receives and sends many.
    has_batches: bool,
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
            .field("token, awaited", &(self.token, self.awaited))
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
        let more_behind = self.errors > 0;
        let readiness = match self.awaited {
            Awaited::Datagrams => {
                let readable = !self.queue.is_empty() || more_behind;
                Readiness { readable, writable: false, more_behind }
            }
            Awaited::Room => {
                Readiness { readable: more_behind, writable: self.room > 0, more_behind }
            }
        };
        let Readiness { readable, writable, .. } = readiness;
        self.token.filter(|_| readable || writable).map(|token| (token, readiness))
    }

    /// Whether a poll has something to report.
    fn is_ready(&self) -> bool {
        self.errors > 0
            || match self.awaited {
                Awaited::Datagrams => !self.queue.is_empty(),
                Awaited::Room => self.room > 0,
            }
    }
}

impl Kernel {
    pub(crate) fn register_port(&mut self, index: usize, token: Token) {
        self.ports[index].token = Some(token);
        self.await_at_port(index, Awaited::Datagrams);
    }

    /// As `EPOLL_CTL_MOD`: an event comes if what is asked for is there.
    pub(crate) fn await_at_port(&mut self, index: usize, awaited: Awaited) {
        let port = &mut self.ports[index];
        port.awaited = awaited;
        if port.is_ready() {
            self.raise_port(index);
        }
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
        port.room = port.room.max(room);
        if port.room > 0 && mem::take(&mut port.blocked) && port.awaited == Awaited::Room {
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

    fn receive(&mut self, batch: &mut Batch<'_>) -> io::Result<()> {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls += 1;
        let port = &mut kernel.ports[self.port];
        // Datagrams may come before the error, which ends the call then.
        let is_cut_short = port.errors > 0 && !port.queue.is_empty() && kernel.choices.chance(50);
        if port.errors > 0 && !is_cut_short {
            port.errors -= 1;
            let errno =
                kernel.choices.one_of(&[libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EINTR]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut received = Vec::new();
        while !batch.is_full() {
            let Some(datagram) = port.queue.pop_front() else { break };
            batch.push(datagram.source, &datagram.payload);
            received.push(datagram.number);
            let error_comes = kernel.choices.chance(2);
            if error_comes {
                port.errors += 1;
            }
            if error_comes || is_cut_short || !port.has_batches {
                break;
            }
        }
        if received.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        port.calls.push(Call::Received(received));
        if port.errors > 0 && !is_cut_short {
            kernel.raise_port(self.port);
        }
        Ok(())
    }

    fn short_batch_is_last(&self) -> bool {
        self.kernel.borrow().ports[self.port].has_batches
    }

    fn send(&mut self, batch: &Batch<'_>) -> io::Result<usize> {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.calls += 1;
        let port = &mut kernel.ports[self.port];
        // Sometimes fewer than there is room for: those that leave as segments of one.
        let most = if port.has_batches { 1 + kernel.choices.below(batch.len()) } else { 1 };
        for (sent, (to, payload)) in batch.iter().take(most).enumerate() {
            if port.room == 0 || kernel.choices.chance(port.send_errors) {
                // The next call tells why.
                if sent > 0 {
                    return Ok(sent);
                }
                if port.room == 0 {
                    port.blocked = true;
                    return Err(ErrorKind::WouldBlock.into());
                }
                let errno =
                    kernel.choices.one_of(&[libc::EHOSTUNREACH, libc::EPERM, libc::ENOBUFS]);
                port.calls.push(Call::Failed(to, payload.to_vec()));
                return Err(io::Error::from_raw_os_error(errno));
            }
            port.room -= 1;
            port.calls.push(Call::Sent(to, payload.to_vec()));
        }
        Ok(most)
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
    /// Received in one call from sources that may be answered, and neither answered nor skipped by a later answer.
    unanswered: VecDeque<Datagram>,
    /// How many of these the rate limit or the loop guard has dropped. The model does not know which.
    lost: usize,
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
            let has_batches = kernel.borrow_mut().choices.chance(70);
            let mut config = UdpConfig::default();
            config.loop_guard = kind == Kind::LoopGuard;
            config.rate = if let Kind::Rate(rate) = kind { rate } else { 0 };
            let port = kernel.borrow().ports.len();
            kernel.borrow_mut().ports.push(Port {
                token: None,
                awaited: Awaited::Datagrams,
                has_batches,
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
                unanswered: VecDeque::new(),
                lost: 0,
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
                if kernel.ports[index].awaited == Awaited::Datagrams {
                    kernel.raise_port(index);
                }
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
            model.give_up(inspected.owed);
            let awaited = if inspected.owed > 0 { Awaited::Room } else { Awaited::Datagrams };
            assert_eq!(port.awaited, awaited, "{inspected:?}, {port:?}");
            let is_woken = inspected.queued
                || port.edge
                || if inspected.owed > 0 { port.blocked } else { port.queue.is_empty() };
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
            .all(|(model, port)| port.queue.is_empty() && model.unanswered.len() == model.lost)
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
            Call::Received(numbers) => {
                // Those before have been dropped: answers come before the next call to receive.
                self.give_up(0);
                self.unanswered.clear();
                self.lost = 0;
                for number in numbers {
                    assert_eq!(number, self.first, "received out of order");
                    let datagram = self.sent.pop_front().expect("it was sent");
                    self.first += 1;
                    if self.is_objectionable(datagram.source) {
                        self.objected += 1;
                        continue;
                    }
                    self.counted += 1;
                    self.paused |= now - self.last >= Duration::from_secs(300);
                    self.last = now;
                    self.unanswered.push_back(datagram);
                }
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

    /// The first datagram that was not dropped is answered: to its source, byte for byte, and once.
    fn close(&mut self, to: SocketAddr, payload: &[u8]) {
        assert!(!self.is_objectionable(to), "an answer to {to}");
        let is_answered = |one: &Datagram| one.source == to && one.payload == payload;
        let skipped = self.unanswered.iter().position(is_answered);
        let skipped = skipped.expect("an answer to nothing, or a second one");
        self.unanswered.drain(..=skipped);
        self.limited += skipped.saturating_sub(self.lost) as u64;
        self.lost = self.lost.saturating_sub(skipped);
    }

    /// Only `owed` of the datagrams that were received last can still get an answer.
    fn give_up(&mut self, owed: usize) {
        let lost = self.unanswered.len().checked_sub(owed).expect("it owes answers to nothing");
        self.limited += lost.checked_sub(self.lost).expect("a datagram came back") as u64;
        self.lost = lost;
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
