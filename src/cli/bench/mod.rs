//! `resound bench`: a load generator that checks what comes back.
//!
//! Its arguments and its output are here; the engine is [`crate::load`].

mod args;
mod compare;
mod output;
mod versus;

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use self::{
    args::{LoadArgs, OutputArgs},
    output::{failures, save, say},
};
use super::{Failure, cannot};
use crate::load::{
    ramp,
    report::{condition::Condition, html, live::Live, text},
    run::{self, Outcome},
    server::{Server, stop::Stop},
    statistics::hdr,
    wire::target::Target,
};

/// The server's default address.
const ADDRESS: &str = "127.0.0.1:30000";

/// The exit code when a condition of `--fail-if` is met.
const GATE: u8 = 3;

/// Load a server, check every byte that comes back, and measure
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: Option<Command>,

    #[arg(
        help = "Where the server is: HOST:PORT, unix:PATH or PROTOCOL://ADDRESS, with any KEY=VALUE of its --listen; \
                PROTOCOL is frames, lines, raw, http or udp. With --server, PROTOCOL:// is enough \
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

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Compare(compare::CompareArgs),
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
  resound bench compare before.json after.json
  resound bench versus raw:// --server 'resound serve -l raw://:0' --server './other {port}'

Exit codes: 0 measured; 1 not measured, wrong bytes came back, connections could not be opened, or the server ended or hung; \
2 the command line is wrong; 3 a --fail-if condition is met.";

impl BenchArgs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Some(Command::Compare(compare)) => compare.run(),
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
        let stop = Stop::on_signals().map_err(|error| cannot("catch signals", &error))?;
        let mut live = Live::new(self.output.quiet);
        let server = self
            .server
            .as_deref()
            .map(|command| Server::start(command, address.place(), given, &stop));
        let server = server.transpose().map_err(Failure::Failed)?;
        let plan = match &server {
            None => plan,
            Some(server) => load.plan(&address.at(&server.place)).map_err(Failure::Failed)?,
        };
        let name =
            server.as_ref().map_or_else(|| plan.target.to_string(), |server| server.name.clone());
        let outcome = match &self.ramp {
            None => run::run(&plan, &name, server.as_ref(), &mut live, &stop),
            Some(condition) => {
                ramp::ramp(&plan, condition, &name, server.as_ref(), &mut live, &stop)
            }
        };
        drop(server);
        conclude(&outcome.map_err(Failure::Failed)?, &self.output)
    }
}

/// Writes the reports. Returns the exit code.
fn conclude(outcome: &Outcome, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let report = &outcome.report;
    let text = text::text(report).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut json = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::Failed(format!("the report as JSON: {error}")))?;
    json.push('\n');
    match output.json.as_deref() {
        // Standard output is for the data.
        Some(path) if path == Path::new("-") => {
            // Even if standard output is closed, the exit code still depends on the data.
            let _ = io::stderr().write_all(text.as_bytes());
            say(&json)?;
        }
        Some(path) => {
            say(&text)?;
            save(path, "--json", |file| file.write_all(json.as_bytes()))?;
        }
        None => say(&text)?,
    }
    if let Some(path) = &output.report {
        let page = html::page(report).map_err(|error| Failure::Failed(error.to_string()))?;
        save(path, "--report", |file| file.write_all(page.as_bytes()))?;
    }
    if let Some(path) = &output.hdr {
        save(path, "--hdr", |file| {
            hdr::write(file, outcome.started, outcome.window, &outcome.windows)
        })?;
    }
    let mut code = ExitCode::SUCCESS;
    if failures(report) > 0 || report.answered() == 0 && report.connections.held == 0 {
        code = ExitCode::FAILURE;
    }
    for condition in output.fail_if.iter().filter(|condition| condition.holds(report)) {
        let _ = writeln!(io::stderr(), "--fail-if {condition}: the condition is met");
        code = ExitCode::from(GATE);
    }
    Ok(code)
}
