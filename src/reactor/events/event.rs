//! The vocabulary: everything that a loop does, and what it learns from the kernel and from protocols.

use std::{fmt, io, net::SocketAddr};

use log::Level;

use crate::{
    Begun, ConnectionState, Peer, Reason,
    plural::{Plural, bytes, frames},
    reactor::{
        deadlines::{Unit, Wait},
        net::Readiness,
    },
};

/// One thing that a loop has done or learned. It belongs to a connection, a listener or a UDP socket, which a
/// [`Token`](crate::Token) names; events of the loop itself have the token 0.0, that of the first listener.
///
/// The trace log prints these events, and a [`Recorder`](crate::Recorder) keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The poll has returned.
    Polled {
        /// How many tokens are ready.
        events: u32,
        /// Connections that are open.
        open: u32,
        /// Connections and listeners on the run queue.
        queued: u32,
    },
    /// The loop has executed commands of other threads.
    Commanded {
        /// How many.
        commands: u32,
    },
    /// The poll has said this of a connection, a listener or a UDP socket. Its turn begins.
    Ready(Readiness),
    /// Its turn on the run queue has come.
    Resumed,
    /// A deadline is over. The connection has a turn first: what it waits for may be in the kernel already.
    Expired(Deadline),
    /// It is the time for which its protocol, or the schedule of its output, has asked.
    Called,
    /// A listener has accepted what it could: the end of its turn.
    Accepted {
        /// Connections that were accepted, and not refused.
        connections: u32,
    },
    /// A connection was accepted.
    Opened {
        /// The other end.
        peer: Peer,
        /// The index of its listener. `Token::new(listener, 0)` names the listener.
        listener: u8,
    },
    /// An outbound connection is open: the peer has answered.
    Connected {
        /// The other end.
        peer: Peer,
    },
    /// A connection came from another loop or process.
    Adopted {
        /// The other end.
        peer: Peer,
        /// As in [`Opened`](Self::Opened).
        listener: u8,
    },
    /// A PROXY header has named the peer.
    Introduced {
        /// The peer behind the proxy.
        peer: Peer,
    },
    /// A read has returned bytes.
    Read {
        /// How many.
        bytes: u32,
        /// How many there was room for.
        room: u32,
    },
    /// A read has returned 0 bytes: the peer has sent FIN.
    ReadEof,
    /// A read has returned `WouldBlock`: the socket is empty.
    ReadBlocked,
    /// The protocol has handled bytes.
    Answered {
        /// How many of the bytes that have come.
        consumed: u64,
        /// How many frames, lines, messages or requests are complete by that.
        frames: u64,
        /// What the rest of the bytes is the beginning of.
        begun: Begun,
    },
    /// The kernel has taken bytes.
    Wrote {
        /// How many.
        bytes: u32,
        /// How many it was offered.
        of: u64,
    },
    /// A write has returned `WouldBlock`: the kernel's buffer is full.
    WriteBlocked {
        /// How many bytes are left.
        left: u64,
    },
    /// The kernel was told to acknowledge at once what has come: a frame is unfinished, so no reply would carry the
    /// acknowledgement.
    Acknowledged,
    /// The turn has spent its budget. The connection goes to the end of the run queue.
    BudgetSpent,
    /// The server has sent FIN.
    FinSent,
    /// The peer has sent FIN inside a frame.
    CutShort {
        /// How many bytes of the frame have come.
        held: u64,
    },
    /// A system call has failed, which ends the connection.
    Lost {
        /// What was tried.
        doing: Doing,
        /// The error's number; 0 if it has none.
        errno: i32,
    },
    /// The turn of a connection, or of a UDP socket, is over.
    TurnEnded {
        /// The state of the connection.
        state: ConnectionState,
        /// What its peer has begun to send.
        begun: Begun,
        /// Bytes received and not consumed: a partial frame.
        held: u64,
        /// Bytes that wait to be sent.
        owed: u64,
    },
    /// A connection is closed.
    Closed {
        /// Why.
        reason: Reason,
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
        /// Frames received and answered.
        frames: u64,
        /// The other end, for the log. In a recording it is `None`: the event that opened the connection has it.
        peer: Option<Peer>,
    },
    /// A UDP socket has received a datagram.
    Datagram {
        /// Its source.
        source: SocketAddr,
        /// Its length.
        bytes: u32,
    },
    /// The datagram was sent back.
    DatagramSent {
        /// Its length.
        bytes: u32,
    },
    /// The datagram is dropped: it was not allowed, or could not be sent.
    DatagramDropped,
}

