//! Compares what a connection receives with what was sent.

use super::{
    answers::Answers,
    comparison::{Followed, How, Wrong},
    messages::Messages,
};
use crate::load::wire::tape::Tape;

/// The form of an echo.
#[derive(Debug)]
pub(crate) enum Echo {
    /// The bytes that were sent; `in_flight` of them have not come back.
    AsSent { in_flight: usize },
    /// HTTP answers.
    Answers(Answers),
    /// WebSocket messages.
    Messages(Messages),
}

impl Echo {
    /// Reads the answer to the handshake, where there is one. Returns its length; `None` if it is incomplete.
    ///
    /// # Errors
    ///
    /// As [`Messages::shake_hands`].
    pub(crate) fn shake_hands(&mut self, input: &[u8]) -> Result<Option<usize>, Wrong> {
        match self {
            Self::Messages(messages) => messages.shake_hands(input),
            Self::AsSent { .. } | Self::Answers(_) => Ok(Some(0)),
        }
    }

    /// The control frame that has to be sent now: its opcode and its payload.
    pub(crate) fn owed(&mut self) -> Option<(u8, Vec<u8>)> {
        match self {
            Self::Messages(messages) => messages.owed(),
            Self::AsSent { .. } | Self::Answers(_) => None,
        }
    }

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
            Self::Messages(messages) => return messages.follow(tape, at, frames, input),
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
            Self::Messages(messages) => messages.gather(input, evidence),
        }
    }

    /// Whether a part, and not all, of the frame at `at` has come back.
    pub(crate) fn is_within(&self, tape: &Tape, at: usize) -> bool {
        match self {
            Self::AsSent { .. } => !tape.is_start(at),
            Self::Answers(answers) => answers.is_within(),
            Self::Messages(messages) => messages.is_within(),
        }
    }
}
