//! One listener as the dispatcher sees it: what it speaks, and whether it is accepting.

use std::{io, time::Duration};

/// Names one protocol that connections speak which go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane(pub(crate) u8);

/// A listener and its protocol. Connections name theirs by its index.
#[derive(Debug)]
pub(crate) struct Door<L, P> {
    /// `None` once the dispatcher stops, and for connections that go out.
    pub(crate) listener: Option<L>,
    pub(crate) protocol: P,
    /// As it was bound, for the log.
    pub(crate) name: String,
    pub(crate) state: State,
}

impl<L, P> Door<L, P> {
    pub(crate) fn new(listener: Option<L>, protocol: P, name: String) -> Self {
        Self { listener, protocol, name, state: State::Open }
    }
}

/// Whether a listener is accepting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Whenever the poll says so.
    Open,
    /// In its turn on the run queue: there were more than one batch.
    Queued,
    /// When a connection closes: as many as allowed are open. Others wait in the backlog.
    Full,
    /// At this time: descriptors or memory ran out, and with edge triggers nothing else would tell.
    Paused(Duration),
}

/// What to do about an error of accept(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nobody waits any more.
    AwaitEvent,
    /// It concerned that one connection, which is gone: take the next.
    TakeNext,
    /// It will be the same with the next: try again after this long.
    Pause(Duration),
}

const PAUSE: Duration = Duration::from_millis(100);

impl Remedy {
    /// By the list in accept(2), which asks that pending network errors be treated as a retry.
    pub(crate) fn of(error: &io::Error) -> Self {
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
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever else there may be.
            _ => Self::Pause(PAUSE),
        }
    }
}

/// Whether this process or the whole system has no descriptor left.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
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
