//! One listener as the dispatcher sees it: what it speaks, and whether it is accepting.

use std::{io, sync::Arc, time::Duration};

use super::net::Net;
use crate::control::stats::ListenerStats;

/// Names one protocol for outbound connections: [`Reactor::outbound`](crate::Reactor::outbound).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane(pub(crate) u8);

/// A protocol, and the listener whose connections speak it. Connections name theirs by its index.
#[derive(Debug)]
pub(super) struct Service<L, P> {
    /// `None` once it is closed, and for outbound connections.
    pub(super) listener: Option<L>,
    pub(super) protocol: P,
    pub(super) stats: Arc<ListenerStats>,
    pub(super) accepting: Accepting,
}

impl<L, P> Service<L, P> {
    pub(super) const fn new(listener: Option<L>, protocol: P, stats: Arc<ListenerStats>) -> Self {
        Self { listener, protocol, stats, accepting: Accepting::OnEvent }
    }

    /// Where it was bound, for the log.
    pub(super) fn name(&self) -> &str {
        &self.stats.name
    }

    /// Accepts nothing any more.
    pub(super) fn close_listener<N: Net<Listener = L>>(&mut self, net: &mut N) {
        if let Some(mut listener) = self.listener.take() {
            net.unlisten(&mut listener);
        }
    }
}

/// When a listener accepts next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepting {
    /// When the poll says that connections wait.
    OnEvent,
    /// In its turn on the run queue, because more than one batch of connections waited.
    Queued,
    /// When a connection closes: as many as allowed are open. Others wait in the backlog.
    Full,
    /// At this time: descriptors or memory ran out, and no event tells when some are free again.
    Paused(Duration),
}

/// What to do about an error of accept(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// No connection waits any more.
    AwaitEvent,
    /// The error concerns one connection, which is gone: accept the next one.
    TakeNext,
    /// The next call would fail too: try again after this long.
    Pause(Duration),
}

const PAUSE: Duration = Duration::from_millis(100);

impl Remedy {
    /// By the list in accept(2), which asks that pending network errors be treated as a retry.
    pub(super) fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::AwaitEvent;
        }
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT,
            ) => Self::TakeNext,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and anything unknown.
            _ => Self::Pause(PAUSE),
        }
    }
}

/// Whether this process or the whole system has no descriptor left.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_a_remedy_and_none_is_fatal() {
        for (errno, remedy) in [
            (libc::EAGAIN, Remedy::AwaitEvent),
            (libc::ECONNABORTED, Remedy::TakeNext),
            (libc::EINTR, Remedy::TakeNext),
            (libc::EPROTO, Remedy::TakeNext),
            (libc::ENETDOWN, Remedy::TakeNext),
            (libc::EMFILE, Remedy::Pause(PAUSE)),
            (libc::ENFILE, Remedy::Pause(PAUSE)),
            (libc::ENOBUFS, Remedy::Pause(PAUSE)),
            (libc::ENOMEM, Remedy::Pause(PAUSE)),
            (libc::EPERM, Remedy::Pause(PAUSE)),
        ] {
            assert_eq!(Remedy::of(&io::Error::from_raw_os_error(errno)), remedy, "errno {errno}");
        }
    }
}
