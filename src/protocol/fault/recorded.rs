//! Faults as a journal records them: settled, so that nothing of them is left to chance.

use std::{borrow::Cow, str::FromStr};

use super::{
    Units,
    kind::{Delay, Kind},
    text::Span,
};
use crate::random::Random;

/// A fault that has happened, and that a plan can [repeat](super::Plan::repeating).
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The ordinal of the connection at its listener, from 1; 0 for datagrams and for the whole listener.
    pub connection: u64,
    /// The ordinal of the frame on its connection, from 1; 0 for what concerns the whole connection.
    pub frame: u64,
    /// What happened: a delay is as long as it was.
    pub kind: Kind,
    /// Where its other random numbers begin.
    pub draw: Option<u64>,
}

impl Recorded {
    /// Fails if its kind cannot happen there.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { connection, frame, kind, .. } = self;
        let wrong = |why: String| Err(format!("fault \"{kind}\": {why}"));
        let is_of_listener = kind.is_of_listener() && *frame == 0;
        match frame {
            _ if *connection == 0
                && (is_of_listener || *frame > 0 && kind.suits(Units::Datagrams)) =>
            {
                Ok(())
            }
            _ if *connection == 0 => wrong("connections are counted from 1".to_owned()),
            0 if !kind.can_concern_connection() => {
                wrong("it concerns a frame, and frames are counted from 1".to_owned())
            }
            1.. if kind.entry().is_of_connection => {
                wrong(format!("it concerns the whole connection, which is frame 0 and not {frame}"))
            }
            _ => Ok(()),
        }
    }
}

