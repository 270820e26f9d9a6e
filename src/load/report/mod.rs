//! The report as data: what `--json` writes and `bench compare` reads. docs/bench.md describes each field.

pub(crate) mod chart;
pub(crate) mod condition;
pub(crate) mod handshakes;
pub(crate) mod html;
pub(crate) mod live;
pub(crate) mod merge;
pub(crate) mod text;
pub(crate) mod warnings;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use self::handshakes::HandshakeReport;
use super::{
    check::fault::{Fault, Faults},
    engine::plan::Plan,
    units::Rate,
};
use crate::common::units::Size;

/// Raised when a field changes its meaning or goes; new fields do not raise it.
pub(crate) const SCHEMA: u32 = 1;

/// One run, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) tool: String,
    /// What was measured, for people: a server's name, or the address.
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    /// The measurement by the machine's clock, in seconds since 1970.
    #[serde(default)]
    pub(crate) measured_from_s: f64,
    #[serde(default)]
    pub(crate) measured_to_s: f64,
    /// By how much the load began later than `--start-at`.
    #[serde(default)]
    pub(crate) late_s: f64,
    pub(crate) config: Configuration,
    pub(crate) duration_s: f64,
    pub(crate) ended_early: bool,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) megabytes_per_s: f64,
    pub(crate) latency_us: Latency,
    /// Among the frames that have a latency, those that never came back, or that were due and not sent when the run
    /// ended.
    #[serde(default)]
    pub(crate) unanswered: u64,
    /// For how long the server had ended or hung while it was measured.
    #[serde(default)]
    pub(crate) down_s: f64,
    pub(crate) errors: u64,
    pub(crate) errors_by_name: BTreeMap<String, u64>,
    pub(crate) first_difference: Option<String>,
    /// Open loop: frames that were due and never sent.
    pub(crate) unsent: u64,
    /// UDP: of the losses, those at the positions where the loop guard of `resound serve` drops.
    #[serde(default)]
    pub(crate) guard_losses: u64,
    /// Open loop: by how much the client itself was late.
    pub(crate) send_lag_us: Option<Latency>,
    pub(crate) connections: Connections,
    /// With TLS.
    #[serde(default)]
    pub(crate) handshakes: Option<HandshakeReport>,
    /// Of one CPU, the busiest thread.
    pub(crate) client_cpu_share: f64,
    /// Of the time, how much a thread could have run while others had the CPU: the thread that waited most.
    #[serde(default)]
    pub(crate) client_wait_share: f64,
    pub(crate) server: Option<ServerUsage>,
    pub(crate) windows: Vec<WindowReport>,
    /// The latency distribution: points `[share of frames, microseconds]`.
    pub(crate) distribution: Vec<(f64, f64)>,
    /// What the latencies above were computed from.
    #[serde(default)]
    pub(crate) histograms: Option<Histograms>,
    /// The reports that were merged into this one.
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) warnings: Vec<String>,
}

impl Report {
    /// How many of the frames that have a latency came back.
    pub(crate) const fn answered(&self) -> u64 {
        self.latency_us.count.saturating_sub(self.unanswered)
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) depth: Option<u32>,
    pub(crate) size: String,
    pub(crate) rate: Option<f64>,
    pub(crate) arrivals: Option<String>,
    pub(crate) duration_s: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) churn: Option<u64>,
    pub(crate) connect_rate: Option<f64>,
    pub(crate) hold: usize,
    pub(crate) sources: usize,
    pub(crate) threads: u32,
    pub(crate) timeout_s: f64,
    #[serde(default)]
    pub(crate) sndbuf: Option<u64>,
    /// With TLS: no session was resumed.
    #[serde(default)]
    pub(crate) full_handshakes: bool,
}

impl From<&Plan> for Configuration {
    fn from(plan: &Plan) -> Self {
        Self {
            target: plan.target.to_string(),
            connections: plan.connections,
            depth: plan.depth.or_else(|| plan.rate.is_none().then_some(1)),
            size: plan.sizes.to_string(),
            rate: plan.rate,
            arrivals: plan.rate.map(|_| plan.arrivals.name().to_owned()),
            duration_s: plan.duration.as_secs_f64(),
            warm_up_s: plan.warm_up.as_secs_f64(),
            churn: plan.churn,
            connect_rate: plan.connect_rate,
            hold: plan.hold,
            sources: plan.sources,
            threads: plan.threads,
            timeout_s: plan.timeout.as_secs_f64(),
            sndbuf: plan.send_buffer.map(|size| size.0),
            full_handshakes: plan.full_handshakes,
        }
    }
}

