//! `ws`: the subjects of the Autobahn test suite's case list, the handshake, and any split alike.
//!
//! Case numbers are Autobahn's. Its sections 12 and 13 are about compression: `websocket/deflate.rs`.

#[path = "websocket/cases.rs"]
mod cases;
#[cfg(feature = "deflate")]
#[path = "websocket/deflate.rs"]
mod deflate;
#[path = "common/drive.rs"]
mod drive;
#[path = "websocket/handshake.rs"]
mod handshake;

use std::mem::discriminant;

use cases::{BINARY, CLOSE, Case, End, FIN, PING, PONG, TEXT, cases, client, close, server};
use drive::{Driven, cut, drive};
use handshake::{ACCEPTED, HANDSHAKE};
use proptest::prelude::*;
use resound::{
    Ends, Peer, Token,
    protocol::{
        Ending, Next, Output, Protocol, Refusal,
        identity::{Tag, Template},
        websocket::WebSocket,
    },
};

const CONNECTION: Token = Token::new(1, 1);

/// What comes back behind the handshake's answer when `frames` are shown in these pieces, and how
/// it ends.
fn converse(
    web_socket: &mut WebSocket,
    high_water: usize,
    frames: &[u8],
    cuts: &[usize],
) -> Driven {
    let input = [HANDSHAKE.as_bytes(), frames].concat();
    let mut driven = drive(web_socket, high_water, cut(&input, cuts));
    assert!(driven.sent.starts_with(ACCEPTED.as_bytes()));
    driven.sent.drain(..ACCEPTED.len());
    driven
}

/// Holds `driven` to what `case` wants.
fn check(case: &Case, driven: &Driven) {
    let Case { name, got, .. } = case;
    let tail = driven.sent.strip_prefix(&got[..]);
    let tail =
        tail.unwrap_or_else(|| panic!("{name}: {:?}", driven.sent.escape_ascii().to_string()));
    match case.end {
        End::Open => assert_eq!((tail, driven.end), (&b""[..], None), "{name}"),
        End::Closed => assert_eq!((tail, driven.end), (&b""[..], Some(Next::Finish)), "{name}"),
        End::Failed(code) => {
            let reason = tail.get(4..).unwrap_or_default();
            assert_eq!(tail, server(FIN | CLOSE, close(code, reason)), "{name}");
            assert!(std::str::from_utf8(reason).is_ok_and(|reason| !reason.is_empty()));
            assert!(matches!(driven.end, Some(Next::Refuse(_))), "{name}");
        }
    }
}

#[test]
fn each_case_at_once() {
    for case in cases() {
        check(&case, &converse(&mut WebSocket::default(), 1 << 20, &case.sent, &[]));
    }
}

/// 1.1.7, 5.5, 5.8 and all the others that chop their frames.
#[test]
fn each_case_byte_by_byte() {
    for case in cases().iter().filter(|case| case.sent.len() < 2000) {
        let cuts: Vec<_> = (0..HANDSHAKE.len() + case.sent.len()).collect();
        check(case, &converse(&mut WebSocket::default(), 1, &case.sent, &cuts));
    }
}

#[test]
fn every_split_in_two_gives_the_same() {
    for case in cases().iter().filter(|case| case.sent.len() < 2000) {
        for at in 0..case.sent.len() {
            let driven =
                converse(&mut WebSocket::default(), 1, &case.sent, &[HANDSHAKE.len() + at]);
            check(case, &driven);
        }
    }
}

#[test]
fn the_examples_of_the_rfc() {
    let sent =
        b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let driven = converse(&mut WebSocket::default(), 100, sent, &[]);
    assert_eq!(driven.sent, b"\x81\x05Hello\x8A\x05Hello");
}

