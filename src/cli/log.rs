//! The log, and other messages. They go to standard error: standard output is for data.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use anstream::{AutoStream, ColorChoice};
use env_logger::Target;
use log::{Level, LevelFilter, Metadata, Record};

use super::{
    Failure,
    format::{self, Format},
    output::Output,
};
use crate::{admin::LogControl, common::warnings::Warnings};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    #[arg(
        long,
        global = true,
        env = "RESOUND_LOG_LEVEL",
        hide_env_values = true,
        value_name = "LEVEL",
        value_parser = level,
        help = "off, error, warn, info, debug (connections) or trace (reads and writes) \
 [default: RUST_LOG, else info]",
        long_help = "How much to log: off, error, warn, info, debug (each connection) or trace (each read and \
                     write).\n\nThe default is in RUST_LOG, which can also set the level of one module \
                     (resound::reactor=trace). Without RUST_LOG it is info.\n\nThe log never blocks \
                     the server: lines that standard error does not take in time are dropped and counted."
    )]
    log_level: Option<LevelFilter>,

    /// How each line of the log is written
    #[arg(long, global = true, env = "RESOUND_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| {
        "not a log level; write off, error, warn, info, debug or trace, like debug".to_owned()
    })
}

/// Whether [`set_level`] has been called.
static IS_CHANGED: AtomicBool = AtomicBool::new(false);

/// What `GET /warnings` shows.
static WARNINGS: Warnings = Warnings::new();

/// What the admin port reads and changes.
pub(crate) const CONTROL: LogControl = LogControl { set_level, warnings: &WARNINGS };

/// Logs what is of this level or above from now on, in all modules: `--log-level` and `RUST_LOG` no longer count.
fn set_level(level: LevelFilter) {
    IS_CHANGED.store(true, Relaxed);
    log::set_max_level(level);
}

/// The log as it was configured, until [`set_level`] changes it.
struct Logger {
    configured: env_logger::Logger,
    /// Without a filter: the `log` crate's own level is enough.
    all: env_logger::Logger,
}

impl Logger {
    fn current(&self) -> &env_logger::Logger {
        if IS_CHANGED.load(Relaxed) { &self.all } else { &self.configured }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.current().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let current = self.current();
        current.log(record);
        if current.matches(record) {
            WARNINGS.keep(record);
        }
    }

    fn flush(&self) {
        self.current().flush();
    }
}

/// Standard error. What is queued for it is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Log {
    output: Output,
    format: Format,
}

impl LogArgs {
    /// Starts the log, and sends the messages of panics the same way: none of them waits for the reader.
    pub(crate) fn start(&self) -> Result<Log, Failure> {
        let format = self.log_format;
        let output = Output::start("stderr", format, io::stderr())?;
        let builder = || {
            let mut builder = env_logger::Builder::new();
            builder.filter_level(LevelFilter::Info).format_timestamp_micros();
            builder.target(Target::Pipe(Box::new(output.clone()))).write_style(color().into());
            if format == Format::Json {
                builder.format(|to, record| {
                    let message = record.args().to_string();
                    to.write_all(format::json(record.level(), record.target(), &message).as_bytes())
                });
            }
            builder
        };
        let mut configured = builder();
        match self.log_level {
            Some(level) => configured.filter_level(level),
            None => configured.parse_default_env(),
        };
        let configured = configured.build();
        let all = builder().filter_level(LevelFilter::Trace).build();
        log::set_max_level(configured.filter());
        let logger = Logger { configured, all };
        log::set_boxed_logger(Box::new(logger))
            .map_err(|error| Failure::Failed(format!("cannot start the log: {error}")))?;
        let stderr = output.clone();
        panic::set_hook(Box::new(move |info| {
            let message = panic_message(info);
            stderr.say(&match format {
                Format::Text => message,
                Format::Json => format::json(Level::Error, module_path!(), &message),
            });
        }));
        Ok(Log { output, format })
    }
}

impl Log {
    /// Writes an error behind the log, at any level.
    pub(crate) fn report(&self, error: &clap::Error) {
        self.output.say(&match self.format {
            Format::Text => rendered(error),
            Format::Json => {
                let text = error.render().to_string();
                let message = text.strip_prefix("error: ").unwrap_or(&text);
                format::json(Level::Error, module_path!(), message)
            }
        });
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.output.flush();
    }
}

/// Whether standard error shows colours.
fn color() -> ColorChoice {
    AutoStream::choice(&io::stderr())
}

fn rendered(error: &clap::Error) -> String {
    match color() {
        ColorChoice::Never => error.render().to_string(),
        _ => error.render().ansi().to_string(),
    }
}

/// What the standard hook prints, but for its hint.
fn panic_message(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("thread '{name}' {info}\n{backtrace}\n"),
        _ => format!("thread '{name}' {info}\n"),
    }
}
