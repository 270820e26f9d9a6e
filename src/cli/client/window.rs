//! The bytes in flight: sent, and not seen to come back yet.
//!
//! An echo is right when what comes back is what was sent, byte for byte. A running hash of both directions
//! would need less memory, but could only say *that* they differ, and only at the end. Keeping what is in
//! flight says *where*, at once, and bounding it holds the sender back from a server that takes without
//! giving, which would otherwise fill its memory or ours.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// What the sender adds to and the receiver takes from.
#[derive(Debug)]
pub(super) struct Window {
    flight: Mutex<VecDeque<u8>>,
    room: Condvar,
    /// In bytes. One batch may be in flight whatever its size.
    limit: usize,
}

/// The first byte that came back otherwise than it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Its index among the bytes just received; those before it are right.
    pub(super) index: usize,
    /// `None` if nothing was in flight.
    pub(super) sent: Option<u8>,
    pub(super) received: u8,
}

impl Window {
    pub(super) fn new(limit: usize) -> Self {
        Self { flight: Mutex::default(), room: Condvar::new(), limit }
    }

    /// Adds a batch that is about to be sent, as soon as there is room for it.
    pub(super) fn send(&self, batch: &[u8]) {
        let mut flight = self
            .room
            .wait_while(self.flight(), |flight| {
                !flight.is_empty() && flight.len() + batch.len() > self.limit
            })
            .unwrap_or_else(PoisonError::into_inner);
        flight.extend(batch);
    }

    /// Takes out what came back, if that is what was sent next; otherwise takes nothing.
    pub(super) fn receive(&self, bytes: &[u8]) -> Result<(), Difference> {
        let mut flight = self.flight();
        let (front, back) = flight.as_slices();
        let (first, second) = bytes.split_at(bytes.len().min(front.len()));
        if !front.starts_with(first) || !back.starts_with(second) {
            let index = flight.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            return Err(Difference {
                index,
                sent: flight.get(index).copied(),
                received: bytes[index],
            });
        }
        flight.drain(..bytes.len());
        drop(flight);
        self.room.notify_one();
        Ok(())
    }

    /// How many bytes are in flight.
    pub(super) fn len(&self) -> usize {
        self.flight().len()
    }

    fn flight(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(batches: &[&str]) -> Window {
        let window = Window::new(1000);
        for batch in batches {
            window.send(batch.as_bytes());
        }
        window
    }

    #[test]
    fn batches_come_back_in_other_pieces() {
        let window = window(&["one", "", "twothree", "four"]);
        for (piece, left) in [("o", 14), ("netwo", 9), ("threefou", 1), ("", 1), ("r", 0)] {
            assert_eq!(window.receive(piece.as_bytes()), Ok(()), "{piece}");
            assert_eq!(window.len(), left);
        }
    }

    #[test]
    fn the_first_difference_is_found_in_any_batch() {
        let window = window(&["abc", "def"]);
        assert_eq!(window.receive(b"ab"), Ok(()));
        let difference = Difference { index: 3, sent: Some(b'f'), received: b'F' };
        assert_eq!(window.receive(b"cdeF"), Err(difference));
    }

    #[test]
    fn more_than_was_sent_is_a_difference() {
        let difference = Difference { index: 3, sent: None, received: b'!' };
        assert_eq!(window(&["abc"]).receive(b"abc!"), Err(difference));
    }

    #[test]
    fn the_sender_waits_until_there_is_room() {
        let window = Window::new(10);
        window.send(&[1; 100]);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                window.send(&[2; 8]);
                window.len()
            });
            assert_eq!(window.receive(&[1; 97]), Ok(()));
            assert!(window.len() == 3, "8 more would make 11");
            assert_eq!(window.receive(&[1; 3]), Ok(()));
            assert_eq!(sender.join().unwrap(), 8);
        });
    }
}
