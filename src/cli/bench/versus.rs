//! `resound bench versus`: measures several servers in turn under the same load, and prints a table.

use std::{
    fmt::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use resound::plural::Plural;

use super::{
    ADDRESS,
    args::LoadArgs,
    compare::verdict,
    output::{failures, save, say},
};
use crate::{
    cli::{Failure, cannot},
    load::{
        engine::plan::Plan,
        report::{Report, live::Live, text},
        run,
        server::{Server, stop::Stop, watched::Watched},
        statistics::interval,
        units::{Bytes, Micros, Rate},
        wire::target::Target,
    },
};

/// Start several servers and measure them in turn, A B A B, under the same load
#[derive(Debug, clap::Args)]
pub(super) struct VersusArgs {
    #[arg(
        help = "What the servers speak, as PROTOCOL://, or the address of one that does not say itself where it \
                listens [default: frames://]"
    )]
    address: Option<Target>,

    /// A server's command; {port} in it is a free port. At least two
    #[arg(long, required = true, value_name = "CMD")]
    server: Vec<String>,

    /// How many times to measure each server, for --duration [2s] each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,

    #[command(flatten)]
    load: LoadArgs,

    /// Write all rounds' reports as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Call a difference below this noise, in per cent, even if it is significant
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
    threshold: f64,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// A value that is compared, and whether more is better.
type Metric = (&'static str, fn(&Report) -> f64, bool);

/// One server and its reports.
struct Contestant {
    server: Server,
    plan: Plan,
    reports: Vec<Report>,
}

impl VersusArgs {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if self.server.len() < 2 {
            return Err(Failure::Usage(
                "versus needs two servers to compare; give --server 'CMD' twice".to_owned(),
            ));
        }
        let given = self.address.as_ref().is_some_and(Target::is_known);
        let address = match self.address.clone() {
            Some(address) => address,
            None => ADDRESS.parse().map_err(Failure::Failed)?,
        };
        let load = self.load.clone().for_steps();
        load.plan(&address).map_err(Failure::Usage)?;
        let stop = Stop::on_signals().map_err(|error| cannot("catch signals", &error))?;
        let mut contestants: Vec<Contestant> = Vec::new();
        for command in &self.server {
            let mut server =
                Server::start(command, address.place(), given, &stop).map_err(Failure::Failed)?;
            let same = contestants
                .iter()
                .filter(|other| other.server.name.split('#').next() == Some(&server.name));
            let same = same.count();
            if same > 0 {
                server.name = format!("{}#{}", server.name, same + 1);
            }
            let plan = load.plan(&address.at(&server.place)).map_err(Failure::Failed)?;
            let plan = load.secured(plan)?;
            contestants.push(Contestant { server, plan, reports: Vec::new() });
        }
        self.rounds(&mut contestants, &stop)?;
        let rounds = contestants.iter().map(|one| one.reports.len()).min().unwrap_or(0);
        if rounds == 0 {
            return Err(Failure::Failed("stopped before the first round was over".to_owned()));
        }
        contestants.iter_mut().for_each(|one| one.reports.truncate(rounds));
        let entries: Vec<(&str, &[Report])> =
            contestants.iter().map(|one| (one.server.name.as_str(), &one.reports[..])).collect();
        let threshold = self.threshold / 100.0;
        say(&table(&entries, threshold).map_err(|error| Failure::Failed(error.to_string()))?)?;
        if let Some(path) = &self.json {
            let all: Vec<&Report> = contestants.iter().flat_map(|one| &one.reports).collect();
            save(path, "--json", |file| Ok(serde_json::to_writer_pretty(file, &all)?))?;
        }
        let failed =
            contestants.iter().flat_map(|one| &one.reports).any(|report| failures(report) > 0);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn rounds(&self, contestants: &mut [Contestant], stop: &Stop) -> Result<(), Failure> {
        let mut live = Live::new(self.quiet);
        for round in 1..=self.rounds {
            for one in &mut *contestants {
                let name = one.server.name.clone();
                live.title(format!("{round}/{} {name}", self.rounds));
                let outcome =
                    run::run(&one.plan, &name, Some(&one.server as &dyn Watched), &mut live, stop);
                let outcome = outcome.map_err(Failure::Failed)?;
                if let Some(end) = outcome.server_end {
                    return Err(Failure::Failed(format!("{name}: {end}")));
                }
                let report = outcome.report;
                if report.ended_early {
                    return Ok(());
                }
                one.reports.push(report);
            }
        }
        Ok(())
    }
}

/// The table: a row for each server, then the differences from the first with their intervals.
fn table(entries: &[(&str, &[Report])], threshold: f64) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let Some((first, _)) = entries.split_first() else { return Ok(out) };
    let rounds = first.1.len();
    let load = text::heading(&first.1[0]);
    let load = load.split_once(": ").map_or(load.as_str(), |(_, load)| load);
    writeln!(out, "{load}; {} of {:.1} s in turn\n", rounds_of(rounds), first.1[0].duration_s)?;
    writeln!(
        out,
        "| server | frames/s | p50 | p99 | CPU a frame | server CPU | client CPU | peak memory | switches/1000 | errors |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (name, reports) in entries {
        let mean = |of: fn(&Report) -> f64| reports.iter().map(of).sum::<f64>() / rounds as f64;
        let server = |report: &Report| report.server;
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {:.0} % | {:.0} % | {} | {:.1} | {} |",
            Rate(mean(|report| report.frames_per_s)),
            Micros(mean(|report| report.latency_us.p50)),
            Micros(mean(|report| report.latency_us.p99)),
            Micros(mean(|report| report.server.map_or(0.0, |server| server.cpu_us_per_frame))),
            mean(|report| report.server.map_or(0.0, |server| server.cpu_share * 100.0)),
            mean(|report| report.client_cpu_share * 100.0),
            Bytes(
                reports
                    .iter()
                    .filter_map(server)
                    .map(|server| server.peak_memory_bytes)
                    .max()
                    .unwrap_or(0) as f64
            ),
            mean(|report| {
                let switches = report.server.map_or(0, |server| server.context_switches);
                switches as f64 * 1000.0 / report.frames.max(1) as f64
            }),
            reports.iter().map(|report| report.errors).sum::<u64>(),
        )?;
    }
    for (name, reports) in &entries[1..] {
        writeln!(out, "\n{name} against {}:", first.0)?;
        let metrics: [Metric; 4] = [
            ("frames/s", |report| report.frames_per_s, true),
            ("p50", |report| report.latency_us.p50, false),
            ("p99", |report| report.latency_us.p99, false),
            (
                "CPU a frame",
                |report| report.server.map_or(0.0, |server| server.cpu_us_per_frame),
                false,
            ),
        ];
        for (metric, of, more_is_better) in metrics {
            let before: Vec<f64> = first.1.iter().map(of).collect();
            let after: Vec<f64> = reports.iter().map(of).collect();
            let change = interval::paired(&before, &after);
            let verdict = change.map_or_else(
                || too_few(&before, &after),
                |change| verdict(change, threshold, more_is_better),
            );
            writeln!(out, "  {metric:<13}{verdict}")?;
        }
    }
    let mut warnings: Vec<&str> = Vec::new();
    for warning in
        entries.iter().flat_map(|(_, reports)| *reports).flat_map(|report| &report.warnings)
    {
        // One of each kind: only their numbers differ from round to round.
        let kind = |text: &str| {
            text.split(':').next().map(|kind| kind.replace(|c: char| c.is_ascii_digit(), ""))
        };
        if !warnings.iter().any(|known| kind(known) == kind(warning)) {
            warnings.push(warning);
        }
    }
    for warning in warnings {
        write!(out, "\nwarning: {}\n", text::wrapped(warning, 100))?;
    }
    Ok(out)
}

