//! What tests may look at inside a dispatcher: not part of the API.

use std::time::Duration;

use crate::{Reason, Token};

/// Everything a dispatcher holds at one moment.
#[derive(Debug)]
pub struct Inspection {
    /// Every connection in the slab.
    pub connections: Vec<Inspected>,
    /// Every listener, in the order of their indices.
    pub listeners: Vec<Accepting>,
    /// Every UDP socket, in the order in which they were added.
    pub datagrams: Vec<InspectedDatagrams>,
    /// Bytes of capacity that the pool says are lent.
    pub lent: usize,
    /// Entries on the run queue.
    pub queued: usize,
}

/// One connection between two turns.
#[derive(Debug)]
pub struct Inspected {
    /// Its name.
    pub token: Token,
    /// Bytes received and not consumed.
    pub held: usize,
    /// Bytes that the peer has not taken yet.
    pub owed: usize,
    /// Bytes of memory in both buffers, used or not.
    pub capacity: usize,
    /// Whether it says that it is on the run queue.
    pub queued: bool,
    /// How often its token really is on the run queue.
    pub entries: usize,
    /// When what it waits for times out.
    pub deadline: Option<Duration>,
    /// When the frame or handshake times out that it has begun.
    pub unit_deadline: Option<Duration>,
    /// What ended it, where the server decided that.
    pub ended_for: Option<Reason>,
    /// What the schedule of its output waits for, if it has one.
    pub schedule: Option<InspectedSchedule>,
}

/// What the schedule of a connection's output waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectedSchedule {
    /// Its next turn, or room in the kernel.
    Sends,
    /// Its timer.
    Waits,
    /// The peer's end.
    Holds,
}

/// One UDP socket between two turns.
#[derive(Debug, Clone, Copy)]
pub struct InspectedDatagrams {
    /// How many answers it holds that the kernel had no room to send.
    pub owed: usize,
    /// Whether it is on the run queue.
    pub queued: bool,
}

/// What a listener waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepting {
    /// An event.
    Event,
    /// Its turn on the run queue.
    Turn,
    /// A connection of any loop to close.
    Room,
    /// This time.
    Until(Duration),
}
