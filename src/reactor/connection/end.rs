//! How a connection ends, by the server, by the peer or by an error; and how it returns its memory.

use std::io;

use super::{
    Connection, State,
    output::Replies,
    shared::{Context, Shared, size_class},
};
use crate::{
    Begun, Reason, Token,
    protocol::{Ending, Protocol},
    reactor::{
        events::{Doing, Event},
        net::Stream,
    },
};

impl<S: Stream> Connection<S> {
    /// Ends the connection from the server's side, in the turns to come: the protocol's last words behind what is
    /// owed, then FIN, then lingering.
    pub(in crate::reactor) fn finish(
        &mut self,
        reason: Reason,
        ending: Ending,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        self.release_held();
        self.end_input(State::Finishing(reason));
        cx.shared.output.clear();
        cx.protocol.ending(cx.token, ending, &mut cx.shared.output);
        self.note_held(cx.shared);
        self.send(Replies::default(), cx)
    }

    /// As [`finish`](Self::finish); where that fails, as [`abandon`](Self::abandon).
    pub(in crate::reactor) fn end(
        &mut self,
        reason: Reason,
        ending: Ending,
        cx: &mut Context<'_, impl Protocol>,
    ) {
        if let Err(reason) = self.finish(reason, ending, cx) {
            self.abandon(reason, cx.token, cx.shared);
        }
    }

    /// Ends the connection that holds the most. What it holds is discarded. The protocol's last output is sent only if no
    /// reply is cut by that.
    pub(in crate::reactor) fn end_for_memory(&mut self, cx: &mut Context<'_, impl Protocol>) {
        if self.is_open() && !self.owes() {
            self.end(Reason::Memory, Ending::Memory, cx);
        } else {
            if self.pending.as_ref().is_some_and(|pending| pending.elsewhere > 0) {
                // What it would say is not sent, but it discards what it holds.
                cx.protocol.ending(cx.token, Ending::Memory, &mut cx.shared.output);
                cx.shared.output.clear();
            }
            self.abandon(Reason::Memory, cx.token, cx.shared);
        }
        self.return_memory(cx.token, cx.shared);
    }

    /// Ends the connection without another byte to the peer, in the turns to come: FIN, then lingering.
    pub(in crate::reactor) fn abandon(
        &mut self,
        reason: Reason,
        token: Token,
        shared: &mut Shared,
    ) {
        self.end_input(State::Finishing(reason));
        if let Some(pending) = &mut self.pending {
            pending.output.clear();
            pending.schedule = None;
        }
        self.hold_elsewhere(0, shared);
        self.return_memory(token, shared);
    }

    /// Notes how much memory the protocol holds for this connection.
    pub(super) fn hold_elsewhere(&mut self, bytes: usize, shared: &mut Shared) {
        if bytes == 0 && self.pending.is_none() {
            return;
        }
        let pending = self.pending.get_or_insert_with(|| shared.spare.take());
        shared.pool.recount(pending.elsewhere, bytes);
        pending.elsewhere = bytes;
    }

    /// Notes what the protocol holds after its last call. It can ask for nothing else there.
    fn note_held(&mut self, shared: &mut Shared) {
        if let Some(bytes) = shared.output.take_requests().and_then(|requests| requests.hold) {
            self.hold_elsewhere(bytes, shared);
        }
    }

    /// Why the connection ends, if that was decided before the end.
    pub(in crate::reactor) const fn ended_for(&self) -> Option<Reason> {
        match self.state {
            State::Finishing(reason) | State::Lingering(reason) => Some(reason),
            State::Connecting | State::Open(_) | State::HalfClosed => None,
        }
    }

    /// Whether both directions are open.
    pub(in crate::reactor) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the server can still send. The peer may have sent FIN.
    pub(in crate::reactor) const fn may_speak(&self) -> bool {
        matches!(self.state, State::Open(_) | State::HalfClosed)
    }

    /// Whether the peer has sent FIN, and the server has not.
    pub(in crate::reactor) const fn is_half_closed(&self) -> bool {
        matches!(self.state, State::HalfClosed)
    }

    pub(super) fn lost<P>(&self, cx: &Context<'_, P>, doing: Doing, error: &io::Error) -> Reason {
        cx.shared.events.tell(cx.token, lost(doing, error));
        self.ended_for().unwrap_or_else(|| Reason::of_loss(error))
    }

    #[inline(never)]
    pub(super) fn peer_closed(
        &mut self,
        cx: &mut Context<'_, impl Protocol>,
    ) -> Result<(), Reason> {
        match self.state {
            State::Open(begun) => {
                let held = self.pending.as_ref().map_or(0, |pending| pending.input.len());
                let is_cut_short = begun == Begun::Frame || held > 0;
                if is_cut_short {
                    cx.counts.truncated.add(1);
                    cx.shared.events.tell(cx.token, Event::CutShort { held: held as u64 });
                }
                self.end_input(State::HalfClosed);
                cx.shared.output.clear();
                cx.protocol.half_closed(cx.token, &mut cx.shared.output);
                self.note_requests(cx.shared);
                // Once is enough.
                cx.shared.news.cut_short &= !is_cut_short;
                self.send(Replies::default(), cx)?;
            }
            State::Connecting | State::HalfClosed => {}
            State::Finishing(reason) | State::Lingering(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Enters a state in which nothing received matters any more. A protocol that still has to send does, unless the
    /// server ends the connection.
    pub(super) fn end_input(&mut self, state: State) {
        self.state = state;
        if let Some(pending) = &mut self.pending {
            pending.input.clear();
            pending.stopped = false;
            pending.call_when_sent &= state == State::HalfClosed;
        }
    }

    /// Returns the memory that is not needed between turns.
    #[inline(never)]
    pub(super) fn return_memory(&mut self, token: Token, shared: &mut Shared) {
        let Some(pending) = &mut self.pending else { return };
        shared.pool.shrink(&mut pending.input);
        shared.pool.shrink(&mut pending.output);
        let class = size_class(pending.capacity());
        if class != pending.class {
            shared.holders.move_between(pending.class, class, token);
            pending.class = class;
        }
        if pending.is_empty()
            && let Some(pending) = self.pending.take()
        {
            shared.spare.put_back(pending);
        }
    }

    /// Returns all memory and closes the stream.
    pub(in crate::reactor) fn close(mut self, token: Token, shared: &mut Shared) {
        self.forget(token, shared);
    }

    /// Returns all memory with what is in it.
    pub(super) fn forget(&mut self, token: Token, shared: &mut Shared) {
        self.end_input(self.state);
        if let Some(pending) = &mut self.pending {
            pending.output.clear();
            pending.schedule = None;
            pending.call_when_sent = false;
        }
        self.hold_elsewhere(0, shared);
        self.return_memory(token, shared);
    }
}

/// What was tried has failed.
pub(super) fn lost(doing: Doing, error: &io::Error) -> Event {
    Event::Lost { doing, errno: error.raw_os_error().unwrap_or_default() }
}
