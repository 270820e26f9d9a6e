//! The PROXY header in front of a protocol: real headers, wrong ones, and the protocol behind it
//! undisturbed.

#[path = "common/drive.rs"]
mod drive;

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use drive::{cut, drive};
use proptest::prelude::*;
use resound::{
    Ends, Peer, Reason, Token,
    protocol::{
        Ending, Next, Output, Protocol, Received, Refusal,
        identity::{Banner, Template, line},
        lines::Lines,
        proxy::{Header, Mode, Parsed, Proxied, Source, parse},
    },
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const ALL: [Mode; 3] = [Mode::V1, Mode::V2, Mode::Any];

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn client(peer: &str, local: &str) -> Source {
    Source::Client { peer: Peer::Tcp(address(peer)), local: Some(address(local)) }
}

/// The address block of 192.0.2.1:56324 to 192.0.2.2:443.
const INET: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB];

/// The same of `[2001:db8::1]:56324` to `[2001:db8::2]:443`.
fn inet6() -> Vec<u8> {
    let head = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &[1], &head, &[2], &INET[8..]].concat()
}

/// Headers as proxies send them, with the mode that takes them and what they say.
fn sound() -> Vec<(Mode, Vec<u8>, Source)> {
    let unix = Source::Client { peer: Peer::Unix, local: None };
    let v4 = client("192.0.2.1:56324", "192.0.2.2:443");
    let v6 = client("[2001:db8::1]:56324", "[2001:db8::2]:443");
    let long_v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {long_v6} {long_v6} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (Mode::V1, text("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), v4),
        (Mode::V1, text("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"), v6),
        (
            Mode::V1,
            text("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"),
            client("255.255.255.255:65535", "0.0.0.0:0"),
        ),
        (Mode::V1, text("PROXY UNKNOWN\r\n"), Source::Unnamed),
        (Mode::V1, b"PROXY UNKNOWN \xFF what ever\r\n".to_vec(), Source::Unnamed),
        (Mode::V1, longest.into_bytes(), Source::Unnamed),
        (Mode::V2, v2(0x21, 0x11, &INET), v4),
        (Mode::V2, v2(0x21, 0x12, &INET), v4),
        (Mode::V2, v2(0x21, 0x21, &inet6()), v6),
        (Mode::V2, v2(0x21, 0x22, &inet6()), v6),
        (Mode::V2, v2(0x21, 0x31, &[7; 216]), unix),
        (Mode::V2, v2(0x21, 0x32, &[7; 216]), unix),
        (Mode::V2, v2(0x21, 0x00, &[]), Source::Unnamed),
        // LOCAL: the address in it is ignored.
        (Mode::V2, v2(0x20, 0x00, &[]), Source::Unnamed),
        (Mode::V2, v2(0x20, 0x11, &INET), Source::Unnamed),
        (Mode::V2, v2(0x20, 0x77, b"anything"), Source::Unnamed),
        // Type-length-values: ALPN `h2`, an empty NOOP, a unique id of 200 bytes.
        (
            Mode::V2,
            v2(
                0x21,
                0x11,
                &[&INET[..], &[1, 0, 2, b'h', b'2', 4, 0, 0, 5, 0, 200], &[9; 200]].concat(),
            ),
            v4,
        ),
        // As HAProxy's `proxy-v2-options crc32c` puts it: the checksum of the header with zeros in
        // its place.
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[3, 0, 4, 0xD6, 0xC8, 0xC7, 0x5F]].concat()), v4),
        // The longest there can be.
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[4, 0xFF, 0xF0], &vec![0; 0xFFF0]].concat()), v4),
    ]
}

#[test]
fn headers_as_proxies_send_them() {
    for (mode, header, source) in sound() {
        let shown = header.escape_ascii().to_string();
        let want = Header { length: header.len(), source };
        let followed = [&header[..], b"hello\n"].concat();
        for mode in [mode, Mode::Any] {
            assert_eq!(parse(mode, &header), Ok(Parsed::Whole(want)), "{shown}");
            assert_eq!(parse(mode, &followed), Ok(Parsed::Whole(want)), "{shown}");
        }
        let other = if mode == Mode::V1 { Mode::V2 } else { Mode::V1 };
        assert!(parse(other, &header).is_err(), "{shown}");
    }
}

