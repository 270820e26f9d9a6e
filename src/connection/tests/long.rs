//! Long frames, which go through a pipe.

use super::{
    super::long::{HEAD, Long},
    *,
};
use crate::protocol::Ending;

/// Longer than one read, so that its rest is worth a pipe.
fn long_frame() -> Vec<u8> {
    frame(&pattern(700_000))
}

fn splicing(incoming: impl IntoIterator<Item = Incoming>) -> Script {
    Script { splices: true, ..Script::new(incoming) }
}

/// What is held in buffers, and what in a pipe.
fn held<P>(bench: &Bench<P>) -> (usize, usize) {
    let cold = bench.connection.cold.as_ref().unwrap();
    (cold.input.capacity() + cold.output.capacity(), cold.long.as_ref().map_or(0, Long::held))
}

#[test]
fn the_rest_of_a_long_frame_goes_through_a_pipe_and_no_buffer() {
    let sent = long_frame();
    let script = splicing([bytes(&sent[..500_000]), Incoming::WouldBlock, bytes(&sent[500_000..])]);
    let mut bench = Bench::new(script);
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert_eq!((bench.written(), held(&bench)), (&b""[..], (0, 500_000)));
    assert_eq!(bench.shared.stock.pool.lent(), 500_000, "a pipe counts too");
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert!(bench.written() == sent);
    assert_eq!((bench.connection.stream.writes, bench.connection.frames), (1, 1));
    assert_eq!(bench.connection.received, sent.len() as u64);
    assert!(bench.connection.cold.is_none());
    assert_eq!(bench.shared.stock.pool.lent(), 0);
    assert!(bench.shared.keeps_any(), "the pipe waits for the next one");
    bench.shared.trim();
    bench.shared.trim();
    assert!(!bench.shared.keeps_any());
}

#[test]
fn behind_a_long_frame_only_a_head_is_read_first_and_behind_a_short_one_all_there_is() {
    let long = long_frame();
    let mut bench = Bench::new(splicing([bytes(&long), Incoming::WouldBlock]));
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert!(bench.written() == long);
    assert_eq!(bench.connection.stream.asked, HEAD);
    bench.connection.stream.incoming = [bytes(&long)].into();
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert!(bench.written() == [&long[..], &long].concat());
    bench.connection.stream.incoming = [bytes(&frame(b"short")), bytes(&frame(b"next"))].into();
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert_eq!(bench.connection.stream.asked, SCRATCH);
    assert!(bench.written().ends_with(&[frame(b"short"), frame(b"next")].concat()));
}

#[test]
fn short_frames_before_a_long_one_leave_first_however_slow_the_reader() {
    let sent = [frame(b"first"), long_frame(), frame(b"last")].concat();
    let script = splicing([bytes(&sent)]).taking([
        Outgoing::Take(3),
        Outgoing::WouldBlock,
        Outgoing::Take(200),
        Outgoing::Take(100_000),
        Outgoing::WouldBlock,
        Outgoing::Take(1),
        Outgoing::WouldBlock,
    ]);
    let mut bench = Bench::new(script);
    while bench.written().len() < sent.len() {
        assert_eq!(bench.turn(WRITABLE), Turn::Wait);
        assert!(sent.starts_with(bench.written()));
        bench.turn(READABLE);
    }
    assert!(bench.connection.cold.is_none());
}

#[test]
fn a_full_pipe_is_poured_into_a_buffer() {
    let sent = long_frame();
    let full = Incoming::Error(ErrorKind::StorageFull);
    let script = splicing([bytes(&sent[..400_000]), full, bytes(&sent[400_000..])]);
    let mut bench = Bench::new(script);
    assert_eq!(bench.turn(Readiness::ALL), Turn::Wait);
    assert!(bench.written() == sent);
    assert_eq!(bench.shared.stock.pool.lent(), 0);
}

#[test]
fn sockets_that_cannot_be_spliced_are_asked_once() {
    let sent = long_frame();
    let mut bench = Bench::new(Script::new([bytes(&sent), bytes(&sent)]));
    assert_eq!(bench.turn(Readiness::ALL), Turn::Wait);
    assert!(bench.written() == [&sent[..], &sent].concat());
    assert!(bench.shared.stock.pipes.take(0, usize::MAX).is_none());
}

