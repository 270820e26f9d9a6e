//! The connection against streams that play a script: every order of short reads, short writes, would-block,
//! EOF and errors, without a kernel.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use proptest::prelude::*;

mod outbound;
mod parts;
mod protocols;

use super::{
    shared::{MOST_AT_ONCE, Shared},
    *,
};
use crate::{
    Config, Counts, Limits, Peer,
    protocol::{Frames, Next, Output, Raw, Received},
};

/// What one read of a script does; behind the end of the script every read would block.
#[derive(Debug, Clone)]
enum Incoming {
    Bytes(Vec<u8>),
    WouldBlock,
    Eof,
    Error(ErrorKind),
}

/// What one write of a script does; behind the end of the script every write takes all.
#[derive(Debug, Clone, Copy)]
enum Outgoing {
    Take(usize),
    WouldBlock,
    Error(ErrorKind),
}

#[derive(Debug, Default)]
struct Script {
    incoming: VecDeque<Incoming>,
    outgoing: VecDeque<Outgoing>,
    written: Vec<u8>,
    fin: bool,
    /// How asking whether it is connected goes; behind the end it is.
    connecting: VecDeque<ErrorKind>,
    reads: usize,
    writes: usize,
    /// How much the last read asked for.
    asked: usize,
}

impl Script {
    fn new(incoming: impl IntoIterator<Item = Incoming>) -> Self {
        Self { incoming: incoming.into_iter().collect(), ..Self::default() }
    }

    fn taking(mut self, outgoing: impl IntoIterator<Item = Outgoing>) -> Self {
        self.outgoing = outgoing.into_iter().collect();
        self
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        self.asked = buffer.len();
        match self.incoming.pop_front() {
            None | Some(Incoming::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Some(Incoming::Error(kind)) => Err(kind.into()),
            Some(Incoming::Eof) => {
                self.incoming.push_front(Incoming::Eof);
                Ok(0)
            }
            Some(Incoming::Bytes(mut bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.incoming.push_front(Incoming::Bytes(bytes.split_off(count)));
                }
                Ok(count)
            }
        }
    }

    fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let mut joined = vec![0; buffers.iter().map(|buffer| buffer.len()).sum()];
        let count = self.read(&mut joined)?;
        let mut rest = &joined[..count];
        for buffer in buffers {
            let part = buffer.len().min(rest.len());
            buffer[..part].copy_from_slice(&rest[..part]);
            rest = &rest[part..];
        }
        Ok(count)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.fin, "a write behind FIN");
        self.writes += 1;
        let count = match self.outgoing.pop_front() {
            None => bytes.len(),
            Some(Outgoing::Take(count)) => count.min(bytes.len()),
            Some(Outgoing::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Some(Outgoing::Error(kind)) => return Err(kind.into()),
        };
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.write(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.fin = true;
        Ok(())
    }

    fn connected(&mut self) -> io::Result<()> {
        self.connecting.pop_front().map_or(Ok(()), |kind| Err(kind.into()))
    }
}

/// Less than the loop's, so that less fills it.
const SCRATCH: usize = 260 << 10;

const TOKEN: Token = Token::new(0, 1);
const READABLE: Readiness = Readiness { readable: true, writable: false, more_behind: false };
const WRITABLE: Readiness = Readiness { readable: false, writable: true, more_behind: false };

/// A connection on a script, with what a loop would lend it.
struct Bench<P = Frames> {
    connection: Connection<Script>,
    protocol: P,
    scratch: Vec<u8>,
    shared: Shared,
    counts: Counts,
    connecting_to: Option<Peer>,
}

impl Bench {
    fn new(script: Script) -> Self {
        Self::speaking(Frames::default(), script)
    }
}

impl<P: Protocol> Bench<P> {
    fn speaking(protocol: P, script: Script) -> Self {
        Self {
            connection: Connection::accepted(script, 1, 0, &protocol),
            protocol,
            scratch: vec![0; SCRATCH],
            shared: shared(1 << 30),
            counts: Counts::default(),
            connecting_to: None,
        }
    }

    fn parts(&mut self) -> (&mut Connection<Script>, &mut [u8], Context<'_, P>) {
        let Self { connection, protocol, scratch, shared, counts, .. } = self;
        let cx = Context { token: TOKEN, protocol, counts, shared };
        (connection, scratch, cx)
    }

