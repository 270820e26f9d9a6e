//! `lines`: every line goes back as soon as it is complete, its end as it came.
//!
//! ```text
//! ┌─────────────┬────┐┌──────────────────┬───────┐┌────────
//! │ hello       │ \n ││ GET / HTTP/1.1   │ \r \n ││ not yet     a line end is `\n`; a `\r` before it belongs to it
//! └─────────────┴────┘└──────────────────┴───────┘└────────
//! ```
//!
//! Lines are bytes: nothing is decoded, a NUL or a lone `\r` is a byte like any other, and an empty
//! line is a line. What follows the last `\n` when the peer stops sending is not a line, and does
//! not go back.

use memchr::memchr_iter;

use super::{
    Next, Output, Protocol, Received, Refusal,
    identity::{greeted, line},
    key::BANNER,
    offer::Offer,
};
use crate::Token;

pub(super) const OFFER: Offer = Offer {
    name: "lines",
    about: "each line comes back as it completes, its \\n or \\r\\n as it came",
    keys: &[("max", "the longest line, its end not counted; default --max-frame"), BANNER],
    make: |terms| {
        let lines = Lines { max: terms.max_in_memory()? as usize };
        Ok(greeted(lines, terms.banner.as_ref(), line))
    },
};

/// Echoes lines.
///
/// Remembers nothing of a connection: a line that is not complete stays where it was received, and
/// of it only what has not been shown before is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// The longest line in bytes, its end not counted. Default 64 KiB. A longer one is refused as
    /// soon as it is seen to be longer, after the lines before it went back.
    pub max: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { max: 64 << 10 }
    }
}

impl Protocol for Lines {
    fn receive(&mut self, _: Token, input: &[u8], seen: usize, _: &mut Output) -> Received {
        let (mut lines, mut consumed) = (0, 0);
        let mut too_long = None;
        for end in memchr_iter(b'\n', &input[seen..]) {
            let next = seen + end + 1;
            let length = without_end(&input[consumed..next]);
            if length > self.max {
                too_long = Some(length);
                break;
            }
            (lines, consumed) = (lines + 1, next);
        }
        let rest = &input[consumed..];
        // A `\r` that comes last may yet turn out to be half of the line's end.
        let length = too_long.unwrap_or_else(|| rest.strip_suffix(b"\r").unwrap_or(rest).len());
        let next = if length > self.max {
            Next::Refuse(Refusal::TooLong {
                length: length as u64,
                limit: self.max as u64,
                looks_like: None,
            })
        } else if rest.is_empty() {
            Next::Idle
        } else {
            Next::Rest { need: 0 }
        };
        Received::echo(consumed, lines, next)
    }
}

/// The length of a line but for its `\n` or `\r\n`.
fn without_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}
