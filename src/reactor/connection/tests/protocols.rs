//! Every protocol there is over scripted streams: however its bytes come and its answers leave, the same goes back
//! as for all in one piece.

use super::*;
use crate::protocol::{Terms, identity::Template, offers, proxy::Mode};

const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";

const UPGRADE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// How a conversation is made: of which kind each unit is, how long, and with which mask.
type Units = Vec<(u8, usize, [u8; 4])>;

/// What a peer sends in one of the protocols. Of one that is not known here, it is anything.
fn conversation(protocol: &str, units: &Units) -> Vec<u8> {
    let unit = match protocol {
        "frames" => |_, length, _| frame(&pattern(length)),
        "lines" => line,
        "http" => request,
        "ws" => message,
        _ => |_, length, _| pattern(length),
    };
    let start = if protocol == "ws" { UPGRADE } else { &[] };
    let units = units.iter().flat_map(|&(kind, length, mask)| unit(kind, length, mask));
    start.iter().copied().chain(units).collect()
}

fn line(kind: u8, length: usize, _: [u8; 4]) -> Vec<u8> {
    let mut line = pattern(length);
    line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    line.extend_from_slice(if kind.is_multiple_of(2) { b"\n" } else { b"\r\n" });
    line
}

fn request(kind: u8, length: usize, _: [u8; 4]) -> Vec<u8> {
    let body = pattern(length);
    let (fields, body) = match kind % 6 {
        0 => return b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        1 => return b"\r\nDELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        2 | 3 => (format!("Content-Length: {length}\r\n"), body),
        4 => (format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), body),
        _ => {
            let mut chunks = Vec::new();
            for chunk in body.chunks(1 + length / 3) {
                chunks.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                chunks.extend_from_slice(chunk);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunks)
        }
    };
    let method = if kind.is_multiple_of(2) { "POST" } else { "PUT" };
    let head = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    [head.as_bytes(), &body].concat()
}

fn message(kind: u8, length: usize, mask: [u8; 4]) -> Vec<u8> {
    let text: Vec<u8> = "é€𝄞x".bytes().cycle().take(length / 10 * 10).collect();
    let part = |opcode: u8, payload: &[u8]| masked(opcode, payload, mask);
    match kind % 5 {
        0 => part(0x82, &pattern(length)),
        1 => part(0x81, &text),
        2 => {
            // Cut inside of a character, and with a ping in between.
            let (first, rest) = text.split_at(text.len() / 3);
            let (second, third) = rest.split_at(rest.len() / 2);
            let parts =
                [part(0x01, first), part(0x89, b"ping"), part(0, second), part(0x80, third)];
            parts.concat()
        }
        3 => part(0x89, &pattern(length % 126)),
        _ => [part(0x02, &pattern(length)), part(0x80, &[])].concat(),
    }
}

/// One frame of WebSocket as a client sends it; `start` has FIN and the opcode.
fn masked(start: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let length = payload.len() as u64;
    let mut frame = match length {
        0..126 => vec![start, 0x80 | length.to_le_bytes()[0]],
        126..65_536 => [&[start, 0xFE], &length.to_be_bytes()[6..]].concat(),
        _ => [&[start, 0xFF], &length.to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What became of a conversation: what went back, how many units were answered, how many refused, how many cut short.
#[derive(Debug, PartialEq, Eq)]
struct Played {
    written: Vec<u8>,
    frames: u64,
    refused: u64,
    truncated: u64,
}

/// Plays a conversation with the `index`th protocol to its end.
fn play(index: usize, terms: &Terms, script: Script) -> Played {
    let protocol = offers()[index].protocol(terms).unwrap();
    let mut bench = Bench::speaking(protocol, script);
    let (connection, _, mut cx) = bench.parts();
    assert_eq!(connection.open(&Ends::new(Peer::Unix, None), &mut cx), Outcome::Wait);
    let mut turns = 0;
    while !matches!(bench.turn(Readiness::ALL), Outcome::Closed(_)) {
        turns += 1;
        assert!(turns < 20_000, "it does not come to an end");
    }
    let Bench { mut connection, mut shared, counts, .. } = bench;
    let written = std::mem::take(&mut connection.stream.written);
    connection.close(TOKEN, &mut shared);
    assert_eq!(shared.pool.lent(), 0);
    Played {
        written,
        frames: counts.frames.value(),
        refused: counts.malformed.value() + counts.too_long.value(),
        truncated: counts.truncated.value(),
    }
}

fn units() -> impl Strategy<Value = Units> {
    let length = prop_oneof![6 => 0..300_usize, 1 => 0..70_000_usize, 1 => 0..600_000_usize];
    prop::collection::vec((any::<u8>(), length, any::<[u8; 4]>()), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn any_reads_and_any_writes_give_what_one_of_each_gives(
        index in 0..offers().len(),
        units in units(),
        rubbish in prop::collection::vec(any::<u8>(), 0..12),
        cut_off in 0..200_usize,
        cuts in prop::collection::vec(prop_oneof![1..40_usize, 1..40_000_usize, 1..400_000_usize], 1..40),
        takes in prop::collection::vec((1..50_000_usize, any::<bool>()), 0..60),
        proxied in any::<bool>(),
        greeted in any::<bool>(),
    ) {
        let template = || greeted.then(|| Template::parse("to {peer} at {local}", "").unwrap());
        let terms = Terms {
            max: Some(500_000),
            proxy: proxied.then_some(Mode::Any),
            banner: template(),
            tag: template(),
            // The same for both runs.
            clock: || std::time::UNIX_EPOCH,
            ..Terms::default()
        };
        let header = if proxied { PROXY_HEADER } else { &[] };
        let sound = conversation(offers()[index].name, &units);
        // Often it ends in the middle of a unit, or as no unit can.
        let sound = &sound[..sound.len() - cut_off.min(sound.len())];
        let sent = [header, sound, &rubbish].concat();

        let want = play(index, &terms, Script::new([bytes(&sent), Incoming::Eof]));
        let (mut incoming, mut rest) = (Vec::new(), &sent[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            // A long one byte by byte would take for ever.
            let (piece, others) = rest.split_at((*cut).max(sent.len() / 2000).min(rest.len()));
            incoming.push(bytes(piece));
            rest = others;
        }
        incoming.push(Incoming::Eof);
        let outgoing = takes.iter().flat_map(|&(count, blocks)| {
            [Some(Outgoing::Take(count)), blocks.then_some(Outgoing::WouldBlock)].into_iter().flatten()
        });
        let got = play(index, &terms, Script::new(incoming).taking(outgoing));
        prop_assert!(got.written == want.written, "{}: {:?}", offers()[index].name, difference(&got, &want));
        prop_assert_eq!(Played { written: Vec::new(), ..got }, Played { written: Vec::new(), ..want });
    }
}

/// How long the two are, and where they first differ.
fn difference(got: &Played, want: &Played) -> (usize, usize, Option<usize>) {
    let (got, want) = (&got.written, &want.written);
    (got.len(), want.len(), got.iter().zip(want).position(|(got, want)| got != want))
}
