//! A sample as text: the same as the live page shows.

use super::{
    sample::{Connection, Counts, List, Sample, Settings, Stats},
    table::{self, Column, cut, left, right},
};
use crate::{
    common::printable::printable,
    load::units::{Bytes, Micros, Rate},
};

/// Warnings that are shown, of those that the server keeps.
const WARNINGS: usize = 5;

/// How a line stands out, on a terminal with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emphasis {
    None,
    Title,
    Caution,
    Alarm,
}

impl Emphasis {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Title => "1",
            Self::Caution => "33",
            Self::Alarm => "31",
        }
    }
}

/// Lines in the making.
struct Text {
    width: usize,
    has_colors: bool,
    lines: Vec<String>,
}

impl Text {
    /// Every line passes here: what peers and servers chose in it can do nothing to a terminal.
    fn line(&mut self, emphasis: Emphasis, line: &str) {
        let line = printable(line.as_bytes()).replace(['\n', '\t'], " ");
        let line = cut(&line, self.width);
        self.lines.push(match emphasis {
            Emphasis::None => line,
            _ if !self.has_colors => line,
            _ => format!("\x1b[{}m{line}\x1b[0m", emphasis.code()),
        });
    }

    /// Lines with what does not fit into one, the others indented.
    fn wrapped(&mut self, emphasis: Emphasis, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if line.trim().is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= self.width {
                line.push(' ');
                line.push_str(word);
            } else {
                self.line(emphasis, &line);
                line = format!("    {word}");
            }
        }
        self.line(emphasis, &line);
    }

    fn gap(&mut self) {
        self.lines.push(String::new());
    }

    /// A table with an emphasis for each of its rows.
    fn table(&mut self, columns: &[Column], rows: Vec<(Emphasis, Vec<String>)>) {
        let (emphases, cells): (Vec<Emphasis>, Vec<Vec<String>>) = rows.into_iter().unzip();
        let lines = table::lines(columns, &cells, self.width);
        for (line, emphasis) in lines.iter().zip([Emphasis::Title].into_iter().chain(emphases)) {
            self.line(emphasis, line);
        }
    }
}

/// The lines of `now`, none longer than `width`; rates are since `before`.
pub(super) fn lines(
    address: &str,
    now: &Sample,
    before: &Sample,
    width: usize,
    has_colors: bool,
) -> Vec<String> {
    let mut text = Text { width, has_colors, lines: Vec::new() };
    let (stats, earlier) = (&now.stats, &before.stats);
    heading(&mut text, address, stats);
    text.gap();
    rates(&mut text, stats, earlier);
    text.gap();
    limits(&mut text, stats, now.settings.as_ref());
    text.gap();
    listeners(&mut text, stats, earlier);
    closed(&mut text, &stats.connections);
    text.gap();
    connections(&mut text, &now.connections);
    if !now.warnings.warnings.is_empty() {
        text.gap();
        warnings(&mut text, now);
    }
    text.lines
}

fn heading(text: &mut Text, address: &str, stats: &Stats) {
    let Stats { version, stage, pid, .. } = stats;
    let up = duration(stats.uptime_seconds);
    let loops =
        if stats.reactors == 1 { String::new() } else { format!(", {} loops", stats.reactors) };
    let line = format!("resound {version} at {address}: {stage}, up {up}, process {pid}{loops}");
    let emphasis = if stage == "serving" { Emphasis::Title } else { Emphasis::Caution };
    text.line(emphasis, &line);
}

fn rates(text: &mut Text, now: &Stats, before: &Stats) {
    let seconds = now.seconds_since(before);
    let rate = |of: fn(&Stats) -> u64| {
        seconds.map(|seconds| of(now).saturating_sub(of(before)) as f64 / seconds)
    };
    let number =
        |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| Rate(rate).to_string());
    let bytes =
        |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| Bytes(rate).to_string());
    let size = |bytes: u64| Bytes(bytes as f64).to_string();
    let row =
        |name: &str, rate: String, all: String| (Emphasis::None, vec![name.to_owned(), rate, all]);
    let rows = vec![
        row(
            "accepted",
            number(rate(|of| of.connections.accepted)),
            grouped(now.connections.accepted),
        ),
        row("frames", number(rate(|of| of.frames)), grouped(now.frames)),
        row("received", bytes(rate(|of| of.received_bytes)), size(now.received_bytes)),
        row("sent", bytes(rate(|of| of.sent_bytes)), size(now.sent_bytes)),
    ];
    text.table(&[left("RATE", 0), right("A SECOND", 0), right("IN ALL", 1)], rows);
    if let (Some(now), Some(before)) = (&now.turn_duration_seconds, &before.turn_duration_seconds)
        && let Some((half, most)) = now.quantile(before, 0.5).zip(now.quantile(before, 0.99))
    {
        let (half, most) = (Micros(half * 1e6), Micros(most * 1e6));
        text.line(Emphasis::None, &format!("turns     half within {half}, 99 % within {most}"));
    }
}

