//! A running loop, controlled from another thread.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use resound::{
    Accepting, Config, ConnectionState, ControlError, Handle, Overload, Peer, Reactor, Reason,
    Stats, Token, WaitsFor,
    protocol::{Frames, Output, Protocol, Received},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A loop in a thread of its own, and connections to it.
struct Running {
    handle: Handle,
    stats: std::sync::Arc<Stats>,
    address: String,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(config: Config, protocol: impl Protocol + Send + 'static) -> Self {
        let mut reactor = Reactor::new(config).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), protocol).unwrap().to_string();
        let (handle, stats) = (reactor.handle(), reactor.stats());
        let thread = thread::spawn(move || reactor.run());
        Self { handle, stats, address, thread }
    }

    /// A connection that is in the loop: a frame has gone there and back.
    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"\x05\0\0\0hello").unwrap();
        stream.read_exact(&mut [0; 9]).unwrap();
        stream
    }

    /// Its connections, a page after the other.
    fn list(&self) -> Vec<resound::ConnectionInfo> {
        let (mut from, mut listed) = (Some(0), Vec::new());
        while let Some(first) = from {
            let page = self.handle.connections(first).unwrap().wait(PATIENCE).unwrap();
            listed.extend(page.connections);
            from = page.next;
        }
        listed
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn connections_are_listed_with_what_they_have_done_and_wait_for() {
    let config = Config { idle_timeout: None, ..Config::default() };
    let running = Running::start(config, Frames::default());
    let mut stream = running.connect();
    let other = running.connect();
    stream.write_all(b"\x05\0\0\0hel").unwrap();
    let begun = loop {
        let listed = running.list();
        assert_eq!(listed.len(), 2);
        if let Some(begun) = listed.iter().find(|connection| connection.held > 0) {
            break begun.clone();
        }
    };
    assert_eq!((begun.received, begun.sent, begun.frames), (16, 9, 1));
    assert_eq!((begun.held, begun.owed), (7, 0));
    assert_eq!((begun.state, begun.waits_for), (ConnectionState::Open, WaitsFor::RestOfFrame));
    let left = begun.time_left.expect("a frame has 60 s");
    assert!(left <= Duration::from_secs(60), "{left:?}");
    let tokens = vec![begun.token, Token::new(77, 77)];
    let found = running.handle.look_up(tokens).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(found.len(), 1, "one of the two is not there");
    assert_eq!(found[0].peer, Some(Peer::Tcp(stream.local_addr().unwrap())));
    assert_eq!(begun.tcp, None, "a list asks the kernel nothing");
    if cfg!(feature = "tcp-info") {
        let tcp = found[0].tcp.expect("it is a TCP connection");
        // It has answered over loopback, and all of the answer has been acknowledged.
        assert!(tcp.round_trip > Duration::ZERO && tcp.round_trip < PATIENCE, "{tcp:?}");
        assert_eq!(tcp.unsent, 0);
    }
    drop((stream, other));
    running.stop();
}

#[test]
fn more_connections_than_a_page_holds_are_each_listed_once() {
    let running = Running::start(Config::default(), Frames::default());
    let streams: Vec<_> = (0..1_100).map(|_| running.connect()).collect();
    let page = running.handle.connections(0).unwrap().wait(PATIENCE).unwrap();
    assert!(page.connections.len() < streams.len(), "all in one page");
    let mut tokens: Vec<Token> = running.list().iter().map(|listed| listed.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), streams.len());
    assert_eq!(running.handle.summary().unwrap().wait(PATIENCE).unwrap().open, streams.len());
    drop(streams);
    running.stop();
}

#[test]
fn a_connection_is_closed_by_its_name_and_only_once() {
    let running = Running::start(Config::default(), Frames::default());
    let mut stream = running.connect();
    let mut other = running.connect();
    let peer = Some(Peer::Tcp(stream.local_addr().unwrap()));
    let tokens = running.list().iter().map(|listed| listed.token).collect();
    let found = running.handle.look_up(tokens).unwrap().wait(PATIENCE).unwrap();
    let token = found.iter().find(|connection| connection.peer == peer).unwrap().token;
    let close = || running.handle.close(token).unwrap().wait(PATIENCE).unwrap();
    assert!(close());
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert!(!close(), "it is gone");
    other.write_all(b"\0\0\0\0").unwrap();
    other.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(running.stats.total().closed(Reason::Closed), 1);
    drop(other);
    running.stop();
}

