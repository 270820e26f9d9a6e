//! Connections that go out, over real sockets: a client and a server in one loop.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use resound::{
    Config, Endpoint, Ends, Lane, Limits, Peer, Reactor, Reason, Token,
    dispatcher::Dispatcher,
    net::{Net, Readiness, Stream},
    protocol::{Next, Output, Protocol, Raw, Received, Refusal},
};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Sends `words` when it is connected, and remembers what becomes of it.
#[derive(Debug, Default)]
struct Caller {
    words: Vec<u8>,
    heard: Vec<u8>,
    closed: Vec<(Token, Reason)>,
}

impl Protocol for Caller {
    fn opened(&mut self, _: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
        out.extend(&self.words);
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        self.heard.extend_from_slice(input);
        let next = if self.heard.ends_with(b"bye") { Next::Finish } else { Next::Idle };
        Received::answered(input.len(), 0, next)
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        self.closed.push((connection, reason));
    }

    fn reads_while_owed(&self) -> bool {
        true
    }
}

/// Echoes, and remembers who came and how they went.
#[derive(Debug, Default)]
struct Server {
    peers: Vec<Peer>,
    closed: Vec<Reason>,
}

impl Protocol for Server {
    fn opened(&mut self, _: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.peers.push(ends.peer);
        Ok(())
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        Raw.receive(token, input, seen, out)
    }

    fn closed(&mut self, _: Token, reason: Reason) {
        self.closed.push(reason);
    }
}

/// Either end.
#[derive(Debug)]
enum End {
    Caller(Caller),
    Server(Server),
}

impl End {
    fn protocol(&mut self) -> &mut dyn Protocol {
        match self {
            Self::Caller(caller) => caller,
            Self::Server(server) => server,
        }
    }
}

impl Protocol for End {
    fn opened(&mut self, token: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        self.protocol().opened(token, ends, out)
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        self.protocol().receive(token, input, seen, out)
    }

    fn closed(&mut self, token: Token, reason: Reason) {
        self.protocol().closed(token, reason);
    }

    fn reads_while_owed(&self) -> bool {
        matches!(self, Self::Caller(_))
    }
}

/// A loop with an echo server in it and a lane out of it.
struct Both {
    reactor: Reactor<End>,
    server: Endpoint,
    lane: Lane,
}

impl Both {
    fn new(words: &[u8]) -> Self {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let server = reactor.listen(ANY, End::Server(Server::default())).unwrap();
        let caller = Caller { words: words.to_vec(), ..Caller::default() };
        let lane = reactor.outbound(End::Caller(caller)).unwrap();
        Self { reactor, server, lane }
    }

    fn connect(&mut self, from: Option<IpAddr>) -> Token {
        self.reactor.connect(self.lane, &self.server, from).unwrap()
    }

    fn caller(&mut self) -> &mut Caller {
        match self.reactor.protocol_mut(self.lane) {
            End::Caller(caller) => caller,
            End::Server(_) => panic!("the lane's protocol is the server's"),
        }
    }

    fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            self.reactor.turn(Some(Duration::from_secs(10))).unwrap();
        }
    }
}

#[test]
fn what_is_said_first_and_later_comes_back() {
    let mut both = Both::new(b"hello");
    let token = both.connect(None);
    both.turn_until(|both| both.caller().heard == b"hello");
    assert!(both.reactor.speak(token, |_, out| out.extend(b" again, and bye")).is_some());
    both.turn_until(|both| !both.caller().closed.is_empty());
    assert_eq!(both.caller().heard, b"hello again, and bye");
    assert_eq!(both.caller().closed, [(token, Reason::Finished)]);
    assert_eq!(both.reactor.stats().total().closed(Reason::PeerClosed), 1, "the server saw FIN");
    assert_eq!(both.reactor.speak(token, |_, _| panic!("it is gone")), None);
}

#[test]
fn more_than_the_kernel_holds_does_not_make_both_wait_for_each_other() {
    let words: Vec<u8> = (0..64_u32 << 20).map(|i| (i % 251) as u8).collect();
    let mut both = Both::new(&words);
    both.connect(None);
    both.turn_until(|both| both.caller().heard.len() >= words.len());
    assert!(both.caller().heard == words);
}

#[test]
fn the_source_address_is_the_one_asked_for() {
    let listener = TcpListener::bind(ANY).unwrap();
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let lane = reactor.outbound(Raw).unwrap();
    let from = IpAddr::from([127, 0, 0, 77]);
    let server = Endpoint::Tcp(listener.local_addr().unwrap());
    reactor.connect(lane, &server, Some(from)).unwrap();
    assert_eq!(listener.accept().unwrap().1.ip(), from);
}

