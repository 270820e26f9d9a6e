//! What a listener speaks: bytes in, bytes out, without a socket.
//!
//! A [`Protocol`] is shown what has arrived and says how much of it is done with. What goes back is either
//! *those same bytes*, which are then written from where they lie without being copied, or whatever the
//! protocol put into its [`Output`]. One protocol serves all connections of its listener; what it has to
//! remember of each it keeps itself, by [`Token`], so that a protocol that remembers nothing costs nothing.

mod clock;
mod frames;
mod handler;
pub mod http;
pub mod identity;
mod key;
pub mod lines;
mod offer;
mod offers;
pub mod per_connection;
pub mod proxy;
mod raw;
pub mod websocket;
#[cfg(test)]
mod wrappers;

use std::time::Duration;

pub use frames::{Frames, looks_like};
pub use handler::{Framed, Handler, Reply};
pub use key::{BadTerms, COMMON, Key};
pub use offer::{Offer, Terms};
pub use offers::{offer, offers};
pub use per_connection::PerConnection;
pub use raw::Raw;

use crate::{Ends, Peer, Reason, Token, plural::bytes};

/// What a listener speaks.
///
/// # Panics
///
/// A panic in a protocol is not caught. It unwinds out of [`Reactor::turn`](crate::Reactor::turn) and
/// [`Reactor::run`](crate::Reactor::run), and so it ends the loop with all its connections: the protocol serves all of
/// them, and its state may be inconsistent. `resound serve` then stops its other loops in order and exits with code 1.
pub trait Protocol {
    /// A connection is open: it was accepted, or a server has answered
    /// [`Reactor::connect`](crate::Reactor::connect). What is put into `out` is the first thing that its peer receives.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] ends the connection: what is in `out` is sent, then FIN. The refusal is counted and logged as one
    /// of [`Next::Refuse`]. Nothing that the peer sends is shown; [`closed`](Self::closed) is called as for every
    /// connection, with [`Reason::Refused`].
    ///
    /// ```
    /// use resound::{
    ///     Ends, Peer, Token,
    ///     protocol::{Output, Protocol, Raw, Received, Refusal},
    /// };
    ///
    /// /// Echoes, but only to this host.
    /// struct Local;
    ///
    /// impl Protocol for Local {
    ///     fn opened(&mut self, _: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
    ///         match ends.peer {
    ///             Peer::Tcp(address) if !address.ip().is_loopback() => {
    ///                 out.extend(b"local clients only\n");
    ///                 Err(Refusal::NotAllowed("a peer on another host"))
    ///             }
    ///             _ => Ok(()),
    ///         }
    ///     }
    ///
    ///     fn receive(&mut self, token: Token, input: &[u8], seen: usize, out: &mut Output) -> Received {
    ///         Raw.receive(token, input, seen, out)
    ///     }
    /// }
    /// ```
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        let _ = (connection, ends, out);
        Ok(())
    }

    /// Bytes have arrived.
    ///
    /// `input` is all that was received and is not consumed yet, in order and in one piece; it is never
    /// empty. Its first `seen` bytes were shown before and were not enough; `seen < input.len()`, unless the
    /// last answer was [`Next::Full`]: then the same bytes are shown again with `seen` 0.
    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received;

    /// The server is about to end the connection for a reason of its own. What is put into `out` is the last
    /// thing its peer receives; it goes out behind whole units only, as everything in `out` always does.
    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        let _ = (connection, cause, out);
    }

    /// All that was put into an output has been sent, as [`Output::call_when_sent`] asked. What is put into `out` goes
    /// to the peer; a protocol with still more to send asks again.
    fn sent(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The time has come for which [`Output::call_after`] asked. What is put into `out` goes to the peer.
    fn called(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The connection is gone, for that `reason`; its token will not come back. One that went out may be gone
    /// without ever having been [`opened`](Self::opened).
    fn closed(&mut self, connection: Token, reason: Reason) {
        let _ = (connection, reason);
    }

    /// Whether a connection is read from even while its peer does not take what it is owed.
    ///
    /// A server must not: a peer that never reads could make it hold any amount. A client that sends more
    /// than the kernels between it and the server hold must, or the two wait for each other for ever: the
    /// server, likewise, reads no more until its answers are taken. Its own sense has to limit what it sends.
    fn reads_while_owed(&self) -> bool {
        false
    }

    /// Whether a conversation begins with a handshake: the handshake timeout then runs from the moment the connection
    /// is accepted until an answer other than [`Next::Handshake`].
    fn begins_with_handshake(&self) -> bool {
        false
    }

    /// Whether the peer's real address comes later, by [`Output::introduce`]. Limits per address then count that one,
    /// and not the proxy's.
    fn introduces_peers(&self) -> bool {
        false
    }
}

/// Any protocol, boxed, is a protocol: which one a listener speaks is decided when it is configured.
impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn opened(&mut self, connection: Token, ends: &Ends, out: &mut Output) -> Result<(), Refusal> {
        (**self).opened(connection, ends, out)
    }

    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received {
        (**self).receive(connection, input, seen, out)
    }

    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        (**self).ending(connection, cause, out);
    }

    fn sent(&mut self, connection: Token, out: &mut Output) {
        (**self).sent(connection, out);
    }

    fn called(&mut self, connection: Token, out: &mut Output) {
        (**self).called(connection, out);
    }

    fn closed(&mut self, connection: Token, reason: Reason) {
        (**self).closed(connection, reason);
    }

    fn reads_while_owed(&self) -> bool {
        (**self).reads_while_owed()
    }

    fn begins_with_handshake(&self) -> bool {
        (**self).begins_with_handshake()
    }

    fn introduces_peers(&self) -> bool {
        (**self).introduces_peers()
    }
}

