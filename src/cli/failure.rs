//! Why a subcommand failed, as it is shown and as an exit code.

use std::{fmt, io, process::ExitCode};

use clap::error::ErrorKind;

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
