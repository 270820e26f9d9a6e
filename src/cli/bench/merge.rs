//! `resound bench merge`: one report of what several processes measured together.

use std::{path::PathBuf, process::ExitCode};

use super::{args::OutputArgs, output::conclude, saved};
use crate::{
    cli::Failure,
    load::{report::merge, run::Outcome},
};

/// Merge reports written by --json, of processes that loaded one server together
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct MergeArgs {
    /// JSON reports, one of each process
    #[arg(required = true, num_args = 2.., value_name = "REPORT.json")]
    reports: Vec<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

const NOTES: &str = "\
Counts and rates are added, and latencies bucket by bucket, so percentiles are exactly those of all frames. Windows are added \
by their number. Warnings tell if the processes did not measure at the same time, or with other settings.

Exit codes are those of resound bench.";

impl MergeArgs {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let mut reports = Vec::new();
        for path in &self.reports {
            let name = path.display().to_string();
            let mut found = saved::read(path).map_err(Failure::Failed)?;
            let (Some(report), None) = (found.pop(), found.pop()) else {
                return Err(Failure::Failed(format!(
                    "{name} holds the reports of bench versus, which were measured one after another; merge takes files with \
                     one report each"
                )));
            };
            reports.push((name, report));
        }
        let merged = merge::merge(&reports).map_err(Failure::Failed)?;
        conclude(&Outcome::from(merged), &self.output)
    }
}
