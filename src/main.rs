//! The `resound` command: parse, start the log, run the subcommand, exit with its code.

// Not in tests, where a panic is the report.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod admin;
mod check;
mod cli;
mod common;
mod handover;
mod lesson;
mod load;
mod timeline;

use std::process::ExitCode;

use cli::systemd::sockets::Sockets;

fn main() -> ExitCode {
    // First, for the reasons that its documentation gives.
    let sockets = Sockets::take();
    let cli = cli::parse().unwrap_or_else(|error| error.exit());
    let log = match cli.log.start() {
        Ok(log) => log,
        Err(failure) => {
            let (error, code) = failure.into_error();
            // Standard error may be closed; the exit code still reports the failure.
            let _ = error.print();
            return code;
        }
    };
    cli.command.run(sockets).unwrap_or_else(|failure| {
        let (error, code) = failure.into_error();
        log.report(&error);
        code
    })
}
