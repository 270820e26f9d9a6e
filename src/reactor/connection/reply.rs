//! Showing the protocol what has come, and sending what it answers.

use log::{debug, trace};

use super::{
    Connection, Frame, Shared, State,
    cold::Answered,
    shared::Stock,
    write::{write, write_parts},
};
use crate::Reason;
use crate::{
    Token,
    memory::OverLimit,
    plural::frames,
    protocol::{Next, Protocol, Received, Refusal},
    reactor::net::Stream,
};

/// The replies of one batch, in the order in which they leave: output up to `split`, the echo of what was
/// held, the output behind `split`, the echo of what is fresh.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Replies<'a> {
    pub(super) split: usize,
    pub(super) held: Answered,
    pub(super) fresh: &'a [u8],
}

impl<S: Stream> Connection<S> {
    /// Shows the protocol what is held and what is `fresh` behind it; sends its replies, keeps the rest.
    pub(super) fn show(
        &mut self,
        token: Token,
        mut fresh: &[u8],
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Result<(), Reason> {
        while let (State::Open(_), Some(cold)) = (self.state, &mut self.cold)
            && !cold.input.is_empty()
        {
            shared.output.clear();
            let Some(received) = cold.show(token, &mut fresh, protocol, shared)? else {
                return Ok(());
            };
            let all_answered = received.consumed == cold.input.len();
            self.meet(token, shared);
            self.note(received, token, shared);
            let split = shared.output.bytes().len();
            let replies = Replies { split, held: received.into(), fresh: &[] };
            let goes_on = !matches!(received.next, Next::Full | Next::Finish | Next::Refuse(_));
            if goes_on && all_answered && !fresh.is_empty() {
                // What is fresh is shown in the same round, so that both replies leave in one write.
                return self.show_fresh(token, fresh, replies, protocol, shared);
            }
            self.deliver(token, replies, shared)?;
            if !goes_on || fresh.is_empty() {
                return self.keep(fresh, received.next, shared);
            }
        }
        if fresh.is_empty() || !matches!(self.state, State::Open(_)) {
            return Ok(());
        }
        shared.output.clear();
        self.show_fresh(token, fresh, Replies::default(), protocol, shared)
    }

    /// As [`show`](Self::show) where nothing is held, or all that was is answered: by `replies`, which wait to leave.
    #[inline(always)]
    fn show_fresh<'a>(
        &mut self,
        token: Token,
        fresh: &'a [u8],
        replies: Replies<'a>,
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Result<(), Reason> {
        let received = protocol.receive(token, fresh, 0, &mut shared.output);
        self.meet(token, shared);
        self.note(received, token, shared);
        let (answered, rest) = fresh.split_at(received.consumed);
        let echo = if received.echo { answered } else { &[] };
        if replies.held.consumed == 0 && shared.output.bytes().is_empty() {
            self.deliver_fresh(token, echo, shared)?;
        } else {
            self.deliver(token, Replies { fresh: echo, ..replies }, shared)?;
        }
        self.keep(rest, received.next, shared)
    }

    /// Keeps what is left of the input, unless nothing of it matters any more.
    #[inline(always)]
    fn keep(&mut self, rest: &[u8], next: Next, shared: &mut Shared) -> Result<(), Reason> {
        if matches!(next, Next::Finish | Next::Refuse(_)) {
            self.end_input(self.state);
        } else if !rest.is_empty() {
            self.keep_beginning(rest, next, &mut shared.stock)?;
        }
        Ok(())
    }

    /// Keeps the beginning of a frame until the rest of it comes.
    #[inline(never)]
    fn keep_beginning(
        &mut self,
        beginning: &[u8],
        next: Next,
        stock: &mut Stock,
    ) -> Result<(), OverLimit> {
        let cold = self.cold.get_or_insert_with(|| stock.take_cold());
        stock.pool.append(&mut cold.input, beginning, next.need())?;
        cold.remember(next, cold.input.len());
        Ok(())
    }

    /// Takes note of who the peer really is, where the protocol has learned that from a proxy in between.
    pub(super) fn meet(&mut self, token: Token, shared: &mut Shared) {
        let Some(peer) = shared.output.take_peer() else { return };
        debug!("{token}: the peer is {peer}");
        if let Some(cold) = &mut self.cold
            && cold.peer.is_some()
        {
            cold.peer = Some(peer);
        }
    }

    /// Enters what the protocol answered into the connection's state and the counters.
    #[inline(always)]
    fn note(&mut self, received: Received, token: Token, shared: &mut Shared) {
        trace!("{token}: {} B answered, {}", received.consumed, frames(received.frames));
        self.count_frames(received.frames, shared);
        self.state = match received.next {
            Next::Idle => State::Open(Frame::Between),
            Next::Rest { .. } | Next::Full => State::Open(Frame::Within),
            Next::Finish => State::Finishing(Reason::Finished),
            Next::Refuse(refusal) => {
                let counter = match refusal {
                    Refusal::TooLong { .. } => &shared.stats.too_long,
                    Refusal::Malformed(_) => &shared.stats.malformed,
                };
                counter.add(1);
                shared.refused = Some(refusal);
                State::Finishing(Reason::Refused)
            }
        };
    }

    /// Sends replies, behind what is owed; what the kernel does not take is owed.
    pub(super) fn deliver(
        &mut self,
        token: Token,
        replies: Replies<'_>,
        shared: &mut Shared,
    ) -> Result<(), Reason> {
        let Shared { output, stock, .. } = shared;
        let Replies { split, held, fresh } = replies;
        let (before, after) = output.bytes().split_at(split);
        let (held_echo, owes) = self.cold.as_ref().map_or((&[][..], false), |cold| {
            (&cold.input.bytes()[..held.echo], !cold.output.is_empty())
        });
        let parts = [before, held_echo, after, fresh];
        let (taken, all) = if owes {
            // Even if there should be room by now.
            (0, parts.iter().map(|part| part.len()).sum())
        } else {
            match write_parts(&mut self.stream, token, parts) {
                Ok(taken) => taken,
                Err(error) => return Err(self.lost(token, "write", &error)),
            }
        };
        if taken < all || held.consumed > 0 {
            let cold = self.cold.get_or_insert_with(|| stock.take_cold());
            cold.settle(taken, [before, after, fresh], held, &mut stock.pool)?;
        }
        self.count_sent(taken, shared);
        Ok(())
    }

    /// As [`deliver`](Self::deliver), where what is fresh is all there is: nearly always.
    #[inline(always)]
    fn deliver_fresh(
        &mut self,
        token: Token,
        fresh: &[u8],
        shared: &mut Shared,
    ) -> Result<(), Reason> {
        if self.owes() {
            return self.deliver(token, Replies { fresh, ..Replies::default() }, shared);
        }
        let taken = match write(&mut self.stream, token, fresh) {
            Ok(taken) => taken,
            Err(error) => return Err(self.lost(token, "write", &error)),
        };
        if taken < fresh.len() {
            let stock = &mut shared.stock;
            let cold = self.cold.get_or_insert_with(|| stock.take_cold());
            stock.pool.append(&mut cold.output, &fresh[taken..], 0)?;
        }
        self.count_sent(taken, shared);
        Ok(())
    }
}