#[test]
fn fin_and_reset_inside_a_long_frame_give_its_pipe_up() {
    for (end, reason) in [
        (Incoming::Eof, Reason::PeerClosed),
        (Incoming::Error(ErrorKind::ConnectionReset), Reason::Reset),
    ] {
        let mut bench = Bench::new(splicing([bytes(&long_frame()[..400_000]), end]));
        assert_eq!(bench.turn(Readiness::ALL), Turn::Gone(reason));
        assert_eq!(bench.written(), b"");
        let truncated = u64::from(reason == Reason::PeerClosed);
        assert_eq!(bench.shared.stats.truncated.value(), truncated);
        bench.connection.close(&mut bench.shared);
        assert_eq!(bench.shared.stock.pool.lent(), 0);
        assert!(!bench.shared.stock.pipes.keeps_any(), "what is in it is nobody else's");
    }
}

/// Echoes frames and says goodbye.
struct Polite(Frames);

impl Protocol for Polite {
    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        self.0.receive(token, input, seen, out)
    }

    fn ending(&mut self, _: Token, _: Ending, out: &mut Output) {
        out.extend(b"goodbye");
    }
}

#[test]
fn last_words_leave_behind_a_long_frame_that_is_owed_and_instead_of_one_that_is_not_whole() {
    let sent = long_frame();
    for (came, expected) in
        [(sent.len(), [&sent[..], b"goodbye"].concat()), (600_000, b"goodbye".into())]
    {
        let script = splicing([bytes(&sent[..came])]).taking([Outgoing::WouldBlock]);
        let mut bench = Bench::speaking(Polite(Frames::default()), script);
        assert_eq!(bench.turn(READABLE), Turn::Wait);
        let Bench { connection, protocol, shared, .. } = &mut bench;
        connection.end(Reason::Idle, Ending::Idle, TOKEN, protocol, shared);
        while !bench.connection.stream.fin {
            bench.turn(Readiness::ALL);
        }
        assert!(bench.written() == expected, "{came} bytes came");
        assert_eq!(bench.shared.stock.pool.lent(), 0);
    }
}

#[test]
fn a_pipe_holds_no_more_than_the_limit_on_memory() {
    let sent = long_frame();
    let mut bench = Bench::new(splicing([bytes(&sent), Incoming::WouldBlock]));
    bench.shared = shared(500_000);
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert_eq!(bench.connection.ended_for(), Some(Reason::Memory));
    assert_eq!((bench.written(), bench.shared.stock.pool.lent()), (&b""[..], 0));
}

#[test]
fn long_frames_beyond_the_pipes_there_are_go_through_buffers() {
    let sent = long_frame();
    let mut bench = Bench::new(splicing([bytes(&sent)]));
    let pipes: Vec<Pipe> =
        std::iter::from_fn(|| bench.shared.stock.pipes.take(0, usize::MAX)).collect();
    assert_eq!(pipes.len(), 16);
    assert_eq!(bench.turn(Readiness::ALL), Turn::Wait);
    assert!(bench.written() == sent);
    for pipe in pipes {
        bench.shared.stock.pipes.put_back(pipe);
    }
    bench.connection.stream.incoming = [bytes(&sent[..400_000])].into();
    assert_eq!(bench.turn(READABLE), Turn::Wait);
    assert_eq!(held(&bench), (0, 400_000));
}

/// Echoes frames, and reads on whatever it owes.
struct Greedy(Frames);

impl Protocol for Greedy {
    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        self.0.receive(token, input, seen, out)
    }

    fn reads_while_owed(&self) -> bool {
        true
    }
}

#[test]
fn what_is_read_while_a_long_frame_is_owed_is_answered_behind_it() {
    let sent = [long_frame(), frame(b"short"), long_frame()].concat();
    let blocked = [Outgoing::Take(1000), Outgoing::WouldBlock, Outgoing::WouldBlock];
    let script = splicing([bytes(&sent)]).taking(blocked);
    let mut bench = Bench::speaking(Greedy(Frames::default()), script);
    assert_eq!(bench.turn(Readiness::ALL), Turn::Wait);
    while bench.written().len() < sent.len() {
        assert_eq!(bench.turn(Readiness::ALL), Turn::Wait);
    }
    assert!(bench.written() == sent);
}
