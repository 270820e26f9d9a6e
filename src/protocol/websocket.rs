//! `ws`: WebSocket (RFC 6455) that echoes what it gets, for browsers and libraries.
//!
//! **Message by message, frame by frame.** A message goes back when all of it has come, in the frames that it came in. So
//! a client that sends a whole message before it reads gets its answer, and one that looks at frames gets the fragments
//! that it chose. Until then a message stays in the connection's input, which counts as memory. A ping between two
//! fragments is answered at once (section 5.4).
//!
//! **Checked as it comes.** Text is checked for UTF-8 (section 8.1) up to the last byte received, also inside a frame that
//! is not whole, and refused at the first byte that cannot be right.
//!
//! | what a client does | answer |
//! |--|--|
//! | close (5.5.1) | the same code back, then the server closes the connection, as 7.1.1 demands |
//! | no mask, a reserved bit or opcode, a wrong control frame, a fragment out of order, a length that is not minimal or over 63 bits, a close code that must not be sent (7.4) | 1002 |
//! | text, or a close reason, that is not UTF-8 | 1007 |
//! | a message over the limit | 1009, when its length is announced |
//! | a fragmented message whose frames take up more than twice the limit and 64 KiB, pings between them included | 1009 |
//! | nothing for the idle timeout; or the server stops | 1001 |
//! | a message that does not become whole within the frame timeout | 1008 |
//! | holds more than any other connection when the memory limit is reached | 1013 |
//!
//! 1013 (try again later) is in the IANA registry that section 11.7 sets up. 1009 would tell the client that the message
//! itself is too long, and not to send it again.
//!
//! 1003 is for endpoints that understand only some types of data, and is never sent. Compression (RFC 7692) is agreed on
//! if the listener has it ([`WebSocket::deflate`], feature `deflate`): a compressed message goes back in the bytes in which
//! it came, after a check that inflates it. No other extension is negotiated. Of the subprotocols that a client offers, the first is accepted: an echo speaks them all, and browsers give up if they
//! offered some and got none. The `Origin` is not checked: there is nothing here to protect from another site's scripts.
//!
//! Why this is not a library: `docs/websocket.md`.

#[cfg(feature = "deflate")]
mod deflate;
mod failure;
mod frame;
mod handshake;
mod message;
#[cfg(not(feature = "deflate"))]
mod uncompressed;
mod utf8;

use std::time::SystemTime;

pub use self::{frame::apply as mask, handshake::accept};

#[cfg(feature = "deflate")]
use self::deflate::{Agreed, Deflate};
#[cfg(not(feature = "deflate"))]
use self::uncompressed::{Agreed, Deflate};
use self::{
    frame::Opcode,
    message::{Compression, Message, Rules, Turn, send_back},
};
use super::{
    Ending, Next, Output, PerConnection, Protocol, Received, Refusal,
    description::{Reader, put_text},
    fault::Units,
    http::{Clock, Common, response},
    identity::Tag,
    key::{BANNER, REPLY, TAG},
    offer::Offer,
};
use crate::{Ends, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "ws",
    about: "each whole WebSocket message comes back in its fragments (RFC 6455)",
    keys: &[
        ("max", "the longest message, all its fragments together; default --max-frame"),
        #[cfg(feature = "deflate")]
        deflate::KEY,
        BANNER,
        REPLY,
        TAG,
    ],
    units: |_| Ok(Units::WebSocket),
    make: |terms| {
        let (banner, reply) = (terms.banner.clone().map(Tag::new), terms.reply());
        let common = Common::new(terms.clock, terms.tag(), false);
        let (deflate, web_socket) =
            (Deflate::asked(terms)?, WebSocket::new(terms.max_in_memory()?));
        Ok(Box::new(WebSocket { common, banner, reply, deflate, ..web_socket }))
    },
};

