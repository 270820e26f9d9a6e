//! `http`: HTTP/1.1 that greets and echoes, for load generators and everything else that speaks it.
//!
//! | request | answer |
//! |--|--|
//! | `GET /path`, `HEAD /path` | 200, `Hello, you've requested: /path` |
//! | `POST`, `PUT` | 200, the body back, with its `Content-Type` (`application/octet-stream` if it had none) |
//! | other methods of RFC 9110, and `PATCH` | 405 |
//! | other methods | 501 |
//!
//! Connections are kept (RFC 9112, section 9.3), and requests may be sent without waiting for the
//! answers (9.3.2). A body is streamed: what has come of it goes back at once, so that one of any
//! size takes no more memory than one read; a client that sends a body larger than the sockets
//! between hold has to read while it sends. One with a `Content-Length` is answered with a
//! `Content-Length`, one in chunks in the same chunks. The answer starts when the body does, so
//! that a request whose body never comes can still be answered 408.
//!
//! Refused, and the connection closed, as the next request's start would be anyone's guess: 400,
//! 408, 413, 414, 417, 431, 501 (a transfer coding other than chunked) and 505. What request
//! smuggling is made of is refused (RFC 9112, section 11.2): `Content-Length` beside
//! `Transfer-Encoding`, either of them twice, a number that is not all digits, chunks that are not
//! exactly as section 7.1 has them, folded header lines. An error behind the start of an answer
//! ends the connection without the answer's end, which is how a client can tell.

mod body;
pub(super) mod head;
pub(super) mod request;
pub(super) mod response;

use std::net::SocketAddr;

use self::{
    body::{Body, Step, chunk_size},
    head::{Head, Problem},
    request::{Asks, Framing, Persistence, Request},
    response::Reply,
};
use super::{
    Ending, Next, Output, PerConnection, Protocol, Received,
    identity::Tag,
    offer::{Offer, TAG},
};
use crate::{Peer, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "http",
    about: "GET is greeted, POST and PUT get their body back (HTTP/1.1)",
    keys: &[("max", "the longest body; default --max-frame"), TAG],
    make: |terms| {
        let body = terms.max.unwrap_or(terms.max_frame);
        let limits = HttpLimits { body, ..HttpLimits::default() };
        Ok(Box::new(Http::new(limits, terms.tag())))
    },
};

/// Greets and echoes over HTTP/1.1.
///
/// Of an open connection 40 bytes are kept, and no buffer: a head that is not whole stays where it
/// was received.
#[derive(Debug)]
pub struct Http {
    limits: HttpLimits,
    tag: Option<Tag>,
    places: PerConnection<Place>,
}

/// How large a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request's head: its first line and its header fields. Default 16 KiB. More is
    /// refused with 414 or 431; so are more than 100 fields.
    pub head: usize,
    /// Bytes of a request's body, all its chunks together. Default 16 MiB. More is refused with
    /// 413.
    pub body: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { head: 16 << 10, body: 16 << 20 }
    }
}

/// Where in a request the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a request, or in its head.
    Head,
    /// Behind a whole head that is still kept, because the answer starts with the body. If it asked
    /// for `100 Continue`, that has been sent.
    Announced,
    /// In a body whose answer has started.
    Body {
        body: Body,
        /// Whether it is the answer, or read past.
        echo: bool,
        close: bool,
    },
}

/// What a look at the input came to.
enum Turn {
    /// This many bytes are done with; look again.
    On(usize),
    /// This many bytes are done with, and with them a request.
    Done {
        length: usize,
        close: bool,
    },
    /// It takes more bytes.
    More,
    Refused(Problem),
}

impl Default for Http {
    fn default() -> Self {
        Self::new(HttpLimits::default(), None)
    }
}

impl Http {
    /// HTTP within these limits. A tag goes into every answer, as `X-Served-By`.
    #[must_use]
    pub const fn new(limits: HttpLimits, tag: Option<Tag>) -> Self {
        Self { limits, tag, places: PerConnection::new() }
    }

    fn tag(&self, connection: Token) -> &str {
        self.tag.as_ref().map_or("", |tag| tag.text(connection))
    }

