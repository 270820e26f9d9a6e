//! The frames that are sent, over and over. They are made once, so that sending is a copy and checking a comparison.
//!
//! ```text
//!        frame 0        frame 1                 frame n-1
//!  ┌──────┬───────────┬──────┬───────┬─ ─ ─ ─┬──────┬─────────┐
//!  │ head │ payload   │ head │ …     │       │ head │ …       │ ─▶ frame 0 again
//!  └──────┴───────────┴──────┴───────┴─ ─ ─ ─┴──────┴─────────┘
//! ```
//!
//! Payloads are random, so that no part is equal to another, and a byte that is displaced, lost or wrong is found.
//! Each connection starts at a different frame.

use std::{cell::RefCell, ops::Range};

use super::{protocol::Wire, size::Sizes, websocket};
use crate::load::{nanos::whole, random::Random};

/// The usual length of a tape, if enough frames fit. It fits into a processor's cache.
const USUAL_LENGTH: f64 = (1 << 20) as f64;
const FEWEST_FRAMES: f64 = 16.0;
const MOST_FRAMES: f64 = 1024.0;
/// A tape must have a frame of the rarest size in a mix, so it may need more frames.
const MOST_FRAMES_OF_A_MIX: f64 = 16_384.0;

/// Frames as they are sent.
#[derive(Debug)]
pub(crate) struct Tape {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// The length of each frame, if all have the same.
    uniform: Option<usize>,
    /// Where the payload of each frame begins, if only the payload comes back.
    payloads: Vec<usize>,
    /// Over WebSocket: payloads are masked when they are sent, with keys from here.
    keys: Option<RefCell<Random>>,
}

impl Tape {
    /// Frames with payloads of these sizes.
    ///
    /// # Errors
    ///
    /// A text, for a size that the protocol does not allow.
    pub(crate) fn new(wire: &Wire, sizes: &Sizes) -> Result<Self, String> {
        let usual = (USUAL_LENGTH / sizes.mean().max(1.0)).clamp(FEWEST_FRAMES, MOST_FRAMES);
        let count = usual.max(sizes.fewest().min(MOST_FRAMES_OF_A_MIX)).ceil();
        let mut random = Random::new(0x7261_6e64_6f6d);
        let drawn = sizes.draw(usize::try_from(whole(count)).unwrap_or(1), &mut random);
        let mut tape = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            uniform: None,
            payloads: Vec::new(),
            keys: matches!(wire, Wire::Ws { .. }).then(|| RefCell::new(Random::new(1))),
        };
        for size in drawn {
            wire.frame(size, &mut random, &mut tape.bytes)?;
            tape.ends.push(tape.bytes.len());
            if matches!(wire, Wire::Http { .. } | Wire::Ws { .. }) {
                let payload = usize::try_from(size).unwrap_or(usize::MAX);
                tape.payloads.push(tape.bytes.len().saturating_sub(payload));
            }
        }
        let first = tape.ends[0];
        let all_alike =
            tape.ends.iter().enumerate().all(|(index, end)| *end == (index + 1) * first);
        tape.uniform = all_alike.then_some(first);
        Ok(tape)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn frames(&self) -> usize {
        self.ends.len()
    }

    /// The average number of bytes of a frame.
    pub(crate) fn mean(&self) -> usize {
        self.bytes.len() / self.ends.len()
    }

    /// Bytes of the longest frame.
    pub(crate) fn longest(&self) -> usize {
        (0..self.frames()).map(|index| self.frame(index).len()).max().unwrap_or(0)
    }

    /// Where frame `index` begins; the first frame follows the last.
    pub(crate) fn start(&self, index: usize) -> usize {
        match index % self.ends.len() {
            0 => 0,
            index => self.ends[index - 1],
        }
    }

    pub(crate) fn frame(&self, index: usize) -> &[u8] {
        let index = index % self.ends.len();
        &self.bytes[self.start(index)..self.ends[index]]
    }

    /// The part of frame `index` that should come back.
    pub(crate) fn echo(&self, index: usize) -> Range<usize> {
        let index = index % self.ends.len();
        let start = self.payloads.get(index).copied();
        start.unwrap_or_else(|| self.start(index))..self.ends[index]
    }