/// Why the server ends a connection without an error of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Nothing was begun for the whole of the idle timeout.
    Idle,
    /// A unit was begun and not finished within the frame timeout.
    Unfinished,
    /// The server is stopping.
    Stopping,
    /// All connections together hold more than the memory limit, and this one holds most. What it holds is dropped.
    Memory,
}

/// A protocol's answer to the bytes it was shown: [`echo`](Self::echo) or [`answered`](Self::answered).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// How many leading bytes of the input are done with. The rest is kept and shown again with more behind it.
    pub consumed: usize,
    /// Whether the consumed bytes themselves go back to the peer, after what was put into the output.
    pub echo: bool,
    /// How many whole units (frames, lines, messages, requests) the consumed bytes completed; a counter.
    pub frames: u64,
    /// What the connection should do next.
    pub next: Next,
}

impl Received {
    /// The first `consumed` bytes of the input, which completed this many `frames`, go back to the peer as they are,
    /// after what is in the output. They are not copied.
    #[inline(always)]
    #[must_use]
    pub const fn echo(consumed: usize, frames: u64, next: Next) -> Self {
        Self { consumed, echo: true, frames, next }
    }

    /// The first `consumed` bytes of the input completed this many `frames`. Only what is in the output goes to the peer.
    #[inline(always)]
    #[must_use]
    pub const fn answered(consumed: usize, frames: u64, next: Next) -> Self {
        Self { consumed, echo: false, frames, next }
    }
}

/// What a protocol waits for after a batch of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Nothing: all units begun are finished. The connection is idle.
    Idle,
    /// The rest of a unit that has begun; the time limit for a whole frame runs.
    ///
    /// `need` is the length the unconsumed input must reach before showing it again can lead anywhere, or 0
    /// where that cannot be told (a line, a request's head). It is a promise to call back no sooner and a
    /// hint of how much to read; memory is never reserved on its word.
    Rest {
        /// In bytes, counted from the first unconsumed one.
        need: usize,
    },
    /// As [`Rest`](Self::Rest), while the handshake goes on with which the conversation begins
    /// ([`Protocol::begins_with_handshake`]): the time limit for a handshake runs.
    Handshake {
        /// In bytes, counted from the first unconsumed one; 0 where that cannot be told.
        need: usize,
    },
    /// The input holds more to answer, but what is answered so far must leave first: the output is full
    /// ([`Output::is_full`]), or the next part of the answer is an [echo](Received::echo) of its own. The rest is shown
    /// again once the peer has taken what it is owed.
    Full,
    /// The conversation is over: send what there is, then close.
    Finish,
    /// The peer broke the rules: send what there is, then close.
    Refuse(Refusal),
}

impl Next {
    /// How many bytes the unconsumed input must reach before it is shown again; 0 where that is not known.
    pub(crate) const fn need(self) -> usize {
        match self {
            Self::Rest { need } | Self::Handshake { need } => need,
            _ => 0,
        }
    }
}