impl Kind {
    /// What it does this time: a delay is drawn. What else it draws begins at the number.
    pub(super) fn settle(&self, mut random: Random) -> (Cow<'_, Self>, Option<u64>) {
        let is_one = |span: &Span| span.least == span.most;
        match self {
            Self::Delay(Delay::Uniform(span)) if is_one(span) => (Cow::Borrowed(self), None),
            Self::Delay(delay) => {
                let time = delay.draw(&mut random).as_nanos();
                let time = u64::try_from(time).unwrap_or(u64::MAX);
                let span = Span { least: time, most: time };
                (Cow::Owned(Self::Delay(Delay::Uniform(span))), None)
            }
            Self::Slice(span) if is_one(span) => (Cow::Borrowed(self), None),
            Self::Slice(_) | Self::Corrupt(_) | Self::Garbage(_) | Self::Mask => {
                (Cow::Borrowed(self), Some(random.place()))
            }
            Self::Coalesce(_)
            | Self::Rate(_)
            | Self::Stall(..)
            | Self::Drop
            | Self::Dup
            | Self::Swap
            | Self::Length(_)
            | Self::Truncate(_)
            | Self::Fin(_)
            | Self::Reset(_)
            | Self::AcceptDelay(_)
            | Self::ResetOnAccept
            | Self::Deaf
            | Self::Mute
            | Self::Blackhole
            | Self::Loss(_)
            | Self::Refuse
            | Self::FullBacklog
            | Self::Status(_)
            | Self::ShortChunk(_)
            | Self::Drip(_)
            | Self::Close(_)
            | Self::NoPong => (Cow::Borrowed(self), None),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    /// Parses `KIND` or `KIND=VALUE`, without `delay=file:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        Self::parse(name, value, &|_| Err("files of samples cannot be read here".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        Ends, Peer, Reason, Token,
        protocol::{
            Next, Output, Protocol, Terms,
            fault::{Entry, FaultEvent, Faults, Journal, KINDS, Plan},
            offer,
            schedule::{Pieces, Step},
        },
    };

    /// What a connection sends: its bytes, and the steps of its output, each piece a step of its own.
    #[derive(Debug, Default, PartialEq)]
    struct Sent {
        bytes: Vec<u8>,
        steps: Vec<Step>,
        echoes: bool,
    }

    impl Sent {
        fn take(&mut self, out: &mut Output) {
            let mut steps = out.take_requests().map(|requests| requests.steps).unwrap_or_default();
            if steps.is_empty() {
                steps.push(Step::Send { bytes: out.bytes().len(), pieces: Pieces::Any });
            }
            for step in steps {
                match (self.steps.last_mut(), step) {
                    (_, Step::Send { bytes: 0, .. }) => {}
                    (
                        Some(Step::Send { bytes: before, pieces: Pieces::Any }),
                        Step::Send { bytes, pieces: Pieces::Any },
                    ) => *before += bytes,
                    (_, Step::Send { bytes, pieces: mut pieces @ Pieces::Sliced { .. } }) => {
                        let mut left = bytes;
                        while left > 0 {
                            let (length, pause) = pieces.next(left);
                            self.steps.push(Step::Send { bytes: length, pieces: Pieces::Any });
                            self.steps.push(Step::Wait(pause));
                            left -= length;
                        }
                    }
                    (_, step) => self.steps.push(step),
                }
            }
            self.bytes.extend(out.bytes());
            out.clear();
        }
    }

    /// A connection that sends `input` and half-closes.
    fn converse(protocol: &mut dyn Protocol, mut input: &[u8]) -> Sent {
        let (token, ends) = (Token::new(1, 1), Ends::new(Peer::Unix, None));
        let (mut out, mut sent) = (Output::new(100), Sent::default());
        protocol.opened(token, &ends, &mut out).unwrap();
        sent.take(&mut out);
        while !input.is_empty() {
            let received = protocol.receive(token, input, 0, &mut out);
            let (consumed, rest) = input.split_at(received.consumed);
            if received.echo {
                sent.echoes = true;
                out.extend(consumed);
            }
            sent.take(&mut out);
            input = rest;
            if matches!(received.next, Next::Finish | Next::Refuse(_)) {
                break;
            }
            assert!(received.consumed > 0 || received.next == Next::Full, "{received:?}");
        }
        protocol.half_closed(token, &mut out);
        sent.take(&mut out);
        protocol.closed(token, Reason::PeerClosed);
        sent
    }

    /// Ten connections to a listener with these faults: what each sends, and what the journal is told.
    fn converse_with(
        name: &str,
        plan: Plan,
        input: &[u8],
    ) -> (Vec<Sent>, Vec<(u64, String)>, Vec<Recorded>) {
        let faults = Arc::new(Faults::new(plan));
        let told = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let telling = Arc::clone(&told);
        faults.keep_journal(Journal(Box::new(move |event| {
            if let FaultEvent::Happens { connection, frame, byte, kind, draw, .. } = *event {
                let mut told = telling.lock().unwrap();
                told.0.push((byte, format!("{kind}@{frame}#{connection} {draw:?}")));
                told.1.push(Recorded { connection, frame, kind: kind.clone(), draw });
            }
        })));
        let terms =
            Terms { faults: Some(faults), clock: || std::time::UNIX_EPOCH, ..Terms::default() };
        let mut protocol = offer(name).unwrap().protocol(&terms).unwrap();
        let sent = (0..10).map(|_| converse(&mut *protocol, input)).collect();
        let (lines, recorded) = std::mem::take(&mut *told.lock().unwrap());
        (sent, lines, recorded)
    }

    /// Each protocol with what a client sends: thirty frames, in all but `raw`.
    fn protocols() -> [(&'static str, Vec<u8>); 5] {
        let handshake = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let repeat = |one: &dyn Fn(u8) -> Vec<u8>| (0..30).flat_map(one).collect::<Vec<u8>>();
        [
            ("frames", repeat(&|n| [&[5, 0, 0, 0][..], &[n; 5]].concat())),
            ("lines", repeat(&|n| format!("line {n}\n").into_bytes())),
            ("raw", repeat(&|n| vec![n; 9])),
            (
                "ws",
                [
                    handshake.as_bytes(),
                    // A message and a ping.
                    &repeat(&|n| vec![0x82, 0x82, 0, 0, 0, 0, n, n, 0x89, 0x81, 0, 0, 0, 0, n]),
                ]
                .concat(),
            ),
            (
                "http",
                repeat(&|n| {
                    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{n:02}")
                        .into_bytes()
                }),
            ),
        ]
    }

    /// The faults of listeners that serve anybody.
    fn served() -> impl Iterator<Item = &'static Entry> {
        KINDS
            .iter()
            .filter(|entry| !entry.example.parse::<Kind>().is_ok_and(|kind| kind.is_of_listener()))
    }

    fn plan(text: &str) -> Plan {
        text.parse::<Plan>().unwrap_or_else(|error| panic!("{error}")).with_seed(7)
    }

    #[test]
    fn every_fault_is_repeated_with_its_values_and_the_journal_is_the_same() {
        let more = [
            "drop@20%+dup@20%+corrupt=2@30%+delay=1ms..9ms@20%+garbage=3@10%",
            "slice=1..4@50%+rate=100/s@50%+stall=3:2ms@20%",
            "swap@20%+coalesce=3@30%+drop@10%+delay=exp:1ms",
            "delay=normal:9ms:2ms@every=3+fin=3@9..20+reset=99@10",
            "corrupt=3bit#50%+length=max@5%+mute@25+reset=2@25%#20%",
            "accept-delay=1ms#50%+reset-on-accept#3+deaf#4+loss=50%#5+drop@after=100",
        ];
        let each = served().flat_map(|entry| {
            let kind = entry.example.split(['@', '#']).next().unwrap();
            [entry.example.to_owned(), format!("{kind}#2..5")]
        });
        let (mut repeated, mut happened) = (0, 0);
        for text in each.chain(more.map(str::to_owned)) {
            for (name, input) in protocols() {
                let units = offer(name).unwrap().units(&Terms::default()).unwrap();
                if plan(&text).check(units).is_err() {
                    continue;
                }
                let (sent, lines, recorded) = converse_with(name, plan(&text), &input);
                let replay = Plan::repeating(recorded).unwrap();
                let (sent_again, lines_again, _) = converse_with(name, replay, &input);
                assert_eq!(lines_again, lines, "{name} {text}");
                for (index, (again, first)) in sent_again.iter().zip(&sent).enumerate() {
                    assert_eq!(again.bytes, first.bytes, "{name} {text}: connection {index}");
                    assert_eq!(again.steps, first.steps, "{name} {text}: connection {index}");
                }
                repeated += 1;
                happened += lines.len();
            }
        }
        assert!(repeated > 100 && happened > 1000, "{happened} faults in {repeated} runs");
    }

    #[test]
    fn a_probability_of_zero_changes_nothing() {
        for entry in served() {
            let kind = entry.example.split(['@', '#']).next().unwrap();
            let nowhere = [format!("{kind}@0%"), format!("{kind}#0%")];
            for text in &nowhere[usize::from(entry.is_of_connection)..] {
                for (name, input) in protocols() {
                    let units = offer(name).unwrap().units(&Terms::default()).unwrap();
                    if plan(text).check(units).is_err() {
                        continue;
                    }
                    let (sent, lines, _) = converse_with(name, plan(text), &input);
                    let (without, ..) = converse_with(name, Plan::default(), &input);
                    // The bytes, the steps, and that an echo is not copied.
                    assert_eq!(sent, without, "{name} {text}");
                    assert_eq!(lines, [], "{name} {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_told_is_what_happens() {
        let (_, input) = &protocols()[0];
        for (text, told) in [
            // A frame is cut once, and not behind its end.
            ("fin=3@2+reset=99@2", &[(18, "reset=99@2#1 None")][..]),
            // A frame that is dropped has no other fault.
            ("dup@2+drop@2+delay=1ms@2+reset=1@2", &[(9, "drop@2#1 None")]),
            // One that waits for the next one is not delivered.
            ("swap@1+delay=1ms@1+fin=0@2", &[(0, "swap@1#1 None"), (0, "fin=0@2#1 None")]),
            // Frames that wait to leave in one write are before it.
            (
                "coalesce=5@1..2+fin=4@3",
                &[(0, "coalesce=5@1#1 None"), (9, "coalesce=5@2#1 None"), (22, "fin=4@3#1 None")],
            ),
            ("delay=5ms..5ms@1", &[(0, "delay=5ms@1#1 None")]),
        ] {
            let (_, lines, _) = converse_with("frames", plan(text), input);
            let lines: Vec<_> = lines.iter().filter(|(_, line)| line.contains("#1 ")).collect();
            assert!(
                lines.iter().map(|(byte, line)| (*byte, line.as_str())).eq(told.iter().copied()),
                "{text}: {lines:?}"
            );
        }
    }
}
