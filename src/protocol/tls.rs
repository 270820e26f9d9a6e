//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) around another protocol: ciphertext in, its plaintext to the protocol inside, the
//! protocol's replies out.
//!
//! ```
//! use std::sync::Arc;
//!
//! use resound::protocol::{
//!     Raw,
//!     tls::{Acceptor, Identity, Tls, TlsTerms},
//! };
//!
//! let acceptor = Acceptor::new(TlsTerms {
//!     identity: Identity::SelfSigned(vec!["localhost".to_owned()]),
//!     ..TlsTerms::default()
//! })?;
//! let protocol = Tls::new(Arc::new(acceptor), Raw); // for Reactor::listen
//! # let _ = protocol;
//! # Ok::<(), resound::protocol::BadTerms>(())
//! ```
//!
//! [`Tls`] sees bytes, and neither a socket nor a clock, as every protocol does. rustls does the cryptography, with ring.
//!
//! **What a connection holds.** A record that is not whole stays in the connection's input. Decrypted bytes that the
//! protocol inside has not consumed are held here, and counted with [`Output::hold`]. So a connection that waits for its
//! next frame holds the state of its session and no buffer. Replies are encrypted as the output has room for them: a
//! reader that is slow makes the server hold a reply once.
//!
//! **Ends.** `close_notify` follows the last reply, whoever ends the connection. A peer that sends `close_notify` has
//! half-closed (RFC 8446, section 6.1): what it sent before is answered first. FIN without it is a truncation, and counted
//! as one.
//!
//! A PROXY header comes before TLS, and faults happen inside: [`Offer::protocol`](super::Offer::protocol) stacks the
//! layers so.

mod acceptor;
mod certificates;
mod client_session;
mod connector;
mod conversation;
mod failure;
mod handshakes;
mod plain;
mod record;
mod server_failure;
mod session;
mod suites;
mod verifier;

use std::sync::Arc;

use log::debug;

pub use acceptor::{Acceptor, Identity, SelfSigned, TlsTerms, TlsVersion};
pub use client_session::ClientSession;
pub use connector::{Connector, ConnectorTerms, Trust};
pub use handshakes::{Failure, Handshakes};
pub use server_failure::{TlsCause, TlsFailure};
pub use session::Stage;

use self::{
    conversation::{Conversation, Work},
    record::Beginning,
};
use super::{Ending, Key, Next, Output, PerConnection, Protocol, Received, Refusal};
use crate::{Ends, Reason, Token};

/// The keys of a listener with TLS.
pub const KEYS: &[Key] = &[
    ("cert", "a file with the certificate in PEM, and its chain; several with + between them"),
    ("key", "a file with the certificate's private key in PEM; as many as cert has"),
    ("tls", "self-signed: make a certificate, in place of cert and key"),
    ("save-cert", "where to write the self-signed certificate, for clients"),
    (
        "client-ca",
        "a file with certificates in PEM: clients need a certificate that one of them signed",
    ),
    ("min", "the oldest version of TLS: 1.2 (the default) or 1.3"),
    (
        "alpn",
        "the application protocols to offer, with + between them; default http/1.1 for http and ws",
    ),
];

/// The output of the protocol inside is full from here on, in bytes: as much as the loop takes.
const HIGH_WATER: usize = 256 << 10;

/// The largest buffer for records that is kept.
const KEPT_SCRATCH: usize = 128 << 10;

/// Speaks TLS around another protocol.
///
/// The protocol inside is told of a connection when the handshake is complete. Until then the handshake timeout runs.
///
/// ```
/// use std::sync::Arc;
///
/// use resound::{
///     Config, Reactor,
///     protocol::{
///         Raw,
///         tls::{Connector, ConnectorTerms, Tls, Trust},
///     },
/// };
///
/// let connector = Connector::new(&ConnectorTerms {
///     server: "localhost".to_owned(),
///     trust: Trust::Anyone,
///     identity: None,
///     alpn: Vec::new(),
///     resumes: true,
///     ciphers: Vec::new(),
/// })?;
/// let mut reactor = Reactor::new(Config::default())?;
/// let lane = reactor.outbound(Tls::client(Arc::new(connector), Raw))?; // for Reactor::connect
/// # let _ = lane;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tls<P> {
    side: Side,
    inner: P,
    places: PerConnection<Place>,
    said: Output,
    scratch: Vec<u8>,
    spare: Vec<u8>,
    /// Why the session of this call failed.
    failed: Option<rustls::Error>,
    /// Why a client's session failed last.
    failure: Option<TlsFailure>,
}