/// Echoes over WebSocket.
///
/// It keeps 24 bytes for each open connection, and no buffer: a message that is not whole stays in the connection's
/// input.
#[derive(Debug)]
pub struct WebSocket {
    max_message: u32,
    common: Common,
    banner: Option<Tag>,
    reply: Option<Tag>,
    deflate: Option<Deflate>,
    places: PerConnection<Place>,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Handshake,
    Open(Message),
    /// The input starts with this many bytes of frames of a whole message, which go back.
    Answering(u32, Compression),
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
        let places = PerConnection::new();
        Self { max_message, common, banner: None, reply: None, deflate: None, places }
    }

    /// Agrees to `permessage-deflate` (RFC 7692) with clients that offer it. What a message inflates to counts against the
    /// limit while it inflates. With `context_takeover` a message may refer to earlier ones; that costs 48 KiB for each such
    /// connection, which count as memory of the connection, and it cannot be handed over. Default: not agreed to.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, context_takeover: bool) -> Self {
        self.deflate = Some(Deflate::new(context_takeover));
        self
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

    /// Sends a text message for each message in place of its echo.
    #[must_use]
    pub fn replying(mut self, reply: Tag) -> Self {
        self.reply = Some(reply);
        self
    }

    /// Answers the handshake at the start of `input`; `Ok(None)` if it is not whole.
    fn shake_hands(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Result<Option<(usize, Compression)>, Refusal> {
        let accepted = handshake::read(input, seen).and_then(|accepted| {
            let Some(accepted) = accepted else { return Ok(None) };
            let agreed = match &self.deflate {
                None => None,
                Some(deflate) => deflate.agree(&accepted.extensions)?,
            };
            Ok(Some((accepted, agreed)))
        });
        let (accepted, agreed) = match accepted {
            Ok(None) => return Ok(None),
            Ok(Some(accepted)) => accepted,
            Err(rejected) => {
                let always = self.common.to(connection);
                response::refuse(&rejected.problem, rejected.fields, always, out.as_mut_vec());
                return Err(rejected.problem.refusal);
            }
        };
        accepted.write(agreed.as_ref(), self.common.to(connection), out.as_mut_vec());
        if let Some(banner) = &mut self.banner {
            text_message(banner.text(connection), out.as_mut_vec());
            banner.closed(connection);
        }
        let mut compression = Compression::None;
        if let (Some(deflate), Some(agreed)) = (&mut self.deflate, &agreed) {
            deflate.opened(connection, agreed, out);
            compression = Compression::Possible;
        }
        Ok(Some((accepted.head, compression)))
    }

    /// Answers the frames in `input`.
    fn frames(
        &mut self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        out: &mut Output,
    ) -> Received {
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            if rest.is_empty() {
                break Next::Idle;
            }
            if out.is_full() {
                break Next::Full;
            }
            let message = match place {
                Place::Open(message) => message,
                Place::Answering(left, compression) => {
                    let length = send_back(rest, out);
                    consumed += length;
                    *left = left.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
                    if *left == 0 {
                        *place = Place::Open(Message::none(*compression));
                        frames += 1;
                    }
                    continue;
                }
                Place::Handshake => break Next::Handshake { need: 0 },
            };
            let before = out.bytes().len();
            let (max, deflate) = (self.max_message, self.deflate.as_mut());
            match message.turn(Rules { connection, max, deflate }, rest, out) {
                Ok(Turn::Control(length)) => consumed += length,
                Ok(Turn::Message(length)) => {
                    if let Some(reply) = &self.reply {
                        out.as_mut_vec().truncate(before);
                        text_message(reply.text(connection), out.as_mut_vec());
                    }
                    (consumed, frames) = (consumed + length, frames + 1);
                }
                Ok(Turn::Held) => {}
                Ok(Turn::Whole) => match &self.reply {
                    None => *place = Place::Answering(message.held, message.next().compression),
                    Some(reply) => {
                        text_message(reply.text(connection), out.as_mut_vec());
                        (consumed, frames) = (consumed + message.held as usize, frames + 1);
                        *message = message.next();
                    }
                },
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
        Received::answered(consumed, frames, next)
    }
}

impl Protocol for WebSocket {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.common.opened(connection, ends);
        self.banner.iter_mut().chain(&mut self.reply).for_each(|tag| tag.opened(connection, ends));
        Ok(())
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut place = self.places.get(connection).copied().unwrap_or(Place::Handshake);
        let mut head = 0;
        if place == Place::Handshake {
            head = match self.shake_hands(connection, input, seen, out) {
                Ok(Some((head, compression))) => {
                    place = Place::Open(Message::none(compression));
                    head
                }
                Ok(None) => {
                    self.places.insert(connection, place);
                    return Received::answered(0, 0, Next::Handshake { need: 0 });
                }
                Err(refusal) => return Received::answered(0, 0, Next::Refuse(refusal)),
            };
        }
        let mut received = self.frames(connection, &mut place, &input[head..], out);
        received.consumed += head;
        self.places.insert(connection, place);
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        let always = self.common.to(connection);
        match (self.places.get(connection), cause) {
            // Nothing has come, so there is nothing to answer.
            (None, _) => {}
            (Some(Place::Handshake), Ending::Unfinished) => {
                response::timeout(always, out.as_mut_vec());
            }
            (Some(Place::Handshake), Ending::Memory) => {
                response::out_of_memory(always, out.as_mut_vec());
            }
            (Some(Place::Handshake), Ending::Idle | Ending::Stopping) => {}
            (_, Ending::Idle) => close(1001, "nothing for the idle timeout", out),
            (_, Ending::Stopping) => close(1001, "the server is stopping", out),
            (_, Ending::Unfinished) => close(1008, "the message did not become whole in time", out),
            (_, Ending::Memory) => {
                close(1013, "the server is at its memory limit; try again later", out);
            }
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.common.closed(connection);
        self.banner.iter_mut().chain(&mut self.reply).for_each(|tag| tag.closed(connection));
        self.deflate.iter_mut().for_each(|deflate| deflate.closed(connection));
        self.places.remove(connection);
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }

    /// Between two messages, and in the first frame of one. A message of which whole frames are held cannot be described:
    /// pings between them have been answered, and its text has been checked up to somewhere.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        // The text of its replies is not in the description, and neither is a window of earlier messages: the connection
        // stays where it is.
        let keeps_state = |deflate: &Deflate| deflate.keeps_state_of(connection);
        if self.reply.is_some() || self.deflate.as_ref().is_some_and(keeps_state) {
            return None;
        }
        let mut state = Vec::new();
        state.push(match self.places.get(connection) {
            None => 0,
            Some(Place::Handshake) => 1,
            Some(Place::Open(message)) if message.held == 0 => match message.compression {
                Compression::None => 2,
                Compression::Possible | Compression::Used => 3,
            },
            Some(Place::Open(_) | Place::Answering(..)) => return None,
        });
        put_text(self.common.describe(connection), &mut state);
        let banner = self.banner.as_ref().map_or("", |banner| banner.describe(connection));
        put_text(banner, &mut state);
        Some(state)
    }

    fn restore(&mut self, connection: Token, _: &Ends, state: &[u8]) -> bool {
        let mut state = Reader(state);
        let place = match state.byte() {
            Some(0) => None,
            Some(1) => Some(Place::Handshake),
            // The text of a frame that is not whole is checked again from its start.
            Some(2) => Some(Place::Open(Message::none(Compression::None))),
            Some(3) if self.deflate.is_some() => {
                Some(Place::Open(Message::none(Compression::Possible)))
            }
            _ => return false,
        };
        let (Some(tag_text), Some(banner_text)) = (state.text(), state.text()) else {
            return false;
        };
        self.common.restore(connection, tag_text);
        if !matches!(place, Some(Place::Open(_))) {
            self.banner.iter_mut().for_each(|banner| banner.restore(connection, banner_text));
        }
        place.into_iter().for_each(|place| {
            self.places.insert(connection, place);
        });
        state.end(()).is_some()
    }
}

/// Appends a text message in one frame, as a server sends it.
pub fn text_message(text: &str, out: &mut Vec<u8>) {
    frame::write_head(true, Opcode::Text, text.len(), out);
    out.extend(text.bytes());
}

/// Appends a close frame. A reason that does not fit is cut; all of those here are short.
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
    fn an_open_connection_costs_24_bytes() {
        let generation = size_of::<u32>();
        assert_eq!(generation + size_of::<Option<Place>>(), 24);
    }
}
