//! `ws`: WebSocket (RFC 6455) that echoes what it gets, for browsers and libraries.
//!
//! **Frame by frame.** Each data frame goes back when it is whole, with its own opcode and FIN bit.
//! Who puts frames together, as browsers and libraries do, gets the messages that it sent; who
//! looks at frames gets the fragments that it chose; and the server never holds more of a
//! fragmented message than the fragment that is coming in. A ping between two fragments is answered
//! between them (section 5.4).
//!
//! **Checked as it comes.** Text is checked for UTF-8 (section 8.1) up to the last byte received,
//! inside a frame that is not whole as well, and refused at the first byte that cannot be right. Of
//! a message that turns out to be wrong in its third fragment, the first two have gone back,
//! without their end; to a client, such a message has never arrived.
//!
//! | what a client does | answer |
//! |--|--|
//! | close (5.5.1) | the same code back, then the connection is closed by the server, as 7.1.1 wants it |
//! | no mask, a reserved bit or opcode, a wrong control frame, a fragment out of order, a length that is not minimal or over 63 bits, a close code that must not be sent (7.4) | 1002 |
//! | text, or a close reason, that is not UTF-8 | 1007 |
//! | a message over the limit | 1009, when its length is announced |
//! | nothing for the idle timeout; or the server stops | 1001 |
//! | a message that does not become whole within the frame timeout | 1008 |
//!
//! 1003 is for endpoints that understand only some types of data, and is never sent. No extension
//! is agreed on, `permessage-deflate` neither: compressing an echo would measure the compressor,
//! and its window costs each connection memory. Of the subprotocols that a client offers the first
//! is agreed on, as an echo speaks them all, and browsers give up where they offered some and got
//! none. The `Origin` is not looked at: there is nothing here to protect from another site's
//! scripts.
//!
//! Why this is not a library: `docs/websocket.md`.

mod frame;
mod handshake;
mod utf8;

use std::{net::SocketAddr, time::SystemTime};

use self::{
    frame::{Head, Opcode},
    utf8::Utf8,
};
use super::{
    Ending, Next, Output, PerConnection, Protocol, Received, Refusal,
    http::{Clock, Common, response},
    identity::Tag,
    offer::{BANNER, Offer, TAG},
};
use crate::{Peer, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "ws",
    about: "each WebSocket message comes back, fragment by fragment (RFC 6455)",
    keys: &[
        ("max", "the longest message, all its fragments together; default --max-frame"),
        BANNER,
        TAG,
    ],
    make: |terms| {
        let banner = terms.banner.clone().map(Tag::new);
        let common = Common::new(terms.clock, terms.tag(), false);
        Ok(Box::new(WebSocket { common, banner, ..WebSocket::new(terms.max_in_memory()?) }))
    },
};

/// Echoes over WebSocket.
///
/// Of an open connection 20 bytes are kept, and no buffer: a frame that is not whole stays where it
/// was received.
#[derive(Debug)]
pub struct WebSocket {
    max_message: u32,
    common: Common,
    banner: Option<Tag>,
    places: PerConnection<Place>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Handshake,
    Open(Message),
}

/// The message that is coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Message {
    kind: Kind,
    /// What its text is like so far.
    utf8: Utf8,
    /// Bytes of payload in its whole frames.
    length: u32,
    /// Bytes of payload of the frame that is not whole yet which `utf8` covers already.
    checked: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// None has begun, or nothing of it but a part of its first frame.
    #[default]
    None,
    Text,
    Binary,
}

/// Why a connection fails (section 7.1.7).
struct Failure {
    code: u16,
    refusal: Refusal,
}

/// What became of the bytes at the start of the input.
enum Turn {
    /// This many are done with; look again.
    On(usize),
    /// This many are done with, and with them a message.
    Message(usize),
    /// The client has closed, with this many bytes.
    Closed(usize),
    /// It takes more, this many in all if that is known.
    More { need: usize },
}

impl Failure {
    const fn protocol(what: &'static str) -> Self {
        Self { code: 1002, refusal: Refusal::Malformed(what) }
    }

    const fn not_utf8(what: &'static str) -> Self {
        Self { code: 1007, refusal: Refusal::Malformed(what) }
    }
}

impl Default for WebSocket {
    /// Messages of up to 16 MiB.
    fn default() -> Self {
        Self::new(16 << 20)
    }
}

impl WebSocket {
    /// An echo of messages of up to `max_message` bytes of payload, all their frames together.
    #[must_use]
    pub const fn new(max_message: u32) -> Self {
        // Pages of any origin may open a WebSocket: CORS does not apply to it.
        let common = Common::new(SystemTime::now, None, false);
        Self { max_message, common, banner: None, places: PerConnection::new() }
    }

