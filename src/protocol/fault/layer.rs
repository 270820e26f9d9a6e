//! The layer around a protocol that changes its replies.

use std::{borrow::Cow, mem, ops::Range, sync::Arc, time::Duration};

use super::{
    Fault, FaultEvent, Faults, Group, Hit, Kind, Plan, Units, Where, Who, by_path::LONGEST,
    content::Content, plan::Purpose, text::Share, units::Piece,
};
use crate::{
    Ends, Reason, Token,
    protocol::{
        Ending, Next, Output, PerConnection, Protocol, Received, Refusal,
        schedule::{Pieces, Step, time_of},
    },
    random::Random,
};

/// A rate is kept in steps of this many a second, or of one byte.
const RATE_STEPS: u64 = 100;

/// Changes the replies of another protocol as the plan of its listener says.
///
/// A connection that no fault concerns is passed through: its echo is not copied.
#[derive(Debug)]
pub struct Faulty<P> {
    inner: P,
    faults: Arc<Faults>,
    units: Units,
    /// Whether clients may choose faults, which the protocol then asks for.
    is_asked: bool,
    /// The connections that faults concern.
    afflicted: PerConnection<Box<Afflicted>>,
}

/// A connection that faults concern.
#[derive(Debug)]
struct Afflicted {
    faults: Arc<Faults>,
    units: Units,
    plan: Arc<Plan>,
    ordinal: u64,
    /// Indices into the plan.
    concern: Vec<usize>,
    /// Whether all its output is scheduled, which it is if any of its faults needs that.
    is_scheduled: bool,
    /// Nothing more leaves; what comes is discarded.
    is_over: bool,
    /// What the client has chosen for the next frame.
    asked: Option<Kind>,
    /// Frames so far.
    frames: u64,
    /// WebSocket pings so far.
    pings: u64,
    /// Bytes of replies that the protocol made, in frames.
    made: u64,
    /// Bytes that were put out.
    sent: u64,
    /// The beginning of an answer, which the protocol makes in several parts.
    partial: Vec<u8>,
    /// A frame that leaves behind the next one.
    swapped: Vec<u8>,
    /// Frames that wait to leave in one write, and how many they are.
    group: (Vec<u8>, u64),
    /// How long the bytes put out in this call will wait already.
    waited: Duration,
}

/// How a frame leaves.
struct Delivery {
    delay: Duration,
    pieces: Pieces,
    /// How many bytes at its start leave one by one, and how many of them a second.
    drip: Option<(usize, u64)>,
    group: u64,
    cut: Cut,
}

/// A fault that happens in a frame, `at` bytes behind its start.
struct Happening<'p> {
    fault: &'p Fault,
    kind: Cow<'p, Kind>,
    draw: Option<u64>,
    at: u64,
}

/// What happens inside a frame, after so many of its bytes.
enum Cut {
    None,
    Pause(u64, Duration),
    Last(u64, Vec<Step>),
}

impl<P> Faulty<P> {
    /// `inner`, whose replies consist of `units`, with the faults of its listener.
    pub const fn new(faults: Arc<Faults>, units: Units, inner: P) -> Self {
        Self { inner, faults, units, is_asked: false, afflicted: PerConnection::new() }
    }

    /// Applies the faults that the protocol asks for because a client chose them ([`Output::ask`]).
    #[must_use]
    pub(crate) const fn asked(mut self) -> Self {
        self.is_asked = true;
        self
    }
}

impl<P: Protocol> Faulty<P> {
    /// Calls `call`, and changes what it puts into the output.
    fn around(
        &mut self,
        connection: Token,
        out: &mut Output,
        call: impl FnOnce(&mut P, &mut Output),
    ) {
        let Some(afflicted) = self.afflicted.get_mut(connection) else {
            return call(&mut self.inner, out);
        };
        if afflicted.is_over {
            return;
        }
        let start = out.bytes().len();
        call(&mut self.inner, out);
        afflicted.replace(start, false, out);
    }
}

