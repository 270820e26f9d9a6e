//! Bytes with a consumed front, and the pool that lends out their memory and takes it back.
//!
//! ```text
//!  0        start            end        capacity
//!  ├──────────┼────────────────┼──────────────┤
//!  │ consumed │      bytes     │     room     │
//!  └──────────┴────────────────┴──────────────┘
//! ```
//!
//! Consuming moves `start` and copies nothing. The room behind the bytes is initialised memory, so that a
//! read can go straight into it in safe code; the pool keeps it initialised between owners, and so a
//! connection's second large frame costs neither an allocation nor a `memset`.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From this size on, in bytes, memory is mapped: to unmap it gives it back to the system, whatever lies around
/// it. An allocator's heap shrinks only from its end, and one small piece there keeps all the rest.
const MAPPED: usize = 16 << 10;

/// What the pool keeps for the next taker, in bytes and in pieces; the rest goes back to the system.
const KEPT_BYTES: usize = 16 << 20;
const KEPT_PIECES: usize = 64;

/// The least a buffer is given, in bytes: what the allocator would round up to anyway is not worth a return trip.
const LEAST: usize = 512;

/// An empty buffer this much larger than what it is wanted for is swapped for a smaller one.
const OVERSIZE: usize = 4;

/// Initialised memory.
#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Memory {
    const NONE: Self = Self::Heap(Vec::new());

    /// As many bytes, all 0.
    fn new(length: usize) -> Self {
        if length >= MAPPED
            && let Ok(memory) = MmapMut::map_anon(length)
        {
            return Self::Mapped(memory);
        }
        // The system limits the number of mappings, too.
        Self::Heap(vec![0; length])
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(memory) => memory,
            Self::Mapped(memory) => memory,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(memory) => memory,
            Self::Mapped(memory) => memory,
        }
    }
}

/// Bytes with a consumed front. An empty one owns no memory until [`Pool::reserve`] gives it some.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Memory,
    start: usize,
    end: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { memory: Memory::NONE, start: 0, end: 0 }
    }
}

impl Buffer {
    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory owned, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    pub(crate) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The room behind the bytes; what is written there counts once [`filled`](Self::filled) says so.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.memory.len());
    }

    /// Appends what the room is known to hold.
    fn append(&mut self, bytes: &[u8]) {
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    fn move_to_front(&mut self) {
        self.memory.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.len());
    }
}

/// More memory was wanted than `--max-memory` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverLimit;

/// Lends memory to buffers, counts what is lent, and never lends more than its limit.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: usize,
    /// Capacity of all buffers out there; at most `limit`, together with `kept_bytes`.
    lent: usize,
    kept: Vec<Memory>,
    kept_bytes: usize,
    /// Whether anything was taken from `kept` since the last trim.
    in_demand: bool,
}

