//! Reading: into the scratch, or straight to where the bytes will stay.

use std::io;

use super::{Connection, State};
use crate::{memory::Pool, reactor::net::Stream};

/// A frame of which so many bytes are held, and so many more are missing, is read straight into the
/// connection's own buffer.
const DIRECT_READ: usize = 16 << 10;

/// One read: how many bytes came, how many of them lie in the scratch, how many could have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) bytes: usize,
    pub(super) fresh: usize,
    pub(super) room: usize,
}

impl<S: Stream> Connection<S> {
    /// Reads into the scratch; the rest of a long frame that has begun goes straight behind its beginning.
    #[inline(always)]
    pub(super) fn read(&mut self, scratch: &mut [u8], pool: &mut Pool) -> io::Result<Arrival> {
        if let (State::Open(_), Some(cold)) = (self.state, &mut self.cold) {
            let held = cold.input.len();
            let missing = cold.need.saturating_sub(held);
            if missing.min(held) >= DIRECT_READ
                && pool.read_ahead(&mut cold.input, cold.need).is_ok()
            {
                let direct = cold.input.room();
                let direct_length = direct.len().min(missing);
                let room = direct_length + scratch.len();
                let mut slices = [
                    io::IoSliceMut::new(&mut direct[..direct_length]),
                    io::IoSliceMut::new(scratch),
                ];
                let bytes = self.stream.read_vectored(&mut slices)?;
                cold.input.filled(bytes.min(direct_length));
                return Ok(Arrival { bytes, fresh: bytes.saturating_sub(direct_length), room });
            }
        }
        let bytes = self.stream.read(scratch)?;
        Ok(Arrival { bytes, fresh: bytes, room: scratch.len() })
    }
}