#[derive(Debug)]
enum Side {
    Server(Arc<Acceptor>),
    Client(Arc<Connector>),
}

impl Side {
    /// Where handshakes are counted.
    fn handshakes(&self) -> &Handshakes {
        match self {
            Self::Server(acceptor) => acceptor.handshakes(),
            Self::Client(connector) => connector.handshakes(),
        }
    }
}

/// Where a connection is.
#[derive(Debug)]
enum Place {
    /// Its first record is not whole.
    New(Box<Ends>),
    /// A client has sent its hello, and nothing has come.
    Greeted(Box<Conversation>),
    Begun(Box<Conversation>),
    /// With this server TLS has failed.
    Failed,
}

impl<P> Tls<P> {
    /// `inner`, inside TLS as `acceptor` says, for [`Reactor::listen`](crate::Reactor::listen).
    pub const fn new(acceptor: Arc<Acceptor>, inner: P) -> Self {
        Self::of(Side::Server(acceptor), inner)
    }

    /// `inner`, inside TLS with the server of `connector`, for [`Reactor::outbound`](crate::Reactor::outbound). If TLS fails,
    /// the connection is closed with [`Reason::Refused`], and [`take_failure`](Self::take_failure) says why.
    pub const fn client(connector: Arc<Connector>, inner: P) -> Self {
        Self::of(Side::Client(connector), inner)
    }

    const fn of(side: Side, inner: P) -> Self {
        Self {
            side,
            inner,
            places: PerConnection::new(),
            said: Output::new(HIGH_WATER),
            scratch: Vec::new(),
            spare: Vec::new(),
            failed: None,
            failure: None,
        }
    }

    /// The protocol inside.
    pub const fn inner_mut(&mut self) -> &mut P {
        &mut self.inner
    }

    /// Whether the handshake of `connection` is complete and went on with an earlier session.
    #[must_use]
    pub fn is_resumed(&self, connection: Token) -> bool {
        match self.places.get(connection) {
            Some(Place::Begun(conversation)) => conversation.is_open() && conversation.is_resumed(),
            _ => false,
        }
    }

    /// Why TLS with a server failed last, since the last call.
    pub const fn take_failure(&mut self) -> Option<TlsFailure> {
        self.failure.take()
    }

    /// The conversation on `connection`, with what it works with.
    fn at<'a>(
        &'a mut self,
        connection: Token,
        out: &'a mut Output,
    ) -> Option<(&'a mut Conversation, Work<'a, P>)> {
        let Some(Place::Begun(conversation)) = self.places.get_mut(connection) else { return None };
        let scheduled = out.bytes().len();
        let work = Work {
            token: connection,
            inner: &mut self.inner,
            said: &mut self.said,
            scratch: &mut self.scratch,
            spare: &mut self.spare,
            handshakes: self.side.handshakes(),
            out,
            scheduled,
            frames: 0,
            failed: &mut self.failed,
        };
        Some((conversation, work))
    }

    /// Begins a conversation when its first record is whole. Otherwise returns what to wait for, or why the peer is
    /// refused.
    fn begin(&mut self, connection: Token, input: &[u8], out: &mut Output) -> Result<(), Next> {
        let (acceptor, ends) = match (&self.side, self.places.get(connection)) {
            (Side::Server(acceptor), Some(Place::New(ends))) => (acceptor, **ends),
            (Side::Client(_), Some(Place::Greeted(_))) => {
                return self.begin_with_server(connection, input);
            }
            _ => return Ok(()),
        };
        match record::beginning(input) {
            Beginning::Handshake => {}
            Beginning::Part => return Err(Next::Handshake { need: record::HEAD }),
            Beginning::Other(what) => {
                if what == Some("an HTTP request") {
                    out.extend(NOT_HTTPS);
                }
                acceptor.handshakes().has_failed(Failure::Silent);
                return Err(Next::Refuse(failure::not_tls(what)));
            }
        }
        let need = record::need(input);
        if input.len() < need {
            return Err(Next::Handshake { need });
        }
        let session =
            acceptor.session().map_err(|error| Next::Refuse(failure::refusal(&error, None)))?;
        let conversation = Conversation::new(session, ends);
        self.places.insert(connection, Place::Begun(Box::new(conversation)));
        Ok(())
    }

    /// As [`begin`](Self::begin), with the first bytes of a server.
    fn begin_with_server(&mut self, connection: Token, input: &[u8]) -> Result<(), Next> {
        match record::beginning_of_server(input) {
            Beginning::Part => return Err(Next::Handshake { need: input.len() + 1 }),
            Beginning::Other(what) => {
                return Err(self.fail(connection, TlsFailure::not_tls(what)));
            }
            Beginning::Handshake => {}
        }
        if let Some(Place::Greeted(conversation)) = self.places.remove(connection) {
            self.places.insert(connection, Place::Begun(conversation));
        }
        Ok(())
    }

    /// Gives up a connection of a client.
    fn fail(&mut self, connection: Token, failure: TlsFailure) -> Next {
        debug!("{connection}: {failure}");
        self.failure = Some(failure);
        self.places.insert(connection, Place::Failed);
        Next::Finish
    }
}

