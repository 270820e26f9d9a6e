//! A fixed text for each frame or piece of bytes, in place of its echo: the `reply` key.

use super::{
    Handler, Next, Output, Protocol, Received, Refusal, Reply,
    identity::{Tag, line},
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
