//! Datagrams that one system call receives or sends.

use std::net::{Ipv4Addr, SocketAddr};

/// Some datagrams, in memory that the caller lends. The memory is divided into slots; a slot holds one datagram of any
/// length.
#[derive(Debug)]
pub struct Batch<'m> {
    memory: &'m mut [u8],
    /// How many slots may be used.
    room: usize,
    /// How many slots are used.
    used: usize,
    /// Those from `first` to `end` are there, in the order in which they came.
    datagrams: [Datagram; Batch::MOST],
    first: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy)]
struct Datagram {
    slot: usize,
    length: usize,
    /// Where it came from, and where it goes.
    peer: SocketAddr,
}

impl<'m> Batch<'m> {
    /// The most datagrams of a batch.
    pub const MOST: usize = 16;

    /// No datagram is longer, in bytes: its length field has 16 bits.
    pub const LONGEST: usize = 65_535;

    /// An empty batch without room.
    ///
    /// # Panics
    ///
    /// If `memory` is shorter than [`MOST`](Self::MOST) times [`LONGEST`](Self::LONGEST).
    pub fn new(memory: &'m mut [u8]) -> Self {
        assert!(memory.len() >= Self::MOST * Self::LONGEST, "{} bytes for a batch", memory.len());
        let peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let nothing = Datagram { slot: 0, length: 0, peer };
        Self { memory, room: 0, used: 0, datagrams: [nothing; Self::MOST], first: 0, end: 0 }
    }

    /// Removes all datagrams, and makes room for this many, up to [`MOST`](Self::MOST).
    pub fn clear(&mut self, room: usize) {
        self.room = room.min(Self::MOST);
        (self.used, self.first, self.end) = (0, 0, 0);
    }

    /// How many datagrams are there.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.first
    }

    /// Whether no datagram is there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// How many bytes the datagrams have together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.datagrams[self.first..self.end].iter().map(|datagram| datagram.length).sum()
    }

    /// Whether all slots are used. A datagram that was removed has its slot until [`clear`](Self::clear).
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.used == self.room
    }

    /// The memory of each unused slot. [`enter`](Self::enter) says what was put into the first of these slots.
    pub fn free_slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let size = self.slot_size();
        self.memory.chunks_exact_mut(size).take(self.room).skip(self.used)
    }

    /// Adds the datagram of `length` bytes in the first unused slot, which came from `peer` or goes there.
    ///
    /// # Panics
    ///
    /// If no slot is left, or `length` is more than [`LONGEST`](Self::LONGEST).
    pub fn enter(&mut self, length: usize, peer: SocketAddr) {
        assert!(!self.is_full() && length <= Self::LONGEST, "{length} bytes in slot {}", self.used);
        self.datagrams[self.end] = Datagram { slot: self.used, length, peer };
        self.used += 1;
        self.end += 1;
    }

    /// Adds a copy of `payload`, which goes to `peer`.
    ///
    /// # Panics
    ///
    /// As [`enter`](Self::enter).
    pub fn push(&mut self, peer: SocketAddr, payload: &[u8]) {
        if let Some(slot) = self.free_slots().next() {
            slot[..payload.len()].copy_from_slice(payload);
        }
        self.enter(payload.len(), peer);
    }

    /// Removes the first `count` datagrams.
    pub fn skip(&mut self, count: usize) {
        self.first += count.min(self.len());
    }

    /// Removes the datagrams for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(SocketAddr, &[u8]) -> bool) {
        let mut end = self.first;
        for index in self.first..self.end {
            let datagram = self.datagrams[index];
            if keep(datagram.peer, self.payload(&datagram)) {
                self.datagrams[end] = datagram;
                end += 1;
            }
        }
        self.end = end;
    }

    /// Each datagram, with where it came from or goes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> + Clone {
        let there = &self.datagrams[self.first..self.end];
        there.iter().map(|datagram| (datagram.peer, self.payload(datagram)))
    }

    fn payload(&self, datagram: &Datagram) -> &[u8] {
        let start = datagram.slot * self.slot_size();
        &self.memory[start..start + datagram.length]
    }

    const fn slot_size(&self) -> usize {
        self.memory.len() / Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The port and the first byte of each datagram.
    fn content(batch: &Batch<'_>) -> Vec<(u16, u8)> {
        batch.iter().map(|(peer, payload)| (peer.port(), payload[0])).collect()
    }

    #[test]
    fn what_is_removed_leaves_the_order_and_its_slot() {
        let mut memory = vec![0; Batch::MOST * Batch::LONGEST];
        let mut batch = Batch::new(&mut memory);
        assert!(batch.is_full(), "there is no room before it is cleared");
        batch.clear(4);
        for number in 1..=3 {
            batch.push(peer(number.into()), &[number; 3]);
        }
        batch.retain(|peer, payload| {
            assert_eq!(payload.len(), 3);
            peer.port() != 2
        });
        assert_eq!((content(&batch), batch.len(), batch.bytes()), (vec![(1, 1), (3, 3)], 2, 6));
        assert_eq!((batch.is_full(), batch.free_slots().count()), (false, 1));
        batch.push(peer(4), &vec![4; Batch::LONGEST]);
        assert!(batch.is_full());
        batch.skip(1);
        assert_eq!(content(&batch), [(3, 3), (4, 4)]);
        batch.skip(9);
        assert!(batch.is_empty());
        batch.clear(usize::MAX);
        assert_eq!(batch.free_slots().count(), Batch::MOST);
        assert!(batch.free_slots().all(|slot| slot.len() >= Batch::LONGEST));
    }
}
