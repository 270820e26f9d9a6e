//! `cargo bench --bench idle`: the cost of idle connections, by their number.
//!
//! Of each server: resident memory per idle connection, processor time per accepted connection with this many open, and
//! processor time per frame of a few busy connections with this many idle ones beside them. Of each server of TLS: resident
//! memory per idle connection.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts become ratios here, and none comes near 2^52"
)]
#![allow(dead_code, unreachable_pub, reason = "the modules are shared with other benchmarks")]

#[path = "common/mod.rs"]
mod common;
#[path = "idle/held.rs"]
mod held;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use socket2::{Domain, Socket, Type};

use common::{
    bench,
    machine::{self, Place},
    pattern::Pattern,
    peers::{self, Peer},
    protocol::Protocol,
    server::{self, Server},
};

/// Measures what idle connections cost each server.
#[derive(Debug, Parser)]
#[command(name = "idle")]
struct Options {
    /// Few servers and 1,000 connections, for CI: it shows that all works.
    #[arg(long)]
    quick: bool,
    /// Only this server; repeatable.
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Another server, such as another build: `NAME=COMMAND ARGUMENT ...`; repeatable.
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = Peer::given)]
    also: Vec<&'static Peer>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The servers that are measured of those that speak `protocol`.
    fn peers(&self, protocol: Protocol) -> impl Iterator<Item = &'static Peer> {
        peers::all().filter(move |peer| peer.speaks(protocol) && !peer.spins).filter(|peer| {
            if self.servers.is_empty() {
                !self.quick || peer.quick
            } else {
                self.servers.iter().any(|name| name == peer.name)
            }
        })
    }
}

/// How many connections are open when something is measured.
const STAGES: [usize; 3] = [1_000, 10_000, 19_000];
const QUICK_STAGES: [usize; 2] = [200, 1_000];

/// The same inside TLS. Proxies have a second descriptor for each connection.
const INSIDE_TLS: [usize; 3] = [8_000, 10_000, 19_000];
const QUICK_INSIDE_TLS: [usize; 1] = [500];

/// Opened at once; fewer than any server's backlog.
const BATCH: usize = 100;
/// How often a batch is accepted beside those that are open. The first ones touch new pages of memory.
const ACCEPT_ROUNDS: usize = 15;
/// Connections from one source address: far below the number of ports.
const PER_SOURCE: usize = 5_000;
const PAYLOAD: usize = 64;
const BUSY: &str = "-c 50 --depth 1 --size 64";
const BUSY_SLICES: usize = 7;
const BUSY_TIME: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let stages: &[usize] = if options.quick { &QUICK_STAGES } else { &STAGES };
    println!("{}", machine::processor());
    let mut broken = None;
    let speak_frames = options.peers(Protocol::Frames).chain(options.also.iter().copied());
    for (index, peer) in speak_frames.enumerate() {
        if index == 0 {
            heading(stages);
        }
        let Some(server) = server::start(peer, Protocol::Frames)? else {
            continue;
        };
        match measure(&server, stages)? {
            (row, None) => println!("{row}"),
            // Another server may fail with this many; that is a result. The daemon must not.
            (row, Some(error)) => {
                println!("{row}");
                eprintln!("{}: {error}", peer.name);
                if peer.name == "resound" {
                    broken = Some(error);
                }
            }
        }
    }
    broken.map_or(Ok(()), Err)?;
    inside_tls(options)
}

/// The table of connections inside TLS, each of which has the state of a session.
fn inside_tls(options: &Options) -> io::Result<()> {
    let stages: &[usize] = if options.quick { &QUICK_INSIDE_TLS } else { &INSIDE_TLS };
    let mut broken = None;
    for (index, peer) in options.peers(Protocol::Tls).enumerate() {
        if index == 0 {
            let columns: String =
                stages.iter().map(|count| format!(" bytes each at {count} |")).collect();
            println!("\n| server, with TLS | empty, KiB |{columns}");
            println!("|---|--:|{}", "--:|".repeat(stages.len()));
        }
        let Some(server) = server::start(peer, Protocol::Tls)? else {
            continue;
        };
        let empty = held::warm(&server)?;
        let mut row = format!("| {} | {} |", peer.name, empty / 1024);
        for &count in stages {
            match held::hold(&server, count) {
                Ok(resident) => {
                    let each = resident.saturating_sub(empty) / count as u64;
                    row += &format!(" {each} |");
                }
                // That is a result, unless it is the daemon.
                Err(error) => {
                    eprintln!("{} with {count}: {error}", peer.name);
                    row += " - |";
                    if peer.name == "resound" {
                        broken = Some(error);
                    }
                }
            }
        }
        println!("{row}");
    }
    broken.map_or(Ok(()), Err)
}

fn heading(stages: &[usize]) {
    let columns = |what: &str, stages: &[usize]| -> String {
        stages.iter().map(|n| format!(" {what} {n} |")).collect()
    };
    let heading = format!(
        "| server | empty, KiB |{}{}{}",
        columns("bytes each at", &stages[1..]),
        columns("accept µs at", stages),
        columns("frame µs beside", stages),
    );
    println!("\n{heading}");
    let count = heading.matches('|').count() - 2;
    println!("|---|{}", "--:|".repeat(count));
}

