//! `resound man` and `resound completions`, for those who package it: both come from the definition of the command line.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, output::print};

/// Write the manual pages, one for each subcommand
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder for them; it is created if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl ManArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder))
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| {
                let folder = self.folder.display();
                Failure::Failed(format!("cannot write manual pages to {folder}: {error}"))
            })
    }
}

impl CompletionsArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "resound", &mut script);
        print(&script)
    }
}
