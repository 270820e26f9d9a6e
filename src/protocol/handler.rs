//! A protocol of your own over frames: a handler receives payloads and replies with payloads. It does not see buffers or
//! sockets.
//!
//! A server that answers each frame with the same text in capital letters:
//!
//! ```
//! use resound::{
//!     frame::Dialect,
//!     protocol::{Framed, Reply},
//! };
//!
//! let upper = Framed::new(Dialect::default(), |payload: &[u8], reply: &mut Reply<'_>| {
//!     reply.frame(&payload.to_ascii_uppercase())
//! });
//! ```

use std::time::Duration;

use super::{Ending, Next, Output, Protocol, Received, Refusal, scanned::after};
use crate::{
    Ends, Reason, Token,
    frame::{Dialect, FrameError, Payload},
};

/// Answers the frames of all connections of one listener.
///
/// A closure that takes a payload and a [`Reply`] is a handler. If you need state for each connection, write a type that
/// keeps it in a [`PerConnection`](super::PerConnection), or in a map with the token as its key:
///
/// ```
/// use std::collections::HashMap;
///
/// use resound::{
///     Reason, Token,
///     frame::FrameError,
///     protocol::{Handler, Reply},
/// };
///
/// /// Answers each frame with the number of frames on this connection so far.
/// #[derive(Default)]
/// struct Count(HashMap<Token, u64>);
///
/// impl Handler for Count {
///     fn frame(
///         &mut self,
///         connection: Token,
///         _payload: &[u8],
///         reply: &mut Reply<'_>,
///     ) -> Result<(), FrameError> {
///         let count = self.0.entry(connection).or_default();
///         *count += 1;
///         reply.frame(count.to_string().as_bytes())
///     }
///
///     fn closed(&mut self, connection: Token, _reason: Reason) {
///         self.0.remove(&connection);
///     }
/// }
/// ```
///
/// # Panics
///
/// A panic in a handler is not caught: it ends the loop with all its connections, as a panic in a [`Protocol`] does.
pub trait Handler {
    /// A connection is open. The frames in `greeting` are the first that the peer receives.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] ends the connection after the greeting is sent, as in [`Protocol::opened`].
    fn opened(
        &mut self,
        connection: Token,
        ends: &Ends,
        greeting: &mut Reply<'_>,
    ) -> Result<(), Refusal> {
        let _ = (connection, ends, greeting);
        Ok(())
    }

    /// A whole frame with that `payload` has arrived. The reply can be any number of frames, also none.
    ///
    /// # Errors
    ///
    /// The errors of [`Reply`], passed on with `?`. Then the connection ends after the replies before the error.
    fn frame(
        &mut self,
        connection: Token,
        payload: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), FrameError>;

    /// All replies have been sent. [`Reply::call_when_sent`] asks for this call. The frames in `reply` are sent.
    fn sent(&mut self, connection: Token, reply: &mut Reply<'_>) {
        let _ = (connection, reply);
    }

    /// The delay is over that [`Reply::call_after`] set. The frames in `reply` are sent.
    fn called(&mut self, connection: Token, reply: &mut Reply<'_>) {
        let _ = (connection, reply);
    }

    /// The server is about to end the connection, for the reason `cause`. The frames in `reply` are the last that the peer
    /// receives.
    fn ending(&mut self, connection: Token, cause: Ending, reply: &mut Reply<'_>) {
        let _ = (connection, cause, reply);
    }

    /// Whether a connection goes on reading while it has unsent output. Only for clients: see
    /// [`Protocol::reads_while_owed`].
    fn reads_while_owed(&self) -> bool {
        false
    }

    /// The connection is closed, for that `reason`. No later connection gets its token.
    fn closed(&mut self, connection: Token, reason: Reason) {
        let _ = (connection, reason);
    }

    /// What the handler remembers of a connection, as [`Protocol::describe`]. By default it cannot be described: the
    /// connection stays in its process when that is replaced. A handler that remembers nothing returns an empty `Vec`.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        let _ = connection;
        None
    }

    /// Goes on with a connection that was [described](Self::describe), as [`Protocol::restore`].
    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        let _ = (connection, ends, state);
        false
    }
}