impl<P: Protocol> Protocol for Faulty<P> {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let (plan, ordinal) = self.faults.enter();
        let concern = plan.concerning(ordinal);
        if concern.is_empty() && !self.is_asked {
            return self.inner.opened(connection, ends, out);
        }
        let is_scheduled =
            self.is_asked || concern.iter().any(|&index| plan.faults()[index].kind.is_scheduled());
        let mut afflicted = Box::new(Afflicted {
            faults: Arc::clone(&self.faults),
            units: self.units,
            plan,
            ordinal,
            concern,
            is_scheduled,
            is_over: false,
            asked: None,
            frames: 0,
            pings: 0,
            made: 0,
            sent: 0,
            partial: Vec::new(),
            swapped: Vec::new(),
            group: (Vec::new(), 0),
            waited: Duration::ZERO,
        });
        afflicted.begin(out);
        let start = out.bytes().len();
        let opened = match afflicted.is_over {
            true => Ok(()),
            false => self.inner.opened(connection, ends, out),
        };
        afflicted.replace(start, false, out);
        self.afflicted.insert(connection, afflicted);
        opened
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let Some(afflicted) = self.afflicted.get_mut(connection) else {
            return self.inner.receive(connection, input, seen, out);
        };
        if afflicted.is_over {
            return Received::answered(input.len(), 0, Next::Idle);
        }
        let start = out.bytes().len();
        let mut received = if self.units == Units::Answers {
            // The protocol then stops behind each answer, and says in this way where it ends.
            let before = out.replace_high_water(start + 1);
            let received = self.inner.receive(connection, input, seen, out);
            out.replace_high_water(before);
            received
        } else {
            self.inner.receive(connection, input, seen, out)
        };
        if let Some(kind) = out.take_asked() {
            afflicted.asked = Some(kind);
        }
        if received.echo {
            out.extend(&input[..received.consumed]);
            received.echo = false;
        }
        if received.frames == 0 && received.next == Next::Full && self.units == Units::Answers {
            afflicted.partial.extend(out.as_mut_vec().drain(start..));
        } else {
            afflicted.replace(start, received.frames > 0, out);
        }
        if afflicted.is_over && !matches!(received.next, Next::Finish | Next::Refuse(_)) {
            received = Received::answered(input.len(), received.frames, Next::Idle);
        }
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        self.around(connection, out, |inner, out| inner.ending(connection, cause, out));
        if let Some(afflicted) = self.afflicted.get_mut(connection) {
            afflicted.let_go(out);
        }
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        self.around(connection, out, |inner, out| inner.sent(connection, out));
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        self.around(connection, out, |inner, out| inner.called(connection, out));
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        self.around(connection, out, |inner, out| inner.half_closed(connection, out));
        if let Some(afflicted) = self.afflicted.get_mut(connection) {
            afflicted.let_go(out);
        }
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        self.afflicted.remove(connection);
        self.inner.closed(connection, reason);
    }

    fn spoken(&mut self, connection: Token, out: &mut Output) {
        self.inner.spoken(connection, out);
    }

    fn reads_while_owed(&self) -> bool {
        self.inner.reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        self.inner.begins_with_handshake()
    }

    fn introduces_peers(&self) -> bool {
        self.inner.introduces_peers()
    }

    /// A connection with faults stays where it is: its place in the plan goes with its loop.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        match self.afflicted.get(connection) {
            Some(_) => None,
            None => self.inner.describe(connection),
        }
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        self.inner.restore(connection, ends, state)
    }
}

impl Afflicted {
    /// Does what concerns the whole connection, as it opens.
    fn begin(&mut self, out: &mut Output) {
        for position in 0..self.concern.len() {
            let index = self.concern[position];
            let fault = &self.plan.faults()[index];
            if !fault.is_of_connection() {
                continue;
            }
            let steps = match &fault.kind {
                Kind::AcceptDelay(time) => vec![Step::Wait(*time)],
                Kind::Loss(share) => vec![Step::Lose(share.0)],
                Kind::ResetOnAccept => vec![Step::Reset],
                Kind::Deaf => vec![Step::Hold],
                Kind::Mute => Vec::new(),
                Kind::Blackhole => vec![Step::Lose(Share::ALL.0), Step::Hold],
                _ => continue,
            };
            self.is_over = !matches!(steps[..], [Step::Wait(_) | Step::Lose(_)]);
            self.tell(0, &Happening { fault, kind: Cow::Borrowed(&fault.kind), draw: None, at: 0 });
            steps.into_iter().for_each(|step| out.step(step));
            if self.is_over {
                return;
            }
        }
    }

