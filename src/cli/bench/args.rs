//! The arguments of `resound bench`, and the plan made from them.

use std::{
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::ValueEnum;
use log::info;
use resound::Endpoint;

use crate::{
    cli::{Failure, descriptors, tls_args::TlsArgs},
    common::{
        descriptor_table,
        units::{Size, Time},
    },
    load::{
        barrier::{self, Barrier, Go},
        engine::{
            pace::Arrivals,
            plan::{Plan, has_many_sources},
        },
        report::condition::Condition,
        units::Rate,
        wire::{protocol::Wire, size::Sizes, target::Target},
    },
};

/// The load: the same arguments for one server and for `versus`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Number of connections
    #[arg(long, short, value_name = "N", default_value_t = 100)]
    connections: usize,

    /// Frames in flight on each connection; with --rate the maximum [default: 1]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,

    /// Payload size in bytes: 64, a range like 64-1500, or a mix like 64:80%,64KiB:20%
    #[arg(long, short, value_name = "SIZES", default_value = "64")]
    size: Sizes,

    /// Open loop: send this many frames a second in total, without waiting for answers; latency counts from when a frame was due
    #[arg(long, short, value_name = "RATE")]
    rate: Option<Rate>,

    /// Distribution of --rate's frames over time
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Constant, requires = "rate")]
    arrivals: ArrivalsArg,

    /// Measure for this long [default: 10s]
    #[arg(long, short = 'z', value_name = "TIME")]
    duration: Option<Time>,

    /// Run the load this long before measuring [default: a tenth of --duration, at most 1s]
    #[arg(long, value_name = "TIME")]
    warm_up: Option<Time>,

    /// Close each connection after N round trips and open another
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    churn: Option<u64>,

    /// Open at most this many connections a second
    #[arg(long, value_name = "RATE")]
    connect_rate: Option<Rate>,

    /// Open N more connections that stay idle, except for one frame when they are opened and one at the end
    #[arg(long, value_name = "N", default_value_t = 0)]
    hold: usize,

    /// Connect from N addresses of 127.0.0.0/8 [default: as many as the connections need]
    #[arg(long, value_name = "N")]
    sources: Option<usize>,

    /// Send buffer of each connection in bytes, which the kernel doubles [default: the kernel's, which grows]
    #[arg(long, value_name = "SIZE")]
    sndbuf: Option<Size>,

    /// Number of load threads; the limit on open files is one of each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,

    /// Give up a connection when nothing comes back for this long, and opening more when none is opened for this
    /// long [default: 10s; 1s for datagrams]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Resume no TLS session: every handshake is a full one
    #[arg(long, help_heading = "TLS")]
    full_handshakes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalsArg {
    /// Evenly
    Constant,
    /// At random, with bursts, as from independent users
    Poisson,
}

/// What is waited for between the last connect and the first frame, so that several processes begin together.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Several machines")]
pub(super) struct BarrierArgs {
    /// Open the connections now, and begin the load, with its warm-up, at this time: RFC 3339 with an offset
    /// (2030-01-31T18:00:00Z), or seconds since 1970 (`date -d '30 seconds' +%s`)
    #[arg(long, value_name = "TIME", value_parser = barrier::point, conflicts_with = "ramp")]
    start_at: Option<SystemTime>,

    /// Open the connections now, and begin the load when this file exists
    #[arg(long, value_name = "FILE", conflicts_with_all = ["start_at", "ramp"])]
    go_file: Option<PathBuf>,

    /// Write this file when all connections are open; a line on standard error says so, too
    #[arg(long, value_name = "FILE", conflicts_with = "ramp")]
    ready_file: Option<PathBuf>,
}

impl BarrierArgs {
    /// Checks the time and the files.
    ///
    /// # Errors
    ///
    /// As [`Barrier::prepare`].
    pub(super) fn barrier(self) -> Result<Barrier, String> {
        let go = match (self.start_at, self.go_file) {
            (Some(time), _) => Go::At(time),
            (None, Some(file)) => Go::File(file),
            (None, None) => Go::AtOnce,
        };
        let barrier = Barrier { ready_file: self.ready_file, go };
        barrier.prepare()?;
        Ok(barrier)
    }
}

/// Where the result goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Result")]
pub(super) struct OutputArgs {
    /// Write the report as JSON (docs/bench.md describes it); - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write the report as one HTML page with charts
    #[arg(long, alias = "html", value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Write the latencies of each window as an HdrHistogram log, in nanoseconds
    #[arg(long, value_name = "FILE")]
    pub(super) hdr: Option<PathBuf>,

    /// Exit with code 3 if this condition is met: p99>5ms, errors>0, rate<100k; repeatable
    #[arg(long, value_name = "CONDITION")]
    pub(super) fail_if: Vec<Condition>,
}

/// Descriptors that are not connections: standard streams, polls, timers.
const OWN_DESCRIPTORS: usize = 32;

/// The default duration of one run, and of each of many short runs.
const LONG: Time = Time(Duration::from_secs(10));
const SHORT: Time = Time(Duration::from_secs(2));

const WARM_UP: Duration = Duration::from_secs(1);

