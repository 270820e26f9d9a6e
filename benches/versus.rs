//! `cargo bench --bench versus`: resound and its peers side by side, under the same load.
//!
//! Every server is a separate process on one core, the load (`resound bench`) runs on the other, and the servers take
//! turns in short slices (A B C A B C ...), because what the machine does besides changes from second to second. The
//! measure is the server's CPU time per frame. `docs/performance.md` says how to read the tables.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts become ratios here, and none comes near 2^52"
)]
#![allow(dead_code, unreachable_pub, reason = "the modules are shared with other benchmarks")]

#[path = "versus/beside.rs"]
mod beside;
#[path = "versus/cells.rs"]
mod cells;
#[path = "common/mod.rs"]
mod common;
#[path = "versus/report.rs"]
mod report;
#[path = "versus/slice.rs"]
mod slice;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cells::Cell;
use common::{
    machine,
    peers::{self, Peer},
    protocol::Protocol,
    server::{self, Server},
};
use slice::{Amount, Slice};

/// Compares resound with its peers.
#[derive(Debug, Parser)]
#[command(name = "versus")]
struct Options {
    /// A short run with few servers and loads of each protocol, for CI: it shows that all works, its numbers say little.
    #[arg(long)]
    quick: bool,
    /// Only this load; repeatable.
    #[arg(long = "cell", value_name = "NAME", value_parser = names(cells::ALL.iter().map(|c| c.name)))]
    cells: Vec<String>,
    /// Only this server, and the yardstick of each protocol; repeatable.
    #[arg(long = "server", value_name = "NAME", value_parser = names(peers::all().map(|p| p.name)))]
    servers: Vec<String>,
    /// Another server, such as another build: `[PROTOCOL:]NAME=COMMAND ARGUMENT ...`, where the command prints where it
    /// listens, or is given a free `{port}`. With `{protocol}` in it, it speaks all protocols; otherwise the one
    /// named, or frames. Repeatable.
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = Peer::given)]
    also: Vec<&'static Peer>,
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
    fn wants_server(&self, peer: &Peer, protocol: Protocol) -> bool {
        if !peer.speaks(protocol) {
            return false;
        }
        if self.servers.is_empty() {
            return !self.quick || peer.quick;
        }
        peer.name == protocol.yardstick() || self.servers.iter().any(|name| name == peer.name)
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
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 7 });
    let length = options.slice.unwrap_or(if options.quick { 100 } else { 400 });
    let duration = Duration::from_millis(length);
    println!("{}; {rounds} rounds of {duration:?}", machine::processor());
    let mut slices = Vec::new();
    for protocol in Protocol::ALL {
        let cells = cells::ALL.iter().filter(|cell| cell.protocol == protocol);
        let cells: Vec<&Cell> = cells.filter(|cell| options.wants_cell(cell)).collect();
        if !cells.is_empty() {
            let servers = start_all(options, protocol)?;
            for cell in cells {
                compare(cell, &servers, rounds, duration, &mut slices)?;
                let names: Vec<&str> = servers.iter().map(|server| server.peer.name).collect();
                report::table(cell, &names, &slices);
            }
        }
    }
    if let Some(path) = &options.json {
        report::json(BufWriter::new(File::create(path)?), &slices)?;
    }
    Ok(())
}

/// The servers of a protocol, those that can be had here.
fn start_all(options: &Options, protocol: Protocol) -> io::Result<Vec<Server>> {
    let wanted = peers::all().filter(|peer| options.wants_server(peer, protocol));
    let given = options.also.iter().copied().filter(|peer| peer.speaks(protocol));
    let mut servers = Vec::new();
    println!("\n## {protocol}\n");
    for peer in wanted.chain(given) {
        let Some(server) = server::start(peer, protocol)? else { continue };
        if peer.spins {
            server.pause()?;
        }
        println!("- {}: {}", peer.name, peer.what);
        servers.push(server);
    }
    Ok(servers)
}

/// All servers in turn, round after round. The first turn of each warms it up and is not kept.
fn compare(
    cell: &'static Cell,
    servers: &[Server],
    rounds: usize,
    duration: Duration,
    slices: &mut Vec<Slice>,
) -> io::Result<()> {
    let yardstick = servers
        .iter()
        .find(|server| server.peer.name == cell.protocol.yardstick())
        .or_else(|| servers.first())
        .ok_or_else(|| io::Error::other(format!("no server of {} to measure", cell.protocol)))?;
    let amount = slice::amount(cell, yardstick, duration)?;
    for server in servers {
        let duration = duration * server.peer.warm_up();
        slice::take(cell, server, 0, Amount { duration, ..amount })?;
    }
    for round in 1..=rounds {
        for server in servers {
            slices.push(slice::take(cell, server, round, amount)?);
        }
    }
    Ok(())
}