impl Configuration {
    /// The settings that differ: the flag, its value here, and the other's.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        fn shown<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "none".to_owned(), |value| value.to_string())
        }
        let settings = |config: &Self| {
            [
                ("--connections", config.connections.to_string()),
                ("--depth", shown(config.depth)),
                ("--size", config.size.clone()),
                ("--rate", shown(config.rate.map(Rate))),
                ("--arrivals", shown(config.arrivals.as_ref())),
                ("--duration", format!("{}s", config.duration_s)),
                ("--warm-up", format!("{}s", config.warm_up_s)),
                ("--churn", shown(config.churn)),
                ("--connect-rate", shown(config.connect_rate.map(Rate))),
                ("--hold", config.hold.to_string()),
                ("--threads", config.threads.to_string()),
                ("--timeout", format!("{}s", config.timeout_s)),
                ("--sndbuf", shown(config.sndbuf.map(Size))),
                ("--full-handshakes", config.full_handshakes.to_string()),
            ]
        };
        let pairs = settings(self).into_iter().zip(settings(other));
        let differs = pairs.filter(|((_, here), (_, there))| here != there);
        differs.map(|((flag, here), (_, there))| (flag, here, there)).collect()
    }
}

/// The distributions of a run in nanoseconds, each as HdrHistogram's compressed encoding in base64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Histograms {
    pub(crate) latency: String,
    /// The latencies of each window, the last of which may be shorter.
    pub(crate) windows: Vec<String>,
    pub(crate) window_s: f64,
    pub(crate) connect: String,
    pub(crate) send_lag: Option<String>,
}

/// One of the reports that were merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its file.
    pub(crate) file: String,
    pub(crate) measured_from_s: f64,
    pub(crate) measured_to_s: f64,
    pub(crate) connections: usize,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
    pub(crate) client_cpu_share: f64,
}

/// Times in microseconds; all 0 where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: microseconds(histogram.max()),
        }
    }
}

pub(crate) fn microseconds(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// The connections and how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Opened in all, warm-up included.
    pub(crate) opened: u64,
    pub(crate) connect_us: Latency,
    /// Churn: opened, used and closed a second.
    pub(crate) cycles_per_s: f64,
    /// Idle ones that still echoed at the end.
    pub(crate) held: u64,
}

/// What a server whose processes are known used while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerUsage {
    /// Of one CPU; more than 1 where it has threads.
    pub(crate) cpu_share: f64,
    pub(crate) cpu_us_per_frame: f64,
    pub(crate) peak_memory_bytes: u64,
    /// Memory at the end, per connection.
    pub(crate) memory_per_connection_bytes: f64,
    pub(crate) context_switches: u64,
}

/// One window of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowReport {
    /// From the beginning of the measurement, in seconds.
    pub(crate) start_s: f64,
    pub(crate) frames_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    pub(crate) errors: u64,
}

/// The search for the highest rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ramp {
    /// The condition: `p99<2ms`.
    pub(crate) condition: String,
    /// The highest rate at which it held.
    pub(crate) knee_per_s: Option<f64>,
    pub(crate) steps: Vec<Step>,
}

/// One rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) rate: f64,
    pub(crate) frames_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
    pub(crate) client_cpu_share: f64,
    pub(crate) held: bool,
}

/// Every fault by its name, those that did not happen too.
pub(crate) fn by_name(faults: &Faults) -> BTreeMap<String, u64> {
    Fault::ALL.iter().map(|&fault| (fault.name().to_owned(), faults.of(fault))).collect()
}

/// Points for drawing a distribution: denser where it is rarer.
pub(crate) fn distribution(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let mut points = Vec::new();
    // Ten to each nine: 0, 0.1 … 0.9, 0.91 … 0.99, 0.991 …, as far as there are frames to tell.
    let mut nine = 1.0;
    while nine * histogram.len() as f64 >= 1.0 && nine > 1e-7 {
        points.extend((0..9).map(|tenth| 1.0 - nine + nine * f64::from(tenth) / 10.0));
        nine /= 10.0;
    }
    points.push(1.0);
    let at = |quantile| (quantile, microseconds(histogram.value_at_quantile(quantile)));
    points.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::record;

    #[test]
    fn a_distribution_is_as_fine_as_there_are_frames() {
        let mut histogram = record::histogram();
        assert_eq!(distribution(&histogram), []);
        (1..=1000).for_each(|value| histogram.record(value * 1000).unwrap());
        let points = distribution(&histogram);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{points:?}");
        assert_eq!(points.last().unwrap().0, 1.0);
        assert!((999.0..1001.0).contains(&points.last().unwrap().1));
        assert_eq!(points.len(), 9 * 4 + 1);
    }

    #[test]
    fn latencies_are_in_microseconds() {
        let mut histogram = record::histogram();
        histogram.record_n(2_000, 99).unwrap();
        histogram.record(5_000_000).unwrap();
        let latency = Latency::from(&histogram);
        assert_eq!(latency.count, 100);
        assert!((1.9..2.1).contains(&latency.p50) && (1.9..2.1).contains(&latency.p99));
        assert!((4_990.0..5_010.0).contains(&latency.max));
        assert_eq!(Latency::from(&record::histogram()), Latency::default());
    }
}
