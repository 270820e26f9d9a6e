//! `resound bench compare`: tells which reports are faster or slower, and which differ by noise only.

use std::{
    fmt::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{output::say, saved};
use crate::{
    cli::Failure,
    load::{
        report::{Report, WindowReport},
        statistics::interval::{self, Change},
        units::{Micros, Rate},
    },
};

/// Compare reports written by --json (also of versus), each with the first
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct CompareArgs {
    /// JSON reports; the others are compared with the first. One file of bench versus is enough
    #[arg(required = true, value_name = "REPORT.json")]
    reports: Vec<PathBuf>,

    /// Call a difference below this noise, in per cent, even if it is significant
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
    threshold: f64,
}

const NOTES: &str = "\
Each window of a run counts as one measurement; with three or more rounds of bench versus, each round does. A \
difference is better or worse if its whole 99 % interval is on one side of zero and it is at least --threshold; otherwise \
it is noise. Two runs differ by more than the windows of one run: for a reliable comparison, use bench versus, which \
measures in turn.";

/// A value that is compared: in a window, in a whole run, its format, and whether more is better.
struct Metric {
    name: &'static str,
    of_window: fn(&WindowReport) -> f64,
    of_run: fn(&Report) -> f64,
    show: fn(f64) -> String,
    more_is_better: bool,
}

const METRICS: [Metric; 3] = [
    Metric {
        name: "frames/s",
        of_window: |window| window.frames_per_s,
        of_run: |report| report.frames_per_s,
        show: |rate| Rate(rate).to_string(),
        more_is_better: true,
    },
    Metric {
        name: "p50",
        of_window: |window| window.p50_us,
        of_run: |report| report.latency_us.p50,
        show: |micros| Micros(micros).to_string(),
        more_is_better: false,
    },
    Metric {
        name: "p99",
        of_window: |window| window.p99_us,
        of_run: |report| report.latency_us.p99,
        show: |micros| Micros(micros).to_string(),
        more_is_better: false,
    },
];

/// The reports of one server: of one run, or of the rounds of `bench versus`.
#[derive(Debug)]
struct Entry {
    name: String,
    /// The number of its file: rounds in one file were measured in turn.
    file: usize,
    rounds: Vec<Report>,
}

impl CompareArgs {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let mut entries = Vec::new();
        for (file, path) in self.reports.iter().enumerate() {
            let reports = saved::read(path).map_err(Failure::Failed)?;
            entries.extend(by_server(&path.display().to_string(), file, reports));
        }
        if entries.len() < 2 {
            return Err(Failure::Usage(format!(
                "compare needs two reports, and {} holds one; give a second file, or one that bench versus --json \
                 has written",
                self.reports[0].display()
            )));
        }
        let threshold = self.threshold / 100.0;
        let table =
            table(&entries, threshold).map_err(|error| Failure::Failed(error.to_string()))?;
        say(&table)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One entry for each server in a file, in the order of their first rounds.
fn by_server(path: &str, file: usize, reports: Vec<Report>) -> Vec<Entry> {
    let is_one = reports.iter().all(|report| report.name == reports[0].name);
    let mut entries: Vec<Entry> = Vec::new();
    for report in reports {
        let name = if is_one { path.to_owned() } else { format!("{} in {path}", report.name) };
        match entries.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => entry.rounds.push(report),
            None => entries.push(Entry { name, file, rounds: vec![report] }),
        }
    }
    entries
}

/// The measurements of both, and their difference; `None` if they are too few.
fn compared(base: &Entry, other: &Entry, metric: &Metric) -> ([Vec<f64>; 2], Option<Change>) {
    let entries = [base, other];
    if entries.iter().all(|entry| entry.rounds.len() >= interval::FEWEST) {
        let [before, after] =
            entries.map(|entry| entry.rounds.iter().map(metric.of_run).collect::<Vec<_>>());
        let in_turn = base.file == other.file;
        let change = if in_turn { interval::paired } else { interval::unpaired };
        let change = change(&before, &after);
        return ([before, after], change);
    }
    let [before, after] = entries.map(|entry| {
        let windows = entry.rounds.iter().flat_map(|report| &report.windows);
        windows.map(metric.of_window).collect::<Vec<_>>()
    });
    let change = interval::unpaired(&before, &after);
    ([before, after], change)
}

fn table(entries: &[Entry], threshold: f64) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let Some((base, others)) = entries.split_first() else { return Ok(out) };
    for other in others {
        writeln!(out, "{} → {}", base.name, other.name)?;
        for difference in different_loads(&base.rounds[0], &other.rounds[0]) {
            writeln!(out, "  warning: {difference}")?;
        }
        for entry in [base, other] {
            if let Some(gap) = without_a_frame(entry) {
                writeln!(out, "  warning: {gap}")?;
            }
        }
        for metric in &METRICS {
            let ([before, after], change) = compared(base, other, metric);
            // A latency of 0 means that no frame came back.
            let mean = |values: Vec<f64>| {
                (metric.show)(mean(values, |value| metric.more_is_better || value > 0.0))
            };
            writeln!(
                out,
                "  {:<10}{:>10} → {:>10}   {}",
                metric.name,
                mean(before),
                mean(after),
                change.map_or_else(
                    || "too few windows to tell it from noise: measure longer".to_owned(),
                    |change| verdict(change, threshold, metric.more_is_better),
                )
            )?;
        }
        let errors = |entry: &Entry| entry.rounds.iter().map(|report| report.errors).sum::<u64>();
        writeln!(out, "  {:<10}{:>10} → {:>10}", "errors", errors(base), errors(other))?;
    }
    Ok(out)
}

