//! What a request asks for, as far as the answer depends on it, and how its body is delimited. Everything ambiguous is
//! refused.

use super::head::Problem;

/// A request's head, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request<'b> {
    /// Its length in bytes.
    pub(super) head: usize,
    /// What is to be answered.
    pub(super) asks: Asks<'b>,
    /// How the body that follows is delimited.
    pub(super) framing: Framing,
    /// Whether the connection is kept afterwards.
    pub(super) persistence: Persistence,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// As it was sent.
    target: &'b str,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks<'b> {
    /// `GET`, or `HEAD`: the greeting, with the path as it was sent.
    Hello { path: &'b str, head_only: bool },
    /// The body back, with the type that it was sent with.
    Echo { content_type: Option<&'b [u8]> },
    /// `OPTIONS` without a body: the methods, and whether pages of other origins may use them.
    Options,
    /// A method that is not allowed here.
    NotAllowed,
    /// An unknown method, without a body.
    NotImplemented,
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length, 0 if there is none.
    Length(u64),
    /// By an empty chunk.
    Chunked,
}

/// Whether a connection is kept after a request (RFC 9112, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It is kept, as HTTP/1.1 does by default.
    Keep,
    /// It is kept, and an HTTP/1.0 client has to be told so.
    KeepAlive,
    /// It is closed.
    Close,
}

/// The header fields that matter here.
#[derive(Debug, Default)]
struct Fields<'b> {
    hosts: usize,
    content_length: Option<&'b [u8]>,
    transfer_encoding: Option<&'b [u8]>,
    content_type: Option<&'b [u8]>,
    expect: Option<&'b [u8]>,
    close: bool,
    keep_alive: bool,
}

impl<'b> Request<'b> {
    /// Reads a head of `head` bytes whose body may have up to `limit` bytes.
    ///
    /// # Errors
    /// The status to refuse it with. The connection must then be closed, because the start of the next request is
    /// unknown.
    pub(super) fn read(
        parsed: &httparse::Request<'_, 'b>,
        head: usize,
        limit: u64,
    ) -> Result<Self, Problem> {
        let fields = Fields::read(parsed.headers)?;
        let old = parsed.version == Some(0);
        if fields.hosts != 1 && !(old && fields.hosts == 0) {
            return Err(Problem::bad("one Host field is required (RFC 9112, section 3.2)"));
        }
        let framing = fields.framing(old)?;
        if let Framing::Length(length) = framing
            && length > limit
        {
            return Err(too_large(length, limit));
        }
        let expects_continue = match fields.expect {
            _ if old => false,
            None => false,
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => true,
            Some(_) => {
                return Err(Problem::new(
                    "417 Expectation Failed",
                    "only 100-continue can be expected",
                ));
            }
        };
        Ok(Self {
            head,
            asks: asks(parsed, fields.content_type, framing != Framing::Length(0))?,
            framing,
            persistence: if fields.close || old && !fields.keep_alive {
                Persistence::Close
            } else if old {
                Persistence::KeepAlive
            } else {
                Persistence::Keep
            },
            expects_continue: expects_continue && framing != Framing::Length(0),
            target: parsed.path.unwrap_or_default(),
        })
    }

    /// The path of the target, without its query; `None` if it has none.
    pub(super) fn path(&self) -> Option<&'b str> {
        path(self.target)
    }
}

/// A body that is longer than the limit.
pub(super) const fn too_large(length: u64, limit: u64) -> Problem {
    Problem::too_long("413 Content Too Large", length, limit)
}

impl<'b> Fields<'b> {
    fn read(headers: &[httparse::Header<'b>]) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for header in headers {
            let (name, value) = (header.name, header.value);
            // By length first: most fields are none of these.
            let once = match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    if !value.iter().all(|byte| is_host(*byte)) {
                        return Err(Problem::bad("the Host field is not a host name"));
                    }
                    fields.hosts += 1;
                    continue;
                }
                6 if name.eq_ignore_ascii_case("expect") => &mut fields.expect,
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in options(value) {
                        fields.close |= option.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                    continue;
                }
                12 if name.eq_ignore_ascii_case("content-type") => &mut fields.content_type,
                14 if name.eq_ignore_ascii_case("content-length") => &mut fields.content_length,
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    &mut fields.transfer_encoding
                }
                _ => continue,
            };
            // Request smuggling uses two of them, even equal ones (RFC 9112, section 11.2).
            if once.replace(value).is_some() {
                return Err(Problem::bad("a header field is there twice that may be there once"));
            }
        }
        Ok(fields)
    }

    /// How the body is delimited (RFC 9112, sections 6.1 to 6.3).
    fn framing(&self, old: bool) -> Result<Framing, Problem> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::Length(0)),
            (None, Some(length)) => Ok(Framing::Length(content_length(length)?)),
            (Some(_), Some(_)) => Err(Problem::bad("both Transfer-Encoding and Content-Length")),
            (Some(_), None) if old => Err(Problem::bad("Transfer-Encoding in HTTP/1.0")),
            (Some(codings), None) => {
                let last = options(codings).last().unwrap_or_default();
                if !last.eq_ignore_ascii_case(b"chunked") {
                    return Err(Problem::bad("a Transfer-Encoding that does not end in chunked"));
                }
                if options(codings).count() > 1 {
                    return Err(Problem::new(
                        "501 Not Implemented",
                        "a Transfer-Encoding other than chunked",
                    ));
                }
                Ok(Framing::Chunked)
            }
        }
    }
}

/// The members of a comma-separated list.
pub(in crate::protocol) fn options(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a host and port can have this byte in them (RFC 3986, section 3.2.2).
pub(in crate::protocol) fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Digits, and nothing but digits (RFC 9110, section 8.6). A number of more than 64 bits becomes the largest one, which
/// [`Refusal::TooLong`](crate::protocol::Refusal::TooLong) shows as such.
fn content_length(digits: &[u8]) -> Result<u64, Problem> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Problem::bad("a Content-Length that is not a number"));
    }
    let length = digits.iter().fold(0_u64, |length, digit| {
        length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Ok(length)
}

/// What the method and the target request (RFC 9110, section 9; RFC 9112, section 3.2).
fn asks<'b>(
    parsed: &httparse::Request<'_, 'b>,
    content_type: Option<&'b [u8]>,
    has_body: bool,
) -> Result<Asks<'b>, Problem> {
    let target = parsed.path.unwrap_or_default();
    let hello = |head_only| {
        let path = path(target).ok_or(Problem::bad("the request's target is malformed"))?;
        Ok(Asks::Hello { path, head_only })
    };
    match parsed.method.unwrap_or_default() {
        "HEAD" => hello(true),
        "CONNECT" | "TRACE" => Ok(Asks::NotAllowed),
        _ if has_body => Ok(Asks::Echo { content_type }),
        "GET" => hello(false),
        "POST" | "PUT" | "PATCH" | "DELETE" => Ok(Asks::Echo { content_type }),
        "OPTIONS" => Ok(Asks::Options),
        _ => Ok(Asks::NotImplemented),
    }
}

/// The path of a target like `/path?query` or `http://host/path?query`, without its query. Its escapes are checked.
fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let authority = rest.find(['/', '?']).unwrap_or(rest.len());
        &rest[authority..]
    };
    let path = path.split('?').next().unwrap_or_default();
    let mut escapes = path.as_bytes().split(|byte| *byte == b'%').skip(1);
    let sound = |escape: &[u8]| {
        escape.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    escapes.all(sound).then_some(if path.is_empty() { "/" } else { path })
}
