//! Faults of WebSocket frames.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
};

use super::{Daemon, End, read_exactly, read_to_end};

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// A frame of a client, with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat()
}

/// A frame of a server.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8][..], payload].concat()
}

/// A connection to a listener with this fault, behind the handshake.
fn open(fault: &str) -> (Daemon, TcpStream) {
    let daemon = Daemon::start(&[&format!("ws://127.0.0.1:0,fault={fault}")], &[]);
    let mut stream = daemon.connect();
    stream.write_all(HANDSHAKE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(&mut stream, 1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    (daemon, stream)
}

#[test]
fn a_close_frame_comes_in_place_of_a_frame_and_then_fin() {
    for (fault, close) in [
        ("close=1011@2", &b"\x88\x02\x03\xf3"[..]),
        ("close=1006@2", b"\x88\x02\x03\xee"),
        ("close=none@2", b"\x88\x00"),
    ] {
        let (_daemon, mut stream) = open(fault);
        for text in [b"one", b"two", b"six"] {
            stream.write_all(&masked(TEXT, text)).unwrap();
        }
        // The server does not wait for the close frame of the client.
        let expected = [&plain(TEXT, b"one"), close].concat();
        assert_eq!(read_to_end(&mut stream), (expected, End::Fin), "{fault}");
    }
}

#[test]
fn a_ping_is_not_answered_and_the_others_are() {
    let (_daemon, mut stream) = open("no-pong@2..3");
    for ping in [b"a", b"b", b"c", b"d"] {
        stream.write_all(&masked(PING, ping)).unwrap();
    }
    stream.write_all(&masked(TEXT, b"text")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let expected = [plain(PONG, b"a"), plain(PONG, b"d"), plain(TEXT, b"text")].concat();
    assert_eq!(read_to_end(&mut stream), (expected, End::Fin));
}

#[test]
fn a_frame_has_a_mask_and_the_right_payload_under_it() {
    let (_daemon, mut stream) = open("mask@2,seed=7");
    for text in [b"one", b"two", b"six"] {
        stream.write_all(&masked(TEXT, text)).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let (all, end) = read_to_end(&mut stream);
    assert_eq!((all.len(), end), (5 + 9 + 5, End::Fin));
    assert_eq!((&all[..7], &all[14..]), (&b"\x81\x03one\x81\x83"[..], &plain(TEXT, b"six")[..]));
    let payload: Vec<u8> = (0..3).map(|at| all[11 + at] ^ all[7 + at]).collect();
    assert_eq!(payload, b"two");
    assert_ne!(all[7..11], [0; 4]);
}
