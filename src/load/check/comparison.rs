//! The result of comparing what a connection receives with what was sent.

use super::fault::Fault;

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

/// The beginning of `bytes` as lines of text.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let lines = shown.trim_ascii_end().split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        format!("  {}\n", line.escape_ascii())
    });
    lines.collect()
}
