//! A kernel of sockets that live in memory, with epoll's edge-triggered rules and a clock that stands still
//! until it is set.
//!
//! It gives no event beyond those that Linux promises, except for spurious ones that a run asks for: an edge when
//! bytes, FIN, an urgent byte or RST arrive; an edge when there is room again after a write that found none;
//! several edges before one poll are one event, which shows what holds at the time of the poll.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use resound::{
    Peer, Token,
    net::{Awaited, Net, Readiness, Stream},
};

use super::{
    choices::Choices,
    datagrams::{DatagramSocket, Port},
};

/// How many bytes may wait to be read.
pub(crate) const WINDOW: usize = 1200 << 10;

/// What the server did last with a socket, and what it left unread at that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) at: Duration,
    pub(crate) read: u64,
    pub(crate) unread: usize,
}

/// One connection as the server's kernel has it.
pub(crate) struct Wire {
    pub(crate) peer: Peer,
    /// Once it is registered.
    pub(crate) token: Option<Token>,
    arrived: VecDeque<u8>,
    /// Where an urgent byte was: a read ends there, whatever is behind.
    marks: VecDeque<u64>,
    pub(crate) read: u64,
    /// How many of the bytes that were read are acknowledged without the kernel's delay: by a reply that has gone out behind
    /// them, or because the server has asked for it.
    pub(crate) acknowledged: u64,
    /// How often it has asked.
    pub(crate) quick: u64,
    pub(crate) fin: bool,
    pub(crate) fin_read: bool,
    pub(crate) reset: bool,
    /// Whether the error of a reset was told.
    reset_told: bool,
    /// Written and not yet received by the peer.
    sending: VecDeque<u8>,
    /// Received by the peer, which has not looked at it yet.
    pub(crate) delivered: VecDeque<u8>,
    pub(crate) written: u64,
    pub(crate) capacity: usize,
    /// How much room must be free before a writer that found none gets an event.
    wakes_at: usize,
    blocked: bool,
    pub(crate) fin_sent: Option<Ended>,
    pub(crate) closed: Option<Ended>,
    /// Whether closing sends RST.
    resets: bool,
    /// Whether it was closed with RST.
    pub(crate) reset_sent: bool,
    edge: bool,
    /// Each read finds as much of this, again and again, as it asks for; each write is taken whole.
    pub(crate) endless: Option<&'static [u8]>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("token", &self.token)
            .field("unread", &self.arrived.len())
            .field("marks", &self.marks)
            .field("read", &self.read)
            .field("fin, read", &(self.fin, self.fin_read))
            .field("reset, told", &(self.reset, self.reset_told))
            .field("written", &self.written)
            .field("sending, of", &(self.sending.len(), self.capacity))
            .field("blocked, edge", &(self.blocked, self.edge))
            .field("fin sent", &self.fin_sent)
            .field("closed", &self.closed)
            .finish()
    }
}

impl Wire {
    pub(crate) fn window(&self) -> usize {
        WINDOW - self.arrived.len()
    }

    fn room(&self) -> usize {
        self.capacity - self.sending.len()
    }

    /// Whether a server that reads would get anything but `WouldBlock`.
    pub(crate) fn is_readable(&self) -> bool {
        self.endless.is_some()
            || !self.arrived.is_empty()
            || (self.fin && !self.fin_read)
            || (self.reset && !self.reset_told)
    }

    /// Whether the server knows that it cannot write, so that an edge will come.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether an event is still to come.
    pub(crate) fn has_edge(&self) -> bool {
        self.edge
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            readable: self.is_readable() || self.fin || self.reset,
            writable: self.reset || (!self.blocked && self.room() >= self.wakes_at),
            more_behind: self.fin || self.reset || !self.marks.is_empty(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Listening {
    token: Token,
    pub(crate) backlog: VecDeque<usize>,
    pub(crate) edge: bool,
}

/// What is waiting for the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Wire(usize),
    Listener(usize),
    Port(usize),
}

/// How hostile it is, in per cent of the calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) interrupted: usize,
    pub(crate) short_write: usize,
    pub(crate) meanwhile: usize,
    pub(crate) register: usize,
    pub(crate) accept: usize,
}

#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) now: Duration,
    pub(crate) choices: Choices,
    pub(crate) faults: Faults,
    /// Sockets that the server may have open at once.
    pub(crate) descriptors: usize,
    pub(crate) open: usize,
    /// Calls of the server so far.
    pub(crate) calls: u64,
    pub(crate) wires: Vec<Option<Wire>>,
    pub(crate) listeners: Vec<Listening>,
    /// UDP sockets.
    pub(crate) ports: Vec<Port>,
    pub(crate) ready: VecDeque<Ready>,
}