#[test]
fn any_part_of_a_header_waits_for_the_rest() {
    for (mode, header, _) in sound() {
        for end in 0..header.len() {
            for mode in [mode, Mode::Any] {
                let Ok(Parsed::Part { need }) = parse(mode, &header[..end]) else {
                    panic!("{end} bytes of {}", header.escape_ascii());
                };
                assert!(need == 0 || end < need && need <= header.len());
            }
        }
    }
}

/// Headers that must be refused, and how many of their bytes it takes to see it.
fn wrong() -> Vec<(Mode, Vec<u8>, usize)> {
    let line = |text: &str| (Mode::V1, text.as_bytes().to_vec(), text.len());
    let mut all = vec![
        (Mode::V1, b"GET / HTTP/1.1\r\n".to_vec(), 1),
        (Mode::V2, b"GET / HTTP/1.1\r\n".to_vec(), 1),
        (Mode::V1, b"PROXY\r\n".to_vec(), 6),
        (Mode::V1, b"proxy TCP4".to_vec(), 1),
        (Mode::V1, [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), 107),
        (Mode::V2, b"\r\n\r\n\0\r\nQUIX".to_vec(), 11),
        (Mode::V2, v2(0x11, 0x11, &INET), 13),
        (Mode::V2, v2(0x31, 0x11, &INET), 13),
        (Mode::V2, v2(0x22, 0x11, &INET), 13),
        (Mode::V2, v2(0x21, 0x13, &INET), 14),
        (Mode::V2, v2(0x21, 0x41, &INET), 14),
        (Mode::V2, v2(0x21, 0x01, &INET), 14),
        (Mode::V2, v2(0x21, 0x11, &INET[..11]), 27),
        (Mode::V2, v2(0x21, 0x21, &inet6()[..35]), 51),
        (Mode::V2, v2(0x21, 0x31, &[0; 215]), 231),
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[4]].concat()), 29),
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[4, 0, 2, 0]].concat()), 32),
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[3, 0, 4, 0xD6, 0xC8, 0xC7, 0x5E]].concat()), 35),
        (Mode::V2, v2(0x21, 0x11, &[&INET[..], &[3, 0, 0]].concat()), 31),
    ];
    all.extend(
        [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1\r 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWN\n",
        ]
        .map(line),
    );
    all
}

#[test]
fn wrong_headers_are_refused_at_the_first_wrong_byte() {
    for (mode, header, at) in wrong() {
        for end in 0..=header.len() {
            let refused = parse(mode, &header[..end]).is_err();
            assert_eq!(refused, end >= at, "{end}: {}", header.escape_ascii());
        }
        assert!(parse(Mode::Any, &header).is_err());
    }
}

/// Echoes everything, and writes down what it is told.
#[derive(Debug, Clone, Default)]
struct Diary(Rc<RefCell<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    fn boxed(&self) -> Box<dyn Protocol> {
        Box::new(self.clone())
    }
}

impl Protocol for Diary {
    fn opened(&mut self, _: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        let local = ends.local.map_or_else(|| "no address".to_owned(), |local| local.to_string());
        self.note(format!("opened by {} at {local}", ends.peer));
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], seen: usize, _: &mut Output) -> Received {
        self.note(format!("{} after {seen}", input.escape_ascii()));
        Received::echo(input.len(), 1, Next::Idle)
    }

    fn ending(&mut self, _: Token, cause: Ending, _: &mut Output) {
        self.note(format!("ending, {cause:?}"));
    }

    fn closed(&mut self, _: Token, _: Reason) {
        self.note("closed");
    }
}

/// Shows `input` at once to a diary behind a header; the diary, what went out, the peer that was
/// introduced.
fn diary(input: &[u8]) -> (Vec<String>, Vec<u8>, Option<Peer>) {
    let connection = Token::new(1, 1);
    let diary = Diary::default();
    let mut out = Output::new(1000);
    let mut proxied = Proxied::new(Mode::Any, diary.boxed());
    let of_socket = Ends::new(Peer::Tcp(address("10.0.0.2:99")), Some(address("10.0.0.1:7")));
    proxied.opened(connection, &of_socket, &mut out).unwrap();
    proxied.ending(connection, Ending::Stopping, &mut out);
    let received = proxied.receive(connection, input, 0, &mut out);
    assert!(!received.echo);
    proxied.ending(connection, Ending::Idle, &mut out);
    proxied.closed(connection, Reason::PeerClosed);
    let peer = out.take_peer();
    (diary.read(), out.bytes().to_vec(), peer)
}

