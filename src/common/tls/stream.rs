//! A blocking TLS connection of a client. One thread may read from it while another one writes.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use log::debug;
use resound::protocol::tls::{ClientSession, Connector, Stage, TlsFailure};
use socket2::Socket;

use super::client::explain;

/// Bytes of one read.
const READ: usize = 64 << 10;

/// Bytes that are encrypted at once. So much may be kept when a write times out.
const AT_ONCE: usize = 64 << 10;

/// A client's end of a connection. Copies share it.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    shared: Arc<Shared>,
}

/// No lock is waited for while another one of them is held, but for `session`, which nobody holds while it blocks. So the reader
/// never waits for a writer that the server lets wait.
#[derive(Debug)]
struct Shared {
    session: Mutex<Session>,
    /// What is encrypted and not sent.
    unsent: Mutex<Vec<u8>>,
    incoming: Mutex<Incoming>,
}

#[derive(Debug)]
struct Session {
    tls: ClientSession,
    /// What goes to the server before all that is encrypted later.
    out: Vec<u8>,
}

#[derive(Debug)]
struct Incoming {
    block: Vec<u8>,
    /// What is decrypted, and not read before `start`.
    plain: Vec<u8>,
    start: usize,
    end: Option<End>,
}

/// Why nothing more comes.
#[derive(Debug, Clone)]
enum End {
    /// The server has sent `close_notify`.
    Closed,
    /// FIN came without it.
    CutOff,
    Failed(TlsFailure),
}

impl Stream {
    /// Makes the handshake. The timeouts of `socket` bound each wait.
    ///
    /// # Errors
    ///
    /// As read(2) and write(2); `InvalidData` with the cause and the remedy, if TLS failed; `UnexpectedEof`, if the server closed
    /// the connection meanwhile.
    pub(crate) fn connect(socket: Socket, connector: Arc<Connector>) -> io::Result<Self> {
        let mut out = Vec::new();
        let mut tls = ClientSession::new(connector, &mut out).map_err(failed)?;
        let mut incoming =
            Incoming { block: vec![0; READ], plain: Vec::new(), start: 0, end: None };
        loop {
            (&socket).write_all(&out)?;
            out.clear();
            let length = read(&socket, &mut incoming.block)?;
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match tls.receive(&incoming.block[..length], &mut incoming.plain, &mut out) {
                Ok(Stage::Handshake) => {}
                Ok(stage) => {
                    incoming.end = (stage == Stage::PeerClosed).then_some(End::Closed);
                    break;
                }
                Err(failure) => {
                    // The alert: the server may be gone.
                    let _ = (&socket).write_all(&out);
                    return Err(failed(failure));
                }
            }
        }
        (&socket).write_all(&out)?;
        out.clear();
        debug!("TLS: {}", tls.summary());
        let session = Mutex::new(Session { tls, out });
        let shared =
            Shared { session, unsent: Mutex::new(Vec::new()), incoming: Mutex::new(incoming) };
        Ok(Self { socket, shared: Arc::new(shared) })
    }

    pub(crate) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The same connection, with another `socket` of it.
    pub(crate) fn with(&self, socket: Socket) -> Self {
        Self { socket, shared: Arc::clone(&self.shared) }
    }

    /// As read(2). The end is `close_notify`; FIN without it is the error `UnexpectedEof`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.shared.incoming);
        let incoming = &mut *incoming;
        loop {
            let rest = &incoming.plain[incoming.start..];
            if !rest.is_empty() {
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                incoming.start += length;
                return Ok(length);
            }
            match &incoming.end {
                None => {}
                Some(End::Closed) => return Ok(0),
                Some(End::CutOff) => {
                    let text = "the server closed the connection without close_notify, as if it had been cut";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                Some(End::Failed(failure)) => return Err(failed(failure.clone())),
            }
            let length = read(&self.socket, &mut incoming.block)?;
            (incoming.start, incoming.end) =
                (0, self.receive(length, &incoming.block, &mut incoming.plain));
        }
    }

    /// Decrypts the first `length` bytes of `block`.
    fn receive(&self, length: usize, block: &[u8], plain: &mut Vec<u8>) -> Option<End> {
        plain.clear();
        if length == 0 {
            return Some(End::CutOff);
        }
        let mut session = lock(&self.shared.session);
        let Session { tls, out } = &mut *session;
        let received = tls.receive(&block[..length], plain, out);
        drop(session);
        match received {
            Ok(Stage::PeerClosed) => Some(End::Closed),
            Ok(_) => None,
            Err(failure) => {
                // The alert. Where the writer is blocked, it has to do without.
                if let Ok(mut unsent) = self.shared.unsent.try_lock() {
                    unsent.append(&mut lock(&self.shared.session).out);
                    let _ = self.send(&mut unsent);
                }
                Some(End::Failed(failure))
            }
        }
    }

    /// As write(2). Where a timeout of the socket is over in the middle of a record, its rest goes first the next time.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut unsent = lock(&self.shared.unsent);
        self.send(&mut unsent)?;
        let taken = bytes.len().min(AT_ONCE);
        self.encrypt(&mut unsent, |tls, out| tls.send(&bytes[..taken], out))?;
        match self.send(&mut unsent) {
            Err(error) if !is_timeout(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what earlier writes have left, as far as there is room now. Where another thread writes, it is left to that
    /// thread.
    pub(crate) fn flush_now(&self) {
        let Ok(mut unsent) = self.shared.unsent.try_lock() else { return };
        if !unsent.is_empty() && self.socket.set_nonblocking(true).is_ok() {
            // Where it fails, the next read says why.
            let _ = self.send(&mut unsent);
            let _ = self.socket.set_nonblocking(false);
        }
    }

    /// Sends what earlier writes have left.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.send(&mut lock(&self.shared.unsent))
    }

    /// Sends `close_notify`: the server sees the end of the input.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut unsent = lock(&self.shared.unsent);
        self.encrypt(&mut unsent, ClientSession::close)?;
        self.send(&mut unsent)
    }

    /// Appends what the session says to `unsent`.
    fn encrypt(
        &self,
        unsent: &mut Vec<u8>,
        say: impl FnOnce(&mut ClientSession, &mut Vec<u8>) -> Result<(), TlsFailure>,
    ) -> io::Result<()> {
        let mut session = lock(&self.shared.session);
        let Session { tls, out } = &mut *session;
        let said = say(tls, out);
        if unsent.is_empty() {
            mem::swap(unsent, out);
        } else {
            unsent.append(out);
        }
        said.map_err(failed)
    }

    fn send(&self, unsent: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            if sent == unsent.len() {
                break Ok(());
            }
            match (&self.socket).write(&unsent[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        unsent.drain(..sent);
        outcome
    }
}

fn read(mut socket: &Socket, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(block) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn failed(failure: TlsFailure) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, explain(&failure))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