    /// Says in the handshake's answer what answered, as `X-Served-By`.
    #[must_use]
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.common.tag = Some(tag);
        self
    }

    /// Takes the `Date` of its refusals from `clock` instead of the system's.
    #[must_use]
    pub const fn clocked(mut self, clock: Clock) -> Self {
        self.common.set_clock(clock);
        self
    }

    /// Sends a text message first.
    #[must_use]
    pub fn greeting(mut self, banner: Tag) -> Self {
        self.banner = Some(banner);
        self
    }

    /// Answers the handshake at the start of `input`; `Ok(None)` if it is not whole.
    fn shake_hands(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Result<Option<usize>, Refusal> {
        let accepted = match handshake::read(input, seen) {
            Ok(None) => return Ok(None),
            Ok(Some(accepted)) => accepted,
            Err(rejected) => {
                let always = self.common.to(connection);
                response::refuse(&rejected.problem, rejected.fields, always, out.as_mut_vec());
                return Err(rejected.problem.refusal);
            }
        };
        accepted.write(self.common.to(connection), out.as_mut_vec());
        if let Some(banner) = &mut self.banner {
            let text = banner.text(connection);
            frame::write_head(true, Opcode::Text, text.len(), out.as_mut_vec());
            out.extend(text.as_bytes());
            banner.closed(connection);
        }
        Ok(Some(accepted.head))
    }

    /// Takes the frame at the start of `input`.
    fn turn(&self, message: &mut Message, input: &[u8], out: &mut Output) -> Result<Turn, Failure> {
        let in_message = message.kind != Kind::None;
        let Some(head) = frame::head(input, in_message).map_err(Failure::protocol)? else {
            return Ok(Turn::More { need: 0 });
        };
        if !head.opcode.is_control() {
            return self.data(message, &head, input, out);
        }
        let whole = head.whole();
        let Some(masked) = input.get(head.length..whole) else {
            return Ok(Turn::More { need: whole });
        };
        match head.opcode {
            Opcode::Ping => {
                frame::write_head(true, Opcode::Pong, masked.len(), out.as_mut_vec());
                frame::unmask(masked, head.mask, out.as_mut_vec());
            }
            Opcode::Close => {
                let mut payload = [0; 125];
                let payload = &mut payload[..masked.len()];
                payload.copy_from_slice(masked);
                frame::apply(head.mask, payload);
                let code = close_code(payload)?;
                frame::write_head(true, Opcode::Close, code.len(), out.as_mut_vec());
                out.extend(code);
                return Ok(Turn::Closed(whole));
            }
            _ => {}
        }
        Ok(Turn::On(whole))
    }

    /// Takes a data frame.
    fn data(
        &self,
        message: &mut Message,
        head: &Head,
        input: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Failure> {
        let length = u64::from(message.length) + head.payload;
        let total = u32::try_from(length).unwrap_or(u32::MAX);
        if length > self.max_message.into() {
            return Err(Failure {
                code: 1009,
                refusal: Refusal::TooLong {
                    length,
                    limit: self.max_message.into(),
                    looks_like: None,
                },
            });
        }
        let text = head.opcode == Opcode::Text || message.kind == Kind::Text;
        let not_utf8 = || Failure::not_utf8("text that is not UTF-8");
        let whole = head.whole();
        let checked = message.checked as usize;
        let Some(masked) = input.get(head.length..whole) else {
            if !text {
                return Ok(Turn::More { need: whole });
            }
            let unchecked = &input[head.length + checked..];
            if !check(&mut message.utf8, unchecked, head.mask, checked) {
                return Err(not_utf8());
            }
            // Less than the frame's payload, which the limit keeps to 32 bits.
            message.checked = u32::try_from(checked + unchecked.len()).unwrap_or(u32::MAX);
            return Ok(Turn::More { need: 0 });
        };
        let before = out.bytes().len();
        frame::write_head(head.fin, head.opcode, masked.len(), out.as_mut_vec());
        let mut unchecked = out.bytes().len() + checked;
        out.as_mut_vec().reserve(masked.len());
        // In pieces, each checked while it is in the nearest cache still.
        for piece in masked.chunks(frame::PIECE) {
            frame::unmask(piece, head.mask, out.as_mut_vec());
            let fresh = out.bytes().get(unchecked..).unwrap_or_default();
            unchecked += fresh.len();
            if text && !message.utf8.push(fresh) {
                out.as_mut_vec().truncate(before);
                return Err(not_utf8());
            }
        }
        if text && head.fin && !message.utf8.is_complete() {
            out.as_mut_vec().truncate(before);
            return Err(not_utf8());
        }
        if head.fin {
            *message = Message::default();
            return Ok(Turn::Message(whole));
        }
        message.kind = if text { Kind::Text } else { Kind::Binary };
        (message.length, message.checked) = (total, 0);
        Ok(Turn::On(whole))
    }

    /// Answers the frames in `input`.
    fn frames(&self, message: &mut Message, input: &[u8], out: &mut Output) -> Received {
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            if rest.is_empty() {
                break match message.kind {
                    Kind::None => Next::Idle,
                    _ => Next::Rest { need: 0 },
                };
            }
            if out.is_full() {
                break Next::Full;
            }
            match self.turn(message, rest, out) {
                Ok(Turn::On(length)) => consumed += length,
                Ok(Turn::Message(length)) => (consumed, frames) = (consumed + length, frames + 1),
                Ok(Turn::Closed(length)) => {
                    consumed += length;
                    break Next::Finish;
                }
                Ok(Turn::More { need }) => break Next::Rest { need },
                Err(failure) => {
                    close(failure.code, &failure.refusal.to_string(), out);
                    break Next::Refuse(failure.refusal);
                }
            }
        };
        answer(consumed, frames, next)
    }
}

