//! The client as a pipe: standard input is sent, and what comes back is written to standard output.
//!
//! It needs two threads: a server stops reading when its answers are not read. A client that sent everything before
//! it received would deadlock with such a server. Memory is bounded by the window and one item.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use log::{debug, warn};
use resound::plural::bytes;

use super::{
    window::{Difference, Window},
    wire::{Cut, Decoder, Encoder, Piece, Wire},
};
use crate::{
    cli::Failure,
    common::{tls::Link, units::Time},
};

/// Size of one read and one write at most, in bytes.
const BLOCK: usize = 128 << 10;

/// Bytes in flight at most. Twice a chunk if that is more, so that one can be sent while the other returns.
const WINDOW: usize = 4 << 20;

/// How often the receiver checks whether it still has to wait, while nothing arrives.
const TICK: Duration = Duration::from_millis(50);

/// How long to wait for the server's FIN when everything has come back.
const PARTING: Duration = Duration::from_secs(1);

/// The settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) wire: Wire,
    pub(super) cut: Cut,
    /// Compare what comes back with what was sent.
    pub(super) check: bool,
    /// How long an answer may take while no byte is sent or received.
    pub(super) timeout: Option<Duration>,
}

/// What the sender shares with the receiver.
#[derive(Debug)]
struct Sender {
    window: Window,
    /// Bytes accepted by the kernel.
    sent: AtomicU64,
    /// It is in a call to write now.
    writing: AtomicBool,
    /// All input is in the window.
    finished: AtomicBool,
    /// The item, counted from 1, that had no newline in the input; 0 for none. Set before it is sent.
    unterminated: AtomicU64,
    /// Why it stopped before the end of the input.
    failure: OnceLock<String>,
}