/// Windows without a frame, which the comparison cannot count.
fn without_a_frame(entry: &Entry) -> Option<String> {
    let windows = || entry.rounds.iter().flat_map(|report| &report.windows);
    let empty = windows().filter(|window| window.frames_per_s <= 0.0).count();
    let all = windows().count();
    (empty > 0).then(|| {
        format!(
            "no frame came back in {empty} of {all} windows of {}; the intervals do not count them",
            entry.name
        )
    })
}

fn mean(values: Vec<f64>, counts: impl Fn(f64) -> bool) -> f64 {
    let values: Vec<f64> = values.into_iter().filter(|value| counts(*value)).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// `better: +12.0 % (+10.1 % to +13.9 %)`, or that it is noise.
pub(super) fn verdict(change: Change, threshold: f64, more_is_better: bool) -> String {
    let Change { middle, least, most } = change;
    let interval =
        format!("{:+.1} % ({:+.1} % to {:+.1} %)", 100.0 * middle, 100.0 * least, 100.0 * most);
    if !change.is_real(threshold) {
        return format!("noise:  {interval}");
    }
    let word = if (middle > 0.0) == more_is_better { "better:" } else { "worse: " };
    format!("{word} {interval}")
}

/// The differences between the loads, which may explain those between the results.
fn different_loads(base: &Report, other: &Report) -> Vec<String> {
    let differences = base.config.differences(&other.config).into_iter();
    differences
        .map(|(flag, base, other)| {
            format!("{flag} was {base} for the first and {other} for this one")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::condition::tests::report;

    fn with_windows(rate: f64, p50: f64) -> Report {
        let mut report = report();
        report.windows = (0..20)
            .map(|index| {
                let wobble = 1.0 + 0.01 * f64::from((index * 7) % 5 - 2);
                WindowReport {
                    start_s: f64::from(index) / 2.0,
                    frames_per_s: rate * wobble,
                    p50_us: p50 / wobble,
                    p99_us: 3.0 * p50 / wobble,
                    max_us: 9.0 * p50,
                    errors: 0,
                }
            })
            .collect();
        report
    }

    fn entries(before: Vec<Report>, after: Vec<Report>) -> [Entry; 2] {
        [("a", 0, before), ("b", 1, after)].map(|(name, file, rounds)| Entry {
            name: name.to_owned(),
            file,
            rounds,
        })
    }

    fn compared(before: Report, after: Report) -> String {
        table(&entries(vec![before], vec![after]), 0.03).unwrap()
    }

    #[test]
    fn the_same_twice_is_noise() {
        let text = compared(with_windows(100_000.0, 90.0), with_windows(100_300.0, 89.8));
        assert_eq!(text.matches("noise:").count(), 3, "{text}");
    }

    #[test]
    fn slower_is_worse_and_faster_is_better() {
        let text = compared(with_windows(100_000.0, 90.0), with_windows(50_000.0, 180.0));
        assert_eq!(text.matches("worse:").count(), 3, "{text}");
        assert!(text.contains("-50.0 %") && text.contains("+100.0 %"), "{text}");
        let text = compared(with_windows(50_000.0, 180.0), with_windows(100_000.0, 90.0));
        assert_eq!(text.matches("better:").count(), 3, "{text}");
    }

    #[test]
    fn rounds_of_one_file_are_paired_and_those_of_two_are_not() {
        // Both drift by a half, and the second is a tenth slower each time.
        let rounds = |factor: f64| -> Vec<Report> {
            let drift = [100e3, 110e3, 120e3, 130e3, 150e3];
            drift.map(|rate| Report { frames_per_s: factor * rate, ..report() }).to_vec()
        };
        let mut entries = entries(rounds(1.0), rounds(0.9));
        let rate = |entries: &[Entry]| {
            let text = table(entries, 0.03).unwrap();
            text.lines().find(|line| line.contains("frames/s")).unwrap().to_owned()
        };
        assert!(rate(&entries).contains("noise:"), "{}", rate(&entries));
        entries[1].file = 0;
        assert!(rate(&entries).contains("worse:"), "{}", rate(&entries));
    }

    #[test]
    fn each_server_of_versus_is_an_entry() {
        let named = |name: &str| Report { name: name.to_owned(), ..report() };
        let entries = by_server("x.json", 0, ["one", "two", "one", "two"].map(named).to_vec());
        let names: Vec<_> =
            entries.iter().map(|entry| (&entry.name[..], entry.rounds.len())).collect();
        assert_eq!(names, [("one in x.json", 2), ("two in x.json", 2)]);
        assert_eq!(by_server("x.json", 0, vec![named("one")])[0].name, "x.json");
    }

    #[test]
    fn windows_in_which_nothing_came_back_are_pointed_out_and_not_a_latency_of_zero() {
        let mut stalled = with_windows(100_000.0, 90.0);
        for window in &mut stalled.windows[5..15] {
            (window.frames_per_s, window.p50_us, window.p99_us, window.max_us) =
                (0.0, 0.0, 0.0, 0.0);
        }
        let text = compared(with_windows(100_000.0, 90.0), stalled);
        assert!(text.contains("no frame came back in 10 of 20 windows of b"), "{text}");
        let p50 = text.lines().find(|line| line.contains("p50")).unwrap();
        assert_eq!(p50.matches("90.0µs").count(), 2, "{text}");
    }

    #[test]
    fn loads_that_differ_are_pointed_out() {
        let mut other = with_windows(100_000.0, 90.0);
        other.config.size = "4KiB".to_owned();
        let text = compared(with_windows(100_000.0, 90.0), other);
        assert!(text.contains("--size was 64 for the first and 4KiB"), "{text}");
        let text = compared(report(), with_windows(1.0, 1.0));
        assert!(text.contains("too few windows"), "{text}");
    }
}
