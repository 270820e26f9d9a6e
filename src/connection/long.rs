//! Long frames that go back as they came, by way of a pipe: from socket to socket within the kernel.
//!
//! ```text
//!  scratch │ head, beginning ──push──▶ ┌─────────── pipe ───────────┐
//!  socket  │ rest ───────────splice──▶ │ held …            missing … │ ──splice──▶ socket, once nothing is missing
//!                                      └────────────────────────────┘
//! ```
//!
//! Whatever does not go that way (no pipe left, one that is full, a socket that cannot) is poured into the
//! connection's own buffers and goes on as any frame does.

use std::io::ErrorKind;

use log::trace;

use super::{Connection, Frame, Reason, Shared, State, cold::Cold, shared::Stock};
use crate::{
    Token,
    buffer::{Buffer, OverLimit, Pool},
    net::{Pipe, Stream},
};

/// The first read behind a long frame asks for so much: the head of the next, so that its rest need not be copied.
pub(super) const HEAD: usize = 64;

/// A long frame on its way through a pipe.
#[derive(Debug)]
pub(super) struct Long {
    pipe: Pipe,
    missing: usize,
}

impl Long {
    pub(super) const fn held(&self) -> usize {
        self.pipe.held()
    }

    /// Whether all of it is there, so that it is owed to the peer.
    pub(super) const fn is_whole(&self) -> bool {
        self.missing == 0
    }
}

impl<S: Stream> Connection<S> {
    /// Begins a frame of `length` bytes in a pipe, if there is one for it; whether it did.
    #[inline(never)]
    pub(super) fn begin_long(
        &mut self,
        beginning: &[u8],
        length: usize,
        stock: &mut Stock,
    ) -> Result<bool, OverLimit> {
        let missing = length.saturating_sub(beginning.len());
        let Some(mut pipe) = stock.pipes.take(beginning.len(), missing) else { return Ok(false) };
        if !matches!(pipe.push(beginning), Ok(pushed) if pushed == beginning.len()) {
            stock.pipes.put_back(pipe);
            return Ok(false);
        }
        if let Err(over_limit) = stock.pool.charge(beginning.len()) {
            stock.pipes.put_back(pipe);
            return Err(over_limit);
        }
        let cold = self.cold.get_or_insert_with(|| stock.take_cold());
        cold.long = Some(Long { pipe, missing });
        Ok(true)
    }

    /// Whether what comes next is more of a long frame.
    pub(super) fn is_within_long(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.is_within_long())
            && matches!(self.state, State::Open(_))
    }

    /// Moves what has arrived of a long frame into its pipe, and the whole frame to the peer; whether there may
    /// be more to read.
    #[inline(never)]
    pub(super) fn read_long(&mut self, token: Token, shared: &mut Shared) -> Result<bool, Reason> {
        let Some(Long { pipe, missing }) = self.cold.as_mut().and_then(|cold| cold.long.as_mut())
        else {
            return Ok(true);
        };
        let room = shared.stock.pool.chargeable();
        if room == 0 {
            return Err(OverLimit.into());
        }
        match self.stream.splice_to(pipe, room.min(*missing)) {
            Ok(0) => {
                trace!("{token}: read EOF");
                self.peer_closed(token, shared)?;
            }
            Ok(bytes) => {
                trace!("{token}: {bytes} B of {missing} missing into the pipe");
                *missing -= bytes;
                let is_whole = *missing == 0;
                shared.stock.pool.charge(bytes)?;
                self.count_received(bytes, shared);
                if is_whole {
                    self.count_frames(1, shared);
                    self.state = State::Open(Frame::AfterLong);
                    self.pay(token, shared)?;
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return Ok(false),
                ErrorKind::Interrupted => {}
                ErrorKind::StorageFull => self.pour(token, shared)?,
                ErrorKind::InvalidInput | ErrorKind::Unsupported => {
                    shared.stock.pipes.give_up();
                    self.pour(token, shared)?;
                }
                _ => return Err(self.lost(token, "read", &error)),
            },
        }
        Ok(true)
    }

    /// Sends what a whole long frame's pipe holds; whether all of it went.
    #[inline(never)]
    pub(super) fn pay_long(&mut self, token: Token, shared: &mut Shared) -> Result<bool, Reason> {
        while let Some(cold) = &mut self.cold
            && let Some(long) = cold.long.as_mut().filter(|long| long.is_whole())
        {
            match self.stream.splice_from(&mut long.pipe) {
                Ok(0) => return Err(self.lost(token, "write", &ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    trace!("{token}: {bytes} B out of the pipe, {} left", long.held());
                    shared.stock.pool.discharge(bytes);
                    if long.held() == 0 {
                        shared.stock.drop_long(cold);
                    }
                    self.count_sent(bytes, shared);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(false),
                    ErrorKind::Interrupted => {}
                    ErrorKind::InvalidInput | ErrorKind::Unsupported => {
                        shared.stock.pipes.give_up();
                        self.pour(token, shared)?;
                        return self.pay(token, shared);
                    }
                    _ => return Err(self.lost(token, "write", &error)),
                },
            }
        }
        Ok(true)
    }

    /// Moves what is in the pipe to where any other frame's bytes would be by now.
    #[inline(never)]
    pub(super) fn pour(&mut self, token: Token, shared: &mut Shared) -> Result<(), Reason> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let Cold { input, output, need, seen, long, .. } = &mut **cold;
        let Some(mut long) = long.take() else { return Ok(()) };
        trace!("{token}: {} B poured out of the pipe, {} missing", long.held(), long.missing);
        let Stock { pool, pipes, .. } = &mut shared.stock;
        let length = long.held() + long.missing;
        pool.discharge(long.held());
        let poured = if long.is_whole() {
            pour_behind(output, &mut long.pipe, 0, pool)
        } else {
            (*need, *seen) = (length, 0);
            pour_behind(input, &mut long.pipe, length, pool)
        };
        pipes.put_back(long.pipe);
        poured.map_err(Reason::from)
    }
}

fn pour_behind(
    buffer: &mut Buffer,
    pipe: &mut Pipe,
    likely: usize,
    pool: &mut Pool,
) -> Result<(), OverLimit> {
    let room = pool.room_for(buffer, pipe.held(), likely)?;
    let mut filled = 0;
    while filled < room.len() {
        match pipe.pull(&mut room[filled..]) {
            // It is known to hold that much.
            Ok(0) | Err(_) => return Err(OverLimit),
            Ok(bytes) => filled += bytes,
        }
    }
    buffer.filled(filled);
    Ok(())
}

impl Stock {
    /// Takes back the pipe of a frame that is done with, however much of it is still there.
    pub(super) fn drop_long(&mut self, cold: &mut Cold) {
        if let Some(long) = cold.long.take() {
            self.pool.discharge(long.held());
            self.pipes.put_back(long.pipe);
        }
    }
}
