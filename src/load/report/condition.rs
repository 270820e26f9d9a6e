//! Conditions on a report: `--fail-if 'p99>5ms'`, `--ramp 'p99<2ms'`.

use std::{fmt, str::FromStr};

use super::Report;
use crate::load::{check::fault::Fault, units::Rate};

/// A number of the report compared with a fixed one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    text: String,
    metric: Metric,
    than: Than,
    /// In microseconds, a second, or as it is.
    value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Mean,
    P50,
    P90,
    P99,
    P99_9,
    P99_99,
    Max,
    Errors,
    Named(Fault),
    Unsent,
    Rate,
    ClientCpu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Than {
    Less,
    AtMost,
    More,
    AtLeast,
}

const METRICS: &[(&str, Metric)] = &[
    ("mean", Metric::Mean),
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p99.9", Metric::P99_9),
    ("p99.99", Metric::P99_99),
    ("max", Metric::Max),
    ("errors", Metric::Errors),
    ("unsent", Metric::Unsent),
    ("rate", Metric::Rate),
    ("client_cpu", Metric::ClientCpu),
];

impl Metric {
    fn named(name: &str) -> Option<Self> {
        let plain = METRICS.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric);
        let fault = || Fault::ALL.iter().find(|fault| fault.name().eq_ignore_ascii_case(name));
        plain.or_else(|| fault().map(|&fault| Self::Named(fault)))
    }

    const fn is_time(self) -> bool {
        matches!(
            self,
            Self::Mean | Self::P50 | Self::P90 | Self::P99 | Self::P99_9 | Self::P99_99 | Self::Max
        )
    }

    fn of(self, report: &Report) -> f64 {
        let latency = &report.latency_us;
        match self {
            Self::Mean => latency.mean,
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P99_9 => latency.p99_9,
            Self::P99_99 => latency.p99_99,
            Self::Max => latency.max,
            Self::Errors => report.errors as f64,
            Self::Named(fault) => *report.errors_by_name.get(fault.name()).unwrap_or(&0) as f64,
            Self::Unsent => report.unsent as f64,
            Self::Rate => report.frames_per_s,
            Self::ClientCpu => report.client_cpu_share,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |what: String| {
            let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
            format!(
                "{what}; write a name, a comparison and a number, like p99>5ms, errors>0 or rate<100k; names are {} and \
                 those of errors, like TIMEOUT",
                names.join(", ")
            )
        };
        let Some(at) = text.find(['<', '>']) else {
            return Err(wrong(format!("{text:?} compares nothing")));
        };
        let (name, rest) = text.split_at(at);
        let (than, number) = match rest.split_at(1) {
            ("<", rest) => {
                rest.strip_prefix('=').map_or((Than::Less, rest), |rest| (Than::AtMost, rest))
            }
            (_, rest) => {
                rest.strip_prefix('=').map_or((Than::More, rest), |rest| (Than::AtLeast, rest))
            }
        };
        let Some(metric) = Metric::named(name.trim()) else {
            return Err(wrong(format!("{:?} is nothing that is measured", name.trim())));
        };
        let number = number.trim();
        let value = if metric.is_time() {
            humantime::parse_duration(number).ok().map(|time| time.as_secs_f64() * 1e6)
        } else if number.trim_start_matches('0').is_empty() && !number.is_empty() {
            Some(0.0)
        } else if let Some(percent) = number.strip_suffix('%') {
            percent.parse::<f64>().ok().map(|percent| percent / 100.0)
        } else {
            number.parse::<Rate>().ok().map(|rate| rate.0)
        };
        let Some(value) = value else {
            let kind = if metric.is_time() { "a time with its unit" } else { "a number" };
            return Err(wrong(format!("{number:?} is not {kind}")));
        };
        Ok(Self { text: text.to_owned(), metric, than, value })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Whether the condition is met in `report`. If no frame came back, all times count as infinite.
    pub(crate) fn holds(&self, report: &Report) -> bool {
        let unmeasured = self.metric.is_time() && report.answered() == 0;
        let value = if unmeasured { f64::INFINITY } else { self.metric.of(report) };
        match self.than {
            Than::Less => value < self.value,
            Than::AtMost => value <= self.value,
            Than::More => value > self.value,
            Than::AtLeast => value >= self.value,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::report::{self, Configuration, Connections, Latency, SCHEMA};

    /// A report with nothing special in it.
    pub(crate) fn report() -> Report {
        Report {
            schema: SCHEMA,
            tool: "resound 0".to_owned(),
            name: "test".to_owned(),
            started_at: 0,
            measured_from_s: 0.0,
            measured_to_s: 10.0,
            late_s: 0.0,
            config: Configuration {
                target: "frames://127.0.0.1:1".to_owned(),
                connections: 10,
                depth: Some(1),
                size: "64".to_owned(),
                rate: None,
                arrivals: None,
                duration_s: 10.0,
                warm_up_s: 1.0,
                churn: None,
                connect_rate: None,
                hold: 0,
                sources: 1,
                threads: 1,
                timeout_s: 10.0,
                sndbuf: None,
                full_handshakes: false,
            },
            duration_s: 10.0,
            ended_early: false,
            frames: 1_000_000,
            frames_per_s: 100_000.0,
            megabytes_per_s: 6.8,
            latency_us: Latency {
                count: 1_000_000,
                mean: 95.0,
                p50: 90.0,
                p90: 120.0,
                p99: 200.0,
                p99_9: 400.0,
                p99_99: 900.0,
                max: 1500.0,
            },
            unanswered: 0,
            down_s: 0.0,
            errors: 0,
            errors_by_name: report::by_name(&Default::default()),
            first_difference: None,
            unsent: 0,
            guard_losses: 0,
            send_lag_us: None,
            connections: Connections {
                opened: 10,
                connect_us: Latency::default(),
                cycles_per_s: 0.0,
                held: 0,
            },
            handshakes: None,
            client_cpu_share: 0.5,
            client_wait_share: 0.0,
            server: None,
            windows: Vec::new(),
            distribution: Vec::new(),
            histograms: None,
            parts: Vec::new(),
            ramp: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let mut report = report();
        report.errors_by_name.insert("TIMEOUT".to_owned(), 2);
        report.errors = 2;
        for (text, holds) in [
            ("p99>5ms", false),
            ("p99 > 100us", true),
            ("p99<2ms", true),
            ("max>=1500us", true),
            ("p99.99<=900us", true),
            ("errors>0", true),
            ("timeout>2", false),
            ("MISMATCH>0", false),
            ("rate<100k", false),
            ("rate<=100k", true),
            ("client_cpu>90%", false),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.holds(&report), holds, "{text}");
            assert_eq!(condition.to_string(), text);
        }
    }

    #[test]
    fn what_was_not_measured_passes_no_gate() {
        let mut report = report();
        report.latency_us = Latency::default();
        let condition = |text: &str| text.parse::<Condition>().unwrap();
        assert!(condition("p99>5ms").holds(&report));
        assert!(!condition("p99<5ms").holds(&report));
        report.latency_us = Latency { count: 9, p99: 10.0, ..Latency::default() };
        report.unanswered = 9;
        assert!(condition("p99>5ms").holds(&report), "they were given up after 10 µs");
    }

    #[test]
    fn what_is_no_condition_is_told_examples() {
        for (text, says) in [
            ("p99", "compares nothing"),
            ("p98>5ms", "\"p98\" is nothing that is measured"),
            ("p99>5", "a time with its unit"),
            ("errors>few", "not a number"),
            ("errors>", "not a number"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(says) && error.contains("p99>5ms"), "{text}: {error}");
        }
    }
}
