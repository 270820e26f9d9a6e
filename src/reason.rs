//! Why a connection was closed: one list for the log, the counters and the summary.

use std::io::{self, ErrorKind};

use crate::memory::OverLimit;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a connection was closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of their counters.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$name),*];

            /// In the words of the log and the summary.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The peer closed its side, and everything whole went back to it.
    PeerClosed = "by the peer",
    /// The protocol came to its end.
    Finished = "at the protocol's end",
    /// The peer broke the protocol's rules or a limit.
    Refused = "refused",
    /// The peer's kernel answered that there is no such connection, or no longer.
    Reset = "reset",
    /// Reading or writing failed otherwise: timed out, unreachable.
    Lost = "lost",
    /// Nobody listens where it was to go.
    ConnectRefused = "refused at connecting",
    /// No answer to connecting came within the write timeout, or the kernel's own.
    ConnectTimeout = "no answer to connecting",
    /// Connecting failed otherwise: unreachable, not permitted.
    ConnectFailed = "connecting failed",
    /// Nothing was begun for longer than the idle timeout.
    Idle = "idle too long",
    /// A frame was not whole within the frame timeout.
    SlowFrame = "a frame took too long",
    /// The peer took nothing of what it is owed within the write timeout.
    SlowReader = "the peer does not read",
    /// All connections' buffers together would have passed the memory limit.
    Memory = "the memory limit",
    /// The reactor stops, and all that was received had been answered.
    Drained = "drained",
    /// The reactor stopped before the connection was finished.
    CutOff = "cut off at the end of the grace time",
    /// The program closed it: [`Reactor::close`](crate::Reactor::close).
    Closed = "by the program",
    /// It could not be registered with the poll.
    Unregistered = "not registered",
}

impl Reason {
    /// Why a connection ends whose connecting ended in `error`.
    pub(super) fn of_connecting(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::ConnectRefused,
            ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::ConnectFailed,
        }
    }

    /// Why a connection ends whose reading or writing ended in `error`.
    pub(super) fn of_loss(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Lost,
        }
    }
}

impl From<OverLimit> for Reason {
    fn from(OverLimit: OverLimit) -> Self {
        Self::Memory
    }
}
