//! `GET /metrics`: the counters in the text formats of `OpenMetrics` 1.0 and Prometheus (0.0.4).

use std::{
    borrow::Borrow,
    fmt::{Display, Write},
    fs,
};

use resound::{
    Counter, Counts, Histogram, ListenerStats, Reason,
    protocol::{
        fault::KINDS,
        http::service::{HttpRequest, HttpResponse},
    },
};

use super::{
    Daemon, Faulty, Stage,
    counted::{self, Listener},
    descriptors,
};
use crate::common::tls::{self, Failed, Handshakes};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, in the format that `Accept` asks for: Prometheus' own unless it names `OpenMetrics`.
pub(super) fn response(daemon: &Daemon, request: &HttpRequest<'_>) -> HttpResponse {
    let accept = request.field("Accept").unwrap_or_default();
    let is_open = accept.contains("application/openmetrics-text");
    let mut exposition = Exposition { text: String::new(), is_open };
    write(daemon, &mut exposition);
    if is_open {
        exposition.text.push_str("# EOF\n");
    }
    HttpResponse {
        status: "200 OK",
        content_type: if is_open { OPEN_METRICS } else { PROMETHEUS },
        fields: "Cache-Control: no-store\r\n",
        body: exposition.text.into_bytes(),
    }
}

/// A text in one of the two formats.
struct Exposition {
    text: String,
    is_open: bool,
}

impl Exposition {
    /// A counter, whose `name` is without `_total`, with a sample for each set of labels.
    fn counter<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        // OpenMetrics names the family without the suffix, Prometheus with it.
        let family = if self.is_open { name.to_owned() } else { format!("{name}_total") };
        self.family(&family, "counter", help);
        for (labels, value) in samples {
            self.sample(&format!("{name}_total"), &labels, &value);
        }
    }

    fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        self.family(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, &labels, &value);
        }
    }

    /// A histogram for each set of labels.
    fn histogram<H: Borrow<Histogram>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, H)>,
    ) {
        self.family(name, "histogram", help);
        for (labels, histogram) in samples {
            let histogram = histogram.borrow();
            let mut count = 0;
            for (at_most, up_to) in histogram.buckets() {
                let labels = format!("{labels},le=\"{}\"", bound(at_most));
                self.sample(&format!("{name}_bucket"), &labels, &up_to);
                count = up_to;
            }
            self.sample(&format!("{name}_sum"), &labels, &histogram.sum());
            // The same as the last bucket, also where another thread counts meanwhile.
            self.sample(&format!("{name}_count"), &labels, &count);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: &impl Display) {
        let _ = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }
}

/// A sample without labels.
fn one<V>(value: V) -> [(String, V); 1] {
    [(String::new(), value)]
}

/// A label; quotes, backslashes and line feeds are escaped as both formats ask.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}