impl LoadArgs {
    /// The same load with the default duration of short runs.
    pub(super) fn for_steps(mut self) -> Self {
        self.duration = Some(self.duration.unwrap_or(SHORT));
        self
    }

    /// Checks the arguments and makes the plan.
    ///
    /// # Errors
    ///
    /// A text with the remedy.
    pub(super) fn plan(&self, target: &Target) -> Result<Plan, String> {
        let endpoint = target.endpoint()?;
        let wire = target.wire();
        for size in [self.size.least(), self.size.most()] {
            if let Some(reason) = wire.refuses(size) {
                return Err(format!(
                    "--size {} is not possible over {}: {reason}",
                    self.size,
                    wire.name()
                ));
            }
        }
        self.check(wire)?;
        self.check_tls(target)?;
        let all = self.connections + self.hold;
        let sources = Plan::sources_needed(&endpoint, wire, all, self.churn.is_some());
        let sources = match self.sources {
            None => sources,
            Some(asked) => {
                let possible = matches!(&endpoint, Endpoint::Tcp(to) if has_many_sources(to.ip()));
                if asked > 1 && !possible {
                    return Err(format!(
                        "--sources uses addresses of 127.0.0.0/8, and {target} cannot be reached from there; leave \
                         it out"
                    ));
                }
                asked.clamp(1, 1 << 20)
            }
        };
        let limit = descriptors::raise_limit();
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OWN_DESCRIPTORS);
        let tables = self.tables();
        let threads = if tables.is_ok() { self.threads as usize } else { 1 };
        let each = self.connections.div_ceil(threads) + self.hold.div_ceil(threads);
        if each > room {
            let remedy = match &tables {
                Ok(()) => ", or use more --threads: each has a limit of its own".to_owned(),
                Err(error) if self.threads > 1 => format!(
                    " (each of the --threads could have a limit of its own, but unshare(2) is refused: {error})"
                ),
                Err(_) => String::new(),
            };
            return Err(format!(
                "{all} connections need more than the limit of {limit} open files; raise it (ulimit -n {}), or open \
                 at most {}{remedy}",
                each + OWN_DESCRIPTORS,
                room.saturating_mul(threads)
            ));
        }
        let duration = self.duration.unwrap_or(LONG).0;
        let usual_timeout = Duration::from_secs(if *wire == Wire::Udp { 1 } else { 10 });
        Ok(Plan {
            target: target.clone(),
            endpoint,
            connections: self.connections,
            depth: self.depth,
            sizes: self.size.clone(),
            rate: self.rate.map(|rate| rate.0),
            arrivals: match self.arrivals {
                ArrivalsArg::Constant => Arrivals::Constant,
                ArrivalsArg::Poisson => Arrivals::Poisson,
            },
            duration,
            warm_up: self.warm_up.map_or_else(|| WARM_UP.min(duration / 10), |time| time.0),
            churn: self.churn,
            connect_rate: self.connect_rate.map(|rate| rate.0),
            hold: self.hold,
            sources,
            threads: self.threads,
            own_tables: self.threads > 1 && tables.is_ok(),
            timeout: self.timeout.map_or(usual_timeout, |time| time.0),
            send_buffer: self.sndbuf,
            barrier: Barrier::default(),
            tls: None,
            full_handshakes: self.full_handshakes,
        })
    }

    /// Whether each thread can have a table of descriptors of its own. One thread alone has no use for it, but could.
    fn tables(&self) -> io::Result<()> {
        let tables = descriptor_table::can_be_own();
        if let Err(error) = &tables
            && self.threads > 1
        {
            info!("the threads share one table of descriptors: unshare(2): {error}");
        }
        tables
    }

    /// `plan` with TLS, if its target has it. The files are read only now: a server that was started may have written them.
    pub(super) fn secured(&self, plan: Plan) -> Result<Plan, Failure> {
        let tls = self.tls.connector(plan.target.place().listen(), !self.full_handshakes)?;
        Ok(Plan { tls, ..plan })
    }

    fn check_tls(&self, target: &Target) -> Result<(), String> {
        let listen = target.place().listen();
        if self.full_handshakes && !listen.tls {
            return Err(format!("--full-handshakes is for TLS, and {listen} has none"));
        }
        self.tls.check(listen)
    }

    fn check(&self, wire: &Wire) -> Result<(), String> {
        let wrong = if self.connections + self.hold == 0 {
            "--connections 0 leaves nothing to do; use at least 1, or --hold"
        } else if self.connections > 0 && self.connections < self.threads as usize {
            "there are more --threads than --connections; each thread needs at least one"
        } else if self.connections == 0 && self.rate.is_some() {
            "--rate needs --connections to send on"
        } else if self.duration.is_some_and(|time| time.0.is_zero()) {
            "--duration 0 measures nothing; use a time like 10s"
        } else if self.timeout.is_some_and(|time| time.0.is_zero()) {
            "--timeout 0 gives up at once; use a time like 1s"
        } else if *wire == Wire::Udp && (self.churn.is_some() || self.hold > 0) {
            "--churn and --hold need connections, and datagrams have none; leave them out"
        } else if *wire == Wire::Udp && self.connect_rate.is_some() {
            "--connect-rate needs connections, and datagrams have none; leave it out"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}