/// The difference without an interval.
fn too_few(before: &[f64], after: &[f64]) -> String {
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    if sum(before) <= 0.0 || sum(after) <= 0.0 {
        return "not measured".to_owned();
    }
    format!(
        "{:+.1} %; {} are too few to tell it from noise: use --rounds 5",
        100.0 * (sum(after) / sum(before) - 1.0),
        rounds_of(after.len())
    )
}

const fn rounds_of(count: usize) -> Plural<'static, usize> {
    Plural(count, ["round", "rounds"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::condition::tests::report;

    fn rounds<const ROUNDS: usize>(rates: [f64; ROUNDS]) -> Vec<Report> {
        let round = |rate| Report { frames_per_s: rate, ..report() };
        rates.into_iter().map(round).collect()
    }

    #[test]
    fn each_server_has_a_row_and_a_verdict() {
        let first = rounds([100.0, 110.0, 105.0, 103.0].map(|rate| rate * 1e3));
        let faster = rounds([200.0, 221.0, 209.0, 206.0].map(|rate| rate * 1e3));
        let same = rounds([103.0, 107.0, 106.0, 101.0].map(|rate| rate * 1e3));
        let text = table(&[("one", &first), ("two", &faster), ("three", &same)], 0.03).unwrap();
        assert!(text.contains("| one | 104k |") && text.contains("| two | 209k |"), "{text}");
        let verdicts: Vec<&str> =
            text.lines().filter(|line| line.starts_with("  frames/s")).collect();
        assert!(verdicts[0].contains("better: +10") && verdicts[1].contains("noise:"), "{text}");
    }

    #[test]
    fn two_rounds_have_no_interval() {
        let (first, second) = (rounds([100e3, 100e3]), rounds([200e3, 220e3]));
        let text = table(&[("one", &first), ("two", &second)], 0.03).unwrap();
        let says =
            "frames/s     +110.0 %; 2 rounds are too few to tell it from noise: use --rounds 5";
        assert!(text.contains(says) && text.contains("CPU a frame  not measured"), "{text}");
        let text = table(&[("one", &first[..1]), ("two", &second[..1])], 0.03).unwrap();
        assert!(text.contains("; 1 round of 10.0 s in turn"), "{text}");
    }
}
