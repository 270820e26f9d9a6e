//! The report as one HTML page that fetches nothing, light or dark as the reader's system is set.

use std::fmt::{self, Write};

use resound::plural::frames;

use super::{
    Latency, Report, WindowReport,
    chart::{Chart, Scale, Series, Unit},
    text,
};
use crate::load::units::{Bytes, Micros, Rate};

const STYLE: &str = include_str!("report.css");

/// Frames a second. With fewer, the axis would have no whole numbers.
const FEW: f64 = 5.0;

/// The whole page.
pub(crate) fn page(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let heading = escaped(&text::heading(report));
    write!(
        out,
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport \
         content=\"width=device-width, initial-scale=1\">\n<title>resound bench: {heading}</title>\n<style>\n{STYLE}</style>\n\
         <main>\n<header><h1>resound bench</h1><p>{heading}</p></header>\n"
    )?;
    tiles(&mut out, report)?;
    for warning in &report.warnings {
        writeln!(out, "<p class=warning><b>Warning</b> {}</p>", with_flags(warning))?;
    }
    if let Some(difference) = &report.first_difference {
        let (story, dump) = difference.split_once('\n').unwrap_or((difference, ""));
        writeln!(
            out,
            "<section class=wrong><h2>The first wrong answer</h2><p>{}</p><pre>{}</pre></section>",
            escaped(story),
            escaped(dump.trim_end())
        )?;
    }
    // Without a frame there is nothing to draw.
    if report.frames > 0 {
        out.push_str("<div class=charts>\n");
        for chart in charts(report) {
            chart.svg(&mut out)?;
        }
        out.push_str("</div>\n");
    }
    out.push_str("<div class=tables>\n");
    latencies(&mut out, report)?;
    table(
        &mut out,
        "Errors",
        report.errors_by_name.iter().map(|(name, count)| (name.as_str(), count.to_string())),
    )?;
    table(&mut out, "Configuration", configuration(report).into_iter())?;
    out.push_str("</div>\n");
    ramp(&mut out, report)?;
    writeln!(
        out,
        "<footer>{}, {}</footer>\n</main>",
        escaped(&report.tool),
        date(report.started_at)
    )?;
    Ok(out)
}

fn tiles(out: &mut String, report: &Report) -> fmt::Result {
    let latency = &report.latency_us;
    let time = |micros| measured(latency, micros);
    let mut tiles = vec![
        (
            "frames a second",
            Rate(report.frames_per_s).to_string(),
            format!("{:.1} MB/s each way", report.megabytes_per_s),
        ),
        ("p50", time(latency.p50), format!("p90 {}", time(latency.p90))),
        ("p99", time(latency.p99), format!("max {}", time(latency.max))),
        ("errors", report.errors.to_string(), format!("of {}", frames(report.frames))),
    ];
    let client = format!("client {:.0} %", report.client_cpu_share * 100.0);
    match report.server {
        None => tiles.push((
            "client CPU",
            format!("{:.0} %", report.client_cpu_share * 100.0),
            "of one CPU".to_owned(),
        )),
        Some(server) => {
            let memory = Bytes(server.peak_memory_bytes as f64);
            tiles.push((
                "server CPU a frame",
                Micros(server.cpu_us_per_frame).to_string(),
                format!("{:.0} % of a CPU, {client}", server.cpu_share * 100.0),
            ));
            tiles.push(("server memory", memory.to_string(), "at its peak".to_owned()));
        }
    }
    out.push_str("<dl class=tiles>\n");
    for (name, value, note) in tiles {
        // No line break between a number and its sign.
        let note = note.replace(" %", "\u{a0}%");
        let bad = if name == "errors" && report.errors > 0 { " class=bad" } else { "" };
        writeln!(out, "<div{bad}><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>")?;
    }
    out.push_str("</dl>\n");
    Ok(())
}

