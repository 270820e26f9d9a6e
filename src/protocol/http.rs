//! `http`: HTTP/1.1 that greets and echoes, for load generators, browsers and every other client.
//!
//! | request | answer |
//! |--|--|
//! | `GET /path`, `HEAD /path` | 200, `Hello, you've requested: /path` |
//! | any method but `HEAD`, `CONNECT` and `TRACE`, with a body | 200, the body back, with its `Content-Type` (`application/octet-stream` if it had none) |
//! | `POST`, `PUT`, `PATCH`, `DELETE` without a body | 200, an empty body |
//! | `OPTIONS` | 200, `Allow`, and the fields of a CORS preflight |
//! | `CONNECT`, `TRACE` | 405 |
//! | other methods | 501 |
//!
//! Connections are kept (RFC 9112, section 9.3), and requests may be pipelined (9.3.2).
//!
//! **A body is answered when all of it has come** ([`Bodies::Whole`]), with a `Content-Length`. RFC 9112 allows a server
//! to answer earlier, but most clients send their whole body before they read, and reverse proxies written in Go cut the
//! answer off (golang/go#15527). Until then the body stays in the connection's input, which counts as memory, and a
//! large one goes back from there without being copied. With [`Bodies::Streamed`] each part goes back as it comes, in
//! the same chunks if it came in chunks: a body of any size then takes no more memory than one read, and a client
//! that sends more than the sockets hold has to read while it sends.
//!
//! **Pages of any origin may use it** (CORS): every answer allows that, unless [`Http::same_origin`] turns it off.
//!
//! These are refused, and the connection is closed, because the start of the next request is unknown: 400, 408, 413,
//! 414, 417, 431, 501 (a transfer coding other than chunked) and 505. Everything that request smuggling relies on is
//! refused (RFC 9112, section 11.2): `Content-Length` beside `Transfer-Encoding`, either of them twice, a number that is
//! not all digits, chunks and trailer fields that are not exactly as section 7.1 has them, folded header lines. An error
//! behind the start of a streamed answer ends the connection without the answer's end, which tells the client.

mod body;
mod common;
mod date;
pub(super) mod head;
pub(super) mod request;
pub(super) mod response;

use std::{net::SocketAddr, time::SystemTime};

pub(super) use self::common::{Always, Common};
pub use self::date::Clock;
use self::{
    body::{Body, Step},
    head::{Head, Problem},
    request::{Asks, Framing, Persistence, Request},
    response::Reply,
};
use super::{
    Ending, Next, Output, PerConnection, Protocol, Received,
    identity::Tag,
    offer::{BadTerms, Offer, TAG, Terms},
};
use crate::{Peer, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "http",
    about: "GET is greeted, requests with a body get it back (HTTP/1.1)",
    keys: &[
        ("max", "the longest body; default --max-frame"),
        ("body", "whole (the default): answer when all of it has come; stream: as it comes"),
        ("cors", "on (the default): pages of any origin may use it; or off"),
        TAG,
    ],
    make: |terms| {
        let is_streamed = choice(terms, "body", ["whole", "stream"])? == 1;
        let is_same_origin = choice(terms, "cors", ["on", "off"])? == 1;
        let max = terms.max.unwrap_or(terms.max_frame);
        let body = if is_streamed { max } else { terms.max_in_memory()?.into() };
        let limits = HttpLimits { body, ..HttpLimits::default() };
        let mut http = Http::new(limits, terms.tag()).clocked(terms.clock);
        if is_streamed {
            http = http.streamed();
        }
        if is_same_origin {
            http = http.same_origin();
        }
        Ok(Box::new(http))
    },
};

/// Which of `values` the key has; the first one where it is absent.
fn choice(terms: &Terms, key: &str, values: [&str; 2]) -> Result<usize, BadTerms> {
    let Some((_, value)) = terms.keys.iter().rev().find(|(name, _)| name == key) else {
        return Ok(0);
    };
    let [first, second] = values;
    let index = values.iter().position(|known| known == value);
    index.ok_or_else(|| BadTerms(format!("{key}={value}: write {first} or {second}")))
}