    /// A turn, and what the dispatcher does about memory over the limit where there is no other connection.
    fn turn(&mut self, readiness: Readiness) -> Outcome {
        let peer = self.connecting_to;
        let (connection, scratch, mut cx) = self.parts();
        let outcome = match peer {
            Some(peer) if connection.is_connecting() => connection.connect(&peer, scratch, &mut cx),
            _ => connection.turn(readiness, scratch, &mut cx),
        };
        if outcome == Outcome::Wait && cx.shared.pool.is_over() {
            connection.end_for_memory(&mut cx);
            return connection.turn(Readiness::ALL, scratch, &mut cx);
        }
        outcome
    }

    fn written(&self) -> &[u8] {
        &self.connection.stream.written
    }
}

fn shared(max_memory: usize) -> Shared {
    Shared::new(Arc::new(Limits::new(&Config { max_memory, ..Config::default() })))
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes()[..], payload].concat()
}

/// Payload bytes in which a displaced or repeated one shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251).to_le_bytes()[0]).collect()
}

fn bytes(bytes: &[u8]) -> Incoming {
    Incoming::Bytes(bytes.to_vec())
}

#[test]
fn what_every_idle_connection_costs() {
    // A stream is a tagged descriptor: 8 bytes, as here.
    assert_eq!(size_of::<Option<Connection<(u32, u32)>>>(), 48);
}

#[test]
fn one_frame_in_one_read_leaves_in_one_write_and_leaves_nothing_behind() {
    let hello = frame(b"hello");
    let mut bench = Bench::new(Script::new([bytes(&hello)]));
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), hello);
    let script = &bench.connection.stream;
    assert_eq!((script.reads, script.writes), (1, 1), "a short read is the last");
    assert!(bench.connection.pending.is_none());
    assert_eq!(bench.connection.frames, 1);
}

#[test]
fn many_frames_in_one_read_leave_in_one_write() {
    let all: Vec<u8> = (0..100).flat_map(|i| frame(&pattern(i))).collect();
    let mut bench = Bench::new(Script::new([bytes(&all)]));
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), all);
    assert_eq!(bench.connection.stream.writes, 1);
    assert_eq!(bench.connection.frames, 100);
}

#[test]
fn a_frame_in_reads_of_one_byte() {
    let all = [frame(b"hello"), frame(b""), frame(&pattern(300))].concat();
    let mut bench = Bench::new(Script::new(all.iter().map(|&byte| bytes(&[byte]))));
    let mut turns = 0;
    while bench.turn(READABLE) == Outcome::Wait && bench.written().len() < all.len() {
        turns += 1;
        assert!(turns <= all.len());
    }
    assert_eq!(bench.written(), all);
    assert!(bench.connection.pending.is_none());
}

#[test]
fn the_rest_of_one_frame_and_the_next_leave_in_one_write() {
    let (first, second) = (frame(&pattern(1000)), frame(b"second"));
    let all = [&first[..], &second, &first].concat();
    let cut = 400;
    let end = first.len() + second.len() + 10;
    let script = Script::new([bytes(&all[..cut]), Incoming::WouldBlock, bytes(&all[cut..end])]);
    let mut bench = Bench::new(script);
    bench.turn(READABLE);
    assert_eq!(bench.written(), b"");
    bench.connection.stream.incoming.pop_front();
    bench.turn(READABLE);
    assert_eq!(bench.written(), &all[..first.len() + second.len()]);
    assert_eq!(bench.connection.stream.writes, 1);
    assert_eq!(bench.connection.pending.as_ref().unwrap().input.bytes(), &all[end - 10..end]);
}

#[test]
fn short_writes_keep_the_order_and_while_output_is_owed_nothing_is_read() {
    let all: Vec<u8> = (0..50).flat_map(|i| frame(&pattern(i * 7))).collect();
    let script = Script::new([bytes(&all), bytes(&all)]).taking([
        Outgoing::Take(5),
        Outgoing::Take(1),
        Outgoing::WouldBlock,
        Outgoing::Take(100),
        Outgoing::WouldBlock,
    ]);
    let mut bench = Bench::new(script);
    let more = Readiness { more_behind: true, ..READABLE };
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!((bench.written(), bench.connection.stream.reads), (&all[..6], 1));
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.connection.stream.reads, 1, "it owes output and does not read");
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.written(), &all[..106]);
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.written(), [&all[..], &all].concat(), "sent, and read on without an event");
    assert_eq!(bench.connection.stream.reads, 3, "until it would block");
    assert!(bench.connection.pending.is_none());
    assert_eq!(bench.turn(more), Outcome::Wait);
}

