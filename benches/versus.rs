//! `cargo bench --bench versus`: resound and its peers side by side, under the same load.
//!
//! Every server is a separate process on one core, the load runs on the other, and the servers take turns in short
//! slices (A B C A B C ...), because what the machine does besides changes from second to second. The measure is
//! the server's processor time per frame. `docs/performance.md` says how to read the tables.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts become ratios here, and none comes near 2^52"
)]
#![allow(dead_code, unreachable_pub, reason = "the modules are shared with the `idle` benchmark")]

#[path = "versus/cells.rs"]
mod cells;
#[path = "versus/churn.rs"]
mod churn;
#[path = "versus/load.rs"]
mod load;
#[path = "versus/machine.rs"]
mod machine;
#[path = "versus/pattern.rs"]
mod pattern;
#[path = "versus/peers.rs"]
mod peers;
#[path = "versus/report.rs"]
mod report;
#[path = "versus/server.rs"]
mod server;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cells::{Amount, Cell, Kind, Slice};
use server::Server;

/// Compares resound with its peers.
#[derive(Debug, Parser)]
#[command(name = "versus")]
struct Options {
    /// A short run with few servers and loads, for CI: it shows that all works, its numbers say little.
    #[arg(long)]
    quick: bool,
    /// Only this load; repeatable.
    #[arg(long = "cell", value_name = "NAME", value_parser = names(cells::ALL.iter().map(|c| c.name)))]
    cells: Vec<String>,
    /// Only this server, and the yardstick; repeatable.
    #[arg(long = "server", value_name = "NAME", value_parser = names(peers::ALL.iter().map(|p| p.name)))]
    servers: Vec<String>,
    /// Another server, such as another build: `NAME=COMMAND ARGUMENT ...`; repeatable.
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = peers::Peer::given)]
    also: Vec<&'static peers::Peer>,
    /// How often each server has its turn [default: 7, or 2 if quick].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long a turn is, in milliseconds [default: 400, or 100 if quick].
    #[arg(long, value_name = "N")]
    slice: Option<u64>,
    /// Write every slice to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn names(all: impl Iterator<Item = &'static str>) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(all.collect::<Vec<_>>())
}

impl Options {
    fn wants_server(&self, peer: &peers::Peer) -> bool {
        if self.servers.is_empty() {
            return !self.quick || peer.quick;
        }
        peer.name == peers::YARDSTICK || self.servers.iter().any(|name| name == peer.name)
    }

    fn wants_cell(&self, cell: &Cell) -> bool {
        if self.cells.is_empty() {
            return !self.quick || cell.quick;
        }
        self.cells.iter().any(|name| name == cell.name)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let peers = peers::ALL.iter().filter(|peer| options.wants_server(peer));
    let mut servers = Vec::new();
    for peer in peers.chain(options.also.iter().copied()) {
        servers.extend(server::start(peer)?);
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 7 });
    let length = options.slice.unwrap_or(if options.quick { 100 } else { 400 });
    let duration = Duration::from_millis(length);
    let names: Vec<&str> = servers.iter().map(|server| server.peer.name).collect();
    println!("{}; {rounds} rounds of {duration:?}", machine::processor());
    for server in &servers {
        println!("- {}: {}", server.peer.name, server.peer.what);
    }
    let mut slices = Vec::new();
    for cell in cells::ALL.iter().filter(|cell| options.wants_cell(cell)) {
        compare(cell, &servers, rounds, duration, &mut slices)?;
        report::table(cell, &names, &slices);
    }
    if let Some(path) = &options.json {
        report::json(BufWriter::new(File::create(path)?), &slices)?;
    }
    Ok(())
}

/// All servers in turn, round after round. The first turn of each warms it up and is not kept.
fn compare(
    cell: &'static Cell,
    servers: &[Server],
    rounds: usize,
    duration: Duration,
    slices: &mut Vec<Slice>,
) -> io::Result<()> {
    let rate = match cell.kind {
        Kind::Open => half_peak(cell, servers, duration)?,
        _ => 0.0,
    };
    let amount = Amount { duration, rate };
    for server in servers {
        let warm_up = Amount { duration: duration * server.peer.warm_up(), rate };
        cells::slice(cell, server, 0, warm_up).map_err(|error| named(server, cell.name, &error))?;
    }
    for round in 1..=rounds {
        for server in servers {
            let slice = cells::slice(cell, server, round, amount)
                .map_err(|error| named(server, cell.name, &error))?;
            slices.push(slice);
        }
    }
    Ok(())
}

/// Half the rate of the reference server (or the first server) with one frame in flight.
fn half_peak(cell: &'static Cell, servers: &[Server], duration: Duration) -> io::Result<f64> {
    let server = servers
        .iter()
        .find(|server| server.peer.name == peers::YARDSTICK)
        .or_else(|| servers.first())
        .ok_or_else(|| io::Error::other("no server to measure"))?;
    let mut load = load::Load::connect(server.address, cell.connections, cell.payload, 1)?;
    let run = load.closed(1, duration).map_err(|error| named(server, cell.name, &error))?;
    Ok(run.frames as f64 / run.elapsed.as_secs_f64() / 2.0)
}

fn named(server: &Server, cell: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("{} in {cell}: {error}", server.peer.name))
}
