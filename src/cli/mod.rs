//! The command line: arguments in, the library's types out; one file or folder for each subcommand.

mod admin;
mod answer;
mod bench;
mod bind_error;
mod check;
mod client;
mod descriptors;
mod dialects;
mod explain;
mod failure;
mod fault_files;
mod faults;
mod format;
mod journal;
mod lesson;
mod log;
mod new_loop;
mod output;
mod packaging;
mod prompt;
mod reactors;
mod record;
mod replace;
mod serve;
mod socket;
mod status;
mod supervisor;
pub(crate) mod systemd;
mod timeline;
mod tls_args;

use std::{env, process::ExitCode};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use self::{
    failure::{Failure, cannot},
    systemd::sockets::Sockets,
};

const EXAMPLES: &str = "\
Examples:
  resound serve                        echo length-prefixed frames on 127.0.0.1:30000
  resound client                       type lines at it
  resound client --chunk 64KiB <a >b   send a file through it and get it back
  resound bench                        load it, check what comes back, and measure
  resound check raw://127.0.0.1:7      find out what another echo server does wrong

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
    Serve(Box<serve::ServeArgs>),
    Client(client::ClientArgs),
    Answer(answer::AnswerArgs),
    Bench(Box<bench::BenchArgs>),
    Check(check::CheckArgs),
    Lesson(lesson::LessonArgs),
    Status(status::StatusArgs),
    Timeline(timeline::TimelineArgs),
    Dialects(dialects::DialectsArgs),
    Faults(faults::FaultsArgs),
    #[command(hide = true)]
    Man(packaging::ManArgs),
    #[command(hide = true)]
    Completions(packaging::CompletionsArgs),
}

impl Command {
    /// Runs it. `sockets` are those that the process was started with, which only a server has a use for.
    pub(crate) fn run(self, sockets: Sockets) -> Result<ExitCode, Failure> {
        match self {
            Self::Serve(args) => args.run(sockets),
            Self::Client(args) => args.run(),
            Self::Answer(args) => args.run(),
            Self::Bench(args) => args.run(),
            Self::Check(args) => args.run(),
            Self::Lesson(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Timeline(args) => args.run(),
            Self::Dialects(args) => args.run(),
            Self::Faults(args) => args.run(),
            Self::Man(args) => args.run(),
            Self::Completions(args) => args.run(),
        }
    }
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
