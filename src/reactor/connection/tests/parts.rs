//! Protocols that stop between the parts of an answer.

use super::*;

/// Answers four bytes with `HEAD` and an echo of the last three. It looks at the first one together with the second.
#[derive(Default)]
struct Headed {
    in_body: bool,
}

impl Protocol for Headed {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        if !self.in_body {
            if input.len() < 2 {
                return Received::answered(0, 0, Next::Rest { need: 2 });
            }
            self.in_body = true;
            out.extend(b"HEAD");
            return Received::answered(1, 0, Next::Full);
        }
        if input.len() < 3 {
            return Received::answered(0, 0, Next::Rest { need: 3 });
        }
        self.in_body = false;
        Received::echo(3, 1, if input.len() > 3 { Next::Full } else { Next::Idle })
    }
}

#[test]
fn an_echo_leaves_with_the_output_before_it_in_one_write() {
    let mut bench = Bench::speaking(Headed::default(), Script::new([bytes(b"-abc-def-ghi")]));
    assert_eq!(bench.turn(READABLE), Outcome::Wait);
    assert_eq!(bench.written(), b"HEADabcHEADdefHEADghi");
    assert_eq!(bench.connection.stream.writes, 3);
    assert!(bench.connection.pending.is_none(), "nothing was copied");
}

#[test]
fn output_and_echoes_keep_their_order_at_every_two_cuts_and_every_short_write() {
    let sent = b"-abc-def-ghi";
    for (first, second, taken) in (0..12).flat_map(|first| {
        (first..12).flat_map(move |second| (0..21).map(move |taken| (first, second, taken)))
    }) {
        let pieces = [&sent[..first], &sent[first..second], &sent[second..]];
        let incoming = pieces.into_iter().filter(|piece| !piece.is_empty()).map(bytes);
        let outgoing = [Outgoing::Take(taken), Outgoing::WouldBlock];
        let script =
            Script::new(incoming).taking(outgoing.into_iter().skip(usize::from(taken == 0)));
        let mut bench = Bench::speaking(Headed::default(), script);
        for _ in 0..4 {
            bench.turn(Readiness::ALL);
        }
        assert_eq!(bench.written(), b"HEADabcHEADdefHEADghi", "{first}, {second}, {taken}");
        assert!(bench.connection.pending.is_none(), "{first}, {second}, {taken}");
    }
}

/// Asks for a call when its output has gone, and has more to answer.
#[derive(Default)]
struct Long {
    is_sending: bool,
}

impl Protocol for Long {
    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        assert!(!self.is_sending, "the answer before is not complete");
        self.is_sending = true;
        out.extend(&input[..1]);
        out.call_when_sent();
        Received::answered(1, 1, if input.len() > 1 { Next::Full } else { Next::Idle })
    }

    fn sent(&mut self, _: Token, out: &mut Output) {
        self.is_sending = false;
        out.extend(b"!");
    }
}

#[test]
fn a_protocol_that_waits_for_its_output_to_go_is_shown_no_more_before() {
    let mut bench = Bench::speaking(Long::default(), Script::new([bytes(b"abc")]));
    while let Outcome::Again { .. } = bench.turn(Readiness::ALL) {}
    assert_eq!(bench.written(), b"a!b!c!");
}