impl Pool {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, lent: 0, kept: Vec::new(), kept_bytes: 0, in_demand: false }
    }

    /// Bytes that connections hold.
    pub(crate) const fn lent(&self) -> usize {
        self.lent
    }

    pub(crate) const fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Appends `bytes`; see [`reserve`](Self::reserve).
    pub(crate) fn append(
        &mut self,
        buffer: &mut Buffer,
        bytes: &[u8],
        likely: usize,
    ) -> Result<(), OverLimit> {
        let there = buffer.len() + bytes.len();
        self.reserve(buffer, bytes.len(), likely, there)?;
        buffer.append(bytes);
        Ok(())
    }

    /// Makes room for what is to be read, of which nothing is there yet: as much again as `buffer` holds.
    pub(crate) fn read_ahead(
        &mut self,
        buffer: &mut Buffer,
        likely: usize,
    ) -> Result<(), OverLimit> {
        let there = buffer.len();
        self.reserve(buffer, there.min(likely.saturating_sub(there)), likely, there)
    }

    /// Makes room for `more` bytes behind those in `buffer`.
    ///
    /// `likely` is how long the peer says it will become, or 0. It is believed as far as twice what is
    /// really `there`: memory grows with bytes received, not with bytes announced. Only a piece that the pool
    /// keeps anyway is given whole.
    fn reserve(
        &mut self,
        buffer: &mut Buffer,
        more: usize,
        likely: usize,
        there: usize,
    ) -> Result<(), OverLimit> {
        let least = buffer.len() + more;
        // One that grows by small steps, none knows how far, must not be copied at each.
        let likely = if likely == 0 && !buffer.is_empty() { least + least / 2 } else { likely };
        let wanted = least.max(likely.min(2 * there)).max(LEAST);
        if buffer.is_empty() && buffer.capacity() > OVERSIZE * wanted.max(likely) {
            self.release(buffer);
        }
        if buffer.capacity() - buffer.end >= more {
            return Ok(());
        }
        if buffer.capacity() >= least && buffer.capacity() >= 2 * buffer.len() {
            buffer.move_to_front();
            return Ok(());
        }
        if let Some(piece) = self.take_kept(least, wanted.max(likely)) {
            let mut grown = Buffer { memory: piece, start: 0, end: 0 };
            grown.append(buffer.bytes());
            self.release(buffer);
            *buffer = grown;
            return Ok(());
        }
        self.grow(buffer, wanted).or_else(|OverLimit| self.grow(buffer, least))
    }

    /// How many bytes may still be charged.
    const fn chargeable(&self) -> usize {
        self.limit - self.lent
    }

    /// Counts what a buffer grows by as lent. What is kept makes way for it.
    fn charge(&mut self, bytes: usize) -> Result<(), OverLimit> {
        if bytes > self.chargeable() - self.kept_bytes {
            self.trim();
        }
        if bytes > self.chargeable() {
            return Err(OverLimit);
        }
        self.lent += bytes;
        Ok(())
    }

    fn grow(&mut self, buffer: &mut Buffer, wanted: usize) -> Result<(), OverLimit> {
        let added = wanted - buffer.capacity().min(wanted);
        self.charge(added)?;
        buffer.move_to_front();
        if added > 0 {
            let mut memory = Memory::new(wanted);
            memory[..buffer.end].copy_from_slice(buffer.bytes());
            buffer.memory = memory;
        }
        Ok(())
    }

    /// The most recently returned, hence warmest, piece of at least `least` bytes that is not a waste.
    fn take_kept(&mut self, least: usize, fitting: usize) -> Option<Memory> {
        let fits = |piece: &Memory| piece.len() >= least && piece.len() <= OVERSIZE * fitting;
        let index = self.kept.iter().rposition(fits)?;
        let piece = self.kept.remove(index);
        self.kept_bytes -= piece.len();
        self.lent += piece.len();
        self.in_demand = true;
        Some(piece)
    }

    /// Takes `buffer`'s memory back, and what it held with it.
    pub(crate) fn release(&mut self, buffer: &mut Buffer) {
        let piece = std::mem::take(buffer).memory;
        self.lent -= piece.len();
        let keep = self.kept_bytes + piece.len() <= KEPT_BYTES.min(self.limit - self.lent)
            && self.kept.len() < KEPT_PIECES;
        if keep && !piece.is_empty() {
            self.kept_bytes += piece.len();
            self.kept.push(piece);
        }
    }

    /// Gives all that is kept back to the system.
    fn trim(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// Gives what is kept back if nobody has wanted any of it since the last call.
    pub(crate) fn trim_unused(&mut self) {
        if !std::mem::take(&mut self.in_demand) {
            self.trim();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_while_the_front_is_consumed() {
        let (mut pool, mut buffer) = (Pool::new(1 << 20), Buffer::default());
        let mut model = std::collections::VecDeque::<u8>::new();
        for round in 0_u32..500 {
            let piece: Vec<u8> =
                (0..round % 97).map(|i| (i * 31 + round).to_le_bytes()[0]).collect();
            pool.append(&mut buffer, &piece, 0).unwrap();
            model.extend(&piece);
            let gone = buffer.len() * (round as usize % 5) / 5;
            buffer.consume(gone);
            model.drain(..gone);
            assert!(model.iter().eq(buffer.bytes()), "round {round}");
        }
    }

    #[test]
    fn an_announced_length_reserves_no_more_than_twice_what_came() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 4], 16 << 20).unwrap();
        assert_eq!(pool.lent(), LEAST);
        pool.append(&mut buffer, &[0; 10_000], 16 << 20).unwrap();
        assert_eq!(pool.lent(), 20_008);
    }

    #[test]
    fn reading_ahead_reserves_as_much_again_as_came() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 100_000], 100_000).unwrap();
        pool.read_ahead(&mut buffer, 16 << 20).unwrap();
        assert_eq!(pool.lent(), 200_000);
    }

    #[test]
    fn a_buffer_that_grows_byte_by_byte_is_seldom_copied() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        let mut capacities = std::collections::BTreeSet::new();
        for _ in 0..100_000 {
            pool.append(&mut buffer, b"x", 0).unwrap();
            capacities.insert(buffer.capacity());
        }
        assert!(capacities.len() < 20, "{} times", capacities.len());
    }

    #[test]
    fn a_likely_length_that_is_near_is_given_exactly() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 40_000], 65_540).unwrap();
        assert_eq!(buffer.capacity(), 65_540);
    }

    #[test]
    fn the_limit_is_never_passed_and_release_makes_room() {
        let mut pool = Pool::new(100_000);
        let (mut first, mut second) = (Buffer::default(), Buffer::default());
        pool.append(&mut first, &[1; 60_000], 0).unwrap();
        assert_eq!(pool.append(&mut second, &[2; 60_000], 0), Err(OverLimit));
        assert_eq!(pool.lent(), 60_000);
        pool.release(&mut first);
        assert_eq!(pool.lent(), 0);
        pool.append(&mut second, &[2; 90_000], 0).unwrap();
        assert!(pool.lent + pool.kept_bytes <= 100_000);
    }

    #[test]
    fn what_is_kept_is_lent_again_and_given_back_when_unused() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 1 << 20], 0).unwrap();
        pool.release(&mut buffer);
        assert_eq!((pool.lent(), pool.kept_bytes), (0, 1 << 20));
        pool.append(&mut buffer, &[8; 300_000], 1 << 20).unwrap();
        assert_eq!((pool.lent(), pool.kept_bytes), (1 << 20, 0));
        pool.release(&mut buffer);
        pool.trim_unused();
        assert!(pool.keeps_any(), "it was in demand a moment ago");
        pool.trim_unused();
        assert_eq!((pool.keeps_any(), pool.kept_bytes), (false, 0));
    }

    #[test]
    fn a_large_buffer_is_not_pinned_by_a_few_bytes() {
        let (mut pool, mut buffer) = (Pool::new(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 1 << 20], 0).unwrap();
        buffer.consume(1 << 20);
        pool.append(&mut buffer, &[8; 20], 68).unwrap();
        assert_eq!(pool.lent(), LEAST);
    }
}
