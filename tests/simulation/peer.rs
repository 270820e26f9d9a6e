//! The peers: what each will send, what it must get back, and how it behaves.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt,
    rc::Rc,
};

use resound::{
    Ends, Reason, Token,
    protocol::{Next, Output, Protocol, Received, Refusal},
};

use super::{
    choices::Choices,
    faulty::{self, End},
};

/// The longest frame that the frames listener allows, in bytes of payload.
pub(crate) const LIMIT: usize = 600_000;

/// How many bytes the amplifier gives for one.
const GAIN: usize = 6_000;

/// What the amplifier says first.
const GREETING: &[u8] = b"go on\n";

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frames,
    Raw,
    Amplifier,
    Nibbler,
    Streamer,
    /// Frames, with faults on demand.
    Faulty,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Frames, Self::Raw, Self::Amplifier, Self::Nibbler, Self::Streamer, Self::Faulty];
}

/// Why each connection was closed.
pub(crate) type Closed = Rc<RefCell<HashMap<Token, Reason>>>;

/// A protocol, and a log of what it was told.
pub(crate) struct Witness<P> {
    pub(crate) of: P,
    pub(crate) log: Closed,
}

impl<P: Protocol> Protocol for Witness<P> {
    fn opened(&mut self, token: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        self.of.opened(token, ends, out)
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        self.of.receive(token, input, seen, out)
    }

    fn sent(&mut self, token: Token, out: &mut Output) {
        self.of.sent(token, out);
    }

    fn describe(&self, token: Token) -> Option<Vec<u8>> {
        self.of.describe(token)
    }

    fn restore(&mut self, token: Token, ends: &Ends, state: &[u8]) -> bool {
        self.of.restore(token, ends, state)
    }

    fn closed(&mut self, token: Token, reason: Reason) {
        self.of.closed(token, reason);
        let twice = self.log.borrow_mut().insert(token, reason);
        assert_eq!(twice, None, "{token} closed twice");
    }
}

/// Answers each byte with many, and stops when its output is full.
pub(crate) struct Amplifier;

impl Protocol for Amplifier {
    fn opened(&mut self, _: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
        out.extend(GREETING);
        Ok(())
    }

    fn receive(&mut self, _: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        let mut consumed = 0;
        while consumed < input.len() && !out.is_full() {
            out.extend(&[input[consumed]; GAIN]);
            consumed += 1;
        }
        let next = if consumed < input.len() { Next::Full } else { Next::Idle };
        Received::answered(consumed, consumed as u64, next)
    }

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}

/// Answers each byte with many, as much at a time as the output takes, and goes on when that has gone.
#[derive(Default)]
pub(crate) struct Streamer(HashMap<Token, VecDeque<u8>>);

impl Protocol for Streamer {
    fn opened(&mut self, _: Token, _: &Ends, out: &mut Output) -> Result<(), Refusal> {
        out.extend(GREETING);
        Ok(())
    }

    fn receive(&mut self, token: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        self.0.entry(token).or_default().extend(input);
        self.sent(token, out);
        Received::answered(input.len(), input.len() as u64, Next::Idle)
    }

    fn sent(&mut self, token: Token, out: &mut Output) {
        let unanswered = self.0.entry(token).or_default();
        while let Some(&byte) = unanswered.front() {
            if out.is_full() {
                return out.call_when_sent();
            }
            out.extend(&[byte; GAIN]);
            unanswered.pop_front();
        }
    }

    fn closed(&mut self, token: Token, _: Reason) {
        self.0.remove(&token);
    }

    fn describe(&self, token: Token) -> Option<Vec<u8>> {
        let unanswered = self.0.get(&token).map(|bytes| bytes.iter().copied().collect());
        Some(unanswered.unwrap_or_default())
    }

    fn restore(&mut self, token: Token, _: &Ends, state: &[u8]) -> bool {
        self.0.insert(token, state.iter().copied().collect());
        true
    }
}

/// Echoes units, each once it has seen some bytes behind it, and asks for fewer bytes than it needs: so it leaves
/// some of what it is shown, and is shown bytes in vain.
pub(crate) struct Nibbler;

