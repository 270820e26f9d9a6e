//! Everything back, as it comes: the Echo Protocol (RFC 862) over a stream.

use super::{Next, Output, Protocol, Received};
use crate::Token;

/// Echoes every byte. It has no units, so it counts none and no frame timeout ever runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Protocol for Raw {
    fn receive(
        &mut self,
        _connection: Token,
        input: &[u8],
        _seen: usize,
        _out: &mut Output,
    ) -> Received {
        Received { consumed: input.len(), echo: true, frames: 0, next: Next::Idle }
    }
}