impl<F> Handler for F
where
    F: FnMut(&[u8], &mut Reply<'_>) -> Result<(), FrameError>,
{
    fn frame(
        &mut self,
        _connection: Token,
        payload: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), FrameError> {
        self(payload, reply)
    }

    /// A closure is not told which connection a frame is from, so it has nothing to remember of it.
    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: Token, _: &Ends, state: &[u8]) -> bool {
        state.is_empty()
    }
}

/// The reply of a [`Handler`]: frames in the dialect of the listener.
#[derive(Debug)]
pub struct Reply<'o> {
    dialect: Dialect,
    out: &'o mut Output,
    finished: bool,
}

impl<'o> Reply<'o> {
    const fn new(dialect: Dialect, out: &'o mut Output) -> Self {
        Self { dialect, out, finished: false }
    }

    /// Sends `payload` as one frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the dialect has no length field for this payload ([`Dialect::encode_head`]). Then nothing is sent.
    pub fn frame(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        self.dialect.encode(payload, self.out.as_mut_vec())
    }

    /// Sends the bytes that `write` writes as one frame, without copying them: the head is filled in when the length is known.
    ///
    /// ```
    /// # use resound::{frame::FrameError, protocol::Reply};
    /// # fn answer(payload: &[u8], reply: &mut Reply<'_>) -> Result<(), FrameError> {
    /// reply.build(|out| out.extend(payload.iter().map(u8::to_ascii_uppercase)))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`frame`](Self::frame).
    pub fn build(&mut self, write: impl FnOnce(&mut Payload<'_>)) -> Result<(), FrameError> {
        self.dialect.build(self.out.as_mut_vec(), write)
    }

    /// Whether enough bytes wait to be sent. A handler with many replies then stops, asks for a call with
    /// [`call_when_sent`](Self::call_when_sent), and continues in it. A handler that ignores this makes the server hold all
    /// replies that a slow peer does not read.
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use resound::{
    ///     Reason, Token,
    ///     frame::FrameError,
    ///     protocol::{Handler, Reply},
    /// };
    ///
    /// /// Counts down from a million on each connection, one frame for each number.
    /// #[derive(Default)]
    /// struct CountDown(HashMap<Token, u32>);
    ///
    /// impl Handler for CountDown {
    ///     fn frame(
    ///         &mut self,
    ///         connection: Token,
    ///         _payload: &[u8],
    ///         reply: &mut Reply<'_>,
    ///     ) -> Result<(), FrameError> {
    ///         self.0.insert(connection, 1_000_000);
    ///         self.sent(connection, reply);
    ///         Ok(())
    ///     }
    ///
    ///     fn sent(&mut self, connection: Token, reply: &mut Reply<'_>) {
    ///         let left = self.0.entry(connection).or_default();
    ///         while *left > 0 {
    ///             if reply.is_full() {
    ///                 return reply.call_when_sent();
    ///             }
    ///             if reply.frame(left.to_string().as_bytes()).is_err() {
    ///                 return;
    ///             }
    ///             *left -= 1;
    ///         }
    ///     }
    ///
    ///     fn closed(&mut self, connection: Token, _reason: Reason) {
    ///         self.0.remove(&connection);
    ///     }
    /// }
    /// ```
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.out.is_full()
    }

    /// Asks for a call of [`Handler::sent`] when the kernel has accepted all replies on this connection. The frames after
    /// this one are handled after that call.
    pub const fn call_when_sent(&mut self) {
        self.out.call_when_sent();
    }

    /// Asks for a call of [`Handler::called`] after `delay`. It replaces an earlier request of this connection.
    pub const fn call_after(&mut self, delay: Duration) {
        self.out.call_after(delay);
    }

    /// Ends the connection when all replies have been sent. Frames after this one are not answered.
    pub const fn finish(&mut self) {
        self.finished = true;
    }
}

/// A [`Protocol`] that unpacks the frames of a dialect and passes them to a [`Handler`].
#[derive(Debug, Clone, Default)]
pub struct Framed<H> {
    dialect: Dialect,
    handler: H,
}

impl<H: Handler> Framed<H> {
    /// Passes each frame of `dialect` to `handler`.
    pub const fn new(dialect: Dialect, handler: H) -> Self {
        Self { dialect, handler }
    }

