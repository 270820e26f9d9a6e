//! Several reports as one: what processes on several machines measured together.
//!
//! Counts are added, and histograms bucket by bucket, so that every percentile is that of all values. Percentiles themselves
//! cannot be added.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{
    Configuration, Connections, Histograms, Latency, Part, Report, ServerUsage, WindowReport,
    distribution, handshakes::HandshakeReport, microseconds, warnings,
};
use crate::load::{
    check::fault::Fault,
    statistics::{hdr, record},
};

/// Clocks that NTP keeps differ by less.
const NOTEWORTHY_S: f64 = 0.1;

/// A report, and the file that it was read from.
pub(crate) type Named = (String, Report);

/// A merged report, and the histograms of its windows for `--hdr`.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) report: Report,
    pub(crate) windows: Vec<Histogram<u64>>,
    pub(crate) window: Duration,
}

/// Merges `reports`; the first one gives the settings that all should share.
///
/// # Errors
///
/// Text with the cause, where they cannot be merged.
pub(crate) fn merge(reports: &[Named]) -> Result<Merged, String> {
    let Some((_, first)) = reports.first() else { return Err("there is no report".to_owned()) };
    each_once(reports)?;
    let histograms = reports.iter().map(histograms).collect::<Result<Vec<_>, String>>()?;
    let added = Added::new(reports, &histograms)?;
    let aligned = histograms.iter().all(|one| is_close(one.window_s, histograms[0].window_s, 1e-9));
    let all = || reports.iter().map(|(_, report)| report);
    let longest = all().map(|report| report.duration_s).fold(0.0, f64::max);
    let mut errors_by_name = first.errors_by_name.clone();
    for (name, count) in all().skip(1).flat_map(|report| &report.errors_by_name) {
        *errors_by_name.entry(name.clone()).or_default() += count;
    }
    let frames = all().map(|report| report.frames).sum();
    let mut report = Report {
        schema: first.schema,
        tool: first.tool.clone(),
        name: first.name.clone(),
        started_at: all().map(|report| report.started_at).min().unwrap_or(0),
        measured_from_s: all().map(|report| report.measured_from_s).fold(f64::INFINITY, f64::min),
        measured_to_s: all().map(|report| report.measured_to_s).fold(0.0, f64::max),
        late_s: all().map(|report| report.late_s).fold(0.0, f64::max),
        config: configuration(reports, &first.config),
        duration_s: longest,
        ended_early: all().any(|report| report.ended_early),
        frames,
        frames_per_s: all().map(|report| report.frames_per_s).sum(),
        megabytes_per_s: all().map(|report| report.megabytes_per_s).sum(),
        latency_us: Latency::from(&added.latency),
        unanswered: all().map(|report| report.unanswered).sum(),
        down_s: all().map(|report| report.down_s).fold(0.0, f64::max),
        errors: all().map(|report| report.errors).sum(),
        errors_by_name,
        first_difference: all().find_map(|report| report.first_difference.clone()),
        unsent: all().map(|report| report.unsent).sum(),
        guard_losses: all().map(|report| report.guard_losses).sum(),
        send_lag_us: added.send_lag.as_ref().map(Latency::from),
        connections: Connections {
            opened: all().map(|report| report.connections.opened).sum(),
            connect_us: Latency::from(&added.connect),
            cycles_per_s: all().map(|report| report.connections.cycles_per_s).sum(),
            held: all().map(|report| report.connections.held).sum(),
        },
        handshakes: HandshakeReport::merged(all().filter_map(|report| report.handshakes.as_ref()))?,
        client_cpu_share: all().map(|report| report.client_cpu_share).fold(0.0, f64::max),
        client_wait_share: all().map(|report| report.client_wait_share).fold(0.0, f64::max),
        server: server(reports, frames),
        windows: if aligned { windows(reports, &added.windows) } else { Vec::new() },
        distribution: distribution(&added.latency),
        histograms: Some(added.encoded(histograms[0].window_s)),
        parts: reports.iter().flat_map(parts).collect(),
        ramp: None,
        warnings: Vec::new(),
    };
    let unopened = report.errors_by_name.get(Fault::Unopened.name()).copied().unwrap_or(0);
    let unopened = usize::try_from(unopened).unwrap_or(usize::MAX);
    report.warnings = doubts(reports, aligned);
    report.warnings.extend(warnings::warnings(&report, unopened));
    let window = Duration::from_secs_f64(histograms[0].window_s);
    Ok(Merged { report, windows: added.windows, window })
}

