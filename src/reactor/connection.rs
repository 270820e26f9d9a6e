//! One connection: read, show the bytes to the protocol, write; and what is kept between two turns.
//!
//! ```text
//!             ┌──────────── scratch (the loop's, shared) ────────────┐
//!  read ────▶ │ frame │ frame │ frame │ frame │ the start of a frame │
//!             └───────────────────────────────┴──────────────────────┘
//!                 written from where they lie    kept in `input` until
//!                 in one write; what the kernel  the rest of it comes
//!                 does not take goes to `output`
//! ```
//!
//! A frame passes through [`Connection::turn`], [`input`] (read, show), the protocol, and [`output`] (send, and keep
//! what the kernel does not take). [`end`] has every way in which a connection ends, and [`outbound`] what only
//! outbound connections do.
//!
//! A connection that holds neither input nor output owns no buffer. A connection that owes output does not read, so
//! back-pressure reaches the peer through the kernel's windows, and a slow reader makes the server hold one batch of
//! replies at most. Only a client's protocol may read while it owes output ([`Protocol::reads_while_owed`]).

use std::{collections::VecDeque, io::ErrorKind, time::Duration};

use self::{
    pending::Pending,
    schedule::Schedule,
    shared::{Context, Shared},
};
use super::{
    deadlines::{Unit, Wait},
    events::{Doing, Event},
    inspect::Inspected,
    net::{Readiness, Stream},
    round::MANY_BYTES,
};
use crate::{
    Begun, ConnectionInfo, ConnectionState, Ends, Peer, Reason, Token, WaitsFor,
    protocol::{Ending, Protocol},
    socket::WITHOUT_EPOLL,
};

mod delivery;
mod end;
mod input;
mod outbound;
mod output;
mod pending;
mod schedule;
pub(super) mod shared;
#[cfg(test)]
mod tests;
mod transfer;

/// How many steps one turn has. Then other connections get their turns. A read is a step.
const STEPS_PER_TURN: usize = 16;

/// Each this many bytes of a read are another step.
const STEP: usize = 64 << 10;

/// A part of a long answer is this many steps.
const STEPS_OF_PART: usize = 4;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is outbound, and the peer has not answered yet.
    Connecting,
    /// Both directions are open.
    Open(Begun),
    /// The peer has sent FIN: what is owed goes out, then the connection closes.
    HalfClosed,
    /// The server ends it: what is owed goes out, then FIN.
    Finishing(Reason),
    /// FIN is sent. What still comes is read and discarded until the peer closes too: closing a socket with unread
    /// bytes sends RST, which can destroy replies that the peer has not read yet.
    Lingering(Reason),
}

/// The outcome of a connection's turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for its next event.
    Wait,
    /// It has more to do, perhaps because it has spent its budget. It reads on until `WouldBlock` if there may be
    /// [`more_behind`](Readiness::more_behind).
    Again { more_behind: bool },
    /// It is outbound, and perhaps its peer has answered.
    Connecting,
    /// It is closed.
    Closed(Reason),
}

/// What gives a connection its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextTurn {
    /// Its next event.
    Event,
    /// Its next event puts it on the run queue: it has moved many bytes, and those that move few go first.
    EventInLine,
    /// The run queue, which it is on, once.
    Queue { more_behind: bool },
}

/// One peer.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    pending: Option<Box<Pending>>,
    received: u64,
    sent: u64,
    frames: u64,
    generation: u32,
    state: State,
    /// Index of the service whose protocol it speaks.
    pub(super) service: u8,
    pub(super) next_turn: NextTurn,
}

/// Counts at some moment. Two of them tell whether a deadline starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    received: u64,
    sent: u64,
    frames: u64,
}

impl<S: Stream> Connection<S> {
    /// A connection that has just been accepted, and speaks `protocol`.
    pub(super) fn accepted(
        stream: S,
        generation: u32,
        service: u8,
        protocol: &impl Protocol,
    ) -> Self {
        let begun =
            if protocol.begins_with_handshake() { Begun::Handshake } else { Begun::Nothing };
        Self::new(stream, generation, service, State::Open(begun))
    }

