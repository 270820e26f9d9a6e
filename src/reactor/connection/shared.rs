//! What all connections of a loop share: the output, and the stock of memory.

use std::sync::Arc;

use super::cold::Cold;
use crate::{
    control::stats::Stats,
    memory::Pool,
    protocol::{Output, Refusal},
};

/// The most that one read asks for, in bytes: a frame of 1 MiB, and a little more, as frames of round sizes have heads. Only
/// what has been read into is memory that is really there.
pub(crate) const SCRATCH: usize = (1024 + 4) << 10;

/// A protocol's output is full from here on, in bytes.
const HIGH_WATER: usize = 256 << 10;

/// Spare [`Cold`] parts kept for the next connection that needs one.
const SPARE_COLD: usize = 256;

/// What all connections of a loop share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) output: Output,
    pub(crate) stock: Stock,
    pub(crate) stats: Arc<Stats>,
    /// The reactor is stopping: a connection with nothing left to answer is finished.
    pub(crate) draining: bool,
    /// Someone was ended for want of memory, of which nobody has been told yet.
    pub(crate) over_memory: bool,
    /// The last refusal of which nobody has been told yet.
    pub(crate) refused: Option<Refusal>,
}

impl Shared {
    pub(crate) fn new(max_memory: usize) -> Self {
        Self {
            output: Output::new(HIGH_WATER),
            stock: Stock { pool: Pool::new(max_memory), cold: Vec::new() },
            stats: Arc::default(),
            draining: false,
            over_memory: false,
            refused: None,
        }
    }

    /// Whether there is memory that nobody may want any more.
    pub(crate) const fn keeps_any(&self) -> bool {
        self.stock.pool.keeps_any() || self.output.is_oversized()
    }

    /// Gives back what memory nobody has wanted since the last call.
    pub(crate) fn trim(&mut self) {
        self.stock.pool.trim_unused();
        self.stock.cold.clear();
        self.output.trim();
    }
}

/// What connections borrow from and return to.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) pool: Pool,
    #[expect(
        clippy::vec_box,
        reason = "the boxes are what is kept: connections hold them as such"
    )]
    pub(super) cold: Vec<Box<Cold>>,
}

impl Stock {
    pub(super) fn take_cold(&mut self) -> Box<Cold> {
        self.cold.pop().unwrap_or_default()
    }

    pub(super) fn put_back(&mut self, mut cold: Box<Cold>) {
        self.pool.release(&mut cold.input);
        self.pool.release(&mut cold.output);
        if self.cold.len() < SPARE_COLD {
            *cold = Cold::default();
            self.cold.push(cold);
        }
    }
}
