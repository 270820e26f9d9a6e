//! Input: reads, shows the protocol what was received, and keeps partial frames.

use std::{io, mem};

use super::{
    Connection, State,
    output::{Held, Replies},
    pending::Pending,
    shared::{Context, MOST_AT_ONCE, Shared},
};
use crate::{
    Begun, Reason,
    memory::Pool,
    protocol::{Next, Output, Protocol, Received, Requests},
    reactor::{events::Event, net::Stream},
};

/// If this many bytes of a frame are held, and at least this many are missing, the rest is read directly into the
/// connection's buffer.
const DIRECT_READ: usize = 16 << 10;

/// How many parts of one read are answered at once, where a protocol stops between them. Then the rest is kept.
const PARTS_AT_ONCE: usize = 16;

/// One read: how many bytes were received, how many of them are in the scratch, and for how many there was room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) bytes: usize,
    pub(super) fresh: usize,
    pub(super) room: usize,
}

impl Arrival {
    pub(super) fn event(&self) -> Event {
        let number = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Event::Read { bytes: number(self.bytes), room: number(self.room) }
    }
}

fn answered(received: &Received) -> Event {
    let Received { consumed, frames, next, .. } = *received;
    Event::Answered { consumed: consumed as u64, frames, begun: begun(next) }
}

/// What the peer has begun to send, if the connection goes on.
const fn begun(next: Next) -> Begun {
    match next {
        Next::Rest { .. } | Next::Full => Begun::Frame,
        Next::Handshake { .. } => Begun::Handshake,
        Next::Idle | Next::Finish | Next::Refuse(_) => Begun::Nothing,
    }
}

