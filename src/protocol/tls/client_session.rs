//! A client's end of a TLS connection, without a socket.

use std::{mem, sync::Arc};

use super::{
    connector::Connector,
    record::{self, Beginning},
    server_failure::TlsFailure,
    session::{Session, Stage},
};

/// A client's end of a TLS connection, for callers with a socket of their own: they pass on what they receive, and send what
/// it puts into `out`, in that order.
///
/// For connections of a [`Reactor`](crate::Reactor) there is the layer [`Tls`](super::Tls).
#[derive(Debug)]
pub struct ClientSession {
    session: Session,
    connector: Arc<Connector>,
    /// The start of a record that is not whole.
    held: Vec<u8>,
    scratch: Vec<u8>,
    has_begun: bool,
}

impl ClientSession {
    /// A session with the server of `connector`, and its first bytes in `out`.
    ///
    /// # Errors
    ///
    /// [`TlsFailure`], if no handshake can be made.
    pub fn new(connector: Arc<Connector>, out: &mut Vec<u8>) -> Result<Self, TlsFailure> {
        let session = connector.session(out).map_err(|error| connector.failure(&error))?;
        Ok(Self { session, connector, held: Vec::new(), scratch: Vec::new(), has_begun: false })
    }

    /// Takes bytes of the server: what it said is appended to `plain`, and what has to be answered to `out`.
    ///
    /// # Errors
    ///
    /// [`TlsFailure`]. What is in `plain` came before it. `out` may have an alert, which is the last to be sent.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Stage, TlsFailure> {
        let mut held = mem::take(&mut self.held);
        let is_continued = !held.is_empty();
        if is_continued {
            held.extend_from_slice(bytes);
        }
        let mut rest = if is_continued { &held[..] } else { bytes };
        if !self.has_begun && !rest.is_empty() {
            match record::beginning_of_server(rest) {
                Beginning::Handshake => self.has_begun = true,
                Beginning::Part => {}
                Beginning::Other(what) => return Err(TlsFailure::not_tls(what)),
            }
        }
        let stage = loop {
            let (records, behind) = rest.split_at(record::whole(rest));
            // Also without a record: the stage is asked for.
            let stage = self
                .session
                .receive(records, &mut self.scratch, plain, out)
                .map_err(|error| self.connector.failure(&error))?;
            if records.is_empty() || stage == Stage::PeerClosed {
                break stage;
            }
            rest = behind;
        };
        if is_continued {
            let done = held.len() - rest.len();
            held.drain(..done);
            self.held = held;
        } else {
            self.held.extend_from_slice(rest);
        }
        Ok(stage)
    }

    /// Encrypts `plain` to `out`. The handshake must be complete.
    ///
    /// # Errors
    ///
    /// [`TlsFailure`], if nothing more can be sent.
    pub fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsFailure> {
        if plain.is_empty() {
            return Ok(());
        }
        self.session.seal(plain, out).map_err(|error| self.connector.failure(&error))
    }

    /// Puts `close_notify` into `out`: nothing more is sent, and the server may go on sending (RFC 8446, section 6.1).
    ///
    /// # Errors
    ///
    /// [`TlsFailure`], if nothing can be sent.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), TlsFailure> {
        self.session.close_notify(out).map_err(|error| self.connector.failure(&error))
    }

    /// What was agreed upon, for a log.
    #[must_use]
    pub fn summary(&self) -> String {
        self.session.summary()
    }
}