/// What a connection may wait for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// The next frame: [`Config::idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// The peer, which must read: [`Config::write_timeout`](crate::Config::write_timeout).
    Write,
    /// The peer's FIN: [`Config::linger`](crate::Config::linger).
    Linger,
    /// The rest of a handshake: [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Handshake,
    /// The rest of a frame: [`Config::frame_timeout`](crate::Config::frame_timeout).
    Frame,
}

impl Deadline {
    pub(super) const ALL: [Self; 5] =
        [Self::Idle, Self::Write, Self::Linger, Self::Handshake, Self::Frame];

    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Write => "write",
            Self::Linger => "linger",
            Self::Handshake => "handshake",
            Self::Frame => "frame",
        }
    }
}

impl From<Wait> for Deadline {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Idle => Self::Idle,
            Wait::Write => Self::Write,
            Wait::Linger => Self::Linger,
        }
    }
}

impl From<Unit> for Deadline {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Handshake => Self::Handshake,
            Unit::Frame => Self::Frame,
        }
    }
}

/// What was tried when a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doing {
    /// Connecting.
    Connect,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Attaching the filter of a fault.
    AttachFilter,
    /// Resetting, for a fault.
    Reset,
}

impl Doing {
    pub(super) const ALL: [Self; 5] =
        [Self::Connect, Self::Read, Self::Write, Self::AttachFilter, Self::Reset];

    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Write => "write",
            Self::AttachFilter => "attach a filter",
            Self::Reset => "reset",
        }
    }
}

impl Event {
    /// The level at which it is logged.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Opened { .. }
            | Self::Connected { .. }
            | Self::Adopted { .. }
            | Self::Introduced { .. }
            | Self::Expired(_)
            | Self::CutShort { .. }
            | Self::Lost { .. }
            | Self::Closed { .. } => Level::Debug,
            _ => Level::Trace,
        }
    }
}

/// As in the log, behind the token.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Polled { events, open, queued } => write!(
                f,
                "polled: {}, {open} open, {queued} queued",
                Plural(events, ["event", "events"])
            ),
            Self::Commanded { commands } => {
                write!(f, "executed {}", Plural(commands, ["command", "commands"]))
            }
            Self::Ready(readiness) => write!(f, "{readiness:?}"),
            Self::Resumed => f.write_str("resumed from the run queue"),
            Self::Expired(deadline) => write!(f, "{deadline:?} timeout"),
            Self::Called => f.write_str("called at its time"),
            Self::Accepted { connections } => write!(f, "accepted {connections}"),
            Self::Opened { peer, .. } => write!(f, "opened: {peer}"),
            Self::Connected { peer } => write!(f, "connected to {peer}"),
            Self::Adopted { peer, .. } => write!(f, "taken over: {peer}"),
            Self::Introduced { peer } => write!(f, "the peer is {peer}"),
            Self::Read { bytes, room } => write!(f, "read {bytes} B of at most {room}"),
            Self::ReadEof => f.write_str("read EOF"),
            Self::ReadBlocked => f.write_str("read would block"),
            Self::Answered { consumed, frames: count, .. } => {
                write!(f, "{consumed} B answered, {}", frames(count))
            }
            Self::Wrote { bytes, of } => write!(f, "wrote {bytes} B of {of}"),
            Self::WriteBlocked { left } => write!(f, "write would block with {left} B left"),
            Self::Acknowledged => f.write_str("acknowledged at once"),
            Self::BudgetSpent => f.write_str("budget spent"),
            Self::FinSent => f.write_str("FIN sent"),
            Self::CutShort { held } => {
                write!(f, "the peer closed inside a frame, after {} of it", bytes(held))
            }
            Self::Lost { doing, errno: 0 } => write!(f, "{}: failed", doing.as_str()),
            Self::Lost { doing, errno } => {
                write!(f, "{}: {}", doing.as_str(), io::Error::from_raw_os_error(errno))
            }
            Self::TurnEnded { state, held, owed, .. } => {
                write!(f, "turn ended: {}, {held} B held, {owed} B owed", state.as_str())
            }
            Self::Closed { reason, received, sent, frames: count, peer } => {
                write!(f, "closed {}: ", reason.as_str())?;
                if let Some(peer) = peer {
                    write!(f, "{peer}, ")?;
                }
                write!(f, "{received} B received, {sent} B sent, {}", frames(count))
            }
            Self::Datagram { source, bytes } => write!(f, "datagram of {bytes} B from {source}"),
            Self::DatagramSent { bytes } => write!(f, "datagram of {bytes} B sent back"),
            Self::DatagramDropped => f.write_str("datagram dropped"),
        }
    }
}