/// For a client that speaks HTTP where HTTPS is spoken. It reads this, and would not read an alert.
const NOT_HTTPS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS. Use https://...\n";

impl<P: Protocol> Protocol for Tls<P> {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let place = match &self.side {
            Side::Server(_) => Place::New(Box::new(*ends)),
            Side::Client(connector) => match connector.session(out.as_mut_vec()) {
                Ok(session) => Place::Greeted(Box::new(Conversation::new(session, *ends))),
                Err(error) => {
                    let failure = connector.failure(&error);
                    self.fail(connection, failure);
                    return Err(Refusal::Malformed("no TLS handshake can be made"));
                }
            },
        };
        self.places.insert(connection, place);
        Ok(())
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        _seen: usize,
        out: &mut Output,
    ) -> Received {
        if let Err(next) = self.begin(connection, input, out) {
            return Received::answered(0, 0, next);
        }
        let Some((conversation, mut work)) = self.at(connection, out) else {
            return Received::answered(input.len(), 0, Next::Finish);
        };
        let received = conversation.receive(input, &mut work);
        if self.scratch.capacity() > KEPT_SCRATCH {
            self.scratch = Vec::new();
        }
        if let (Some(error), Side::Client(connector)) = (self.failed.take(), &self.side) {
            let failure = connector.failure(&error);
            let next = self.fail(connection, failure);
            return Received::answered(input.len(), received.frames, next);
        }
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        if let Some((conversation, mut work)) = self.at(connection, out) {
            conversation.ending(cause, &mut work);
        }
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        if let Some((conversation, mut work)) = self.at(connection, out) {
            conversation.sent(&mut work);
        }
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        if let Some((conversation, mut work)) = self.at(connection, out) {
            conversation.called(&mut work);
        }
    }

    /// They are encrypted. Those that come before the handshake is complete are discarded.
    fn spoken(&mut self, connection: Token, out: &mut Output) {
        self.inner.spoken(connection, out);
        match self.at(connection, out) {
            Some((conversation, mut work)) => conversation.spoken(&mut work),
            None => out.clear(),
        }
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        if let Some((conversation, mut work)) = self.at(connection, out) {
            conversation.half_closed(&mut work);
        }
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        match (&self.side, self.places.remove(connection)) {
            (Side::Client(_), Some(Place::Failed)) => {
                self.inner.closed(connection, Reason::Refused);
            }
            // Also of a connection that was never there.
            (Side::Client(_), _) => self.inner.closed(connection, reason),
            (Side::Server(_), Some(Place::Begun(conversation))) if conversation.is_open() => {
                self.inner.closed(connection, reason);
            }
            (Side::Server(acceptor), Some(Place::Begun(conversation))) => {
                if !conversation.is_over() {
                    acceptor.handshakes().has_failed(Failure::Silent);
                }
            }
            (Side::Server(_), _) => {}
        }
    }

    fn reads_while_owed(&self) -> bool {
        self.inner.reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }

    fn introduces_peers(&self) -> bool {
        self.inner.introduces_peers()
    }

    /// Only a connection whose first record is not whole can move. What a session knows of its keys stays in rustls.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        matches!(self.places.get(connection), Some(Place::New(_))).then(Vec::new)
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        if matches!(self.side, Side::Client(_)) {
            return false;
        }
        self.places.insert(connection, Place::New(Box::new(*ends)));
        state.is_empty()
    }
}

#[cfg(test)]
mod tests;
