//! Buffers whose bytes are consumed from the front, and the pool that lends them memory.
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

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use memmap2::MmapMut;

/// Pieces of at least this many bytes are memory-mapped, because unmapping always returns the memory to the system. An
/// allocator's heap shrinks only from its end, so one small allocation there can keep all of it.
const MAPPED: usize = 16 << 10;

/// How much free memory the pools keep for reuse, as a part of their budget, and how many pieces each of them keeps. The
/// rest goes back to the system.
const KEPT_PART: usize = 8;
const KEPT_PIECES: usize = 64;

/// The smallest piece of memory that a buffer gets, in bytes.
const LEAST: usize = 512;

/// A buffer that owns this many times what it holds gets a smaller piece of memory.
const OVERSIZE: usize = 4;

/// A pool leases its share of the budget in steps of a 64th of it, within these bounds: few enough that the counter that
/// all loops share is seldom touched, and small enough that no loop keeps much that another one needs.
const LEAST_LEASE: usize = 4 << 10;
const MOST_LEASE: usize = 1 << 20;

/// Initialised memory.
#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Memory {
    const NONE: Self = Self::Heap(Vec::new());

    /// This many zero bytes.
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

/// Bytes that all buffers may own together. The loops of one process share it, each through its [`Pool`].
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicUsize,
    leased: AtomicUsize,
    pools: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            leased: AtomicUsize::new(0),
            pools: AtomicUsize::new(0),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Changes the limit. Pools keep what they have leased; over a lower limit they get no more.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Takes `bytes` of it, or nothing if there are not that many left.
    fn lease(&self, bytes: usize) -> bool {
        let add = |leased: usize| leased.checked_add(bytes).filter(|&sum| sum <= self.limit());
        self.leased.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.leased.fetch_sub(bytes, Relaxed);
    }

    /// How much is leased at a time.
    fn step(&self) -> usize {
        (self.limit() / 64).clamp(LEAST_LEASE, MOST_LEASE)
    }

    /// How much one pool may keep.
    fn keep(&self) -> usize {
        self.limit() / KEPT_PART / self.pools.load(Relaxed).max(1)
    }

    fn left(&self) -> usize {
        self.limit().saturating_sub(self.leased.load(Relaxed))
    }
}

/// Lends memory to buffers and counts it.
///
/// Memory for bytes that have arrived is always lent, even over the limit, because the next connection needs the
/// scratch that they are in. The dispatcher looks at [`is_over`](Self::is_over) after each turn and ends the connections
/// that hold the most, so the limit holds between turns. Within one turn it can be exceeded by one read and its replies.
#[derive(Debug)]
pub(crate) struct Pool {
    budget: Arc<Budget>,
    /// Bytes of the budget that are this pool's; at least `lent + kept_bytes`, unless the budget is used up.
    leased: usize,
    /// Capacity of all buffers that own memory.
    lent: usize,
    /// Pieces for reuse, in the order in which they came back.
    kept: Vec<Memory>,
    kept_bytes: usize,
    /// How many of the first pieces in `kept` have stayed there since the last trim.
    unused: usize,
}