/// Data of at least this many bytes goes back from where it lies, which takes a write of its own. Less is copied
/// behind the answer's head, and leaves with it.
const IN_PLACE: usize = 64 << 10;

/// Empty lines that are passed over before a request. RFC 9112, section 2.2, wants at least one; each of them restarts
/// the idle timeout.
const BLANK_LINES: u8 = 4;

/// Bytes that the framing of a body in chunks may take up in the input, beside as many as the longest body has.
const FRAMING: u64 = 64 << 10;

/// Greets and echoes over HTTP/1.1.
///
/// It keeps 48 bytes for each open connection, and no buffer: a head that is not whole, and a body that is not, stay
/// in the connection's input.
#[derive(Debug)]
pub struct Http {
    limits: HttpLimits,
    bodies: Bodies,
    common: Common,
    places: PerConnection<Place>,
}

/// How large a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request's head: its first line and its header fields. Default 16 KiB. More is
    /// refused with 414 or 431; so are more than 100 fields.
    pub head: usize,
    /// Bytes of a request's body, all its chunks together. Default 16 MiB. More is refused with
    /// 413. So is a body in chunks that is held until it is whole and whose framing takes up more
    /// than the limit again and 64 KiB.
    pub body: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { head: 16 << 10, body: 16 << 20 }
    }
}

/// When a body goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bodies {
    /// When all of it has come, with a `Content-Length`.
    #[default]
    Whole,
    /// Part by part, as it comes.
    Streamed,
}

/// Where in a request the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a request, behind that many empty lines; or in its head.
    Head { blank: u8 },
    /// Behind a whole head that is still in the input, because the answer waits for the body. If the client expects
    /// `100 Continue`, that has been sent.
    Waiting {
        /// The part of the body that has not been looked at.
        body: Body,
        /// How much of the input has been looked at, the head included.
        looked_at: usize,
    },
    /// In a body that is being answered.
    Body { body: Body, back: Back, close: bool },
}

impl Place {
    const START: Self = Self::Head { blank: 0 };
}

/// What of a body goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    Nothing,
    Data,
    /// The data, and the framing of its chunks.
    Chunks,
}