/// The same run twice would count everything twice.
fn each_once(reports: &[Named]) -> Result<(), String> {
    for (index, (name, report)) in reports.iter().enumerate() {
        if let Some((same, _)) = reports[..index].iter().find(|(_, other)| other == report) {
            return Err(format!("{same} and {name} are the same run; name each report once"));
        }
    }
    Ok(())
}

fn histograms((name, report): &Named) -> Result<&Histograms, String> {
    if report.ramp.is_some() {
        return Err(format!(
            "{name} is of --ramp, where each process has rates of its own; use --rate"
        ));
    }
    report.histograms.as_ref().ok_or_else(|| {
        format!(
            "{name} has no histograms, and percentiles cannot be added; measure again with this version of resound"
        )
    })
}

/// The sums of histograms.
struct Added {
    latency: Histogram<u64>,
    windows: Vec<Histogram<u64>>,
    connect: Histogram<u64>,
    send_lag: Option<Histogram<u64>>,
}

impl Added {
    fn new(reports: &[Named], histograms: &[&Histograms]) -> Result<Self, String> {
        let mut added = Self {
            latency: record::histogram(),
            windows: Vec::new(),
            connect: record::histogram(),
            send_lag: None,
        };
        for ((name, _), one) in reports.iter().zip(histograms) {
            added.add(one).map_err(|error| format!("{name} has a damaged histogram: {error}"))?;
        }
        Ok(added)
    }

    fn add(&mut self, one: &Histograms) -> Result<(), String> {
        hdr::add(&mut self.latency, &one.latency)?;
        hdr::add(&mut self.connect, &one.connect)?;
        if let Some(lag) = &one.send_lag {
            hdr::add(self.send_lag.get_or_insert_with(record::histogram), lag)?;
        }
        for (index, window) in one.windows.iter().enumerate() {
            if index == self.windows.len() {
                self.windows.push(record::histogram());
            }
            hdr::add(&mut self.windows[index], window)?;
        }
        Ok(())
    }

    fn encoded(&self, window_s: f64) -> Histograms {
        Histograms {
            latency: hdr::encode(&self.latency),
            windows: self.windows.iter().map(hdr::encode).collect(),
            window_s,
            connect: hdr::encode(&self.connect),
            send_lag: self.send_lag.as_ref().map(hdr::encode),
        }
    }
}

/// The load of all processes together.
fn configuration(reports: &[Named], first: &Configuration) -> Configuration {
    let all = || reports.iter().map(|(_, report)| &report.config);
    let sum = |rates: &mut dyn Iterator<Item = Option<f64>>| {
        rates.flatten().fold(None, |sum: Option<f64>, rate| Some(sum.unwrap_or(0.0) + rate))
    };
    Configuration {
        connections: all().map(|config| config.connections).sum(),
        rate: sum(&mut all().map(|config| config.rate)),
        connect_rate: sum(&mut all().map(|config| config.connect_rate)),
        hold: all().map(|config| config.hold).sum(),
        threads: all().map(|config| config.threads).sum(),
        ..first.clone()
    }
}

/// The server's usage, if one of the processes had started it: it served the frames of all.
fn server(reports: &[Named], frames: u64) -> Option<ServerUsage> {
    let mut started = reports.iter().filter_map(|(_, report)| Some((report, report.server?)));
    let (report, server) = started.next().filter(|_| started.next().is_none())?;
    let of = |config: &Configuration| (config.connections + config.hold) as f64;
    let connections: f64 = reports.iter().map(|(_, report)| of(&report.config)).sum();
    Some(ServerUsage {
        cpu_us_per_frame: server.cpu_us_per_frame * report.frames as f64 / frames.max(1) as f64,
        memory_per_connection_bytes: server.memory_per_connection_bytes * of(&report.config)
            / connections.max(1.0),
        ..server
    })
}

