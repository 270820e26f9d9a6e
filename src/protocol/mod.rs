//! What a listener speaks: bytes in, bytes out, without a socket.
//!
//! A [`Protocol`] gets the bytes that a connection has received, and returns how many of them it has handled. The reply is
//! either *the same bytes*, which are sent without being copied, or the bytes that the protocol appended to its
//! [`Output`]. One protocol serves all connections of its listener. If it needs state for each connection, it keeps that
//! state itself, by [`Token`]. A protocol without such state needs no memory for a connection.

mod clock;
mod description;
pub mod fault;
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
mod reply;
mod scanned;
pub(crate) mod schedule;
mod status;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;
#[cfg(test)]
mod wrappers;

use std::time::Duration;

pub use frames::Frames;
pub use handler::{Framed, Handler, Reply};
pub use key::{BadTerms, COMMON, FAULT, Key, SEED};
pub use offer::{Offer, Terms};
pub use offers::{offer, offers};
pub use per_connection::PerConnection;
pub use raw::Raw;
pub use scanned::looks_like;

use self::{fault::Kind, schedule::Step};
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
    /// [`Reactor::connect`](crate::Reactor::connect). The bytes appended to `out` are the first that the peer receives.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] ends the connection: the bytes in `out` are sent, then FIN. The refusal is counted and logged like
    /// one from [`Next::Refuse`]. [`receive`](Self::receive) is never called for this connection.
    /// [`closed`](Self::closed) is called as for every connection, with [`Reason::Refused`].
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
    /// `input` contains all bytes that were received and are not consumed yet, in order and in one slice. It is never
    /// empty. An earlier call was given the first `seen` bytes and needed more. `seen < input.len()`, unless the earlier
    /// call returned [`Next::Full`]: then the call is repeated with the same bytes and `seen` 0.
    fn receive(
        &mut self,
        connection: Token,
        input: &[u8],
        seen: usize,
        out: &mut Output,
    ) -> Received;

    /// The server is about to end the connection, for the reason `cause`. The bytes appended to `out` are the last that
    /// the peer receives. Like all output they are sent after whole replies, never inside one.
    fn ending(&mut self, connection: Token, cause: Ending, out: &mut Output) {
        let _ = (connection, cause, out);
    }

    /// All output of the connection has been sent. [`Output::call_when_sent`] asks for this call. The bytes appended to
    /// `out` are sent to the peer. A protocol that has more to send asks for the next call here.
    fn sent(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The delay is over that [`Output::call_after`] set. The bytes appended to `out` are sent to the peer.
    fn called(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The program has put the bytes in `out`, and what else is asked for there: with [`Reactor::speak`] or
    /// [`Handle::speak`]. A layer that changes what its protocol says changes them, too. Default: they are sent as they are.
    ///
    /// [`Reactor::speak`]: crate::Reactor::speak
    /// [`Handle::speak`]: crate::Handle::speak
    fn spoken(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The peer has sent FIN: nothing more will be received. What is put into `out` goes to the peer before the connection
    /// closes.
    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        let _ = (connection, out);
    }

    /// The connection is closed, for that `reason`. No later connection gets its token. This is called for an outbound
    /// connection also if connecting failed, without a call of [`opened`](Self::opened) before.
    fn closed(&mut self, connection: Token, reason: Reason) {
        let _ = (connection, reason);
    }

    /// Whether a connection goes on reading while it has unsent output. Default false.
    ///
    /// A server must not: a peer that never reads could make it hold any amount of replies. A client must, if it sends
    /// more than the socket buffers of both sides hold: the server stops reading until the client reads the replies, and
    /// otherwise the two would wait for each other for ever. Such a client must limit how much it sends.
    fn reads_while_owed(&self) -> bool {
        false
    }

    /// Whether a connection begins with a handshake. Then the handshake timeout runs from accepting the connection until
    /// [`receive`](Self::receive) returns something other than [`Next::Handshake`]. Default false.
    fn begins_with_handshake(&self) -> bool {
        false
    }

    /// Whether the protocol sets the peer's real address later, with [`Output::introduce`]. Then limits per address count
    /// that address, and not the address of the proxy. Default false.
    fn introduces_peers(&self) -> bool {
        false
    }

    /// What [`restore`](Self::restore) needs to know to go on with a connection, in another loop or another process; empty
    /// for a protocol that remembers nothing of a connection. `None` if the connection cannot be described (now): then it
    /// stays where it is, and is asked about again later. What was received and not consumed is no part of this: it goes
    /// along, and is shown again.
    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        let _ = connection;
        None
    }

    /// Goes on with a connection that [`describe`](Self::describe) has described as `state`, perhaps in another process and
    /// in an earlier version. It comes in place of [`opened`](Self::opened); `ends` are those of the socket. Returns false
    /// if the description means nothing here; then the connection is closed, and [`closed`](Self::closed) is not called.
    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        let _ = (connection, ends, state);
        false
    }
}

