//! No turn moves more bytes than its budget allows, in either direction.

use resound::{Event, Recorded};

/// What one call moves at most; a read that goes into a connection's buffer has as much room again behind that.
const AT_ONCE: u64 = 1028 << 10;

/// A turn goes on to read until it has read 1 MiB.
const MOST_READ: u64 = (1 << 20) + 2 * AT_ONCE;

/// A turn writes what was owed, and then what it has read.
const MOST_WRITTEN: u64 = (2 << 20) + 2 * AT_ONCE;

/// The bytes that were read and written in the turn that is going on.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    read: u64,
    written: u64,
}

impl Moved {
    /// Takes the next event of a loop.
    pub(crate) fn add(&mut self, one: &Recorded) {
        match one.event {
            Event::Read { bytes, .. } | Event::Datagram { bytes, .. } => {
                self.read += u64::from(bytes);
            }
            Event::Wrote { bytes, .. } | Event::DatagramSent { bytes } => {
                self.written += u64::from(bytes);
            }
            Event::TurnEnded { .. } | Event::Closed { .. } => *self = Self::default(),
            _ => {}
        }
        assert!(self.read <= MOST_READ, "{one:?}: {} bytes read in a turn", self.read);
        assert!(self.written <= MOST_WRITTEN, "{one:?}: {} bytes written in a turn", self.written);
    }
}