const UNIT: usize = 7;
const LOOKAHEAD: usize = 3;

/// How much of this many bytes a nibbler answers.
const fn nibbled(length: usize) -> usize {
    let units = length.saturating_sub(LOOKAHEAD) / UNIT;
    units * UNIT
}

impl Protocol for Nibbler {
    fn receive(&mut self, _: Token, input: &[u8], seen: usize, _: &mut Output) -> Received {
        assert!(seen < input.len(), "shown what it has seen");
        let consumed = nibbled(input.len());
        let left = input.len() - consumed;
        let next = Next::Rest { need: (left + 2).min(UNIT + LOOKAHEAD) };
        Received::echo(consumed, (consumed / UNIT) as u64, next)
    }

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}

/// What one peer sends, and what it is to receive.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
    /// Where each whole frame ends.
    ends: Vec<usize>,
    /// Up to where the server has to read to find a length that cannot be.
    pub(crate) bogus: Option<usize>,
    /// What comes back where faults are on: all of it, how it ends, and how many bytes of it each number of whole frames
    /// gives.
    pub(crate) faulty: Option<Faulty>,
}

/// What a plan of faults makes of the frames of a peer.
pub(crate) struct Faulty {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    /// The frame in which a fault ends the connection, if there are so many, and how.
    pub(crate) end: Option<(usize, End)>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, frames) = (self.bytes.len(), self.ends.len());
        write!(f, "{:?}, {bytes} B in {frames} frames, bogus {:?}", self.kind, self.bogus)
    }
}

impl Plan {
    /// A plan for a listener of this kind; `model` says what its faults make of frames.
    pub(crate) fn new(kind: Kind, model: &faulty::Mixed, choices: &mut Choices) -> Self {
        let (bytes, ends, faulty) = (Vec::new(), Vec::new(), None);
        let mut plan = Self { kind, bytes, ends, bogus: None, faulty };
        match kind {
            Kind::Frames => plan.fill_with_frames(choices),
            Kind::Faulty => {
                plan.fill_with_frames(choices);
                plan.faulty = Some(Faulty::new(&plan, model));
            }
            Kind::Raw | Kind::Nibbler => {
                let length = choices.length(300_000);
                plan.bytes = pattern(length, choices.below(256));
            }
            Kind::Amplifier | Kind::Streamer => {
                let length = choices.length(1_000);
                plan.bytes = pattern(length, choices.below(256));
            }
        }
        plan
    }

    fn fill_with_frames(&mut self, choices: &mut Choices) {
        let most = choices.one_of(&[0, 10, 300, 300, 5_000, 70_000, LIMIT, LIMIT]);
        let are_long = most == LIMIT && choices.chance(50);
        let count = choices.length(if most > 5_000 { 6 } else { 60 });
        for _ in 0..count {
            let length = if are_long { choices.below(LIMIT) } else { choices.length(most) };
            let payload = pattern(length, choices.below(256));
            self.bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
            self.bytes.extend(payload);
            self.ends.push(self.bytes.len());
        }
        match choices.below(6) {
            0 => {
                let over = u32::try_from(LIMIT + 1).unwrap();
                let length = choices.one_of(&[u32::MAX, 1 << 31, over]);
                self.bytes.extend(length.to_le_bytes());
                self.bogus = Some(self.bytes.len());
                let behind = choices.length(300_000);
                self.bytes.extend(pattern(behind, 0));
            }
            1 => {
                // A frame that is cut short.
                let length = 1 + choices.length(LIMIT - 1);
                self.bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
                let body = choices.below(length);
                self.bytes.extend(pattern(body, 1));
                let cut = choices.below(4);
                self.bytes.truncate(self.bytes.len() - cut);
            }
            _ => {}
        }
    }