/// A boxed protocol is a protocol. So a program can choose at run time what a listener speaks.
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

    fn spoken(&mut self, connection: Token, out: &mut Output) {
        (**self).spoken(connection, out);
    }

    fn half_closed(&mut self, connection: Token, out: &mut Output) {
        (**self).half_closed(connection, out);
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

    fn describe(&self, connection: Token) -> Option<Vec<u8>> {
        (**self).describe(connection)
    }

    fn restore(&mut self, connection: Token, ends: &Ends, state: &[u8]) -> bool {
        (**self).restore(connection, ends, state)
    }
}

/// Why the server ends a connection although the peer made no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// There was no partial frame and no unsent output for longer than the idle timeout.
    Idle,
    /// A unit (frame, line, message, request) was not complete within the frame timeout.
    Unfinished,
    /// The server is stopping.
    Stopping,
    /// All connections together hold more than the memory limit, and this one holds the most. The bytes that it holds are
    /// dropped.
    Memory,
}

/// What [`Protocol::receive`] returns: made by [`echo`](Self::echo) or [`answered`](Self::answered).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes at the start of the input are handled. The rest is kept, and passed to the next call with the bytes
    /// that follow.
    pub consumed: usize,
    /// Whether the consumed bytes are sent back to the peer, after the bytes in the output.
    pub echo: bool,
    /// How many whole units (frames, lines, messages, requests) the consumed bytes completed, for the counters.
    pub frames: u64,
    /// What the connection should do next.
    pub next: Next,
}

impl Received {
    /// The first `consumed` bytes of the input completed this many `frames`. They are sent back to the peer, after the
    /// bytes in the output, and without being copied.
    #[inline(always)]
    #[must_use]
    pub const fn echo(consumed: usize, frames: u64, next: Next) -> Self {
        Self { consumed, echo: true, frames, next }
    }

    /// The first `consumed` bytes of the input completed this many `frames`. Only the bytes in the output are sent.
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
    /// The next unit. No partial unit was received, so the connection is idle.
    Idle,
    /// The rest of a partial unit. The frame timeout runs.
    ///
    /// `need` is the length that the unconsumed input must reach before another call makes sense, or 0 if that is not
    /// known (in a line, or in a request's head). There is no call before, and the reactor reads about that much. It never
    /// reserves memory for announced bytes.
    Rest {
        /// In bytes, counted from the first unconsumed one.
        need: usize,
    },
    /// As [`Rest`](Self::Rest), during the handshake at the start of a connection
    /// ([`Protocol::begins_with_handshake`]). The handshake timeout runs.
    Handshake {
        /// In bytes, counted from the first unconsumed one; 0 if that is not known.
        need: usize,
    },
    /// Sending. The input contains more, but the output is full ([`Output::is_full`]), or the next reply is another
    /// [echo](Received::echo). The call is repeated with the rest of the input: when all output has been sent; or at once, if the
    /// output is not full and no call of [`Protocol::sent`] is asked for, so that an echo leaves with the output before it.
    Full,
    /// Nothing more: send the output, then close the connection.
    Finish,
    /// Nothing more, because the peer broke the rules: send the output, then close the connection.
    Refuse(Refusal),
}