    const fn new(stream: S, generation: u32, service: u8, state: State) -> Self {
        Self {
            stream,
            pending: None,
            received: 0,
            sent: 0,
            frames: 0,
            generation,
            state,
            service,
            next_turn: NextTurn::Event,
        }
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Its name, given the slab key it is under.
    #[expect(clippy::cast_possible_truncation, reason = "slab keys fit a token's 32 bits")]
    pub(super) const fn token(&self, key: usize) -> Token {
        Token::new(key as u32, self.generation)
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Gives it a turn when it comes to its place on the run queue.
    pub(super) fn queue_in(
        &mut self,
        run_queue: &mut VecDeque<Token>,
        token: Token,
        more_behind: bool,
    ) {
        if let NextTurn::Queue { more_behind: known } = &mut self.next_turn {
            *known |= more_behind;
        } else {
            self.next_turn = NextTurn::Queue { more_behind };
            run_queue.push_back(token);
        }
    }

    /// It has moved many bytes at once: its next event puts it on the run queue.
    #[cold]
    fn wait_in_line(&mut self, moved: usize, shared: &mut Shared) {
        if self.next_turn == NextTurn::Event {
            self.next_turn = NextTurn::EventInLine;
        }
        shared.round.spend(moved);
    }

    pub(super) const fn progress(&self) -> Progress {
        Progress { received: self.received, sent: self.sent, frames: self.frames }
    }

    /// What it waits for between turns, and whether that wait began after `before`. Nothing while a frame or a
    /// handshake is being received, which has its own deadline.
    pub(super) fn waits_for(&self, before: Progress) -> (Option<Wait>, bool) {
        match self.state {
            State::Lingering(_) => (Some(Wait::Linger), false),
            _ if self.owes() => {
                let wait = self.schedule().map_or(Some(Wait::Write), Schedule::waits_for);
                (wait, self.sent != before.sent)
            }
            State::Connecting => (Some(Wait::Write), false),
            State::Open(Begun::Frame | Begun::Handshake) => (None, false),
            _ => (Some(Wait::Idle), self.progress() != before),
        }
    }

    /// What it is in the middle of receiving, and whether that began after `before`. Nothing while the protocol stops
    /// to let its output go: the rest of the input waits for the server then.
    pub(super) fn receives(&self, before: Progress) -> (Option<Unit>, bool) {
        match self.state {
            _ if self.pending.as_ref().is_some_and(|pending| pending.waits_for_server()) => {
                (None, false)
            }
            State::Open(Begun::Frame) => (Some(Unit::Frame), self.frames != before.frames),
            State::Open(Begun::Handshake) => (Some(Unit::Handshake), false),
            _ => (None, false),
        }
    }

    pub(super) fn owes(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.owes())
    }

    /// Whether the peer waits for the server: for output that it owes, or for its turn.
    pub(super) fn keeps_peer_waiting(&self) -> bool {
        self.owes() || matches!(self.next_turn, NextTurn::Queue { .. })
    }

    fn schedule(&self) -> Option<&Schedule> {
        self.pending.as_ref()?.schedule.as_deref()
    }

    /// Whether it has output that can leave although no event will come.
    fn is_ready_to_send(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.is_ready_to_send())
    }

    /// The outcome of a turn in which not all that it owes has left.
    #[cold]
    fn blocked<P>(&mut self, readiness: Readiness, cx: &Context<'_, P>) -> Result<Outcome, Reason> {
        // While its output waits for a timer it neither reads nor writes, so no call tells of a RST, which may have come
        // together with the input that is now answered late.
        if readiness.more_behind
            && self.schedule().is_some_and(Schedule::is_waiting)
            && let Some(error) = self.stream.failure()
        {
            return Err(self.lost(cx, Doing::Write, &error));
        }
        Ok(Outcome::Wait)
    }

