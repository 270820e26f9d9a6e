//! A fixed text for each frame, line or piece of bytes, in place of its echo: the `reply` key.

use memchr::memchr_iter;

use super::{
    Handler, Next, Output, Protocol, Received, Refusal, Reply,
    identity::{Tag, line},
    lines::Lines,
};
use crate::{Ends, Reason, Token, frame::FrameError};

/// Answers each frame with a frame.
pub(super) struct FrameReply(pub(super) Tag);

impl Handler for FrameReply {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Reply<'_>) -> Result<(), Refusal> {
        self.0.opened(connection, ends);
        Ok(())
    }

    fn frame(
        &mut self,
        connection: Token,
        _: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), FrameError> {
        reply.frame(self.0.text(connection).as_bytes())
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.0.closed(connection);
    }
}

/// Answers each line with a line.
pub(super) struct LineReply {
    pub(super) lines: Lines,
    pub(super) reply: Tag,
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

/// Answers what comes with a line, as often as something comes.
pub(super) struct PieceReply(pub(super) Tag);

impl Protocol for PieceReply {
    fn opened(&mut self, connection: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.0.opened(connection, ends);
        Ok(())
    }

    fn receive(&mut self, connection: Token, input: &[u8], _: usize, out: &mut Output) -> Received {
        line(self.0.text(connection), out);
        Received::answered(input.len(), 1, Next::Idle)
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.0.closed(connection);
    }
}
