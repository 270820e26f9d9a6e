//! What is shown while it runs: a line that is written over on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use resound::plural::connections;

use super::{
    plan::Plan,
    record::Window,
    report::microseconds,
    units::{Micros, Rate},
};

/// Where nobody looks at it live, a line a second is enough.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// A terminal's line is not longer than this.
const WIDTH: usize = 100;

const BAR: usize = 12;

/// Shows how it goes, on standard error.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    quiet: bool,
    last: Option<Instant>,
    line: String,
    /// In front of every line: which server, which step.
    title: String,
}

impl Live {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, quiet, last: None, line: String::new(), title: String::new() }
    }

    /// What the next lines are about.
    pub(crate) fn title(&mut self, title: impl Into<String>) {
        self.title = title.into();
    }

    pub(crate) fn filling(&mut self, plan: &Plan) {
        let all = plan.connections + plan.hold;
        self.state(format!("opening {} to {}", connections(all), plan.target));
    }

    pub(crate) fn warming_up(&mut self, plan: &Plan) {
        self.state(format!("warming up for {:?}", plan.warm_up));
    }

    /// Something that is worth a line on a terminal only.
    fn state(&mut self, text: String) {
        if self.terminal && self.line != text {
            self.show(text);
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
        self.show(format!(
            "{progress}  {rate} frames/s  {} in flight  p50 {}  p99 {}  errors: {}",
            window.in_flight,
            at(0.5),
            at(0.99),
            window.faults
        ));
    }

    fn show(&mut self, text: String) {
        if self.quiet {
            return;
        }
        let separator = if self.title.is_empty() { "" } else { "  " };
        let line = format!("{}{separator}{text}", self.title);
        // Nobody reads it any more: the run goes on all the same.
        let _ = if self.terminal {
            let cut: String = line.chars().take(WIDTH).collect();
            write!(io::stderr(), "\r\x1b[K{cut}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
        self.line = text;
    }

    /// Makes room for something else.
    pub(crate) fn clear(&mut self) {
        if self.terminal && !self.line.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        self.line.clear();
        self.last = None;
    }
}

fn bar(share: f64) -> String {
    let full = usize::try_from(super::random::whole(share * BAR as f64)).unwrap_or(0).min(BAR);
    format!("[{}{}]", "=".repeat(full), " ".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        for (share, shown) in
            [(0.0, "[            ]"), (0.5, "[======      ]"), (1.0, "[============]")]
        {
            assert_eq!(bar(share), shown);
        }
    }
}