#[test]
fn a_spurious_event_does_nothing() {
    let mut bench = Bench::new(Script::default());
    for readiness in [READABLE, WRITABLE, Readiness::ALL] {
        assert_eq!(bench.turn(readiness), Outcome::Wait);
    }
    assert_eq!(bench.written(), b"");
    assert_eq!(bench.connection.stream.reads, 2, "none for writable alone");
}

#[test]
fn fin_with_the_last_frame_is_seen_in_the_same_turn() {
    let hello = frame(b"hello");
    let mut bench = Bench::new(Script::new([bytes(&hello), Incoming::Eof]));
    let closed = Readiness { more_behind: true, ..READABLE };
    assert_eq!(bench.turn(closed), Outcome::Closed(Reason::PeerClosed));
    assert_eq!(bench.written(), hello);
}

#[test]
fn fin_while_output_is_blocked_waits_until_all_is_taken() {
    let hello = frame(&pattern(5000));
    let script = Script::new([bytes(&hello), Incoming::Eof]).taking([
        Outgoing::Take(10),
        Outgoing::WouldBlock,
        Outgoing::Take(4000),
        Outgoing::WouldBlock,
    ]);
    let mut bench = Bench::new(script);
    let closed = Readiness { more_behind: true, ..READABLE };
    assert_eq!(bench.turn(closed), Outcome::Wait);
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.turn(WRITABLE), Outcome::Closed(Reason::PeerClosed));
    assert_eq!(bench.written(), hello);
}

#[test]
fn fin_inside_a_frame_at_every_cut_echoes_the_whole_ones_and_is_counted() {
    let whole = frame(b"whole");
    let cut_short = frame(b"cut short");
    for cut in 0..cut_short.len() {
        let sent = [&whole[..], &cut_short[..cut]].concat();
        let mut bench = Bench::new(Script::new([bytes(&sent), Incoming::Eof]));
        let closed = Readiness { more_behind: true, ..READABLE };
        assert_eq!(bench.turn(closed), Outcome::Closed(Reason::PeerClosed));
        assert_eq!(bench.written(), whole, "cut {cut}");
        assert_eq!(bench.counts.truncated.value(), u64::from(cut > 0), "cut {cut}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_after_the_frames_before_it_and_lingers() {
    let sent = [frame(b"good"), vec![0xFF; 100]].concat();
    let script =
        Script::new([bytes(&sent), bytes(b"more that nobody wants"), Incoming::WouldBlock]);
    let mut bench = Bench::new(script);
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), frame(b"good"));
    assert!(bench.connection.stream.fin);
    assert_eq!(bench.connection.ended_for(), Some(Reason::Refused));
    assert_eq!(bench.counts.too_long.value(), 1);
    assert!(bench.connection.pending.is_none(), "what is discarded is not kept");
    bench.connection.stream.incoming = [bytes(&[0; 5000]), Incoming::Eof].into();
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Closed(Reason::Refused));
}

#[test]
fn a_reset_ends_it_whether_read_or_write_finds_it() {
    let reset = ErrorKind::ConnectionReset;
    let mut bench = Bench::new(Script::new([Incoming::Error(reset)]));
    assert_eq!(bench.turn(READABLE), Outcome::Closed(Reason::Reset));
    let script = Script::new([bytes(&frame(b"hello"))]).taking([Outgoing::Error(reset)]);
    assert_eq!(Bench::new(script).turn(READABLE), Outcome::Closed(Reason::Reset));
}

#[test]
fn interruptions_are_tried_again() {
    let hello = frame(b"hello");
    let script = Script::new([Incoming::Error(ErrorKind::Interrupted), bytes(&hello)])
        .taking([Outgoing::Error(ErrorKind::Interrupted), Outgoing::Take(3)]);
    let mut bench = Bench::new(script);
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), hello);
}

