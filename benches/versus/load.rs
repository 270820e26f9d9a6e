//! The load: connections that keep frames in flight, and count and check what comes back.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::pattern::{Pattern, READ};

/// A server that owes bytes and sends none for this long has stalled.
pub const STALL: Duration = Duration::from_secs(5);
/// With more in flight a frame's latency is the depth's doing, and taking it would slow the load.
const TIMED_DEPTH: usize = 8;
const EVENTS: usize = 1024;
const POLL: Duration = Duration::from_millis(100);

/// What one run of load did.
#[derive(Debug, Default)]
pub struct Run {
    pub frames: u64,
    /// From the first byte sent to the last one back.
    pub elapsed: Duration,
    /// In nanoseconds, one for each frame whose latency was taken.
    pub latencies: Vec<u64>,
}

/// Many connections to one server.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    events: Events,
    flows: Vec<Flow>,
    pattern: Pattern,
    scratch: Vec<u8>,
    /// Whether latencies are taken.
    timed: bool,
    run: Run,
}

/// One connection.
#[derive(Debug)]
struct Flow {
    stream: TcpStream,
    /// Bytes that are to be sent in all.
    asked: u64,
    sent: u64,
    received: u64,
    /// Frames that may still be asked for, where the load is counted.
    left: usize,
    /// When each frame in flight was due, if latencies are taken.
    due: VecDeque<Instant>,
}

/// When a frame is replaced by the next.
enum Pace {
    /// When it is back.
    Closed,
    /// When the next is due, even if others are in flight.
    Open { interval: Duration },
}

impl Load {
    /// Opens `connections` for frames of `payload` bytes; at most `depth` are sent in one go.
    pub fn connect(
        address: SocketAddr,
        connections: usize,
        payload: usize,
        depth: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut flows = Vec::with_capacity(connections);
        for index in 0..connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), interest)?;
            flows.push(Flow {
                stream,
                asked: 0,
                sent: 0,
                received: 0,
                left: usize::MAX,
                due: VecDeque::new(),
            });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            flows,
            pattern: Pattern::new(payload, depth)?,
            scratch: vec![0; READ],
            timed: false,
            run: Run::default(),
        })
    }

    /// Keeps `depth` frames in flight on every connection for `duration`, then waits for the last ones. Latencies are
    /// taken at small depths only.
    pub fn closed(&mut self, depth: usize, duration: Duration) -> io::Result<Run> {
        self.timed = depth <= TIMED_DEPTH;
        self.run = Run::default();
        let started = Instant::now();
        for index in 0..self.flows.len() {
            self.ask(index, depth, Instant::now())?;
        }
        self.drive(started, duration, &Pace::Closed)
    }

    /// Sends exactly `frames` frames on every connection, `depth` of them in flight.
    pub fn exactly(&mut self, depth: usize, frames: usize) -> io::Result<Run> {
        self.timed = false;
        self.run = Run::default();
        let started = Instant::now();
        for index in 0..self.flows.len() {
            self.flows[index].left = frames;
            self.ask(index, depth, started)?;
        }
        let run = self.drive(started, Duration::MAX, &Pace::Closed)?;
        for flow in &mut self.flows {
            flow.left = usize::MAX;
        }
        Ok(run)
    }

    /// Sends `rate` frames a second, evenly, in turn on all connections, for `duration`. A frame's latency counts
    /// from when it was due, not from when it could be sent: a server that stalls cannot hide.
    pub fn open(&mut self, rate: f64, duration: Duration) -> io::Result<Run> {
        self.timed = true;
        self.run = Run::default();
        let interval = Duration::from_secs_f64(1.0 / rate);
        self.drive(Instant::now(), duration, &Pace::Open { interval })
    }

    fn drive(&mut self, started: Instant, duration: Duration, pace: &Pace) -> io::Result<Run> {
        let mut next_due = started;
        let mut next_flow = 0;
        let mut progress = started;
        loop {
            let now = Instant::now();
            let issuing = now - started < duration && self.flows.iter().any(|flow| flow.left > 0);
            if let Pace::Open { interval } = pace {
                while issuing && next_due <= now {
                    self.ask(next_flow, 1, next_due)?;
                    next_flow = (next_flow + 1) % self.flows.len();
                    next_due += *interval;
                }
            }
            if !issuing && self.flows.iter().all(|flow| flow.received == flow.asked) {
                let mut run = std::mem::take(&mut self.run);
                run.elapsed = started.elapsed();
                return Ok(run);
            }
            let wait = match pace {
                Pace::Open { .. } if issuing => Duration::ZERO,
                _ => POLL,
            };
            if self.turn(wait, issuing && matches!(pace, Pace::Closed))? {
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(self.stall());
            }
        }
    }

    /// One poll and all its events. Whether there were any.
    fn turn(&mut self, wait: Duration, replace: bool) -> io::Result<bool> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            self.handle(event, replace)?;
        }
        let some = !events.is_empty();
        self.events = events;
        Ok(some)
    }

    fn handle(&mut self, event: &Event, replace: bool) -> io::Result<()> {
        let index = event.token().0;
        let back =
            if event.is_readable() { self.receive(index, event.is_read_closed())? } else { 0 };
        if replace && back > 0 {
            return self.ask(index, back, Instant::now());
        }
        if event.is_writable() {
            self.flows[index].send(&self.pattern)?;
        }
        Ok(())
    }

    /// Reads what is there. How many frames that completed.
    fn receive(&mut self, index: usize, ending: bool) -> io::Result<usize> {
        let flow = &mut self.flows[index];
        let before = self.pattern.frames_in(flow.received);
        loop {
            let got = match flow.stream.read(&mut self.scratch) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.pattern.verify(flow.received, &self.scratch[..got])?;
            flow.received += got as u64;
            if flow.received > flow.sent {
                return Err(io::Error::other("more came back than was sent"));
            }
            if got < self.scratch.len() && !ending {
                break;
            }
        }
        let back = self.pattern.frames_in(flow.received) - before;
        self.run.frames += back;
        if back > 0 && !flow.due.is_empty() {
            let now = Instant::now();
            for _ in 0..back {
                if let Some(due) = flow.due.pop_front() {
                    let latency = now.saturating_duration_since(due).as_nanos();
                    self.run.latencies.push(u64::try_from(latency).unwrap_or(u64::MAX));
                }
            }
        }
        usize::try_from(back).map_err(io::Error::other)
    }

    /// Sends `frames` more on a connection.
    fn ask(&mut self, index: usize, frames: usize, due: Instant) -> io::Result<()> {
        let flow = &mut self.flows[index];
        let frames = frames.min(flow.left);
        if flow.left != usize::MAX {
            flow.left -= frames;
        }
        flow.asked += (frames * self.pattern.frame) as u64;
        if self.timed {
            flow.due.extend(std::iter::repeat_n(due, frames));
        }
        flow.send(&self.pattern)
    }

    fn stall(&self) -> io::Error {
        let waiting = self.flows.iter().enumerate();
        let stuck: Vec<_> = waiting.filter(|(_, flow)| flow.received < flow.asked).collect();
        let example = stuck.first().map_or_else(String::new, |(index, flow)| {
            format!(
                "; connection {index} sent {} of {} bytes and has {} back",
                flow.sent, flow.asked, flow.received
            )
        });
        io::Error::other(format!(
            "stalled: {} of {} connections wait for bytes and none came for {STALL:?}{example}",
            stuck.len(),
            self.flows.len()
        ))
    }
}

impl Flow {
    /// Sends what is asked for, as far as the kernel takes it.
    fn send(&mut self, pattern: &Pattern) -> io::Result<()> {
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
}