fn limits(text: &mut Text, stats: &Stats, settings: Option<&Settings>) {
    let size = |bytes: u64| Bytes(bytes as f64).to_string();
    let closed = |reason: &str| stats.connections.closed.get(reason).copied().unwrap_or(0);
    let count: fn(u64) -> String = grouped;
    let mut rows = vec![
        limit(
            "connections",
            stats.connections.open,
            stats.connections.limit.unwrap_or(0),
            count,
            stats.accept_waits + stats.connections.refused,
        ),
        limit(
            "memory of buffers",
            stats.buffered_bytes,
            stats.buffered_limit_bytes,
            size,
            closed("at the memory limit"),
        ),
    ];
    if let (Some(open), Some(most)) = (stats.descriptors.open, stats.descriptors.limit) {
        rows.push(limit("file descriptors", open, most, count, stats.accept_pauses));
    }
    if let Some(settings) = settings {
        let off = || "off".to_owned();
        let row = |name: &str, most: String, reached: String| {
            let cells = [name, "-", &most, "-", &reached].map(str::to_owned);
            (Emphasis::None, cells.to_vec())
        };
        let each = settings.max_connections_per_ip.map_or_else(off, count);
        rows.push(row("connections per address", each, "-".to_owned()));
        for (name, seconds) in [
            ("idle timeout", settings.idle_timeout_seconds),
            ("frame timeout", settings.frame_timeout_seconds),
            ("handshake timeout", settings.handshake_timeout_seconds),
            ("write timeout", settings.write_timeout_seconds),
        ] {
            let reached = times(closed(&format!("on {name}")));
            let most = seconds.map_or_else(off, |seconds| match seconds {
                1.0.. => duration(seconds),
                _ => Micros(seconds * 1e6).to_string(),
            });
            rows.push(row(name, most, reached));
        }
    }
    let columns = [
        left("LIMIT", 0),
        right("NOW", 0),
        right("AT MOST", 1),
        right("USED", 0),
        right("REACHED", 2),
    ];
    text.table(&columns, rows);
}

/// A row: how near the limit is, and how often it was reached.
fn limit(
    name: &str,
    now: u64,
    most: u64,
    write: impl Fn(u64) -> String,
    reached: u64,
) -> (Emphasis, Vec<String>) {
    let share = if most == 0 { 0.0 } else { now as f64 / most as f64 };
    let emphasis = match share {
        0.95.. => Emphasis::Alarm,
        0.8.. => Emphasis::Caution,
        _ => Emphasis::None,
    };
    (emphasis, vec![name.to_owned(), write(now), write(most), percent(share), times(reached)])
}

fn times(count: u64) -> String {
    if count == 0 { "never".to_owned() } else { format!("{} x", grouped(count)) }
}

fn listeners(text: &mut Text, now: &Stats, before: &Stats) {
    let rows = now.listeners.iter().map(|listener| {
        let earlier = before.listeners.iter().find(|other| other.name == listener.name);
        let rate = now.seconds_since(before).zip(earlier).map(|(seconds, earlier)| {
            Rate(listener.frames.saturating_sub(earlier.frames) as f64 / seconds).to_string()
        });
        let Counts { open, accepted, refused, .. } = &listener.connections;
        let cells = vec![
            listener.name.clone(),
            grouped(*open),
            grouped(*accepted),
            grouped(*refused),
            grouped(listener.frames),
            rate.unwrap_or_else(|| "-".to_owned()),
        ];
        (Emphasis::None, cells)
    });
    let columns = [
        left("LISTENER", 0),
        right("OPEN", 0),
        right("ACCEPTED", 2),
        right("REFUSED", 3),
        right("FRAMES", 1),
        right("A SECOND", 4),
    ];
    text.table(&columns, rows.collect());
}

