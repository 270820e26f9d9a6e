//! What a connection receives from the point on where it is no echo any more.
//!
//! The first wrong byte does not show what the server did: a frame in the place of an earlier one means that the
//! earlier one was dropped, or that it is late. So the connection sends nothing more, and what it receives is kept
//! until its meaning is certain, for [`PATIENCE`] at most.

use super::{
    check::{Difference, Place},
    control::Nanos,
    tape::Tape,
};

/// How long more bytes are waited for, unless the timeout is shorter.
pub(crate) const PATIENCE: Nanos = 1_000_000_000;

/// One connection keeps this much, or two of its longest frames where those are more.
const USUAL: usize = 64 << 10;

/// All connections of a thread together keep this much, besides one read each.
pub(crate) const BUDGET: usize = 64 << 20;

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// When the first wrong byte came.
    pub(crate) since: Nanos,
    /// Bytes and frames that had come back on the connection before.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Frames in flight then.
    pub(crate) in_flight: u32,
    /// Where on the tape the first of `received` should be, and how many are right.
    pub(crate) offset: usize,
    pub(crate) alike: usize,
    pub(crate) received: Vec<u8>,
    /// How much is kept at most.
    pub(crate) limit: usize,
    /// It is judged again when there is this much.
    next: usize,
}

impl Evidence {
    /// None yet. `budget` is what may be kept.
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

    /// What it means, once that is certain, or nothing more can be kept.
    pub(crate) fn conclusion(&mut self, tape: &Tape) -> Option<Difference> {
        let length = self.received.len();
        if length < self.next && length < self.limit {
            return None;
        }
        // A server that sends single bytes must not cost a comparison of everything for each.
        self.next = length + length / 4 + 1;
        Some(self.judge(tape)).filter(|judged| judged.is_final || length >= self.limit)
    }

    /// What it means as far as is known.
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