    /// Replaces the output from `start` on by what the faults make of it.
    fn replace(&mut self, start: usize, is_answer: bool, out: &mut Output) {
        if self.units == Units::Bytes && !self.is_scheduled && !self.is_over {
            // Nothing of it can be changed.
            return;
        }
        let mut made = mem::take(&mut self.partial);
        made.extend(out.as_mut_vec().drain(start..));
        self.waited = Duration::ZERO;
        let mut rest = &made[..];
        while !rest.is_empty() && !self.is_over {
            let length = match self.units.first(rest, is_answer) {
                Piece::Frame(length, payload) => {
                    self.frame(&rest[..length], payload, out);
                    length
                }
                Piece::Other(length) => {
                    if !self.is_unanswered_ping(rest) {
                        self.put(&rest[..length], Pieces::Any, out);
                    }
                    length
                }
            };
            rest = &rest[length..];
        }
    }

    /// Whether `bytes` begin with the answer to a ping that the plan leaves unanswered.
    fn is_unanswered_ping(&mut self, bytes: &[u8]) -> bool {
        if self.units != Units::WebSocket || !Units::is_pong(bytes) {
            return false;
        }
        self.pings += 1;
        let hit = Hit { connection: self.ordinal, frame: self.pings, before: self.made };
        let mut candidates = self.plan.candidates(&self.concern, hit.frame);
        let unanswered = candidates.find_map(|position| {
            let index = self.concern[position];
            let fault = &self.plan.faults()[index];
            let happens = fault.kind == Kind::NoPong && self.plan.happens(index, hit);
            happens.then_some(fault)
        });
        if let Some(fault) = unanswered {
            let kind = Cow::Borrowed(&fault.kind);
            self.tell(hit.frame, &Happening { fault, kind, draw: None, at: 0 });
        }
        unanswered.is_some()
    }

