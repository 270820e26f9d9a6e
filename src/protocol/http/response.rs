//! Answers: status line, header fields, and the bodies that are not an echo.

use super::{common::Always, head::Problem, request::Persistence};

/// The classic greeting of the tutorials, before the path.
const HELLO: &[u8] = b"Hello, you've requested: ";

/// The methods that are answered on any path (RFC 9110, section 10.2.1).
const ALLOW: &str = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

/// The answer to a CORS preflight (Fetch standard, section 3.3.3): any method, and any field. `*` does not cover
/// `Authorization`, so it is named.
const PREFLIGHT: &str = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\
    Access-Control-Allow-Methods: *\r\n\
    Access-Control-Allow-Headers: *, Authorization\r\n\
    Access-Control-Max-Age: 86400\r\n";

/// A reply's head.
pub(super) struct Reply<'r> {
    /// Code and reason phrase.
    pub(super) status: &'static str,
    pub(super) content_type: &'r [u8],
    /// Bytes of body; `None` for chunks.
    pub(super) length: Option<u64>,
    pub(super) persistence: Persistence,
    /// Fields that only this kind of reply has, each with its line's end.
    pub(super) fields: &'static str,
    /// Fields that all replies have.
    pub(super) always: Always<'r>,
}

impl<'r> Reply<'r> {
    /// A reply of plain text.
    pub(super) const fn text(
        status: &'static str,
        length: usize,
        persistence: Persistence,
        always: Always<'r>,
    ) -> Self {
        Self {
            status,
            content_type: b"text/plain; charset=utf-8",
            length: Some(length as u64),
            persistence,
            fields: "",
            always,
        }
    }

    /// Appends the head.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(self.content_type);
        match self.length {
            Some(length) => {
                out.extend_from_slice(b"\r\nContent-Length: ");
                number::<10>(length, out);
            }
            None => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
        }
        match self.persistence {
            Persistence::Keep => {}
            Persistence::KeepAlive => out.extend_from_slice(b"\r\nConnection: keep-alive"),
            Persistence::Close => out.extend_from_slice(b"\r\nConnection: close"),
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.fields.as_bytes());
        self.always.write(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Answers with the greeting: `Hello, you've requested: /path`, the path's escapes resolved.
pub(super) fn hello(
    path: &str,
    head_only: bool,
    persistence: Persistence,
    always: Always<'_>,
    out: &mut Vec<u8>,
) {
    let path = path.as_bytes();
    let escapes = memchr::memchr_iter(b'%', path).count();
    let length = HELLO.len() + path.len() - 2 * escapes + 1;
    Reply::text("200 OK", length, persistence, always).write(out);
    if head_only {
        return;
    }
    out.extend_from_slice(HELLO);
    let mut pieces = path.split(|byte| *byte == b'%');
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        if let Some(([high, low], rest)) = piece.split_first_chunk() {
            out.push(hex(*high) << 4 | hex(*low));
            out.extend_from_slice(rest);
        }
    }
    out.push(b'\n');
}

/// Answers `OPTIONS` (RFC 9110, section 9.3.7).
pub(super) fn options(persistence: Persistence, always: Always<'_>, out: &mut Vec<u8>) {
    let mut reply = Reply::text("200 OK", 0, persistence, always);
    reply.fields = if always.cors { PREFLIGHT } else { ALLOW };
    reply.write(out);
}

/// Answers a method that is not served.
pub(super) fn method(
    status: &'static str,
    persistence: Persistence,
    always: Always<'_>,
    out: &mut Vec<u8>,
) {
    let text = b"GET and HEAD are greeted; bodies are echoed.\n";
    let mut reply = Reply::text(status, text.len(), persistence, always);
    reply.fields = ALLOW;
    reply.write(out);
    out.extend_from_slice(text);
}

/// Answers a request that is refused, with `fields` besides the usual.
pub(in crate::protocol) fn refuse(
    problem: &Problem,
    fields: &'static str,
    always: Always<'_>,
    out: &mut Vec<u8>,
) {
    let text = format!("{}\n", problem.refusal);
    let mut reply = Reply::text(problem.status, text.len(), Persistence::Close, always);
    reply.fields = fields;
    reply.write(out);
    out.extend_from_slice(text.as_bytes());
}

/// Answers a request that did not become whole in time (RFC 9110, section 15.5.9).
pub(in crate::protocol) fn timeout(always: Always<'_>, out: &mut Vec<u8>) {
    let problem = Problem::new("408 Request Timeout", "the request did not become whole in time");
    refuse(&problem, "", always, out);
}

/// Answers a request that is dropped because the memory limit is reached (RFC 9110, section 15.6.4).
pub(in crate::protocol) fn out_of_memory(always: Always<'_>, out: &mut Vec<u8>) {
    let problem = Problem::new(
        "503 Service Unavailable",
        "the server is at its memory limit; try again later",
    );
    refuse(&problem, "", always, out);
}

/// Appends a number in base `BASE`, which is 10 or 16.
pub(super) fn number<const BASE: u64>(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[usize::from((number % BASE).to_le_bytes()[0])];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The value of a hexadecimal digit, which the request was checked to have.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