#[test]
fn a_peer_that_never_pauses_has_its_budget() {
    // The read itself is a step, and each full STEP of it another.
    for (length, reads) in [(10_000, 16), (100_000, 8), (SCRATCH, 4)] {
        let flood = vec![7; length];
        let mut bench = Bench::speaking(Raw, Script::new((0..100).map(|_| bytes(&flood))));
        bench.scratch.truncate(flood.len());
        assert!(matches!(bench.turn(READABLE), Outcome::Again { .. }));
        assert_eq!(bench.connection.stream.reads, reads, "of {length} bytes");
        for _ in 0..100 / reads {
            bench.turn(Readiness::ALL);
        }
        assert_eq!(bench.written().len(), 100 * flood.len());
    }
}

#[test]
fn a_long_frame_is_read_behind_its_beginning_and_goes_out_from_there() {
    let long = frame(&pattern(3 << 20));
    let next = frame(b"next");
    let sent = [&long[..], &next].concat();
    let pieces = sent.chunks(100_000).map(bytes);
    let script = Script::new(pieces).taking([Outgoing::Take(1 << 20), Outgoing::WouldBlock]);
    let mut bench = Bench::new(script);
    while bench.written().len() < 1 << 20 {
        assert!(!matches!(bench.turn(Readiness::ALL), Outcome::Closed(_)));
    }
    let held = bench.shared.pool.lent();
    assert!(held <= long.len() + 2 * SCRATCH, "{held} bytes for a frame of {}", long.len());
    while let Outcome::Again { .. } = bench.turn(Readiness::ALL) {}
    assert_eq!(bench.written(), sent);
    assert_eq!(bench.shared.pool.lent(), 0);
}

#[test]
fn a_long_frame_goes_out_in_turns_that_each_have_their_budget() {
    let sent = frame(&pattern(10 << 20));
    let mut bench = Bench::new(Script::new(sent.chunks(1 << 20).map(bytes)));
    let (mut before, mut turns) = (0, 0);
    while let Outcome::Again { .. } = bench.turn(Readiness::ALL) {
        let written = bench.written().len();
        assert!(written - before <= 2 * MOST_AT_ONCE, "{} bytes in a turn", written - before);
        (before, turns) = (written, turns + 1);
        assert!(turns < 100, "it does not come to an end");
    }
    assert_eq!(bench.written(), sent);
    assert!(bench.connection.pending.is_none());
}

#[test]
fn memory_over_the_limit_ends_the_one_that_needs_it() {
    let mut bench =
        Bench::new(Script::new([bytes(&frame(b"first")), bytes(&frame(&pattern(9000))[..6000])]));
    bench.shared = shared(4096);
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), frame(b"first"), "one that needs none is served");
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert!(bench.connection.stream.fin);
    assert_eq!(bench.connection.ended_for(), Some(Reason::Memory));
    assert_eq!(bench.shared.pool.lent(), 0);
    bench.connection.stream.incoming = [bytes(&[0; 5000]), Incoming::Eof].into();
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Closed(Reason::Memory), "after it lingered");
}

/// Answers each byte with many, and stops when its output is full.
struct Amplifier;

impl Protocol for Amplifier {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        let mut consumed = 0;
        while consumed < input.len() && !out.is_full() {
            out.extend(&[input[consumed]; 100_000]);
            consumed += 1;
        }
        let next = if consumed < input.len() { Next::Full } else { Next::Idle };
        Received::answered(consumed, consumed as u64, next)
    }
}

#[test]
fn a_protocol_that_stops_at_the_high_water_mark_is_asked_again_when_that_has_gone() {
    let script =
        Script::new([bytes(b"abcdefgh")]).taking([Outgoing::Take(7), Outgoing::WouldBlock]);
    let mut bench = Bench::speaking(Amplifier, script);
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert!(bench.connection.pending.as_ref().unwrap().output.len() < 400_000);
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    let expected: Vec<u8> = b"abcdefgh".iter().flat_map(|&byte| vec![byte; 100_000]).collect();
    assert!(bench.written() == expected);
    assert!(bench.connection.pending.is_none());
}

#[test]
fn a_fast_reader_of_a_long_answer_has_its_budget() {
    let mut bench = Bench::speaking(Amplifier, Script::new([bytes(&[7; 1000])]));
    assert!(matches!(bench.turn(READABLE), Outcome::Again { .. }));
    let first = bench.written().len();
    assert!(first < 3_000_000, "{first} bytes in one turn");
    while let Outcome::Again { .. } = bench.turn(Readiness::ALL) {}
    assert_eq!(bench.written().len(), 100_000_000);
    assert!(bench.connection.pending.is_none());
}

