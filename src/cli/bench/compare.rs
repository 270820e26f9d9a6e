//! `resound bench compare`: what is faster, what is slower, and what is only noise.

use std::{
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::say;
use crate::{
    cli::Failure,
    load::{
        interval::{self, Change},
        report::{Report, SCHEMA, WindowReport},
        units::{Micros, Rate},
    },
};

/// Compare reports that --json wrote, each with the first
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct CompareArgs {
    /// Reports; the first is what the others are compared with
    #[arg(required = true, num_args = 2.., value_name = "REPORT.json")]
    reports: Vec<PathBuf>,

    /// Call it noise below this difference, in per cent, however sure it is
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
    threshold: f64,
}

const NOTES: &str = "\
The windows of each run are its repeated measurements. A difference is called one if its whole 99 % interval is on one \
side and it is at least --threshold. Two runs differ by more than the windows of one: where it matters, use bench versus, \
which measures by turns.";

/// What is compared, and whether more of it is better.
type Metric = (&'static str, fn(&WindowReport) -> f64, fn(f64) -> String, bool);

const METRICS: [Metric; 3] = [
    ("frames/s", |window| window.frames_per_s, |rate| Rate(rate).to_string(), true),
    ("p50", |window| window.p50_us, |micros| Micros(micros).to_string(), false),
    ("p99", |window| window.p99_us, |micros| Micros(micros).to_string(), false),
];

impl CompareArgs {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let reports: Vec<(String, Report)> = self
            .reports
            .iter()
            .map(|path| Ok((path.display().to_string(), read(path)?)))
            .collect::<Result<_, String>>()
            .map_err(Failure::Failed)?;
        let threshold = self.threshold / 100.0;
        let table =
            table(&reports, threshold).map_err(|error| Failure::Failed(error.to_string()))?;
        say(&table)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let remedy = "give files that resound bench --json has written";
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{name} is no JSON: {error}; {remedy}"))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => {
            return Err(format!(
                "{name} has schema {schema}, and this resound knows {SCHEMA}; measure both with the same version"
            ));
        }
        None => return Err(format!("{name} is no report; {remedy}")),
    }
    serde_json::from_value(value).map_err(|error| format!("{name} is no report: {error}; {remedy}"))
}

fn table(reports: &[(String, Report)], threshold: f64) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let Some(((_, base), others)) = reports.split_first() else { return Ok(out) };
    for (name, report) in others {
        writeln!(out, "{} → {name}", reports[0].0)?;
        for difference in different_loads(base, report) {
            writeln!(out, "  careful: {difference}")?;
        }
        for (metric, of, show, more_is_better) in METRICS {
            let measurements =
                |report: &Report| -> Vec<f64> { report.windows.iter().map(of).collect() };
            let (before, after) = (measurements(base), measurements(report));
            let change = interval::unpaired(&before, &after);
            writeln!(
                out,
                "  {metric:<10}{:>10} → {:>10}   {}",
                show(mean(&before)),
                show(mean(&after)),
                change.map_or_else(
                    || "too few windows to tell it from noise: measure longer".to_owned(),
                    |change| verdict(change, threshold, more_is_better),
                )
            )?;
        }
        writeln!(out, "  {:<10}{:>10} → {:>10}", "errors", base.errors, report.errors)?;
    }
    Ok(out)
}

fn mean(values: &[f64]) -> f64 {
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

/// In what the loads differ, so that their results may.
fn different_loads(base: &Report, other: &Report) -> Vec<String> {
    let (a, b) = (&base.config, &other.config);
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| Rate(rate).to_string());
    let number = |n: Option<u32>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    [
        ("--connections", a.connections.to_string(), b.connections.to_string()),
        ("--depth", number(a.depth), number(b.depth)),
        ("--size", a.size.clone(), b.size.clone()),
        ("--rate", rate(a.rate), rate(b.rate)),
        ("--churn", format!("{:?}", a.churn), format!("{:?}", b.churn)),
        ("--threads", a.threads.to_string(), b.threads.to_string()),
    ]
    .into_iter()
    .filter(|(_, a, b)| a != b)
    .map(|(flag, a, b)| format!("{flag} was {a} for the first and {b} for this one"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::gate::tests::report;

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

    fn compared(before: Report, after: Report) -> String {
        table(&[("a".to_owned(), before), ("b".to_owned(), after)], 0.03).unwrap()
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
    fn loads_that_differ_are_pointed_out() {
        let mut other = with_windows(100_000.0, 90.0);
        other.config.size = "4KiB".to_owned();
        let text = compared(with_windows(100_000.0, 90.0), other);
        assert!(text.contains("--size was 64 for the first and 4KiB"), "{text}");
        let text = compared(report(), with_windows(1.0, 1.0));
        assert!(text.contains("too few windows"), "{text}");
    }
}
