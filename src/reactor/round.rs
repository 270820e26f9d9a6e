//! The budget of a round: how much connections may move between two polls.

/// So many bytes read or written at once are many: the connection's next event puts it on the run queue, behind those that
/// move few.
pub(super) const MANY_BYTES: usize = 32 << 10;

/// Once so many bytes were moved, many at once, whoever else is on the run queue waits for the next poll. So a short frame
/// beside long ones waits for one or two turns, however many long ones there are.
const BYTES_PER_ROUND: usize = 1 << 20;

/// A turn that spends its budget counts for so many bytes, in addition: it may have had many short reads.
pub(super) const TURN: usize = 256 << 10;

/// What was moved since the last poll, many bytes at once.
#[derive(Debug, Default)]
pub(super) struct Round {
    moved: usize,
}

impl Round {
    pub(super) const fn begin(&mut self) {
        self.moved = 0;
    }

    pub(super) const fn spend(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.moved >= BYTES_PER_ROUND
    }
}