    /// The frame with the byte at `offset`.
    pub(crate) fn index(&self, offset: usize) -> usize {
        match self.uniform {
            Some(length) => offset / length,
            None => self.ends.partition_point(|&end| end <= offset),
        }
    }

    /// Whether a frame begins at `offset`.
    pub(crate) fn is_start(&self, offset: usize) -> bool {
        self.start(self.index(offset)) == offset
    }

    /// Appends `frames` frames, from the one that begins at `offset`. Returns where the next one begins.
    pub(crate) fn copy(&self, offset: usize, frames: usize, out: &mut Vec<u8>) -> usize {
        let mut index = self.index(offset);
        let mut left = frames;
        while left > 0 {
            let now = left.min(self.ends.len() - index);
            let begin = out.len();
            out.extend_from_slice(&self.bytes[self.start(index)..self.ends[index + now - 1]]);
            if let Some(keys) = &self.keys {
                self.mask(index..index + now, &mut keys.borrow_mut(), &mut out[begin..]);
            }
            index = (index + now) % self.ends.len();
            left -= now;
        }
        self.start(index)
    }

    /// Masks the payloads of these frames, which are all of `bytes`.
    fn mask(&self, frames: Range<usize>, keys: &mut Random, bytes: &mut [u8]) {
        let first = self.start(frames.start);
        for index in frames {
            let (start, end) = (self.start(index), self.ends[index]);
            let frame = &mut bytes[start - first..end - first];
            websocket::mask_payload(frame, self.payloads[index] - start, keys);
        }
    }

    /// Compares `received` with the tape from `offset` on. Returns how many frames it completes and where the next byte
    /// is; or, if it differs, how many bytes are equal.
    pub(crate) fn follow(&self, offset: usize, received: &[u8]) -> Result<(u64, usize), usize> {
        let (mut offset, mut rest, mut frames) = (offset, received, 0);
        while !rest.is_empty() {
            let expected = &self.bytes[offset..];
            let (now, later) = rest.split_at(rest.len().min(expected.len()));
            if *now != expected[..now.len()] {
                let alike = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Err(received.len() - rest.len() + alike);
            }
            let (before, after) = (self.index(offset), self.index(offset + now.len()));
            frames += (after - before) as u64;
            offset = if offset + now.len() == self.bytes.len() { 0 } else { offset + now.len() };
            rest = later;
        }
        Ok((frames, offset))
    }
}

#[cfg(test)]
mod tests {
    use resound::frame::Dialect;

    use super::*;

    fn tape(sizes: &str) -> Tape {
        Tape::new(&Wire::Frames(Dialect::default()), &sizes.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_is_copied_is_followed_in_any_pieces_and_laps() {
        for sizes in ["64", "0", "0-300", "1:90%,5000:10%", "64KiB"] {
            let tape = tape(sizes);
            let first = tape.start(tape.frames() - 3);
            let mut sent = Vec::new();
            let frames = tape.frames() * 2 + 5;
            let end = tape.copy(first, frames, &mut sent);
            assert!(tape.is_start(end));
            for piece in [1, 7, 1000, sent.len()].iter().skip(usize::from(sent.len() > 1 << 20)) {
                let (mut at, mut whole) = (first, 0);
                for received in sent.chunks(*piece) {
                    let (more, next) = tape.follow(at, received).unwrap();
                    (at, whole) = (next, whole + more);
                }
                assert_eq!((at, whole), (end, frames as u64), "{sizes} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_first_byte_that_differs_is_found() {
        let tape = tape("100");
        let mut sent = Vec::new();
        tape.copy(0, tape.frames() + 1, &mut sent);
        for at in [0, 1, 103, 104, sent.len() - 1] {
            sent[at] ^= 1;
            assert_eq!(tape.follow(0, &sent), Err(at));
            sent[at] ^= 1;
        }
    }

    #[test]
    fn frames_are_of_the_sizes_and_each_is_another() {
        let tape = tape("60");
        assert_eq!((tape.frames(), tape.mean(), tape.frame(0).len()), (1024, 64, 64));
        assert!((1..tape.frames()).all(|index| tape.frame(index) != tape.frame(index - 1)));
        assert_eq!(tape.frame(tape.frames()), tape.frame(0));
    }
}