#[test]
fn nobody_listening_is_told_at_once_or_in_the_next_turns() {
    let unused = Endpoint::Tcp(TcpListener::bind(ANY).unwrap().local_addr().unwrap());
    let mut both = Both::new(b"");
    match both.reactor.connect(both.lane, &unused, None) {
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        Ok(token) => {
            both.turn_until(|both| !both.caller().closed.is_empty());
            assert_eq!(both.caller().closed, [(token, Reason::ConnectRefused)]);
        }
    }
}

#[test]
fn closing_is_at_once_and_only_once() {
    let mut both = Both::new(b"hello");
    let token = both.connect(None);
    both.turn_until(|both| both.caller().heard == b"hello");
    assert!(both.reactor.close(token));
    assert!(!both.reactor.close(token), "its name has ended with it");
    assert_eq!(both.caller().closed, [(token, Reason::Closed)]);
    both.turn_until(|both| both.reactor.stats().total().open.value() == 0);
    let next = both.connect(None);
    assert_ne!(next, token);
}

#[test]
fn no_more_connections_than_allowed_and_none_while_stopping() {
    let config = Config { max_connections: 1, ..Config::default() };
    let listener = TcpListener::bind(ANY).unwrap();
    let server = Endpoint::Tcp(listener.local_addr().unwrap());
    let mut reactor = Reactor::new(config).unwrap();
    let lane = reactor.outbound(Raw).unwrap();
    let only = reactor.connect(lane, &server, None).unwrap();
    let error = reactor.connect(lane, &server, None).unwrap_err();
    assert!(error.to_string().contains("max_connections"), "{error}");
    reactor.close(only);
    reactor.handle().stop();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let error = reactor.connect(lane, &server, None).unwrap_err();
    assert!(error.to_string().contains("stopping"), "{error}");
}

/// An outbound connection may take the room for which another loop was woken.
#[test]
fn a_loop_that_waits_for_room_is_woken_again_if_another_loop_took_it() {
    let config = Config { max_connections: 1, ..Config::default() };
    let limits = Arc::new(Limits::new(&config));
    let mut accepting = Reactor::sharing(config.clone(), Arc::clone(&limits)).unwrap();
    let address = accepting.listen(ANY, Raw).unwrap();
    let mut other = Reactor::sharing(config, limits).unwrap();
    let lane = other.outbound(Raw).unwrap();
    let listener = TcpListener::bind(ANY).unwrap();
    let server = Endpoint::Tcp(listener.local_addr().unwrap());

    let first = other.connect(lane, &server, None).unwrap();
    let _waiting = TcpStream::connect(address.to_string()).unwrap();
    let stats = accepting.stats();
    let patience = Some(Duration::from_secs(120));
    while stats.total().accept_waits.value() == 0 {
        accepting.turn(patience).unwrap();
    }
    assert!(other.close(first));
    let second = other.connect(lane, &server, None).expect("there is room");
    accepting.turn(patience).unwrap();
    assert_eq!(stats.total().opened.value(), 0, "the room is taken");
    assert!(other.close(second));
    accepting.turn(patience).unwrap();
    assert_eq!(stats.total().opened.value(), 1);
}

/// Sockets whose peers never answer, and a clock that is set by hand.
struct Silence(Rc<Cell<Duration>>);

struct Silent;

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Silent {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Silent {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn connected(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Net for Silence {
    type Listener = ();
    type Stream = Silent;
    type DatagramSocket = std::convert::Infallible;

    fn listen(&mut self, (): &mut (), _: Token) -> io::Result<()> {
        Ok(())
    }

    fn accept(&mut self, (): &()) -> io::Result<(Silent, Peer)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn connect(&mut self, _: &Endpoint, _: Option<IpAddr>) -> io::Result<Silent> {
        Ok(Silent)
    }

    fn register(&mut self, _: &mut Silent, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn now(&self) -> Duration {
        self.0.get()
    }
}

#[test]
fn an_answer_to_connecting_must_come_within_the_write_timeout() {
    let timeout = Duration::from_secs(7);
    let config = Config { write_timeout: Some(timeout), ..Config::default() };
    let clock = Rc::new(Cell::new(Duration::ZERO));
    let mut dispatcher = Dispatcher::new(Silence(Rc::clone(&clock)), config);
    let lane = dispatcher.outbound(Caller::default()).unwrap();
    let token = dispatcher.connect(lane, &ANY.into(), None).unwrap();
    dispatcher.event(token, Readiness::ALL);
    assert_eq!(dispatcher.wait(), Some(timeout));
    clock.set(timeout);
    dispatcher.expire();
    assert_eq!(dispatcher.protocol_mut(lane).closed, [(token, Reason::ConnectTimeout)]);
    assert_eq!(dispatcher.stats().total().open.value(), 0);
}

#[test]
fn something_to_read_from_a_source_of_ones_own_ends_a_turn() {
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut reactor = Reactor::<Raw>::new(Config::default()).unwrap();
    reactor.wake_on(&ours).unwrap();
    theirs.write_all(b"x").unwrap();
    // Nothing else would ever end it.
    reactor.turn(None).unwrap();
}
