//! `resound bench`: a load generator that checks what comes back.
//!
//! Its arguments and its output are here; the engine is [`crate::load`].

mod args;
mod compare;
mod merge;
mod output;
mod saved;
mod versus;

use std::process::ExitCode;

use self::{
    args::{BarrierArgs, LoadArgs, OutputArgs},
    output::conclude,
};
use super::{Failure, cannot};
use crate::load::{
    engine::plan::Plan,
    ramp,
    report::{condition::Condition, live::Live},
    run,
    server::{
        Server,
        stop::Stop,
        watched::{Running, Watched},
    },
    wire::target::Target,
};

/// The server's default address.
const ADDRESS: &str = "127.0.0.1:30000";

/// Load a server, check every byte that comes back, and measure
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: Option<Command>,

    #[arg(
        help = "Where the server is: HOST:PORT, unix:PATH or PROTOCOL://ADDRESS, with any KEY=VALUE of its --listen; \
                PROTOCOL is frames, lines, raw, http, ws or udp. With --server, PROTOCOL:// is enough \
                [default: 127.0.0.1:30000]"
    )]
    address: Option<Target>,

    #[command(flatten)]
    load: LoadArgs,

    /// Find the highest rate at which this condition holds, e.g. p99<2ms; each step takes --duration [2s]
    #[arg(long, value_name = "CONDITION", help_heading = "Load")]
    ramp: Option<Condition>,

    /// Start this server in a shell, measure all its processes, and end them all; {port} in it is a free port
    #[arg(long, value_name = "CMD", help_heading = "Server")]
    server: Option<String>,

    /// Measure this process and its descendants, which are the server and run already
    #[arg(long, value_name = "PID", help_heading = "Server", conflicts_with = "server")]
    server_pid: Option<u32>,

    #[command(flatten)]
    barrier: BarrierArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Show no progress
    #[arg(long, short, help_heading = "Result")]
    quiet: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Compare(compare::CompareArgs),
    Merge(merge::MergeArgs),
    Versus(Box<versus::VersusArgs>),
}

const EXAMPLES: &str = "\
Examples:
  resound bench             100 connections, one frame of 64 bytes in flight on each, for 10 s
  resound bench -c 50 --depth 64 --size 64:80%,32KiB:20% 127.0.0.1:30000,length=u16be
  resound bench --rate 50k --arrivals poisson --report report.html
  resound bench --ramp 'p99<2ms'
  resound bench --churn 10 --server 'resound serve --listen frames://127.0.0.1:0'
  resound bench -z 5s --fail-if 'p99>5ms' --fail-if 'errors>0'
  resound bench --churn 10 --insecure frames+tls://:30443
  resound bench compare before.json after.json
  resound bench merge one.json two.json    one report of several machines
  resound bench versus raw:// --server 'resound serve -l raw://:0' --server './other {port}'

Exit codes: 0 measured; 1 not measured, wrong bytes came back, connections could not be opened, or the server ended or hung; \
2 the command line is wrong; 3 a --fail-if condition is met.";

impl BenchArgs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Some(Command::Compare(compare)) => compare.run(),
            Some(Command::Merge(merge)) => merge.run(),
            Some(Command::Versus(versus)) => versus.run(),
            None => self.bench(),
        }
    }

    fn bench(self) -> Result<ExitCode, Failure> {
        let given = self.address.as_ref().is_some_and(Target::is_known);
        let address = match self.address {
            Some(address) if !given && self.server.is_none() => {
                return Err(Failure::Usage(format!(
                    "{address} has no port to connect to; write HOST:PORT behind ://, or start a server with --server \
                     'CMD', which says where it listens"
                )));
            }
            Some(address) => address,
            None => ADDRESS.parse().map_err(Failure::Failed)?,
        };
        let load =
            if self.ramp.is_some() { self.load.clone().for_steps() } else { self.load.clone() };
        // Report wrong arguments before anything is started.
        let plan = load.plan(&address).map_err(Failure::Usage)?;
        let barrier = self.barrier.barrier().map_err(Failure::Usage)?;
        let stop = Stop::on_signals().map_err(|error| cannot("catch signals", &error))?;
        let mut live = Live::new(self.quiet);
        let server = self
            .server
            .as_deref()
            .map(|command| Server::start(command, address.place(), given, &stop));
        let server = server.transpose().map_err(Failure::Failed)?;
        let running = self.server_pid.map(Running::of).transpose().map_err(Failure::Failed)?;
        let watched = match (&server, &running) {
            (Some(server), _) => Some(server as &dyn Watched),
            (None, running) => running.as_ref().map(|running| running as &dyn Watched),
        };
        let plan = match &server {
            None => plan,
            Some(server) => load.plan(&address.at(&server.place)).map_err(Failure::Failed)?,
        };
        let plan = load.secured(Plan { barrier, ..plan })?;
        let name =
            server.as_ref().map_or_else(|| plan.target.to_string(), |server| server.name.clone());
        let outcome = match &self.ramp {
            None => run::run(&plan, &name, watched, &mut live, &stop),
            Some(condition) => ramp::ramp(&plan, condition, &name, watched, &mut live, &stop),
        };
        drop(server);
        let outcome = outcome.map_err(Failure::Failed)?;
        conclude(&outcome, &self.output)
    }
}
