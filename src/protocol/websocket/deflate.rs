//! Compressed messages: `permessage-deflate` (RFC 7692).
//!
//! A compressed message goes back in the bytes in which it came. So an echo compresses nothing, and a client gets the frames
//! and blocks that it chose. This is right with context takeover too: the echo of all of a client's messages, in order, is
//! the same DEFLATE stream. Two things follow for the handshake:
//!
//! - Both directions have the same parameters: either both keep their window between two messages, or neither does.
//! - A client that limits the server's window gets the same limit for its own. If it did not offer that
//!   (`client_max_window_bits`), this offer of its is declined.
//!
//! Each message is inflated to check it, piece by piece and once, when all of it has come: it must be DEFLATE, its text
//! must be UTF-8, and no more than `max` bytes come out. The pieces are not kept. Without context takeover one window
//! serves all connections.

use flate2::{Decompress, FlushDecompress, Status};

use super::{failure::Failure, frame, utf8::Utf8};
use crate::{
    Token,
    protocol::{
        Output, PerConnection,
        http::{
            head::{Problem, is_token},
            request::options,
        },
        key::{BadTerms, Key},
        offer::Terms,
    },
};

pub(super) const KEY: Key = (
    "deflate",
    "on: compressed messages, each by itself; context: may refer to earlier ones, 48 KiB a connection; default off",
);

const NAME: &[u8] = b"permessage-deflate";

/// What a window and the state of an inflater take up, in bytes, rounded up.
const STATE: usize = 48 << 10;

/// The end of a message's last block, which is not sent (section 7.2.1).
const TAIL: &[u8] = &[0, 0, 0xFF, 0xFF];

/// A last block without data. It is understood only at the end of another block.
const LAST: &[u8] = &[1, 0, 0, 0xFF, 0xFF];

const NOT_DEFLATE: Failure = Failure::payload("a compressed message that is not DEFLATE");

/// What a listener needs for compressed messages.
#[derive(Debug)]
pub(super) struct Deflate {
    context_takeover: bool,
    /// For messages that refer to nothing before them.
    shared: Inflater,
    /// Of connections with context takeover.
    streams: PerConnection<Inflater>,
}

/// The parameters of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// A message may refer to those before it.
    context_takeover: bool,
    /// The largest window, as a power of two, if it was agreed on.
    server_bits: Option<u8>,
    client_bits: Option<u8>,
}

impl Deflate {
    pub(super) fn new(context_takeover: bool) -> Self {
        Self { context_takeover, shared: Inflater::new(), streams: PerConnection::new() }
    }

    /// As [`KEY`] says.
    pub(super) fn asked(terms: &Terms) -> Result<Option<Self>, BadTerms> {
        let (key, _) = KEY;
        match terms.keys.iter().rev().find(|(name, _)| name == key).map(|(_, value)| &**value) {
            None | Some("off") => Ok(None),
            Some("on") => Ok(Some(Self::new(false))),
            Some("context") => Ok(Some(Self::new(true))),
            Some(other) => Err(BadTerms(format!("{key}={other}: write on, context or off"))),
        }
    }

    /// Chooses the first of a client's offers that can be accepted: the values of its `Sec-WebSocket-Extensions` fields.
    ///
    /// # Errors
    ///
    /// A field that is not a list of extensions (RFC 6455, section 9.1).
    pub(super) fn agree(&self, fields: &[&[u8]]) -> Result<Option<Agreed>, Problem> {
        let mut agreed = None;
        for offer in
            fields.iter().flat_map(|field| options(field)).filter(|offer| !offer.is_empty())
        {
            let accepted = self.consider(offer)?;
            agreed = agreed.or(accepted);
        }
        Ok(agreed)
    }