/// The upper bound of a bucket, in the canonical form of `OpenMetrics`, which Prometheus takes too.
fn bound(bound: f64) -> String {
    if bound == f64::INFINITY {
        return "+Inf".to_owned();
    }
    if bound == 0.0 || bound >= 1e-4 {
        return format!("{bound:?}");
    }
    let text = format!("{bound:e}");
    let (digits, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
    format!("{digits}e-{exponent:0>2}")
}

fn write(daemon: &Daemon, to: &mut Exposition) {
    let listeners: Vec<(Listener, String, Counts)> = counted::listeners(daemon)
        .into_iter()
        .map(|listener| {
            let (label, counts) = (label("listener", &listener.name), listener.counts());
            (listener, label, counts)
        })
        .collect();
    let of_each = |count: fn(&Counts) -> &Counter| {
        listeners.iter().map(move |(_, label, counts)| (label.clone(), count(counts).value()))
    };
    let open = listeners.iter().flat_map(|(listener, label, _)| {
        listener.loops.iter().map(move |(index, stats)| {
            (format!("{label},reactor=\"{index}\""), stats.counts.open.value())
        })
    });
    to.gauge("resound_connections_open", "Connections open now.", open);
    to.gauge(
        "resound_connections_limit",
        "Connections that may be open at once, in all reactors.",
        one(daemon.limits.max_connections()),
    );
    to.counter(
        "resound_connections_accepted",
        "Connections accepted.",
        of_each(|counts| &counts.opened),
    );
    to.counter(
        "resound_connections_adopted",
        "Connections taken over from the process that this one has replaced.",
        of_each(|counts| &counts.adopted),
    );
    to.counter(
        "resound_connections_refused",
        "Connections closed as soon as they were accepted, because a limit was reached.",
        of_each(|counts| &counts.refused),
    );
    let closed = listeners.iter().flat_map(|(_, label, counts)| {
        Reason::ALL.iter().map(move |&reason| {
            (format!("{label},reason=\"{}\"", reason.as_str()), counts.closed(reason))
        })
    });
    to.counter("resound_connections_closed", "Connections closed, by reason.", closed);
    to.counter("resound_received_bytes", "Bytes received.", of_each(|counts| &counts.received));
    to.counter("resound_sent_bytes", "Bytes sent.", of_each(|counts| &counts.sent));
    to.counter(
        "resound_frames",
        "Frames, lines, messages, requests and datagrams answered.",
        of_each(|counts| &counts.frames),
    );
    to.gauge(
        "resound_buffered_bytes",
        "Memory of the connections' own buffers.",
        one(daemon.buffered()),
    );
    to.gauge(
        "resound_buffered_limit_bytes",
        "Memory that the connections' own buffers may have (--max-memory).",
        one(daemon.limits.max_memory()),
    );
    let rejected = listeners.iter().flat_map(|(_, label, counts)| {
        [
            ("truncated", &counts.truncated),
            ("too long", &counts.too_long),
            ("malformed", &counts.malformed),
        ]
        .map(|(reason, counter)| (format!("{label},reason=\"{reason}\""), counter.value()))
    });
    to.counter(
        "resound_frames_rejected",
        "Frames cut short by the peer, or refused, by reason.",
        rejected,
    );
    to.counter(
        "resound_datagrams_dropped",
        "UDP datagrams that got no answer.",
        of_each(|counts| &counts.datagrams_dropped),
    );
    let faults = daemon.faulty.iter().flat_map(|Faulty { name, faults, .. }| {
        let listener = label("listener", name);
        let counts = KINDS.iter().zip(faults.counts());
        counts.map(move |(entry, count)| (format!("{listener},fault=\"{}\"", entry.name), count))
    });
    to.counter("resound_faults", "Faults on demand that have happened, by kind.", faults);
    let handshakes: Vec<(String, Handshakes)> = daemon
        .acceptors
        .iter()
        .map(|(name, acceptor)| (label("listener", name), tls::handshakes(acceptor)))
        .collect();
    let complete = handshakes.iter().flat_map(|(label, handshakes)| {
        [("full", handshakes.full), ("resumed", handshakes.resumed)]
            .map(|(kind, count)| (format!("{label},kind=\"{kind}\""), count))
    });
    to.counter("resound_tls_handshakes", "TLS handshakes completed, by kind.", complete);
    let failed = handshakes.iter().flat_map(|(label, handshakes)| {
        handshakes.failed.iter().map(move |Failed { sender, alert, count }| {
            (format!("{label},alert=\"{alert}\",sender=\"{sender}\""), *count)
        })
    });
    to.counter(
        "resound_tls_handshakes_failed",
        "TLS handshakes that failed, by the alert that ended them and who sent it.",
        failed,
    );
    to.counter(
        "resound_accept_pauses",
        "Times that accepting paused because descriptors or kernel memory ran out.",
        of_each(|counts| &counts.accept_pauses),
    );
    to.counter(
        "resound_accept_waits",
        "Times that accepting waited because the limit of connections was reached.",
        of_each(|counts| &counts.accept_waits),
    );
    let histogram = |of: fn(&ListenerStats) -> &Histogram| {
        listeners
            .iter()
            .filter_map(move |(listener, label, _)| Some((label.clone(), listener.histogram(of)?)))
    };
    to.histogram(
        "resound_connection_duration_seconds",
        "How long connections were open; each counts when it closes.",
        histogram(|stats| &stats.connection_durations),
    );
    to.histogram(
        "resound_accepts_per_wakeup",
        "Connections that a listener accepted at a time.",
        histogram(|stats| &stats.accepts_per_wakeup),
    );
    to.histogram(
        "resound_turn_duration_seconds",
        "How long a reactor was busy after a poll: all others wait for that long.",
        daemon
            .loops
            .iter()
            .enumerate()
            .map(|(index, one)| (format!("reactor=\"{index}\""), &one.stats.turn_durations)),
    );
    let stage = daemon.lifecycle.stage();
    to.gauge(
        "resound_stage",
        "1 for the stage that the daemon is in, 0 for the others.",
        Stage::ALL.map(|of| (format!("stage=\"{}\"", of.as_str()), u8::from(of == stage))),
    );
    to.gauge(
        "resound_build_info",
        "Always 1; the version is a label.",
        [(format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1)],
    );
    process(daemon, to);
}

/// What Prometheus' client libraries tell of a process. What /proc does not tell is left out.
fn process(daemon: &Daemon, to: &mut Exposition) {
    // proc_pid_stat(5): the command in parentheses may have spaces in it; utime is field 14, starttime field 22.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_command = stat.rsplit(") ").next().unwrap_or_default();
    let number = |field: usize| {
        behind_command.split(' ').nth(field - 3).and_then(|text| text.parse::<u64>().ok())
    };
    #[expect(clippy::cast_precision_loss, reason = "ticks since the start stay far below 2^52")]
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    if let (Some(user), Some(system)) = (number(14), number(15)) {
        to.counter(
            "process_cpu_seconds",
            "CPU time, user and system.",
            one(seconds(user + system)),
        );
    }
    // From the same two numbers each time: alerts take a change for a restart, so it must not follow the clock.
    if let (Some(start), Some(boot)) = (number(22), boot_time()) {
        to.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            one(boot + seconds(start)),
        );
    }
    if let (Some(size), Some(pages)) = (number(23), number(24)) {
        let resident = pages * rustix::param::page_size() as u64;
        to.gauge("process_virtual_memory_bytes", "Virtual memory.", one(size));
        to.gauge("process_resident_memory_bytes", "Resident memory.", one(resident));
    }
    if let Some(open) = descriptors::open(&daemon.tables) {
        to.gauge(
            "process_open_fds",
            "Open file descriptors, in the fullest table of the process.",
            one(open),
        );
    }
    if let Some(limit) = descriptors::limit() {
        to.gauge("process_max_fds", "File descriptors that may be open in a table.", one(limit));
    }
}

/// When the system was booted, in seconds since 1970 (`proc_stat(5)`).
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_canonical() {
        for (number, text) in [
            (1e-5, "1e-05"),
            (2.5e-5, "2.5e-05"),
            (1e-4, "0.0001"),
            (0.0025, "0.0025"),
            (0.0, "0.0"),
            (1.0, "1.0"),
            (86_400.0, "86400.0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(bound(number), text);
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("listener", "unix:a\"b\\c\nd"), r#"listener="unix:a\"b\\c\nd""#);
    }
}
