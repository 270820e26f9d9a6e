//! HTTP/1.1 with responses of your own: an [`HttpService`] receives whole requests and returns responses. It does not see
//! buffers or sockets.
//!
//! ```
//! use resound::protocol::http::service::{HttpAnswer, HttpRequest, HttpResponse, Serve};
//!
//! let hello = Serve::new(|request: &HttpRequest<'_>| match (request.method, request.path) {
//!     ("GET", "/") => HttpAnswer::Now(HttpResponse::text("200 OK", "hello\n")),
//!     _ => HttpAnswer::Now(HttpResponse::text("404 Not Found", "there is only /\n")),
//! });
//! ```
//!
//! Requests are read as [`Http`](super::Http) reads them, and refused for the same reasons. A body needs a
//! `Content-Length`: chunks are refused with 411.

use std::{fmt, time::Duration};

use super::{
    Common, HttpLimits,
    exchange::skip_blank_lines,
    head::{self, Head, Problem},
    request::{Framing, Persistence, Request},
    response::{self, Reply},
};
use crate::{
    Reason, Token,
    protocol::{Ending, Next, Output, PerConnection, Protocol, Received},
};

/// How often a service is asked for a response that comes later.
const POLL: Duration = Duration::from_millis(2);

/// Answers HTTP requests. A closure that takes a request is a service.
pub trait HttpService {
    /// Answers a request. It is called from the loop, so it must not block: what takes longer is
    /// [`HttpAnswer::Later`].
    fn answer(&mut self, request: &HttpRequest<'_>) -> HttpAnswer;
}

impl<F: FnMut(&HttpRequest<'_>) -> HttpAnswer> HttpService for F {
    fn answer(&mut self, request: &HttpRequest<'_>) -> HttpAnswer {
        self(request)
    }
}

/// A whole request.
#[derive(Debug)]
pub struct HttpRequest<'r> {
    /// `GET` for `HEAD` too, whose answer is sent without its body.
    pub method: &'r str,
    /// Without the query, and with its escapes as they were sent.
    pub path: &'r str,
    /// The part of the target after the first `?`; empty if there is none.
    pub query: &'r str,
    /// The body; empty if there is none.
    pub body: &'r [u8],
    fields: Vec<(&'r str, &'r [u8])>,
}

impl<'r> HttpRequest<'r> {
    /// The value of a header field, which is one line of text. If the field occurs several times, the first value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'r str> {
        let (_, value) = self.fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// A parameter of the query (`name=value&...`), its escapes resolved (URL standard,
    /// application/x-www-form-urlencoded). Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(found, _)| *found == name)?;
        let mut bytes = Vec::with_capacity(value.len());
        let mut rest = value.as_bytes();
        while let [first, behind @ ..] = rest {
            let escaped = match (first, behind) {
                (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
                _ => None,
            };
            rest = match escaped {
                Some((high, low)) => {
                    bytes.push(high << 4 | low);
                    &behind[2..]
                }
                None => {
                    bytes.push(if *first == b'+' { b' ' } else { *first });
                    behind
                }
            };
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Code and reason phrase: `200 OK`.
    pub status: &'static str,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Further header fields, each with its line's end.
    pub fields: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// A response of plain text.
    #[must_use]
    pub fn text(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, fields: "", body: body.into() }
    }
}

/// A closure that is called until it returns the response.
pub type LaterResponse = Box<dyn FnMut() -> Option<HttpResponse> + Send>;

/// What a service answers.
pub enum HttpAnswer {
    /// The response.
    Now(HttpResponse),
    /// The response that this closure returns later. It is called every few milliseconds until it returns one. The service
    /// itself must limit the time. The connection is closed after the response.
    Later(LaterResponse),
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(response) => f.debug_tuple("Now").field(response).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// An [`HttpService`] as a [`Protocol`].
#[derive(Debug)]
pub struct Serve<S> {
    service: S,
    limits: HttpLimits,
    common: Common,
    places: PerConnection<Place>,
}

/// Where a connection is.
enum Place {
    /// Before a request, behind that many empty lines; or in it, perhaps behind its head.
    Request { blank: u8, is_first: bool, has_head: bool },
    /// Behind a request whose response is to come later.
    Waiting { response: LaterResponse, head_only: bool },
    /// Behind the last response.
    Closing,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request { .. } => "Request",
            Self::Waiting { .. } => "Waiting",
            Self::Closing => "Closing",
        })
    }
}

impl Place {
    const FIRST: Self = Self::Request { blank: 0, is_first: true, has_head: false };
    const START: Self = Self::Request { blank: 0, is_first: false, has_head: false };
}

/// The result of reading at the start of the input.
enum Read<'b> {
    /// The rest of the head is to come.
    Head,
    /// The rest of the body is to come: the input must become this long.
    Body {
        need: usize,
        expects_continue: bool,
    },
    Whole {
        request: HttpRequest<'b>,
        length: usize,
        head_only: bool,
        persistence: Persistence,
    },
    Refused(Problem),
}

