//! What another thread can ask of a running loop, and what the loop answers.

use std::{
    fmt, io,
    sync::mpsc::{
        Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
    },
    time::Duration,
};

use super::{
    released::{ReleasedConnection, ReleasedListener, ReleasedPage},
    settings::{Change, Settings},
    state::ConnectionState,
};
use crate::{Peer, TcpInfo, Token, protocol::Output};

/// Connections in one [`Page`] at most, and slab slots that are looked at for one.
pub(crate) const PAGE: usize = 1024;

/// Connections that are looked up by name for one command at most: each takes system calls.
pub(crate) const LOOKUPS: usize = 256;

/// Connections that one command releases at most. Their descriptors fit one message of a Unix socket (`SCM_MAX_FD` in
/// unix(7) is 253).
pub(crate) const RELEASES: usize = 250;

/// Once the connections that a command releases hold and owe this many bytes, the rest waits for the next command.
pub(crate) const RELEASED_BYTES: usize = 1 << 20;

/// Something to append to a connection's output.
pub(crate) type Speech = Box<dyn FnOnce(&mut Output) + Send>;

/// One thing to do between two turns. Each takes a bounded time.
pub(crate) enum Command {
    Summarize(Reply<Summary>),
    List { from: usize, reply: Reply<Page> },
    LookUp { tokens: Vec<Token>, reply: Reply<Vec<ConnectionInfo>> },
    Close { token: Token, reply: Reply<bool> },
    Speak { token: Token, speech: Speech, reply: Reply<Option<usize>> },
    Change { changes: Vec<Change>, reply: Reply<Settings> },
    ReleaseConnections { from: usize, listeners: Vec<usize>, reply: Reply<ReleasedPage> },
    AdoptConnections { connections: Vec<ReleasedConnection>, reply: Reply<usize> },
    ReleaseListeners(Reply<Vec<ReleasedListener>>),
    AdoptListener { listener: ReleasedListener, reply: Reply<io::Result<()>> },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Summarize(_) => write!(f, "Summarize"),
            Self::List { from, .. } => write!(f, "List from {from}"),
            Self::LookUp { tokens, .. } => write!(f, "LookUp {tokens:?}"),
            Self::Close { token, .. } => write!(f, "Close {token}"),
            Self::Speak { token, .. } => write!(f, "Speak {token}"),
            Self::Change { changes, .. } => write!(f, "Change {changes:?}"),
            Self::ReleaseConnections { from, .. } => write!(f, "ReleaseConnections from {from}"),
            Self::AdoptConnections { connections, .. } => {
                write!(f, "AdoptConnections {}", connections.len())
            }
            Self::ReleaseListeners(_) => write!(f, "ReleaseListeners"),
            Self::AdoptListener { listener, .. } => write!(f, "AdoptListener {}", listener.index),
        }
    }
}

/// The loop's end of an [`Answer`].
#[derive(Debug)]
pub(crate) struct Reply<T>(SyncSender<T>);

impl<T> Reply<T> {
    /// Sends the answer. It is dropped if nobody waits for it any more.
    pub(crate) fn send(self, answer: T) {
        let _ = self.offer(answer);
    }

    /// Answers; gives the answer back where nobody waits for it any more.
    pub(crate) fn offer(self, answer: T) -> Result<(), T> {
        // There is room: this is the only answer.
        self.0.try_send(answer).map_err(|error| match error {
            TrySendError::Full(answer) | TrySendError::Disconnected(answer) => answer,
        })
    }
}

/// An answer that a loop will give between two of its turns.
#[derive(Debug)]
#[must_use = "the command may fail, and the answer says so"]
pub struct Answer<T>(Receiver<T>);

impl<T> Answer<T> {
    pub(crate) fn pending() -> (Reply<T>, Self) {
        let (send, receive) = sync_channel(1);
        (Reply(send), Self(receive))
    }

    /// Waits for the answer. A command that is not answered in time stays in the queue, and is executed when the loop
    /// comes to it.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoAnswer`] after `at_most`, [`ControlError::Ended`] if the loop has ended.
    pub fn wait(self, at_most: Duration) -> Result<T, ControlError> {
        self.0.recv_timeout(at_most).map_err(|error| match error {
            RecvTimeoutError::Timeout => ControlError::NoAnswer(at_most),
            RecvTimeoutError::Disconnected => ControlError::Ended,
        })
    }

    /// The answer, if the loop has given it, without blocking. It is returned once; after that this fails.
    ///
    /// # Errors
    ///
    /// [`ControlError::Ended`] if the loop has ended, or the answer was returned already.
    pub fn poll(&self) -> Result<Option<T>, ControlError> {
        match self.0.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ControlError::Ended),
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlError {
    /// The queue of commands is full: commands are sent faster than the loop executes them.
    QueueFull,
    /// The loop has ended.
    Ended,
    /// The loop did not answer within this time: something blocks its turn.
    NoAnswer(Duration),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str("the loop's queue of commands is full; try again later"),
            Self::Ended => f.write_str("the loop has ended"),
            Self::NoAnswer(time) => write!(f, "the loop did not answer within {time:?}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// The state of a loop between two turns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Connections that are open.
    pub open: usize,
    /// Whether it is stopping: it accepts no more.
    pub is_draining: bool,
    /// Connections and listeners that wait for their next turn.
    pub queued: usize,
    /// Its listeners, in the order in which they were added.
    pub listeners: Vec<ListenerInfo>,
}

/// The state of a listener between two turns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// Where it was bound, as [`Endpoint`](crate::Endpoint) shows it.
    pub name: String,
    /// Whether it accepts.
    pub accepting: Accepting,
}

/// Whether a listener accepts, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepting {
    /// It accepts.
    Yes,
    /// As many connections as allowed are open; others wait in the backlog.
    Full,
    /// Descriptors or kernel memory ran out; it tries again soon.
    Paused,
    /// It is closed.
    Closed,
}

/// Some of a loop's connections.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of their slots, without the peers' addresses.
    pub connections: Vec<ConnectionInfo>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<usize>,
}

/// The state of a connection between two turns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name.
    pub token: Token,
    /// The other end, if the loop knows its address. [`Handle::look_up`](crate::Handle::look_up) asks the kernel.
    pub peer: Option<Peer>,
    /// The index of its listener in [`Summary::listeners`].
    pub listener: usize,
    /// Whether it is connecting, open or ending.
    pub state: ConnectionState,
    /// Time since it was accepted, or since connecting began; in tenths of a second.
    pub age: Duration,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Whole frames received and answered.
    pub frames: u64,
    /// Bytes received and not consumed: a partial frame.
    pub held: usize,
    /// Bytes that wait to be sent.
    pub owed: usize,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// How long it will wait for that; `None` without a limit.
    pub time_left: Option<Duration>,
    /// What the kernel knows of it, where it was looked up ([`Handle::look_up`](crate::Handle::look_up)), is a TCP
    /// connection, and the feature `tcp-info` is on.
    pub tcp: Option<TcpInfo>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The next frame.
    Frame,
    /// The rest of a frame.
    RestOfFrame,
    /// The rest of a PROXY header, a handshake or the first request.
    Handshake,
    /// The peer: it must read the bytes that wait to be sent, or answer the connection attempt.
    Peer,
    /// The peer's FIN.
    Fin,
}

impl WaitsFor {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "next frame",
            Self::RestOfFrame => "rest of frame",
            Self::Handshake => "handshake",
            Self::Peer => "peer",
            Self::Fin => "FIN",
        }
    }
}