#[test]
fn messages_are_counted_and_an_unfinished_one_keeps_the_time_limit_running() {
    let mut web_socket = WebSocket::default();
    let mut out = Output::new(1000);
    web_socket.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    let rest = |need| Next::Rest { need };
    for (input, consumed, messages, next) in [
        (HANDSHAKE.as_bytes().to_vec(), HANDSHAKE.len(), 0, Next::Idle),
        (client(FIN | TEXT, "one"), 9, 1, Next::Idle),
        (client(FIN | PING, "two"), 9, 0, Next::Idle),
        // Nothing of a message in fragments is consumed before its last one.
        (client(TEXT, "one"), 0, 0, rest(0)),
        ([client(TEXT, "one"), client(FIN | PING, "two")].concat(), 0, 0, rest(0)),
        (
            [client(TEXT, "one"), client(FIN | PING, "two"), client(FIN, "three")].concat(),
            29,
            1,
            Next::Idle,
        ),
        (client(FIN | PING, "four"), 10, 0, Next::Idle),
        (client(FIN | BINARY, [0; 500])[..100].to_vec(), 0, 0, rest(508)),
        (client(FIN | TEXT, [0; 500])[..100].to_vec(), 0, 0, rest(0)),
    ] {
        let received = web_socket.receive(CONNECTION, &input, 0, &mut out);
        assert_eq!((received.consumed, received.frames, received.next), (consumed, messages, next));
    }
}

/// 6.4.3, 6.4.4: within a frame as well, at the very byte.
#[test]
fn wrong_text_is_refused_before_its_frame_is_whole() {
    let text = [&[b'a'; 3000][..], b"\xF4\x90", &[b'a'; 3000]].concat();
    let frame = client(FIN | TEXT, text);
    let sound = 8 + 3001;
    for step in [1, 2, 3, 5, 1000, 2048] {
        let reads: Vec<_> = (0..sound).step_by(step).map(|at| HANDSHAKE.len() + at).collect();
        let driven = converse(&mut WebSocket::default(), 1, &frame[..sound], &reads);
        assert_eq!((driven.end, &driven.sent[..]), (None, &b""[..]));
        let driven = converse(&mut WebSocket::default(), 1, &frame[..=sound], &reads);
        assert!(matches!(driven.end, Some(Next::Refuse(_))));
        assert_eq!(driven.sent[2..4], 1007_u16.to_be_bytes());
    }
}

/// A client that sends a whole message before it reads: nothing goes back before the message is whole.
#[test]
fn a_fragmented_message_goes_back_when_it_is_whole() {
    let mut web_socket = WebSocket::default();
    let mut out = Output::new(1000);
    web_socket.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    web_socket.receive(CONNECTION, HANDSHAKE.as_bytes(), 0, &mut out);
    out.clear();
    let frames = [client(TEXT, "a"), client(FIN | PING, "p"), client(0, "b"), client(FIN, "c")];
    let sent = frames.concat();
    let (mut seen, mut pong) = (0, Vec::new());
    for length in 1..sent.len() {
        let received = web_socket.receive(CONNECTION, &sent[..length], seen, &mut out);
        assert_eq!(received.consumed, 0, "{length}");
        assert!(matches!(received.next, Next::Rest { .. }), "{length}: {:?}", received.next);
        pong.extend_from_slice(out.bytes());
        out.clear();
        seen = length;
    }
    // Not even a ping waits.
    assert_eq!(pong, server(FIN | PONG, "p"));
    let received = web_socket.receive(CONNECTION, &sent, seen, &mut out);
    assert_eq!((received.consumed, received.frames, received.next), (sent.len(), 1, Next::Idle));
    let back = [server(TEXT, "a"), server(0, "b"), server(FIN, "c")];
    assert_eq!(out.bytes(), back.concat());
}

/// Sections 9 and 10.
#[test]
fn large_messages_whole_and_in_fragments() {
    let bytes: Vec<u8> = (0..=250).cycle().take(16 << 20).collect();
    let text = vec![b'*'; 16 << 20];
    for (opcode, message) in [(BINARY, &bytes), (TEXT, &text)] {
        for (fragment, message) in
            [(16 << 20, &message[..]), (64 << 10, &message[..4 << 20]), (1300, &message[..65_536])]
        {
            let last = message.len().div_ceil(fragment) - 1;
            let (mut sent, mut got) = (Vec::new(), Vec::new());
            for (at, piece) in message.chunks(fragment).enumerate() {
                let first = if at == 0 { opcode } else { 0 } | if at == last { FIN } else { 0 };
                sent.extend(client(first, piece));
                got.extend(server(first, piece));
            }
            let reads: Vec<_> = (0..sent.len()).step_by(64 << 10).collect();
            let driven = converse(&mut WebSocket::default(), 256 << 10, &sent, &reads);
            assert!(driven.sent == got && driven.end.is_none(), "{opcode} {fragment}");
        }
    }
}

