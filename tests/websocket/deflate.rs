//! `permessage-deflate` (RFC 7692): what is agreed on, the examples of section 7.2.3, and messages that are not right.

use std::mem::discriminant;

use flate2::{Compress, Compression, FlushCompress, Status};
use proptest::prelude::*;
use resound::{
    Ends, Peer, Token,
    protocol::{Next, Output, Protocol, websocket::WebSocket},
};

use crate::{
    cases::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, client, server},
    drive::{Driven, cut, drive},
    handshake::{ACCEPTED, HANDSHAKE},
};

/// RSV1.
const COMPRESSED: u8 = 0x40;
const ALONE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn offering(offers: &str) -> String {
    HANDSHAKE.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offers}\r\n\r\n"))
}

/// What comes back behind the handshake's answer, if the client offers compression.
fn converse(context_takeover: bool, max: u32, frames: &[u8], cuts: &[usize]) -> Driven {
    let handshake = offering("permessage-deflate; client_max_window_bits");
    let cuts: Vec<_> = cuts.iter().map(|cut| handshake.len() + cut).collect();
    let input = [handshake.as_bytes(), frames].concat();
    let mut web_socket = WebSocket::new(max).deflate(context_takeover);
    let mut driven = drive(&mut web_socket, 1 << 20, cut(&input, &cuts));
    let head = driven.sent.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(driven.sent.starts_with(b"HTTP/1.1 101 "));
    driven.sent.drain(..head);
    driven
}

/// A message as a client compresses it (section 7.2.1).
fn compress(stream: &mut Compress, message: &[u8]) -> Vec<u8> {
    if message.is_empty() {
        // Section 7.2.3.6. The library makes nothing of no input behind a flush.
        return vec![0];
    }
    let mut compressed = Vec::with_capacity(message.len() * 2 + 100);
    let before = stream.total_in();
    let status = stream.compress_vec(message, &mut compressed, FlushCompress::Sync).unwrap();
    assert_eq!((status, stream.total_in() - before), (Status::Ok, message.len() as u64));
    assert!(compressed.ends_with(&[0, 0, 0xFF, 0xFF]));
    compressed.truncate(compressed.len() - 4);
    compressed
}

fn stream() -> Compress {
    Compress::new(Compression::default(), false)
}

/// The close code in the last frame that came back.
fn close_code(driven: &Driven) -> Option<u16> {
    let at = driven.sent.iter().position(|byte| *byte == FIN | CLOSE)?;
    Some(u16::from_be_bytes(driven.sent[at + 2..at + 4].try_into().unwrap()))
}

#[test]
fn the_first_offer_that_can_be_kept_is_accepted() {
    let bits = |server, client| {
        format!("{ALONE}; server_max_window_bits={server}; client_max_window_bits={client}")
    };
    for (offers, alone, context) in [
        ("permessage-deflate", Some(ALONE.into()), Some("permessage-deflate".to_string())),
        ("permessage-deflate; client_max_window_bits", Some(ALONE.into()), None),
        ("permessage-deflate; server_no_context_takeover", Some(ALONE.into()), Some(ALONE.into())),
        ("permessage-deflate;client_no_context_takeover", Some(ALONE.into()), Some(ALONE.into())),
        (
            "permessage-deflate; server_max_window_bits=15",
            Some(format!("{ALONE}; server_max_window_bits=15")),
            None,
        ),
        // The echo of a client's window of 12 bits needs no larger one.
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            Some(bits(12, 12)),
            None,
        ),
        (
            "permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits",
            Some(bits(10, 10)),
            None,
        ),
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=9",
            Some(bits(12, 9)),
            None,
        ),
        // Nothing may be asked of this client's window.
        ("permessage-deflate; server_max_window_bits=10", None, None),
        (
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some(ALONE.into()),
            None,
        ),
        ("x-webkit-deflate-frame, permessage-deflate", Some(ALONE.into()), None),
        // Unknown, twice, out of range, without or with a value that does not belong there (section 7.1).
        ("permessage-deflate; fast", None, None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None, None),
        ("permessage-deflate; server_max_window_bits", None, None),
        ("permessage-deflate; server_max_window_bits=7; client_max_window_bits", None, None),
        ("permessage-deflate; server_max_window_bits=09; client_max_window_bits", None, None),
        ("permessage-deflate; client_max_window_bits=16", None, None),
        ("permessage-deflate; server_no_context_takeover=1", None, None),
        ("permessage-bzip2", None, None),
    ] {
        for (context_takeover, expected) in
            [(false, &alone), (true, if context.is_some() { &context } else { &None })]
        {
            if context_takeover && context.is_none() && alone.is_some() {
                continue;
            }
            let mut web_socket = WebSocket::default().deflate(context_takeover);
            let driven = drive(&mut web_socket, 1 << 20, [offering(offers).as_bytes()]);
            let answer = String::from_utf8(driven.sent).unwrap();
            let line =
                answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
            assert_eq!(line, expected.as_deref(), "{offers}, context: {context_takeover}");
            assert_eq!(driven.end, None);
        }
        let driven = drive(&mut WebSocket::default(), 1 << 20, [offering(offers).as_bytes()]);
        assert_eq!(driven.sent, ACCEPTED.as_bytes(), "a listener without the key");
    }
    for offers in
        ["permessage-deflate; a b", "; permessage-deflate", "permessage-deflate; =1", "a=\"b"]
    {
        let mut web_socket = WebSocket::default().deflate(false);
        let driven = drive(&mut web_socket, 1 << 20, [offering(offers).as_bytes()]);
        assert!(driven.sent.starts_with(b"HTTP/1.1 400 "), "{offers}");
    }
}

