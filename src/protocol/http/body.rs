//! A request's body: how much of it has come, and what of it is data.
//!
//! ```text
//! 5;name=value\r\n hello \r\n  0\r\n  Field: value\r\n \r\n         as received (RFC 9112, section 7.1)
//! 5\r\n            hello \r\n  0\r\n                   \r\n         as sent while it streams in
//!                  hello                                            as sent once it is whole
//! ```
//!
//! Chunk extensions and trailer fields are for recipients that understand them (sections 7.1.1 and 7.1.2). They are
//! checked, limited in length, and not sent back.

use memchr::memchr;

use super::{
    head::{Problem, is_token},
    request::{Framing, too_large},
    response::number,
};
use crate::protocol::description::{Reader, put_number};

/// The longest line before a chunk or behind the last one, with its end.
const LINE: usize = 1024;

/// All lines behind the last chunk together.
const TRAILER: u16 = 8 << 10;

/// The part of a body that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    place: Place,
    /// How much more data the limit allows in chunks, which do not announce a total.
    allowed: u64,
}

/// Where in the body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a body of known length, with this much left.
    Length(u64),
    /// At the start of a chunk's size.
    Size,
    /// In a chunk's data, with this much left.
    Data(u64),
    /// At the line's end behind a chunk's data.
    DataEnd,
    /// At the start of a line behind the last chunk; bytes of such lines so far.
    Trailer(u16),
}

/// One thing read from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The first `length` bytes are read.
    Read {
        length: usize,
        /// Whether they are data; framing, if not.
        data: bool,
        /// Whether the body ends with them.
        last: bool,
    },
    /// It takes more to tell.
    More,
}

impl Step {
    const fn framing(length: usize) -> Self {
        Self::Read { length, data: false, last: false }
    }
}

impl Body {
    /// A body that is not empty, and has not begun to arrive.
    pub(super) const fn new(framing: Framing, limit: u64) -> Self {
        let place = match framing {
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::Size,
        };
        Self { place, allowed: limit }
    }

    /// Appends what [`restore`](Self::restore) reads. `limit` is that of [`new`](Self::new).
    pub(super) fn describe(self, limit: u64, to: &mut Vec<u8>) {
        let (kind, number) = match self.place {
            Place::Length(left) => (0, left),
            Place::Size => (1, 0),
            Place::Data(left) => (2, left),
            Place::DataEnd => (3, 0),
            Place::Trailer(bytes) => (4, bytes.into()),
        };
        to.push(kind);
        put_number(number, to);
        put_number(self.announced(limit), to);
    }

    /// Under a `limit` that may be another one; `None` if the body is over it already.
    pub(super) fn restore(from: &mut Reader<'_>, limit: u64) -> Option<Self> {
        let (kind, number) = (from.byte()?, from.number::<u64>()?);
        let place = match kind {
            0 => Place::Length(number),
            1 => Place::Size,
            2 => Place::Data(number),
            3 => Place::DataEnd,
            4 => Place::Trailer(u16::try_from(number).ok()?),
            _ => return None,
        };
        Some(Self { place, allowed: limit.checked_sub(from.number()?)? })
    }

    /// How much data the chunks read so far announced, under that `limit`.
    pub(super) const fn announced(&self, limit: u64) -> u64 {
        limit - self.allowed
    }

