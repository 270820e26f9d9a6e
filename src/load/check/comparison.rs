//! The result of comparing what a connection receives with what was sent.

use std::ops::Range;

use resound::plural::bytes;

use super::fault::Fault;
use crate::load::wire::tape::Tape;

/// How many bytes are shown of input that is no echo.
const SHOWN: usize = 240;

/// The result of comparing some input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Bytes that were used.
    pub(crate) consumed: usize,
    /// Frames whose echo was completed.
    pub(crate) frames: u64,
    /// Where the next byte is on the tape.
    pub(crate) next: usize,
    /// The server has announced that it closes the connection after this.
    pub(crate) last: bool,
}

/// Input that is no echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Frames whose echo was completed before it.
    pub(crate) frames: u64,
    pub(crate) how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// The bytes of the input from `from` on should be those on the tape from `offset` on; the first `alike` are.
    Differs { from: usize, offset: usize, alike: usize },
    /// It does not have the form of an echo. The text gives the reason and shows the input.
    Otherwise(Fault, String),
}

/// Compares a `piece` of the `input` with the payload of the frame at `index` on the tape, of which `come` bytes came before
/// the piece. `carrier` is what carries the payload, such as "a message".
///
/// # Errors
///
/// The piece differs, or is longer than the rest of the payload.
pub(crate) fn compare_payload(
    tape: &Tape,
    index: usize,
    come: usize,
    input: &[u8],
    piece: Range<usize>,
    carrier: &str,
) -> Result<(), How> {
    let echo = tape.echo(index);
    let (from, offset) = (piece.start, echo.start + come);
    let (found, expected) = (&input[piece], &tape.bytes()[offset..echo.end]);
    let common = found.len().min(expected.len());
    if found[..common] != expected[..common] {
        let alike = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        return Err(How::Differs { from, offset, alike });
    }
    if found.len() > expected.len() {
        let what = format!("{carrier} is longer than the {} sent", bytes(echo.len()));
        return Err(How::Otherwise(Fault::Surplus, shown(&what, &input[from..])));
    }
    Ok(())
}

/// `what`, with the beginning of the input that it is about.
pub(crate) fn shown(what: &str, rest: &[u8]) -> String {
    format!("{what}; it begins\n{}", beginning(rest))
}

/// The beginning of `bytes` as lines of text.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let lines = shown.trim_ascii_end().split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        format!("  {}\n", line.escape_ascii())
    });
    lines.collect()
}