impl<S: HttpService> Serve<S> {
    /// Answers with `service`, requests of up to 16 KiB of head and 64 KiB of body.
    #[must_use]
    pub const fn new(service: S) -> Self {
        let limits = HttpLimits { head: 16 << 10, body: 64 << 10 };
        let common = Common::new(std::time::SystemTime::now, None, false);
        Self { service, limits, common, places: PerConnection::new() }
    }

    /// Reads a request at the start of `input`, the first `seen` bytes of which were shown before and had a whole head or
    /// not.
    fn read<'b>(&self, input: &'b [u8], seen: usize, has_head: bool) -> Read<'b> {
        let head = head::read(
            input,
            if has_head { 0 } else { seen },
            self.limits.head,
            |parsed, length| {
                let request = Request::read(parsed, length, self.limits.body)?;
                let fields =
                    parsed.headers.iter().map(|header| (header.name, header.value)).collect();
                let method = parsed.method.unwrap_or_default();
                let target = parsed.path.unwrap_or_default();
                Ok((request, method, target, fields))
            },
        );
        let (request, method, target, fields) = match head {
            Head::Partial => return Read::Head,
            Head::Refused(problem) | Head::Whole(Err(problem)) => return Read::Refused(problem),
            Head::Whole(Ok(whole)) => whole,
        };
        let Framing::Length(body) = request.framing else {
            let what = "a body in chunks; send it with a Content-Length";
            return Read::Refused(Problem::new("411 Length Required", what));
        };
        let length = request.head.saturating_add(usize::try_from(body).unwrap_or(usize::MAX));
        let Some(body) = input.get(request.head..length) else {
            let expects_continue = request.expects_continue && !has_head;
            return Read::Body { need: length, expects_continue };
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head_only = method == "HEAD";
        let method = if head_only { "GET" } else { method };
        let whole = HttpRequest { method, path, query, body, fields };
        Read::Whole { request: whole, length, head_only, persistence: request.persistence }
    }

    fn respond(
        &self,
        connection: Token,
        response: &HttpResponse,
        head_only: bool,
        persistence: Persistence,
        out: &mut Output,
    ) {
        let reply = Reply {
            status: response.status,
            content_type: response.content_type.as_bytes(),
            length: Some(response.body.len() as u64),
            persistence,
            fields: response.fields,
            always: self.common.to(connection),
        };
        reply.write(out.as_mut_vec());
        if !head_only {
            out.extend(&response.body);
        }
    }

    /// Answers a request, or starts to.
    fn answer(
        &mut self,
        connection: Token,
        request: &HttpRequest<'_>,
        head_only: bool,
        persistence: Persistence,
        out: &mut Output,
    ) -> Place {
        match self.service.answer(request) {
            HttpAnswer::Now(response) => {
                self.respond(connection, &response, head_only, persistence, out);
                if persistence == Persistence::Close { Place::Closing } else { Place::START }
            }
            HttpAnswer::Later(response) => {
                out.call_after(Duration::ZERO);
                Place::Waiting { response, head_only }
            }
        }
    }
}