    /// How many bytes must come before there is anything new to read but data; 0 where that is unknown.
    pub(super) fn missing(&self) -> usize {
        let bytes = match self.place {
            Place::Length(left) => left,
            // The first byte behind a chunk can be wrong already.
            Place::Data(left) => left.saturating_add(1),
            Place::Size | Place::DataEnd | Place::Trailer(_) => 0,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// How many bytes at the start of `input` are data; 0 where framing comes next.
    pub(super) fn data(&self, input: &[u8]) -> usize {
        match self.place {
            Place::Length(left) | Place::Data(left) => {
                usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
            }
            _ => 0,
        }
    }

    /// How much of `input` is data where `left` of it are to come, and how much is left then.
    fn take(&self, input: &[u8], left: u64) -> (usize, u64) {
        let data = self.data(input);
        (data, left - data as u64)
    }

    /// Reads one thing from the start of `input`, which is not empty. If it is framing, the corresponding framing is
    /// appended to `out`.
    ///
    /// # Errors
    /// Chunks that are malformed, or hold more than the limit in all. Where the next request starts is then unknown.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        out: Option<&mut Vec<u8>>,
    ) -> Result<Step, Problem> {
        match self.place {
            Place::Length(left) => {
                let (data, left) = self.take(input, left);
                self.place = Place::Length(left);
                Ok(Step::Read { length: data, data: true, last: left == 0 })
            }
            Place::Data(left) => {
                let (data, left) = self.take(input, left);
                self.place = if left == 0 { Place::DataEnd } else { Place::Data(left) };
                Ok(Step::Read { length: data, data: true, last: false })
            }
            Place::Size => {
                let Some((line, size)) = chunk_size(input)? else {
                    return Ok(Step::More);
                };
                if size > self.allowed {
                    return Err(too_large(size, self.allowed));
                }
                self.allowed -= size;
                self.place = if size == 0 { Place::Trailer(0) } else { Place::Data(size) };
                if let Some(out) = out {
                    number::<16>(size, out);
                    out.extend_from_slice(b"\r\n");
                }
                Ok(Step::framing(line))
            }
            Place::DataEnd => {
                let end = b"\r\n";
                let shown = input.len().min(end.len());
                if input[..shown] != end[..shown] {
                    return Err(Problem::bad("a chunk is longer than its size"));
                }
                if shown < end.len() {
                    return Ok(Step::More);
                }
                self.place = Place::Size;
                if let Some(out) = out {
                    out.extend_from_slice(end);
                }
                Ok(Step::framing(end.len()))
            }
            Place::Trailer(before) => {
                let Some(line) = line(input)? else {
                    return Ok(Step::More);
                };
                let length = line.len() + 2;
                if line.is_empty() {
                    if let Some(out) = out {
                        out.extend_from_slice(b"\r\n");
                    }
                    return Ok(Step::Read { length, data: false, last: true });
                }
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                if name.len() == line.len() || !is_token(name) {
                    return Err(Problem::bad("a trailer field is malformed"));
                }
                let bytes = before.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
                if bytes > TRAILER {
                    return Err(Problem::too_long(
                        "431 Request Header Fields Too Large",
                        bytes.into(),
                        TRAILER.into(),
                    ));
                }
                self.place = Place::Trailer(bytes);
                Ok(Step::framing(length))
            }
        }
    }
}

/// The size at the start of `input`, and how long its line is with its end; `None` if that is not all there.
///
/// # Errors
/// Anything but hexadecimal digits, then the line's end or a `;` and a chunk extension. Requests were smuggled where
/// servers and proxies disagreed about anything else.
fn chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, Problem> {
    let Some(line) = line(input)? else {
        return Ok(None);
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = &line[..digits.count()];
    let extension = line[digits.len()..].trim_ascii_start();
    let behind = line.len() - digits.len();
    if digits.is_empty() || behind > 0 && extension.first() != Some(&b';') {
        return Err(Problem::bad("a chunk's size is no hexadecimal number"));
    }
    let size = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        // A number of more than 64 bits is larger than any limit.
        .unwrap_or(u64::MAX);
    Ok(Some((line.len() + 2, size)))
}

/// The line at the start of `input` without its end, if all of it is there.
///
/// # Errors
/// A line that is too long, that ends in other than `\r\n`, or has control characters in it.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Problem> {
    let window = &input[..input.len().min(LINE)];
    let Some(end) = memchr(b'\n', window) else {
        if window.len() == LINE {
            return Err(Problem::bad("a line among the chunks is too long"));
        }
        return Ok(None);
    };
    window[..end]
        .strip_suffix(b"\r")
        .filter(|line| !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'))
        .map(Some)
        .ok_or(Problem::bad("a line among the chunks does not end as it should"))
}
