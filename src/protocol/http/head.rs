//! A request's head: found whole, or refused, the same however it arrives. Shared with WebSocket's
//! handshake.

use std::mem::MaybeUninit;

use memchr::memrchr;

use crate::protocol::Refusal;

/// Header fields a request may have; as many as Apache httpd allows.
const FIELDS: usize = 100;

/// What the bytes at the start of a request amount to.
pub(in crate::protocol) enum Head<T> {
    /// The blank line is not there yet.
    Partial,
    /// What was made of the whole head.
    Whole(T),
    /// No head, or none that will be taken.
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

/// Looks for a whole head of at most `limit` bytes at the start of `input`, which is not empty and
/// whose first `seen` bytes were found to be a part of one; `whole` makes of it and its length what
/// the caller wants.
///
/// A head is looked at when a line of it ends, or when it reaches the limit; so that one that comes
/// byte by byte costs a parse for each of its lines at most, and comes to the same as one that
/// comes at once.
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
            // At least so long: not what has arrived, which would make the answer a matter of
            // chance.
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
            let (length, limit) = (FIELDS as u64 + 1, FIELDS as u64);
            Problem::too_long("431 Request Header Fields Too Large", length, limit)
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

/// Whether the request line ends as one of another major version of HTTP would.
fn asks_for_another_version(window: &[u8]) -> bool {
    let line = window.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    version.starts_with(b"HTTP/")
}
