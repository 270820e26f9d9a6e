//! One TLS session, without a socket. This file is all that knows how rustls is driven.
//!
//! rustls decrypts in a buffer of the caller and encrypts into another one, so a session owns no buffer between two calls,
//! except for the parts of a handshake message that is split over records.

use std::fmt;

use rustls::{
    CommonState, Error, HandshakeKind,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    },
};

/// What one record adds at most to what it contains, in both versions: the head, the nonce, the type, the tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;

/// The most that is in one record.
const RECORD: usize = 16 << 10;

/// One end of a TLS connection.
pub(super) struct Session {
    engine: Engine,
    /// Records with the beginning of a handshake message, as rustls has left them: they are decrypted in place.
    held: Vec<u8>,
}

/// What rustls keeps for an end.
pub(super) enum Engine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Engine {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }

    /// Lets rustls take its next step with `buffer`. Returns how many bytes of it are done with, and what came of it.
    fn advance(
        &mut self,
        buffer: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        then: Then<'_>,
        closed: &mut bool,
    ) -> (usize, Step) {
        match self {
            Self::Server(server) => {
                let UnbufferedStatus { discard, state, .. } = server.process_tls_records(buffer);
                (discard, state.and_then(|state| step(state, plain, out, then, closed)))
            }
            Self::Client(client) => {
                let UnbufferedStatus { discard, state, .. } = client.process_tls_records(buffer);
                (discard, state.and_then(|state| step(state, plain, out, then, closed)))
            }
        }
    }
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The handshake is not complete.
    Handshake,
    /// Both sides may send.
    Open,
    /// The peer has sent `close_notify`.
    PeerClosed,
}

/// What to do as soon as it can be done.
#[derive(Debug, Clone, Copy)]
enum Then<'b> {
    Nothing,
    Seal(&'b [u8]),
    CloseNotify,
}

/// The outcome of one step: the next one follows if there is no stage.
type Step = Result<Option<Stage>, Error>;

impl Session {
    pub(super) const fn new(engine: Engine) -> Self {
        Self { engine, held: Vec::new() }
    }

    /// Puts what a client says first into `out`.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.then(Then::Nothing, out)
    }

    /// Decrypts whole `records`: what is in them is appended to `plain`, and answers of the handshake to `out`. `scratch`
    /// is where rustls works.
    ///
    /// After an error nothing more can be sent but what is in `out`, which may be an alert.
    pub(super) fn receive(
        &mut self,
        records: &[u8],
        scratch: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Stage, Error> {
        let is_continued = !self.held.is_empty();
        let buffer = if is_continued {
            &mut self.held
        } else {
            scratch.clear();
            &mut *scratch
        };
        buffer.extend_from_slice(records);
        let mut closed = false;
        let (done, stage) = pump(&mut self.engine, buffer, plain, out, Then::Nothing, &mut closed);
        let stage = stage.map(|stage| if closed { Stage::PeerClosed } else { stage });
        if stage.is_err() || closed {
            self.held = Vec::new();
        } else if !is_continued {
            self.held.extend_from_slice(&scratch[done..]);
        } else if done == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..done);
        }
        stage
    }

    /// Encrypts `plain` to `out`.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.then(Then::Seal(plain), out)
    }

    /// Tells the peer that nothing more will be sent (RFC 8446, section 6.1).
    pub(super) fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.then(Then::CloseNotify, out)
    }

    fn then(&mut self, then: Then<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut unexpected = Vec::new();
        let (done, stage) =
            pump(&mut self.engine, &mut self.held, &mut unexpected, out, then, &mut false);
        debug_assert!(unexpected.is_empty(), "it was decrypted before");
        self.held.drain(..done);
        stage.map(drop)
    }

    /// Bytes of memory that it owns for unfinished messages.
    pub(super) const fn capacity(&self) -> usize {
        self.held.capacity()
    }

    /// Whether the handshake went on with an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.engine.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What was agreed upon, for the log.
    pub(super) fn summary(&self) -> String {
        let common = self.engine.common();
        let version = common.protocol_version().and_then(|version| version.as_str());
        let suite = common.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = common.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        let kind = if self.is_resumed() { "resumed" } else { "full handshake" };
        let mut summary = [version, suite, group].map(|name| name.unwrap_or("?")).join(", ");
        summary.push_str(&format!(", {kind}"));
        if let Some(protocol) = common.alpn_protocol() {
            summary.push_str(&format!(", ALPN {}", protocol.escape_ascii()));
        }
        summary
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// Lets rustls work on `buffer` until it needs more of it, and does `then` as soon as the handshake is complete. Returns
/// how many bytes of `buffer` are done with.
fn pump(
    engine: &mut Engine,
    buffer: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    then: Then<'_>,
    closed: &mut bool,
) -> (usize, Result<Stage, Error>) {
    let mut done = 0;
    loop {
        let (discard, step) = engine.advance(&mut buffer[done..], plain, out, then, closed);
        done += discard;
        match step {
            Ok(None) => {}
            Ok(Some(stage)) => return (done, Ok(stage)),
            Err(error) => {
                put_alert(engine, plain, out);
                return (done, Err(error));
            }
        }
    }
}

/// Appends the alert that tells the peer of an error. rustls must not see another record after an error.
fn put_alert(engine: &mut Engine, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    while engine.common().wants_write() {
        if !matches!(engine.advance(&mut [], plain, out, Then::Nothing, &mut false).1, Ok(None)) {
            return;
        }
    }
}

fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    then: Then<'_>,
    closed: &mut bool,
) -> Step {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record?.payload);
            }
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(out, 0, |room| data.encode(room))?;
        }
        ConnectionState::TransmitTlsData(data) => data.done(),
        ConnectionState::PeerClosed => *closed = true,
        ConnectionState::Closed => return Ok(Some(Stage::PeerClosed)),
        ConnectionState::BlockedHandshake => return Ok(Some(Stage::Handshake)),
        ConnectionState::WriteTraffic(mut traffic) => {
            match then {
                Then::Nothing => {}
                Then::Seal(bytes) => {
                    let records = bytes.len().div_ceil(RECORD);
                    let room = bytes.len() + records * RECORD_OVERHEAD;
                    append(out, room, |room| traffic.encrypt(bytes, room))?;
                }
                Then::CloseNotify => {
                    append(out, RECORD_OVERHEAD + 2, |room| traffic.queue_close_notify(room))?;
                }
            }
            return Ok(Some(Stage::Open));
        }
        // Early data is neither accepted nor sent: `max_early_data_size` is 0.
        _ => return Err(Error::General("an unexpected state".to_owned())),
    }
    Ok(None)
}

/// Appends what `write` writes into the room that it needs, which is probably `room` bytes.
fn append<E: Into<Short>>(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]).map_err(Into::into) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Short(Some(more))) if more > room => room = more,
            Err(_) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

/// How much room an error says is needed.
struct Short(Option<usize>);

impl From<EncodeError> for Short {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self(Some(required_size))
            }
            EncodeError::AlreadyEncoded => Self(None),
        }
    }
}

impl From<EncryptError> for Short {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self(Some(required_size))
            }
            EncryptError::EncryptExhausted => Self(None),
        }
    }
}