/// Echoes pairs of bytes, each once it has seen the byte behind it, and says that two bytes would do.
struct Hasty;

impl Protocol for Hasty {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        let consumed = (input.len() - 1) / 2 * 2;
        let next = Next::Rest { need: input.len() - consumed + 1 };
        Received::echo(consumed, 1, next)
    }
}

#[test]
fn replies_of_a_second_round_leave_behind_those_that_are_owed() {
    let script = Script::new([bytes(b"a"), bytes(b"bcdefghi")]).taking([
        Outgoing::WouldBlock,
        // The peer reads on while the second round is answered.
        Outgoing::Take(100),
    ]);
    let mut bench = Bench::speaking(Hasty, script);
    while bench.written().len() < 8 {
        assert_eq!(bench.turn(Readiness::ALL), Outcome::Wait);
    }
    assert_eq!(bench.written(), b"abcdefgh");
}

/// Says that it has more to answer when it has not.
struct Mistaken;

impl Protocol for Mistaken {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        let consumed = if input.len() < 3 { 0 } else { input.len() };
        Received::echo(consumed, 1, Next::Full)
    }
}

#[test]
fn a_protocol_that_is_full_with_nothing_to_answer_does_not_hold_up_the_loop() {
    let mut bench = Bench::speaking(Mistaken, Script::new([bytes(b"ab")]));
    let outcome = bench.turn(READABLE);
    assert!(matches!(outcome, Outcome::Again { .. }), "it was asked as often as a turn allows");
    let mut bench = Bench::speaking(Mistaken, Script::new([bytes(b"abc"), bytes(b"def")]));
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Wait);
    assert_eq!(bench.written(), b"abcdef");
}

#[test]
fn a_long_length_and_a_few_bytes_reserve_next_to_nothing() {
    let head = (16_u32 << 20).to_le_bytes();
    let mut bench = Bench::new(Script::new([bytes(&head), bytes(b"a"), bytes(b"b")]));
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Wait);
    assert!(bench.shared.pool.lent() <= 1024, "{}", bench.shared.pool.lent());
}

#[test]
fn a_long_frame_that_went_out_leaves_no_memory_behind_while_a_short_one_is_owed() {
    let long = frame(&pattern(1 << 20));
    let sent = [&long[..], &frame(b"short")].concat();
    let pieces = sent.chunks(300_000).map(bytes);
    let script = Script::new(pieces).taking([Outgoing::Take(long.len() + 2), Outgoing::WouldBlock]);
    let mut bench = Bench::new(script);
    while let Outcome::Again { .. } = bench.turn(Readiness::ALL) {}
    assert_eq!(bench.connection.pending.as_ref().unwrap().output.len(), 7);
    assert!(bench.shared.pool.lent() <= 1024, "{}", bench.shared.pool.lent());
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![8 => 0..200_usize, 2 => 0..100_000_usize, 1 => 0..400_000_usize];
    prop::collection::vec(length.prop_map(pattern), 0..20)
}

proptest! {
    #[test]
    fn any_reads_and_any_writes_give_the_whole_frames_and_no_more(
        payloads in payloads(),
        cuts in prop::collection::vec(1..40_000_usize, 1..40),
        takes in prop::collection::vec((1..50_000_usize, any::<bool>()), 0..60),
        short in 0..8_usize,
    ) {
        let whole: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        let mut stream = whole.clone();
        stream.extend(&frame(&pattern(100))[..short]);
        let (mut incoming, mut rest) = (Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, others) = rest.split_at((*cut).min(rest.len()));
            incoming.push(bytes(piece));
            rest = others;
        }
        incoming.push(Incoming::Eof);
        let outgoing = takes.iter().flat_map(|&(count, blocks)| {
            [Some(Outgoing::Take(count)), blocks.then_some(Outgoing::WouldBlock)].into_iter().flatten()
        });
        let script = Script::new(incoming).taking(outgoing);
        let mut bench = Bench::new(script);
        let mut turns = 0;
        while !matches!(bench.turn(Readiness::ALL), Outcome::Closed(_)) {
            prop_assert!(whole.starts_with(bench.written()));
            turns += 1;
            prop_assert!(turns < 10_000, "it does not come to an end");
        }
        prop_assert!(bench.written() == whole);
        bench.connection.close(TOKEN, &mut bench.shared);
        prop_assert_eq!(bench.shared.pool.lent(), 0);
    }
}
