//! One short slice of a load on one server.

use std::io;
use std::time::Duration;

use serde_json::Value;

use crate::beside;
use crate::cells::{Cell, Kind};
use crate::common::bench::{self, Report};
use crate::common::machine::{self, Place};
use crate::common::server::Server;

/// What a slice found.
#[derive(Debug)]
pub struct Slice {
    pub cell: &'static str,
    pub server: &'static str,
    pub round: usize,
    /// Where the two cores were; `None` if they moved meanwhile.
    pub place: Option<Place>,
    pub round_trip: Duration,
    pub report: Report,
    /// The whole report, for `--json`.
    pub json: Value,
}

/// How long a slice is, and how dense.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub duration: Duration,
    /// Frames a second, where the load does not wait for answers.
    pub rate: Option<f64>,
}

/// The amount of the slices of a cell that are `duration` long; `yardstick` is there for its rate.
pub fn amount(cell: &Cell, yardstick: &Server, duration: Duration) -> io::Result<Amount> {
    let plain = Amount { duration, rate: None };
    match cell.kind {
        Kind::Plain | Kind::Beside(_) => Ok(plain),
        Kind::HalfPeak => {
            let (report, _) = load(cell, yardstick, plain)?;
            Ok(Amount { rate: Some(report.frames_per_s / 2.0), ..plain })
        }
    }
}

/// Loads a server for a moment and measures what that costs it.
pub fn take(
    cell: &'static Cell,
    server: &Server,
    round: usize,
    amount: Amount,
) -> io::Result<Slice> {
    let before = machine::cache_line_round_trip()?;
    let (report, json) = load(cell, server, amount)?;
    let after = machine::cache_line_round_trip()?;
    Ok(Slice {
        cell: cell.name,
        server: server.peer.name,
        round,
        place: Some(Place::of(before)).filter(|place| *place == Place::of(after)),
        round_trip: (before + after) / 2,
        report,
        json,
    })
}

/// One run of `resound bench`. A server that never sleeps runs only meanwhile.
fn load(cell: &Cell, server: &Server, amount: Amount) -> io::Result<(Report, Value)> {
    if server.peer.spins {
        server.resume()?;
    }
    let rate = amount.rate.map_or_else(String::new, |rate| format!(" --rate {rate:.0}"));
    let arguments = format!("{}{rate}", cell.load);
    let result = match cell.kind {
        Kind::Plain | Kind::HalfPeak => bench::run(server, &arguments, amount.duration),
        Kind::Beside(other) => beside::run(server, &arguments, other, amount.duration),
    };
    let result = result.map_err(|error| {
        io::Error::other(format!("{} in {}: {error}", server.peer.name, cell.name))
    });
    if server.peer.spins {
        server.pause()?;
    }
    result
}
