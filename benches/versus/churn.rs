//! Load that does not stay: connect, one frame, close, and again.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::load::{Run, STALL};
use crate::pattern::Pattern;

const EVENTS: usize = 1024;
const POLL: Duration = Duration::from_millis(100);

/// One connection's short life.
#[derive(Debug)]
struct Visit {
    stream: TcpStream,
    started: Instant,
    /// The frame is small and a new connection takes it whole.
    sent: bool,
    received: usize,
}

impl Visit {
    fn begin(registry: &Registry, slot: usize, address: SocketAddr) -> io::Result<Self> {
        let started = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(slot), interest)?;
        Ok(Self { stream, started, sent: false, received: 0 })
    }

    /// Goes on as far as it can. Whether the frame is back.
    fn go_on(&mut self, pattern: &mut Pattern, scratch: &mut [u8]) -> io::Result<bool> {
        if !self.sent {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.write(pattern.at(0, pattern.frame)) {
                Ok(sent) if sent == pattern.frame => self.sent = true,
                Ok(_) => return Err(io::Error::other("a new connection took half a frame")),
                Err(error) if not_yet(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match self.stream.read(scratch) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Ok(got) => {
                pattern.verify(self.received as u64, &scratch[..got])?;
                self.received += got;
            }
            Err(error) if not_yet(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.received >= pattern.frame)
    }
}

fn not_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), Interrupted | NotConnected | WouldBlock)
}

/// Keeps `at_once` connections going, each for one frame of `payload` bytes, for `duration`. The frames of the result
/// are the connections that were served.
pub fn churn(
    address: SocketAddr,
    at_once: usize,
    payload: usize,
    duration: Duration,
) -> io::Result<Run> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let mut pattern = Pattern::new(payload, 1)?;
    let mut scratch = vec![0; pattern.frame];
    let mut run = Run::default();
    let started = Instant::now();
    let mut visits = Vec::with_capacity(at_once);
    for slot in 0..at_once {
        visits.push(Some(Visit::begin(poll.registry(), slot, address)?));
    }
    let mut open = at_once;
    let mut progress = Instant::now();
    while open > 0 {
        match poll.poll(&mut events, Some(POLL)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        if progress.elapsed() > STALL {
            return Err(io::Error::other(format!(
                "stalled: {open} connections wait to be accepted or answered"
            )));
        }
        for event in &events {
            let slot = event.token().0;
            let Some(visit) = &mut visits[slot] else {
                continue;
            };
            if !visit.go_on(&mut pattern, &mut scratch)? {
                continue;
            }
            progress = Instant::now();
            run.frames += 1;
            let latency = visit.started.elapsed().as_nanos();
            run.latencies.push(u64::try_from(latency).unwrap_or(u64::MAX));
            visits[slot] = None;
            if started.elapsed() < duration {
                visits[slot] = Some(Visit::begin(poll.registry(), slot, address)?);
            } else {
                open -= 1;
            }
        }
    }
    run.elapsed = started.elapsed();
    Ok(run)
}
