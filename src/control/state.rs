//! The state of a connection, as other threads and other processes are told it.

/// Whether a connection is connecting, open or ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It is outbound, and the peer has not answered yet.
    Connecting,
    /// Both directions are open.
    #[default]
    Open,
    /// The peer has sent FIN.
    HalfClosed,
    /// The server ends it: the bytes that wait are sent, then FIN.
    Finishing,
    /// The server has sent FIN, and waits for the peer's.
    Lingering,
}

impl ConnectionState {
    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::HalfClosed => "half-closed",
            Self::Finishing => "finishing",
            Self::Lingering => "lingering",
        }
    }
}

/// What a peer has begun to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begun {
    /// Nothing: all that has come is answered.
    #[default]
    Nothing,
    /// What comes before the first frame: a PROXY header, a WebSocket handshake, the head of the first request.
    Handshake,
    /// A frame, line, message or request.
    Frame,
}

/// A frame that timed out while its sender waited for the server: replies waited to be sent, or bytes to be read.
///
/// The server did not read meanwhile, so the rest of the frame could not come. The time starts once more when the
/// replies have gone and the bytes are read; once, or a peer could keep a frame unfinished for ever by not reading now and
/// then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// Replies are owed, or bytes wait to be read.
    Waits,
    /// The peer no longer waits for the server, and the time runs again.
    Used,
    /// The time was up again while the peer waited for the server: it ends as soon as the peer no longer does.
    UsedUp,
}