    /// Applies the faults to a frame, and puts it out.
    fn frame(&mut self, whole: &[u8], payload: Range<usize>, out: &mut Output) {
        // All bytes of a connection without frames are one frame, which goes on.
        let goes_on = self.units == Units::Bytes && self.frames > 0;
        let passed = if self.units == Units::Bytes { self.made } else { 0 };
        self.frames += u64::from(!goes_on);
        let hit = Hit { connection: self.ordinal, frame: self.frames, before: self.made };
        self.made += whole.len() as u64;
        let mut content = Content { bytes: whole.to_vec(), payload };
        let mut delivery = Delivery {
            delay: Duration::ZERO,
            pieces: Pieces::Any,
            drip: None,
            group: 1,
            cut: Cut::None,
        };
        let (mut is_dropped, mut is_swapped) = (false, false);
        let plan = Arc::clone(&self.plan);
        let mut happening = Vec::new();
        let chosen = self.chosen(content.payload.start);
        let planned = plan.candidates(&self.concern, hit.frame).filter_map(|position| {
            let index = self.concern[position];
            let fault = &plan.faults()[index];
            let is_of_frame = !fault.is_of_connection() && fault.kind != Kind::NoPong;
            (is_of_frame && plan.happens(index, hit))
                .then(|| (fault, plan.random(index, hit, Purpose::Value)))
        });
        // Nothing is drawn for those that a client can choose.
        let chosen = chosen.iter().map(|fault| (fault, Random::of(&[])));
        for (fault, mut random) in planned.chain(chosen) {
            let (kind, draw) = fault.kind.settle(random);
            let mut cut_at = 0;
            match &*kind {
                Kind::Drop => is_dropped = true,
                Kind::Swap => is_swapped = true,
                Kind::Coalesce(count) => delivery.group = *count,
                Kind::Delay(delay) => delivery.delay += delay.draw(&mut random),
                Kind::Slice(_) | Kind::Rate(_) => delivery.slice(&kind, random),
                Kind::Stall(at, _) | Kind::Fin(at) | Kind::Reset(at) => {
                    // In a frame that goes on, `at` may be in a part that has left, or in one that is to come.
                    cut_at = at.saturating_sub(passed);
                    let is_elsewhere = (goes_on && *at <= passed) || cut_at > whole.len() as u64;
                    if self.units == Units::Bytes && is_elsewhere {
                        continue;
                    }
                    delivery.cut = match &*kind {
                        Kind::Stall(_, Some(pause)) => Cut::Pause(cut_at, *pause),
                        Kind::Stall(_, None) => Cut::Last(cut_at, vec![Step::Hold]),
                        Kind::Fin(_) => Cut::Last(cut_at, vec![Step::Finish]),
                        _ => Cut::Last(cut_at, vec![Step::Reset]),
                    };
                }
                Kind::Drip(rate) => delivery.drip = Some((content.payload.start, *rate)),
                Kind::ShortChunk(_) | Kind::Close(_) => {
                    content.change(&kind, self.units, &mut random);
                    cut_at = match &*kind {
                        Kind::ShortChunk(at) => {
                            let length = content.payload.len() as u64;
                            content.payload.start as u64 + length.min(*at)
                        }
                        _ => content.bytes.len() as u64,
                    };
                    delivery.cut = Cut::Last(cut_at, vec![Step::Finish]);
                }
                Kind::Deaf => delivery.cut = Cut::Last(0, vec![Step::Hold]),
                Kind::Mute => delivery.cut = Cut::Last(0, Vec::new()),
                Kind::Blackhole => {
                    delivery.cut = Cut::Last(0, vec![Step::Lose(Share::ALL.0), Step::Hold]);
                }
                kind => content.change(kind, self.units, &mut random),
            }
            // The connection is one frame that goes on: told once.
            if !goes_on || matches!(*kind, Kind::Stall(..) | Kind::Fin(_) | Kind::Reset(_)) {
                happening.push(Happening { fault, kind, draw, at: cut_at });
            }
        }
        let mut bytes = content.bytes;
        let waits = is_swapped && self.swapped.is_empty();
        if !is_dropped && !waits {
            bytes.append(&mut self.swapped);
        }
        keep_what_is_done(&mut happening, is_dropped, waits);
        for one in &mut happening {
            one.at = one.at.min(bytes.len() as u64);
            self.tell(hit.frame, one);
        }
        match (is_dropped, waits) {
            (true, _) => {}
            (false, true) => self.swapped = bytes,
            (false, false) => self.deliver(&bytes, delivery, out),
        }
    }

    /// Puts a frame out.
    fn deliver(&mut self, bytes: &[u8], mut delivery: Delivery, out: &mut Output) {
        let (group, count) = &mut self.group;
        *count += 1;
        let is_cut = !matches!(delivery.cut, Cut::None);
        if *count < delivery.group && !is_cut {
            group.extend_from_slice(bytes);
            return;
        }
        *count = 0;
        let mut joined = mem::take(group);
        let delay = delivery.delay.saturating_sub(self.waited);
        if delay > Duration::ZERO {
            self.put(&mem::take(&mut joined), Pieces::Any, out);
            out.step(Step::Wait(delay));
            self.waited += delay;
        }
        if !joined.is_empty() {
            if delivery.pieces == Pieces::Any && delivery.drip.is_none() && !is_cut {
                joined.extend_from_slice(bytes);
                return self.put(&joined, Pieces::Any, out);
            }
            self.put(&joined, Pieces::Any, out);
        }
        if let Pieces::Sliced { rate: Some(rate), .. } = delivery.pieces {
            self.waited += time_of(bytes.len() as u64, rate);
        }
        if let Some((head, rate)) = delivery.drip {
            self.waited += time_of(head as u64, rate);
        }
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        match delivery.cut {
            Cut::None => self.put_frame(bytes, &mut delivery, out),
            Cut::Pause(cut, pause) => {
                let (before, behind) = bytes.split_at(at(cut));
                self.put_frame(before, &mut delivery, out);
                out.step(Step::Wait(pause));
                self.waited += pause;
                if let Pieces::Sliced { random, .. } = &mut delivery.pieces {
                    random.next();
                }
                self.put_frame(behind, &mut delivery, out);
            }
            Cut::Last(cut, ref mut steps) => {
                let steps = mem::take(steps);
                self.put_frame(&bytes[..at(cut)], &mut delivery, out);
                steps.into_iter().for_each(|step| out.step(step));
                self.is_over = true;
            }
        }
    }