fn charts(report: &Report) -> Vec<Chart> {
    let windows = &report.windows;
    let time = Scale::Linear { from: 0.0, to: report.duration_s.max(1e-3) };
    let nines: Vec<(f64, f64)> =
        report.distribution.iter().map(|&(share, micros)| (1.0 / (1.0 - share), micros)).collect();
    // The maximum would be at infinity. It is drawn at the share of one frame.
    let count = report.latency_us.count.max(10) as f64;
    let nines: Vec<(f64, f64)> = nines.into_iter().map(|(x, y)| (x.min(count), y)).collect();
    // Each point is in the middle of its window.
    let length = windows.get(1).map_or(report.duration_s, |window| window.start_s);
    let over_time = |of: fn(&WindowReport) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        windows.iter().map(|window| (window.start_s + length / 2.0, of(window))).collect()
    };
    let rate = over_time(|window| Some(window.frames_per_s));
    let most =
        rate.iter().filter_map(|point| point.1).chain(report.config.rate).fold(0.0, f64::max);
    let mut rates = vec![Series { name: "came back", class: "a", points: rate }];
    if let Some(asked) = report.config.rate {
        rates.push(Series {
            name: "asked for",
            class: "asked",
            points: vec![(0.0, Some(asked)), (report.duration_s, Some(asked))],
        });
    }
    // A window in which no frame came back has no latency.
    fn latency(micros: f64) -> Option<f64> {
        (micros > 0.0).then_some(micros)
    }
    let latencies = vec![
        Series { name: "max", class: "c", points: over_time(|window| latency(window.max_us)) },
        Series { name: "p99", class: "b", points: over_time(|window| latency(window.p99_us)) },
        Series { name: "p50", class: "a", points: over_time(|window| latency(window.p50_us)) },
    ];
    let of_windows = windows.iter().flat_map(|window| [window.p50_us, window.max_us]);
    vec![
        Chart {
            title: "Latency by percentile",
            x: (Scale::Logarithmic { from: 1.0, to: count }, Unit::Nines),
            y: (Scale::decades(nines.iter().map(|point| point.1)), Unit::Micros),
            series: vec![Series {
                name: "latency",
                class: "a",
                points: nines.into_iter().map(|(x, y)| (x, Some(y))).collect(),
            }],
        },
        Chart {
            title: "Frames a second",
            x: (time, Unit::Seconds),
            y: (Scale::from_zero(most.max(FEW)), Unit::Rate),
            series: rates,
        },
        Chart {
            title: "Latency over time",
            x: (time, Unit::Seconds),
            y: (Scale::decades(of_windows), Unit::Micros),
            series: latencies,
        },
    ]
}

fn latencies(out: &mut String, report: &Report) -> fmt::Result {
    let latency = &report.latency_us;
    let time = |micros| measured(latency, micros);
    let rows = [
        ("frames", latency.count.to_string()),
        ("mean", time(latency.mean)),
        ("p50", time(latency.p50)),
        ("p90", time(latency.p90)),
        ("p99", time(latency.p99)),
        ("p99.9", time(latency.p99_9)),
        ("p99.99", time(latency.p99_99)),
        ("max", time(latency.max)),
    ];
    table(out, "Latency", rows.into_iter())
}

fn configuration(report: &Report) -> Vec<(&'static str, String)> {
    let config = &report.config;
    let mut rows = vec![
        ("target", escaped(&config.target)),
        ("connections", config.connections.to_string()),
        ("size", escaped(&config.size)),
        ("duration", format!("{} s after {} s of warm-up", report.duration_s, config.warm_up_s)),
        ("threads", config.threads.to_string()),
        ("timeout", format!("{} s", config.timeout_s)),
    ];
    match (config.rate, &config.arrivals) {
        (Some(rate), Some(arrivals)) => {
            rows.push(("loop", format!("open, {}/s, {arrivals}", Rate(rate))));
        }
        _ => rows.push(("loop", format!("closed, depth {}", config.depth.unwrap_or(1)))),
    }
    let more = [
        ("churn", config.churn.map(|trips| format!("after {}", text::round_trips(trips)))),
        ("connect rate", config.connect_rate.map(|rate| format!("{}/s", Rate(rate)))),
        ("idle", (config.hold > 0).then(|| config.hold.to_string())),
        ("sources", (config.sources > 1).then(|| config.sources.to_string())),
    ];
    rows.extend(more.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
    rows
}

fn table<'n>(
    out: &mut String,
    title: &str,
    rows: impl Iterator<Item = (&'n str, String)>,
) -> fmt::Result {
    writeln!(out, "<section><h2>{title}</h2><table>")?;
    for (name, value) in rows {
        writeln!(out, "<tr><th>{name}</th><td>{value}</td></tr>")?;
    }
    out.push_str("</table></section>\n");
    Ok(())
}

fn ramp(out: &mut String, report: &Report) -> fmt::Result {
    let Some(ramp) = &report.ramp else { return Ok(()) };
    let knee = ramp.knee_per_s.map_or_else(
        || "did not hold at any rate".to_owned(),
        |knee| format!("holds up to {} frames/s", Rate(knee)),
    );
    writeln!(
        out,
        "<section class=wide><h2>{} {knee}</h2><div class=scroll><table>\
         <tr><th>asked<th><th>came<th>p50<th>p99<th>errors<th>client CPU</tr>",
        escaped(&ramp.condition)
    )?;
    for step in &ramp.steps {
        writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.0} %</tr>",
            Rate(step.rate),
            if step.held { "holds" } else { "too much" },
            Rate(step.frames_per_s),
            Micros(step.p50_us),
            Micros(step.p99_us),
            step.errors,
            step.client_cpu_share * 100.0
        )?;
    }
    out.push_str("</table></div></section>\n");
    Ok(())
}

