//! The library with a listening socket that another process passed.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
};

use resound::{Config, Listener, Reactor, protocol::Frames};

/// More than a loop accepts in one batch.
const CONNECTIONS: usize = 300;

#[test]
fn a_reactor_that_stops_leaves_the_queue_of_an_inherited_listener_alone() {
    for is_inherited in [false, true] {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = if is_inherited {
            let listener = Listener::inherit(passed.try_clone().unwrap()).unwrap();
            reactor.adopt(listener, Frames::default()).unwrap()
        } else {
            reactor.listen(([127, 0, 0, 1], 0), Frames::default()).unwrap()
        };
        // The queue of the standard library's listener has room for 128.
        let count = if is_inherited { 100 } else { CONNECTIONS };
        let queued: Vec<TcpStream> =
            (0..count).map(|_| TcpStream::connect(bound.to_string()).unwrap()).collect();
        reactor.handle().stop();
        reactor.run().unwrap();
        let accepted = usize::try_from(reactor.stats().total().opened.value()).unwrap();
        drop(reactor);
        if is_inherited {
            assert!(accepted < count, "all {count} were accepted");
            passed.set_nonblocking(true).unwrap();
            let left = (0..).take_while(|_| passed.accept().is_ok()).count();
            assert_eq!(accepted + left, count);
        } else {
            assert_eq!(accepted, count);
        }
        drop(queued);
    }
}

#[test]
fn what_is_no_listening_socket_is_refused_with_what_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (socket, says) in
        [(connected.into(), "a connected TCP socket"), (datagrams.into(), "a UDP socket")]
    {
        let socket: std::os::fd::OwnedFd = socket;
        let error = Listener::inherit(socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut reactor = Reactor::<Frames>::new(Config::default()).unwrap();
    let error = reactor.adopt_udp(listener, &resound::UdpConfig::default()).unwrap_err();
    assert!(error.to_string().contains("a listening TCP socket, not a UDP socket"), "{error}");
}
