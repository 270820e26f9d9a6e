//! Connections and listeners outside of any loop: what one loop releases, and another one adopts, perhaps in another
//! process.

use std::{collections::VecDeque, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use super::state::{Begun, ConnectionState, Excuse};
use crate::{Peer, Reason, socket::listener::ListeningSocket};

/// A connection outside of any loop. It is neither read from nor written to until a loop
/// [adopts](crate::Handle::adopt_connections) it. Dropping it closes it.
#[derive(Debug)]
pub struct ReleasedConnection<S = OwnedFd> {
    /// The connected socket.
    pub socket: S,
    /// The index of its listener in [`Summary::listeners`](crate::Summary::listeners).
    pub listener: usize,
    /// All else that a loop has to know to go on with it.
    pub record: Record,
}

/// What a loop knows of a connection, except for its socket.
///
/// Minor versions of this crate add fields: end with `..Record::default()`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Where it is in its life; never [`ConnectionState::Connecting`].
    pub state: ConnectionState,
    /// While it is [open](ConnectionState::Open): what the peer has begun to send.
    pub begun: Begun,
    /// Why the server ends it, if it does.
    pub ended_for: Option<Reason>,
    /// Time since it was accepted; in tenths of a second.
    pub age: Duration,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Whole frames received and answered.
    pub frames: u64,
    /// Bytes received and not consumed: the beginning of a frame.
    pub held: Vec<u8>,
    /// How many of the held bytes the protocol was shown.
    pub seen: usize,
    /// How many bytes must be held before the protocol is shown them again; 0 if that is unknown.
    pub need: usize,
    /// Whether the protocol is shown the held bytes again as soon as nothing is owed.
    pub is_stopped: bool,
    /// Bytes that the peer has not taken yet.
    pub owed: Vec<u8>,
    /// Whether the protocol is called when nothing is owed any more.
    pub call_when_sent: bool,
    /// The other end, where the loop knows more than the socket: behind a proxy.
    pub peer: Option<Peer>,
    /// How long it may go on waiting: for a frame, the peer, or the peer's FIN.
    pub wait_left: Option<Duration>,
    /// How long the frame or the handshake that has begun may take to be complete.
    pub unit_left: Option<Duration>,
    /// Whether the time of its frame was up while replies were owed.
    pub excuse: Option<Excuse>,
    /// When the protocol asked to be called.
    pub call_left: Option<Duration>,
    /// What the protocol remembers of it ([`Protocol::describe`](crate::protocol::Protocol::describe)).
    pub protocol: Vec<u8>,
}

/// Some of a loop's connections, which it has released.
#[derive(Debug)]
pub struct ReleasedPage {
    /// In the order of their slots.
    pub connections: Vec<ReleasedConnection>,
    /// How many connections in these slots stay, because their protocol cannot describe them now.
    pub staying: usize,
    /// Where the next page begins; `None` behind the last one.
    pub next: Option<usize>,
}

/// A listener or a UDP socket outside of any loop. What comes meanwhile waits in the kernel.
#[derive(Debug)]
pub struct ReleasedListener {
    /// For a listener its index in [`Summary::listeners`](crate::Summary::listeners); for a UDP socket its index among the
    /// loop's UDP sockets.
    pub index: usize,
    /// The socket.
    pub socket: ReleasedSocket,
}

/// The socket of a [`ReleasedListener`].
#[derive(Debug)]
pub enum ReleasedSocket {
    /// A listening socket.
    Listening(ListeningSocket),
    /// A UDP socket.
    Datagrams {
        /// The bound socket.
        socket: OwnedFd,
        /// The datagrams that the kernel had no room to send, each with where it goes: not more than one turn of its loop
        /// has received and not sent.
        owed: VecDeque<(SocketAddr, Vec<u8>)>,
    },
}