/// Why a peer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A unit announces, or already has, more bytes than the limit.
    TooLong {
        /// Bytes announced, or seen so far where nothing announces them; [`u64::MAX`] is that or more.
        length: u64,
        /// Bytes allowed.
        limit: u64,
        /// What the bytes look like instead (`an HTTP request`), if they look like something.
        looks_like: Option<&'static str>,
    },
    /// Bytes that mean nothing in this protocol; the text says what is wrong with them.
    Malformed(&'static str),
    /// The peer may not use this listener; the text says why. For [`Protocol::opened`], which knows its address.
    NotAllowed(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { length, limit, looks_like } => {
                match length {
                    &u64::MAX => write!(f, "a length of 2^64-1 bytes or more")?,
                    length => write!(f, "a length of {}", bytes(*length))?,
                }
                write!(f, ", over the limit of {limit}")?;
                looks_like.map_or(Ok(()), |what| write!(f, " (this looks like {what})"))
            }
            Self::Malformed(what) | Self::NotAllowed(what) => f.write_str(what),
        }
    }
}

/// What a protocol appends its replies to.
///
/// The loop owns one and lends it to each protocol in turn; only what the kernel does not take at once
/// moves to the connection.
#[derive(Debug)]
pub struct Output {
    bytes: Vec<u8>,
    high_water: usize,
    requests: Requests,
}

/// What a protocol has asked of the loop beside sending bytes.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Whether there is any, so that the loop looks at one byte where there is none.
    any: bool,
    pub(crate) peer: Option<Peer>,
    pub(crate) call_when_sent: bool,
    pub(crate) call_after: Option<Duration>,
    pub(crate) finish: bool,
}

impl Output {
    /// An empty output that is full from `high_water` bytes on.
    #[must_use]
    pub const fn new(high_water: usize) -> Self {
        Self {
            bytes: Vec::new(),
            high_water,
            requests: Requests {
                any: false,
                peer: None,
                call_when_sent: false,
                call_after: None,
                finish: false,
            },
        }
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the high-water mark is reached. A protocol that finds it so between two units answers
    /// [`Next::Full`] and is asked again when the peer has taken what it is owed; one that goes on regardless
    /// makes the server hold what a slow peer will not take.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes.len() >= self.high_water
    }

    /// Whether some long reply has left much more memory here than the usual ones need.
    pub(crate) const fn is_oversized(&self) -> bool {
        self.bytes.capacity() > 2 * self.high_water
    }

    /// Forgets what was appended, and gives back what memory is more than the usual.
    pub(crate) fn trim(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(self.high_water);
    }

    /// What has been appended.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes themselves, for writers that need a `Vec` or `std::io::Write`.
    pub const fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Sets the address of the peer that is behind a proxy (see [`proxy`]). The log shows this peer
    /// from here on, and limits per address count it.
    pub const fn introduce(&mut self, peer: Peer) {
        (self.requests.any, self.requests.peer) = (true, Some(peer));
    }

    /// Asks for [`Protocol::sent`] once all that this connection is owed has been handed to the kernel: at the latest
    /// when its peer has read nearly all of it. This is how to send much without holding much: append until
    /// [`is_full`](Self::is_full), ask, and go on when called.
    pub const fn call_when_sent(&mut self) {
        (self.requests.any, self.requests.call_when_sent) = (true, true);
    }

    /// Whether [`call_when_sent`](Self::call_when_sent) has been asked for and the call has not come.
    #[must_use]
    pub const fn is_to_call_when_sent(&self) -> bool {
        self.requests.call_when_sent
    }

    /// Asks for [`Protocol::called`] after this time, instead of an earlier such request of this connection. A poll
    /// counts in milliseconds, so it comes up to one late.
    ///
    /// A connection whose peer has sent FIN stays open until this call, for at most the idle timeout.
    pub const fn call_after(&mut self, delay: Duration) {
        (self.requests.any, self.requests.call_after) = (true, Some(delay));
    }

    /// Ends the connection once what it is owed has been sent, as [`Next::Finish`] does. For the calls other than
    /// [`Protocol::receive`], which return no [`Next`].
    pub const fn finish(&mut self) {
        (self.requests.any, self.requests.finish) = (true, true);
    }

    /// The peer that was introduced since this was last asked.
    pub const fn take_peer(&mut self) -> Option<Peer> {
        self.requests.peer.take()
    }

    /// What was asked since this was last called.
    #[inline(always)]
    pub(crate) fn take_requests(&mut self) -> Option<Requests> {
        self.requests.any.then(|| std::mem::take(&mut self.requests))
    }

    /// Forgets what was appended and asked; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.requests.any {
            self.requests = Requests::default();
        }
    }
}
