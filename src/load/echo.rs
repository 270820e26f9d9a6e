//! Compares what a connection receives with what was sent.

use super::{fault::Fault, http::Answers, tape::Tape};

/// How many bytes are shown of input that is no echo.
const SHOWN: usize = 240;

/// The form of an echo.
#[derive(Debug)]
pub(crate) enum Echo {
    /// The bytes that were sent; `in_flight` of them have not come back.
    AsSent { in_flight: usize },
    /// HTTP answers.
    Answers(Answers),
}

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

impl Echo {
    /// This many bytes have been sent.
    pub(crate) const fn sent(&mut self, bytes: usize) {
        if let Self::AsSent { in_flight } = self {
            *in_flight += bytes;
        }
    }

    /// Compares `input` with what should come back: the tape from `at` on, `frames` frames.
    pub(crate) fn follow(
        &mut self,
        tape: &Tape,
        at: usize,
        frames: u32,
        input: &[u8],
    ) -> Result<Followed, Wrong> {
        let in_flight = match self {
            Self::AsSent { in_flight } => in_flight,
            Self::Answers(answers) => return answers.follow(tape, at, frames, input),
        };
        // The tape is endless, but bytes that were not sent cannot come back.
        let known = input.len().min(*in_flight);
        let alike = match tape.follow(at, &input[..known]) {
            Ok((frames, next)) if known == input.len() => {
                *in_flight -= known;
                return Ok(Followed { consumed: known, frames, next, last: false });
            }
            Ok(_) => known,
            Err(alike) => alike,
        };
        Err(Wrong { frames: 0, how: How::Differs { from: 0, offset: at, alike } })
    }

    /// After something was wrong: appends the payloads in `input` to `evidence` without a comparison. Returns the number
    /// of bytes that were used.
    pub(crate) fn gather(&mut self, input: &[u8], evidence: &mut Vec<u8>) -> usize {
        match self {
            Self::AsSent { .. } => {
                evidence.extend_from_slice(input);
                input.len()
            }
            Self::Answers(answers) => answers.gather(input, evidence),
        }
    }

    /// Whether a part, and not all, of the frame at `at` has come back.
    pub(crate) fn is_within(&self, tape: &Tape, at: usize) -> bool {
        match self {
            Self::AsSent { .. } => !tape.is_start(at),
            Self::Answers(answers) => answers.is_within(),
        }
    }
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
