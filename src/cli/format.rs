//! How a line of the log is written.

use std::{borrow::Cow, time::SystemTime};

use log::Level;
use serde::Serialize;

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// [TIME LEVEL MODULE] MESSAGE, in colours on a terminal
    Text,
    /// An object with time, level, target and message
    Json,
}

/// The members of a line, in their order.
#[derive(Serialize)]
struct Line<'l> {
    /// RFC 3339, UTC, with microseconds.
    time: String,
    level: Cow<'static, str>,
    target: &'l str,
    message: &'l str,
}

/// A line as JSON: one object, and the end of the line.
pub(crate) fn json(level: Level, target: &str, message: &str) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let level = level.as_str().to_ascii_lowercase().into();
    let line = Line { time, level, target, message: message.trim_end() };
    // Text and nothing else always becomes JSON.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}
