//! The cold part of a connection: the beginning of a frame, and what the peer has not taken yet.

use std::net::IpAddr;

use super::Shared;
use crate::{
    Peer, Token,
    memory::{Buffer, OverLimit, Pool},
    protocol::{Next, Protocol, Received},
};

/// The cold part: what most connections have no use for most of the time.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// Received and not consumed; its first byte begins a frame.
    pub(super) input: Buffer,
    /// How many bytes of `input` the protocol was shown.
    pub(super) seen: usize,
    /// How long `input` must become before it is shown again; 0 where the protocol could not tell.
    pub(super) need: usize,
    /// The protocol stopped because its output was full: it is shown `input` again once that has gone.
    pub(super) stopped: bool,
    /// Owed to the peer, which was not ready to take it.
    pub(super) output: Buffer,
    /// Kept only where somebody asks for it; see [`Connection::new`](super::Connection::new).
    pub(super) peer: Option<Peer>,
    /// The address under which it is counted, where that is limited.
    pub(super) counted: Option<IpAddr>,
}

impl Cold {
    /// Whether there is something in it that an idle connection needs too.
    pub(super) const fn lasts(&self) -> bool {
        self.peer.is_some() || self.counted.is_some()
    }

    /// Shows the protocol `input`, joined with as much of `fresh` as it lacks; `None` if that is not enough.
    pub(super) fn show(
        &mut self,
        token: Token,
        fresh: &mut &[u8],
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Result<Option<Received>, OverLimit> {
        let Shared { output, stock, .. } = shared;
        // Some of what is held may have been read straight into its place, and not be shown yet.
        let mut is_shown = false;
        loop {
            let lacks = match self.need.saturating_sub(self.input.len()) {
                _ if self.stopped => 0,
                0 if self.need == 0 || is_shown => fresh.len(),
                missing => missing.min(fresh.len()),
            };
            let (joined, rest) = fresh.split_at(lacks);
            stock.pool.append(&mut self.input, joined, self.need)?;
            *fresh = rest;
            if !self.stopped && self.input.len() < self.need {
                return Ok(None);
            }
            let received = protocol.receive(token, self.input.bytes(), self.seen, output);
            is_shown = true;
            self.remember(received.next, self.input.len() - received.consumed);
            if received.consumed > 0
                || fresh.is_empty()
                || !matches!(received.next, Next::Rest { .. })
            {
                return Ok(Some(received));
            }
        }
    }

    /// Notes what the protocol wants before it is shown the `left` bytes again.
    pub(super) fn remember(&mut self, next: Next, left: usize) {
        self.stopped = next == Next::Full && left > 0;
        self.seen = if self.stopped { 0 } else { left };
        self.need = next.need();
    }

    /// Consumes what was answered of `input`, and makes what was not `taken` of the replies the output.
    pub(super) fn settle(
        &mut self,
        mut taken: usize,
        [before, after, fresh]: [&[u8]; 3],
        held: Answered,
        pool: &mut Pool,
    ) -> Result<(), OverLimit> {
        let mut skip_taken = |length: usize| {
            let skipped = length.min(taken);
            taken -= skipped;
            skipped
        };
        pool.append(&mut self.output, &before[skip_taken(before.len())..], 0)?;
        let held_taken = skip_taken(held.echo);
        if held_taken == held.echo {
            self.input.consume(held.consumed);
        } else if held.consumed == self.input.len() && self.output.is_empty() {
            // A long frame that was read behind its beginning goes out from there too, uncopied.
            std::mem::swap(&mut self.input, &mut self.output);
            self.output.consume(held_taken);
        } else {
            pool.append(&mut self.output, &self.input.bytes()[held_taken..held.echo], 0)?;
            self.input.consume(held.consumed);
        }
        pool.append(&mut self.output, &after[skip_taken(after.len())..], 0)?;
        pool.append(&mut self.output, &fresh[skip_taken(fresh.len())..], 0)
    }
}

/// How much of what was held is answered, and how much of that goes back as it came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answered {
    pub(super) consumed: usize,
    pub(super) echo: usize,
}

impl From<Received> for Answered {
    fn from(received: Received) -> Self {
        let Received { consumed, echo, .. } = received;
        Self { consumed, echo: if echo { consumed } else { 0 } }
    }
}