#[test]
fn the_limit_holds_to_the_byte_for_frames_and_for_messages() {
    let part = |first, length: usize| client(first, vec![b'a'; length]);
    for (frames, fits) in [
        (vec![part(FIN | BINARY, 1000)], true),
        (vec![part(FIN | BINARY, 1001)], false),
        (vec![part(TEXT, 999), part(FIN, 1)], true),
        (vec![part(TEXT, 999), part(FIN, 2)], false),
        (vec![part(TEXT, 1000), part(0, 0), part(FIN, 0)], true),
        (vec![part(TEXT, 600), part(FIN, 400), part(FIN | BINARY, 1000)], true),
        (vec![part(FIN | TEXT, 1000), part(FIN | TEXT, 1000)], true),
    ] {
        let driven = converse(&mut WebSocket::new(1000), 1 << 20, &frames.concat(), &[]);
        let length = 1001;
        let refusal = Refusal::TooLong { length, limit: 1000, looks_like: None };
        assert_eq!(driven.end, (!fits).then_some(Next::Refuse(refusal)));
        let closed = driven.sent.windows(4).any(|bytes| bytes == [0x88, 48, 0x03, 0xF1]);
        assert_eq!(closed, !fits);
    }
}

#[test]
fn too_large_a_frame_is_refused_when_its_length_is_announced() {
    for length in [1001_u64, u64::from(u32::MAX), 1 << 32, (1 << 63) - 1] {
        let head = match u16::try_from(length) {
            Ok(short) => [&[FIN | BINARY, 0xFE][..], &short.to_be_bytes(), &[1, 2, 3, 4]].concat(),
            Err(_) => [&[FIN | BINARY, 0xFF][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat(),
        };
        let driven = converse(&mut WebSocket::new(1000), 100, &head, &[]);
        assert_eq!(driven.sent[2..4], 1009_u16.to_be_bytes());
    }
}

/// What a client may make the server hold beside the message itself: empty fragments, and control frames between them.
#[test]
fn the_frames_of_a_message_have_a_limit_too() {
    for between in [client(0, ""), client(FIN | PONG, [b'x'; 125])] {
        let longest = 2 * 1000 + (64 << 10);
        let fitting = (longest - 7) / between.len();
        for (count, fits) in [(fitting, true), (fitting + 1, false)] {
            let frames = [client(BINARY, "x"), between.repeat(count)].concat();
            let driven = converse(&mut WebSocket::new(1000), 1 << 20, &frames, &[]);
            assert_eq!(driven.end.is_none(), fits, "{count}");
            let code = driven.sent.get(2..4).map(<[u8]>::to_vec);
            assert_eq!(code, (!fits).then(|| 1009_u16.to_be_bytes().to_vec()));
        }
    }
}

#[test]
fn small_frames_wait_for_room_in_the_output() {
    let mut web_socket = WebSocket::default();
    let mut out = Output::new(100);
    let pings = client(FIN | PING, "").repeat(1000);
    web_socket.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    web_socket.receive(CONNECTION, HANDSHAKE.as_bytes(), 0, &mut out);
    let mut consumed = 0;
    while consumed < pings.len() {
        out.clear();
        let received = web_socket.receive(CONNECTION, &pings[consumed..], 0, &mut out);
        consumed += received.consumed;
        assert_eq!(out.bytes().len(), 100);
        assert_eq!(received.next, if consumed < pings.len() { Next::Full } else { Next::Idle });
    }
}

#[test]
fn the_server_says_why_it_ends_a_connection() {
    let begun = [HANDSHAKE.as_bytes(), &client(FIN | BINARY, "Hello")[..7]].concat();
    for (input, cause, code) in [
        (HANDSHAKE.as_bytes(), Ending::Idle, Some(1001_u16)),
        (HANDSHAKE.as_bytes(), Ending::Stopping, Some(1001)),
        (&begun, Ending::Unfinished, Some(1008)),
        (&begun, Ending::Memory, Some(1013)),
        (&HANDSHAKE.as_bytes()[..50], Ending::Unfinished, None),
    ] {
        let mut web_socket = WebSocket::default();
        let mut out = Output::new(1000);
        web_socket.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
        web_socket.receive(CONNECTION, input, 0, &mut out);
        out.clear();
        web_socket.ending(CONNECTION, cause, &mut out);
        match code {
            Some(code) => {
                let reason = &out.bytes()[4..];
                assert_eq!(out.bytes(), server(FIN | CLOSE, close(code, reason)));
            }
            None => assert!(out.bytes().starts_with(b"HTTP/1.1 408 Request Timeout\r\n")),
        }
    }
    let mut out = Output::new(1000);
    let mut web_socket = WebSocket::default();
    web_socket.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    web_socket.ending(CONNECTION, Ending::Idle, &mut out);
    assert_eq!(out.bytes(), b"");
}

#[test]
fn a_banner_is_the_first_message_and_a_tag_is_in_the_handshake() {
    let tag = |text| Tag::new(Template::parse(text, "box").unwrap());
    let mut web_socket =
        WebSocket::default().tagged(tag("{hostname}")).greeting(tag("hello {peer}"));
    let input = [HANDSHAKE.as_bytes(), &client(FIN | TEXT, "x")].concat();
    for cuts in [&[][..], &[100], &[HANDSHAKE.len()]] {
        let driven = drive(&mut web_socket, 1000, cut(&input, cuts));
        let accepted = ACCEPTED.replace("\r\n\r\n", "\r\nX-Served-By: box\r\n\r\n");
        let want =
            [accepted.as_bytes(), &server(FIN | TEXT, "hello unix"), &server(FIN | TEXT, "x")];
        assert_eq!(driven.sent, want.concat());
    }
}

/// Frames, sound and not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,60}".prop_map(String::into_bytes),
    ];
    let first = prop_oneof![
        8 => prop::sample::select(vec![FIN | TEXT, FIN | BINARY, FIN | PING, FIN | PONG, TEXT, BINARY, 0, FIN]),
        1 => any::<u8>(),
    ];
    (first, payload).prop_map(|(first, payload)| client(first, payload))
}