impl Pending {
    /// Shows the protocol `self.input`, joined with as much of `fresh` as it lacks; `None` if that is not enough.
    pub(super) fn show(
        &mut self,
        fresh: &mut &[u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Option<Received> {
        // Some of the held bytes may have been read directly into the buffer, and not have been shown yet.
        let mut is_shown = false;
        loop {
            let lacks = match self.need.saturating_sub(self.input.len()) {
                _ if self.stopped => 0,
                0 if self.need == 0 || is_shown => fresh.len(),
                missing => missing.min(fresh.len()),
            };
            let (joined, rest) = fresh.split_at(lacks);
            cx.shared.pool.append(&mut self.input, joined, self.need);
            *fresh = rest;
            if !self.stopped && self.input.len() < self.need {
                return None;
            }
            let output = &mut cx.shared.output;
            let received = cx.protocol.receive(cx.token, self.input.bytes(), self.seen, output);
            is_shown = true;
            self.remember(received.next, self.input.len() - received.consumed);
            let waits = matches!(received.next, Next::Rest { .. } | Next::Handshake { .. });
            if received.consumed > 0 || fresh.is_empty() || !waits {
                return Some(received);
            }
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Reads into the scratch. The rest of a long frame is read directly behind its beginning.
    #[inline(always)]
    pub(super) fn read(&mut self, scratch: &mut [u8], pool: &mut Pool) -> io::Result<Arrival> {
        if let (State::Open(_), Some(pending)) = (self.state, &mut self.pending) {
            let held = pending.input.len();
            let missing = pending.need.saturating_sub(held);
            if missing.min(held) >= DIRECT_READ {
                pool.read_ahead(&mut pending.input, pending.need);
                let direct = pending.input.room();
                let direct_length = direct.len().min(missing).min(MOST_AT_ONCE);
                let room = direct_length + scratch.len();
                let mut slices = [
                    io::IoSliceMut::new(&mut direct[..direct_length]),
                    io::IoSliceMut::new(scratch),
                ];
                let bytes = self.stream.read_vectored(&mut slices)?;
                pending.input.filled(bytes.min(direct_length));
                return Ok(Arrival { bytes, fresh: bytes.saturating_sub(direct_length), room });
            }
        }
        let bytes = self.stream.read(scratch)?;
        Ok(Arrival { bytes, fresh: bytes, room: scratch.len() })
    }

    /// Shows the protocol what is held and what is `fresh` behind it; sends its replies, keeps the rest.
    #[inline(always)]
    pub(super) fn receive(
        &mut self,
        fresh: &[u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        if !matches!(self.state, State::Open(_)) {
            return Ok(());
        }
        cx.shared.output.clear();
        if let Some(pending) = &mut self.pending {
            pending.is_unanswered |= !pending.stopped;
            if !pending.input.is_empty() {
                return self.receive_behind(fresh, cx);
            }
        }
        self.receive_fresh(fresh, Replies::default(), cx)
    }

    /// As [`receive`](Self::receive), where the beginning of a frame is held.
    #[inline(never)]
    fn receive_behind(
        &mut self,
        mut fresh: &[u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let mut parts_left = PARTS_AT_ONCE;
        while let (State::Open(_), Some(pending)) = (self.state, &mut self.pending)
            && !pending.input.is_empty()
        {
            let Some(received) = pending.show(&mut fresh, cx) else {
                // The echo that the output waits for needs more bytes.
                return match cx.shared.output.bytes() {
                    [] => Ok(()),
                    _ => self.send(Replies::default(), cx),
                };
            };
            let left = pending.input.len() - received.consumed;
            let all_answered = left == 0;
            let received = self.note(received, cx);
            if !received.echo
                && parts_left > 0
                && self.shows_on(&received, left, &cx.shared.output)
                && let Some(pending) = &mut self.pending
            {
                // The output is the answer to what was consumed.
                pending.input.consume(received.consumed);
                parts_left -= 1;
                continue;
            }
            let split = cx.shared.output.bytes().len();
            let replies = Replies { split, held: Held::of(received), fresh: &[] };
            let goes_on = !matches!(received.next, Next::Full | Next::Finish | Next::Refuse(_));
            if goes_on && all_answered && !fresh.is_empty() {
                // The fresh bytes are shown in the same round, so that one write sends both replies.
                return self.receive_fresh(fresh, replies, cx);
            }
            self.send(replies, cx)?;
            if !goes_on || fresh.is_empty() {
                self.keep(fresh, received.next, cx.shared);
                return Ok(());
            }
            cx.shared.output.clear();
        }
        if fresh.is_empty() || !matches!(self.state, State::Open(_)) {
            return Ok(());
        }
        self.receive_fresh(fresh, Replies::default(), cx)
    }

    /// As [`receive`](Self::receive), where nothing is held, or all of it is answered by `replies`, which wait to leave.
    #[inline(always)]
    fn receive_fresh<'a>(
        &mut self,
        fresh: &'a [u8],
        replies: Replies<'a>,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let received = cx.protocol.receive(cx.token, fresh, 0, &mut cx.shared.output);
        if received.next != Next::Idle || received.consumed < fresh.len() {
            return self.receive_parts(fresh, received, replies, cx);
        }
        // Nearly always.
        let received = self.note(received, cx);
        let echo = if received.echo { fresh } else { &[] };
        self.send(Replies { fresh: echo, ..replies }, cx)?;
        if received.next == Next::Finish {
            self.end_input(self.state);
        }
        Ok(())
    }

    /// Sends the answer to `fresh`, and keeps the rest of it.
    fn answer<'a>(
        &mut self,
        fresh: &'a [u8],
        received: Received,
        replies: Replies<'a>,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let (answered, rest) = fresh.split_at(received.consumed);
        let echo = if received.echo { answered } else { &[] };
        self.send(Replies { fresh: echo, ..replies }, cx)?;
        if !rest.is_empty() || matches!(received.next, Next::Finish | Next::Refuse(_)) {
            if self.pending.is_none() && echo.is_empty() && cx.shared.output.bytes().is_empty() {
                self.pending.insert(cx.shared.spare.take()).is_unanswered = true;
            }
            self.keep(rest, received.next, cx.shared);
        }
        Ok(())
    }

    /// Whether the protocol has stopped because of an echo, so that the `left` bytes of input are shown to it before all output
    /// has gone.
    fn shows_on(&self, received: &Received, left: usize, output: &Output) -> bool {
        let is_stopped = received.next == Next::Full && received.consumed > 0 && left > 0;
        let is_for_echo = received.echo || !output.is_full();
        let must_send = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.call_when_sent || pending.schedule.is_some());
        is_stopped && is_for_echo && !must_send
    }

    /// As [`receive_fresh`](Self::receive_fresh), if `received` is not the end of it. Where the protocol has stopped because of an
    /// echo, that leaves with the output before it, and what is behind an echo is shown from where it lies, as long as the peer
    /// takes all.
    #[inline(never)]
    fn receive_parts<'a>(
        &mut self,
        mut fresh: &'a [u8],
        received: Received,
        mut replies: Replies<'a>,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let mut received = self.note(received, cx);
        let sent_before = self.sent;
        for _ in 0..PARTS_AT_ONCE {
            let (answered, rest) = fresh.split_at(received.consumed);
            let has_sent_much = self.sent - sent_before >= MOST_AT_ONCE as u64;
            if has_sent_much || !self.shows_on(&received, rest.len(), &cx.shared.output) {
                break;
            }
            fresh = rest;
            if received.echo {
                self.send(Replies { fresh: answered, ..replies }, cx)?;
                cx.shared.output.clear();
                replies = Replies::default();
                if self.owes() {
                    self.keep(fresh, Next::Full, cx.shared);
                    return Ok(());
                }
            }
            let next = cx.protocol.receive(cx.token, fresh, 0, &mut cx.shared.output);
            received = self.note(next, cx);
        }
        if self.sent == sent_before || received.consumed > 0 || !cx.shared.output.bytes().is_empty()
        {
            return self.answer(fresh, received, replies, cx);
        }
        // The last reply has acknowledged all.
        self.keep(fresh, received.next, cx.shared);
        Ok(())
    }

    /// Keeps the beginning of a frame until the rest of it comes, unless nothing received matters any more.
    #[inline(never)]
    fn keep(&mut self, beginning: &[u8], next: Next, shared: &mut Shared) {
        if matches!(next, Next::Finish | Next::Refuse(_)) {
            return self.end_input(self.state);
        }
        if beginning.is_empty() {
            return;
        }
        let pending = self.pending.get_or_insert_with(|| shared.spare.take());
        shared.pool.append(&mut pending.input, beginning, next.need());
        pending.remember(next, pending.input.len());
    }

    /// Lets the kernel acknowledge at once what has come of an unfinished frame, unless a reply has gone out behind it.
    ///
    /// The kernel would wait for a reply to carry the acknowledgement, for 40 ms, and no reply comes before the rest of the
    /// frame. A peer whose send buffer is full of what is not acknowledged would wait as long before it sends the rest.
    #[inline(never)]
    pub(super) fn acknowledge<P>(&mut self, cx: &Context<'_, P>) {
        let Some(pending) = &mut self.pending else { return };
        let waits_for_peer = matches!(self.state, State::Open(Begun::Frame | Begun::Handshake))
            && !pending.waits_for_server();
        if mem::take(&mut pending.is_unanswered) && waits_for_peer {
            cx.shared.events.emit(cx.token, || Event::Acknowledged);
            self.stream.acknowledge();
        }
    }

    /// Calls a protocol that has more to send, or that stopped because its output was full.
    #[inline(never)]
    pub(super) fn resume_protocol(
        &mut self,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        if !mem::take(&mut pending.call_when_sent) {
            return self.receive(&[], cx);
        }
        cx.shared.output.clear();
        cx.protocol.sent(cx.token, &mut cx.shared.output);
        if !self.note_requests(cx.shared) {
            self.end_input(self.state);
        }
        self.send(Replies::default(), cx)
    }

    /// Enters the protocol's answer into the connection's state and the counters. Returns the answer, or another one if
    /// the address from the PROXY header has too many connections.
    #[inline(always)]
    fn note<P>(&mut self, received: Received, cx: &mut Context<'_, P>) -> Received {
        cx.shared.events.emit(cx.token, || answered(&received));
        self.frames += received.frames;
        cx.counts.frames.add(received.frames);
        self.state = match received.next {
            Next::Idle => State::Open(Begun::Nothing),
            next => state_after(next, cx),
        };
        if self.note_requests(cx.shared) {
            received
        } else {
            let echo = received.echo && self.ended_for() == Some(Reason::Finished);
            Received { echo, next: Next::Finish, ..received }
        }
    }

    /// Notes what the protocol asked for besides sending bytes. Returns whether the connection goes on. It ends if the
    /// protocol asked for that, or, without sending anything, if the peer's address is over its limit.
    #[inline(always)]
    pub(super) fn note_requests(&mut self, shared: &mut Shared) -> bool {
        match shared.output.take_requests() {
            None => true,
            Some(mut requests) => self.note_each_request(&mut requests, shared),
        }
    }

    #[cold]
    fn note_each_request(&mut self, requests: &mut Requests, shared: &mut Shared) -> bool {
        if requests.call_when_sent {
            self.pending.get_or_insert_with(|| shared.spare.take()).call_when_sent = true;
        }
        if !requests.steps.is_empty() {
            let pending = self.pending.get_or_insert_with(|| shared.spare.take());
            pending.schedule(mem::take(&mut requests.steps));
        }
        if let Some(bytes) = requests.hold {
            self.hold_elsewhere(bytes, shared);
        }
        if requests.cut_short {
            shared.news.tell(|news| news.cut_short = true);
        }
        if let Some(delay) = requests.call_after {
            shared.news.tell(|news| news.call_after = Some(delay));
        }
        let may_stay = requests.peer.is_none_or(|peer| shared.admit(peer));
        if !may_stay {
            shared.output.clear();
            if let Some(pending) = &mut self.pending {
                pending.schedule = None;
            }
            self.state = State::Finishing(Reason::Refused);
        } else if requests.finish && self.may_speak() {
            self.state = State::Finishing(Reason::Finished);
        }
        if requests.peer_closed && self.ended_for() == Some(Reason::Finished) {
            self.state = State::Finishing(Reason::PeerClosed);
        }
        may_stay && !requests.finish
    }
}

/// The state of a connection whose protocol expects `next`.
#[inline(never)]
fn state_after<P>(next: Next, cx: &mut Context<'_, P>) -> State {
    match next {
        Next::Idle => State::Open(Begun::Nothing),
        Next::Rest { .. } | Next::Full => State::Open(Begun::Frame),
        Next::Handshake { .. } => State::Open(Begun::Handshake),
        Next::Finish => State::Finishing(Reason::Finished),
        Next::Refuse(refusal) => {
            cx.refuse(refusal);
            State::Finishing(Reason::Refused)
        }
    }
}
