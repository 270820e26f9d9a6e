//! The report for people, on standard output.

use std::fmt::{self, Write};

use resound::plural::{Plural, connections};

use super::{Part, Ramp, Report};
use crate::load::{
    check::fault::Fault,
    units::{Bytes, Micros, Rate},
};

/// The whole report.
pub(crate) fn text(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let config = &report.config;
    writeln!(out, "{}", heading(report))?;
    writeln!(out)?;
    let early = if report.ended_early { ", ended early" } else { "" };
    let down = if report.down_s > 0.0 {
        format!(", the server down for {:.2} s of it", report.down_s)
    } else {
        String::new()
    };
    let frames = format!("{} in {:.2} s{early}{down}", report.frames, report.duration_s);
    line(&mut out, "frames", frames)?;
    let asked = config.rate.map(|rate| format!(", {}/s asked for", Rate(rate))).unwrap_or_default();
    let rate = format!(
        "{}/s{asked}, {:.1} MB/s each way",
        Rate(report.frames_per_s),
        report.megabytes_per_s
    );
    line(&mut out, "rate", rate)?;
    latency(&mut out, report)?;
    of_connections(&mut out, report)?;
    if let Some(handshakes) = &report.handshakes {
        line(&mut out, "handshakes", handshakes)?;
    }
    errors(&mut out, report)?;
    let cpu = format!("client {:.0} % of a CPU", report.client_cpu_share * 100.0);
    match &report.server {
        None => line(&mut out, "cpu", cpu)?,
        Some(server) => {
            let share = server.cpu_share * 100.0;
            let each = server.cpu_us_per_frame;
            line(&mut out, "cpu", format!("{cpu}, server {share:.0} %: {} a frame", Micros(each)))?;
            let peak = Bytes(server.peak_memory_bytes as f64);
            let switches = server.context_switches as f64 * 1000.0 / report.frames.max(1) as f64;
            let rest =
                format!("peak memory {peak}, {switches:.1} context switches per 1000 frames");
            line(&mut out, "server", rest)?;
        }
    }
    if !report.parts.is_empty() {
        out.push('\n');
        parts(&mut out, &report.parts)?;
    }
    if let Some(ramp) = &report.ramp {
        out.push('\n');
        steps(&mut out, ramp)?;
    }
    if let Some(difference) = &report.first_difference {
        write!(out, "\nthe first wrong answer:\n{difference}")?;
    }
    for warning in &report.warnings {
        write!(out, "\nwarning: {}\n", wrapped(warning, 100))?;
    }
    Ok(out)
}

fn line(out: &mut String, name: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(out, "  {name:<12}{text}")
}

/// `1 round trip`.
pub(crate) const fn round_trips(count: u64) -> Plural<'static, u64> {
    Plural(count, ["round trip", "round trips"])
}

/// The load in one line.
pub(crate) fn heading(report: &Report) -> String {
    let config = &report.config;
    let count = connections(config.connections);
    let mut text = format!("{}: {count}", report.name);
    if report.name != config.target {
        text = format!("{} at {}: {count}", report.name, config.target);
    }
    match (config.rate, &config.arrivals) {
        (Some(rate), Some(arrivals)) => {
            let _ = write!(text, ", open loop, {}/s, {arrivals}", Rate(rate));
        }
        _ => {
            let _ = write!(text, ", closed loop, depth {}", config.depth.unwrap_or(1));
        }
    }
    let _ = write!(text, ", size {}", config.size);
    if let Some(trips) = config.churn {
        let _ = write!(text, ", churn after {}", round_trips(trips));
    }
    if config.hold > 0 {
        let _ = write!(text, ", {} idle", config.hold);
    }
    if config.threads > 1 {
        let _ = write!(text, ", {}", Plural(config.threads, ["thread", "threads"]));
    }
    if !report.parts.is_empty() {
        let _ = write!(text, ", {} merged", Plural(report.parts.len(), ["report", "reports"]));
    }
    text
}

fn latency(out: &mut String, report: &Report) -> fmt::Result {
    let latency = &report.latency_us;
    if latency.count == 0 {
        return line(out, "latency", "none: no frame came back");
    }
    let percentiles = [
        ("mean", latency.mean),
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p99_9),
        ("p99.99", latency.p99_99),
        ("max", latency.max),
    ];
    let (mut names, mut values) = (String::new(), String::new());
    for (name, value) in percentiles {
        write!(names, "{name:>9}")?;
        write!(values, "{:>9}", Micros(value))?;
    }
    line(out, "latency", names)?;
    line(out, "", values)?;
    if report.unanswered > 0 {
        let frames = Plural(report.unanswered, ["frame", "frames"]);
        line(
            out,
            "",
            format!(
                "{frames} did not come back or were not sent in time, and count with the time waited"
            ),
        )?;
    }
    Ok(())
}