impl Protocol for WebSocket {
    fn arrived(&mut self, _: Token, local: SocketAddr) {
        self.common.arrived(local);
        self.banner.iter_mut().for_each(|banner| banner.arrived(local));
    }

    fn opened(&mut self, connection: Token, peer: &Peer, _: &mut Output) {
        self.common.opened(connection, peer);
        self.banner.iter_mut().for_each(|banner| banner.opened(connection, peer));
        self.places.insert(connection, Place::Handshake);
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let place = self.places.get(connection).copied();
        let (mut message, head) = match place.unwrap_or(Place::Handshake) {
            Place::Open(message) => (message, 0),
            Place::Handshake => match self.shake_hands(connection, input, seen, out) {
                Ok(Some(head)) => (Message::default(), head),
                Ok(None) => return answer(0, 0, Next::Rest { need: 0 }),
                Err(refusal) => return answer(0, 0, Next::Refuse(refusal)),
            },
        };
        let mut received = self.frames(&mut message, &input[head..], out);
        received.consumed += head;
        self.places.insert(connection, Place::Open(message));
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        match (self.places.get(connection), cause) {
            (Some(Place::Open(_)), Ending::Idle) => {
                close(1001, "nothing for the idle timeout", out);
            }
            (Some(Place::Open(_)), Ending::Stopping) => close(1001, "the server is stopping", out),
            (Some(Place::Open(_)), Ending::Unfinished) => {
                close(1008, "the message did not become whole in time", out);
            }
            (_, Ending::Unfinished) => {
                response::timeout(self.common.to(connection), out.as_mut_vec())
            }
            _ => {}
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.common.closed(connection);
        self.banner.iter_mut().for_each(|banner| banner.closed(connection));
        self.places.remove(connection);
    }
}

/// An answer that is all in the output.
const fn answer(consumed: usize, frames: u64, next: Next) -> Received {
    Received { consumed, echo: false, frames, next }
}

/// Checks more of a masked text, which starts `offset` bytes into its frame's payload.
fn check(utf8: &mut Utf8, masked: &[u8], mut mask: [u8; 4], offset: usize) -> bool {
    mask.rotate_left(offset % 4);
    let mut piece = [0; 1024];
    masked.chunks(piece.len()).all(|masked| {
        let piece = &mut piece[..masked.len()];
        piece.copy_from_slice(masked);
        frame::apply(mask, piece);
        utf8.push(piece)
    })
}

/// The code in a close frame's payload as it goes back: two bytes, or none where there is none
/// (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<&[u8], Failure> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(payload),
            _ => Err(Failure::protocol("half a close code")),
        };
    };
    // Those of section 7.4.1 and, since then, of the registry that section 11.7 sets up; but not
    // those that stand for what no close frame has said (1005, 1006, 1015). 3000 to 4999 are for
    // libraries and for everyone (7.4.2).
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Failure::protocol("a close code that must not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Failure::not_utf8("a close reason that is not UTF-8"));
    }
    Ok(code)
}

/// Appends a close frame. What it says fits: everything here that is said in one is short.
fn close(code: u16, reason: &str, out: &mut Output) {
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    frame::write_head(true, Opcode::Close, 2 + reason.len(), out.as_mut_vec());
    out.extend(&code.to_be_bytes());
    out.extend(reason);
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn an_open_connection_costs_twenty_bytes() {
        let generation = size_of::<u32>();
        assert_eq!(generation + size_of::<Option<Place>>(), 20);
    }
}