#[test]
fn what_is_spoken_comes_behind_what_is_owed() {
    let running = Running::start(Config::default(), Frames::default());
    let mut stream = running.connect();
    let token = running.list()[0].token;
    let speak = |token| {
        let speech = |out: &mut Output| out.extend(b"\x03\0\0\0you");
        running.handle.speak(token, speech).unwrap().wait(PATIENCE).unwrap()
    };
    assert_eq!(speak(token), Some(0));
    let mut said = [0; 7];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"\x03\0\0\0you");
    assert_eq!(speak(Token::new(0, 99)), None, "there is no such connection");
    drop(stream);
    running.stop();
}

#[test]
fn a_listener_that_is_full_says_so() {
    let config = Config { max_connections: 1, overload: Overload::Wait, ..Config::default() };
    let running = Running::start(config, Frames::default());
    let accepting =
        || running.handle.summary().unwrap().wait(PATIENCE).unwrap().listeners[0].accepting;
    assert_eq!(accepting(), Accepting::Yes);
    let stream = running.connect();
    let waiting = TcpStream::connect(&running.address).unwrap();
    while accepting() != Accepting::Full {}
    drop((stream, waiting));
    running.stop();
}

/// Blocks the loop in the middle of a turn, until the test lets it go on.
struct Blocks {
    has_begun: mpsc::Sender<()>,
    may_go_on: mpsc::Receiver<()>,
}

impl Protocol for Blocks {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        self.has_begun.send(()).unwrap();
        self.may_go_on.recv().unwrap();
        let next = resound::protocol::Next::Idle;
        Received::echo(input.len(), 1, next)
    }
}

/// A loop that is blocked by the byte of a connection, the connection, and what lets the loop go on.
fn stuck() -> (Running, TcpStream, mpsc::Sender<()>) {
    let (has_begun, begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let running = Running::start(Config::default(), Blocks { has_begun, may_go_on });
    let mut stream = TcpStream::connect(&running.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    (running, stream, go_on)
}

#[test]
fn a_loop_that_is_stuck_answers_nothing_and_its_queue_has_an_end() {
    let (running, stream, go_on) = stuck();
    let at_most = Duration::from_millis(1);
    let unanswered = running.handle.summary().unwrap();
    assert_eq!(unanswered.wait(at_most).unwrap_err(), ControlError::NoAnswer(at_most));
    let mut waiting = Vec::new();
    let refused = loop {
        match running.handle.summary() {
            Ok(answer) => waiting.push(answer),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, ControlError::QueueFull);
    assert_eq!(waiting.len(), 63, "with the one that nobody waits for");

    go_on.send(()).unwrap();
    for answer in waiting {
        assert_eq!(answer.wait(PATIENCE).unwrap().open, 1);
    }
    assert_eq!(running.handle.summary().unwrap().wait(PATIENCE).unwrap().open, 1);
    drop(stream);
    running.stop();
}

#[test]
fn stopping_does_not_wait_in_the_queue_and_commands_to_an_ended_loop_fail() {
    let (running, mut stream, go_on) = stuck();
    let waiting: Vec<_> = std::iter::from_fn(|| running.handle.summary().ok()).collect();
    running.handle.stop();
    go_on.send(()).unwrap();
    let mut echo = Vec::new();
    let end = stream.read_to_end(&mut echo).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    assert_eq!(echo, b"x");
    let handle = running.handle.clone();
    running.thread.join().unwrap().unwrap();
    assert!(waiting.into_iter().all(|answer| answer.wait(PATIENCE).is_ok()));
    assert_eq!(handle.summary().unwrap_err(), ControlError::Ended);
}

/// Over poll(2) mio discards earlier wake-ups each time that it registers a socket.
#[test]
fn a_command_sent_before_a_socket_is_registered_is_executed_by_the_next_turn() {
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let answer = reactor.handle().summary().unwrap();
    reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap();
    reactor.turn(Some(PATIENCE)).unwrap();
    assert!(answer.poll().unwrap().is_some(), "the loop was not woken");
}
