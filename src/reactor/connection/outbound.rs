//! Connections that go out: waiting for the answer to connecting, speaking unasked, reading on while owing.

use std::io::ErrorKind;

use log::{Level, debug, log_enabled};

use super::{Connection, Frame, Replies, Shared, State, Turn};
use crate::Reason;
use crate::{
    Peer, Token,
    protocol::{Output, Protocol},
    reactor::net::{Readiness, Stream},
};

impl<S: Stream> Connection<S> {
    /// A connection that has begun to go out to `peer`.
    pub(crate) fn connecting(stream: S, generation: u32, door: u8, peer: Peer) -> Self {
        Self { state: State::Connecting, ..Self::new(stream, generation, door, Some(peer)) }
    }

    /// Whether the peer has answered to connecting; once it has, the protocol speaks first.
    #[cold]
    pub(super) fn answered(
        &mut self,
        token: Token,
        protocol: &mut impl Protocol,
        shared: &mut Shared,
    ) -> Result<bool, Reason> {
        if shared.draining {
            return Err(Reason::Drained);
        }
        match self.stream.connected() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => {
                debug!("{token}: connect: {error}");
                return Err(Reason::of_connecting(&error));
            }
        }
        self.state = State::Open(Frame::Between);
        shared.stats.opened.add(1);
        shared.output.clear();
        if let Some(cold) = &mut self.cold
            && let Some(peer) = cold.peer
        {
            debug!("{token}: connected to {peer}");
            if !log_enabled!(Level::Debug) {
                cold.peer = None;
            }
            protocol.opened(token, &peer, &mut shared.output);
        }
        self.deliver(token, Replies::default(), shared)?;
        Ok(true)
    }

    /// Sends what `speak` says, behind what is owed; nothing where the connection is not open.
    pub(crate) fn speak(
        &mut self,
        token: Token,
        shared: &mut Shared,
        speak: impl FnOnce(&mut Output),
    ) -> Turn {
        if !self.is_open() {
            return Turn::Wait;
        }
        shared.output.clear();
        speak(&mut shared.output);
        match self.deliver(token, Replies::default(), shared) {
            Ok(()) => Turn::Wait,
            Err(reason) => Turn::Gone(reason),
        }
    }

    /// Whether both directions are open.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether it waits for the peer's answer to connecting.
    pub(crate) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    /// Pays what is owed, as far as that goes; whether there is reading to do now.
    #[inline(never)]
    pub(super) fn resumes(
        &mut self,
        token: Token,
        readiness: Readiness,
        protocol: &impl Protocol,
        shared: &mut Shared,
    ) -> Result<bool, Reason> {
        let may_pay = readiness.writable || readiness.more_behind;
        Ok((may_pay && self.pay(token, shared)?) || self.reads_on(protocol))
    }

    /// Whether it is read from although it owes.
    #[cold]
    pub(super) fn reads_on(&self, protocol: &impl Protocol) -> bool {
        self.is_open() && !self.is_stopped() && protocol.reads_while_owed()
    }
}
