//! One peer: read → protocol → write, and what is left between two turns.
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
//! A connection with none of these owns no buffer at all. One that owes output does not read: back-pressure
//! reaches the peer through the kernel's own windows, and what a slow reader can make the server hold is
//! one batch of replies. Only a client's protocol may have it otherwise
//! ([`Protocol::reads_while_owed`]).

use std::{fmt, io::ErrorKind, net::IpAddr};

use log::trace;

pub(crate) use self::shared::{SCRATCH, Shared};
use self::{cold::Cold, read::Arrival, reply::Replies, write::write};
use crate::{
    Peer, Reason, Token, plural,
    protocol::{Ending, Protocol},
    reactor::deadlines::Class,
    reactor::inspect::Inspected,
    reactor::net::{Readiness, Stream},
};

mod cold;
mod end;
mod outbound;
mod read;
mod reply;
mod shared;
#[cfg(test)]
mod tests;
mod write;

/// Reads, or instalments of a long answer, in one turn before the others get theirs.
const STEPS_PER_TURN: u64 = 16;

/// So many bytes of a read count as a step of their own.
const STEP: u64 = 256 << 10;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Both directions are open.
    Open(Frame),
    /// The peer has sent FIN: what is owed goes out, then the connection closes.
    HalfClosed,
    /// The server ends it: what is owed goes out, then FIN.
    Finishing(Reason),
    /// FIN is sent. What still comes is read and discarded until the peer closes too: to close with unread
    /// bytes would send RST, which can destroy replies that the peer has not read yet.
    Lingering(Reason),
    /// It goes out, and the peer has not answered yet; who that is, the cold part tells.
    Connecting,
}

/// Whether a frame has begun, that is, whether the time limit for a whole frame runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Between,
    Within,
}

/// What the turn of a connection came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its next event.
    Wait,
    /// It has spent its budget and may have more to do.
    Again,
    /// It is over.
    Gone(Reason),
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    cold: Option<Box<Cold>>,
    received: u64,
    sent: u64,
    frames: u64,
    generation: u32,
    state: State,
    /// Index of the listener it came by.
    pub(crate) door: u8,
    /// Whether it is on the run queue, where it need not be twice.
    pub(crate) queued: bool,
}

/// Progress at some moment; two of them tell whether a deadline starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    received: u64,
    sent: u64,
    frames: u64,
}

impl<S: Stream> Connection<S> {
    /// A connection that has just been accepted. `peer` is kept only where it will be asked for, as by a
    /// limit per address or the log: it costs more memory than all the rest of an idle connection.
    pub(crate) fn new(stream: S, generation: u32, door: u8, peer: Option<Peer>) -> Self {
        let cold = peer.map(|peer| Box::new(Cold { peer: Some(peer), ..Cold::default() }));
        Self {
            stream,
            cold,
            received: 0,
            sent: 0,
            frames: 0,
            generation,
            state: State::Open(Frame::Between),
            door,
            queued: false,
        }
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Its name, given the slab key it is under.
    #[expect(clippy::cast_possible_truncation, reason = "slab keys fit a token's 32 bits")]
    pub(crate) const fn token(&self, key: usize) -> Token {
        Token::new(key as u32, self.generation)
    }

    pub(crate) const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(crate) const fn progress(&self) -> Progress {
        Progress { received: self.received, sent: self.sent, frames: self.frames }
    }

    /// What it waits for between turns, and whether that wait began after `before`.
    pub(crate) fn waits_for(&self, before: Progress) -> (Class, bool) {
        match self.state {
            State::Lingering(_) => (Class::Linger, false),
            _ if self.owes() => (Class::Write, self.sent != before.sent),
            State::Open(Frame::Within) => (Class::Frame, self.frames != before.frames),
            State::Connecting => (Class::Write, false),
            _ => (Class::Idle, self.progress() != before),
        }
    }

    fn owes(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.output.is_empty())
    }