    /// Bytes that the peer has not taken yet.
    pub(super) fn owed(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.output.len())
    }

    /// Whether the protocol wants a turn although no event will come.
    pub(super) fn wants_turn(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.wants_turn())
    }

    /// Where it is in its life, for other threads.
    const fn state(&self) -> ConnectionState {
        match self.state {
            State::Connecting => ConnectionState::Connecting,
            State::Open(_) => ConnectionState::Open,
            State::HalfClosed => ConnectionState::HalfClosed,
            State::Finishing(_) => ConnectionState::Finishing,
            State::Lingering(_) => ConnectionState::Lingering,
        }
    }

    /// What it waits for now.
    pub(super) fn waits_for_now(&self) -> WaitsFor {
        match self.state {
            State::Lingering(_) => WaitsFor::Fin,
            State::Connecting => WaitsFor::Peer,
            _ if self.owes() => WaitsFor::Peer,
            State::Open(Begun::Frame) => WaitsFor::RestOfFrame,
            State::Open(Begun::Handshake) => WaitsFor::Handshake,
            _ => WaitsFor::Frame,
        }
    }

    /// What it says of itself to other threads. Its age, its peer and the time that is left are the dispatcher's to add.
    pub(super) fn describe(&self, token: Token) -> ConnectionInfo {
        let (held, owed) = self.pending.as_ref().map_or((0, 0), |pending| {
            (pending.input.len() + pending.elsewhere, pending.output.len())
        });
        ConnectionInfo {
            token,
            peer: None,
            listener: self.service.into(),
            state: self.state(),
            age: Duration::ZERO,
            received: self.received,
            sent: self.sent,
            frames: self.frames,
            held,
            owed,
            waits_for: self.waits_for_now(),
            time_left: None,
            tcp: None,
        }
    }

    /// The end of its turn.
    pub(super) fn turn_ended(&self) -> Event {
        let begun = if let State::Open(begun) = self.state { begun } else { Begun::Nothing };
        let ConnectionInfo { held, owed, .. } = self.describe(Token::new(0, 0));
        Event::TurnEnded { state: self.state(), begun, held: held as u64, owed: owed as u64 }
    }

    /// Its end, for `reason`.
    pub(super) const fn closed(&self, reason: Reason, peer: Option<Peer>) -> Event {
        let Self { received, sent, frames, .. } = *self;
        Event::Closed { reason, received, sent, frames, peer }
    }

    /// Its state, for tests.
    pub(super) fn inspect(&self, token: Token) -> Inspected {
        let (held, owed, capacity) = self.pending.as_ref().map_or((0, 0, 0), |pending| {
            (pending.input.len(), pending.output.len(), pending.capacity())
        });
        let (queued, ended_for) =
            (matches!(self.next_turn, NextTurn::Queue { .. }), self.ended_for());
        Inspected {
            token,
            held,
            owed,
            capacity,
            queued,
            entries: 0,
            deadline: None,
            unit_deadline: None,
            ended_for,
            schedule: self.schedule().map(Schedule::inspect),
        }
    }

    /// The connection is open: lets the protocol speak first, or refuse the peer.
    pub(super) fn open(&mut self, ends: &Ends, cx: &mut Context<'_, impl Protocol>) -> Outcome {
        cx.shared.output.clear();
        let opened = cx.protocol.opened(cx.token, ends, &mut cx.shared.output);
        if self.note_requests(cx.shared)
            && let Err(refusal) = opened
        {
            cx.refuse(refusal);
            self.state = State::Finishing(Reason::Refused);
        }
        self.send_output(cx)
    }

    /// Does what can be done now: sends what is owed, reads, shows it to the protocol, replies; until the kernel has no
    /// more bytes, the peer takes no more, or the budget is spent.
    ///
    /// The dispatcher's code for an event has it inlined, which saves a frame some 30 instructions.
    #[inline(always)]
    pub(super) fn turn(
        &mut self,
        readiness: Readiness,
        scratch: &mut [u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Outcome {
        let mut outcome = self.proceed(readiness, scratch, cx).unwrap_or_else(Outcome::Closed);
        if self.pending.is_some() {
            if outcome == Outcome::Wait {
                outcome = self.rest(cx);
            }
            self.return_memory(cx.token, cx.shared);
        }
        outcome
    }

    /// The outcome of a turn that has come to an end, and not to that of its budget.
    #[inline(never)]
    fn rest<P>(&mut self, cx: &Context<'_, P>) -> Outcome {
        if self.is_ready_to_send() {
            return Outcome::Again { more_behind: true };
        }
        self.acknowledge(cx);
        Outcome::Wait
    }

    /// A turn for which no event has come.
    #[inline(never)]
    pub(super) fn turn_without_event(
        &mut self,
        scratch: &mut [u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Outcome {
        self.turn(Readiness::ALL, scratch, cx)
    }

    #[inline(always)]
    fn proceed(
        &mut self,
        readiness: Readiness,
        scratch: &mut [u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<Outcome, Reason> {
        let mut readable = readiness.readable;
        // A short read means that the kernel has no more bytes, and the next ones bring an event of their own; unless
        // something other than a lack of bytes may have ended the read.
        let mut until_would_block =
            readiness.more_behind || cx.shared.draining || !self.stream.short_read_is_last();
        if self.owes() {
            // Over poll(2) FIN is reported again after each `WouldBlock`: a write that finds no room would be repeated until
            // the peer reads. What waits for something else makes no such call.
            let heeds_fin = !WITHOUT_EPOLL || self.schedule().is_some_and(Schedule::is_waiting);
            let may_write = readiness.writable || (readiness.more_behind && heeds_fin);
            let all_sent = may_write && self.flush(cx)?;
            if !all_sent && !self.reads_while_owed(cx) {
                return self.blocked(readiness, cx);
            }
            // Nothing was read while output was owed, so an event may have been ignored.
            (readable, until_would_block) = (true, true);
        }
        let mut steps_left = STEPS_PER_TURN;
        loop {
            if self.owes() && !self.reads_while_owed(cx) {
                return self.blocked(readiness, cx);
            }
            if self.wants_turn() {
                if steps_left == 0 {
                    return Ok(Outcome::Again { more_behind: until_would_block });
                }
                steps_left = steps_left.saturating_sub(STEPS_OF_PART);
                // Buffered input is handled before the connection waits for more.
                self.resume_protocol(cx)?;
                continue;
            }
            match self.state {
                State::Open(_) | State::Lingering(_) => {}
                State::HalfClosed => return Err(Reason::PeerClosed),
                State::Finishing(reason) => {
                    if self.stream.shutdown_write().is_err() {
                        return Err(reason);
                    }
                    cx.shared.events.emit(cx.token, || Event::FinSent);
                    self.state = State::Lingering(reason);
                    (readable, until_would_block) = (true, true);
                }
                State::Connecting => return Ok(Outcome::Connecting),
            }
            if !readable {
                return Ok(Outcome::Wait);
            }
            if steps_left == 0 {
                cx.shared.events.emit(cx.token, || Event::BudgetSpent);
                return Ok(Outcome::Again { more_behind: until_would_block });
            }
            steps_left -= 1;
            match self.read(scratch, &mut cx.shared.pool) {
                Ok(read) if read.bytes == 0 => {
                    cx.shared.events.emit(cx.token, || Event::ReadEof);
                    self.peer_closed(cx)?;
                }
                Ok(read) => {
                    cx.shared.events.emit(cx.token, || read.event());
                    self.received += read.bytes as u64;
                    cx.counts.received.add(read.bytes as u64);
                    readable = until_would_block || read.bytes == read.room;
                    if read.bytes >= MANY_BYTES {
                        self.wait_in_line(read.bytes, cx.shared);
                        steps_left = steps_left.saturating_sub(read.bytes / STEP);
                    }
                    self.receive(&scratch[..read.fresh], cx)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    cx.shared.events.emit(cx.token, || Event::ReadBlocked);
                    readable = false;
                    if cx.shared.draining && self.is_between_frames() {
                        self.finish(Reason::Drained, Ending::Stopping, cx)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(cx, Doing::Read, &error)),
            }
        }
    }

    /// Whether there is neither a partial frame nor anything left to send.
    fn is_between_frames(&self) -> bool {
        match self.state {
            State::Open(Begun::Nothing) => true,
            State::Open(Begun::Handshake) => {
                self.pending.as_ref().is_none_or(|pending| pending.input.is_empty())
            }
            _ => false,
        }
    }
}
