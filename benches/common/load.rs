//! A load that is counted: so many frames on every connection, and no more.
//!
//! `resound bench` loads for a time. Instructions and system calls are counted over a number of frames.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::pattern::{Pattern, READ};

/// A server that owes bytes and sends none for this long has stalled.
const STALL: Duration = Duration::from_secs(5);
const EVENTS: usize = 1024;
const POLL: Duration = Duration::from_millis(100);

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub connections: usize,
    pub payload: usize,
    /// Frames in flight on each connection.
    pub depth: usize,
    /// Frames on each connection in all.
    pub frames: usize,
}

/// One connection.
#[derive(Debug)]
struct Flow {
    stream: TcpStream,
    /// Bytes that are to be sent in all.
    asked: u64,
    sent: u64,
    received: u64,
    /// Frames that have not been asked for yet.
    left: usize,
}

/// Sends exactly `amount`, and waits until all of it is back.
pub fn send(address: SocketAddr, amount: Amount) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let pattern = Pattern::new(amount.payload, amount.depth)?;
    let mut flows = Vec::with_capacity(amount.connections);
    for index in 0..amount.connections {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        flows.push(Flow { stream, asked: 0, sent: 0, received: 0, left: amount.frames });
    }
    for flow in &mut flows {
        flow.ask(amount.depth, &pattern)?;
    }
    let mut events = Events::with_capacity(EVENTS);
    let mut scratch = vec![0; READ];
    let mut progress = Instant::now();
    while flows.iter().any(|flow| flow.left > 0 || flow.received < flow.asked) {
        match poll.poll(&mut events, Some(POLL)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            let flow = &mut flows[event.token().0];
            let back = if event.is_readable() {
                flow.receive(&pattern, &mut scratch, event.is_read_closed())?
            } else {
                0
            };
            if back > 0 || event.is_writable() {
                flow.ask(back, &pattern)?;
            }
        }
        if !events.is_empty() {
            progress = Instant::now();
        } else if progress.elapsed() > STALL {
            return Err(io::Error::other(format!("stalled: nothing came for {STALL:?}")));
        }
    }
    Ok(())
}

impl Flow {
    /// Sends `frames` more, as far as there are more and the kernel takes them.
    fn ask(&mut self, frames: usize, pattern: &Pattern) -> io::Result<()> {
        let frames = frames.min(self.left);
        self.left -= frames;
        self.asked += (frames * pattern.frame) as u64;
        while self.sent < self.asked {
            let wanted = usize::try_from(self.asked - self.sent).map_err(io::Error::other)?;
            match self.stream.write(pattern.at(self.sent, wanted)) {
                Ok(sent) => self.sent += sent as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there. How many frames that completed.
    fn receive(
        &mut self,
        pattern: &Pattern,
        scratch: &mut [u8],
        ending: bool,
    ) -> io::Result<usize> {
        let before = pattern.frames_in(self.received);
        loop {
            let got = match self.stream.read(scratch) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            pattern.verify(self.received, &scratch[..got])?;
            self.received += got as u64;
            if self.received > self.sent {
                return Err(io::Error::other("more came back than was sent"));
            }
            if got < scratch.len() && !ending {
                break;
            }
        }
        usize::try_from(pattern.frames_in(self.received) - before).map_err(io::Error::other)
    }
}
