//! The bytes in flight: sent, and not received back yet.
//!
//! Both directions must be equal, byte for byte. A hash of each would need less memory, but it could only tell *that*
//! they differ, and only at the end. With the bytes in flight at hand, the *place* of a difference is known at once. The
//! bound holds the sender back if the server reads and does not answer, which would fill its memory or the client's.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// A queue: the sender adds to it, and the receiver takes from it.
#[derive(Debug)]
pub(super) struct Window {
    flight: Mutex<VecDeque<u8>>,
    room: Condvar,
    /// In bytes. A single batch may be larger.
    limit: usize,
}

/// The first byte received that differs from the one sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Its index in the bytes just received; those before it are equal.
    pub(super) index: usize,
    /// `None` if nothing was in flight.
    pub(super) sent: Option<u8>,
    pub(super) received: u8,
}

impl Window {
    pub(super) fn new(limit: usize) -> Self {
        Self { flight: Mutex::default(), room: Condvar::new(), limit }
    }

    /// Adds a batch before it is sent. Waits until there is room for it.
    pub(super) fn send(&self, batch: &[u8]) {
        let mut flight = self
            .room
            .wait_while(self.flight(), |flight| {
                !flight.is_empty() && flight.len() + batch.len() > self.limit
            })
            .unwrap_or_else(PoisonError::into_inner);
        flight.extend(batch);
    }

    /// Removes `bytes` from the front if they are equal to what was sent; otherwise removes nothing.
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
