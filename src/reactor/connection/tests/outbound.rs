//! Connections that go out: connecting, speaking unasked, and reading on while something is owed.

use super::*;
use crate::protocol::{Next, Received, Refusal};

const PEER: Peer = Peer::Unix;

/// Says `hello` first, remembers what comes back, and reads on like a client if it is one.
#[derive(Default)]
struct Caller {
    client: bool,
    opened: Vec<Peer>,
    heard: Vec<u8>,
}

impl Protocol for Caller {
    fn opened(&mut self, _: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        self.opened.push(ends.peer);
        out.extend(b"hello");
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
        self.heard.extend_from_slice(input);
        Received::answered(input.len(), 1, Next::Idle)
    }

    fn reads_while_owed(&self) -> bool {
        self.client
    }
}

impl Bench<Caller> {
    fn connecting(script: Script) -> Self {
        let protocol = Caller { client: true, ..Caller::default() };
        Self {
            connection: Connection::connecting(script, 1, 0),
            connecting_to: Some(PEER),
            ..Self::speaking(protocol, Script::default())
        }
    }

    fn open(client: bool, script: Script) -> Self {
        Self::speaking(Caller { client, ..Caller::default() }, script)
    }

    fn speak(&mut self, words: &[u8]) -> Outcome {
        let (connection, _, mut cx) = self.parts();
        connection.speak(&mut cx, |_, _, out| out.extend(words))
    }
}

fn answering(answers: impl IntoIterator<Item = ErrorKind>) -> Script {
    Script { connecting: answers.into_iter().collect(), ..Script::default() }
}

#[test]
fn the_protocol_speaks_first_once_the_peer_has_answered() {
    let mut bench = Bench::connecting(answering([ErrorKind::WouldBlock]));
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!((bench.protocol.opened.len(), bench.written()), (0, &b""[..]));
    assert!(bench.connection.is_connecting());
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!((&bench.protocol.opened[..], bench.written()), (&[PEER][..], &b"hello"[..]));
    assert_eq!(bench.counts.opened.value(), 1);
    assert!(bench.connection.pending.is_none(), "its peer's address is not kept");
}

#[test]
fn what_came_with_the_answer_is_read_in_the_same_turn() {
    let mut bench = Bench::connecting(Script::new([bytes(b"banner")]));
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.protocol.heard, b"banner");
}

#[test]
fn each_way_that_connecting_fails_has_its_name() {
    for (kind, reason) in [
        (ErrorKind::ConnectionRefused, Reason::ConnectRefused),
        (ErrorKind::TimedOut, Reason::ConnectTimeout),
        (ErrorKind::HostUnreachable, Reason::ConnectFailed),
        (ErrorKind::ConnectionReset, Reason::Reset),
    ] {
        let mut bench = Bench::connecting(answering([kind]));
        assert_eq!(bench.turn(Readiness::ALL), Outcome::Closed(reason));
        assert!(bench.protocol.opened.is_empty());
    }
}

#[test]
fn a_stop_ends_connecting_at_once() {
    let mut bench = Bench::connecting(answering([ErrorKind::WouldBlock]));
    bench.shared.draining = true;
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Closed(Reason::Drained));
}

#[test]
fn nothing_is_said_before_the_peer_has_answered() {
    let mut bench = Bench::connecting(answering([ErrorKind::WouldBlock]));
    assert_eq!(bench.speak(b"too soon"), Outcome::Wait);
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.written(), b"hello");
}

#[test]
fn what_is_said_goes_behind_what_is_owed() {
    let script = Script::default().taking([Outgoing::Take(2), Outgoing::WouldBlock]);
    let mut bench = Bench::open(true, script);
    for words in [&b"one "[..], b"two ", b"", b"three"] {
        assert_eq!(bench.speak(words), Outcome::Wait);
    }
    assert_eq!((bench.written(), bench.connection.stream.writes), (&b"on"[..], 2));
    assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
    assert_eq!(bench.written(), b"one two three");
    assert!(bench.connection.pending.is_none());
}

#[test]
fn a_client_that_owes_reads_on_and_a_server_does_not() {
    for client in [true, false] {
        let script = Script::new([bytes(b"an answer")]).taking([
            Outgoing::Take(2),
            Outgoing::WouldBlock,
            Outgoing::WouldBlock,
        ]);
        let mut bench = Bench::open(client, script);
        bench.speak(b"a question");
        assert_eq!(bench.turn(READABLE), Outcome::Wait);
        assert_eq!(bench.protocol.heard.is_empty(), !client);
        assert_eq!(bench.turn(Readiness::ALL), Outcome::Wait);
        assert_eq!(bench.turn(WRITABLE), Outcome::Wait);
        assert_eq!(bench.written(), b"a question");
        assert_eq!(bench.protocol.heard, b"an answer");
    }
}

#[test]
fn fin_while_a_client_owes_waits_until_all_is_taken() {
    let script = Script::new([bytes(b"bye"), Incoming::Eof]).taking([
        Outgoing::Take(2),
        Outgoing::WouldBlock,
        Outgoing::WouldBlock,
    ]);
    let mut bench = Bench::open(true, script);
    bench.speak(b"words");
    assert_eq!(bench.turn(Readiness::ALL), Outcome::Wait);
    assert_eq!(bench.protocol.heard, b"bye");
    assert_eq!(bench.turn(WRITABLE), Outcome::Closed(Reason::PeerClosed));
    assert_eq!(bench.written(), b"words");
}

proptest! {
    #[test]
    fn any_reads_writes_and_words_arrive_whole_and_in_order(
        steps in prop::collection::vec((0..3_u8, 0..3000_usize), 0..80),
        takes in prop::collection::vec((1..2000_usize, any::<bool>()), 0..60),
    ) {
        let outgoing = takes.iter().flat_map(|&(count, blocks)| {
            [Some(Outgoing::Take(count)), blocks.then_some(Outgoing::WouldBlock)].into_iter().flatten()
        });
        let mut bench = Bench::open(true, Script::default().taking(outgoing));
        let (mut said, mut told) = (Vec::new(), Vec::new());
        for (step, &(what, length)) in steps.iter().enumerate() {
            let words: Vec<u8> = pattern(length + step).split_off(step);
            match what {
                0 => {
                    prop_assert_eq!(bench.speak(&words), Outcome::Wait);
                    said.extend(words);
                }
                1 if length > 0 => {
                    told.extend_from_slice(&words);
                    bench.connection.stream.incoming.push_back(Incoming::Bytes(words));
                    bench.turn(READABLE);
                }
                _ => { bench.turn(WRITABLE); }
            }
        }
        for _ in 0..200 {
            bench.turn(Readiness::ALL);
        }
        prop_assert!(bench.written() == said);
        prop_assert!(bench.protocol.heard == told);
        prop_assert!(bench.connection.pending.is_none());
    }
}