impl<S: HttpService> Protocol for Serve<S> {
    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        mut seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut place = self.places.remove(connection).unwrap_or(Place::FIRST);
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            let Place::Request { blank, is_first, has_head } = &mut place else {
                // It was told, or will be, that the connection is closed behind the response: nothing more is read.
                consumed = input.len();
                break match place {
                    Place::Closing => Next::Finish,
                    _ => Next::Idle,
                };
            };
            if rest.is_empty() {
                break if *is_first { Next::Handshake { need: 0 } } else { Next::Idle };
            }
            if out.is_full() {
                break Next::Full;
            }
            match skip_blank_lines(rest, blank) {
                Ok(0) => {}
                Ok(length) => {
                    (consumed, seen) = (consumed + length, 0);
                    continue;
                }
                Err(problem) => {
                    response::refuse(&problem, "", self.common.to(connection), out.as_mut_vec());
                    break Next::Refuse(problem.refusal);
                }
            }
            let waits = |need| match is_first {
                true => Next::Handshake { need },
                false => Next::Rest { need },
            };
            if rest == b"\r" {
                break waits(0);
            }
            match self.read(rest, seen, *has_head) {
                Read::Head => break waits(0),
                Read::Body { need, expects_continue } => {
                    *has_head = true;
                    if expects_continue {
                        out.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    break waits(need);
                }
                Read::Refused(problem) => {
                    response::refuse(&problem, "", self.common.to(connection), out.as_mut_vec());
                    break Next::Refuse(problem.refusal);
                }
                Read::Whole { request, length, head_only, persistence } => {
                    place = self.answer(connection, &request, head_only, persistence, out);
                    (consumed, frames, seen) = (consumed + length, frames + 1, 0);
                }
            }
        };
        self.places.insert(connection, place);
        Received { consumed, echo: false, frames, next }
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        let Some(Place::Waiting { response, head_only }) = self.places.get_mut(connection) else {
            return;
        };
        let head_only = *head_only;
        match response() {
            None => out.call_after(POLL),
            Some(response) => {
                self.respond(connection, &response, head_only, Persistence::Close, out);
                self.places.insert(connection, Place::Closing);
                out.finish();
            }
        }
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        let is_in_request = match self.places.get(connection) {
            Some(Place::Request { .. }) => true,
            Some(Place::Waiting { .. } | Place::Closing) | None => false,
        };
        let always = self.common.to(connection);
        match cause {
            Ending::Unfinished if is_in_request => response::timeout(always, out.as_mut_vec()),
            Ending::Memory if is_in_request => response::out_of_memory(always, out.as_mut_vec()),
            _ => {}
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.places.remove(connection);
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    const CONNECTION: Token = Token::new(1, 1);

    /// Says what it was asked.
    fn tell(request: &HttpRequest<'_>) -> HttpAnswer {
        let HttpRequest { method, path, query, body, .. } = request;
        let name = request.field("X-Name").unwrap_or("nobody");
        let parameter = request.parameter("a").unwrap_or_default();
        let body = body.escape_ascii();
        let text = format!("{method} {path} {query} {name} {parameter} {body}");
        HttpAnswer::Now(HttpResponse::text("200 OK", text))
    }

    /// Shows `input` in two pieces cut at `cut`, as a connection does; returns what was sent, without dates.
    fn talk(service: impl HttpService, input: &[u8], cut: usize) -> (String, Next) {
        let mut protocol = Serve::new(service);
        let mut out = Output::new(1 << 20);
        let (mut from, mut seen, mut need, mut next) = (0, 0, 0, Next::Idle);
        for to in [cut, input.len()] {
            if to - from <= seen || to - from < need {
                continue;
            }
            let received = protocol.receive(CONNECTION, &input[from..to], seen, &mut out);
            from += received.consumed;
            (seen, need, next) = (to - from, received.next.need(), received.next);
            if matches!(next, Next::Finish | Next::Refuse(_)) {
                break;
            }
        }
        let text = String::from_utf8_lossy(out.bytes()).into_owned();
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
        (lines.collect(), next)
    }

    #[test]
    fn requests_are_answered_in_order_however_they_are_cut() {
        let input = b"\r\nGET /a?a=%66%2B+x&b HTTP/1.1\r\nHost: x\r\nX-Name: me\r\n\r\n\
            POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
            HEAD /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n";
        let (whole, next) = talk(tell, input, 0);
        assert_eq!(next, Next::Finish);
        assert!(whole.contains("\r\n\r\nGET /a a=%66%2B+x&b me f+ x HTTP/1.1 200 OK"), "{whole}");
        assert!(whole.contains("\r\n\r\nPOST /b  nobody  abcHTTP/1.1 200 OK"), "{whole}");
        assert!(whole.ends_with("Content-Length: 16\r\nConnection: close\r\n\r\n"), "{whole}");
        for cut in 0..input.len() {
            assert_eq!(talk(tell, input, cut).0, whole, "cut at {cut}");
        }
    }

    /// Nothing behind the head has the end of a line.
    #[test]
    fn a_body_of_one_line_may_come_at_any_time_behind_its_head() {
        let input = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        let (whole, _) = talk(tell, input, 0);
        assert!(whole.ends_with("PUT /a  nobody  abc"), "{whole}");
        for cut in 0..input.len() {
            assert_eq!(talk(tell, input, cut).0, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_is_limited_and_asked_for_once() {
        let continued =
            b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        let head = continued.len() - 1;
        let (sent, _) = talk(tell, continued, head);
        assert_eq!(sent.matches("100 Continue").count(), 1, "{sent}");
        assert!(sent.ends_with("PUT /  nobody  x"), "{sent}");
        for (input, status) in [
            (
                &b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n"[..],
                "413 Content Too Large",
            ),
            (
                b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                "411 Length Required",
            ),
            (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (b"\x16\x03\x01\x02\x00\x01\n", "400 Bad Request"),
            (b"\n\n\n\n\n\n", "400 Bad Request"),
        ] {
            let (sent, next) = talk(tell, input, 0);
            assert!(sent.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{sent}");
            assert!(matches!(next, Next::Refuse(Refusal::TooLong { .. } | Refusal::Malformed(_))));
        }
    }

    #[test]
    fn a_response_that_comes_later_is_the_last() {
        let mut asked = 0;
        let later = move |_: &HttpRequest<'_>| {
            HttpAnswer::Later(Box::new(move || {
                asked += 1;
                (asked == 3).then(|| HttpResponse::text("200 OK", "at last"))
            }))
        };
        let mut protocol = Serve::new(later);
        let mut out = Output::new(1 << 20);
        let input = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /behind HTTP/1.1\r\n";
        let received = protocol.receive(CONNECTION, input, 0, &mut out);
        assert_eq!((received.consumed, received.next), (input.len(), Next::Idle));
        for _ in 0..2 {
            protocol.called(CONNECTION, &mut out);
            assert_eq!(out.bytes(), b"");
        }
        protocol.called(CONNECTION, &mut out);
        let sent = String::from_utf8_lossy(out.bytes());
        assert!(sent.contains("Connection: close") && sent.ends_with("at last"), "{sent}");
        assert_eq!(protocol.receive(CONNECTION, b"x", 0, &mut out).next, Next::Finish);
    }
}