    /// The handler.
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, mutably.
    pub const fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }
}

impl<H: Handler> Protocol for Framed<H> {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let mut greeting = Reply::new(self.dialect, out);
        self.handler.opened(connection, ends, &mut greeting)
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        _seen: usize,
        out: &mut Output,
    ) -> Received {
        let mut ahead = self.dialect.unpack(input);
        let mut consumed = 0;
        let mut frames = 0;
        let next = loop {
            let Some(frame) = ahead.next() else {
                break after(ahead.rest(), ahead.ahead(), |need| Next::Rest { need });
            };
            if out.is_full() {
                break Next::Full;
            }
            consumed += frame.whole.len();
            frames += 1;
            let mut reply = Reply::new(self.dialect, out);
            let answered = self.handler.frame(connection, frame.payload, &mut reply);
            if reply.finished {
                break Next::Finish;
            }
            if answered.is_err() {
                break Next::Refuse(Refusal::Malformed(
                    "a frame whose answer is longer or shorter than the dialect can carry",
                ));
            }
            if out.is_to_call_when_sent() && consumed < input.len() {
                // The replies to the next frame come after the rest of these replies.
                break Next::Full;
            }
        };
        Received::answered(consumed, frames, next)
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        self.handler.sent(connection, &mut Reply::new(self.dialect, out));
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        self.handler.called(connection, &mut Reply::new(self.dialect, out));
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        self.handler.ending(connection, cause, &mut Reply::new(self.dialect, out));
    }

    fn reads_while_owed(&self) -> bool {
        self.handler.reads_while_owed()
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        self.handler.closed(connection, reason);
    }

    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        self.handler.describe(connection)
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        self.handler.restore(connection, ends, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_FRAMES: &[u8] = b"\x01\0\0\0a\x01\0\0\0b";

    fn echo(payload: &[u8], reply: &mut Reply<'_>) -> Result<(), FrameError> {
        reply.frame(payload)
    }

    fn received(handler: impl Handler, input: &[u8], out: &mut Output) -> Received {
        Framed::new(Dialect::default(), handler).receive(Token::new(0, 1), input, 0, out)
    }

    #[test]
    fn full_output_stops_between_two_frames() {
        let mut out = Output::new(5);
        let first = received(echo, TWO_FRAMES, &mut out);
        assert_eq!((first.consumed, first.frames, first.next), (5, 1, Next::Full));
        assert_eq!(out.bytes(), b"\x01\0\0\0a");
    }

    #[test]
    fn full_output_after_the_last_frame_stops_nothing() {
        let mut out = Output::new(5);
        let last = received(echo, &TWO_FRAMES[..7], &mut out);
        assert_eq!((last.consumed, last.frames, last.next), (5, 1, Next::Rest { need: 4 }));
    }

    #[test]
    fn frames_behind_one_with_more_replies_to_come_wait() {
        let more = |_: &[u8], reply: &mut Reply<'_>| {
            reply.call_when_sent();
            reply.frame(b"part")
        };
        let mut out = Output::new(100);
        let first = received(more, TWO_FRAMES, &mut out);
        assert_eq!((first.consumed, first.frames, first.next), (5, 1, Next::Full));
        let mut out = Output::new(100);
        let only = received(more, &TWO_FRAMES[..5], &mut out);
        assert_eq!((only.consumed, only.next), (5, Next::Idle));
    }

    #[test]
    fn finish_leaves_the_frames_behind_unanswered() {
        let goodbye = |_: &[u8], reply: &mut Reply<'_>| {
            reply.finish();
            reply.frame(b"bye")
        };
        let mut out = Output::new(100);
        let only = received(goodbye, TWO_FRAMES, &mut out);
        assert_eq!((only.consumed, only.frames, only.next), (5, 1, Next::Finish));
        assert_eq!(out.bytes(), b"\x03\0\0\0bye");
    }
}