/// One row of the table, and why it is not complete, if it is not.
fn measure(server: &Server, stages: &[usize]) -> io::Result<(String, Option<io::Error>)> {
    // The pages that a server touches for its first connection are not part of the cost of the others.
    drop(open(server.address, 0, 1)?);
    server.settled_processor_time()?;
    let empty = server.resident()?;
    let mut idle = Vec::new();
    let mut failure = None;
    let mut columns = [String::new(), String::new(), String::new()];
    for (index, stage) in stages.iter().enumerate() {
        let fields = match failure {
            None => fill(server, &mut idle, *stage, empty),
            Some(_) => Ok(unknown()),
        };
        let fields = fields.unwrap_or_else(|error| {
            failure = Some(error);
            unknown()
        });
        // Memory per connection has no meaning for few connections.
        let first = usize::from(index == 0);
        for (column, field) in columns.iter_mut().zip(fields).skip(first) {
            *column += &format!(" {field} |");
        }
    }
    let row = format!("| {} | {} |{}", server.peer.name, empty / 1024, columns.concat());
    Ok((row, failure))
}

fn unknown() -> [String; 3] {
    ["-", "-", "-"].map(str::to_owned)
}

/// Opens connections until there are `stage`. Bytes for each, time per accept, time per frame.
fn fill(
    server: &Server,
    idle: &mut Vec<TcpStream>,
    stage: usize,
    empty: u64,
) -> io::Result<[String; 3]> {
    while idle.len() < stage {
        idle.append(&mut open(server.address, idle.len(), BATCH)?);
    }
    server.settled_processor_time()?;
    let grown = server.resident()?.saturating_sub(empty);
    Ok([
        format!("{:.0}", grown as f64 / idle.len() as f64),
        format!("{:.2}", accept(server, idle.len())?),
        busy(server)?,
    ])
}

/// Processor time per accepted connection, in microseconds, with `already` open. The server sleeps until a whole batch
/// waits for it: otherwise the scheduler would decide whether it is woken once for all or once for each.
fn accept(server: &Server, already: usize) -> io::Result<f64> {
    let mut costs = Vec::new();
    for _ in 0..ACCEPT_ROUNDS {
        let before = server.settled_processor_time()?;
        server.pause()?;
        let batch = connect(server.address, already, BATCH);
        server.resume()?;
        let mut batch = batch?;
        let spent = server.settled_processor_time()?.saturating_sub(before);
        costs.push(spent.div_f64(BATCH as f64));
        exchange(&mut batch)?;
    }
    Ok(median(&costs))
}

/// Processor time per frame of a few busy connections, in microseconds, for each place the cores were in meanwhile.
fn busy(server: &Server) -> io::Result<String> {
    let mut costs: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..BUSY_SLICES {
        let before = Place::of(machine::cache_line_round_trip()?);
        let (report, _) = bench::run(server, BUSY, BUSY_TIME)?;
        if Place::of(machine::cache_line_round_trip()?) == before {
            let cost = Duration::from_secs_f64(report.server.cpu_us_per_frame / 1e6);
            costs[before as usize].push(cost);
        }
    }
    let places = [Place::Near, Place::Far].into_iter().zip(&costs);
    let known: Vec<String> = places
        .filter(|(_, costs)| !costs.is_empty())
        .map(|(place, costs)| format!("{:.2} {}", median(costs), place.name()))
        .collect();
    Ok(known.join(", "))
}

/// In microseconds.
fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

/// Opens connections and does one round trip on each.
fn open(address: SocketAddr, already: usize, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut batch = connect(address, already, count)?;
    exchange(&mut batch)?;
    Ok(batch)
}

/// Opens connections from many loopback addresses, so that ports do not run out.
fn connect(address: SocketAddr, already: usize, count: usize) -> io::Result<Vec<TcpStream>> {
    (already..already + count)
        .map(|index| {
            let host = u8::try_from(2 + index / PER_SOURCE).map_err(io::Error::other)?;
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)
                .map_err(|error| advise(&error, index))?;
            socket.bind(&source.into())?;
            socket.connect_timeout(&address.into(), PATIENCE)?;
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        })
        .collect()
}

fn advise(error: &io::Error, open: usize) -> io::Error {
    io::Error::other(format!(
        "no socket after {open} connections ({error}): raise `ulimit -n` to 20000"
    ))
}

/// One frame there and back on each.
fn exchange(batch: &mut [TcpStream]) -> io::Result<()> {
    let pattern = Pattern::new(PAYLOAD, 1)?;
    for stream in &mut *batch {
        stream.write_all(pattern.at(0, pattern.frame))?;
    }
    let mut reply = vec![0; pattern.frame];
    for stream in batch {
        stream.read_exact(&mut reply)?;
        pattern.verify(0, &reply)?;
    }
    Ok(())
}