    /// Puts out the frames that wait for others.
    fn let_go(&mut self, out: &mut Output) {
        let mut waiting = mem::take(&mut self.group).0;
        waiting.append(&mut self.swapped);
        if !self.is_over {
            self.put(&waiting, Pieces::Any, out);
        }
    }

    /// What the client has chosen for a frame with a head of so many bytes. A plan that repeats a journal has it already.
    fn chosen(&mut self, head: usize) -> Option<Fault> {
        let kind = match self.asked.take().filter(|_| !self.plan.is_repeating())? {
            // A client may send a long field that is repeated in the head.
            Kind::Drip(rate) => Kind::Drip(rate.max(head as u64 / LONGEST.as_secs() + 1)),
            kind => kind,
        };
        Some(Fault { kind, place: Where::All, peers: Who::All })
    }

    /// Puts out a part of a frame, which goes on with the next call.
    fn put_frame(&mut self, bytes: &[u8], delivery: &mut Delivery, out: &mut Output) {
        let mut rest = bytes;
        if let Some((left, rate)) = &mut delivery.drip {
            let (head, behind) = bytes.split_at((*left).min(bytes.len()));
            // All pieces have one length: nothing is drawn.
            let random = Random::of(&[]);
            let pieces = Pieces::Sliced { least: 1, most: 1, rate: Some(*rate), random };
            *left -= head.len();
            self.put(head, pieces, out);
            rest = behind;
        }
        self.put(rest, delivery.pieces, out);
    }

    fn put(&mut self, bytes: &[u8], pieces: Pieces, out: &mut Output) {
        self.sent += bytes.len() as u64;
        out.extend(bytes);
        if self.is_scheduled && !bytes.is_empty() {
            out.step(Step::Send { bytes: bytes.len(), pieces });
        }
    }

    /// Tells what happens in this frame, of which nothing has been put out yet.
    fn tell(&self, frame: u64, Happening { fault, kind, draw, at }: &Happening<'_>) {
        self.faults.tell(&FaultEvent::Happens {
            connection: self.ordinal,
            frame,
            // Frames that wait to leave in one write are before it.
            byte: self.sent + self.group.0.len() as u64 + at,
            fault,
            kind,
            draw: *draw,
        });
    }
}

/// Keeps the faults that really happen: a frame that is dropped has no other fault, one that `waits` for the next one is
/// not delivered, and one that is delivered stops or ends once.
fn keep_what_is_done(happening: &mut Vec<Happening<'_>>, is_dropped: bool, waits: bool) {
    let mut has_ended = false;
    // From the last one on: it decides how the frame ends.
    for index in (0..happening.len()).rev() {
        let kind = &happening[index].kind;
        let is_done = match &**kind {
            Kind::Drop => true,
            _ if is_dropped => false,
            Kind::Drip(_) => !waits,
            kind if kind.is_cut() => !waits && !mem::replace(&mut has_ended, true),
            kind => !waits || kind.entry().group != Group::Delivery,
        };
        if !is_done {
            happening.remove(index);
        }
    }
}

impl Delivery {
    /// Slices the frame, and keeps a rate if there is one.
    fn slice(&mut self, kind: &Kind, random: Random) {
        let before = match self.pieces {
            Pieces::Any => None,
            Pieces::Sliced { least, most, rate, random } => Some((least, most, rate, random)),
        };
        let (least, most, rate, random) = match (kind, before) {
            (Kind::Slice(span), before) => {
                (span.least, span.most, before.and_then(|(_, _, rate, _)| rate), random)
            }
            (Kind::Rate(rate), None) => {
                let step = (rate / RATE_STEPS).max(1);
                (step, step, Some(*rate), random)
            }
            // The lengths of the pieces stay those that were drawn.
            (Kind::Rate(rate), Some((least, most, _, drawn))) => (least, most, Some(*rate), drawn),
            _ => return,
        };
        self.pieces = Pieces::Sliced { least, most, rate, random };
    }
}