    /// Accepts or declines one offer (section 7.1).
    fn consider(&self, offer: &[u8]) -> Result<Option<Agreed>, Problem> {
        let wrong =
            || Problem::bad("a Sec-WebSocket-Extensions field that is not a list of extensions");
        let mut parts = offer.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| is_token(name)).ok_or_else(wrong)?;
        let mut is_possible = name == NAME;
        let (mut server_alone, mut client_alone) = (None, None);
        let (mut server_bits, mut client_bits) = (None, None);
        for part in parts {
            let (parameter, value) = match part.iter().position(|byte| *byte == b'=') {
                None => (part, None),
                Some(at) => (part[..at].trim_ascii_end(), Some(unquoted(&part[at + 1..]))),
            };
            if !is_token(parameter) || !value.is_none_or(is_token) {
                return Err(wrong());
            }
            is_possible &= match (parameter, value) {
                (b"server_no_context_takeover", None) => server_alone.replace(()).is_none(),
                (b"client_no_context_takeover", None) => client_alone.replace(()).is_none(),
                (b"server_max_window_bits", Some(value)) => {
                    let bits = window_bits(value);
                    bits.is_some() && server_bits.replace(bits.unwrap_or(15)).is_none()
                }
                (b"client_max_window_bits", None) => client_bits.replace(15).is_none(),
                (b"client_max_window_bits", Some(value)) => {
                    let bits = window_bits(value);
                    bits.is_some() && client_bits.replace(bits.unwrap_or(15)).is_none()
                }
                _ => false,
            };
        }
        // What comes back has the window of what came.
        let client_bits = match (server_bits, client_bits) {
            (None | Some(15), _) => None,
            (Some(server), Some(client)) => Some(server.min(client)),
            (Some(_), None) => return Ok(None),
        };
        let context_takeover =
            self.context_takeover && server_alone.is_none() && client_alone.is_none();
        Ok(is_possible.then_some(Agreed { context_takeover, server_bits, client_bits }))
    }

    /// A connection has begun, with these parameters.
    pub(super) fn opened(&mut self, connection: Token, agreed: &Agreed, out: &mut Output) {
        if agreed.context_takeover {
            self.streams.insert(connection, Inflater::new());
            out.hold(STATE);
        }
    }

    /// Checks a message: all its `frames`, with control frames between them.
    pub(super) fn check(
        &mut self,
        connection: Token,
        frames: &[u8],
        is_text: bool,
        max: u32,
    ) -> Result<(), Failure> {
        let (inflater, refers_to_none) = match self.streams.get_mut(connection) {
            Some(inflater) => (inflater, false),
            None => {
                self.shared.state.reset(false);
                (&mut self.shared, true)
            }
        };
        let mut inflated = Inflated { length: 0, max, utf8: is_text.then(Utf8::default) };
        let mut rest = frames;
        while let Ok(Some(head)) = frame::head(rest, rest.len() < frames.len(), true)
            && let Some(masked) = rest.get(head.length..head.whole())
        {
            rest = &rest[head.whole()..];
            if head.opcode.is_control() {
                continue;
            }
            let mut piece = [0; frame::PIECE];
            for masked in masked.chunks(frame::PIECE) {
                let piece = &mut piece[..masked.len()];
                piece.copy_from_slice(masked);
                frame::apply(head.mask, piece);
                inflater.push(piece, &mut inflated)?;
            }
        }
        inflater.push(TAIL, &mut inflated)?;
        if refers_to_none && !inflater.push(LAST, &mut inflated)? {
            return Err(NOT_DEFLATE);
        }
        if inflated.utf8.is_none_or(|utf8| utf8.is_complete()) {
            Ok(())
        } else {
            Err(Failure::TEXT)
        }
    }

    /// Whether something is kept between two messages of this connection.
    pub(super) fn keeps_state_of(&self, connection: Token) -> bool {
        self.streams.get(connection).is_some()
    }

    pub(super) fn closed(&mut self, connection: Token) {
        self.streams.remove(connection);
    }
}

impl Agreed {
    /// Appends the field of the handshake's answer (section 7.1).
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: permessage-deflate");
        if !self.context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover; client_no_context_takeover");
        }
        for (name, bits) in [("server", self.server_bits), ("client", self.client_bits)] {
            if let Some(bits) = bits {
                out.extend_from_slice(format!("; {name}_max_window_bits={bits}").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A value without its quotation marks. What stands in them is a token (RFC 6455, section 9.1).
fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii_start();
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    (8..=15).find(|bits| value == bits.to_string().as_bytes())
}

/// What has come out of a message so far.
struct Inflated {
    length: u64,
    max: u32,
    /// The state of its text.
    utf8: Option<Utf8>,
}

impl Inflated {
    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.length += piece.len() as u64;
        if self.length > self.max.into() {
            return Err(Failure::too_long(self.length, self.max));
        }
        let is_right = self.utf8.as_mut().is_none_or(|utf8| utf8.push(piece));
        if is_right { Ok(()) } else { Err(Failure::TEXT) }
    }
}

#[derive(Debug)]
struct Inflater {
    state: Decompress,
}

impl Inflater {
    fn new() -> Self {
        // Without zlib's header: a client's window may be the largest one.
        Self { state: Decompress::new(false) }
    }

    /// Inflates more of a message. Returns whether `input` ends with the last block of a stream.
    fn push(&mut self, mut input: &[u8], inflated: &mut Inflated) -> Result<bool, Failure> {
        let mut piece = [0; frame::PIECE];
        loop {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, &mut piece, FlushDecompress::None);
            let status = status.map_err(|_| NOT_DEFLATE)?;
            let difference = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
            let (read, written) = (
                difference(self.state.total_in(), read),
                difference(self.state.total_out(), written),
            );
            input = &input[read..];
            inflated.push(&piece[..written])?;
            match status {
                // A client may end a stream within a message, and begin another one (section 7.2.3.4).
                Status::StreamEnd => {
                    self.state.reset(false);
                    if input.is_empty() {
                        return Ok(true);
                    }
                }
                _ if input.is_empty() && written < piece.len() => return Ok(false),
                _ if read == 0 && written == 0 => return Err(NOT_DEFLATE),
                _ => {}
            }
        }
    }
}
