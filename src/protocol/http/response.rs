//! What goes back: status line, header fields, and the bodies that are not an echo.

use super::{head::Problem, request::Persistence};

/// The classic greeting of the tutorials, before the path.
const HELLO: &[u8] = b"Hello, you've requested: ";

/// A reply's head.
///
/// There is no `Date`: that is for servers with a clock (RFC 9110, section 6.6.1), and a protocol
/// here has none.
pub(super) struct Reply<'r> {
    /// Code and reason phrase.
    pub(super) status: &'static str,
    pub(super) content_type: &'r [u8],
    /// Bytes of body; `None` for chunks.
    pub(super) length: Option<u64>,
    pub(super) persistence: Persistence,
    /// Fields that only this kind of reply has, each with its line's end.
    pub(super) fields: &'static str,
    /// What answered, if that was asked for; empty where not.
    pub(super) tag: &'r str,
}

impl<'r> Reply<'r> {
    /// A reply of plain text.
    pub(super) const fn text(
        status: &'static str,
        length: usize,
        persistence: Persistence,
        tag: &'r str,
    ) -> Self {
        Self {
            status,
            content_type: b"text/plain; charset=utf-8",
            length: Some(length as u64),
            persistence,
            fields: "",
            tag,
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
        served_by(self.tag, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// The field that names what answered; none for an empty tag.
pub(in crate::protocol) fn served_by(tag: &str, out: &mut Vec<u8>) {
    if tag.is_empty() {
        return;
    }
    out.extend_from_slice(b"X-Served-By: ");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Answers with the greeting: `Hello, you've requested: /path`, the path's escapes resolved.
pub(super) fn hello(
    path: &str,
    head_only: bool,
    persistence: Persistence,
    tag: &str,
    out: &mut Vec<u8>,
) {
    let path = path.as_bytes();
    let escapes = memchr::memchr_iter(b'%', path).count();
    let length = HELLO.len() + path.len() - 2 * escapes + 1;
    Reply::text("200 OK", length, persistence, tag).write(out);
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

/// Answers a method that is not served.
pub(super) fn method(status: &'static str, persistence: Persistence, tag: &str, out: &mut Vec<u8>) {
    let text = b"GET and HEAD are greeted, POST and PUT are echoed.\n";
    let mut reply = Reply::text(status, text.len(), persistence, tag);
    reply.fields = "Allow: GET, HEAD, POST, PUT\r\n";
    reply.write(out);
    out.extend_from_slice(text);
}

/// Answers a request that is refused, with `fields` besides the usual.
pub(in crate::protocol) fn refuse(
    problem: &Problem,
    fields: &'static str,
    tag: &str,
    out: &mut Vec<u8>,
) {
    let text = format!("{}\n", problem.refusal);
    let mut reply = Reply::text(problem.status, text.len(), Persistence::Close, tag);
    reply.fields = fields;
    reply.write(out);
    out.extend_from_slice(text.as_bytes());
}

/// Answers a request that did not become whole in time (RFC 9110, section 15.5.9).
pub(in crate::protocol) fn timeout(tag: &str, out: &mut Vec<u8>) {
    let problem = Problem::new("408 Request Timeout", "the request did not become whole in time");
    refuse(&problem, "", tag, out);
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