/// The sums of windows with the same number.
fn windows(reports: &[Named], latencies: &[Histogram<u64>]) -> Vec<WindowReport> {
    let longest =
        reports.iter().map(|(_, report)| &report.windows).max_by_key(|windows| windows.len());
    let numbered = longest.into_iter().flatten().zip(latencies).enumerate();
    numbered
        .map(|(index, (window, latency))| {
            let those = || reports.iter().filter_map(move |(_, report)| report.windows.get(index));
            WindowReport {
                start_s: window.start_s,
                frames_per_s: those().map(|window| window.frames_per_s).sum(),
                p50_us: microseconds(latency.value_at_quantile(0.5)),
                p99_us: microseconds(latency.value_at_quantile(0.99)),
                max_us: microseconds(latency.max()),
                errors: those().map(|window| window.errors).sum(),
            }
        })
        .collect()
}

/// The row of a report; of one that was merged itself, those of its parts.
fn parts((file, report): &Named) -> Vec<Part> {
    if !report.parts.is_empty() {
        return report.parts.clone();
    }
    vec![Part {
        file: file.clone(),
        measured_from_s: report.measured_from_s,
        measured_to_s: report.measured_to_s,
        connections: report.config.connections + report.config.hold,
        frames: report.frames,
        frames_per_s: report.frames_per_s,
        p50_us: report.latency_us.p50,
        p99_us: report.latency_us.p99,
        errors: report.errors,
        client_cpu_share: report.client_cpu_share,
    }]
}

/// Reasons why the sum may be none of one load.
fn doubts(reports: &[Named], aligned: bool) -> Vec<String> {
    let mut doubts = Vec::new();
    let Some(((first_name, first), others)) = reports.split_first() else { return doubts };
    for (name, report) in others {
        let apart = [
            report.measured_from_s - first.measured_from_s,
            report.measured_to_s - first.measured_to_s,
        ];
        if apart.iter().any(|apart| apart.abs() > NOTEWORTHY_S) {
            doubts.push(format!(
                "{name} began {} and ended {} {first_name}, by the clocks of their machines: either the clocks differ, or \
                 they were not started together. The rates are added all the same, and the windows by their number. Set the \
                 clocks (NTP), and start all with the same --start-at",
                than(apart[0]),
                than(apart[1])
            ));
        }
        for (flag, here, there) in first.config.differences(&report.config) {
            doubts.push(format!("{flag} was {here} in {first_name} and {there} in {name}"));
        }
        if first.config.target != report.config.target {
            doubts.push(format!(
                "{first_name} measured {} and {name} {}",
                first.config.target, report.config.target
            ));
        }
    }
    for (name, report) in reports {
        let by_the_clock = report.measured_to_s - report.measured_from_s;
        if !is_close(by_the_clock, report.duration_s, NOTEWORTHY_S) && report.parts.is_empty() {
            doubts.push(format!(
                "the clock of {name} was set while it measured: {:.1} s passed by it, and {:.1} s were measured",
                by_the_clock, report.duration_s
            ));
        }
        if report.ended_early {
            doubts.push(format!("{name} ended early, after {:.1} s", report.duration_s));
        }
    }
    if !aligned {
        doubts.push(
            "the windows have different lengths, so they are left out; use the same --duration for all".to_owned(),
        );
    }
    doubts
}

/// `0.52 s later than`, as a part of a sentence.
fn than(apart: f64) -> String {
    format!("{:.2} s {} than", apart.abs(), if apart < 0.0 { "earlier" } else { "later" })
}

