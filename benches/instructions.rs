//! `cargo bench --bench instructions`: user-space instructions and system calls per frame.
//!
//! These do not drift with the machine. A server runs under valgrind's callgrind, and again under `strace -c`, once with
//! few frames and once with many: the difference is the frames' alone. Fails when a bound in `instructions.bounds` is
//! exceeded.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts become ratios here, and none comes near 2^52"
)]
#![allow(dead_code, unreachable_pub, reason = "the modules are shared with other benchmarks")]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;

use common::{
    load::{self, Amount},
    peers::{self, Peer},
    protocol::Protocol,
    server,
};

/// Counts instructions and system calls per frame.
#[derive(Debug, Parser)]
#[command(name = "instructions")]
struct Options {
    /// This server instead of the quick ones; repeatable. Those that bring a runtime of their own (Go, Java,
    /// Python) do not run under valgrind.
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Another server, such as another build: `NAME=COMMAND ARGUMENT ...`; repeatable.
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = Peer::given)]
    also: Vec<&'static Peer>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const CONNECTIONS: usize = 50;
const PAYLOAD: usize = 64;

/// A fixed load.
struct Fixed {
    name: &'static str,
    depth: usize,
    /// Frames on each connection, in the short and in the long run.
    frames: [usize; 2],
}

const LOADS: [Fixed; 2] = [
    Fixed { name: "64B-50x1", depth: 1, frames: [100, 500] },
    Fixed { name: "64B-50x64", depth: 64, frames: [640, 6_400] },
];

const BOUNDS: &str = include_str!("instructions.bounds");

/// Name of what was counted, and how many.
type Counts = BTreeMap<String, f64>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all bounds hold.
fn run(options: &Options) -> io::Result<bool> {
    println!("| server | load | instructions/frame | calls/frame |");
    println!("|---|---|--:|---|");
    let speaks_frames = peers::all().filter(|peer| peer.speaks(Protocol::Frames));
    let wanted = speaks_frames.chain([&peers::WITH_ADMIN]).filter(|peer| {
        if options.servers.is_empty() {
            peer.quick
        } else {
            options.servers.iter().any(|name| name == peer.name)
        }
    });
    let mut all_hold = true;
    for peer in wanted.chain(options.also.iter().copied()) {
        for load in &LOADS {
            let Some(counts) = per_frame(peer, load)? else {
                continue;
            };
            println!("{}", row(peer.name, load.name, &counts));
            all_hold &= bounds_hold(peer.name, load.name, &counts)?;
        }
    }
    Ok(all_hold)
}

fn row(server: &str, load: &str, counts: &Counts) -> String {
    let instructions =
        counts.get("instructions").map_or_else(|| "-".to_owned(), |count| format!("{count:.1}"));
    let calls: Vec<String> = counts
        .iter()
        // What is called a few times in a run is not per frame.
        .filter(|(name, count)| *name != "instructions" && **count >= 0.001)
        .map(|(name, count)| format!("{name} {count:.3}"))
        .collect();
    format!("| {server} | {load} | {instructions} | {} |", calls.join(", "))
}

/// Counts a server's instructions and calls; `None` if it does not run here.
fn per_frame(peer: &'static Peer, load: &Fixed) -> io::Result<Option<Counts>> {
    let mut counts = Counts::new();
    for tool in [Tool::Callgrind, Tool::Strace] {
        if !tool.is_installed() {
            server::skip(format!("skipped: {} not installed", tool.program()))?;
            continue;
        }
        let [few, many] = load.frames;
        let Some(short) = tool.count(peer, load.depth, few)? else {
            return Ok(None);
        };
        let Some(long) = tool.count(peer, load.depth, many)? else {
            return Ok(None);
        };
        let frames = ((many - few) * CONNECTIONS) as f64;
        for (name, count) in long {
            let start_up = short.get(&name).copied().unwrap_or(0.0);
            counts.insert(name, (count - start_up) / frames);
        }
    }
    Ok(Some(counts))
}

/// What watches a server.
#[derive(Debug, Clone, Copy)]
enum Tool {
    Callgrind,
    Strace,
}

impl Tool {
    const fn program(self) -> &'static str {
        match self {
            Self::Callgrind => "valgrind",
            Self::Strace => "strace",
        }
    }

    fn is_installed(self) -> bool {
        let mut version = Command::new(self.program());
        version.arg("--version").stdout(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    }

    /// What a whole run of the server takes in which every connection sends `frames` frames.
    fn count(self, peer: &'static Peer, depth: usize, frames: usize) -> io::Result<Option<Counts>> {
        let name = format!("{}.{}", peer.name, self.program());
        let path = peers::directory()?.join(name);
        let file = path.display();
        let watcher = match self {
            Self::Callgrind => format!("valgrind -q --tool=callgrind --callgrind-out-file={file}"),
            Self::Strace => format!("strace -c -f -q -I2 -o {file}"),
        };
        let watcher: Vec<String> = watcher.split(' ').map(str::to_owned).collect();
        let Some(server) = server::start_under(peer, Protocol::Frames, &watcher)? else {
            return Ok(None);
        };
        let amount = Amount { connections: CONNECTIONS, payload: PAYLOAD, depth, frames };
        load::send(server.address, amount)
            .map_err(|error| io::Error::other(format!("{}: {error}", peer.name)))?;
        server.terminate()?;
        let report = fs::read_to_string(&path)?;
        Ok(Some(match self {
            Self::Callgrind => instructions(&report)?,
            Self::Strace => calls(&report),
        }))
    }
}

/// From the lines `totals: COUNT` of callgrind's file, one for each of its parts.
fn instructions(report: &str) -> io::Result<Counts> {
    let totals = report.lines().filter_map(|line| line.strip_prefix("totals: "));
    let counts: Vec<f64> = totals.filter_map(|count| count.trim().parse().ok()).collect();
    if counts.is_empty() {
        return Err(io::Error::other("callgrind wrote no totals"));
    }
    Ok(Counts::from([("instructions".to_owned(), counts.iter().sum())]))
}

/// From strace's table: `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn calls(report: &str) -> Counts {
    let mut counts = Counts::new();
    for line in report.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (fields.get(3), fields.last()) else {
            continue;
        };
        if let (Ok(count), false) = (count.parse(), *name == "total") {
            counts.insert((*name).to_owned(), count);
        }
    }
    counts
}

/// Compares with what is allowed, and says what is exceeded.
fn bounds_hold(server: &str, load: &str, counts: &Counts) -> io::Result<bool> {
    let mut hold = true;
    for line in BOUNDS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [of, under, what, limit] = fields[..] else {
            return Err(io::Error::other(format!("instructions.bounds: {line:?}")));
        };
        let limit: f64 = limit.parse().map_err(io::Error::other)?;
        let Some(count) = counts.get(what) else {
            continue;
        };
        if of == server && under == load && *count > limit {
            eprintln!("{server}, {load}: {count:.3} {what} per frame, over the bound of {limit}");
            hold = false;
        }
    }
    Ok(hold)
}
