//! Datagrams: any size there and back, errors that are not fatal, and echoes that do not feed each other.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use common::{Daemon, PATIENCE};
use socket2::{Domain, Protocol, Socket, Type};

mod common;

fn client(daemon: &Daemon) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(daemon.address(0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ping(socket: &UdpSocket, payload: &[u8]) {
    socket.send(payload).unwrap();
    let mut back = vec![0; 65_536];
    let count = socket.recv(&mut back).expect("an answer in time");
    assert!(back[..count] == *payload, "{count} of {} bytes", payload.len());
}

#[test]
fn datagrams_of_every_size_come_back_as_they_went() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let socket = client(&daemon);
    for length in [0, 1, 1_472, 1_473, 9_000, 65_506, 65_507] {
        let payload: Vec<u8> = (0..length).map(|i: usize| i.to_le_bytes()[0]).collect();
        ping(&socket, &payload);
    }
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 7 frames"), "{ended:?}");
}

#[test]
fn a_datagram_from_a_port_that_is_closed_again_is_not_fatal() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    daemon.pause();
    for _ in 0..50 {
        // The answer will find nobody, and its sender be told so by ICMP.
        client(&daemon).send(b"goodbye").unwrap();
    }
    daemon.resume();
    ping(&client(&daemon), b"hello");
    assert!(daemon.stop().status.success());
}

#[test]
fn errors_of_receiving_and_sending_are_not_fatal() {
    for fault in ["recvfrom:error=ECONNREFUSED:when=1..3", "sendto:error=EHOSTUNREACH:when=3..4"] {
        let Some(daemon) = Daemon::with_faults_on("udp://127.0.0.1:0", &[fault], &[]) else {
            return;
        };
        let socket = client(&daemon);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        common::eventually("one comes back", || {
            socket.send(b"hello").unwrap();
            socket.recv(&mut [0; 16]).is_ok()
        });
        assert!(daemon.stop().status.success(), "{fault}");
    }
}

/// Sends `payload` to `to` as if it came from `from`; whether that is allowed here.
fn forge(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> bool {
    let socket = match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: raw sockets are not permitted");
            assert!(std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(), "and they are required");
            return false;
        }
        Err(error) => panic!("{error}"),
    };
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = Vec::new();
    for half in [from.port(), to.port(), length, 0] {
        datagram.extend(half.to_be_bytes());
    }
    datagram.extend(payload);
    socket.send_to(&datagram, &to.into()).unwrap();
    true
}

#[test]
fn two_echoes_do_not_feed_each_other() {
    let daemons = [0, 1].map(|_| Daemon::start(&["udp://127.0.0.1:0,rate=100"], &[]));
    let [one, other] = [0, 1].map(|at| daemons[at].address(0).parse().unwrap());
    if !forge(one, other, b"round and round") {
        return;
    }
    // As many rounds of pings as thousands of theirs would take; from ever new ports, each with a rate of its own.
    for _ in 0..1_000 {
        ping(&client(&daemons[1]), b"hello");
    }
    let summaries = daemons.map(|daemon| daemon.stop().stdout);
    for summary in &summaries {
        let frames = summary.split(", ").find_map(|part| part.strip_suffix(" frames")).unwrap();
        assert!(frames.parse::<u64>().unwrap() < 1_500, "they went on: {summaries:?}");
    }
    assert!(summaries.concat().contains("1 datagram dropped"), "{summaries:?}");
}

#[test]
fn privileged_ports_and_its_own_get_no_answer() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"], &[]);
    let to: SocketAddr = daemon.address(0).parse().unwrap();
    for port in [7, 17, 19, 1023, to.port()] {
        if !forge(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), to, b"echo") {
            return;
        }
    }
    ping(&client(&daemon), b"hello");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(" 1 frame,"), "{ended:?}");
    assert!(ended.stdout.contains("5 datagrams dropped"), "{ended:?}");
}