fn is_close(one: f64, other: f64, within: f64) -> bool {
    (one - other).abs() <= within
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{report::condition::tests::report, statistics::hdr::tests::decode};

    /// A report of these latencies in nanoseconds, half of them in each of two windows.
    fn of(values: &[u64]) -> Report {
        let histogram = |values: &[u64]| {
            let mut histogram = record::histogram();
            values.iter().for_each(|value| histogram.record(*value).unwrap());
            histogram
        };
        let (early, late) = values.split_at(values.len() / 2);
        let window = |index: u32, values: &[u64]| WindowReport {
            start_s: f64::from(index) * 5.0,
            frames_per_s: values.len() as f64 / 5.0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            errors: 1,
        };
        let all = histogram(values);
        let mut report = report();
        report.frames = values.len() as u64;
        report.frames_per_s = values.len() as f64 / 10.0;
        report.latency_us = Latency::from(&all);
        report.windows = vec![window(0, early), window(1, late)];
        report.histograms = Some(Histograms {
            latency: hdr::encode(&all),
            windows: [early, late].map(|values| hdr::encode(&histogram(values))).to_vec(),
            window_s: 5.0,
            connect: hdr::encode(&histogram(&[7_000])),
            send_lag: None,
        });
        report.errors = 2;
        report.errors_by_name.insert("TIMEOUT".to_owned(), 2);
        report
    }

    fn latencies(report: &Report) -> Histogram<u64> {
        decode(&report.histograms.as_ref().unwrap().latency).unwrap()
    }

    fn named(reports: Vec<Report>) -> Vec<Named> {
        let names = ["a.json", "b.json", "c.json", "d.json"].map(str::to_owned);
        names.into_iter().zip(reports).collect()
    }

    #[test]
    fn the_merged_report_is_the_one_of_all_values_and_no_mean_of_percentiles() {
        // Nine of ten values are in the first: p99 of all is neither p99 nor the mean of both.
        let (fast, slow) = (vec![1_000; 9_000], vec![1_000_000; 1_000]);
        let merged = merge(&named(vec![of(&fast), of(&slow)])).unwrap();
        let all = of(&[fast, slow].concat());
        let report = &merged.report;
        assert_eq!(report.latency_us, all.latency_us);
        assert_eq!(report.latency_us.p50, 1.0);
        assert_eq!(latencies(report), latencies(&all));
        assert_eq!((report.frames, report.frames_per_s), (10_000, 1_000.0));
        assert_eq!((report.errors, report.errors_by_name["TIMEOUT"]), (4, 4));
        assert_eq!(report.config.connections, 20);
        assert_eq!(report.connections.connect_us.count, 2);
        let windows: Vec<_> =
            report.windows.iter().map(|one| (one.frames_per_s, one.errors)).collect();
        assert_eq!(windows, [(1_000.0, 2), (1_000.0, 2)]);
        assert!(report.windows[0].p99_us > 990.0 && report.windows[0].p50_us < 2.0);
        assert_eq!(merged.windows.iter().map(Histogram::len).sum::<u64>(), 10_000);
        assert_eq!(report.parts.iter().map(|part| part.frames).collect::<Vec<_>>(), [9_000, 1_000]);
    }

    #[test]
    fn what_was_merged_can_be_merged_again() {
        let four: Vec<Report> = (1..5).map(|value| of(&[value * 1_000; 100])).collect();
        let at_once = merge(&named(four.clone())).unwrap().report;
        let halves =
            [&four[..2], &four[2..]].map(|half| merge(&named(half.to_vec())).unwrap().report);
        let again = merge(&named(halves.to_vec())).unwrap().report;
        assert_eq!(again.latency_us, at_once.latency_us);
        assert_eq!(latencies(&again), latencies(&at_once));
        assert_eq!((again.parts.len(), again.frames), (4, 400));
        assert_eq!(again.warnings, at_once.warnings);
    }

    #[test]
    fn clocks_and_settings_that_differ_are_pointed_out() {
        let said = |change: fn(&mut Report)| {
            let mut other = of(&[2_000; 100]);
            change(&mut other);
            merge(&named(vec![of(&[1_000; 100]), other])).unwrap().report.warnings.join("\n")
        };
        let few = "200 frames came back, too few";
        let nothing = said(|_| {});
        assert!(nothing.starts_with(few), "{nothing}");
        for (change, says) in [
            (
                (|report| (report.measured_from_s, report.measured_to_s) = (3.0, 13.0))
                    as fn(&mut Report),
                "b.json began 3.00 s later than and ended 3.00 s later than a.json",
            ),
            (|report| report.measured_to_s = 12.0, "the clock of b.json was set while it measured"),
            (
                |report| report.config.size = "4KiB".to_owned(),
                "--size was 64 in a.json and 4KiB in b.json",
            ),
            (|report| report.config.target = "raw://x:1".to_owned(), "b.json raw://x:1"),
            (|report| report.ended_early = true, "b.json ended early"),
            (
                |report| report.histograms.as_mut().unwrap().window_s = 1.0,
                "the windows have different lengths",
            ),
        ] {
            let said = said(change);
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn reports_that_cannot_be_added_are_refused() {
        let good = || of(&[1_000; 100]);
        let refused = |other: Report| merge(&named(vec![good(), other])).unwrap_err();
        assert!(refused(good()).contains("a.json and b.json are the same run"));
        assert!(refused(report()).contains("b.json has no histograms"));
        let mut damaged = of(&[2_000; 100]);
        damaged.histograms.as_mut().unwrap().latency = "AAAA".to_owned();
        assert!(refused(damaged).contains("b.json has a damaged histogram"));
    }
}
