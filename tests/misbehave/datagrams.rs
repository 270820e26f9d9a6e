//! Faults of datagrams.

use std::net::UdpSocket;

use super::{Daemon, PATIENCE};

/// A socket of a client of `daemon`.
fn client(daemon: &Daemon) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(daemon.address(0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// Sends these datagrams and then `last`, whose reply no fault changes; what comes back before that.
fn exchange(fault: &str, datagrams: &[&[u8]]) -> Vec<Vec<u8>> {
    let daemon = Daemon::start(&[&format!("udp://127.0.0.1:0,fault={fault},seed=7")], &[]);
    let socket = client(&daemon);
    for datagram in datagrams.iter().chain([&&b"last"[..]]) {
        assert_eq!(socket.send(datagram).unwrap(), datagram.len());
    }
    std::iter::from_fn(|| Some(receive(&socket)).filter(|reply| reply != b"last")).collect()
}

#[test]
fn datagrams_are_lost_doubled_reordered_and_cut() {
    let three: [&[u8]; 3] = [b"one", b"two", b"three"];
    for (fault, replies) in [
        ("none", &[&b"one"[..], b"two", b"three"][..]),
        ("drop@2", &[b"one", b"three"]),
        ("drop@2+dup@1", &[b"one", b"one", b"three"]),
        ("dup@2", &[b"one", b"two", b"two", b"three"]),
        ("swap@1", &[b"two", b"one", b"three"]),
        ("truncate=2@3", &[b"one", b"two", b"th"]),
        ("truncate=0@1..2", &[b"", b"", b"three"]),
    ] {
        assert_eq!(exchange(fault, &three), replies, "{fault}");
    }
    let garbage = exchange("garbage=5@2", &three);
    assert_eq!((&garbage[1][..3], garbage[1].len()), (&b"two"[..], 8));
    // It is longer than a datagram can be.
    assert_eq!(exchange("garbage=65536@1", &three), [&b"two"[..], b"three"]);
    assert_eq!(exchange("garbage=65536@1+dup@1", &three), [&b"two"[..], b"three"]);
    let damaged = exchange("corrupt=1bit@2", &three);
    let bits: u32 = damaged[1].iter().zip(three[1]).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((damaged[1].len(), bits), (3, 1));
}

#[test]
fn all_sockets_of_a_listener_count_together() {
    let listen = "udp://127.0.0.1:0,fault=dup@every=2";
    let daemon = Daemon::start(&[listen], &["--reactors", "2"]);
    // The kernel spreads them over the loops by their ports.
    for number in 1..=16 {
        let socket = client(&daemon);
        socket.send(b"hello").unwrap();
        assert_eq!(receive(&socket), b"hello");
        if number % 2 == 0 {
            assert_eq!(receive(&socket), b"hello");
        }
    }
}