/// The result of one look at the input.
enum Turn {
    /// This many bytes are consumed; look again.
    On(usize),
    /// This many bytes are consumed, and a request ends with them.
    Done {
        length: usize,
        close: bool,
    },
    /// It takes more bytes: the rest of the input must become this long, if that is known, or else 0.
    More {
        need: usize,
    },
    /// What follows is echoed from where it lies, once the output has gone.
    InPlace,
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
        let common = Common::new(SystemTime::now, tag, true);
        Self { limits, bodies: Bodies::Whole, common, places: PerConnection::new() }
    }

    /// Echoes each part of a body as it comes ([`Bodies::Streamed`]).
    #[must_use]
    pub const fn streamed(mut self) -> Self {
        self.bodies = Bodies::Streamed;
        self
    }

    /// Does not allow pages of other origins to use it: no answer has the fields of CORS.
    #[must_use]
    pub const fn same_origin(mut self) -> Self {
        self.common.cors = false;
        self
    }

    /// Takes the `Date` of its answers from `clock` instead of the system's.
    #[must_use]
    pub const fn clocked(mut self, clock: Clock) -> Self {
        self.common.set_clock(clock);
        self
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
                    Place::Head { .. } => Next::Idle,
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
                Turn::More { need } => break Next::Rest { need },
                Turn::InPlace => break Next::Full,
                Turn::Refused(problem) => {
                    if !answering {
                        let always = self.common.to(connection);
                        response::refuse(&problem, "", always, out.as_mut_vec());
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
        match place {
            Place::Body { body, back, close } => {
                let turn = answer_body(body, *back, *close, input, out);
                if let Ok(Turn::Done { .. }) = turn {
                    *place = Place::START;
                }
                turn.unwrap_or_else(Turn::Refused)
            }
            Place::Head { blank } => match skip_blank_lines(input, blank) {
                Ok(0) if input == b"\r" => Turn::More { need: 0 },
                Ok(0) => self.head(connection, place, input, seen, out),
                Ok(length) => Turn::On(length),
                Err(problem) => Turn::Refused(problem),
            },
            // There is nothing new in the head, but it has to be read again.
            Place::Waiting { body, looked_at } => match self.wait(body, looked_at, input) {
                Ok(None) => self.head(connection, place, input, 0, out),
                Ok(Some(need)) => Turn::More { need },
                Err(problem) => Turn::Refused(problem),
            },
        }
    }

    /// Reads the head at the start of `input`, and answers it if that need not wait for the body.
    fn head(
        &self,
        connection: Token,
        place: &mut Place,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Turn {
        let limits = self.limits;
        match head::read(input, seen, limits.head, |parsed, length| {
            Request::read(parsed, length, limits.body)
        }) {
            Head::Partial => Turn::More { need: 0 },
            Head::Refused(problem) | Head::Whole(Err(problem)) => Turn::Refused(problem),
            Head::Whole(Ok(request)) => {
                self.request(connection, place, &request, input, out).unwrap_or_else(Turn::Refused)
            }
        }
    }

    /// Answers `request`, or starts to, if that need not wait for the body.
    fn request(
        &self,
        connection: Token,
        place: &mut Place,
        request: &Request<'_>,
        input: &[u8],
        out: &mut Output,
    ) -> Result<Turn, Problem> {
        let has_body = request.framing != Framing::Length(0);
        let body = match *place {
            Place::Waiting { body, .. } => body,
            _ => {
                if request.expects_continue {
                    out.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let (mut body, mut looked_at) = (self.body(request.framing), request.head);
                if has_body
                    && matches!(request.asks, Asks::Echo { .. })
                    && let Some(need) = self.wait(&mut body, &mut looked_at, input)?
                {
                    *place = Place::Waiting { body, looked_at };
                    return Ok(Turn::More { need });
                }
                body
            }
        };
        let (always, persistence) = (self.common.to(connection), request.persistence);
        match request.asks {
            Asks::Hello { path, head_only } => {
                response::hello(path, head_only, persistence, always, out.as_mut_vec());
            }
            Asks::Options => response::options(persistence, always, out.as_mut_vec()),
            Asks::NotAllowed => {
                response::method("405 Method Not Allowed", persistence, always, out.as_mut_vec());
            }
            Asks::NotImplemented => {
                response::method("501 Not Implemented", persistence, always, out.as_mut_vec());
            }
            Asks::Echo { content_type } => {
                let length = match (request.framing, self.bodies) {
                    (Framing::Length(length), _) => Some(length),
                    (Framing::Chunked, Bodies::Whole) => Some(body.announced(self.limits.body)),
                    (Framing::Chunked, Bodies::Streamed) => None,
                };
                let reply = Reply {
                    status: "200 OK",
                    content_type: content_type.unwrap_or(b"application/octet-stream"),
                    length,
                    persistence,
                    fields: "",
                    always,
                };
                reply.write(out.as_mut_vec());
            }
        }
        let (length, close) = (request.head, persistence == Persistence::Close);
        if !has_body {
            *place = Place::START;
            return Ok(Turn::Done { length, close });
        }
        let back = match (request.asks, self.bodies) {
            (Asks::Echo { .. }, Bodies::Whole) => Back::Data,
            (Asks::Echo { .. }, Bodies::Streamed) => Back::Chunks,
            _ => Back::Nothing,
        };
        *place = Place::Body { body: self.body(request.framing), back, close };
        Ok(Turn::On(length))
    }

    const fn body(&self, framing: Framing) -> Body {
        Body::new(framing, self.limits.body)
    }

    /// Reads on in a body that the answer waits for, at the start of `input` and behind its head. `None` if the answer
    /// can start; or else how long the input must become first, 0 if that is unknown.
    fn wait(
        &self,
        body: &mut Body,
        looked_at: &mut usize,
        input: &[u8],
    ) -> Result<Option<usize>, Problem> {
        let HttpLimits { head, body: limit } = self.limits;
        let longest = (limit.saturating_mul(2)).saturating_add(head as u64 + FRAMING);
        while let rest @ [_, ..] = &input[*looked_at..] {
            let Step::Read { length, last, .. } = body.step(rest, None)? else {
                return Ok(Some(0));
            };
            *looked_at += length;
            if last || self.bodies == Bodies::Streamed {
                return Ok(None);
            }
            if *looked_at as u64 > longest {
                return Err(request::too_large(*looked_at as u64, longest));
            }
        }
        Ok(Some(match (self.bodies, body.missing()) {
            (Bodies::Streamed, _) | (_, 0) => 0,
            (Bodies::Whole, missing) => looked_at.saturating_add(missing),
        }))
    }
}

impl Protocol for Http {
    fn arrived(&mut self, _: Token, local: SocketAddr) {
        self.common.arrived(local);
    }

    fn opened(&mut self, connection: Token, peer: &Peer, _: &mut Output) {
        self.common.opened(connection, peer);
        self.places.insert(connection, Place::START);
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut place = self.places.get(connection).copied().unwrap_or(Place::START);
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
            response::timeout(self.common.to(connection), out.as_mut_vec());
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.common.closed(connection);
        self.places.remove(connection);
    }
}

/// Takes the next part of a body that is being answered; less than [`IN_PLACE`] of it at a time, unless nothing of it
/// goes back.
fn answer_body(
    body: &mut Body,
    back: Back,
    close: bool,
    input: &[u8],
    out: &mut Output,
) -> Result<Turn, Problem> {
    if back != Back::Nothing && body.data(input) >= IN_PLACE {
        return Ok(Turn::InPlace);
    }
    let framing = (back == Back::Chunks).then_some(out.as_mut_vec());
    Ok(match body.step(input, framing)? {
        Step::Read { length, data, last } => {
            if data && back != Back::Nothing {
                out.extend(&input[..length]);
            }
            if last { Turn::Done { length, close } } else { Turn::On(length) }
        }
        Step::More => Turn::More { need: 0 },
    })
}

/// Echoes the data that `input` starts with from where it lies, if it is long or nothing follows it.
fn in_place(place: &mut Place, input: &[u8]) -> Option<Received> {
    let Place::Body { body, back: Back::Data | Back::Chunks, close } = place else {
        return None;
    };
    let data = body.data(input);
    if data < input.len().min(IN_PLACE) {
        return None;
    }
    let ends = matches!(body.step(input, None), Ok(Step::Read { last: true, .. }));
    let next = match (ends, *close) {
        (true, true) => Next::Finish,
        _ if data < input.len() => Next::Full,
        (true, false) => Next::Idle,
        (false, _) => Next::Rest { need: 0 },
    };
    if ends {
        *place = Place::START;
    }
    Some(Received { consumed: data, echo: true, frames: u64::from(ends), next })
}

/// How many bytes of empty lines `input` starts with (RFC 9112, section 2.2); `blank` counts them.
///
/// # Errors
/// More than [`BLANK_LINES`] of them.
fn skip_blank_lines(input: &[u8], blank: &mut u8) -> Result<usize, Problem> {
    let mut rest = input;
    while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        if *blank == BLANK_LINES {
            return Err(Problem::bad("more than 4 empty lines before a request"));
        }
        *blank += 1;
        rest = behind;
    }
    Ok(input.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn an_open_connection_costs_48_bytes() {
        // Its generation, and what alignment adds to that.
        let generation = size_of::<u64>();
        assert_eq!(generation + size_of::<Option<Place>>(), 48);
    }
}