proptest! {
    #[test]
    fn any_split_of_nearly_frames_gives_the_same(
        frames in prop::collection::vec(frame(), 0..8),
        flip in prop::option::of((any::<usize>(), any::<u8>())),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        high_water in 1..2000_usize,
    ) {
        let mut input = frames.concat();
        if let (Some((at, byte)), false) = (flip, input.is_empty()) {
            let at = at % input.len();
            input[at] = byte;
        }
        let whole = converse(&mut WebSocket::new(150), 1 << 20, &input, &[]);
        let split = converse(&mut WebSocket::new(150), high_water, &input, &cuts);
        prop_assert!(split.rest.len() < 2 * 150 + (64 << 10) + 14, "no more is kept than a message");
        prop_assert_eq!(&split.sent, &whole.sent);
        prop_assert_eq!(split.end.as_ref().map(discriminant), whole.end.as_ref().map(discriminant));
        prop_assert_eq!((split.frames, split.rest), (whole.frames, whole.rest));
    }

    #[test]
    fn text_in_any_fragments_goes_back_as_it_came(
        text in "\\PC{0,100}",
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        reads in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let pieces = cut(text.as_bytes(), &cuts);
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for (at, piece) in pieces.iter().copied().chain([&b""[..]]).enumerate() {
            let first = if at == 0 { TEXT } else { 0 } | if at == pieces.len() { FIN } else { 0 };
            sent.extend(client(first, piece));
            got.extend(server(first, piece));
        }
        let driven = converse(&mut WebSocket::default(), 1, &sent, &reads);
        prop_assert_eq!((driven.sent, driven.frames, driven.end), (got, 1, None));
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..500), bare: bool) {
        if bare {
            drive(&mut WebSocket::default(), 100, [&input[..]]);
        } else {
            converse(&mut WebSocket::default(), 100, &input, &[]);
        }
    }
}
