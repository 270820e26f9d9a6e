//! What a protocol is told when a connection opens, and how it refuses the peer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use resound::{
    Config, Counts, Endpoint, Ends, Handle, Peer, Reactor, Reason, Stats, Token,
    frame::{Dialect, FrameError},
    protocol::{Framed, Handler, Output, Protocol, Raw, Received, Refusal, Reply},
};
use socket2::{Domain, Socket, Type};

const REFUSAL: Refusal = Refusal::NotAllowed("a peer that the test forbids");

/// More than the buffers of both sockets hold, so that it does not leave at once.
const FAREWELL: usize = 16 << 20;

/// Greets each peer with both addresses. It refuses 127.0.0.2, and echoes what others send.
struct ByAddress;

impl Protocol for ByAddress {
    fn opened(&mut self, _: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let Peer::Tcp(peer) = ends.peer else { panic!("{ends:?}") };
        out.extend(format!("{peer} to {}\n", ends.local.unwrap()).as_bytes());
        if is_forbidden(ends) {
            out.extend(&vec![b'.'; FAREWELL]);
            // The refusal ends the connection, so this call never comes.
            out.call_when_sent();
            return Err(REFUSAL);
        }
        Ok(())
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        Raw.receive(token, input, seen, out)
    }

    fn sent(&mut self, _: Token, out: &mut Output) {
        out.extend(b"called although the peer is refused");
    }
}

/// The same over frames.
struct FramedByAddress;

impl Handler for FramedByAddress {
    fn opened(&mut self, _: Token, ends: &Ends, greeting: &mut Reply<'_>) -> Result<(), Refusal> {
        greeting.frame(b"hi")?;
        if is_forbidden(ends) { Err(REFUSAL) } else { Ok(()) }
    }

    fn frame(&mut self, _: Token, payload: &[u8], reply: &mut Reply<'_>) -> Result<(), FrameError> {
        reply.frame(payload)
    }
}

fn is_forbidden(ends: &Ends) -> bool {
    matches!(ends.peer, Peer::Tcp(address) if address.ip() == FORBIDDEN)
}

const ALLOWED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FORBIDDEN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A connection from the address `from`.
fn connect(from: IpAddr, to: &Endpoint) -> TcpStream {
    let Endpoint::Tcp(to) = to else { panic!("{to}") };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&(*to).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A server of `protocol` in a thread of its own, which ends with this.
struct Server {
    address: Endpoint,
    handle: Handle,
    stats: Arc<Stats>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(protocol: impl Protocol + Send + 'static) -> Self {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), protocol).unwrap();
        let (handle, stats) = (reactor.handle(), reactor.stats());
        let thread = Some(thread::spawn(move || reactor.run().unwrap()));
        Self { address, handle, stats, thread }
    }

    /// Ends it when all connections are closed; what it has counted.
    fn stop(mut self) -> Counts {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
        self.stats.total()
    }
}

#[test]
fn a_peer_refused_by_its_address_receives_the_farewell_then_fin() {
    let server = Server::start(ByAddress);
    let mut refused = connect(FORBIDDEN, &server.address);
    // The kernel would answer unread bytes with RST, and the farewell would be lost, if the server did not linger.
    refused.write_all(b"hello").unwrap();
    let (local, remote) = (refused.local_addr().unwrap(), refused.peer_addr().unwrap());
    let mut allowed = connect(ALLOWED, &server.address);
    let greeting = format!("{} to {remote}\n", allowed.local_addr().unwrap());
    let mut received = vec![0; greeting.len()];
    allowed.read_exact(&mut received).unwrap();
    assert_eq!(received, greeting.as_bytes());
    allowed.write_all(b"hello").unwrap();
    allowed.read_exact(&mut received[..5]).unwrap();
    assert_eq!(&received[..5], b"hello");
    let mut all = Vec::new();
    refused.read_to_end(&mut all).unwrap();
    let greeting = format!("{local} to {remote}\n");
    assert_eq!(all.len(), greeting.len() + FAREWELL);
    assert!(all.starts_with(greeting.as_bytes()) && all.ends_with(b"..."));
    drop((refused, allowed));
    let stats = server.stop();
    assert_eq!((stats.closed(Reason::Refused), stats.not_allowed.value()), (1, 1));
    assert!(stats.to_string().contains("1 not allowed"), "{stats}");
}

#[test]
fn a_handler_refuses_behind_its_greeting() {
    let server = Server::start(Framed::new(Dialect::default(), FramedByAddress));
    let mut refused = connect(FORBIDDEN, &server.address);
    refused.write_all(b"\x01\0\0\0a").unwrap();
    let mut all = Vec::new();
    refused.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"\x02\0\0\0hi", "and no echo");
    let mut allowed = connect(ALLOWED, &server.address);
    allowed.write_all(b"\x01\0\0\0a").unwrap();
    let mut echo = [0; 11];
    allowed.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x02\0\0\0hi\x01\0\0\0a");
    drop((refused, allowed));
    assert_eq!(server.stop().closed(Reason::Refused), 1);
}

/// Refuses every server that it is connected to, and notes how the connection was closed.
struct Never(Option<Reason>);

impl Protocol for Never {
    fn opened(&mut self, _: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        assert_eq!(ends.local, None);
        out.extend(b"no");
        Err(REFUSAL)
    }

    fn receive(&mut self, _: Token, _: &[u8], _: usize, _: &mut Output) -> Received {
        panic!("shown something after a refusal");
    }

    fn closed(&mut self, _: Token, reason: Reason) {
        self.0 = Some(reason);
    }
}

#[test]
fn a_connection_that_goes_out_can_be_refused_too() {
    let server = Server::start(Raw);
    let mut reactor = Reactor::new(Config::default()).unwrap();
    let lane = reactor.outbound(Never(None)).unwrap();
    reactor.connect(lane, &server.address, None).unwrap();
    while reactor.protocol_mut(lane).0.is_none() {
        reactor.turn(None).unwrap();
    }
    assert_eq!(reactor.protocol_mut(lane).0, Some(Reason::Refused));
    assert_eq!(server.stop().received.value(), 2);
}