    fn is_stopped(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.stopped)
    }

    /// What it holds, for tests.
    pub(crate) fn inspect(&self, token: Token) -> Inspected {
        let (held, owed, capacity) = self.cold.as_ref().map_or((0, 0, 0), |cold| {
            let Cold { input, output, .. } = &**cold;
            (input.len(), output.len(), input.capacity() + output.capacity())
        });
        let (queued, ended_for) = (self.queued, self.ended_for());
        Inspected { token, held, owed, capacity, queued, entries: 0, deadline: None, ended_for }
    }

    /// The connection is there: lets the protocol speak first.
    pub(crate) fn open(
        &mut self,
        token: Token,
        peer: &Peer,
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Turn {
        shared.output.clear();
        protocol.opened(token, peer, &mut shared.output);
        self.meet(token, shared);
        match self.deliver(token, Replies::default(), shared) {
            Ok(()) => Turn::Wait,
            Err(Reason::Memory) => {
                self.abandon(Reason::Memory, shared);
                Turn::Again
            }
            Err(reason) => Turn::Gone(reason),
        }
    }

    /// Does what can be done now: pays what is owed, reads, shows it to the protocol, replies, until the
    /// kernel has nothing more, the peer takes no more, or the budget is spent.
    pub(crate) fn turn(
        &mut self,
        token: Token,
        readiness: Readiness,
        protocol: &mut impl Protocol,
        scratch: &mut [u8],
        shared: &mut Shared,
    ) -> Turn {
        let turn = self.proceed(token, readiness, protocol, scratch, shared);
        if turn == Err(Reason::Memory) && self.ended_for() != Some(Reason::Memory) {
            self.abandon(Reason::Memory, shared);
            return self.turn(token, Readiness::ALL, protocol, scratch, shared);
        }
        self.give_back(shared);
        turn.unwrap_or_else(Turn::Gone)
    }

    #[inline(always)]
    fn proceed(
        &mut self,
        token: Token,
        readiness: Readiness,
        protocol: &mut impl Protocol,
        scratch: &mut [u8],
        shared: &mut Shared,
    ) -> Result<Turn, Reason> {
        let mut readable = readiness.readable;
        // A short read means that the kernel has no more, and the next bytes bring an event of their own,
        // unless something other than a lack of bytes may have ended it.
        let mut until_would_block = readiness.more_behind || shared.draining;
        if self.owes() {
            if !self.resumes(token, readiness, protocol, shared)? {
                return Ok(Turn::Wait);
            }
            // Nothing may have been read while something was owed: an event may have been passed over.
            (readable, until_would_block) = (true, true);
        }
        let mut steps_left = STEPS_PER_TURN;
        loop {
            if self.owes() && !self.reads_on(protocol) {
                return Ok(Turn::Wait);
            }
            match self.state {
                State::HalfClosed => return Err(Reason::PeerClosed),
                State::Finishing(reason) => {
                    if self.stream.shutdown_write().is_err() {
                        return Err(reason);
                    }
                    trace!("{token}: FIN sent");
                    self.state = State::Lingering(reason);
                    (readable, until_would_block) = (true, true);
                }
                State::Connecting => {
                    if !self.answered(token, protocol, shared)? {
                        return Ok(Turn::Wait);
                    }
                    (readable, until_would_block) = (true, true);
                    continue;
                }
                State::Open(_) | State::Lingering(_) => {}
            }
            if !readable && !self.is_stopped() {
                return Ok(Turn::Wait);
            }
            if steps_left == 0 {
                trace!("{token}: budget spent");
                return Ok(Turn::Again);
            }
            steps_left -= 1;
            if self.is_stopped() {
                // What is buffered already comes before anything that is waited for.
                self.show(token, &[], protocol, shared)?;
                continue;
            }
            match self.read(scratch, &mut shared.stock.pool) {
                Ok(Arrival { bytes: 0, .. }) => {
                    trace!("{token}: read EOF");
                    self.peer_closed(token, shared)?;
                }
                Ok(arrival) => {
                    trace!("{token}: read {} B of at most {}", arrival.bytes, arrival.room);
                    self.count_received(arrival.bytes, shared);
                    readable = until_would_block || arrival.bytes == arrival.room;
                    steps_left = steps_left.saturating_sub(arrival.bytes as u64 / STEP);
                    self.show(token, &scratch[..arrival.fresh], protocol, shared)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    trace!("{token}: read would block");
                    readable = false;
                    if shared.draining && matches!(self.state, State::Open(Frame::Between)) {
                        self.finish(Reason::Drained, Ending::Stopping, token, protocol, shared)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(token, "read", &error)),
            }
        }
    }

    /// Writes what is owed; whether all of it went.
    fn pay(&mut self, token: Token, shared: &mut Shared) -> Result<bool, Reason> {
        let Some(cold) = &mut self.cold else {
            return Ok(true);
        };
        let taken = match write(&mut self.stream, token, cold.output.bytes()) {
            Ok(taken) => taken,
            Err(error) => return Err(self.lost(token, "write", &error)),
        };
        cold.output.consume(taken);
        let paid = cold.output.is_empty();
        self.count_sent(taken, shared);
        Ok(paid)
    }

    fn count_received(&mut self, bytes: usize, shared: &Shared) {
        self.received += bytes as u64;
        shared.stats.received.add(bytes as u64);
    }

    fn count_frames(&mut self, frames: u64, shared: &Shared) {
        self.frames += frames;
        shared.stats.frames.add(frames);
    }

    fn count_sent(&mut self, bytes: usize, shared: &Shared) {
        self.sent += bytes as u64;
        shared.stats.sent.add(bytes as u64);
    }

    /// Returns what memory is not needed between turns.
    #[inline(always)]
    fn give_back(&mut self, shared: &mut Shared) {
        if self.cold.is_some() {
            self.give_cold_back(shared);
        }
    }

    #[inline(never)]
    fn give_cold_back(&mut self, shared: &mut Shared) {
        let Some(cold) = &mut self.cold else { return };
        for buffer in [&mut cold.input, &mut cold.output] {
            if buffer.is_empty() && buffer.capacity() > 0 {
                shared.stock.pool.release(buffer);
            }
        }
        if cold.input.is_empty()
            && cold.output.is_empty()
            && !cold.lasts()
            && let Some(cold) = self.cold.take()
        {
            shared.stock.put_back(cold);
        }
    }

    /// Remembers the address under which it is counted.
    pub(crate) fn count_as(&mut self, address: Option<IpAddr>) {
        if address.is_some() {
            self.cold.get_or_insert_default().counted = address;
        }
    }

    /// Returns all memory and closes the stream. Returns the address under which it was counted.
    pub(crate) fn close(self, shared: &mut Shared) -> Option<IpAddr> {
        let cold = self.cold?;
        let counted = cold.counted;
        shared.stock.put_back(cold);
        counted
    }
}

impl<S> fmt::Display for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = self.cold.as_ref().and_then(|cold| cold.peer) {
            write!(f, "{peer}, ")?;
        }
        let Self { received, sent, frames, .. } = self;
        write!(f, "{received} B received, {sent} B sent, {}", plural::frames(*frames))
    }
}
