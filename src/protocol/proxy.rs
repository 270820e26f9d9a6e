//! The PROXY protocol, versions 1 and 2: a proxy tells the address of the client that it forwards for.
//!
//! A load balancer that forwards a TCP connection hides its client's address. With this protocol it sends the address
//! first, as the first bytes of the connection: a line of text (version 1) or a binary header (version 2). Source:
//! HAProxy's `doc/proxy-protocol.txt`, whose section numbers are cited here.
//!
//! A listener accepts the header only if it is configured to ([`Mode`]), and then requires it (section 2). A server that
//! accepted an optional header would let every client choose the address that is logged. Without the configuration the
//! header is data like any other.
//!
//! [`parse`] reads the header; [`Proxied`] requires it before any other [`Protocol`].

mod v1;
mod v2;

use std::{net::SocketAddr, str::FromStr};

use super::{BadTerms, Ending, Next, Output, PerConnection, Protocol, Received, Refusal};
use crate::{Ends, Peer, Reason, Token};

/// The versions of the header that a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The line of text, section 2.1.
    V1,
    /// The binary header, section 2.2.
    V2,
    /// Either; their first bytes differ.
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

/// How far the bytes at the start of a connection are a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Part {
        /// The length that the input must reach before there is more to read; 0 if each byte counts.
        need: usize,
    },
    /// A whole header.
    Whole(Header),
}

/// A whole PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes. The connection's own data follows it.
    pub length: usize,
    /// The client that the proxy forwards for.
    pub source: Source,
}

/// The client that a proxy forwards for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// No client (`LOCAL`, the health check of version 2), or an unknown one (`UNKNOWN`, `UNSPEC`). The addresses of the
    /// connection itself are used.
    Unnamed,
    /// A client.
    Client {
        /// The client's address.
        peer: Peer,
        /// The address at the proxy that the client connected to; `None` for a Unix socket.
        local: Option<SocketAddr>,
    },
}

/// Reads the PROXY header at the start of `input`, which is everything that was received so far.
///
/// # Errors
/// Bytes that do not start a header of these versions. The connection must then be closed (section 2). A wrong byte is
/// refused as soon as it is there, however the bytes are split.
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

/// The first bytes are not a PROXY header. Nearly always the configuration of one side is wrong.
const ABSENT: Refusal = Refusal::Malformed(
    "no PROXY header in front; send it (HAProxy: send-proxy-v2), or take proxy= off this listener",
);

/// Requires a PROXY header before another protocol.
///
/// The other protocol is told of a connection when its header has come, with the real peer. The loop is told by
/// [`Output::introduce`]. Data that follows the header in the same read is passed on at once.
#[derive(Debug)]
pub struct Proxied<P> {
    mode: Mode,
    inner: P,
    /// The connections whose header is not whole yet, with the ends of their sockets.
    waiting: PerConnection<Ends>,
}

impl<P> Proxied<P> {
    /// `inner`, behind a header of one of the versions that `mode` allows.
    pub const fn new(mode: Mode, inner: P) -> Self {
        Self { mode, inner, waiting: PerConnection::new() }
    }
}

impl<P: Protocol> Protocol for Proxied<P> {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.waiting.insert(connection, *ends);
        Ok(())
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let Some(&of_socket) = self.waiting.get(connection) else {
            return self.inner.receive(connection, input, seen, out);
        };
        let header = match parse(self.mode, input) {
            Ok(Parsed::Whole(header)) => header,
            Ok(Parsed::Part { need }) => {
                return Received::answered(0, 0, Next::Handshake { need });
            }
            Err(refusal) => return Received::answered(0, 0, Next::Refuse(refusal)),
        };
        self.waiting.remove(connection);
        let ends = match header.source {
            Source::Client { peer, local } => {
                out.introduce(peer);
                Ends::new(peer, local)
            }
            Source::Unnamed => of_socket,
        };
        if let Err(refusal) = self.inner.opened(connection, &ends, out) {
            return Received::answered(header.length, 0, Next::Refuse(refusal));
        }
        let rest = &input[header.length..];
        if rest.is_empty() {
            let goes_on = self.inner.begins_with_handshake();
            let next = if goes_on { Next::Handshake { need: 0 } } else { Next::Idle };
            return Received::answered(header.length, 0, next);
        }
        if out.is_full() {
            return Received::answered(header.length, 0, Next::Full);
        }
        let mut received = self.inner.receive(connection, rest, 0, out);
        if received.echo {
            // The header precedes these bytes and must not go back, so they are copied. This happens once for each
            // connection.
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

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        if self.waiting.get(connection).is_none() {
            self.inner.half_closed(connection, out);
        }
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        if self.waiting.remove(connection).is_none() {
            self.inner.closed(connection, reason);
        }
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        self.inner.sent(connection, out);
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        self.inner.called(connection, out);
    }

    fn spoken(&mut self, connection: Token, out: &mut Output) {
        self.inner.spoken(connection, out);
    }

    fn reads_while_owed(&self) -> bool {
        self.inner.reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }

    fn introduces_peers(&self) -> bool {
        true
    }

    /// The first byte says whether the header has come.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        if self.waiting.get(connection).is_some() {
            return Some(vec![0]);
        }
        let mut state = vec![1];
        state.append(&mut self.inner.describe(connection)?);
        Some(state)
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        match state {
            [0] => {
                self.waiting.insert(connection, *ends);
                true
            }
            [1, state @ ..] => self.inner.restore(connection, ends, state),
            _ => false,
        }
    }
}