    /// Answers what `input` holds from `place` on.
    fn look(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        mut seen: usize,
        out: &mut Output,
    ) -> Received {
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            if rest.is_empty() {
                break match place {
                    Place::Head => Next::Idle,
                    _ => Next::Rest { need: 0 },
                };
            }
            if out.is_full() {
                break Next::Full;
            }
            let answering = matches!(place, Place::Body { .. });
            match self.turn(connection, place, rest, seen, out) {
                Turn::On(length) => consumed += length,
                Turn::Done { length, close } => {
                    (consumed, frames) = (consumed + length, frames + 1);
                    if close {
                        break Next::Finish;
                    }
                }
                Turn::More => break Next::Rest { need: 0 },
                Turn::Refused(problem) => {
                    if !answering {
                        response::refuse(&problem, "", self.tag(connection), out.as_mut_vec());
                    }
                    break Next::Refuse(problem.refusal);
                }
            }
            seen = 0;
        };
        Received { consumed, echo: false, frames, next }
    }

    /// Takes one step from `place` into `input`, which is not empty.
    fn turn(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Turn {
        if let Place::Body { body, echo, close } = place {
            let framing = echo.then_some(out.as_mut_vec());
            return match body.step(input, framing) {
                Ok(Step::Read { length, data, last }) => {
                    if *echo && data {
                        out.extend(&input[..length]);
                    }
                    if !last {
                        return Turn::On(length);
                    }
                    let close = *close;
                    *place = Place::Head;
                    Turn::Done { length, close }
                }
                Ok(Step::More) => Turn::More,
                Err(problem) => Turn::Refused(problem),
            };
        }
        let blank = blank_lines(input);
        if blank > 0 {
            return Turn::On(blank);
        }
        if input == b"\r" {
            return Turn::More;
        }
        // In a whole head there is nothing new to look for, but it has to be read again.
        let seen = if *place == Place::Head { seen } else { 0 };
        let limits = self.limits;
        match head::read(input, seen, limits.head, |parsed, length| {
            Request::read(parsed, length, limits.body)
        }) {
            Head::Partial => Turn::More,
            Head::Refused(problem) | Head::Whole(Err(problem)) => Turn::Refused(problem),
            Head::Whole(Ok(request)) => {
                let body = &input[request.head..];
                self.answer(connection, place, &request, body, out).unwrap_or_else(Turn::Refused)
            }
        }
    }

    /// Answers `request`, or starts to; `body` is what has come behind its head.
    fn answer(
        &self,
        connection: Token,
        place: &mut Place,
        request: &Request<'_>,
        body: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Problem> {
        if request.expects_continue && *place == Place::Head {
            out.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let (tag, persistence) = (self.tag(connection), request.persistence);
        match request.asks {
            Asks::Hello { path, head_only } => {
                response::hello(path, head_only, persistence, tag, out.as_mut_vec());
            }
            Asks::NotAllowed => {
                response::method("405 Method Not Allowed", persistence, tag, out.as_mut_vec());
            }
            Asks::NotImplemented => {
                response::method("501 Not Implemented", persistence, tag, out.as_mut_vec());
            }
            Asks::Echo { content_type } => {
                let started = match request.framing {
                    Framing::Length(length) => length == 0 || !body.is_empty(),
                    Framing::Chunked => match chunk_size(body)? {
                        Some((_, size)) if size > self.limits.body => {
                            return Err(request::too_large(size, self.limits.body));
                        }
                        first => first.is_some(),
                    },
                };
                if !started {
                    *place = Place::Announced;
                    return Ok(Turn::More);
                }
                let reply = Reply {
                    status: "200 OK",
                    content_type: content_type.unwrap_or(b"application/octet-stream"),
                    length: match request.framing {
                        Framing::Length(length) => Some(length),
                        Framing::Chunked => None,
                    },
                    persistence,
                    fields: "",
                    tag,
                };
                reply.write(out.as_mut_vec());
            }
        }
        let (length, close) = (request.head, persistence == Persistence::Close);
        if request.framing == Framing::Length(0) {
            *place = Place::Head;
            return Ok(Turn::Done { length, close });
        }
        *place = Place::Body {
            body: Body::new(request.framing, self.limits.body),
            echo: matches!(request.asks, Asks::Echo { .. }),
            close,
        };
        Ok(Turn::On(length))
    }
}

impl Protocol for Http {
    fn arrived(&mut self, _: Token, local: SocketAddr) {
        if let Some(tag) = &mut self.tag {
            tag.arrived(local);
        }
    }

    fn opened(&mut self, connection: Token, peer: &Peer, _: &mut Output) {
        if let Some(tag) = &mut self.tag {
            tag.opened(connection, peer);
        }
        self.places.insert(connection, Place::Head);
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut place = self.places.get(connection).copied().unwrap_or(Place::Head);
        let received = in_place(&mut place, input)
            .unwrap_or_else(|| self.look(connection, &mut place, input, seen, out));
        match self.places.get_mut(connection) {
            Some(kept) => *kept = place,
            None => {
                self.places.insert(connection, place);
            }
        }
        received
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        let answering = matches!(self.places.get(connection), Some(Place::Body { .. }));
        if cause == Ending::Unfinished && !answering {
            response::timeout(self.tag(connection), out.as_mut_vec());
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        if let Some(tag) = &mut self.tag {
            tag.closed(connection);
        }
        self.places.remove(connection);
    }
}

/// Echoes input that is nothing but a part of a body from where it lies.
fn in_place(place: &mut Place, input: &[u8]) -> Option<Received> {
    let Place::Body { body, echo: true, close } = place else {
        return None;
    };
    if body.data(input) < input.len() {
        return None;
    }
    let ends = matches!(body.step(input, None), Ok(Step::Read { last: true, .. }));
    let next = match (ends, *close) {
        (false, _) => Next::Rest { need: 0 },
        (true, false) => Next::Idle,
        (true, true) => Next::Finish,
    };
    if ends {
        *place = Place::Head;
    }
    Some(Received { consumed: input.len(), echo: true, frames: u64::from(ends), next })
}

/// How many bytes of empty lines `input` starts with (RFC 9112, section 2.2).
fn blank_lines(input: &[u8]) -> usize {
    let mut rest = input;
    while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        rest = behind;
    }
    input.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn an_open_connection_costs_forty_bytes() {
        // Its generation, and what alignment adds to that.
        let generation = size_of::<u64>();
        assert_eq!(generation + size_of::<Option<Place>>(), 40);
    }
}
