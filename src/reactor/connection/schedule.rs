//! The steps of a connection's output that are still to be done.

use std::collections::VecDeque;

use crate::{
    protocol::schedule::{Pieces, Step},
    reactor::{deadlines::Wait, inspect::InspectedSchedule},
};

/// The steps that are still to be done; never empty.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) steps: VecDeque<Step>,
    pub(super) state: Progress,
}

/// What the first step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing: it can go on in its next turn.
    Ready,
    /// Room in the kernel.
    Blocked,
    /// Its timer.
    Armed,
    /// Nothing that the server does.
    Held,
}

impl Schedule {
    /// One without steps, to which some are about to be added.
    pub(super) const fn new() -> Self {
        Self { steps: VecDeque::new(), state: Progress::Ready }
    }

    /// Adds `steps`, whose bytes come behind the `owed` ones.
    pub(super) fn add(&mut self, steps: Vec<Step>, owed: usize) {
        // Bytes that were sent without a schedule, by a program that speaks, leave before.
        let unscheduled = owed.saturating_sub(self.bytes());
        if unscheduled > 0 {
            self.steps.push_back(Step::Send { bytes: unscheduled, pieces: Pieces::Any });
        }
        self.steps.extend(steps);
    }

    fn bytes(&self) -> usize {
        let bytes = self.steps.iter().map(|step| match step {
            Step::Send { bytes, .. } => *bytes,
            _ => 0,
        });
        bytes.sum()
    }

    /// What limits the time that a connection with this schedule waits.
    pub(super) const fn waits_for(&self) -> Option<Wait> {
        match self.state {
            Progress::Ready | Progress::Blocked => Some(Wait::Write),
            Progress::Armed => None,
            Progress::Held => Some(Wait::Idle),
        }
    }

    pub(super) const fn inspect(&self) -> InspectedSchedule {
        match self.state {
            Progress::Ready | Progress::Blocked => InspectedSchedule::Sends,
            Progress::Armed => InspectedSchedule::Waits,
            Progress::Held => InspectedSchedule::Holds,
        }
    }

    /// Whether it can go on although no event will come.
    pub(super) fn is_ready(&self) -> bool {
        self.state == Progress::Ready
    }

    /// Whether the peer has to wait for the server.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, Progress::Armed | Progress::Held)
    }
}
