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
//! **A body is answered when all of it has come**, with a `Content-Length`. RFC 9112 allows a server to answer earlier,
//! but most clients send their whole body before they read, and reverse proxies written in Go cut the answer off
//! (golang/go#15527). Until then the body stays in the connection's input, which counts as memory, and a large one goes
//! back from there without being copied. With [`Http::streamed`] each part goes back as it comes, in the same chunks if
//! it came in chunks: a body of any size then takes no more memory than one read, and a client that sends more than the
//! sockets hold has to read while it sends.
//!
//! **Pages of any origin may use it** (CORS): every answer allows that, unless [`Http::same_origin`] turns it off.
//!
//! These are refused, and the connection is closed, because the start of the next request is unknown: 400, 408, 413,
//! 414, 417, 431, 501 (a transfer coding other than chunked), 503 (the memory limit is reached) and 505. Everything
//! that request smuggling relies on is refused (RFC 9112, section 11.2): `Content-Length` beside `Transfer-Encoding`,
//! either of them twice, a number that is not all digits, chunks and trailer fields that are not exactly as section 7.1
//! has them, folded header lines. An error behind the start of a streamed answer ends the connection without the
//! answer's end, which tells the client.

mod body;
mod common;
mod date;
mod exchange;
pub(super) mod head;
pub(super) mod request;
pub(super) mod response;
pub mod service;

use std::time::SystemTime;

pub(super) use self::common::{Always, Common};
use self::exchange::{Place, in_place};
pub use super::clock::Clock;
use super::{
    Ending, Output, PerConnection, Protocol, Received, Refusal,
    description::{Reader, put_text},
    fault::Units,
    identity::Tag,
    key::{BadTerms, CLIENT_FAULTS, TAG},
    offer::{Offer, Terms},
};
use crate::{Ends, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "http",
    about: "GET is greeted, requests with a body get it back (HTTP/1.1)",
    keys: &[
        ("max", "the longest body; default --max-frame"),
        ("body", "stream: echo a body as it comes; default whole: when all has come"),
        ("cors", "off: not for pages of other origins; default on"),
        TAG,
        CLIENT_FAULTS,
    ],
    units: |terms| match choice(terms, "body", ["whole", "stream"])? {
        0 => Ok(Units::Answers),
        _ => Err(BadTerms("fault= needs whole answers; write body=whole".to_owned())),
    },
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
        if terms.clients_choose_faults()? {
            if is_streamed {
                return Err(BadTerms(
                    "client-faults=on needs whole answers; write body=whole".to_owned(),
                ));
            }
            http.client_faults = true;
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

/// Greets and echoes over HTTP/1.1.
///
/// It keeps 48 bytes for each open connection, and no buffer: a head that is not whole, and a body that is not, stay
/// in the connection's input.
#[derive(Debug)]
pub struct Http {
    limits: HttpLimits,
    bodies: Bodies,
    /// Whether clients may choose faults by the path of a request.
    client_faults: bool,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// When all of it has come, with a `Content-Length`.
    Whole,
    /// Part by part, as it comes.
    Streamed,
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
        Self {
            limits,
            bodies: Bodies::Whole,
            client_faults: false,
            common,
            places: PerConnection::new(),
        }
    }

    /// Echoes each part of a body as it comes, and not when all of it has come.
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
}

impl Protocol for Http {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.common.opened(connection, ends);
        Ok(())
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut place = self.places.get(connection).copied().unwrap_or(Place::FIRST);
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
        match (self.places.get(connection), cause) {
            // Nothing has come, so there is nothing to answer; or an answer has begun, behind which another one would be
            // taken for a part of it.
            (None | Some(Place::Body { .. }), _) => {}
            (_, Ending::Unfinished) => {
                response::timeout(self.common.to(connection), out.as_mut_vec());
            }
            (_, Ending::Memory) => {
                response::out_of_memory(self.common.to(connection), out.as_mut_vec());
            }
            (_, Ending::Idle | Ending::Stopping) => {}
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.common.closed(connection);
        self.places.remove(connection);
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }

    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        let mut state = Vec::new();
        put_text(self.common.describe(connection), &mut state);
        if let Some(place) = self.places.get(connection) {
            place.describe(self.limits.body, &mut state);
        }
        Some(state)
    }

    fn restore(&mut self, connection: Token, _: &Ends, state: &[u8]) -> bool {
        let mut state = Reader(state);
        let Some(tag_text) = state.text() else { return false };
        if state.end(()).is_none() {
            let place = Place::restore(&mut state, self.limits.body);
            let place = place.and_then(|place| state.end(place));
            let Some(place) = place else { return false };
            self.places.insert(connection, place);
        }
        self.common.restore(connection, tag_text);
        true
    }
}
