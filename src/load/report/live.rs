//! The progress line: on a terminal it is overwritten, elsewhere a new one is written now and then.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use resound::plural::connections;
use rustix::termios::tcgetwinsize;

use super::microseconds;
use crate::load::{
    engine::plan::Plan,
    nanos::whole,
    statistics::record::Window,
    units::{Micros, Rate},
};

/// If it is not a terminal, one line a second is enough.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// A terminal is this wide if it does not say.
const WIDTH: usize = 80;

const BAR: usize = 12;

/// How often a changing line is written again.
const REFRESH: Duration = Duration::from_millis(100);

/// The rate at which connections are opened is that of this long.
const RECENT: Duration = Duration::from_secs(3);

/// Shows the progress on standard error.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    quiet: bool,
    last: Option<Instant>,
    line: String,
    /// In front of every line: which server, which step.
    title: String,
    opening: Opening,
}

impl Live {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            terminal,
            quiet,
            last: None,
            line: String::new(),
            title: String::new(),
            opening: Opening::default(),
        }
    }

    /// What the next lines are about.
    pub(crate) fn title(&mut self, title: impl Into<String>) {
        self.title = title.into();
    }

    /// This many connections are open, and the others are being opened.
    pub(crate) fn filling(&mut self, plan: &Plan, open: usize) {
        let now = Instant::now();
        let every = if self.terminal { REFRESH } else { PLAIN_EVERY };
        if now.duration_since(*self.last.get_or_insert(now)) >= every {
            self.last = Some(now);
            let text = self.opening.progress(now, open, plan.connections + plan.hold);
            self.show(&[text]);
        }
    }

    /// Writes a line that somebody waits for, also if no progress is to be shown.
    pub(crate) fn announce(&mut self, line: &str) {
        self.clear();
        // If standard error is closed, nobody waits for it.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    pub(crate) fn warming_up(&mut self, plan: &Plan) {
        self.state(format!("warming up for {:?}", plan.warm_up));
    }

    /// Something that is worth a line on a terminal only.
    fn state(&mut self, text: String) {
        if self.terminal && self.line != text {
            self.show(&[text]);
        }
    }

    /// The sums of a window of that `length`; `share` of the whole time is over.
    pub(crate) fn window(&mut self, window: &Window, length: Duration, share: f64) {
        if !self.terminal && self.last.is_some_and(|last| last.elapsed() < PLAIN_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let at = |quantile| match window.latency.value_at_quantile(quantile) {
            0 => "-".to_owned(),
            nanos => Micros(microseconds(nanos)).to_string(),
        };
        let share = share.clamp(0.0, 1.0);
        let progress = if self.terminal { bar(share) } else { format!("{:3.0} %", share * 100.0) };
        let rate = Rate(window.frames as f64 / length.as_secs_f64());
        self.show(&[
            format!("{rate} frames/s"),
            format!("p99 {}", at(0.99)),
            format!("errors: {}", window.faults),
            format!("p50 {}", at(0.5)),
            progress,
            format!("{} in flight", window.in_flight),
        ]);
    }

    /// Shows `parts`, the most important one first; on a terminal as many of them as its width takes.
    fn show(&mut self, parts: &[String]) {
        if self.quiet {
            return;
        }
        let title = (!self.title.is_empty()).then_some(&self.title);
        let parts: Vec<&str> = title.into_iter().chain(parts).map(String::as_str).collect();
        // If standard error is closed, the run still goes on.
        let _ = if self.terminal {
            write!(io::stderr(), "\r\x1b[K{}", fit(&parts, width()))
        } else {
            writeln!(io::stderr(), "{}", parts.join(SEPARATOR))
        };
        self.line = parts.last().copied().unwrap_or_default().to_owned();
    }

    /// Makes room for something else.
    pub(crate) fn clear(&mut self) {
        if self.terminal && !self.line.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        self.line.clear();
        self.last = None;
        self.opening = Opening::default();
    }
}

const SEPARATOR: &str = "  ";

/// The columns of a line on this terminal; the last one is left free, because some terminals wrap behind it.
fn width() -> usize {
    let size = tcgetwinsize(io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    (if columns == 0 { WIDTH } else { columns }) - 1
}

/// As many of `parts` from the first on as `width` columns take; of the first one what they take.
fn fit(parts: &[&str], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let separator = if line.is_empty() { "" } else { SEPARATOR };
        let columns = line.chars().count() + separator.len() + part.chars().count();
        if !line.is_empty() && columns > width {
            break;
        }
        line.push_str(separator);
        line.push_str(part);
    }
    line.chars().take(width).collect()
}

/// How fast connections are being opened: how many were open when, of late.
#[derive(Debug, Default)]
struct Opening(VecDeque<(Instant, usize)>);

impl Opening {
    /// `23000 of 100050 connections open, 5.2k/s, 15 s left`.
    fn progress(&mut self, now: Instant, open: usize, all: usize) -> String {
        self.0.push_back((now, open));
        while self.0.front().is_some_and(|(then, _)| now.duration_since(*then) > RECENT) {
            self.0.pop_front();
        }
        let state = format!("{open} of {} open", connections(all));
        let Some((then, before)) = self.0.front().filter(|(then, _)| *then < now) else {
            return state;
        };
        let rate = open.saturating_sub(*before) as f64 / now.duration_since(*then).as_secs_f64();
        if rate <= 0.0 {
            return format!("{state}, none opened for {} s", RECENT.as_secs());
        }
        let left = all.saturating_sub(open) as f64 / rate;
        format!("{state}, {}/s, {:.0} s left", Rate(rate), left.ceil())
    }
}

fn bar(share: f64) -> String {
    let full = usize::try_from(whole(share * BAR as f64)).unwrap_or(0).min(BAR);
    format!("[{}{}]", "=".repeat(full), " ".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_parts_that_fit() {
        let parts = ["12 frames/s", "p99 1ms", "errors: none"];
        assert_eq!(fit(&parts, 100), "12 frames/s  p99 1ms  errors: none");
        assert_eq!(fit(&parts, 34), "12 frames/s  p99 1ms  errors: none");
        assert_eq!(fit(&parts, 33), "12 frames/s  p99 1ms");
        assert_eq!(fit(&parts, 5), "12 fr");
    }

    #[test]
    fn opening_has_a_rate_and_a_remaining_time() {
        let (mut opening, start) = (Opening::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(opening.progress(start, 10, 1000), "10 of 1000 connections open");
        let later = opening.progress(start + second, 110, 1000);
        assert_eq!(later, "110 of 1000 connections open, 100/s, 9 s left");
        let stuck = (2..6).map(|after| opening.progress(start + second * after, 110, 1000)).last();
        assert_eq!(stuck.unwrap(), "110 of 1000 connections open, none opened for 3 s");
    }

    #[test]
    fn the_bar_fills() {
        for (share, shown) in
            [(0.0, "[            ]"), (0.5, "[======      ]"), (1.0, "[============]")]
        {
            assert_eq!(bar(share), shown);
        }
    }
}
