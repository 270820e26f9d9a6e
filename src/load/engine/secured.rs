//! The load inside TLS, and the time that handshakes take.

use std::sync::Arc;

use resound::{
    Ends, Reason, Token,
    protocol::{
        Ending, Output, Protocol, Received, Refusal,
        tls::{Connector, Tls},
    },
};

use super::{carrier::Carrier, traffic::Load};
use crate::common::tls::{CUT_OFF, explain, unanswered};

/// The load inside TLS.
#[derive(Debug)]
pub(crate) struct Secured {
    tls: Tls<Load>,
    failure: Option<String>,
    hint: Option<String>,
}

impl Secured {
    pub(crate) const fn new(connector: Arc<Connector>, load: Load) -> Self {
        Self { tls: Tls::client(connector, load), failure: None, hint: None }
    }
}

impl Carrier for Secured {
    fn load(&mut self) -> &mut Load {
        self.tls.inner_mut()
    }

    fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Protocol for Secured {
    fn opened(&mut self, token: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        self.load().connected(token);
        self.tls.opened(token, ends, out)
    }

    fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
        let received = self.tls.receive(token, input, seen, out);
        if let Some(took) = self.load().handshake.take() {
            let is_resumed = self.tls.is_resumed(token);
            self.load().recorder.handshake(took, is_resumed);
        }
        received
    }

    fn ending(&mut self, token: Token, cause: Ending, out: &mut Output) {
        self.tls.ending(token, cause, out);
    }

    fn sent(&mut self, token: Token, out: &mut Output) {
        self.tls.sent(token, out);
    }

    fn called(&mut self, token: Token, out: &mut Output) {
        self.tls.called(token, out);
    }

    fn spoken(&mut self, token: Token, out: &mut Output) {
        self.tls.spoken(token, out);
    }

    fn half_closed(&mut self, token: Token, out: &mut Output) {
        self.tls.half_closed(token, out);
    }

    fn closed(&mut self, token: Token, reason: Reason) {
        if let Some(failure) = self.tls.take_failure() {
            self.failure = Some(explain(&failure));
        } else if self.load().is_shaking_hands(token) {
            self.hint = Some(match reason {
                Reason::SlowHandshake => unanswered(" within --timeout"),
                _ => CUT_OFF.to_owned(),
            });
        }
        self.tls.closed(token, reason);
    }

    fn reads_while_owed(&self) -> bool {
        self.tls.reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        self.tls.begins_with_handshake()
    }

    fn introduces_peers(&self) -> bool {
        self.tls.introduces_peers()
    }
}