fn closed(text: &mut Text, counts: &Counts) {
    let mut closed: Vec<_> = counts.closed.iter().collect();
    closed.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if !closed.is_empty() {
        let closed: Vec<String> =
            closed.iter().map(|(reason, count)| format!("{} {reason}", grouped(**count))).collect();
        text.wrapped(Emphasis::None, &format!("closed: {}", closed.join(", ")));
    }
}

fn connections(text: &mut Text, list: &Result<List, String>) {
    let list = match list {
        Ok(list) if list.total == 0 => return text.line(Emphasis::None, "no connection is open"),
        Ok(list) => list,
        Err(why) => {
            return text.line(Emphasis::Alarm, &format!("connections cannot be listed: {why}"));
        }
    };
    let row = |connection: &Connection| {
        let size = |bytes: u64| Bytes(bytes as f64).to_string();
        let dash = || "-".to_owned();
        let Connection { name, peer, listener, state, waits_for, .. } = connection;
        let cells = vec![
            name.clone(),
            peer.clone().unwrap_or_else(dash),
            size(connection.received_bytes),
            size(connection.sent_bytes),
            grouped(connection.frames),
            size(connection.owed_bytes),
            size(connection.held_bytes),
            connection.rtt_seconds.map_or_else(dash, |rtt| Micros(rtt * 1e6).to_string()),
            connection.retransmissions.map_or_else(dash, grouped),
            connection.unsent_bytes.map_or_else(dash, size),
            duration(connection.age_seconds),
            state.clone(),
            waits_for.clone(),
            listener.clone(),
        ];
        (Emphasis::None, cells)
    };
    let columns = [
        left("CONNECTION", 0),
        left("PEER", 0),
        right("RECEIVED", 0),
        right("SENT", 3),
        right("FRAMES", 1),
        right("OWED", 2),
        right("HELD", 7),
        right("RTT", 5),
        right("SENT AGAIN", 8),
        right("UNSENT", 9),
        right("OPEN FOR", 4),
        left("STATE", 6),
        left("WAITS FOR", 10),
        left("LISTENER", 11),
    ];
    text.table(&columns, list.connections.iter().map(row).collect());
    let shown = list.connections.len() as u64;
    if shown < list.total {
        let more = grouped(list.total - shown);
        text.line(Emphasis::None, &format!("and {more} more, which have received less"));
    }
}

fn warnings(text: &mut Text, sample: &Sample) {
    let warnings = &sample.warnings;
    text.line(Emphasis::Title, &format!("LAST WARNINGS (of {})", grouped(warnings.total)));
    for warning in warnings.warnings.iter().take(WARNINGS) {
        let emphasis = if warning.level == "error" { Emphasis::Alarm } else { Emphasis::Caution };
        let times = match warning.count {
            1 => String::new(),
            count => format!(" ({} times)", grouped(count)),
        };
        let line = format!("{} {} {}{times}", warning.time, warning.level, warning.message);
        text.wrapped(emphasis, &line);
    }
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of 0 to 1. What is not quite nothing is not 0 %.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 {
        "<1 %".to_owned()
    } else {
        format!("{:.0} %", (share * 100.0).floor())
    }
}

/// The two largest units of a time: `3h 12m`.
fn duration(seconds: f64) -> String {
    let whole =
        std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in
            [(0.9, "0s"), (61.0, "1m 1s"), (3600.0, "1h 0m"), (90_000.0, "1d 1h"), (-1.0, "0s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn lines_are_cut_and_harmless() {
        let mut text = Text { width: 10, has_colors: true, lines: Vec::new() };
        text.line(Emphasis::None, "a\x1b[2J\nb");
        text.line(Emphasis::Alarm, "0123456789ab");
        text.wrapped(Emphasis::None, "one two three four");
        let expected =
            ["a\\u{1b}[2…", "\x1b[31m012345678…\x1b[0m", "one two", "    three", "    four"];
        assert_eq!(text.lines, expected);
    }
}