pub(super) fn run(job: Job, link: Link) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("cannot set up the pipe: {error}"));
    let chunk = match job.cut {
        Cut::Chunks(length) => length,
        Cut::Lines => 0,
    };
    let sender = Arc::new(Sender {
        window: Window::new(WINDOW.max(chunk.saturating_mul(2))),
        sent: AtomicU64::new(0),
        writing: AtomicBool::new(false),
        finished: AtomicBool::new(false),
        unterminated: AtomicU64::new(0),
        failure: OnceLock::new(),
    });
    // As files, they are neither buffered nor searched for newlines.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    link.socket().set_read_timeout(Some(TICK)).map_err(failed)?;
    let sending = link.try_clone().map_err(failed)?;
    thread::spawn({
        let sender = Arc::clone(&sender);
        move || sender.run(job, input, sending)
    });
    let mut receiver = Receiver {
        job,
        sender: &sender,
        decoder: Decoder::new(job.wire),
        output,
        text: Vec::new(),
        items: 0,
        written: 0,
        received: 0,
    };
    // The sender may be blocked in a read of standard input. It ends with the process.
    match receiver.run(&link) {
        // The reader of standard output has closed it: that is no failure.
        Err(Stop::OutputClosed) => Ok(ExitCode::SUCCESS),
        Err(Stop::Failed(text)) => Err(Failure::Failed(text)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

impl Sender {
    /// Sends all of `input`, then FIN.
    fn run(&self, job: Job, input: File, link: Link) {
        if let Err(text) = self.send_all(job, input, &link) {
            // Set before the FIN: the server then closes the connection, and the receiver looks at this.
            let _ = self.failure.set(text);
        }
        let _ = link.finish();
    }

    /// A failure of the connection is not reported here: the receiver sees it too, after what came back.
    fn send_all(&self, job: Job, mut input: File, link: &Link) -> Result<(), String> {
        let mut encoder = Encoder::new(job.wire, job.cut);
        let mut block = vec![0; BLOCK];
        let mut batch = Vec::new();
        loop {
            let length = match input.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot read standard input: {error}")),
            };
            batch.clear();
            let pushed = encoder.push(&block[..length], &mut batch);
            if job.check {
                self.window.send(&batch);
            }
            if self.write(&batch, link).is_err() {
                return Ok(());
            }
            pushed.map_err(|error| error.to_string())?;
        }
        batch.clear();
        let unterminated = encoder.finish(&mut batch).map_err(|error| error.to_string())?;
        self.unterminated.store(unterminated.unwrap_or(0), SeqCst);
        if job.check {
            self.window.send(&batch);
        }
        // Set before the last bytes can come back, because then everything has come back.
        self.finished.store(true, SeqCst);
        let _ = self.write(&batch, link);
        Ok(())
    }

    fn write(&self, mut bytes: &[u8], mut link: &Link) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writing.store(true, SeqCst);
            let written = link.write(bytes);
            self.writing.store(false, SeqCst);
            match written {
                Ok(length) => {
                    self.sent.fetch_add(length as u64, SeqCst);
                    bytes = &bytes[length..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!("cannot send: {error}");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        self.finished.load(SeqCst)
    }
}

/// The other direction.
#[derive(Debug)]
struct Receiver<'s> {
    job: Job,
    sender: &'s Sender,
    decoder: Decoder,
    output: File,
    /// Output of one read; empty between reads.
    text: Vec<u8>,
    /// Items that came back whole.
    items: u64,
    /// Bytes written to the output.
    written: u64,
    /// Bytes received.
    received: u64,
}

/// Why receiving ended early.
#[derive(Debug)]
enum Stop {
    /// Standard output is closed.
    OutputClosed,
    Failed(String),
}

impl Receiver<'_> {
    fn run(&mut self, mut link: &Link) -> Result<(), Stop> {
        let mut block = vec![0; BLOCK];
        let mut quiet_since = Instant::now();
        let mut sent_before = 0;
        loop {
            match link.read(&mut block) {
                Ok(0) => return self.closed("closed the connection"),
                Ok(length) => {
                    self.receive(&block[..length])?;
                    quiet_since = Instant::now();
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        let sent = self.sender.sent.load(SeqCst);
                        if sent != sent_before || !self.is_the_servers_turn() {
                            sent_before = sent;
                            quiet_since = Instant::now();
                        } else if self.give_up(quiet_since.elapsed())? {
                            return Ok(());
                        }
                    }
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return self.closed("reset the connection"),
                    ErrorKind::UnexpectedEof => return self.cut_off(),
                    _ => return Err(Stop::Failed(format!("cannot receive: {error}"))),
                },
            }
        }
    }

    /// Whether the server has to act next.
    fn is_the_servers_turn(&self) -> bool {
        self.sender.finished()
            || self.sender.writing.load(SeqCst)
            || self.job.check && self.sender.window.len() > 0
    }

    /// Nothing was sent or received for this `long`: whether all is done; an error if the timeout is over.
    fn give_up(&self, long: Duration) -> Result<bool, Stop> {
        let over = self.job.timeout.is_some_and(|timeout| long >= timeout);
        let all_came_back =
            self.job.check && self.sender.finished() && self.sender.window.len() == 0;
        let enough = !self.job.check && self.sender.finished() && self.received > 0;
        if all_came_back && (over || long >= PARTING) || enough && over {
            debug!("the server leaves the connection open; closing it");
            return Ok(true);
        }
        if !over {
            return Ok(false);
        }
        let what = if self.sender.writing.load(SeqCst) {
            "the server does not read"
        } else {
            "the server does not answer"
        };
        Err(Stop::Failed(format!(
            "{what}: no byte was sent or received for {}, after {} were sent and {} received. Check the \
             protocol (--protocol, or keys in the address), or wait longer with --timeout",
            Time(self.job.timeout.unwrap_or_default()),
            bytes(self.sender.sent.load(SeqCst)),
            self.received
        )))
    }

    /// The server has closed the connection.
    fn closed(&self, how: &str) -> Result<(), Stop> {
        if let Some(text) = self.sender.failure.get() {
            return Err(Stop::Failed(text.clone()));
        }
        let missing = self.sender.window.len();
        let finished = self.sender.finished();
        if missing == 0 && finished {
            return Ok(());
        }
        let when = if missing > 0 {
            format!("while {} had not come back", bytes(missing))
        } else {
            "before the input ended".to_owned()
        };
        Err(Stop::Failed(format!(
            "the server {how} {when}, after {} received; its log gives the reason (resound serve --log-level debug)",
            self.received
        )))
    }

    /// The server has closed the connection without `close_notify`: TLS does not say whether that was all (RFC 8446,
    /// section 6.1).
    fn cut_off(&self) -> Result<(), Stop> {
        self.closed("closed the connection without close_notify, as if it had been cut,")?;
        if self.job.check {
            warn!("all came back, and then the server closed the connection without close_notify");
            return Ok(());
        }
        Err(Stop::Failed(format!(
            "the server closed the connection without close_notify, as if it had been cut: the {} that came may not be all",
            bytes(self.received)
        )))
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let difference =
            if self.job.check { self.sender.window.receive(bytes).err() } else { None };
        let right = difference.as_ref().map_or(bytes.len(), |difference| difference.index);
        self.received += right as u64;
        let decoded = self.decoder.push(&bytes[..right], |piece| match piece {
            Piece::Bytes(bytes) => self.text.extend_from_slice(bytes),
            Piece::End => {
                self.items += 1;
                if self.job.cut == Cut::Lines && self.sender.unterminated.load(SeqCst) != self.items
                {
                    self.text.push(b'\n');
                }
            }
        });
        self.written += self.text.len() as u64;
        let written = self.output.write_all(&self.text);
        self.text.clear();
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Stop::OutputClosed),
            Err(error) => {
                return Err(Stop::Failed(format!("cannot write to standard output: {error}")));
            }
            Ok(()) => {}
        }
        if let Some(difference) = difference {
            return Err(Stop::Failed(self.tell(&difference)));
        }
        decoded.map_err(|error| {
            Stop::Failed(format!(
                "the server sent an invalid frame after frame {}: {error}",
                self.items
            ))
        })
    }

    /// What was written equals the beginning of the input, so its length is the offset of the difference.
    fn tell(&self, difference: &Difference) -> String {
        if self.received == 0 && difference.sent.is_none() {
            return format!(
                "the server sent 0x{:02x} before the client sent anything. If the server sends a banner, \
                 add --no-check",
                difference.received
            );
        }
        let frame = self.items + 1;
        let place = match (self.job.wire, self.decoder.within_head()) {
            (Wire::Frames(_), Some(byte)) => {
                format!("in the head of frame {frame}, at its offset {byte}")
            }
            (Wire::Frames(_), None) => {
                format!("at offset {} of the input, in frame {frame}", self.written)
            }
            (Wire::Lines | Wire::Raw, _) => format!("at offset {} of the input", self.written),
        };
        let received = difference.received;
        let what = match difference.sent {
            Some(sent) => format!("sent 0x{sent:02x}, received 0x{received:02x}"),
            None => format!("received 0x{received:02x} after everything sent had come back"),
        };
        // A banner may have been sent before the server received anything.
        let banner = if self.received == 0 { "sends a banner or " } else { "" };
        format!(
            "the echo differs {place} (offsets count from 0): {what}. If the server {banner}does not echo, add \
             --no-check"
        )
    }
}