/// A latency, where there is any.
fn measured(latency: &Latency, micros: f64) -> String {
    if latency.count == 0 { "–".to_owned() } else { Micros(micros).to_string() }
}

/// Text with no line break inside a flag.
fn with_flags(text: &str) -> String {
    let words = text.split(' ').map(escaped).map(|word| {
        if word.contains("--") { format!("<span class=flag>{word}</span>") } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Seconds since 1970 as a date and a time.
fn date(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::condition::tests::report;

    #[test]
    fn the_page_holds_everything_and_asks_for_nothing() {
        let mut report = report();
        report.name = "a <server> & more".to_owned();
        report.warnings.push("p99<2ms: --ramp".to_owned());
        report.distribution = vec![(0.0, 80.0), (0.5, 90.0), (0.99, 200.0), (1.0, 1500.0)];
        report.windows = (0..3)
            .map(|index| WindowReport {
                start_s: f64::from(index),
                frames_per_s: 100_000.0,
                p50_us: 90.0,
                p99_us: 200.0,
                max_us: 300.0,
                errors: 0,
            })
            .collect();
        let page = page(&report).unwrap();
        assert!(
            page.contains("a &lt;server&gt; &amp; more")
                && page.contains("p99&lt;2ms: <span class=flag>--ramp</span>"),
            "{page}"
        );
        assert_eq!(page.matches("<svg").count(), 3);
        for fetches in ["http:", "https:", "src=", "@import", "url(", "<script", "<link"] {
            assert!(!page.contains(fetches), "{fetches}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn windows_without_a_frame_are_a_gap_in_the_latency_and_zero_in_the_rate() {
        let mut report = report();
        report.distribution = vec![(0.0, 80.0), (1.0, 1500.0)];
        let window = |index| WindowReport {
            start_s: f64::from(index),
            frames_per_s: if index == 2 { 0.0 } else { 100_000.0 },
            p50_us: if index == 2 { 0.0 } else { 90.0 },
            p99_us: if index == 2 { 0.0 } else { 200.0 },
            max_us: if index == 2 { 0.0 } else { 300.0 },
            errors: 0,
        };
        report.windows = (0..5).map(window).collect();
        let page = page(&report).unwrap();
        let lines = |class: &str| -> Vec<usize> {
            let begins = format!("<path class=\"line {class}\" d=\"");
            let lines = page.split(&begins).skip(1).filter_map(|line| line.split('"').next());
            lines.map(|line| line.matches('M').count()).collect()
        };
        assert_eq!(lines("a"), [1, 1, 2], "by percentile, the rate, p50 over time");
        assert_eq!((lines("b"), lines("c")), (vec![2], vec![2]), "p99 and max over time");
    }

    #[test]
    fn a_page_of_nothing_is_still_a_page() {
        let mut report = report();
        report.latency_us = Default::default();
        report.frames = 0;
        report.first_difference = Some("MISMATCH: <1>\n  00\n".to_owned());
        let page = page(&report).unwrap();
        assert!(page.contains("<dd>–<small>") && !page.contains("<svg"), "{page}");
        assert!(page.contains("<p>MISMATCH: &lt;1&gt;</p><pre>  00</pre>"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
