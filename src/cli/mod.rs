//! The command line: arguments in, the library's types out; one file or folder for each subcommand.

mod bench;
mod client;
mod descriptors;
mod dialects;
mod log;
mod output;
mod reactors;
mod serve;
mod supervisor;

use std::{env, fmt, io, process::ExitCode};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

const EXAMPLES: &str = "\
Examples:
  resound serve                        echo length-prefixed frames on 127.0.0.1:30000
  resound client                       type lines at it
  resound client --chunk 64KiB <a >b   send a file through it and get it back
  resound bench                        load it, check what comes back, and measure

Exit codes: 0 all went well, 1 something failed, 2 the command line is wrong; bench has 3 for a --fail-if.";

/// An echo server for very many connections: length-prefixed frames in, the same bytes back.
#[derive(Debug, Parser)]
#[command(name = "resound", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: log::LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::ServeArgs),
    Client(client::ClientArgs),
    Bench(Box<bench::BenchArgs>),
    Dialects(dialects::DialectsArgs),
}

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Serve(args) => args.run(),
            Self::Client(args) => args.run(),
            Self::Bench(args) => args.run(),
            Self::Dialects(args) => args.run(),
        }
    }
}

/// Why a subcommand failed; the text names the cause and the remedy.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong in a way that only the subcommand can tell.
    Usage(String),
    /// The command line is right, and what it asks for failed.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

impl Failure {
    /// `what` is a thread that could not be started.
    pub(crate) fn no_thread(what: &str, error: &io::Error) -> Self {
        Self::Failed(format!(
            "cannot start {what}: {error}. Allow more threads (ulimit -u, or TasksMax= in a systemd unit)"
        ))
    }

    /// The error as it is shown, and the exit code.
    pub(crate) fn into_error(self) -> (clap::Error, ExitCode) {
        // Through clap, so that all errors look the same.
        let (kind, code) = match self {
            Self::Usage(_) => (ErrorKind::ValueValidation, 2),
            Self::Failed(_) => (ErrorKind::Io, 1),
        };
        (clap::Error::raw(kind, format_args!("{self}\n")), ExitCode::from(code))
    }
}

pub(crate) fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot {what}: {error}"))
}

/// Reads the command line and the environment.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::command()
        .try_get_matches()
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
        .map_err(name_the_variable)
}

/// clap blames the flag even where the value came from its environment variable; this names that.
fn name_the_variable(mut error: clap::Error) -> clap::Error {
    let (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return error;
    };
    let flag = argument.split([' ', '=']).next().unwrap_or(argument).to_owned();
    let variable =
        format!("RESOUND_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    let on_the_command_line = env::args_os().any(|word| {
        word.to_str().is_some_and(|word| word == flag || word.starts_with(&format!("{flag}=")))
    });
    if !on_the_command_line && env::var(&variable).is_ok_and(|set| &set == value) {
        let tip = format!("the value comes from the environment variable {variable}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}