impl Pool {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        budget.pools.fetch_add(1, Relaxed);
        Self { budget, leased: 0, lent: 0, kept: Vec::new(), kept_bytes: 0, unused: 0 }
    }

    /// Bytes that buffers own.
    pub(crate) const fn lent(&self) -> usize {
        self.lent
    }

    /// Whether buffers own more than the budget has.
    pub(crate) const fn is_over(&self) -> bool {
        self.lent > self.leased
    }

    pub(crate) const fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Appends `bytes`; see [`reserve`](Self::reserve).
    pub(crate) fn append(&mut self, buffer: &mut Buffer, bytes: &[u8], likely: usize) {
        let there = buffer.len() + bytes.len();
        self.reserve(buffer, bytes.len(), likely, there);
        buffer.append(bytes);
    }

    /// Makes room for bytes that are about to be read: as many as `buffer` holds already, unless there is room for a quarter
    /// of that. If the budget does not allow it, there is less room, or none.
    pub(crate) fn read_ahead(&mut self, buffer: &mut Buffer, likely: usize) {
        let there = buffer.len();
        let more = there.min(likely.saturating_sub(there)).min(self.available());
        // The bytes that are there are copied, so they must not be at each short read.
        if buffer.capacity() - buffer.end < more.min(there / 4) {
            self.reserve(buffer, more, likely, there);
        }
    }

    /// Makes room for `more` bytes behind those in `buffer`.
    ///
    /// `likely` is the length that the peer has announced, or 0. At most twice the bytes that are `there` are reserved
    /// for it: memory grows with bytes received, not with bytes announced. A piece that is kept may be longer, as it is no
    /// new memory: where long frames come again and again, they need not be copied as they grow.
    ///
    /// Growth is amortised, also where the budget is nearly used up: then a buffer gets all that is left, and the
    /// next to grow is over the limit.
    fn reserve(&mut self, buffer: &mut Buffer, more: usize, likely: usize, there: usize) {
        let least = buffer.len() + more;
        // A buffer that grows by small steps towards an unknown length must not be copied at each.
        let likely = if likely == 0 && !buffer.is_empty() { least + least / 2 } else { likely };
        let wanted = least.max(likely.min(2 * there)).max(LEAST);
        if buffer.is_empty() && buffer.capacity() > OVERSIZE * wanted {
            self.release(buffer);
        }
        if buffer.capacity() - buffer.end >= more {
            return;
        }
        if buffer.capacity() >= least && buffer.capacity() >= 2 * buffer.len() {
            buffer.move_to_front();
            return;
        }
        let most = buffer.capacity() + self.available();
        let wanted = wanted.min(most).max(least);
        let whole = Some(likely).filter(|&likely| likely > wanted && likely <= OVERSIZE * there);
        let memory = whole
            .and_then(|whole| self.take_kept(whole, 2 * there))
            .unwrap_or_else(|| self.take(least, wanted));
        self.replace(buffer, memory);
    }

    /// Moves the bytes in `buffer` to a smaller piece of memory if they use little of the present one. An empty buffer
    /// gives up its memory. So memory follows the bytes that are held now.
    pub(crate) fn shrink(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() {
            if buffer.capacity() > 0 {
                self.release(buffer);
            }
        } else if buffer.capacity() > OVERSIZE * buffer.len().max(LEAST) {
            let length = buffer.len().max(LEAST);
            let memory = self.take(length, length);
            self.replace(buffer, memory);
        }
    }

    /// Moves the bytes in `buffer` to `memory`.
    fn replace(&mut self, buffer: &mut Buffer, memory: Memory) {
        let mut replaced = Buffer { memory, start: 0, end: 0 };
        replaced.append(buffer.bytes());
        self.release(buffer);
        self.lent += replaced.capacity();
        if self.lent + self.kept_bytes > self.leased {
            self.lease_more();
        }
        *buffer = replaced;
    }

    /// How much more may be lent without going over the limit.
    fn available(&self) -> usize {
        (self.leased + self.budget.left()).saturating_sub(self.lent)
    }

    /// Leases as much as is lent and kept. If the budget is used up, returns what is kept; the pool may stay over the
    /// limit.
    #[cold]
    fn lease_more(&mut self) {
        let missing = self.lent + self.kept_bytes - self.leased;
        for wanted in [missing.max(self.budget.step()), missing] {
            if self.budget.lease(wanted) {
                self.leased += wanted;
                return;
            }
        }
        self.trim();
        let missing = self.lent.saturating_sub(self.leased);
        if missing > 0 && self.budget.lease(missing) {
            self.leased += missing;
        }
    }

    /// A piece of at least `least` bytes that is kept, or else a new one of `wanted` bytes.
    fn take(&mut self, least: usize, wanted: usize) -> Memory {
        self.take_kept(least, wanted).unwrap_or_else(|| Memory::new(wanted))
    }

    /// The piece of at least `least` bytes that was returned last, as it is most likely to be in the cache. Pieces that
    /// are much too large are left.
    fn take_kept(&mut self, least: usize, wanted: usize) -> Option<Memory> {
        let fits = |piece: &Memory| piece.len() >= least && piece.len() <= 2 * wanted;
        let index = self.kept.iter().rposition(fits)?;
        let piece = self.kept.remove(index);
        self.kept_bytes -= piece.len();
        self.unused -= usize::from(index < self.unused);
        Some(piece)
    }

    /// Takes `buffer`'s memory back. The bytes in it are lost.
    pub(crate) fn release(&mut self, buffer: &mut Buffer) {
        let piece = std::mem::take(buffer).memory;
        self.lent -= piece.len();
        if !piece.is_empty() {
            self.keep(piece);
        }
        self.give_back_surplus();
    }

    /// Keeps `piece` for reuse, in place of those that nobody has taken for the longest time.
    fn keep(&mut self, piece: Memory) {
        let most = self.budget.keep().min(self.leased.saturating_sub(self.lent));
        if piece.len() > most {
            return;
        }
        while self.kept_bytes + piece.len() > most || self.kept.len() == KEPT_PIECES {
            self.kept_bytes -= self.kept.remove(0).len();
            self.unused = self.unused.saturating_sub(1);
        }
        self.kept_bytes += piece.len();
        self.kept.push(piece);
    }

    /// Counts memory that is not the pool's: `after` bytes where there were `before`.
    pub(crate) fn recount(&mut self, before: usize, after: usize) {
        self.lent = self.lent - before + after;
        if self.lent + self.kept_bytes > self.leased {
            self.lease_more();
        }
        self.give_back_surplus();
    }

    /// Returns what is leased beyond what is used and a step.
    fn give_back_surplus(&mut self) {
        let (used, step) = (self.lent + self.kept_bytes, self.budget.step());
        if self.leased > used + 2 * step {
            self.budget.give_back(self.leased - used - step);
            self.leased = used + step;
        }
    }

    /// Returns all kept memory to the system.
    fn trim(&mut self) {
        self.unused = self.kept.len();
        self.trim_unused();
    }

    /// Returns the kept memory that was not used since the last call to the system.
    pub(crate) fn trim_unused(&mut self) {
        self.kept_bytes -= self.kept.drain(..self.unused).map(|piece| piece.len()).sum::<usize>();
        self.unused = self.kept.len();
        self.give_back_surplus();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.budget.give_back(self.leased);
        self.budget.pools.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: usize) -> Pool {
        Pool::new(Arc::new(Budget::new(limit)))
    }

    #[test]
    fn bytes_come_out_as_they_went_in_while_the_front_is_consumed() {
        let (mut pool, mut buffer) = (pool(1 << 20), Buffer::default());
        let mut model = std::collections::VecDeque::<u8>::new();
        for round in 0_u32..500 {
            let piece: Vec<u8> =
                (0..round % 97).map(|i| (i * 31 + round).to_le_bytes()[0]).collect();
            pool.append(&mut buffer, &piece, 0);
            model.extend(&piece);
            let gone = buffer.len() * (round as usize % 5) / 5;
            buffer.consume(gone);
            model.drain(..gone);
            assert!(model.iter().eq(buffer.bytes()), "round {round}");
        }
    }

    #[test]
    fn an_announced_length_reserves_no_more_than_twice_what_came() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 4], 16 << 20);
        assert_eq!(pool.lent(), LEAST);
        pool.append(&mut buffer, &[0; 10_000], 16 << 20);
        assert_eq!(pool.lent(), 20_008);
    }

    #[test]
    fn reading_ahead_reserves_as_much_again_as_came() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 100_000], 100_000);
        pool.read_ahead(&mut buffer, 16 << 20);
        assert_eq!(pool.lent(), 200_000);
    }

    #[test]
    fn a_long_frame_that_is_read_byte_by_byte_is_seldom_copied() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 100_000], 1 << 20);
        let mut capacities = std::collections::BTreeSet::new();
        while buffer.len() < 1 << 20 {
            pool.read_ahead(&mut buffer, 1 << 20);
            assert!(!buffer.room().is_empty());
            buffer.filled(1);
            capacities.insert(buffer.capacity());
        }
        assert!(capacities.len() < 10, "{} times", capacities.len());
    }

    #[test]
    fn a_buffer_that_grows_byte_by_byte_is_seldom_copied() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        let mut capacities = std::collections::BTreeSet::new();
        for _ in 0..100_000 {
            pool.append(&mut buffer, b"x", 0);
            capacities.insert(buffer.capacity());
        }
        assert!(capacities.len() < 20, "{} times", capacities.len());
    }

    #[test]
    fn a_likely_length_that_is_near_is_given_exactly() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[0; 40_000], 65_540);
        assert_eq!(buffer.capacity(), 65_540);
    }

    #[test]
    fn what_arrives_over_the_limit_is_held_and_told_until_there_is_room() {
        let mut pool = pool(100_000);
        let (mut first, mut second) = (Buffer::default(), Buffer::default());
        pool.append(&mut first, &[1; 60_000], 0);
        assert!(!pool.is_over());
        pool.append(&mut second, &[2; 60_000], 0);
        assert!(pool.is_over());
        assert_eq!(second.bytes(), [2; 60_000]);
        pool.release(&mut first);
        assert!(!pool.is_over());
        assert!(pool.lent + pool.kept_bytes <= 100_000);
    }

    #[test]
    fn near_the_limit_growth_by_single_bytes_still_copies_seldom() {
        let mut pool = pool(1 << 20);
        let mut buffer = Buffer::default();
        pool.append(&mut buffer, &[1; 900_000], 0);
        let mut pieces = 0;
        while !pool.is_over() {
            let capacity = buffer.capacity();
            pool.append(&mut buffer, b"x", 0);
            pieces += usize::from(buffer.capacity() != capacity);
        }
        assert!(buffer.len() >= 1 << 20, "over the limit with {} bytes held", buffer.len());
        assert!(pieces <= 3, "moved {pieces} times");
    }

    #[test]
    fn memory_of_others_counts_until_it_is_counted_off() {
        let mut pool = pool(100_000);
        let mut buffer = Buffer::default();
        pool.append(&mut buffer, &[1; 60_000], 0);
        pool.recount(0, 60_000);
        assert!(pool.is_over());
        pool.recount(60_000, 30_000);
        assert_eq!((pool.is_over(), pool.lent()), (false, 90_000));
        pool.recount(30_000, 0);
        assert_eq!(pool.lent(), 60_000);
    }

    #[test]
    fn two_pools_share_a_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(10 << 20));
        let pools = || (Pool::new(Arc::clone(&budget)), Buffer::default());
        let ((mut one, mut mine), (mut two, mut yours)) = (pools(), pools());
        one.append(&mut mine, &[1; 8 << 20], 0);
        two.append(&mut yours, &[2; 1 << 20], 0);
        assert!(!one.is_over() && !two.is_over());
        two.append(&mut yours, &[2; 2 << 20], 0);
        assert!(two.is_over() && !one.is_over());
        two.release(&mut yours);
        one.release(&mut mine);
        drop(one);
        two.append(&mut yours, &[2; 9 << 20], 0);
        assert!(!two.is_over());
        drop(two);
        assert_eq!(budget.leased.load(Relaxed), 0);
    }

    #[test]
    fn capacity_follows_what_is_held() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 16 << 20], 0);
        buffer.consume((16 << 20) - 1);
        pool.shrink(&mut buffer);
        assert_eq!((buffer.bytes(), pool.lent()), (&[7][..], LEAST));
        buffer.consume(1);
        pool.shrink(&mut buffer);
        assert_eq!((buffer.capacity(), pool.lent()), (0, 0));
    }

    #[test]
    fn what_is_kept_is_lent_again_and_given_back_when_unused() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 1 << 20], 0);
        pool.release(&mut buffer);
        assert_eq!((pool.lent(), pool.kept_bytes), (0, 1 << 20));
        pool.append(&mut buffer, &[8; 300_000], 1 << 20);
        assert_eq!((pool.lent(), pool.kept_bytes), (1 << 20, 0));
        pool.release(&mut buffer);
        pool.trim_unused();
        assert!(pool.keeps_any(), "it was in demand a moment ago");
        pool.trim_unused();
        assert_eq!((pool.keeps_any(), pool.kept_bytes), (false, 0));
    }

    #[test]
    fn what_was_used_last_is_kept_and_all_pools_together_keep_their_part() {
        let budget = Arc::new(Budget::new(64 << 20));
        let mut pools = [Pool::new(Arc::clone(&budget)), Pool::new(Arc::clone(&budget))];
        for pool in &mut pools {
            for size in (1..=100).map(|size| size * (10 << 10)) {
                let mut buffer = Buffer::default();
                pool.append(&mut buffer, &vec![7; size], 0);
                pool.release(&mut buffer);
            }
            assert!(pool.kept_bytes <= 4 << 20, "{} bytes", pool.kept_bytes);
            assert!(pool.kept.len() <= KEPT_PIECES);
            assert_eq!(pool.kept.last().map(|piece| piece.len()), Some(1_000 << 10));
        }
        assert!(pools[0].kept_bytes > 3 << 20, "{} bytes", pools[0].kept_bytes);
        let (before, mut buffer) = (pools[0].kept_bytes, Buffer::default());
        pools[0].append(&mut buffer, &vec![7; 7 << 20], 0);
        pools[0].release(&mut buffer);
        assert_eq!(pools[0].kept_bytes, before, "it is more than the pool's part");
    }

    #[test]
    fn a_kept_piece_is_lent_for_all_of_a_frame_of_which_a_quarter_has_come() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 8 << 20], 0);
        pool.release(&mut buffer);
        pool.append(&mut buffer, &[7; 1 << 20], 8 << 20);
        assert_eq!(buffer.capacity(), 2 << 20, "an eighth has come");
        pool.release(&mut buffer);
        pool.append(&mut buffer, &[7; 2 << 20], 8 << 20);
        assert_eq!(buffer.capacity(), 8 << 20);
        pool.shrink(&mut buffer);
        assert_eq!(buffer.capacity(), 8 << 20);
        pool.release(&mut buffer);
        pool.append(&mut buffer, &[7; 5 << 18], 5 << 20);
        assert!(buffer.capacity() < 8 << 20, "it would shrink at once");
    }

    #[test]
    fn only_what_is_used_again_stays() {
        let (mut pool, mut large, mut small) =
            (pool(1 << 30), Buffer::default(), Buffer::default());
        pool.append(&mut large, &[7; 8 << 20], 0);
        pool.append(&mut small, &[7; 100_000], 0);
        pool.release(&mut large);
        pool.release(&mut small);
        pool.trim_unused();
        for _ in 0..3 {
            pool.append(&mut small, &[7; 100_000], 0);
            pool.release(&mut small);
            pool.trim_unused();
            assert_eq!(pool.kept_bytes, 100_000);
        }
        pool.trim_unused();
        assert!(!pool.keeps_any());
    }

    #[test]
    fn a_large_buffer_is_not_pinned_by_a_few_bytes() {
        let (mut pool, mut buffer) = (pool(1 << 30), Buffer::default());
        pool.append(&mut buffer, &[7; 1 << 20], 0);
        buffer.consume(1 << 20);
        pool.append(&mut buffer, &[8; 20], 68);
        assert_eq!(pool.lent(), LEAST);
    }
}
