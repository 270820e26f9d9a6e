//! The PROXY protocol, versions 1 and 2: who is really there, as told by a proxy in between.
//!
//! A balancer that forwards a TCP connection hides its client's address. With this protocol it
//! sends the address ahead, as the first bytes of the connection: a line of text (version 1) or a
//! binary header (version 2). Source: HAProxy's `doc/proxy-protocol.txt`, whose section numbers are
//! cited here.
//!
//! A listener takes it only if told to ([`Mode`]), and then it is demanded (section 2): a server
//! that takes the header from whoever happens to send one lets anybody choose the address that is
//! logged. To a listener that was not told, it is bytes like any others.
//!
//! [`parse`] knows the header, [`Proxied`] puts it before any other [`Protocol`].

mod v1;
mod v2;

use std::{net::SocketAddr, str::FromStr};

use super::{BadTerms, Ending, Next, Output, PerConnection, Protocol, Received, Refusal};
use crate::{Peer, Reason, Token};

/// Which versions of the header a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The line of text, section 2.1.
    V1,
    /// The binary header, section 2.2.
    V2,
    /// Either: their first bytes tell them apart.
    Any,
}

impl FromStr for Mode {
    type Err = BadTerms;

    /// As in `proxy=v2`.
    fn from_str(text: &str) -> Result<Self, BadTerms> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            "any" => Ok(Self::Any),
            _ => Err(BadTerms(format!("proxy={text}: write v1, v2 or any"))),
        }
    }
}

/// What the bytes at the start of a connection amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header, so far as it goes.
    Part {
        /// How many bytes it takes to tell more, counted from the first; 0 where the next one may.
        need: usize,
    },
    /// A whole header.
    Whole(Header),
}

/// A whole PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it takes up. Those behind it are the connection's own.
    pub length: usize,
    /// Whom the proxy speaks for.
    pub source: Source,
}

/// Whom a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Itself (`LOCAL`, the health check of version 2), or someone it cannot name (`UNKNOWN`,
    /// `UNSPEC`): the connection's own two ends are the real ones.
    Unnamed,
    /// A client it forwards for.
    Client {
        /// The client.
        peer: Peer,
        /// Where the client connected to, at the proxy; `None` for a Unix socket.
        local: Option<SocketAddr>,
    },
}

/// Reads the PROXY header at the start of `input`, which is all that was received so far.
///
/// # Errors
/// Bytes that no header of these versions starts with: then the connection must be closed (section
/// 2). Each wrong byte is refused when it is there, however the bytes are split.
pub fn parse(mode: Mode, input: &[u8]) -> Result<Parsed, Refusal> {
    match mode {
        Mode::V1 => v1::parse(input),
        Mode::V2 => v2::parse(input),
        Mode::Any => match input.first() {
            None => Ok(Parsed::Part { need: 0 }),
            Some(first) if *first == v1::SIGNATURE[0] => v1::parse(input),
            Some(_) => v2::parse(input),
        },
    }
}

/// Bytes in front that are no PROXY header at all; a mistake in somebody's configuration, nearly
/// always.
const ABSENT: Refusal = Refusal::Malformed(
    "no PROXY header in front; send it (HAProxy: send-proxy-v2), or take proxy= off this listener",
);

/// Puts the PROXY header before another protocol.
///
/// The other protocol hears of a connection only when its header is there, with the real peer; the
/// loop is told of it by [`Output::introduce`]. What follows the header in the same read is passed
/// on at once.
#[derive(Debug)]
pub struct Proxied<P> {
    mode: Mode,
    inner: P,
    /// Those whose header is not whole yet.
    waiting: PerConnection<Ends>,
}

/// The two ends of a connection as the socket has them.
#[derive(Debug)]
struct Ends {
    peer: Option<Peer>,
    local: Option<SocketAddr>,
}

impl<P> Proxied<P> {
    /// `inner`, behind a header of the versions that `mode` allows.
    pub const fn new(mode: Mode, inner: P) -> Self {
        Self { mode, inner, waiting: PerConnection::new() }
    }
}

impl<P: Protocol> Protocol for Proxied<P> {
    fn arrived(&mut self, connection: Token, local: SocketAddr) {
        let ends = Ends { peer: None, local: Some(local) };
        self.waiting.insert(connection, ends);
    }

    fn opened(&mut self, connection: Token, peer: &Peer, _: &mut Output) {
        let local = self.waiting.get(connection).and_then(|ends| ends.local);
        let ends = Ends { peer: Some(*peer), local };
        self.waiting.insert(connection, ends);
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        if self.waiting.get(connection).is_none() {
            return self.inner.receive(connection, input, seen, out);
        }
        let header = match parse(self.mode, input) {
            Ok(Parsed::Whole(header)) => header,
            Ok(Parsed::Part { need }) => return nothing(0, Next::Rest { need }),
            Err(refusal) => return nothing(0, Next::Refuse(refusal)),
        };
        let ends = self.waiting.remove(connection);
        let (peer, local) = match header.source {
            Source::Client { peer, local } => {
                out.introduce(peer);
                (Some(peer), local)
            }
            Source::Unnamed => ends.map_or((None, None), |ends| (ends.peer, ends.local)),
        };
        if let Some(local) = local {
            self.inner.arrived(connection, local);
        }
        if let Some(peer) = peer {
            self.inner.opened(connection, &peer, out);
        }
        let rest = &input[header.length..];
        if rest.is_empty() {
            return nothing(header.length, Next::Idle);
        }
        if out.is_full() {
            return nothing(header.length, Next::Full);
        }
        let mut received = self.inner.receive(connection, rest, 0, out);
        if received.echo {
            // The header lies before them, and must not go back: once in a connection's life, they
            // are copied.
            out.extend(&rest[..received.consumed]);
            received.echo = false;
        }
        received.consumed += header.length;
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        if self.waiting.get(connection).is_none() {
            self.inner.ending(connection, cause, out);
        }
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        if self.waiting.remove(connection).is_none() {
            self.inner.closed(connection, reason);
        }
    }

    fn reads_while_owed(&self) -> bool {
        self.inner.reads_while_owed()
    }
}

/// An answer that sends nothing and has completed nothing.
const fn nothing(consumed: usize, next: Next) -> Received {
    Received { consumed, echo: false, frames: 0, next }
}
