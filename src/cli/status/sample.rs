//! What the admin port tells at one time.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{AdminPort, Answer};
use crate::cli::Failure;

/// Connections that are asked for.
const CONNECTIONS: usize = 10;

/// The answers as they came.
#[derive(Debug)]
pub(super) struct Sample {
    time: SystemTime,
    pub(super) stats: Stats,
    raw_stats: Value,
    /// `None` where a loop did not tell them.
    pub(super) settings: Option<Settings>,
    raw_settings: Value,
    /// Or why they cannot be listed.
    pub(super) connections: Result<List, String>,
    raw_connections: Value,
    pub(super) warnings: Warnings,
    raw_warnings: Value,
}

/// `/stats`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_seconds: f64,
    pub(super) stage: String,
    pub(super) reactors: usize,
    pub(super) connections: Counts,
    pub(super) frames: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) buffered_bytes: u64,
    pub(super) buffered_limit_bytes: u64,
    pub(super) accept_pauses: u64,
    pub(super) accept_waits: u64,
    pub(super) descriptors: Descriptors,
    pub(super) turn_duration_seconds: Option<Histogram>,
    pub(super) listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) connections: Counts,
    pub(super) frames: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) open: u64,
    /// Only of all listeners together.
    pub(super) limit: Option<u64>,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) closed: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Descriptors {
    pub(super) open: Option<u64>,
    pub(super) limit: Option<u64>,
}

/// Cumulative.
#[derive(Debug, Deserialize)]
pub(super) struct Histogram {
    buckets: Vec<Bucket>,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    /// The last one has no bound.
    le: Option<f64>,
    count: u64,
}

/// `/limits`, but for those that `/stats` has, too. `None` is no limit.
#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    pub(super) max_connections_per_ip: Option<u64>,
    pub(super) idle_timeout_seconds: Option<f64>,
    pub(super) frame_timeout_seconds: Option<f64>,
    pub(super) handshake_timeout_seconds: Option<f64>,
    pub(super) write_timeout_seconds: Option<f64>,
}

/// `/connections`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) total: u64,
    pub(super) connections: Vec<Connection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) peer: Option<String>,
    pub(super) listener: String,
    pub(super) state: String,
    pub(super) age_seconds: f64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) frames: u64,
    pub(super) held_bytes: u64,
    pub(super) owed_bytes: u64,
    pub(super) waits_for: String,
    /// Only of TCP.
    pub(super) rtt_seconds: Option<f64>,
    pub(super) retransmissions: Option<u64>,
    pub(super) unsent_bytes: Option<u64>,
}

/// `/warnings`, the newest first.
#[derive(Debug, Deserialize)]
pub(super) struct Warnings {
    pub(super) total: u64,
    pub(super) warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) time: String,
    pub(super) level: String,
    pub(super) message: String,
    pub(super) count: u64,
}

impl Sample {
    pub(super) fn take(port: &AdminPort) -> Result<Self, Failure> {
        let time = SystemTime::now();
        let is_other = |_| port.is_other("its answer has other members");
        let json = |path: &str| match port.get(path)? {
            Answer::Json(value) => Ok(value),
            Answer::Unavailable(why) => Err(Failure::Failed(format!("{}: {why}", port.address))),
        };
        let raw_stats = json("/stats")?;
        let stats = Stats::deserialize(&raw_stats).map_err(is_other)?;
        let raw_warnings = json("/warnings")?;
        let warnings = Warnings::deserialize(&raw_warnings).map_err(is_other)?;
        let (settings, raw_settings) = match port.get("/limits")? {
            Answer::Json(value) => (Some(Settings::deserialize(&value).map_err(is_other)?), value),
            Answer::Unavailable(why) => (None, json!({ "error": why })),
        };
        let (connections, raw_connections) =
            match port.get(&format!("/connections?limit={CONNECTIONS}"))? {
                Answer::Json(value) => (Ok(List::deserialize(&value).map_err(is_other)?), value),
                Answer::Unavailable(why) => {
                    let raw = json!({ "error": why });
                    (Err(why), raw)
                }
            };
        Ok(Self {
            time,
            stats,
            raw_stats,
            settings,
            raw_settings,
            connections,
            raw_connections,
            warnings,
            raw_warnings,
        })
    }

    /// All of it as one line.
    pub(super) fn json(&self, address: &str) -> String {
        let value = json!({
            "address": address,
            "time": humantime::format_rfc3339_millis(self.time).to_string(),
            "stats": self.raw_stats,
            "limits": self.raw_settings,
            "connections": self.raw_connections,
            "warnings": self.raw_warnings,
        });
        format!("{value}\n")
    }
}

impl Stats {
    /// The daemon's own time between two samples; `None` where they are of two daemons, or of one moment.
    pub(super) fn seconds_since(&self, before: &Self) -> Option<f64> {
        let seconds = self.uptime_seconds - before.uptime_seconds;
        (self.pid == before.pid && seconds > 0.0).then_some(seconds)
    }
}

impl Histogram {
    /// The value below which `share` of what was counted since `before` is; `None` where that is nothing.
    pub(super) fn quantile(&self, before: &Self, share: f64) -> Option<f64> {
        let counts = self.buckets.iter().zip(&before.buckets);
        let counts =
            counts.map(|(now, then)| (now.le, now.count.saturating_sub(then.count) as f64));
        let all = counts.clone().next_back().map_or(0.0, |(_, count)| count);
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            // The last bucket has no end: its beginning is what is known.
            let Some(bound) = bound else { break };
            if all > 0.0 && count >= share * all {
                // Within a bucket all values are taken to be equally frequent.
                return Some(lower + (bound - lower) * (share * all - below) / (count - below));
            }
            (lower, below) = (bound, count);
        }
        (all > 0.0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 3]) -> Histogram {
        let bounds = [Some(1.0), Some(2.0), None];
        let buckets = bounds.into_iter().zip(counts).map(|(le, count)| Bucket { le, count });
        Histogram { buckets: buckets.collect() }
    }

    #[test]
    fn a_quantile_is_of_what_was_counted_between() {
        let before = histogram([100, 100, 100]);
        assert_eq!(before.quantile(&before, 0.5), None);
        let now = histogram([150, 200, 200]);
        assert_eq!(now.quantile(&before, 0.5), Some(1.0));
        assert_eq!(now.quantile(&before, 0.75), Some(1.5));
        assert_eq!(histogram([100, 100, 101]).quantile(&before, 0.5), Some(2.0), "at least");
    }
}