pub(crate) type SharedKernel = Rc<RefCell<Kernel>>;

impl Kernel {
    pub(crate) fn new(choices: Choices, faults: Faults, descriptors: usize) -> Self {
        Self {
            now: Duration::from_secs(1),
            choices,
            faults,
            descriptors,
            open: 0,
            calls: 0,
            wires: Vec::new(),
            listeners: Vec::new(),
            ports: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    pub(crate) fn wire(&self, id: usize) -> &Wire {
        self.wires[id].as_ref().expect("a wire that is still looked at")
    }

    pub(crate) fn wire_mut(&mut self, id: usize) -> &mut Wire {
        self.wires[id].as_mut().expect("a wire that is still looked at")
    }

    /// A peer connects and waits in the backlog.
    pub(crate) fn connect(&mut self, listener: usize) -> usize {
        let id = self.wires.len();
        let is_fast = self.choices.chance(10);
        let capacity = if is_fast { 8 << 20 } else { 500 + self.choices.length(200_000) };
        let host = u8::try_from(self.choices.below(4)).unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let peer = Peer::Tcp(SocketAddr::new(address, 40_000));
        self.wires.push(Some(Wire {
            peer,
            token: None,
            arrived: VecDeque::new(),
            marks: VecDeque::new(),
            read: 0,
            acknowledged: 0,
            quick: 0,
            fin: false,
            fin_read: false,
            reset: false,
            reset_told: false,
            sending: VecDeque::new(),
            delivered: VecDeque::new(),
            written: 0,
            capacity,
            wakes_at: 1 + self.choices.below(capacity),
            blocked: false,
            fin_sent: None,
            closed: None,
            resets: false,
            reset_sent: false,
            edge: false,
            endless: None,
        }));
        self.listeners[listener].backlog.push_back(id);
        if !std::mem::replace(&mut self.listeners[listener].edge, true) {
            self.ready.push_back(Ready::Listener(listener));
        }
        id
    }

    fn raise(&mut self, id: usize) {
        let wire = self.wire_mut(id);
        if wire.token.is_some() && wire.closed.is_none() && !std::mem::replace(&mut wire.edge, true)
        {
            self.ready.push_back(Ready::Wire(id));
        }
    }

    /// Bytes arrive; the last is urgent if `urgent`.
    pub(crate) fn send(&mut self, id: usize, bytes: &[u8], urgent: bool) {
        let wire = self.wire_mut(id);
        if wire.closed.is_some() || bytes.is_empty() {
            return;
        }
        wire.arrived.extend(bytes);
        if urgent {
            // The byte itself is another channel's; what the reader sees is a read that ends early here.
            let mark = wire.read + wire.arrived.len() as u64;
            wire.marks.push_back(mark);
        }
        self.raise(id);
    }

    pub(crate) fn fin(&mut self, id: usize) {
        self.wire_mut(id).fin = true;
        self.raise(id);
    }

    pub(crate) fn reset(&mut self, id: usize) {
        let wire = self.wire_mut(id);
        wire.reset = true;
        wire.sending.clear();
        self.raise(id);
    }

    /// The network carries up to `count` written bytes to the peer.
    pub(crate) fn deliver(&mut self, id: usize, count: usize) {
        let wire = self.wire_mut(id);
        let count = count.min(wire.sending.len());
        let carried = wire.sending.drain(..count);
        wire.delivered.extend(carried);
        if wire.blocked && wire.room() >= wire.wakes_at {
            wire.blocked = false;
            self.raise(id);
        }
    }

    /// Up to `most` events, in any order; tokens of closed sockets never come by themselves.
    pub(crate) fn poll(&mut self, most: usize) -> Vec<(Token, Readiness)> {
        let mut events = Vec::new();
        while events.len() < most {
            let Some(ready) = self.ready.pop_front() else { break };
            match ready {
                Ready::Wire(id) => {
                    let Some(wire) = &mut self.wires[id] else { continue };
                    wire.edge = false;
                    if let (None, Some(token)) = (wire.closed, wire.token) {
                        events.push((token, wire.readiness()));
                    }
                }
                Ready::Listener(index) => {
                    let listener = &mut self.listeners[index];
                    listener.edge = false;
                    let readable = !listener.backlog.is_empty();
                    let readiness = Readiness { readable, writable: false, more_behind: false };
                    events.push((listener.token, readiness));
                }
                Ready::Port(index) => events.extend(self.ports[index].event()),
            }
        }
        for index in (1..events.len()).rev() {
            let other = self.choices.below(index + 1);
            events.swap(index, other);
        }
        events
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What the peer and the network do while the server is between two calls.
    fn meanwhile(&mut self, id: usize) {
        let faults = self.faults;
        if self.choices.chance(faults.meanwhile) {
            let count = self.choices.length(100_000);
            self.deliver(id, count);
        }
    }
}

/// The kernel as the dispatcher sees it.
#[derive(Debug)]
pub(crate) struct Simulated(pub(crate) SharedKernel);

impl Net for Simulated {
    type Listener = usize;
    type Stream = Socket;
    type DatagramSocket = DatagramSocket;

    fn listen(&mut self, _listener: &mut usize, token: Token) -> io::Result<()> {
        let listener = Listening { token, backlog: VecDeque::new(), edge: false };
        self.0.borrow_mut().listeners.push(listener);
        Ok(())
    }

    fn accept(&mut self, listener: &usize) -> io::Result<(Socket, Peer)> {
        let mut kernel = self.0.borrow_mut();
        kernel.calls += 1;
        let faults = kernel.faults;
        if kernel.choices.chance(faults.accept) {
            let errno = kernel.choices.one_of(&[
                libc::EINTR,
                libc::ECONNABORTED,
                libc::EPROTO,
                libc::ENETDOWN,
                libc::ENFILE,
                libc::ENOBUFS,
                libc::ENOMEM,
                libc::EPERM,
            ]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        if kernel.listeners[*listener].backlog.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if kernel.open >= kernel.descriptors {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let id = kernel.listeners[*listener].backlog.pop_front().expect("looked at above");
        kernel.open += 1;
        let peer = kernel.wire(id).peer;
        Ok((Socket { kernel: Rc::clone(&self.0), id }, peer))
    }

    fn shed(&mut self, listener: &usize) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        let at = kernel.now;
        if kernel.choices.chance(20) {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        }
        let id = kernel.listeners[*listener].backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let wire = kernel.wire_mut(id);
        wire.closed = Some(Ended { at, read: wire.read, unread: wire.arrived.len() });
        Ok(())
    }

    fn register(&mut self, stream: &mut Socket, token: Token) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        let faults = kernel.faults;
        if kernel.choices.chance(faults.register) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        kernel.wire_mut(stream.id).token = Some(token);
        kernel.raise(stream.id);
        Ok(())
    }

    fn deregister(&mut self, stream: &mut Socket) {
        self.0.borrow_mut().wire_mut(stream.id).token = None;
    }

    fn register_datagrams(&mut self, socket: &mut DatagramSocket, token: Token) -> io::Result<()> {
        self.0.borrow_mut().register_port(socket.port, token);
        Ok(())
    }

    fn await_datagrams(
        &mut self,
        socket: &mut DatagramSocket,
        _token: Token,
        awaited: Awaited,
    ) -> io::Result<()> {
        self.0.borrow_mut().await_at_port(socket.port, awaited);
        Ok(())
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }
}

/// The server's end of a wire.
#[derive(Debug)]
pub(crate) struct Socket {
    kernel: SharedKernel,
    id: usize,
}

impl Socket {
    /// Shows `take` up to `most` bytes that have arrived; it says how many it takes.
    fn receive(
        &mut self,
        most: usize,
        take: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.calls += 1;
        let faults = kernel.faults;
        kernel.meanwhile(self.id);
        if kernel.choices.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let wire = kernel.wire_mut(self.id);
        if let Some(bytes) = wire.endless {
            let start = usize::try_from(wire.read).unwrap() % bytes.len();
            let stream: Vec<u8> = bytes.iter().cycle().skip(start).take(most).copied().collect();
            let count = take(&stream)?;
            wire.read += count as u64;
            assert!(wire.read < 1 << 30, "a turn without an end");
            return Ok(count);
        }
        if wire.arrived.is_empty() {
            if wire.reset && !std::mem::replace(&mut wire.reset_told, true) {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if wire.fin || wire.reset {
                wire.fin_read = true;
                return Ok(0);
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        while wire.marks.front().is_some_and(|&mark| mark <= wire.read) {
            wire.marks.pop_front();
        }
        let mut count = most.min(wire.arrived.len());
        if let Some(&mark) = wire.marks.front() {
            count = count.min(usize::try_from(mark - wire.read).unwrap());
        }
        let comes_late = kernel.choices.chance(faults.meanwhile);
        let part = 1 + kernel.choices.below(count.div_ceil(16));
        if comes_late {
            // The rest arrives just after this read.
            count = count.min(part);
            kernel.raise(self.id);
        }
        let wire = kernel.wire_mut(self.id);
        let count = take(&wire.arrived.make_contiguous()[..count])?;
        wire.arrived.drain(..count);
        wire.read += count as u64;
        Ok(count)
    }

    /// Sends up to `most` bytes, as many as `give` is then asked for.
    fn send(&mut self, most: usize, give: impl FnOnce(usize) -> Vec<u8>) -> io::Result<usize> {
        assert!(most > 0, "a write of nothing");
        let mut kernel = self.kernel.borrow_mut();
        kernel.calls += 1;
        let faults = kernel.faults;
        kernel.meanwhile(self.id);
        if kernel.choices.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let is_short = kernel.choices.chance(faults.short_write);
        let part = kernel.choices.below(most);
        let wire = kernel.wire_mut(self.id);
        assert!(wire.fin_sent.is_none(), "a write behind FIN");
        if wire.reset {
            wire.reset_told = true;
            return Err(ErrorKind::BrokenPipe.into());
        }
        if wire.endless.is_some() {
            wire.written += give(most).len() as u64;
            return Ok(most);
        }
        let mut count = most.min(wire.room());
        if count == 0 {
            wire.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if is_short {
            count = count.min(1 + part);
        }
        wire.sending.extend(give(count));
        wire.acknowledged = wire.read;
        wire.written += count as u64;
        Ok(count)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer.len(), |bytes| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let mut joined = vec![0; buffers.iter().map(|buffer| buffer.len()).sum()];
        let count = self.read(&mut joined)?;
        let mut rest = &joined[..count];
        for buffer in buffers {
            let part = buffer.len().min(rest.len());
            buffer[..part].copy_from_slice(&rest[..part]);
            rest = &rest[part..];
        }
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.len(), |count| bytes[..count].to_vec())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.write(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        let at = kernel.now;
        kernel.calls += 1;
        let wire = kernel.wire_mut(self.id);
        assert!(wire.fin_sent.is_none(), "FIN twice");
        if wire.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        wire.fin_sent = Some(Ended { at, read: wire.read, unread: wire.arrived.len() });
        Ok(())
    }

    fn peer_has_closed(&self) -> bool {
        let kernel = self.kernel.borrow();
        let wire = kernel.wire(self.id);
        wire.fin || wire.reset
    }

    fn failure(&mut self) -> Option<io::Error> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.calls += 1;
        let wire = kernel.wire_mut(self.id);
        let is_new = wire.reset && !wire.reset_told;
        wire.reset_told |= wire.reset;
        is_new.then(|| ErrorKind::ConnectionReset.into())
    }

    fn acknowledge(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        kernel.calls += 1;
        let wire = kernel.wire_mut(self.id);
        assert!(wire.acknowledged < wire.read, "a reply has carried the acknowledgement");
        wire.acknowledged = wire.read;
        wire.quick += 1;
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.kernel.borrow().wire(self.id).sending.len())
    }

    fn reset_on_close(&mut self) -> io::Result<()> {
        self.kernel.borrow_mut().wire_mut(self.id).resets = true;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let at = kernel.now;
        kernel.open -= 1;
        kernel.calls += 1;
        let wire = kernel.wire_mut(self.id);
        wire.closed = Some(Ended { at, read: wire.read, unread: wire.arrived.len() });
        wire.reset_sent = wire.resets || !wire.arrived.is_empty();
        if wire.reset_sent {
            // RST: what the peer has not received is lost.
            wire.sending.clear();
        }
    }
}
