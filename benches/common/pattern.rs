//! The bytes a connection sends, over and over: one frame, and what has to come back.

use std::io;

/// The load side reads this much at a time.
pub const READ: usize = 256 << 10;

/// The head of a frame: 4 bytes, little-endian, the payload's length.
const HEAD: usize = 4;

/// One frame, repeated often enough that what is sent or compared in one go is one slice, wherever in a frame it starts.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    /// Bytes of a frame, head included.
    pub frame: usize,
}

impl Pattern {
    /// A frame of `payload` bytes; at most `at_once` are sent in one go.
    pub fn new(payload: usize, at_once: usize) -> io::Result<Self> {
        let mut frame = u32::try_from(payload).map_err(io::Error::other)?.to_le_bytes().to_vec();
        // Xorshift: no stretch of the payload looks like another, so a displaced byte shows.
        let mut noise = 0x2545_f491_u32;
        frame.resize_with(HEAD + payload, || {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_le_bytes()[0]
        });
        let length = frame.len();
        let enough = length + READ.max(at_once * length);
        Ok(Self { bytes: frame.iter().copied().cycle().take(enough).collect(), frame: length })
    }

    /// The bytes from `position` of a connection's stream on.
    pub fn at(&self, position: u64, length: usize) -> &[u8] {
        let frame = self.frame as u64;
        let offset = usize::try_from(position % frame).unwrap_or(0);
        let end = self.bytes.len().min(offset + length);
        &self.bytes[offset..end]
    }

    /// How many frames are whole once `bytes` have gone by.
    pub const fn frames_in(&self, bytes: u64) -> u64 {
        bytes / self.frame as u64
    }

    /// Compares what came back, from `position` of the stream on, with what was sent.
    pub fn verify(&self, position: u64, received: &[u8]) -> io::Result<()> {
        if received == self.at(position, received.len()) {
            return Ok(());
        }
        Err(io::Error::other(format!("what came back at byte {position} is not what was sent")))
    }
}
