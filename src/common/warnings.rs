//! The last warnings and errors of the log, kept in bounded memory for those who look later.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use log::{Level, Record};

use super::printable::printable;

/// Warnings that are kept; a newer one replaces the oldest.
pub(crate) const KEPT: usize = 50;

/// Bytes of a message that are kept. With its control characters escaped it may be a few times as long.
const LONGEST: usize = 1000;

/// A line of the log of level warn or error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// When it was logged last.
    pub(crate) time: SystemTime,
    pub(crate) level: Level,
    /// The module that logged it.
    pub(crate) target: String,
    /// Without control characters: peers choose parts of it.
    pub(crate) message: String,
    /// How often it was logged without another one in between.
    pub(crate) count: u64,
}

/// The last warnings, the oldest first.
#[derive(Debug)]
pub(crate) struct Warnings(Mutex<State>);

#[derive(Debug)]
struct State {
    last: VecDeque<Warning>,
    total: u64,
}

impl Warnings {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State { last: VecDeque::new(), total: 0 }))
    }

    /// Keeps `record` if it is a warning or an error.
    pub(crate) fn keep(&self, record: &Record<'_>) {
        if record.level() > Level::Warn {
            return;
        }
        let message = record.args().to_string();
        let message = one_line(&message);
        let (level, target) = (record.level(), record.target());
        let time = SystemTime::now();

        let mut state = self.lock();
        state.total += 1;
        if let Some(last) = state.last.back_mut()
            && (last.level, last.target.as_str(), &last.message) == (level, target, &message)
        {
            last.time = time;
            last.count += 1;
            return;
        }
        if state.last.len() == KEPT {
            state.last.pop_front();
        }
        let target = target.to_owned();
        state.last.push_back(Warning { time, level, target, message, count: 1 });
    }

    /// How many have been logged, and the last of them, the newest first.
    pub(crate) fn last(&self) -> (u64, Vec<Warning>) {
        let state = self.lock();
        (state.total, state.last.iter().rev().cloned().collect())
    }

    /// It is held for as long as copying takes.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of `message`, without control characters.
fn one_line(message: &str) -> String {
    let message = message.trim_end();
    let mut end = message.len().min(LONGEST);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let rest = if end < message.len() { "…" } else { "" };
    printable(&message.as_bytes()[..end]).replace('\n', " ") + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(warnings: &Warnings, level: Level, message: &str) {
        let args = format_args!("{message}");
        warnings.keep(&Record::builder().level(level).target("test").args(args).build());
    }

    fn messages(warnings: &Warnings) -> Vec<String> {
        warnings.last().1.into_iter().map(|warning| warning.message).collect()
    }

    #[test]
    fn the_last_ones_are_kept_newest_first_and_only_warnings_and_errors() {
        let warnings = Warnings::new();
        for number in 0..KEPT + 10 {
            keep(&warnings, Level::Warn, &number.to_string());
            keep(&warnings, Level::Info, "no warning");
        }
        keep(&warnings, Level::Error, "an error");
        let (total, last) = warnings.last();
        assert_eq!((total, last.len()), (KEPT as u64 + 11, KEPT));
        assert_eq!((last[0].level, last[0].message.as_str()), (Level::Error, "an error"));
        assert_eq!(last[1].message, (KEPT + 9).to_string());
        assert_eq!(last[KEPT - 1].message, "11");
    }

    #[test]
    fn repetitions_are_counted_and_push_out_nothing() {
        let warnings = Warnings::new();
        keep(&warnings, Level::Warn, "first");
        for _ in 0..1000 {
            keep(&warnings, Level::Warn, "again");
        }
        let (total, last) = warnings.last();
        let found: Vec<_> = last.iter().map(|one| (one.message.as_str(), one.count)).collect();
        assert_eq!((total, found), (1001, vec![("again", 1000), ("first", 1)]));
    }

    #[test]
    fn messages_are_cut_short_and_have_no_control_characters() {
        let warnings = Warnings::new();
        keep(&warnings, Level::Warn, "a\x1b[2Jb\nc\u{9b}d\u{202e}e");
        assert_eq!(messages(&warnings), ["a\\u{1b}[2Jb c\\u{9b}d\\u{202e}e"]);
        keep(&warnings, Level::Warn, &"é".repeat(LONGEST));
        assert_eq!(messages(&warnings)[0], "é".repeat(LONGEST / 2) + "…");
        keep(&warnings, Level::Warn, &"\0".repeat(1 << 20));
        assert!(messages(&warnings)[0].len() < 10 * LONGEST);
    }
}
