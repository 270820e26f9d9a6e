//! Connections and listeners that one loop releases and another one adopts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use resound::{
    Config, ConnectionState, Endpoint, Handle, Reactor, Reason, ReleasedConnection, Stats,
    UdpConfig,
    protocol::{Framed, Frames, Handler, Reply},
};

const PATIENCE: Duration = Duration::from_secs(120);
const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

/// A loop in a thread of its own that echoes frames.
struct Running {
    handle: Handle,
    stats: Arc<Stats>,
    address: String,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(config: Config) -> Self {
        let mut reactor = Reactor::new(config).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap();
        Self::run(reactor, &address)
    }

    fn run(mut reactor: Reactor<Frames>, address: &Endpoint) -> Self {
        let (handle, stats) = (reactor.handle(), reactor.stats());
        let thread = thread::spawn(move || reactor.run());
        Self { handle, stats, address: address.to_string(), thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn only(&self) -> Option<resound::ConnectionInfo> {
        self.handle.connections(0).unwrap().wait(PATIENCE).unwrap().connections.pop()
    }

    fn release(&self) -> Vec<ReleasedConnection> {
        self.handle.release_connections(0, vec![0]).unwrap().wait(PATIENCE).unwrap().connections
    }

    fn adopt(&self, connections: Vec<ReleasedConnection>) {
        let count = connections.len();
        let adopted = self.handle.adopt_connections(connections).unwrap();
        assert_eq!(adopted.wait(PATIENCE).unwrap(), count);
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never came about: {what}");
        thread::yield_now();
    }
}

fn echoed(stream: &mut TcpStream) {
    stream.write_all(b"\x05\0\0\0hello").unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\x05\0\0\0hello");
}

#[test]
fn deadlines_go_on_where_they_were() {
    let config = || Config { idle_timeout: HOUR, frame_timeout: HOUR, ..Config::default() };
    let (one, other) = (Running::start(config()), Running::start(config()));
    for (sent, reason) in [(&b"\x05\0\0\0hel"[..], Reason::SlowFrame), (b"", Reason::Idle)] {
        let mut stream = one.connect();
        echoed(&mut stream);
        stream.write_all(sent).unwrap();
        eventually("it has come", || one.only().is_some_and(|one| one.held == sent.len()));
        let mut released = one.release();
        let record = &mut released[0].record;
        assert_eq!((record.held.as_slice(), record.frames), (sent, 1));
        let left = match reason {
            Reason::SlowFrame => &mut record.unit_left,
            _ => &mut record.wait_left,
        };
        assert!(left.is_some_and(|left| Some(left) < HOUR), "{left:?}");
        *left = Some(Duration::from_millis(1));
        other.adopt(released);
        eventually("its time is up", || other.stats.total().closed(reason) == 1);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    assert_eq!(one.stats.total().closed(Reason::Released), 2);
    assert_eq!(other.stats.total().adopted.value(), 2);
    one.stop();
    other.stop();
}

#[test]
fn one_that_lingers_ends_in_its_new_loop_for_the_same_reason() {
    let config = || Config { linger: Duration::from_secs(3600), ..Config::default() };
    let (one, other) = (Running::start(config()), Running::start(config()));
    let mut stream = one.connect();
    stream.write_all(b"\xff\xff\xff\xff").unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "refused");
    let released = one.release();
    assert_eq!(released[0].record.state, ConnectionState::Lingering);
    other.adopt(released);
    assert_eq!(other.only().unwrap().state, ConnectionState::Lingering);
    drop(stream);
    eventually("it is closed", || other.stats.total().closed(Reason::Refused) == 1);
    one.stop();
    other.stop();
}

#[test]
fn what_nobody_takes_goes_back_to_its_loop() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let endpoint = reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap();
    let mut stream = TcpStream::connect(endpoint.to_string()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (handle, stats) = (reactor.handle(), reactor.stats());
    let mut turn = || {
        let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    };
    eventually("it is accepted", || {
        turn();
        stats.total().open.value() == 1
    });
    // The loop comes to these commands when nobody waits for the answers any more.
    drop(handle.release_connections(0, vec![0]).unwrap());
    drop(handle.release_listeners().unwrap());
    turn();
    assert_eq!(stats.total().closed(Reason::Released), 1);
    assert_eq!(stats.total().adopted.value(), 1);
    let running = Running::run(reactor, &endpoint);
    echoed(&mut stream);
    echoed(&mut running.connect());
    running.stop();
}

#[test]
fn connections_are_adopted_over_the_limits_and_counted() {
    let limited =
        Config { max_connections: 1, max_connections_per_ip: Some(1), ..Config::default() };
    let (one, other) = (Running::start(Config::default()), Running::start(limited));
    let mut streams: Vec<TcpStream> = (0..3).map(|_| one.connect()).collect();
    streams.iter_mut().for_each(echoed);
    other.adopt(one.release());
    streams.iter_mut().for_each(echoed);
    let mut late = other.connect();
    late.write_all(b"\x05\0\0\0hello").unwrap();
    eventually("others wait", || other.stats.total().accept_waits.value() > 0);
    assert_eq!(other.handle.summary().unwrap().wait(PATIENCE).unwrap().open, 3);
    drop(streams);
    late.read_exact(&mut [0; 9]).unwrap();
    one.stop();
    other.stop();
}

#[test]
fn connections_of_other_listeners_and_those_that_cannot_be_described_stay() {
    /// Could remember something.
    struct Silent;

    impl Handler for Silent {
        fn frame(
            &mut self,
            _: resound::Token,
            payload: &[u8],
            reply: &mut Reply<'_>,
        ) -> Result<(), resound::frame::FrameError> {
            reply.frame(payload)
        }
    }

    let mut reactor = Reactor::new(Config::default()).unwrap();
    let address = reactor.listen(([127, 0, 0, 1], 0), Framed::new(Default::default(), Silent));
    let (handle, address) = (reactor.handle(), address.unwrap().to_string());
    let thread = thread::spawn(move || reactor.run());
    let mut stream = TcpStream::connect(address).unwrap();
    echoed(&mut stream);
    for listeners in [vec![], vec![1, 2, 300], vec![0]] {
        let page = handle.release_connections(0, listeners).unwrap().wait(PATIENCE).unwrap();
        assert_eq!((page.connections.len(), page.staying), (0, 1));
    }
    echoed(&mut stream);
    handle.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_listener_moves_with_its_backlog_and_a_udp_socket_with_its_queue() {
    let mut first = Reactor::new(Config::default()).unwrap();
    let endpoint = first.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap();
    let udp = first.listen_udp(([127, 0, 0, 1], 0).into(), &UdpConfig::default()).unwrap();
    let one = Running::run(first, &endpoint);
    let mut second = Reactor::new(Config::default()).unwrap();
    assert_eq!(second.reserve(&endpoint, Frames::default()).unwrap(), 0);
    assert_eq!(second.reserve_udp(udp, &UdpConfig::default()), 0);
    let other = Running::run(second, &endpoint);

    let released = one.handle.release_listeners().unwrap().wait(PATIENCE).unwrap();
    assert_eq!(released.len(), 2);
    let mut waiting = one.connect();
    waiting.write_all(b"\x05\0\0\0hello").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"queued", udp).unwrap();
    for listener in released {
        other.handle.adopt_listener(listener).unwrap().wait(PATIENCE).unwrap().unwrap();
    }
    waiting.read_exact(&mut [0; 9]).unwrap();
    let mut back = [0; 10];
    assert_eq!(socket.recv(&mut back).unwrap(), 6);
    assert_eq!(one.stats.total().opened.value(), 0);
    assert_eq!(other.stats.total().opened.value(), 1);
    one.stop();
    other.stop();
}

#[test]
fn many_leave_in_slices_and_a_ping_between_two_is_answered() {
    const MANY: usize = 300;
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let endpoint = reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap();
    let beside = reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap().to_string();
    let (one, other) = (Running::run(reactor, &endpoint), Running::start(Config::default()));
    let mut beside = TcpStream::connect(beside).unwrap();
    let mut streams: Vec<TcpStream> = (0..MANY).map(|_| one.connect()).collect();
    streams.iter_mut().for_each(echoed);
    let (mut from, mut slices, mut moved) = (Some(0), 0, 0);
    while let Some(slot) = from {
        let page = one.handle.release_connections(slot, vec![0]).unwrap().wait(PATIENCE).unwrap();
        assert!(page.connections.len() <= 250);
        (from, slices, moved) = (page.next, slices + 1, moved + page.connections.len());
        echoed(&mut beside);
        other.adopt(page.connections);
    }
    assert_eq!(moved, MANY);
    assert!(slices >= 2, "{slices} slices");
    streams.iter_mut().for_each(echoed);
    one.stop();
    other.stop();
}