#[test]
fn the_protocol_behind_sees_the_real_ends() {
    let (diary, sent, peer) = diary(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nhello");
    assert_eq!(
        diary,
        ["opened by 192.0.2.1:56324 at 192.0.2.2:443", "hello after 0", "ending, Idle", "closed",]
    );
    assert_eq!(sent, b"hello");
    assert_eq!(peer, Some(Peer::Tcp(address("192.0.2.1:56324"))));
}

#[test]
fn a_health_check_is_from_the_proxy_itself() {
    let (diary, _, peer) = diary(&v2(0x20, 0, &[]));
    let want = ["opened by 10.0.0.2:99 at 10.0.0.1:7", "ending, Idle", "closed"];
    assert_eq!(diary, want);
    assert_eq!(peer, None);
}

#[test]
fn the_protocol_behind_never_hears_of_a_connection_without_a_header() {
    let none: [String; 0] = [];
    for input in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TC"] {
        assert_eq!(diary(input), (none.to_vec(), Vec::new(), None));
    }
}

#[test]
fn a_stale_token_is_not_taken_for_one_that_waits() {
    let (old, new) = (Token::new(1, 1), Token::new(1, 2));
    let diary = Diary::default();
    let mut out = Output::new(1000);
    let mut proxied = Proxied::new(Mode::Any, diary.boxed());
    let unix = Ends::new(Peer::Unix, None);
    proxied.opened(old, &unix, &mut out).unwrap();
    proxied.receive(old, b"PROXY UNKNOWN\r\n", 0, &mut out);
    proxied.opened(new, &unix, &mut out).unwrap();
    proxied.closed(old, Reason::PeerClosed);
    proxied.receive(new, b"PROXY UNKNOWN\r\nx", 0, &mut out);
    let opened = "opened by unix at no address";
    assert_eq!(diary.read(), [opened, "closed", opened, "x after 0"]);
}

#[test]
fn a_banner_behind_a_header_knows_the_client() {
    let template = Template::parse("{peer} at {local}", "box").unwrap();
    let banner = Banner::new(template, line, Lines::default());
    let mut proxied = Proxied::new(Mode::V1, banner);
    let input = &b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nhello\n"[..];
    let driven = drive(&mut proxied, 1, [input]);
    assert_eq!(driven.sent, b"192.0.2.1:56324 at 192.0.2.2:443\nhello\n");
}

#[test]
fn without_it_the_header_is_just_bytes() {
    let input = &b"PROXY UNKNOWN\r\nhello\n"[..];
    assert_eq!(drive(&mut Lines::default(), 1000, [input]).sent, input);
}

#[test]
fn every_split_in_two_gives_the_same() {
    for (mode, header, _) in sound() {
        let input = [&header[..], b"one\r\ntwo\nthr"].concat();
        let cuts = 0..=input.len().min(400);
        for at in cuts.chain(input.len().saturating_sub(20)..input.len()) {
            let mut proxied = Proxied::new(mode, Lines::default());
            let driven = drive(&mut proxied, 1, cut(&input, &[at]));
            assert_eq!(driven.sent, b"one\r\ntwo\n");
            assert_eq!((driven.frames, &driven.rest[..]), (2, &b"thr"[..]));
        }
    }
}

proptest! {
    #[test]
    fn any_split_of_nearly_a_header_gives_the_same(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let mut sound = sound();
        sound.pop();
        let (_, mut input, _) = sound.swap_remove(which.index(sound.len()));
        input.extend_from_slice(b"line\nline\n");
        for (at, byte) in flips {
            let at = at % input.len();
            input[at] = byte;
        }
        for mode in ALL {
            let whole = drive(&mut Proxied::new(mode, Lines::default()), 1, [&input[..]]);
            let split = drive(&mut Proxied::new(mode, Lines::default()), 1, cut(&input, &cuts));
            prop_assert_eq!(split, whole);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..300), signed: bool) {
        let input = if signed { [SIGNATURE, &input].concat() } else { input };
        for mode in ALL {
            if let Ok(Parsed::Whole(header)) = parse(mode, &input) {
                prop_assert!(header.length <= input.len());
            }
        }
    }
}
