//! Reads a request's head, with the same result however its bytes are split. The WebSocket handshake uses it too.

use std::mem::MaybeUninit;

use memchr::memrchr;

use crate::protocol::Refusal;

/// Header fields a request may have; as many as Apache httpd allows.
const FIELDS: usize = 100;

/// How far the bytes at the start of a request are a head.
pub(in crate::protocol) enum Head<T> {
    /// The blank line is not there yet.
    Partial,
    /// The result of reading the whole head.
    Whole(T),
    /// It is not a head, or not one that is accepted.
    Refused(Problem),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) struct Problem {
    /// Code and reason phrase.
    pub(in crate::protocol) status: &'static str,
    /// What the log is told, and the peer in the reply's body.
    pub(in crate::protocol) refusal: Refusal,
}

impl Problem {
    /// 400 (RFC 9110, section 15.5.1).
    pub(in crate::protocol) const fn bad(what: &'static str) -> Self {
        Self::new("400 Bad Request", what)
    }

    /// Any other.
    pub(in crate::protocol) const fn new(status: &'static str, what: &'static str) -> Self {
        Self { status, refusal: Refusal::Malformed(what) }
    }

    /// More of something than the limit allows.
    pub(in crate::protocol) const fn too_long(
        status: &'static str,
        length: u64,
        limit: u64,
    ) -> Self {
        Self { status, refusal: Refusal::TooLong { length, limit, looks_like: None } }
    }
}

/// Looks for a whole head of at most `limit` bytes at the start of `input`, which is not empty. Its first `seen` bytes
/// were shown before and are not a whole head. `whole` is called with the parsed head and its length.
///
/// The head is parsed when a line of it ends, or when it reaches the limit. So a head that comes byte by byte is parsed
/// once for each of its lines at most, and the result is the same as for one that comes at once.
pub(in crate::protocol) fn read<'b, T>(
    input: &'b [u8],
    seen: usize,
    limit: usize,
    whole: impl FnOnce(&httparse::Request<'_, 'b>, usize) -> T,
) -> Head<T> {
    if !input[0].is_ascii_graphic() {
        return Head::Refused(Problem::bad(if input[0] == 0x16 {
            "this looks like TLS: there is none on this listener"
        } else {
            "this is not HTTP"
        }));
    }
    let window = if input.len() >= limit {
        &input[..limit]
    } else {
        let Some(end) = memrchr(b'\n', &input[seen..]) else {
            return Head::Partial;
        };
        &input[..=seen + end]
    };
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, &mut fields) {
        Ok(httparse::Status::Complete(length)) => Head::Whole(whole(&request, length)),
        Ok(httparse::Status::Partial) if input.len() < limit => Head::Partial,
        Ok(httparse::Status::Partial) => {
            let status = if window.contains(&b'\n') {
                "431 Request Header Fields Too Large"
            } else {
                "414 URI Too Long"
            };
            // The least that its length can be. The number of bytes that have arrived depends on how they were
            // split.
            Head::Refused(Problem::too_long(status, limit as u64 + 1, limit as u64))
        }
        Err(error) => Head::Refused(problem(error, window)),
    }
}

/// What the parser found, in words.
fn problem(error: httparse::Error, window: &[u8]) -> Problem {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => {
            Problem::new("431 Request Header Fields Too Large", "more than 100 header fields")
        }
        Error::HeaderName => Problem::bad("a header field's name is malformed"),
        Error::HeaderValue => Problem::bad("a header field's value is malformed"),
        Error::NewLine => Problem::bad("a line does not end as it should"),
        Error::Version if asks_for_another_version(window) => {
            Problem::new("505 HTTP Version Not Supported", "HTTP/1.1 is spoken here")
        }
        _ => Problem::bad("the request line is malformed"),
    }
}

/// Whether these bytes are a token (RFC 9110, section 5.6.2).
pub(in crate::protocol) fn is_token(bytes: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token)
}

/// Whether the request line ends as one of another major version of HTTP would.
fn asks_for_another_version(window: &[u8]) -> bool {
    let line = window.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    version.starts_with(b"HTTP/")
}
