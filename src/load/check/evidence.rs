//! What a connection receives after the first wrong byte.
//!
//! The first wrong byte does not show what the server did: if a later frame comes, the expected one may be dropped or
//! late. So the connection stops sending, and what it receives is kept until the fault is certain, for [`PATIENCE`]
//! at most.

use super::difference::{Difference, Place};
use crate::load::{nanos::Nanos, wire::tape::Tape};

/// How long to wait for more bytes, unless the timeout is shorter.
pub(crate) const PATIENCE: Nanos = 1_000_000_000;

/// Bytes kept for one connection: this many, or two of the longest frames if that is more.
const USUAL: usize = 64 << 10;

/// Bytes kept for all connections of a thread together, besides one read each.
pub(crate) const BUDGET: usize = 64 << 20;

/// The received bytes, and where they should be.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// When the first wrong byte was received.
    pub(crate) since: Nanos,
    /// Bytes and frames received before on the connection.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Frames in flight at that time.
    pub(crate) in_flight: u32,
    /// Where on the tape `received` should be, and how many of its bytes are right.
    pub(crate) offset: usize,
    pub(crate) alike: usize,
    pub(crate) received: Vec<u8>,
    /// The most bytes that are kept.
    pub(crate) limit: usize,
    /// It is judged again at this length.
    next: usize,
}

impl Evidence {
    /// Nothing received yet. `budget` is the most that may be kept.
    pub(crate) fn new(
        tape: &Tape,
        since: Nanos,
        (bytes, frames, in_flight): (u64, u64, u32),
        (offset, alike): (usize, usize),
        budget: usize,
    ) -> Self {
        let limit = USUAL.max(2 * tape.longest()).min(budget);
        let received = Vec::new();
        Self { since, bytes, frames, in_flight, offset, alike, received, limit, next: 0 }
    }

    /// The difference, once its name is certain or nothing more can be kept.
    pub(crate) fn conclusion(&mut self, tape: &Tape) -> Option<Difference> {
        let length = self.received.len();
        if length < self.next && length < self.limit {
            return None;
        }
        // Not for each byte: a server that sends single bytes would make this slow.
        self.next = length + length / 4 + 1;
        Some(self.judge(tape)).filter(|judged| judged.is_final || length >= self.limit)
    }

    /// The difference, as far as it is known.
    pub(crate) fn judge(&self, tape: &Tape) -> Difference {
        let place = Place {
            tape,
            offset: self.offset,
            received: &self.received,
            alike: self.alike.min(self.received.len()),
            bytes: self.bytes,
            frames: self.frames,
            in_flight: usize::try_from(self.in_flight).unwrap_or(usize::MAX),
        };
        place.judge()
    }
}