    /// How many of the first `read` bytes are whole units.
    pub(crate) fn whole(&self, read: usize) -> usize {
        match self.kind {
            Kind::Raw | Kind::Amplifier | Kind::Streamer => read,
            Kind::Nibbler => nibbled(read),
            Kind::Frames | Kind::Faulty => {
                let count = self.ends.partition_point(|&end| end <= read);
                count.checked_sub(1).map_or(0, |last| self.ends[last])
            }
        }
    }

    /// How many whole units are in the first `read` bytes.
    pub(crate) fn frames(&self, read: usize) -> usize {
        match self.kind {
            Kind::Raw => 0,
            Kind::Amplifier | Kind::Streamer => read,
            Kind::Nibbler => nibbled(read) / UNIT,
            Kind::Frames | Kind::Faulty => self.ends.partition_point(|&end| end <= read),
        }
    }

    /// Whether the server has read a length that cannot be.
    pub(crate) fn is_refused(&self, read: usize) -> bool {
        self.bogus.is_some_and(|bogus| read >= bogus)
    }

    /// How many bytes answer the first `read` bytes.
    pub(crate) fn reply(&self, read: usize) -> usize {
        match self.kind {
            Kind::Amplifier | Kind::Streamer => GREETING.len() + read * GAIN,
            Kind::Faulty => self.faulty.as_ref().unwrap().lengths[self.frames(read)],
            _ => self.whole(read),
        }
    }

    /// Whether a fault has ended the connection in this way, once `read` bytes were read and `written` bytes sent.
    pub(crate) fn is_ended_by_fault(&self, read: usize, written: u64, how: End) -> bool {
        self.faulty.as_ref().is_some_and(|faulty| {
            let is_there =
                faulty.end.is_some_and(|(frame, end)| end == how && self.frames(read) >= frame);
            is_there && written == faulty.bytes.len() as u64
        })
    }

    /// Whether `bytes` are what is to be received from byte `at` on.
    pub(crate) fn is_reply(&self, at: usize, bytes: &[u8]) -> bool {
        if let Some(faulty) = &self.faulty {
            return faulty.bytes.get(at..at + bytes.len()) == Some(bytes);
        }
        if !matches!(self.kind, Kind::Amplifier | Kind::Streamer) {
            return self.bytes.get(at..at + bytes.len()) == Some(bytes);
        }
        bytes.iter().zip(at..).all(|(&byte, at)| match at.checked_sub(GREETING.len()) {
            None => byte == GREETING[at],
            Some(at) => self.bytes.get(at / GAIN) == Some(&byte),
        })
    }
}

impl Faulty {
    fn new(plan: &Plan, model: &faulty::Mixed) -> Self {
        let starts = [0].into_iter().chain(plan.ends.iter().copied());
        let frames: Vec<Vec<u8>> =
            starts.zip(&plan.ends).map(|(start, &end)| plan.bytes[start..end].to_vec()).collect();
        // One connection is like another.
        let of = |count: usize| (model.gives)(1, &frames[..count]);
        let (bytes, end) = of(frames.len());
        let lengths = (0..=frames.len()).map(|count| of(count).0.len()).collect();
        Self { bytes, lengths, end: model.end.map(|frame| (frame, end)) }
    }
}

/// Bytes in which a displaced or repeated one shows.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251 + seed).to_le_bytes()[0]).collect()
}

/// How a peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Sends and receives as fast as it can.
    Eager,
    /// Sends a few bytes at a time.
    Drips,
    /// Never receives.
    Deaf,
    /// Sends only when it has got all it can get.
    Ping,
    /// Does anything at any time.
    Erratic,
}

impl Mood {
    pub(crate) const ALL: [Self; 7] = [
        Self::Eager,
        Self::Eager,
        Self::Erratic,
        Self::Erratic,
        Self::Drips,
        Self::Deaf,
        Self::Ping,
    ];
}

/// What a peer does when it has sent everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finale {
    /// FIN, and then it receives until the server's.
    Fin,
    /// Nothing: it stays.
    Stay,
    /// RST, which may come before everything is sent.
    Reset,
}

impl Finale {
    pub(crate) const ALL: [Self; 5] = [Self::Fin, Self::Fin, Self::Fin, Self::Stay, Self::Reset];
}
