//! `lines`: sends each line back as soon as it is complete, with the same line end.
//!
//! ```text
//! ┌─────────────┬────┐┌──────────────────┬───────┐┌────────
//! │ hello       │ \n ││ GET / HTTP/1.1   │ \r \n ││ not yet     a line end is `\n`; a `\r` before it belongs to it
//! └─────────────┴────┘└──────────────────┴───────┘└────────
//! ```
//!
//! Lines are bytes, and nothing is decoded: NUL and a lone `\r` are bytes like any other. An empty line is a line. Bytes
//! after the last `\n` are not a line, and are not sent back when the peer closes.

use memchr::memchr_iter;

use super::{
    Next, Output, Protocol, Received, Refusal,
    fault::Units,
    identity::{Tag, greeted, line},
    key::{BANNER, REPLY},
    offer::Offer,
};
use crate::{Ends, Reason, Token};

pub(super) const OFFER: Offer = Offer {
    name: "lines",
    about: "each line comes back as it completes, its \\n or \\r\\n as it came",
    keys: &[("max", "the longest line, its end not counted; default --max-frame"), BANNER, REPLY],
    units: |_| Ok(Units::Lines),
    make: |terms| {
        let lines = Lines { max: terms.max_in_memory()? as usize };
        let banner = terms.banner.as_ref();
        Ok(match terms.reply() {
            None => greeted(lines, banner, line),
            Some(reply) => greeted(LineReply { lines, reply }, banner, line),
        })
    },
};

/// Echoes lines.
///
/// It keeps no state for a connection: a partial line stays in the connection's input. Only its new bytes are searched for
/// the line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// The longest line in bytes, without its line end. Default 64 KiB. A longer line is refused as soon as too many bytes
    /// have arrived, after the lines before it are sent back.
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
        // A `\r` at the end may be the first half of the line end.
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

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}

/// Answers each line with a fixed one: the `reply` key.
struct LineReply {
    lines: Lines,
    reply: Tag,
}

impl Protocol for LineReply {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.reply.opened(connection, ends);
        Ok(())
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        let echo = self.lines.receive(connection, input, seen, out);
        let text = self.reply.text(connection);
        let ends = memchr_iter(b'\n', &input[..echo.consumed]);
        for (answered, end) in (1..).zip(ends) {
            line(text, out);
            if answered < echo.frames && out.is_full() {
                // A reply may be much longer than a line: the lines behind wait until the peer has taken this much.
                return Received::answered(end + 1, answered, Next::Full);
            }
        }
        Received::answered(echo.consumed, echo.frames, echo.next)
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.reply.closed(connection);
    }
}

/// The length of a line but for its `\n` or `\r\n`.
fn without_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}
