//! How what comes back on a connection is compared with what was sent.

use super::{fault::Fault, http::Answers, tape::Tape};

/// Of what is no echo so much is shown.
const SHOWN: usize = 240;

/// In what an echo comes.
#[derive(Debug)]
pub(crate) enum Echo {
    /// As it was sent, byte for byte; so many are in flight.
    AsSent { in_flight: usize },
    /// In answers over HTTP.
    Answers(Answers),
}

/// What came of looking at some input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Bytes that are done with.
    pub(crate) consumed: usize,
    /// Frames whose echo they completed.
    pub(crate) frames: u64,
    /// Where on the tape it goes on.
    pub(crate) next: usize,
    /// The server has said that it closes the connection behind this.
    pub(crate) last: bool,
}

/// Input that is no echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Frames whose echo was complete before.
    pub(crate) frames: u64,
    pub(crate) how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// The bytes of the input from `from` on should be those on the tape from `offset` on; the first `alike` are.
    Differs { from: usize, offset: usize, alike: usize },
    /// It is not even of the kind that echoes are; the text says why, and shows it.
    Otherwise(Fault, String),
}

impl Echo {
    /// This many bytes have been sent.
    pub(crate) const fn sent(&mut self, bytes: usize) {
        if let Self::AsSent { in_flight } = self {
            *in_flight += bytes;
        }
    }

    /// Compares `input` with the echo that should come from `at` on the tape, of `frames` frames.
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
        // What was never sent cannot come back: the tape would go on, though.
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

    /// Appends to `evidence` what `input` brings after something was wrong: echoes without what is around them. The
    /// number of bytes that are done with.
    pub(crate) fn gather(&mut self, input: &[u8], evidence: &mut Vec<u8>) -> usize {
        match self {
            Self::AsSent { .. } => {
                evidence.extend_from_slice(input);
                input.len()
            }
            Self::Answers(answers) => answers.gather(input, evidence),
        }
    }

    /// Whether a part of the frame at `at` has come back.
    pub(crate) fn is_within(&self, tape: &Tape, at: usize) -> bool {
        match self {
            Self::AsSent { .. } => !tape.is_start(at),
            Self::Answers(answers) => answers.is_within(),
        }
    }
}

/// The start of `bytes` as lines of text.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let lines = shown.trim_ascii_end().split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        format!("  {}\n", line.escape_ascii())
    });
    lines.collect()
}