fn of_connections(out: &mut String, report: &Report) -> fmt::Result {
    let connections = &report.connections;
    if connections.opened == 0 {
        return Ok(());
    }
    let connect = &connections.connect_us;
    let mut text = format!("{} opened", connections.opened);
    if report.config.churn.is_some() {
        write!(text, ", {}/s opened, used and closed", Rate(connections.cycles_per_s))?;
    }
    write!(text, ", connect p50 {} p99 {}", Micros(connect.p50), Micros(connect.p99))?;
    if report.config.hold > 0 {
        let idle = Plural(connections.held, ["idle one", "idle ones"]);
        write!(text, "; {idle} echoed at the end")?;
        if let Some(server) = report.server {
            let each = Bytes(server.memory_per_connection_bytes);
            write!(text, ", {each} of the server's memory each")?;
        }
    }
    line(out, "connections", text)
}

/// Each error by its name, with what it means.
fn errors(out: &mut String, report: &Report) -> fmt::Result {
    line(out, "errors", report.errors)?;
    for fault in Fault::ALL {
        let count = report.errors_by_name.get(fault.name()).copied().unwrap_or(0);
        if count > 0 {
            line(out, "", format!("{count:>8} {:<12}{}", fault.name(), fault.means()))?;
        }
    }
    Ok(())
}

/// A row for each report that was merged.
fn parts(out: &mut String, parts: &[Part]) -> fmt::Result {
    writeln!(
        out,
        "  {:>11}{:>10}{:>10}{:>10}{:>8}{:>8}",
        "connections", "rate", "p50", "p99", "errors", "client"
    )?;
    for part in parts {
        writeln!(
            out,
            "  {:>11}{:>8}/s{:>10}{:>10}{:>8}{:>6.0} %  {}",
            part.connections,
            Rate(part.frames_per_s).to_string(),
            Micros(part.p50_us),
            Micros(part.p99_us),
            part.errors,
            part.client_cpu_share * 100.0,
            part.file
        )?;
    }
    Ok(())
}

fn steps(out: &mut String, ramp: &Ramp) -> fmt::Result {
    match ramp.knee_per_s {
        Some(knee) => writeln!(out, "{} holds up to {} frames/s", ramp.condition, Rate(knee))?,
        None => writeln!(out, "{} did not hold at any rate", ramp.condition)?,
    }
    writeln!(
        out,
        "  {:>9}{:>10}{:>10}{:>10}{:>8}{:>8}",
        "asked", "came", "p50", "p99", "errors", "client"
    )?;
    for step in &ramp.steps {
        writeln!(
            out,
            "  {:>9}{:>10}{:>10}{:>10}{:>8}{:>6.0} %  {}",
            Rate(step.rate).to_string(),
            Rate(step.frames_per_s).to_string(),
            Micros(step.p50_us),
            Micros(step.p99_us),
            step.errors,
            step.client_cpu_share * 100.0,
            if step.held { "holds" } else { "too much" }
        )?;
    }
    Ok(())
}

/// Wraps a long text at spaces.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::condition::tests::report;

    #[test]
    fn the_numbers_are_there_with_their_units() {
        let mut report = report();
        report.errors = 3;
        report.errors_by_name.insert("TIMEOUT".to_owned(), 2);
        report.errors_by_name.insert("MISMATCH".to_owned(), 1);
        report.warnings.push("beware of this".to_owned());
        report.unanswered = 7;
        report.down_s = 2.5;
        let text = text(&report).unwrap();
        for says in [
            "10 connections, closed loop, depth 1, size 64",
            "1000000 in 10.00 s, the server down for 2.50 s of it",
            "7 frames did not come back or were not sent in time, and count with the time waited",
            "100k/s, 6.8 MB/s each way",
            "p99.99",
            "1.50ms",
            "2 TIMEOUT     nothing came back in time",
            "1 MISMATCH    other bytes came back than were sent",
            "client 50 % of a CPU",
            "warning: beware of this",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn long_texts_are_broken_at_spaces() {
        let text = wrapped("one two three four", 9);
        assert_eq!(text, "one two\n  three\n  four");
    }
}
