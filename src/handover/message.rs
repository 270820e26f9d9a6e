//! What the two processes tell each other.

use serde::{Deserialize, Serialize};

use super::record::{ConnectionRecord, ListenerRecord};

/// A message. `Hello` and `Refused` are the same in all versions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The new process begins.
    Hello { version: u32, pid: u32, program: String },
    /// The old process has this.
    Offer { listeners: Vec<Offered> },
    /// The old process hands nothing over.
    Refused { why: String },
    /// The loops of the new process run.
    Ready {
        /// Indices in the offer: these listeners are wanted.
        takes: Vec<usize>,
        /// Indices in the offer: connections of these listeners are wanted.
        connections: Vec<usize>,
    },
    /// The new process gives up.
    Failed { why: String },
    /// Some of the listeners that are wanted, with their descriptors in this order.
    Listeners { listeners: Vec<ListenerRecord>, more: bool },
    /// The new process accepts.
    Serving,
    /// Some connections, with their descriptors in this order.
    Connections { connections: Vec<ConnectionRecord> },
    /// They have come, except for these of them.
    Received { refused: Vec<usize> },
    /// The old process has closed its copies.
    Yours,
    /// That many are served.
    Adopted { count: usize },
    /// All have been handed over that could be.
    Done,
    /// The new process goes on alone.
    Confirmed,
    /// The service manager has been told of the new process.
    Main,
}

impl Message {
    /// Its name, for errors.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Offer { .. } => "offer",
            Self::Refused { .. } => "refused",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
            Self::Listeners { .. } => "listeners",
            Self::Serving => "serving",
            Self::Connections { .. } => "connections",
            Self::Received { .. } => "received",
            Self::Yours => "yours",
            Self::Adopted { .. } => "adopted",
            Self::Done => "done",
            Self::Confirmed => "confirmed",
            Self::Main => "main",
        }
    }
}

/// A socket that a daemon serves, as it offers it to its successor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offered {
    pub(crate) role: Role,
    /// The same for the sockets that the loops have for one `--listen`.
    pub(crate) group: usize,
    /// The address as it was written, and where the socket is bound.
    pub(crate) asked: String,
    pub(crate) bound: String,
    /// The protocol and its keys: connections go on only under the same ones.
    pub(crate) terms: String,
    /// The loop that serves it, and its place there.
    pub(crate) reactor: usize,
    pub(crate) index: usize,
}

impl Offered {
    /// The socket of the loop `reactor` that no other loop has one like.
    pub(crate) fn alone(role: Role, asked: String, bound: String, reactor: usize) -> Self {
        // No --listen has this group.
        let group = usize::MAX - role as usize;
        Self { role, group, asked, bound, terms: String::new(), reactor, index: 0 }
    }
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// It accepts connections.
    Connections,
    /// It is a UDP socket.
    Datagrams,
    /// It is the admin port.
    Admin,
    /// Successors connect to it (`--handover`).
    Handover,
}
