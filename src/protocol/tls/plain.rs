//! What a session has decrypted and its protocol has not consumed.

/// Bytes that are consumed from the front.
#[derive(Debug, Default)]
pub(super) struct Plain {
    bytes: Vec<u8>,
    /// How many bytes at the front are consumed.
    start: usize,
}

/// The largest buffer that is kept for the next connection.
const KEPT: usize = 256 << 10;

/// A buffer that is not empty is replaced by a smaller one if it uses less than one part in so many.
const OVERSIZE: usize = 4;

impl Plain {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// The bytes, for appending to. `likely` is the length that they will probably reach, or 0: at most twice what is there
    /// is reserved for it.
    pub(super) fn appendable(&mut self, likely: usize) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let likely = likely.min(2 * self.bytes.len());
        if likely > self.bytes.capacity() {
            self.bytes.reserve_exact(likely - self.bytes.len());
        }
        &mut self.bytes
    }

    /// Takes the buffer that is kept for connections without one.
    pub(super) fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = std::mem::take(spare);
        }
    }

    /// Gives up memory that is not needed between two calls.
    pub(super) fn give_back(&mut self, spare: &mut Vec<u8>) {
        let is_empty = self.len() == 0;
        if !is_empty && self.bytes.capacity() <= OVERSIZE * self.len().max(512) {
            return;
        }
        let mut kept = if is_empty { Vec::new() } else { self.bytes().to_vec() };
        std::mem::swap(&mut kept, &mut self.bytes);
        self.start = 0;
        kept.clear();
        if kept.capacity() > spare.capacity() && kept.capacity() <= KEPT {
            *spare = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_owns_nothing_and_what_is_not_owns_what_it_needs() {
        let (mut plain, mut spare) = (Plain::default(), Vec::with_capacity(100_000));
        plain.borrow(&mut spare);
        plain.appendable(0).extend_from_slice(b"hello");
        plain.consume(2);
        plain.give_back(&mut spare);
        assert_eq!((plain.bytes(), plain.capacity()), (&b"llo"[..], 3));
        assert!(spare.capacity() >= 100_000);
        plain.consume(3);
        plain.give_back(&mut spare);
        assert_eq!((plain.len(), plain.capacity()), (0, 0));
    }

    #[test]
    fn an_announced_length_reserves_at_most_twice_what_is_there() {
        let mut plain = Plain::default();
        plain.appendable(16 << 20).extend_from_slice(&[7; 1000]);
        plain.appendable(16 << 20);
        assert_eq!(plain.capacity(), 2000);
    }
}
