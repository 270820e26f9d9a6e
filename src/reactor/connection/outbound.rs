//! Outbound connections: waiting for the peer's answer, sending without a request, reading while output is owed.

use std::io::ErrorKind;

use super::{Connection, Outcome, State, end::lost, shared::Context};
use crate::{
    Begun, Ends, Peer, Reason, Token,
    protocol::{Output, Protocol},
    reactor::{
        events::{Doing, Event},
        net::Stream,
    },
};

impl<S: Stream> Connection<S> {
    /// An outbound connection that has begun to connect.
    pub(in crate::reactor) const fn connecting(stream: S, generation: u32, service: u8) -> Self {
        Self::new(stream, generation, service, State::Connecting)
    }

    /// Checks whether `peer` has answered. Once it has, the protocol speaks first, and the connection has
    /// its first turn.
    pub(in crate::reactor) fn connect(
        &mut self,
        peer: &Peer,
        scratch: &mut [u8],
        cx: &mut Context<'_, impl Protocol>,
    ) -> Outcome {
        if cx.shared.draining {
            return Outcome::Closed(Reason::Drained);
        }
        match self.stream.connected() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Wait,
            Err(error) => {
                cx.shared.events.tell(cx.token, lost(Doing::Connect, &error));
                return Outcome::Closed(Reason::of_connecting(&error));
            }
        }
        let is_handshake = cx.protocol.begins_with_handshake();
        self.state = State::Open(if is_handshake { Begun::Handshake } else { Begun::Nothing });
        cx.counts.opened.add(1);
        cx.shared.events.tell(cx.token, Event::Connected { peer: *peer });
        match self.open(&Ends::new(*peer, None), cx) {
            closed @ Outcome::Closed(_) => closed,
            _ => self.turn_without_event(scratch, cx),
        }
    }

    /// Sends the output of `speak` behind what is owed; nothing if the server has ended the connection.
    pub(in crate::reactor) fn speak<P: Protocol>(
        &mut self,
        cx: &mut Context<'_, P>,
        speak: impl FnOnce(&mut P, Token, &mut Output),
    ) -> Outcome {
        if !self.may_speak() {
            return Outcome::Wait;
        }
        self.say(cx, |protocol, token, output| {
            speak(protocol, token, output);
            protocol.spoken(token, output);
        })
    }

    /// It is the time for which the protocol asked.
    pub(in crate::reactor) fn call(&mut self, cx: &mut Context<'_, impl Protocol>) -> Outcome {
        match self.state {
            State::Open(_) => self.say(cx, Protocol::called),
            State::HalfClosed => match self.say(cx, Protocol::called) {
                Outcome::Wait if !self.owes() => Outcome::Closed(Reason::PeerClosed),
                outcome => outcome,
            },
            _ => Outcome::Wait,
        }
    }

    /// Whether it waits for the peer's answer.
    pub(in crate::reactor) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    /// Whether it reads although output is owed.
    #[cold]
    pub(super) fn reads_while_owed(&self, cx: &Context<'_, impl Protocol>) -> bool {
        let is_stopped = self.pending.as_ref().is_some_and(|pending| pending.stopped);
        self.is_open() && !is_stopped && cx.protocol.reads_while_owed()
    }
}
