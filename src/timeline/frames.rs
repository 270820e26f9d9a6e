//! When the frames of one connection began and ended, from its events.
//!
//! The loop does not look at single frames: it knows how many a read has completed, and when the replies to them have
//! left. So the frames of one read end together, with the write that sends the last byte of their replies.

use resound::Begun;

/// The frames of one connection that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// When the read began that brought the first byte of a frame that is not whole.
    partial: Option<u64>,
    /// When the last read began, if that was recorded.
    read: Option<u64>,
    waiting: Vec<Batch>,
}

/// Frames that the same read has completed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// When the first of them began: the start of it may have come with an earlier read.
    pub(super) first: u64,
    /// When the others began.
    pub(super) others: u64,
    pub(super) count: u64,
    /// When the protocol answered them.
    pub(super) answered: u64,
    /// When the turn began in which they came.
    pub(super) turn: u64,
}

impl Frames {
    pub(super) const fn read(&mut self, began: u64) {
        self.read = Some(began);
    }

    /// The protocol has answered from `began` to `time`.
    pub(super) fn answered(
        &mut self,
        [began, time]: [u64; 2],
        turn: u64,
        count: u64,
        begun: Begun,
    ) {
        let others = self.read.unwrap_or(began);
        if count > 0 {
            let first = self.partial.take().unwrap_or(others);
            self.waiting.push(Batch { first, others, count, answered: time, turn });
        }
        match begun {
            Begun::Frame => drop(self.partial.get_or_insert(others)),
            Begun::Nothing | Begun::Handshake => self.partial = None,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nothing is owed any more, or ever will be: these have ended.
    pub(super) fn end(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.waiting)
    }
}