#[test]
fn the_examples_of_the_rfc_come_back_as_they_are() {
    let hello: &[(u8, &[u8])] = &[(FIN | TEXT | COMPRESSED, b"\xf2\x48\xcd\xc9\xc9\x07\x00")];
    let examples: [&[(u8, &[u8])]; 7] = [
        hello,
        &[(TEXT | COMPRESSED, b"\xf2\x48\xcd"), (FIN, b"\xc9\xc9\x07\x00")],
        // Without compression; with a stored block; with a last block; in two blocks; empty.
        &[(FIN | TEXT, b"Hello")],
        &[(FIN | TEXT | COMPRESSED, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")],
        &[(FIN | TEXT | COMPRESSED, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")],
        &[(FIN | TEXT | COMPRESSED, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")],
        &[(FIN | TEXT | COMPRESSED, b"\x00")],
    ];
    // Refers to the message before it.
    let again: &[(u8, &[u8])] = &[(FIN | TEXT | COMPRESSED, b"\xf2\x00\x11\x00\x00")];
    let sent = |frames: &[(u8, &[u8])]| -> Vec<u8> {
        frames.iter().flat_map(|(first, payload)| client(*first, payload)).collect()
    };
    let back = |frames: &[(u8, &[u8])]| -> Vec<u8> {
        frames.iter().flat_map(|(first, payload)| server(*first, payload)).collect()
    };
    for context_takeover in [false, true] {
        for example in examples {
            let twice = [sent(example), sent(hello)].concat();
            for cuts in [vec![], (0..twice.len()).collect()] {
                let driven = converse(context_takeover, 5, &twice, &cuts);
                assert_eq!(driven.sent, [back(example), back(hello)].concat());
                assert_eq!((driven.frames, driven.end), (2, None));
            }
        }
        let driven = converse(context_takeover, 5, &[sent(hello), sent(again)].concat(), &[]);
        if context_takeover {
            assert_eq!(driven.sent, [back(hello), back(again)].concat());
        } else {
            assert_eq!(close_code(&driven), Some(1007), "nothing is kept between two messages");
        }
    }
}

#[test]
fn a_ping_between_two_compressed_fragments_is_answered_at_once() {
    let fragment = client(BINARY | COMPRESSED, b"\xf2\x48\xcd");
    let sent = [fragment, client(FIN | PING, "x"), client(FIN, b"\xc9\xc9\x07\x00")].concat();
    let driven = converse(false, 5, &sent, &[]);
    let pong = server(FIN | PONG, "x");
    let echo = [server(BINARY | COMPRESSED, b"\xf2\x48\xcd"), server(FIN, b"\xc9\xc9\x07\x00")];
    assert_eq!(driven.sent, [pong, echo.concat()].concat());
}

#[test]
fn wrong_compression_has_its_close_code() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let not_utf8 = compress(&mut stream(), b"\xc3\x28");
    let half_a_character = compress(&mut stream(), b"\xc3");
    let large = compress(&mut stream(), &[b'x'; 101]);
    let bomb = compress(&mut stream(), &vec![0; 64 << 20]);
    for (what, sent, code) in [
        ("no DEFLATE", client(FIN | TEXT | COMPRESSED, b"\xff\xff\xff"), 1007),
        ("a block cut short", client(FIN | TEXT | COMPRESSED, &hello[..5]), 1007),
        ("without the end of its block", client(FIN | TEXT | COMPRESSED, &hello[..6]), 1007),
        ("nothing", client(FIN | TEXT | COMPRESSED, b""), 1007),
        ("text that is not UTF-8", client(FIN | TEXT | COMPRESSED, &not_utf8), 1007),
        ("half a character", client(FIN | TEXT | COMPRESSED, &half_a_character), 1007),
        ("bytes need not be UTF-8", client(FIN | BINARY | COMPRESSED, &not_utf8), 0),
        ("over the limit by one", client(FIN | TEXT | COMPRESSED, &large), 1009),
        ("a thousand times the limit", client(FIN | TEXT | COMPRESSED, &bomb), 1009),
        ("announced as too long", client(FIN | TEXT | COMPRESSED, [0; 200])[..8].to_vec(), 1009),
        (
            "RSV1 in a continuation",
            [client(TEXT | COMPRESSED, hello), client(FIN | CONTINUATION | COMPRESSED, "")]
                .concat(),
            1002,
        ),
        ("RSV1 in a ping", client(FIN | PING | COMPRESSED, ""), 1002),
        ("RSV2", client(FIN | TEXT | 0x20, "a"), 1002),
        ("RSV1 and RSV3", client(FIN | TEXT | 0x50, "a"), 1002),
    ] {
        for context_takeover in [false, true] {
            // Only without context takeover a message must end where a block does: with it, the next one shows that.
            if context_takeover && matches!(what, "without the end of its block" | "nothing") {
                continue;
            }
            let driven = converse(context_takeover, 100, &sent, &[]);
            if code == 0 {
                assert_eq!(driven.end, None, "{what}");
            } else if context_takeover && what == "a block cut short" {
                // What follows in the stream is taken for its rest.
                continue;
            } else {
                assert_eq!(close_code(&driven), Some(code), "{what}: {driven:?}");
                assert!(matches!(driven.end, Some(Next::Refuse(_))), "{what}");
            }
        }
    }
    let driven = drive(
        &mut WebSocket::default(),
        1 << 20,
        [[HANDSHAKE.as_bytes(), &client(FIN | TEXT | COMPRESSED, hello)].concat().as_slice()],
    );
    assert_eq!(
        discriminant(&driven.end.unwrap()),
        discriminant(&Next::Refuse(resound::protocol::Refusal::Malformed("")))
    );
}

#[test]
fn a_connection_is_handed_over_unless_it_has_a_window() {
    for context_takeover in [false, true] {
        let mut web_socket = WebSocket::default().deflate(context_takeover);
        let connection = Token::new(1, 1);
        let mut out = Output::new(1 << 20);
        web_socket.opened(connection, &Ends::new(Peer::Unix, None), &mut out).unwrap();
        let handshake = offering("permessage-deflate");
        web_socket.receive(connection, handshake.as_bytes(), 0, &mut out);
        assert_eq!(web_socket.describe(connection).is_none(), context_takeover);
        if let Some(state) = web_socket.describe(connection) {
            let mut successor = WebSocket::default().deflate(false);
            let ends = Ends::new(Peer::Unix, None);
            assert!(successor.restore(connection, &ends, &state));
            let message = client(FIN | TEXT | COMPRESSED, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
            let mut out = Output::new(1 << 20);
            let received = successor.receive(connection, &message, 0, &mut out);
            assert_eq!((received.consumed, received.frames), (message.len(), 1));
            assert!(!WebSocket::default().restore(connection, &ends, &state), "it would not know");
        }
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(Vec::new()), 7 => prop::collection::vec(0..4u8, 0..3000)]
}

proptest! {
    /// Whole messages, compressed or not, in fragments, in one stream or each by itself, come back in the same bytes.
    #[test]
    fn messages_come_back_as_they_are(
        messages in prop::collection::vec((message(), 1..4usize, any::<bool>()), 1..8),
        context_takeover in any::<bool>(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let (mut sent, mut back) = (Vec::new(), Vec::new());
        let mut compressor = stream();
        for (message, fragments, compressed) in &messages {
            if !context_takeover {
                compressor.reset();
            }
            let payload = if *compressed { compress(&mut compressor, message) } else { message.clone() };
            let size = payload.len().div_ceil(*fragments).max(1);
            let pieces: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(size).collect() };
            for (index, piece) in pieces.iter().enumerate() {
                let first = if index == 0 { BINARY | (COMPRESSED * u8::from(*compressed)) } else { CONTINUATION };
                let first = if index + 1 == pieces.len() { FIN | first } else { first };
                sent.extend(client(first, piece));
                back.extend(server(first, piece));
            }
        }
        let driven = converse(context_takeover, 3000, &sent, &cuts);
        prop_assert_eq!(driven.frames, messages.len() as u64);
        prop_assert!(driven.sent == back && driven.end.is_none());
    }
}
