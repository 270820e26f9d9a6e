//! How other threads wake a loop: through mio's waker, and over poll(2) by a flag beside it.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use log::debug;
use mio::{Registry, Token, Waker};

use crate::socket::WITHOUT_EPOLL;

/// Ends the poll of a loop, from any thread.
#[derive(Debug)]
pub(super) struct WakeUp {
    waker: Waker,
    /// Only over poll(2): whether the loop was woken since it last asked. mio's waker is not enough there: each time that mio
    /// registers a socket again, it discards the wake-ups that have come since the last poll.
    is_woken: AtomicBool,
}

impl WakeUp {
    /// Wakes the loop that polls `registry`, with an event of this token.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self { waker: Waker::new(registry, token)?, is_woken: AtomicBool::new(false) })
    }

    /// Ends the poll that the loop is in, or else the next one.
    pub(super) fn wake(&self) {
        if WITHOUT_EPOLL {
            self.is_woken.store(true, Ordering::Release);
        }
        if let Err(error) = self.waker.wake() {
            debug!("wake: {error}");
        }
    }

    /// Whether the loop was woken since the last call, so that its next poll must not block although there may be no event.
    /// Always false with epoll, where the event is enough.
    pub(super) fn take(&self) -> bool {
        WITHOUT_EPOLL && self.is_woken.swap(false, Ordering::Acquire)
    }
}