impl Next {
    /// The length that the unconsumed input must reach before the next call; 0 if it is not known.
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
        /// Bytes announced; or received so far, in a protocol without lengths. [`u64::MAX`] means that many or more.
        length: u64,
        /// Bytes allowed.
        limit: u64,
        /// Another protocol that the bytes seem to belong to (`an HTTP request`), if one was recognised.
        looks_like: Option<&'static str>,
    },
    /// The bytes are not valid in this protocol. The text says what is wrong.
    Malformed(&'static str),
    /// The peer may not use this listener. The text says why. For [`Protocol::opened`], which gets the peer's address.
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

/// The bytes that a protocol sends: it appends its replies here.
///
/// One output serves all connections of a reactor, one call after the other. After each call the bytes are written to the
/// socket. Bytes that the kernel does not accept at once are kept for the connection.
#[derive(Debug)]
pub struct Output {
    bytes: Vec<u8>,
    high_water: usize,
    requests: Requests,
}

/// What a protocol has asked for besides sending bytes.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Whether there is any request. Usually there is none, and this is all that the loop looks at.
    any: bool,
    pub(crate) peer: Option<Peer>,
    pub(crate) call_when_sent: bool,
    pub(crate) call_after: Option<Duration>,
    pub(crate) finish: bool,
    /// What the client has chosen to go wrong with this reply.
    asked: Option<Kind>,
    /// How many bytes of memory the protocol holds for the connection from now on.
    pub(crate) hold: Option<usize>,
    /// The peer has closed in the middle of something.
    pub(crate) cut_short: bool,
    /// The peer has closed in the protocol's own way.
    pub(crate) peer_closed: bool,
    /// How and when the output leaves; empty where it leaves at once.
    pub(crate) steps: Vec<Step>,
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
                asked: None,
                hold: None,
                cut_short: false,
                peer_closed: false,
                steps: Vec::new(),
            },
        }
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the output has reached its high-water mark. Then a protocol should return [`Next::Full`] before the next
    /// unit; it is called again when the output has been sent. A protocol that ignores this makes the server hold all
    /// replies that a slow peer does not read.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes.len() >= self.high_water
    }

    /// Whether a long reply has left much more memory here than is usually needed.
    pub(crate) const fn is_oversized(&self) -> bool {
        self.bytes.capacity() > 2 * self.high_water
    }

    /// Removes the bytes, and returns the memory that is more than usual.
    pub(crate) fn trim(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(self.high_water);
    }

    /// The appended bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes themselves, for writers that need a `Vec` or `std::io::Write`.
    pub const fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Sets the address of the peer that is behind a proxy (see [`proxy`]). From then on the log shows this address, and
    /// limits per address count it.
    pub const fn introduce(&mut self, peer: Peer) {
        (self.requests.any, self.requests.peer) = (true, Some(peer));
    }

    /// Asks for a call of [`Protocol::sent`] when the kernel has accepted all output of this connection. To send much
    /// without holding much in memory, append until [`is_full`](Self::is_full), ask for this call, and continue in it.
    pub const fn call_when_sent(&mut self) {
        (self.requests.any, self.requests.call_when_sent) = (true, true);
    }

    /// Whether [`call_when_sent`](Self::call_when_sent) was called since the output was last cleared.
    #[must_use]
    pub const fn is_to_call_when_sent(&self) -> bool {
        self.requests.call_when_sent
    }

    /// Asks for a call of [`Protocol::called`] after `delay`. It replaces an earlier request of this connection. Polls
    /// count in milliseconds, so the call can be up to one millisecond late.
    ///
    /// A connection whose peer has sent FIN stays open until this call, for at most the idle timeout.
    pub const fn call_after(&mut self, delay: Duration) {
        (self.requests.any, self.requests.call_after) = (true, Some(delay));
    }

    /// Ends the connection when all its output has been sent, as [`Next::Finish`] does. This is for all calls except
    /// [`Protocol::receive`]: they return no [`Next`].
    pub const fn finish(&mut self) {
        (self.requests.any, self.requests.finish) = (true, true);
    }

    /// Says how many bytes of memory the protocol holds for this connection from now on, beside the connection's own input
    /// and output. They count against [`Config::max_memory`](crate::Config::max_memory). A protocol that holds much
    /// discards it when [`Protocol::ending`] is called with [`Ending::Memory`].
    pub const fn hold(&mut self, bytes: usize) {
        (self.requests.any, self.requests.hold) = (true, Some(bytes));
    }

    /// Counts the connection as one that the peer closed in the middle of something ([`Counts::truncated`]), although
    /// the loop cannot see that.
    ///
    /// [`Counts::truncated`]: crate::Counts::truncated
    pub const fn cut_short(&mut self) {
        (self.requests.any, self.requests.cut_short) = (true, true);
    }

    /// If the connection ends with this call, counts it as closed by the peer ([`Reason::PeerClosed`](crate::Reason)), which
    /// has closed it in the protocol's own way.
    pub const fn peer_closed(&mut self) {
        (self.requests.any, self.requests.peer_closed) = (true, true);
    }

    /// Adds a step to the schedule of the output. A protocol that schedules any bytes of a connection schedules all of
    /// them.
    pub(crate) fn step(&mut self, step: Step) {
        self.requests.any = true;
        self.requests.steps.push(step);
    }

    /// Asks for a fault of this reply, because the client has chosen it.
    pub(crate) fn ask(&mut self, kind: Kind) {
        (self.requests.any, self.requests.asked) = (true, Some(kind));
    }

    /// What [`ask`](Self::ask) has asked for since the last call.
    pub(crate) const fn take_asked(&mut self) -> Option<Kind> {
        self.requests.asked.take()
    }

    /// Sets the high-water mark for one call; returns the mark before.
    pub(crate) const fn replace_high_water(&mut self, bytes: usize) -> usize {
        std::mem::replace(&mut self.high_water, bytes)
    }

    /// The peer that [`introduce`](Self::introduce) has set since the last call.
    pub const fn take_peer(&mut self) -> Option<Peer> {
        self.requests.peer.take()
    }

    /// The requests since the last call.
    #[inline(always)]
    pub(crate) fn take_requests(&mut self) -> Option<Requests> {
        self.requests.any.then(|| std::mem::take(&mut self.requests))
    }

    /// Removes the bytes and the requests, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.requests.any {
            self.requests = Requests::default();
        }
    }
}
