//! What is compared: the kinds of load, and one short slice of one of them on one server.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::churn::churn;
use crate::load::{Load, Run};
use crate::machine::{self, Place};
use crate::server::Server;

/// A kind of load.
#[derive(Debug)]
pub struct Cell {
    pub name: &'static str,
    pub payload: usize,
    pub connections: usize,
    pub kind: Kind,
    /// Whether it is part of a `--quick` run.
    pub quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This many frames in flight on every connection.
    Closed { depth: usize },
    /// Connect, one frame, close.
    Churn,
    /// At half the rate of the reference server with one frame in flight.
    Open,
}

const fn closed(name: &'static str, payload: usize, connections: usize, depth: usize) -> Cell {
    Cell { name, payload, connections, kind: Kind::Closed { depth }, quick: depth > 1 }
}

/// All of them, in the order of the tables.
pub static ALL: [Cell; 7] = [
    closed("64B-50x1", 64, 50, 1),
    closed("64B-1000x1", 64, 1000, 1),
    closed("64B-50x64", 64, 50, 64),
    closed("64KiB-10x4", 64 << 10, 10, 4),
    closed("1MiB-10x1", 1 << 20, 10, 1),
    Cell { name: "churn", payload: 64, connections: 50, kind: Kind::Churn, quick: true },
    Cell { name: "half-peak", payload: 64, connections: 50, kind: Kind::Open, quick: false },
];

impl Cell {
    /// For a heading.
    pub fn describe(&self) -> String {
        let Self { payload, connections, .. } = self;
        match self.kind {
            Kind::Closed { depth } => format!(
                "frames of {payload} bytes, {connections} connections, {depth} in flight on each"
            ),
            Kind::Churn => format!(
                "connect, one frame of {payload} bytes, close; {connections} at once; a frame is a connection"
            ),
            Kind::Open => format!(
                "frames of {payload} bytes on {connections} connections at half the yardstick's peak, latency from the due time"
            ),
        }
    }
}

/// One short stretch of load on one server.
#[derive(Debug)]
pub struct Slice {
    pub cell: &'static str,
    pub server: &'static str,
    pub round: usize,
    /// Where the two cores were; `None` if they moved meanwhile.
    pub place: Option<Place>,
    pub round_trip: Duration,
    pub payload: usize,
    pub frames: u64,
    pub elapsed: Duration,
    pub server_time: Duration,
    pub client_time: Duration,
    /// How long the load could have run and others had its core.
    pub client_wait: Duration,
    pub switches: u64,
    /// Sorted, in nanoseconds; empty where they say nothing.
    latencies: Vec<u64>,
}

impl Slice {
    /// The server's processor time for one frame, in microseconds.
    pub fn cost(&self) -> f64 {
        self.server_time.as_secs_f64() * 1e6 / self.frames as f64
    }

    pub fn frames_per_second(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }

    /// Payload, one way.
    pub fn megabytes_per_second(&self) -> f64 {
        self.frames_per_second() * self.payload as f64 / 1e6
    }

    pub fn switches_per_frame(&self) -> f64 {
        self.switches as f64 / self.frames as f64
    }

    pub fn server_share(&self) -> f64 {
        self.server_time.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    pub fn client_share(&self) -> f64 {
        self.client_time.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    pub fn client_wait_share(&self) -> f64 {
        self.client_wait.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// In microseconds: the latency that all but `per_mille` of a thousand frames stay under.
    pub fn latency(&self, per_mille: usize) -> Option<f64> {
        let last = self.latencies.len().checked_sub(1)?;
        let rank = (self.latencies.len() * (1000 - per_mille) / 1000).min(last);
        Some(self.latencies[rank] as f64 / 1e3)
    }
}

/// Before what is measured, on the same connections: windows and buffers find their sizes.
const WARM_UP: Duration = Duration::from_millis(50);

/// How long one slice is, and how dense.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub duration: Duration,
    /// Frames a second; only where the load is open.
    pub rate: f64,
}

/// Loads a server for a moment and measures what that costs it.
pub fn slice(
    cell: &'static Cell,
    server: &Server,
    round: usize,
    amount: Amount,
) -> io::Result<Slice> {
    let before = machine::cache_line_round_trip()?;
    let mut load = match cell.kind {
        Kind::Churn => None,
        Kind::Closed { depth } => Some((connect(cell, server, depth)?, depth)),
        Kind::Open => Some((connect(cell, server, 1)?, 1)),
    };
    if let Some((load, depth)) = &mut load {
        load.closed(*depth, WARM_UP)?;
    }
    let server_time = server.settled_processor_time()?;
    let switches = server.context_switches()?;
    let client_time = own_processor_time()?;
    let client_wait = machine::waited_for_core()?;
    let Run { frames, elapsed, mut latencies } = match (&mut load, cell.kind) {
        (Some((load, _)), Kind::Open) => load.open(amount.rate, amount.duration)?,
        (Some((load, depth)), _) => load.closed(*depth, amount.duration)?,
        (None, _) => churn(server.address, cell.connections, cell.payload, amount.duration)?,
    };
    let client_time = own_processor_time()?.saturating_sub(client_time);
    let client_wait = machine::waited_for_core()?.saturating_sub(client_wait);
    let server_time = server.settled_processor_time()?.saturating_sub(server_time);
    let switches = server.context_switches()?.saturating_sub(switches);
    drop(load);
    server.settled_processor_time()?;
    let after = machine::cache_line_round_trip()?;
    latencies.sort_unstable();
    Ok(Slice {
        cell: cell.name,
        server: server.peer.name,
        round,
        place: Some(Place::of(before)).filter(|place| *place == Place::of(after)),
        round_trip: (before + after) / 2,
        payload: cell.payload,
        frames: frames.max(1),
        elapsed,
        server_time,
        client_time,
        client_wait,
        switches,
        latencies,
    })
}

fn connect(cell: &Cell, server: &Server, depth: usize) -> io::Result<Load> {
    Load::connect(server.address, cell.connections, cell.payload, depth)
}

/// Of the calling thread, which is the load.
fn own_processor_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
