//! Why a connection was closed: one list for the log, the counters and the summary.

use std::io::{self, ErrorKind};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a connection was closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// In the words of the log and the summary.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The peer closed its side, and all complete frames were answered.
    PeerClosed = "by the peer",
    /// The protocol ended it.
    Finished = "at the protocol's end",
    /// The peer broke the protocol's rules or a limit.
    Refused = "refused",
    /// The peer's kernel answered that there is no such connection, or no longer.
    Reset = "reset",
    /// Reading or writing failed otherwise: timed out, unreachable.
    Lost = "lost",
    /// Nothing listens at the address that it was to connect to.
    ConnectRefused = "refused at connecting",
    /// No answer to connecting came within the write timeout, or the kernel's own.
    ConnectTimeout = "no answer to connecting",
    /// Connecting failed otherwise: unreachable, not permitted.
    ConnectFailed = "connecting failed",
    /// There was no partial frame and nothing left to send for longer than the idle timeout.
    Idle = "on idle timeout",
    /// A frame was not complete within the frame timeout.
    SlowFrame = "on frame timeout",
    /// The handshake was not complete within the handshake timeout.
    SlowHandshake = "on handshake timeout",
    /// The peer took none of the bytes that it was owed within the write timeout.
    SlowReader = "on write timeout",
    /// All connections together held more than the memory limit, and this one held the most.
    Memory = "at the memory limit",
    /// The reactor stops, and all that was received had been answered.
    Drained = "drained",
    /// The reactor stopped before the connection was finished.
    CutOff = "at the end of the grace time",
    /// The program closed it: [`Reactor::close`](crate::Reactor::close).
    Closed = "by the program",
    /// Another loop or process goes on with it: [`Handle::release_connections`](crate::Handle::release_connections).
    Released = "handed over",
    /// A fault of the listener's plan ended it ([`fault`](crate::protocol::fault)).
    Fault = "by a fault",
    /// It could not be registered with the poll.
    Unregistered = "not registered",
}

impl Reason {
    /// Why a connection ends whose connecting ended in `error`.
    pub(crate) fn of_connecting(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::ConnectRefused,
            ErrorKind::TimedOut => Self::ConnectTimeout,
            // The kernel had connected it, and RST came before anyone looked.
            ErrorKind::ConnectionReset => Self::Reset,
            _ => Self::ConnectFailed,
        }
    }

    /// Why a connection ends whose reading or writing ended in `error`.
    pub(crate) fn of_loss(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Lost,
        }
    }
}
