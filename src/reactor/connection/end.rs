//! Ends of all kinds: the server's, the peer's, and the network's.

use std::io;

use log::debug;

use super::{Connection, Frame, Shared, State, reply::Replies};
use crate::Reason;
use crate::{
    Token, plural,
    protocol::{Ending, Protocol},
    reactor::net::Stream,
};

impl<S: Stream> Connection<S> {
    /// Ends the connection from the server's side, in the turns to come: the protocol's last words behind what is
    /// owed, then FIN, then lingering.
    pub(crate) fn finish(
        &mut self,
        reason: Reason,
        ending: Ending,
        token: Token,
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Result<(), Reason> {
        self.end_input(State::Finishing(reason));
        shared.output.clear();
        protocol.ending(token, ending, &mut shared.output);
        self.deliver(token, Replies::default(), shared)
    }

    /// As [`finish`](Self::finish); where that fails, as [`abandon`](Self::abandon).
    pub(crate) fn end(
        &mut self,
        reason: Reason,
        ending: Ending,
        token: Token,
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) {
        if let Err(reason) = self.finish(reason, ending, token, protocol, shared) {
            self.abandon(reason, shared);
        }
    }

    /// Ends the connection without another byte to the peer, in the turns to come: FIN, then lingering.
    pub(crate) fn abandon(&mut self, reason: Reason, shared: &mut Shared) {
        self.end_input(State::Finishing(reason));
        if let Some(cold) = &mut self.cold {
            cold.output.clear();
        }
        shared.over_memory |= reason == Reason::Memory;
        self.give_back(shared);
    }

    /// What ended the connection, where the end was decided before it came.
    pub(crate) const fn ended_for(&self) -> Option<Reason> {
        match self.state {
            State::Finishing(reason) | State::Lingering(reason) => Some(reason),
            State::Connecting | State::Open(_) | State::HalfClosed => None,
        }
    }

    pub(super) fn lost(&self, token: Token, doing: &str, error: &io::Error) -> Reason {
        debug!("{token}: {doing}: {error}");
        self.ended_for().unwrap_or_else(|| Reason::of_loss(error))
    }

    #[inline(never)]
    pub(super) fn peer_closed(&mut self, token: Token, shared: &Shared) -> Result<(), Reason> {
        match self.state {
            State::Open(Frame::Within) => {
                shared.stats.truncated.add(1);
                let held = self.cold.as_ref().map_or(0, |cold| cold.input.len());
                debug!(
                    "{token}: the peer closed inside a frame, of which {} had come",
                    plural::bytes(held)
                );
                self.end_input(State::HalfClosed);
            }
            State::Open(Frame::Between) => self.end_input(State::HalfClosed),
            State::Connecting | State::HalfClosed => {}
            State::Finishing(reason) | State::Lingering(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Enters a state in which nothing received matters any more.
    pub(super) fn end_input(&mut self, state: State) {
        self.state = state;
        if let Some(cold) = &mut self.cold {
            cold.input.clear();
            cold.stopped = false;
        }
    }
}
