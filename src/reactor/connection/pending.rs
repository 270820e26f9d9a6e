//! What a connection keeps between two turns: a partial frame, and output that is not sent yet. Most
//! connections keep nothing.

use super::schedule::Schedule;
use crate::{
    memory::Buffer,
    protocol::{Next, schedule::Step},
};

/// The part of a connection's state that most connections do not need most of the time.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Received and not consumed. Its first byte begins a frame.
    pub(super) input: Buffer,
    /// How many bytes of `input` the protocol was shown.
    pub(super) seen: usize,
    /// How long `input` must be before it is shown again; 0 if the protocol does not know.
    pub(super) need: usize,
    /// Nothing was sent behind the last bytes that came, so nothing has carried their acknowledgement.
    pub(super) is_unanswered: bool,
    /// Output that the kernel has not accepted yet.
    pub(super) output: Buffer,
    /// The last write ended with the budget of a turn, so that no writable event will come.
    pub(super) is_cut: bool,
    /// The protocol stopped because its output was full: it is shown `input` again when all output is sent.
    pub(super) stopped: bool,
    /// The protocol asked for a call when all output is sent.
    pub(super) call_when_sent: bool,
    /// How and when the output leaves; `None` where it leaves as soon as the kernel takes it.
    pub(super) schedule: Option<Box<Schedule>>,
    /// Bytes of memory that the protocol holds for this connection ([`Output::hold`](crate::protocol::Output::hold)).
    pub(super) elsewhere: usize,
    /// The size class under which [`Holders`](super::shared::Holders) knows this connection.
    pub(super) class: u8,
}

impl Pending {
    /// Bytes of memory owned, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.input.capacity() + self.output.capacity() + self.elsewhere
    }

    /// Whether there is output that has not left, or a step of its schedule.
    pub(super) const fn owes(&self) -> bool {
        !self.output.is_empty() || self.schedule.is_some()
    }

    /// Whether there is output that can leave although no event will come.
    pub(super) fn is_ready_to_send(&self) -> bool {
        match &self.schedule {
            Some(schedule) => schedule.is_ready(),
            None => self.is_cut && !self.output.is_empty(),
        }
    }

    /// Whether the protocol wants a turn although no event will come.
    pub(super) const fn wants_turn(&self) -> bool {
        (self.stopped || self.call_when_sent) && !self.owes()
    }

    /// Whether there is nothing to keep.
    pub(super) const fn is_empty(&self) -> bool {
        self.input.is_empty() && !self.owes() && !self.call_when_sent && self.elsewhere == 0
    }

    /// Whether a frame that has begun waits for the server, and not for the peer.
    pub(super) fn waits_for_server(&self) -> bool {
        self.stopped || self.schedule.as_ref().is_some_and(|schedule| schedule.is_waiting())
    }

    /// Adds `steps` to the schedule of the output, whose bytes come behind all that is owed.
    pub(super) fn schedule(&mut self, steps: Vec<Step>) {
        let owed = self.output.len();
        self.schedule.get_or_insert_with(|| Box::new(Schedule::new())).add(steps, owed);
    }

    /// Notes what the protocol wants before it is shown the `left` bytes again.
    pub(super) fn remember(&mut self, next: Next, left: usize) {
        self.stopped = next == Next::Full && left > 0;
        self.seen = if self.stopped { 0 } else { left };
        self.need = next.need();
    }
}
